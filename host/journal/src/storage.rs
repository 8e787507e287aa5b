//! The seam between the journal and the file system.
//!
//! A journal is one flat directory. What it asks of a file system is little, and all of it is here,
//! so that a simulated disk can lose, tear and reorder what was not synced.

use std::fmt;
use std::io::{self, IoSlice};

mod directory;

pub use directory::Directory;

/// A flat directory of files.
///
/// What was written to a file is durable once [`StorageFile::sync`] has returned; that a file is
/// there, is gone, or has another name, once [`sync_directory`](Self::sync_directory) has.
pub trait Storage: fmt::Debug + Send + Sync {
    /// The names of all files, in no order.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes a file that must not be there, open for reading and writing.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Opens a file that must be there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file's name away. Whoever has the file open keeps it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Keeps everybody else out until the answer is dropped; `None` where somebody else is in.
    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Lock>>>;
}

/// Holds a lock for as long as it lives.
pub trait Lock: fmt::Debug + Send + Sync {}

/// What can't be read is taken to be whole blocks of so many bytes.
const BLOCK: u64 = 4096;

/// An open file.
pub trait StorageFile: fmt::Debug + Send + Sync {
    /// Reads at `offset`, and returns how many bytes there were: fewer than asked for at the end of
    /// the file, none behind it.
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`, in order, and returns how many bytes went in: perhaps fewer than given.
    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;

    /// Makes everything durable that was written to the file.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or fills it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

impl dyn StorageFile + '_ {
    /// Writes all of `from` at `offset`.
    ///
    /// # Errors
    ///
    /// What the file system says; some of it may have been written.
    pub fn write_all_at(&self, mut from: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut from, 0);
        while !from.is_empty() {
            match self.write_at(from, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut from, written);
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads until `to` is full or the file ends, and returns how many bytes there were.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn read_full_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = to.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// As [`read_full_at`](Self::read_full_at), with zeros for blocks that can't be read. Returns how
    /// many bytes there are, and how many of them are such zeros.
    ///
    /// # Errors
    ///
    /// What the file system says when it is asked for the length.
    pub(crate) fn read_around_at(&self, to: &mut [u8], offset: u64) -> io::Result<(usize, u64)> {
        if let Ok(read) = self.read_full_at(to, offset) {
            return Ok((read, 0));
        }
        let there = usize::try_from(self.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = there.min(to.len());
        let mut at = 0;
        let mut unreadable = 0;
        while at < there {
            let begin = offset + at as u64;
            let left = BLOCK - begin % BLOCK;
            let end = at.saturating_add(usize::try_from(left).unwrap_or(1)).min(there);
            if let Some(block) = to.get_mut(at..end)
                && self.read_full_at(block, begin).is_err()
            {
                block.fill(0);
                unreadable += block.len() as u64;
            }
            at = end;
        }
        Ok((there, unreadable))
    }

    /// All of its bytes, where they are not more than `max`.
    ///
    /// # Errors
    ///
    /// What the file system says, and [`io::ErrorKind::FileTooLarge`].
    pub fn read_all(&self, max: u64) -> io::Result<Vec<u8>> {
        let len = self.len()?;
        if len > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = self.read_full_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
