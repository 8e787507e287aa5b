//! Room on the disk that is set aside for a disk that is full.
//!
//! Space comes back when a segment is removed, and before that the cursor has to be written down,
//! which needs space. So a little is kept for that.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::storage::Storage;

/// What is set aside, in bytes.
const SIZE: usize = 256 << 10;

pub(crate) const NAME: &str = "reserve";

/// The room of one journal.
#[derive(Debug, Default)]
pub(crate) struct Reserve {
    storage: Option<Arc<dyn Storage>>,
    there: AtomicBool,
}

impl Reserve {
    /// Sets the room aside, where the disk has it.
    pub(crate) fn of(storage: Arc<dyn Storage>) -> Self {
        let reserve = Self { storage: Some(storage), there: AtomicBool::new(false) };
        drop(reserve.restore());
        reserve
    }

    /// Sets the room aside again, where it was spent. Until it is there again nobody else may have
    /// what room there is: whoever appends would take it, and the cursors could never be written.
    pub(crate) fn restore(&self) -> io::Result<()> {
        let Some(storage) = &self.storage else { return Ok(()) };
        if self.there.load(Ordering::Relaxed) {
            return Ok(());
        }
        let made = storage.create(NAME).or_else(|_| storage.open(NAME)).and_then(|file| {
            if file.len()? == SIZE as u64 {
                return Ok(());
            }
            file.write_all_at(&mut [IoSlice::new(&vec![0; SIZE])], 0)?;
            file.sync()
        });
        match &made {
            Ok(()) => self.there.store(true, Ordering::Relaxed),
            // Half of it is of no use, and in the way of others.
            Err(_) => drop(storage.remove(NAME)),
        }
        made
    }

    /// Does `write`, and where the disk is full, again with the room that was set aside.
    pub(crate) fn or_spend<T>(&self, mut write: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let result = write();
        match (&self.storage, &result) {
            (Some(storage), Err(error)) if is_full(error) => {
                if self.there.swap(false, Ordering::Relaxed) {
                    storage.remove(NAME)?;
                    return write();
                }
                result
            }
            _ => result,
        }
    }
}

/// Whether there is no room: on the disk, for this user, or for this file.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
