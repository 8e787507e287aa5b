//! Names of files that are not on disk for sure: one sync of the directory is for all of them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::Storage;

/// The names that a process has given to files, by number.
#[derive(Debug, Default)]
pub(crate) struct Names {
    given: AtomicU64,
    sure: AtomicU64,
}

impl Names {
    /// A file has got its name; returns the number.
    pub(crate) fn give(&self) -> u64 {
        self.given.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The number of the last that was given.
    pub(crate) fn last(&self) -> u64 {
        self.given.load(Ordering::SeqCst)
    }

    /// Whether this one is on disk for sure.
    pub(crate) fn is_sure(&self, name: u64) -> bool {
        self.sure.load(Ordering::SeqCst) >= name
    }

    /// Brings this one to the disk, and all that were given before this is called.
    pub(crate) fn sync(&self, name: u64, storage: &dyn Storage) -> io::Result<()> {
        if self.is_sure(name) {
            return Ok(());
        }
        let last = self.last();
        storage.sync_directory()?;
        self.sure.fetch_max(last, Ordering::SeqCst);
        Ok(())
    }
}
