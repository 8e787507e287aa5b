//! The data directory of a sink that is compiled natively: plain files.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use super::{AppendError, Metadata, Open, length, no_directory};
use crate::{Batch, Encoding, native};

#[derive(Debug, Clone)]
pub(super) struct Root(PathBuf);

pub(super) fn root() -> io::Result<Root> {
    native::with_data_directory(|path| path.map(|path| Root(path.to_owned())))
        .ok_or_else(no_directory)
}

/// Device and inode.
#[derive(Debug, PartialEq)]
pub(super) struct Identity(u64, u64);

impl From<fs::Metadata> for Identity {
    #[cfg(unix)]
    fn from(metadata: fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    /// Elsewhere a file that is open keeps its name.
    #[cfg(not(unix))]
    fn from(_: fs::Metadata) -> Self {
        Self(0, 0)
    }
}

impl Root {
    pub(super) fn open(&self, path: &str, open: Open) -> io::Result<File> {
        let mut options = fs::OpenOptions::new();
        match open {
            Open::Append => options.append(true).create(true).read(true),
            Open::Read => options.read(true),
            Open::CreateNew => options.write(true).create_new(true).read(true),
            Open::Replace => options.write(true).create(true).truncate(true),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        options.open(self.0.join(path)).map(File)
    }

    pub(super) fn identity(&self, path: &str) -> io::Result<Identity> {
        fs::metadata(self.0.join(path)).map(Into::into)
    }

    pub(super) fn metadata(&self, path: &str) -> io::Result<Metadata> {
        let metadata = fs::metadata(self.0.join(path))?;
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Metadata { size: metadata.len(), modified })
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        fs::read_dir(self.0.join(path))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        fs::hard_link(self.0.join(from), self.0.join(to))
    }

    pub(super) fn sync_names(&self, path: &str) -> io::Result<()> {
        fs::File::open(self.0.join(path))?.sync_all()
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(path))
    }

    pub(super) fn make_directory(&self, path: &str) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::DirBuilderExt as _;
            builder.mode(0o750);
        }
        builder.create(self.0.join(path))
    }
}

#[derive(Debug)]
pub(super) struct File(fs::File);

impl File {
    pub(super) fn identity(&self) -> io::Result<Identity> {
        self.0.metadata().map(Into::into)
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    pub(super) fn read(&self, max: u64, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = &self.0;
        file.seek(SeekFrom::Start(offset))?;
        file.take(max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = &self.0;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    pub(super) fn append_batch(
        &self,
        batch: &Batch,
        encoding: Encoding,
        skip: u64,
    ) -> Result<u64, AppendError> {
        let view = batch.encode(encoding);
        let mut rest = usize::try_from(skip).ok().and_then(|skip| view.get(skip..)).unwrap_or(&[]);
        let mut file = &self.0;
        while !rest.is_empty() {
            let written = || length(&view) - length(rest);
            match crate::testing::room(rest.len())
                .and_then(|room| file.write(rest.get(..room).unwrap_or(rest)))
            {
                Ok(0) => {
                    let error = io::ErrorKind::WriteZero.into();
                    return Err(AppendError { written: written(), error });
                }
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(AppendError { written: written(), error }),
            }
        }
        Ok(length(&view))
    }
}
