//! How much a data directory may hold. WASI knows no quotas, so every way in which a guest can make
//! its directory grow asks here first.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cap_std::fs::Dir;
use wasink_chassis::limits::Limit;
use wasink_chassis::logger::Level;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynOutputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::words::Words;

/// What a file or a directory counts as beside its content: names and inodes fill a disk as well.
pub(crate) const ENTRY: u64 = 4 << 10;

/// The directory is not counted again before so many times as long as the last count took.
const REST: u32 = 20;

/// That a directory is full is told once in so long.
const SILENCE: Duration = Duration::from_secs(60);

/// A data directory and what may be in it, for one sink.
pub(crate) struct Quota {
    directory: Arc<Dir>,
    limit: u64,
    usage: Arc<Mutex<Usage>>,
    words: Words,
}

/// What is known of the directories in use. Whoever uses the same one, as two versions of a plugin do
/// side by side, uses the same room.
#[derive(Default)]
pub(crate) struct Quotas(Mutex<HashMap<Place, Weak<Mutex<Usage>>>>);

/// Which directory: its device, its inode.
type Place = (u64, u64);

impl Quotas {
    fn usage(&self, directory: &Dir) -> Arc<Mutex<Usage>> {
        let Some(place) = place(directory) else { return Arc::default() };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, usage| usage.strong_count() > 0);
        if let Some(usage) = known.get(&place).and_then(Weak::upgrade) {
            return usage;
        }
        let usage = Arc::default();
        known.insert(place, Arc::downgrade(&usage));
        usage
    }
}

#[cfg(unix)]
fn place(directory: &Dir) -> Option<Place> {
    use cap_std::fs::MetadataExt as _;

    let metadata = directory.dir_metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn place(_: &Dir) -> Option<Place> {
    None
}

/// A count of a directory.
struct Count {
    at: Instant,
    took: Duration,
    /// It was ended there, since there was more than this already.
    ended: Option<u64>,
}

/// What is known of a directory's size.
#[derive(Default)]
pub(crate) struct Usage {
    /// At least what is there: what was counted, and all that was written since.
    bytes: u64,
    counted: Option<Count>,
    /// Files that were opened.
    open: Vec<Weak<std::fs::File>>,
    told: Option<Instant>,
}

impl Quota {
    /// Nothing is counted until the guest writes.
    pub(crate) fn new(directory: Arc<Dir>, limit: u64, words: Words, quotas: &Quotas) -> Arc<Self> {
        let usage = quotas.usage(&directory);
        Arc::new(Self { directory, limit, usage, words })
    }

    /// Whether there is room for so many bytes more; they are in use then.
    pub(crate) fn take(&self, bytes: u64) -> io::Result<()> {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |usage: &Usage| usage.bytes.saturating_add(bytes) <= self.limit;
        if usage.is_unknown(self.limit) || !fits(&usage) && usage.is_rested() {
            usage.count(&self.directory, self.limit)?;
        }
        if fits(&usage) {
            usage.bytes = usage.bytes.saturating_add(bytes);
            return Ok(());
        }
        self.words.reached(Limit::Directory);
        if usage.told.is_none_or(|at| at.elapsed() > SILENCE) {
            usage.told = Some(Instant::now());
            drop(usage);
            let fields = [
                ("limit".to_owned(), self.limit.into()),
                ("key".to_owned(), "limits.directory".into()),
            ];
            let message = "the data directory is full: its plugin can't write any more";
            self.words.tell(Level::Error, message, &fields);
        }
        Err(io::ErrorKind::QuotaExceeded.into())
    }

    /// Takes notice of a file that is open: once it has no name, it still takes room.
    pub(crate) fn opened(&self, file: &Arc<std::fs::File>) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.open.retain(|file| file.strong_count() > 0);
        usage.open.push(Arc::downgrade(file));
    }
}

impl Usage {
    /// Whether counting once more is not all that is done.
    fn is_rested(&self) -> bool {
        let rested = |count: &Count| count.at.elapsed() >= count.took * REST;
        self.counted.as_ref().is_none_or(rested)
    }

    /// Whether it was not counted, or not as far as to this limit.
    fn is_unknown(&self, limit: u64) -> bool {
        let short = |count: &Count| count.ended.is_some_and(|ended| ended < limit);
        self.counted.as_ref().is_none_or(short)
    }

