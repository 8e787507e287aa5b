//! Artifacts in a directory, on an HTTP server or in what speaks S3.

mod client;
mod key;
mod options;

use std::error::Error as _;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::StatusCode;
use object_store::path::Path;
use object_store::{Error, GetOptions, ObjectStore, PutMode, PutPayload};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{Builder, Runtime};

use super::{Artifact, ArtifactError, Artifacts};
use client::{Answered, NoAnswer};
pub use options::{StoreOpenError, StoreOptions};

/// A store of artifacts.
///
/// It blocks while it reads or writes, and has a runtime of its own to do so: from async code, call it
/// on a thread that may block (`spawn_blocking`). On one that may not it panics.
pub struct ArtifactStore {
    /// There until it is dropped.
    runtime: Option<Runtime>,
    store: Box<dyn ObjectStore>,
    prefix: Path,
    root: Option<PathBuf>,
    limit: u64,
    timeout: Duration,
}

/// An artifact that is in its store to stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its key, for an event's `artifact_ref`: it names the content.
    pub reference: String,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// Why an artifact was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No keys begin so.
    #[error("`{}` is no prefix of keys: it is segments parted by `/`", prefix.escape_debug())]
    Prefix {
        /// The prefix.
        prefix: String,
    },
    /// Nobody with these options could fetch it.
    #[error("an artifact of {length} bytes is larger than the {limit} that it may have")]
    TooLarge {
        /// How long it is.
        length: u64,
        /// The most.
        limit: u64,
    },
    /// There are other bytes under its key. Nobody could apply an event that points to them.
    #[error(
        "other bytes are kept as `{reference}`: {reason}; see who put them there, and remove them"
    )]
    Taken {
        /// The key.
        reference: String,
        /// What is known of them.
        reason: String,
    },
    /// The store can't be reached, or refuses to take it. It may be there all the same: publish it again.
    #[error("the artifact `{reference}` can't be put into its store: {reason}")]
    Unreachable {
        /// The key.
        reference: String,
        /// What the store or the system says, without any credential.
        reason: String,
    },
}

impl ArtifactStore {
    /// Opens a store. A directory has to be there; whether a server is, shows with the first artifact.
    ///
    /// # Errors
    ///
    /// What is wrong with the options.
    pub fn open(options: &StoreOptions) -> Result<Self, StoreOpenError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| StoreOpenError::System { reason: format!("a runtime: {error}") })?;
        let options::Opened { store, prefix, root } = options.open()?;
        let StoreOptions { limit, timeout, .. } = *options;
        Ok(Self { runtime: Some(runtime), store, prefix, root, limit, timeout })
    }

    /// Puts bytes where their checksum says, behind `prefix` if that is not empty: a key is never written
    /// with other bytes, and an event that points to it means the same for ever. What is there already is
    /// read, and is as good. Once it returns, the artifact is as durable as the store makes it (a directory
    /// is synced), so put it there before the transaction that writes the event.
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. To publish the same bytes again is always right.
    pub fn put(&self, prefix: &str, bytes: impl Into<Bytes>) -> Result<Published, PublishError> {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        if length > self.limit {
            return Err(PublishError::TooLarge { length, limit: self.limit });
        }
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let published = Published { reference: key_of(prefix, &sha256), sha256 };
        let wrong = || PublishError::Prefix { prefix: prefix.to_owned() };
        let path = key::path(&self.prefix, &published.reference).ok_or_else(wrong)?;
        let put = self.within_time(self.create(&path, bytes, &published));
        put.unwrap_or_else(|reason| {
            let reference = published.reference.clone();
            Err(PublishError::Unreachable { reference, reason })
        })?;
        Ok(published)
    }

    /// Puts bytes where nothing is, or finds that they are there.
    async fn create(
        &self,
        path: &Path,
        bytes: Bytes,
        published: &Published,
    ) -> Result<(), PublishError> {
        let reference = || published.reference.clone();
        let unreachable = |reason| PublishError::Unreachable { reference: reference(), reason };
        let created = self.write(path, bytes.clone(), PutMode::Create).await;
        let may_overwrite = match &created {
            Ok(()) => return Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => false,
            // It has no way to write only where nothing is.
            Err(Error::NotImplemented { .. }) => true,
            Err(error) if status_of(error) == Some(StatusCode::NOT_IMPLEMENTED) => true,
            Err(error) => return Err(unreachable(reason_of(error))),
        };
        match self.read(path, &published.reference, &published.checksum()).await {
            Ok(_) => self.sync(path).map_err(|error| unreachable(error.to_string())),
            // Whoever writes there at the same time writes the same.
            Err(ArtifactError::Missing { .. }) if may_overwrite => {
                let written = self.write(path, bytes, PutMode::Overwrite).await;
                written.map_err(|error| unreachable(reason_of(&error)))
            }
            Err(ArtifactError::Missing { .. }) => {
                Err(unreachable("somebody put it there, and it is gone".to_owned()))
            }
            Err(ArtifactError::Mismatch { found, .. }) => {
                let reason = format!("they have the checksum {found}");
                Err(PublishError::Taken { reference: reference(), reason })
            }
            Err(ArtifactError::TooLarge { limit, .. }) => {
                let reason = format!("they are more than {limit}");
                Err(PublishError::Taken { reference: reference(), reason })
            }
            Err(ArtifactError::Unreachable { reason, .. }) => Err(unreachable(reason)),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    async fn write(&self, path: &Path, bytes: Bytes, mode: PutMode) -> Result<(), Error> {
        self.store.put_opts(path, PutPayload::from(bytes), mode.into()).await.map(drop)
    }

    /// Syncs a file that is there, and the directories above it: whoever wrote it may not have come to it.
    fn sync(&self, path: &Path) -> io::Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let mut at = root.join(path.as_ref());
        loop {
            File::open(&at)?.sync_all()?;
            if at == *root || !at.pop() {
                return Ok(());
            }
        }
    }

    /// Reads an artifact, and its digest as it comes. Nothing behind the limit is kept.
    async fn read(
        &self,
        path: &Path,
        reference: &str,
        checksum: &str,
    ) -> Result<Vec<u8>, ArtifactError> {
        let failed = |error| self.error(reference, &error);
        let too_large =
            || ArtifactError::TooLarge { reference: reference.to_owned(), limit: self.limit };
        let got = self.store.get_opts(path, GetOptions::default()).await.map_err(failed)?;
        if got.meta.size > self.limit {
            return Err(too_large());
        }
        let (mut bytes, mut digest) = (Vec::new(), Sha256::new());
        let mut pieces = got.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            if bytes.len() as u64 + piece.len() as u64 > self.limit {
                return Err(too_large());
            }
            digest.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        let found = checksum_of(&digest.finalize());
        if found != checksum {
            let (reference, expected) = (reference.to_owned(), checksum.to_owned());
            return Err(ArtifactError::Mismatch { reference, expected, found });
        }
        Ok(bytes)
    }

    /// What an error says of an artifact: that it is not there, or nothing.
    fn error(&self, reference: &str, error: &Error) -> ArtifactError {
        let reference = reference.to_owned();
        let is_missing = matches!(error, Error::NotFound { .. })
            || status_of(error) == Some(StatusCode::GONE)
            || is_below_a_file(error);
        // Where the directory itself is gone, say unmounted, nothing is known of what is in it.
        let gone = self.root.as_ref().filter(|root| is_missing && !root.is_dir());
        if let Some(root) = gone {
            let reason = format!("there is no directory `{}`", root.display());
            return ArtifactError::Unreachable { reference, reason };
        }
        if is_missing {
            return ArtifactError::Missing { reference };
        }
        ArtifactError::Unreachable { reference, reason: reason_of(error) }
    }

    /// Does it, or says that it took too long.
    fn within_time<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let Some(runtime) = &self.runtime else { return Err("it is closed".to_owned()) };
        let limit = self.timeout;
        runtime
            .block_on(async { tokio::time::timeout(limit, work).await })
            .map_err(|_| format!("it was not done within {limit:?}"))
    }
}

