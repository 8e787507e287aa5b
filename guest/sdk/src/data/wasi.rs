//! The data directory of a component. WASI's own calls are used instead of `std::fs`: they go
//! through fewer layers, and a file of `std` has no descriptor that could be given to the host.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, MetadataHashValue, OpenFlags, PathFlags,
    filesystem_error_code,
};
use wasip2::io::streams::StreamError;

use super::{AppendError, Metadata, Open, no_directory};
use crate::{Batch, Encoding};

/// Name of the preopened directory.
const NAME: &str = "/data";

#[derive(Debug, Clone)]
pub(super) struct Root(Rc<Descriptor>);

pub(super) fn root() -> io::Result<Root> {
    preopens::get_directories()
        .into_iter()
        .find(|(_, name)| name == NAME)
        .map(|(descriptor, _)| Root(Rc::new(descriptor)))
        .ok_or_else(no_directory)
}

#[derive(Debug, PartialEq)]
pub(super) struct Identity(u64, u64);

impl From<MetadataHashValue> for Identity {
    fn from(hash: MetadataHashValue) -> Self {
        Self(hash.lower, hash.upper)
    }
}

impl Root {
    pub(super) fn open(&self, path: &str, open: Open) -> io::Result<File> {
        let both = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let (create, flags) = match open {
            Open::Append => (OpenFlags::CREATE, both),
            Open::Read => (OpenFlags::empty(), DescriptorFlags::READ),
            Open::CreateNew => (OpenFlags::CREATE | OpenFlags::EXCLUSIVE, both),
            Open::Replace => (OpenFlags::CREATE | OpenFlags::TRUNCATE, DescriptorFlags::WRITE),
        };
        self.0.open_at(PathFlags::SYMLINK_FOLLOW, path, create, flags).map(File).map_err(error)
    }

    pub(super) fn identity(&self, path: &str) -> io::Result<Identity> {
        self.0.metadata_hash_at(PathFlags::SYMLINK_FOLLOW, path).map(Into::into).map_err(error)
    }

    pub(super) fn metadata(&self, path: &str) -> io::Result<Metadata> {
        let stat = self.0.stat_at(PathFlags::SYMLINK_FOLLOW, path).map_err(error)?;
        let modified =
            stat.data_modification_timestamp.map(|at| Duration::new(at.seconds, at.nanoseconds));
        Ok(Metadata { size: stat.size, modified })
    }

    pub(super) fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let path = if path.is_empty() { "." } else { path };
        let directory = self
            .0
            .open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::DIRECTORY, DescriptorFlags::READ)
            .map_err(error)?;
        let entries = directory.read_directory().map_err(error)?;
        let mut names = Vec::new();
        while let Some(entry) = entries.read_directory_entry().map_err(error)? {
            names.push(entry.name);
        }
        Ok(names)
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename_at(from, &self.0, to).map_err(error)
    }

    pub(super) fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.link_at(PathFlags::empty(), from, &self.0, to).map_err(error)
    }

    pub(super) fn sync_names(&self, path: &str) -> io::Result<()> {
        // Not by `sync_data`: on some file systems that leaves out what is not data of a directory,
        // such as a rename.
        if path.is_empty() {
            return self.0.sync().map_err(error);
        }
        self.0
            .open_at(PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ)
            .and_then(|directory| directory.sync())
            .map_err(error)
    }

    pub(super) fn remove(&self, path: &str) -> io::Result<()> {
        self.0.unlink_file_at(path).map_err(error)
    }

    pub(super) fn make_directory(&self, path: &str) -> io::Result<()> {
        self.0.create_directory_at(path).map_err(error)
    }
}

#[derive(Debug)]
pub(super) struct File(Descriptor);

impl File {
    pub(super) fn identity(&self) -> io::Result<Identity> {
        self.0.metadata_hash().map(Into::into).map_err(error)
    }

    pub(super) fn size(&self) -> io::Result<u64> {
        self.0.stat().map(|stat| stat.size).map_err(error)
    }

    pub(super) fn read(&self, max: u64, offset: u64) -> io::Result<Vec<u8>> {
        self.0.read(max, offset).map(|(bytes, _)| bytes).map_err(error)
    }

    pub(super) fn write(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.0.write(bytes, offset).map_err(error)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = usize::try_from(written).ok().and_then(|n| bytes.get(n..)).unwrap_or_default();
            offset += written;
        }
        Ok(())
    }

    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        /// WASI takes no more in one blocking write.
        const MOST: usize = 4096;
        let stream = self.0.append_via_stream().map_err(error)?;
        if bytes.len() <= MOST {
            return stream.blocking_write_and_flush(bytes).map_err(stream_error);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match stream.check_write().map_err(stream_error)? {
                0 => stream.subscribe().block(),
                room => {
                    let now = usize::try_from(room).unwrap_or(usize::MAX).min(rest.len());
                    let (piece, more) = rest.split_at_checked(now).unwrap_or((rest, &[]));
                    stream.write(piece).map_err(stream_error)?;
                    rest = more;
                }
            }
        }
        stream.blocking_flush().map_err(stream_error)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.sync_data().map_err(error)
    }

    pub(super) fn append_batch(
        &self,
        batch: &Batch,
        encoding: Encoding,
        skip: u64,
    ) -> Result<u64, AppendError> {
        batch
            .append_to(encoding, skip, &self.0)
            .map_err(|failed| AppendError { written: failed.written, error: error(failed.code) })
    }
}

fn stream_error(failed: StreamError) -> io::Error {
    match failed {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(failed) => match filesystem_error_code(&failed) {
            Some(code) => error(code),
            None => io::Error::other(failed.to_debug_string()),
        },
    }
}

fn error(code: ErrorCode) -> io::Error {
    use io::ErrorKind as Kind;
    let kind = match code {
        ErrorCode::NoEntry => Kind::NotFound,
        ErrorCode::Exist => Kind::AlreadyExists,
        ErrorCode::Access | ErrorCode::NotPermitted => Kind::PermissionDenied,
        ErrorCode::InsufficientSpace => Kind::StorageFull,
        ErrorCode::Quota => Kind::QuotaExceeded,
        ErrorCode::FileTooLarge => Kind::FileTooLarge,
        ErrorCode::ReadOnly => Kind::ReadOnlyFilesystem,
        ErrorCode::IsDirectory => Kind::IsADirectory,
        ErrorCode::NotDirectory => Kind::NotADirectory,
        ErrorCode::Interrupted => Kind::Interrupted,
        ErrorCode::WouldBlock => Kind::WouldBlock,
        ErrorCode::Invalid => Kind::InvalidInput,
        ErrorCode::Unsupported => Kind::Unsupported,
        _ => Kind::Other,
    };
    io::Error::new(kind, code.message())
}