    /// Counts what is there. Where it is more than `limit`, it is not of interest how much more: what
    /// there is to count is bounded by the limit.
    fn count(&mut self, directory: &Dir, limit: u64) -> io::Result<()> {
        let begun = Instant::now();
        let mut bytes = 0_u64;
        // By their paths, and one open at a time: there may be more of them than descriptors. One that
        // can't be looked into makes the count fail, and with it the write.
        let mut folders = vec![PathBuf::from(".")];
        'count: while let Some(folder) = folders.pop() {
            let entries = match directory.read_dir(&folder) {
                // What goes while it is counted takes no room.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let Ok(metadata) = entry.metadata() else { continue };
                if bytes > limit {
                    break 'count;
                }
                bytes = bytes.saturating_add(ENTRY);
                if metadata.is_dir() {
                    folders.push(folder.join(entry.file_name()));
                } else {
                    bytes = bytes.saturating_add(metadata.len());
                }
            }
        }
        for file in self.open.iter().filter_map(Weak::upgrade) {
            bytes = bytes.saturating_add(nameless(&file));
        }
        self.bytes = bytes;
        let ended = (bytes > limit).then_some(limit);
        self.counted = Some(Count { at: Instant::now(), took: begun.elapsed(), ended });
        Ok(())
    }
}

/// The size of a file that has no name any more.
fn nameless(file: &std::fs::File) -> u64 {
    let Ok(metadata) = file.metadata() else { return 0 };
    #[cfg(unix)]
    if std::os::unix::fs::MetadataExt::nlink(&metadata) > 0 {
        return 0;
    }
    metadata.len()
}

/// What a write costs: its bytes, or more where the file grows by more, since what is skipped over
/// takes room once somebody writes there.
pub(crate) fn cost(file: &std::fs::File, offset: u64, length: u64) -> u64 {
    let now = file.metadata().map_or(0, |metadata| metadata.len());
    length.max(offset.saturating_add(length).saturating_sub(now))
}

/// A stream into a file, which asks before it writes.
pub(crate) struct Metered {
    pub(crate) inner: DynOutputStream,
    pub(crate) quota: Arc<Quota>,
    /// The file, and where in it is written next; `None` where it is always the end.
    pub(crate) at: Option<(Arc<std::fs::File>, u64)>,
}

impl Metered {
    fn take(&mut self, bytes: usize) -> StreamResult<()> {
        let full = |error: io::Error| StreamError::LastOperationFailed(error.into());
        let bytes = bytes as u64;
        let cost = match &mut self.at {
            Some((file, offset)) => {
                let cost = cost(file, *offset, bytes);
                *offset = offset.saturating_add(bytes);
                cost
            }
            None => bytes,
        };
        self.quota.take(cost).map_err(full)
    }
}

#[async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.inner.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.inner.check_write()
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use cap_std::ambient_authority;
    use wasink_chassis::limits::{LimitCounts, Limits};

    use super::*;
    use crate::words::testing::{Heard, words};

    /// A directory with a file of so many bytes, and room for so many in all.
    fn directory(bytes: u64, limit: u64) -> (tempfile::TempDir, Arc<Quota>, Arc<Heard>) {
        let path = tempfile::tempdir().unwrap();
        File::create(path.path().join("file")).unwrap().set_len(bytes).unwrap();
        let directory = Dir::open_ambient_dir(path.path(), ambient_authority()).unwrap();
        let (words, heard) = words(Limits::default(), &LimitCounts::default());
        (path, Quota::new(Arc::new(directory), limit, words, &Quotas::default()), heard)
    }

    #[test]
    fn what_was_there_before_is_counted_and_that_it_is_full_is_told_once() {
        let (_path, quota, heard) = directory(6_000, ENTRY + 10_000);
        quota.take(4_000).unwrap();
        for _ in 0..100 {
            let error = quota.take(4_001).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        }
        assert_eq!(heard.lines(), 1);
    }

    #[test]
    fn an_open_file_is_counted_once_with_or_without_its_name() {
        for named in [true, false] {
            let (path, quota, _) = directory(6_000, ENTRY + 10_000);
            let file = path.path().join("file");
            let open = Arc::new(File::open(&file).unwrap());
            quota.opened(&open);
            if !named {
                std::fs::remove_file(&file).unwrap();
            }
            let left = if named { 4_000 } else { 4_000 + ENTRY };
            quota.take(left).unwrap();
            quota.take(1).unwrap_err();
        }
    }

    #[test]
    fn a_write_costs_what_its_file_grows_by_or_more() {
        let path = tempfile::tempdir().unwrap();
        let file = File::create(path.path().join("file")).unwrap();
        file.set_len(100).unwrap();
        for (offset, length, expected) in [
            (0, 10, 10),
            (100, 10, 10),
            (95, 10, 10),
            (1_000, 10, 910),
            (u64::MAX, 10, u64::MAX - 100),
        ] {
            assert_eq!(cost(&file, offset, length), expected, "{offset} {length}");
        }
    }
}
