//! A real directory.

use std::io::{self, IoSlice};

use cap_std::fs::{Dir, OpenOptions};

use super::{Lock, Storage, StorageFile};

/// A directory of the file system. Its files are for their owner alone.
#[derive(Debug)]
pub struct Directory(Dir);

impl Directory {
    /// The journal's directory, opened. Nothing outside of it is touched.
    pub fn new(dir: Dir) -> Self {
        Self(dir)
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options
    }
}

impl Storage for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.0.entries()? {
            // What has no name in Unicode is not the journal's.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = self.0.open_with(name, Self::options().create_new(true))?;
        Ok(Box::new(File(file.into_std())))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(File(self.0.open_with(name, &Self::options())?.into_std())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, &self.0, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove_file(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        // What the directory was opened with may be good for names alone.
        self.0.open(".")?.sync_all()
    }

    fn lock(&self, name: &str) -> io::Result<Option<Box<dyn Lock>>> {
        let file = self.0.open_with(name, Self::options().create(true))?.into_std();
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(Held(file)))),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// A file that is locked until it is closed.
#[derive(Debug)]
struct Held(#[expect(dead_code, reason = "it is kept for its lock")] std::fs::File);

impl Lock for Held {}

#[derive(Debug)]
struct File(std::fs::File);

impl StorageFile for File {
    fn read_at(&self, to: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pread(&self.0, to, offset)?)
    }

    fn write_at(&self, from: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(&self.0, from, offset)?)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
