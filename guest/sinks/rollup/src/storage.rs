//! The few operations on files that the sink is built on, so that a test can put a disk that
//! crashes in their place.

use std::io;

use wasink_guest::{AppendFile, DataFile, Directory};

/// What is written whole before it gets its name.
const UNFINISHED: &str = "rollup.new";

/// What goes to the host in one call at most.
const PIECE: usize = 1 << 20;

/// A directory of files. What was written is lasting only after `sync` of the file, and names only
/// after `sync_directory`.
pub(crate) trait Storage {
    type File;

    /// What is in the file, where there is one.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Whether anything has the name.
    fn exists(&self, name: &str) -> io::Result<bool>;

    /// Whether it is still this file that has the name.
    fn has_name(&self, file: &Self::File, name: &str) -> io::Result<bool>;

    /// Makes an empty file, in place of any that has the name.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    fn write(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<()>;

    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name. What had that name before is gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn sync_directory(&self) -> io::Result<()>;

    /// Puts a file with these bytes in place of what has the name: at any moment either the old one
    /// is there or the new one, whole. Which of them outlasts a loss of power is open until
    /// `sync_directory`.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<Self::File> {
        let file = self.create(UNFINISHED)?;
        self.write(&file, bytes, 0)?;
        self.sync(&file)?;
        self.rename(UNFINISHED, name)?;
        Ok(file)
    }

    /// Renames a file to a name that nothing has: `name`, `word` and a number. Returns the name.
    fn set_aside(&self, name: &str, word: &str) -> io::Result<String> {
        for number in 1_u32.. {
            let aside = format!("{name}.{word}-{number}");
            if !self.exists(&aside)? {
                self.rename(name, &aside)?;
                return Ok(aside);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// A file that is written, open a second time to know it again under whatever name it has.
#[derive(Debug)]
pub(crate) struct Known {
    data: DataFile,
    known: AppendFile,
}

impl Storage for Directory {
    type File = Known;

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        if_there(Directory::read(self, name, u64::MAX))
    }

    fn exists(&self, name: &str) -> io::Result<bool> {
        Directory::exists(self, name)
    }

    fn has_name(&self, file: &Known, name: &str) -> io::Result<bool> {
        file.known.same_as(name)
    }

    fn create(&self, name: &str) -> io::Result<Known> {
        if_there(self.remove(name))?;
        let data = self.create_new(name)?;
        Ok(Known { data, known: self.open_append(name)? })
    }

    fn write(&self, file: &Known, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(PIECE) {
            file.data.write(piece, at)?;
            at += length(piece);
        }
        Ok(())
    }

    fn sync(&self, file: &Known) -> io::Result<()> {
        file.data.sync()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Directory::rename(self, from, to)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.sync_names("")
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
