//! The sink's data directory, and files to which batches are appended.

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod wasi;

#[cfg(not(target_family = "wasm"))]
use native as system;
#[cfg(target_family = "wasm")]
use wasi as system;

use std::io;
use std::time::Duration;

use crate::{Batch, Encoding};

/// The directory that the operator granted the sink. Paths are relative to it, with `/` between
/// their segments.
///
/// In a component it is the preopened `/data`; natively whatever
/// `native::set_data_directory` has set for the thread.
#[derive(Debug, Clone)]
pub struct Directory(system::Root);

impl Directory {
    /// The data directory; an error where none was granted.
    pub fn data() -> io::Result<Self> {
        system::root().map(Self)
    }

    /// Opens a file to append to, and creates it and the directories above it where they are not
    /// there yet. Others may append to it as well.
    pub fn open_append(&self, path: &str) -> io::Result<AppendFile> {
        self.make_parents(path)?;
        let file = self.0.open(path, Open::Append)?;
        let identity = file.identity()?;
        Ok(AppendFile { file, identity, directory: self.clone() })
    }

    /// Opens a file that is there, to read.
    pub fn open(&self, path: &str) -> io::Result<DataFile> {
        self.0.open(path, Open::Read).map(DataFile)
    }

    /// Creates a file to write and read; an error where there is one.
    pub fn create_new(&self, path: &str) -> io::Result<DataFile> {
        self.make_parents(path)?;
        self.0.open(path, Open::CreateNew).map(DataFile)
    }

    /// Reads a small file: an error where it is longer than `limit` bytes.
    pub fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let bytes = file.read(limit.saturating_add(1), 0)?;
        if length(&bytes) > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than its limit"));
        }
        Ok(bytes)
    }

    /// Puts `bytes` in place of whatever the file holds, and creates it where it is not there.
    pub fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.make_parents(path)?;
        self.0.open(path, Open::Replace)?.write(bytes, 0)
    }

    /// Whether there is a file or a directory of this name.
    pub fn exists(&self, path: &str) -> io::Result<bool> {
        match self.metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Size and time of a file.
    pub fn metadata(&self, path: &str) -> io::Result<Metadata> {
        self.0.metadata(path)
    }

    /// Names of what is in a directory, in no particular order; `""` is the data directory itself.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    /// Gives a file another name. A file that has that name already is gone.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    /// Gives a file one more name; an error where something has that name. Directories above it are
    /// made where they are not there yet.
    pub fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.make_parents(to)?;
        self.0.link(from, to)
    }

    /// Returns once the names in a directory are on the disk: those that were made, given or taken
    /// away. `""` is the data directory itself. File systems that have nothing to do there succeed.
    pub fn sync_names(&self, path: &str) -> io::Result<()> {
        match self.0.sync_names(path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            synced => synced,
        }
    }

    /// Removes a file.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn make_parents(&self, path: &str) -> io::Result<()> {
        for (at, _) in path.match_indices('/') {
            let Some(parent) = path.get(..at).filter(|parent| !parent.is_empty()) else { continue };
            match self.0.make_directory(parent) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Size and time of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// In bytes.
    pub size: u64,
    /// When its contents last changed, since 1970-01-01T00:00:00Z.
    pub modified: Option<Duration>,
}

/// A file that only grows. Several processes may append to the same one: what is written in one
/// call, up to a megabyte of the plugin's own, stays together as far as the file system has room.
#[derive(Debug)]
pub struct AppendFile {
    file: system::File,
    identity: system::Identity,
    directory: Directory,
}

impl AppendFile {
    /// Appends the bytes of a batch, from the `skip`th on. The host moves them: they do not cross
    /// into the plugin. Returns how many bytes the whole view has.
    ///
    /// After an error some of it may be in the file. To go on there, give
    /// [`AppendError::written`] back as `skip` with the same batch.
    pub fn append(&self, batch: &Batch, encoding: Encoding, skip: u64) -> Result<u64, AppendError> {
        self.file.append_batch(batch, encoding, skip)
    }

    /// Appends a few bytes of the plugin's own, such as a header.
    pub fn append_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    /// Its size now, in bytes, whoever wrote them.
    pub fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    /// Its last byte, where it has any.
    pub fn last_byte(&self) -> io::Result<Option<u8>> {
        match self.size()?.checked_sub(1) {
            None => Ok(None),
            Some(last) => Ok(self.file.read(1, last)?.first().copied()),
        }
    }

    /// Whether the file at `path` is still this one: false once it was renamed or removed.
    pub fn same_as(&self, path: &str) -> io::Result<bool> {
        match self.directory.0.identity(path) {
            Ok(identity) => Ok(identity == self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A file to read, or to write at a place of one's choice.
#[derive(Debug)]
pub struct DataFile(system::File);

impl DataFile {
    /// Reads up to `max` bytes from `offset` on; fewer only at the end of the file.
    pub fn read(&self, max: u64, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.0.read(max, offset)?;
        loop {
            let done = length(&bytes);
            if done == 0 || done >= max {
                return Ok(bytes);
            }
            let more = self.0.read(max - done, offset + done)?;
            if more.is_empty() {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&more);
        }
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write(bytes, offset)
    }

    /// Returns once what was written is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    /// Its size now, in bytes.
    pub fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

/// An append that did not get to its end.
#[derive(Debug)]
pub struct AppendError {
    /// Bytes of the view that are in the file by now, counted from the view's first byte.
    pub written: u64,
    /// What stopped it.
    pub error: io::Error,
}

impl std::fmt::Display for AppendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (after {} bytes)", self.error, self.written)
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Append,
    Read,
    CreateNew,
    Replace,
}

pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn no_directory() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "no data directory was granted: write `grants.directory = true` into the sink's configuration",
    )
}
