//! The file of a lane: written at its end, and anew when it has grown or is not to be relied on.

use std::io;
use std::sync::Arc;

use super::{Entry, Found, LaneState, file_name};
use crate::checked::{self, Appender};
use crate::names::Names;
use crate::reserve::{Reserve, is_full};
use crate::storage::{Storage, StorageFile};
use crate::versions::Versions;

/// The file of a lane is written anew once it is longer than this, in bytes, and than
/// [`COMPACT_RATIO`] times what it would be then.
pub(super) const COMPACT_ABOVE: u64 = 256 << 10;
const COMPACT_RATIO: u64 = 4;

/// The file of a lane.
#[derive(Debug)]
pub(super) struct Keep {
    storage: Arc<dyn Storage>,
    sink: String,
    appender: Appender,
    /// Lines that could not be written yet.
    unwritten: Vec<u8>,
    /// Length of the file after it was written anew.
    compacted: u64,
    names: Arc<Names>,
    /// The file's name, which may not be on disk.
    name: u64,
    /// An earlier process has written some of it, and perhaps a sync has failed there, so that it can
    /// be read and is not on the disk: it is written over with itself before it is relied on.
    unproven: bool,
    /// A sync has failed, and another may succeed without having brought anything to the disk: what
    /// is written is durable only once all of it has been written anew.
    doubtful: bool,
}

impl Keep {
    /// Makes the file of a new lane. It has its name for good once names are synced.
    pub(super) fn make(
        storage: &Arc<dyn Storage>,
        sink: &str,
        state: &LaneState,
        names: &Arc<Names>,
    ) -> io::Result<Self> {
        let (file, len) = write_anew(&**storage, sink, state)?;
        let mut keep = Self::new(storage, sink, Appender::new(file, len), names);
        (keep.compacted, keep.name) = (len, names.give());
        Ok(keep)
    }

    /// Goes on with a file that was read.
    pub(super) fn open(
        storage: &Arc<dyn Storage>,
        sink: &str,
        found: &Found,
        names: &Arc<Names>,
    ) -> io::Result<Self> {
        let file = storage.open(&file_name(sink))?;
        if file.len()? > found.len {
            // Written in part, and nobody was told that it was there: else it is written over.
            drop(file.set_len(found.len));
        }
        let mut keep = Self::new(storage, sink, Appender::new(file, found.len), names);
        if found.unended {
            keep.unwritten.push(b'\n');
        }
        keep.compacted = found.head;
        keep.name = names.last();
        // What it begins with was synced before it got its name.
        keep.unproven = found.len > found.head;
        keep.doubtful = found.damaged > 0;
        Ok(keep)
    }

    fn new(storage: &Arc<dyn Storage>, sink: &str, appender: Appender, names: &Arc<Names>) -> Self {
        Self {
            storage: storage.clone(),
            sink: sink.to_owned(),
            appender,
            unwritten: Vec::new(),
            compacted: 0,
            names: names.clone(),
            name: 0,
            unproven: false,
            doubtful: false,
        }
    }

    /// Writes a line, with what could not be written before. Returns whether all is durable now: where
    /// it was time to write the file anew.
    pub(super) fn write(
        &mut self,
        entry: &Entry,
        state: &LaneState,
        versions: &mut Versions,
        reserve: &Reserve,
    ) -> io::Result<bool> {
        self.unwritten.extend_from_slice(&checked::line(entry));
        if self.doubtful {
            match self.rewrite(state, versions, reserve) {
                // What was there when the lane was opened is still there.
                Err(error) if is_full(&error) => {}
                other => return other.map(|()| true),
            }
        }
        self.write_out(reserve)?;
        let most = COMPACT_ABOVE.max(self.compacted.saturating_mul(COMPACT_RATIO));
        // The file as it is does as well: nothing is lost where this fails.
        Ok(self.appender.len() > most && self.rewrite(state, versions, reserve).is_ok())
    }

    pub(super) fn write_out(&mut self, reserve: &Reserve) -> io::Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        reserve.or_spend(|| self.appender.append(&self.unwritten))?;
        self.unwritten.clear();
        Ok(())
    }

    /// Makes all that was written durable.
    pub(super) fn sync(
        &mut self,
        state: &LaneState,
        versions: &mut Versions,
        reserve: &Reserve,
    ) -> io::Result<()> {
        if !self.doubtful {
            self.write_out(reserve)?;
            self.names.sync(self.name, &*self.storage)?;
            let proven = if self.unproven { self.appender.write_over() } else { Ok(()) };
            self.doubtful = proven.and_then(|()| self.appender.sync()).is_err();
            self.unproven &= self.doubtful;
        }
        if self.doubtful { self.rewrite(state, versions, reserve) } else { Ok(()) }
    }

    /// Whether there is nothing that [`sync`](Self::sync) would do.
    pub(super) fn is_synced(&self) -> bool {
        let written = self.unwritten.is_empty() && self.appender.is_synced();
        written && !self.unproven && !self.doubtful && self.names.is_sure(self.name)
    }

    /// Writes the file anew, durably.
    pub(super) fn rewrite(
        &mut self,
        state: &LaneState,
        versions: &mut Versions,
        reserve: &Reserve,
    ) -> io::Result<()> {
        let (file, len) = reserve.or_spend(|| {
            // The lines that told of them are about to go.
            versions.flush()?;
            write_anew(&*self.storage, &self.sink, state)
        })?;
        // Once it has the name it is the one that the next start reads, durable or not.
        self.appender = Appender::new(file, len);
        self.compacted = len;
        self.unwritten.clear();
        self.unproven = false;
        self.name = self.names.give();
        let named = self.names.sync(self.name, &*self.storage);
        self.doubtful = named.is_err();
        named
    }
}

/// Writes a lane's file anew and puts it in the place of the old one. It has its name for good once
/// the directory is synced.
fn write_anew(
    storage: &dyn Storage,
    sink: &str,
    state: &LaneState,
) -> io::Result<(Box<dyn StorageFile>, u64)> {
    let unready = format!("{sink}.lane-tmp");
    match storage.remove(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&unready)?;
    let mut bytes = checked::line(&Entry::State(Box::new(state.clone())));
    // An empty line keeps them apart should the end of the first be damaged.
    bytes.push(b'\n');
    bytes.extend_from_within(..bytes.len() - 1);
    file.write_all_at(&mut [io::IoSlice::new(&bytes)], 0)?;
    file.sync()?;
    storage.rename(&unready, &file_name(sink))?;
    Ok((file, bytes.len() as u64))
}
