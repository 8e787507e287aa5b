//! An open file of the simulated disk.

use std::io::{self, IoSlice};

use wasink_journal::StorageFile;

use super::{BLOCK, Disk, dead};

#[derive(Debug)]
pub(super) struct Handle {
    disk: Disk,
    file: usize,
}

impl Handle {
    pub(super) fn new(disk: Disk, file: usize) -> Self {
        Self { disk, file }
    }
}

impl StorageFile for Handle {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check(self.disk.process)?;
        state.trip(|faults| &mut faults.reads)?;
        let mut end = offset + to.len() as u64;
        for &(file, block) in &state.unreadable {
            if file == self.file && (block + 1) * BLOCK > offset {
                end = end.min(block * BLOCK);
            }
        }
        let seen = state.files[self.file].bytes();
        if end <= offset && !to.is_empty() && offset < seen.len() as u64 {
            return Err(io::Error::from_raw_os_error(5));
        }
        let from = usize::try_from(offset).unwrap().min(seen.len());
        let to_end = usize::try_from(end).unwrap().clamp(from, seen.len());
        to[..to_end - from].copy_from_slice(&seen[from..to_end]);
        let read = to_end - from;
        state.read_bytes += read as u64;
        Ok(read)
    }

    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut bytes: Vec<u8> = Vec::with_capacity(from.iter().map(|slice| slice.len()).sum());
        from.iter().for_each(|slice| bytes.extend_from_slice(slice));
        let mut state = self.disk.state();
        let state = &mut *state;
        let offset = usize::try_from(offset).unwrap();
        if state.dies(self.disk.process)? {
            bytes.truncate(state.chance.below(bytes.len() + 1));
            if !bytes.is_empty() {
                state.files[self.file].write(offset, &bytes);
            }
            return Err(dead());
        }
        state.trip(|faults| &mut faults.writes)?;
        if state.faults.short_writes && !bytes.is_empty() {
            bytes.truncate(1 + state.chance.below(bytes.len()));
        }
        if let Some(capacity) = state.faults.capacity {
            let len = state.files[self.file].bytes().len();
            let more = (offset + bytes.len()).saturating_sub(len);
            let room = usize::try_from(capacity.saturating_sub(state.used())).unwrap();
            if more > room {
                bytes.truncate((len + room).saturating_sub(offset));
                if bytes.is_empty() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
        }
        state.files[self.file].write(offset, &bytes);
        Ok(bytes.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.state().operate(self.disk.process, |state| {
            if let Err(error) = state.trip(|faults| &mut faults.file_syncs) {
                state.failed_syncs += 1;
                let show_durable = state.chance.below(2) == 0;
                state.files[self.file].drop_dirty(show_durable);
                return Err(error);
            }
            state.files[self.file].sync();
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.state().operate(self.disk.process, |state| {
            state.trip(|faults| &mut faults.writes)?;
            state.files[self.file].resize(usize::try_from(len).unwrap());
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        state.check(self.disk.process)?;
        Ok(state.files[self.file].bytes().len() as u64)
    }
}