impl Artifacts for ArtifactStore {
    fn fetch(&mut self, reference: &str, checksum: &str) -> Result<Artifact, ArtifactError> {
        let named = || reference.to_owned();
        let path = key::path(&self.prefix, reference);
        let path = path.ok_or_else(|| ArtifactError::Key { reference: named() })?;
        // So the files are called that nobody has finished writing.
        if self.root.is_some() && is_staged(reference) {
            return Err(ArtifactError::Missing { reference: named() });
        }
        let bytes = self.within_time(self.read(&path, reference, checksum));
        let bytes =
            bytes.map_err(|reason| ArtifactError::Unreachable { reference: named(), reason })??;
        Ok(Artifact { reference: named(), bytes })
    }
}

impl Drop for ArtifactStore {
    fn drop(&mut self) {
        // A file system that hangs is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for ArtifactStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactStore").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Published {
    /// What an event's `checksum` says: `sha256:` and the lowercase hexadecimal digest.
    pub fn checksum(&self) -> String {
        checksum_of(&self.sha256)
    }
}

/// A key that names its content. The two digits keep directories small.
fn key_of(prefix: &str, sha256: &[u8]) -> String {
    let hex = hex(sha256);
    let (folder, _) = hex.split_at(2);
    match prefix {
        "" => format!("sha256/{folder}/{hex}"),
        prefix => format!("{prefix}/sha256/{folder}/{hex}"),
    }
}

fn checksum_of(sha256: &[u8]) -> String {
    format!("sha256:{}", hex(sha256))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}

/// Whether a file's name ends as those do that are being written.
fn is_staged(reference: &str) -> bool {
    let name = reference.rsplit('/').next().unwrap_or_default();
    let number = name.split_once('#').map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// The status that a server answered with, where object_store has not understood it.
fn status_of(error: &Error) -> Option<StatusCode> {
    find::<Answered>(error).map(|answered| answered.status)
}

/// Whether a segment before the last names a file, so that nothing can be below it.
fn is_below_a_file(error: &Error) -> bool {
    find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::NotADirectory)
}

/// What led to an error, in the words of whoever knew it first: those above repeat URLs and bodies.
fn reason_of(error: &Error) -> String {
    if let Some(answered) = find::<Answered>(error) {
        return answered.to_string();
    }
    if let Some(no_answer) = find::<NoAnswer>(error) {
        return no_answer.to_string();
    }
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn find<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
