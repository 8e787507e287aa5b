//! The bytes that events point to.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Where artifacts are kept.
pub trait Artifacts: Send {
    /// The artifact of this key, whose bytes have this checksum (`sha256:` and hexadecimal digits).
    ///
    /// # Errors
    ///
    /// See [`ArtifactError`]. What comes is never other bytes than those.
    fn fetch(&mut self, reference: &str, checksum: &str) -> Result<Artifact, ArtifactError>;
}

/// Bytes that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its key.
    pub reference: String,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Nobody has said where artifacts are.
    #[error("it points to the artifact `{reference}`, and no store of artifacts is configured")]
    NoStore {
        /// The key.
        reference: String,
    },
    /// The key leads out of the store, or is none.
    #[error("`{reference}` is no key of an artifact")]
    Key {
        /// The key.
        reference: String,
    },
    /// There is none of this key.
    #[error("the artifact `{reference}` is missing")]
    Missing {
        /// The key.
        reference: String,
    },
    /// Its bytes are others.
    #[error("the artifact `{reference}` has the checksum {found}, and the event says {expected}")]
    Mismatch {
        /// The key.
        reference: String,
        /// What the event says.
        expected: String,
        /// What its bytes have.
        found: String,
    },
    /// It is larger than it may be.
    #[error("the artifact `{reference}` is larger than the {limit} bytes that it may have")]
    TooLarge {
        /// The key.
        reference: String,
        /// The most.
        limit: u64,
    },
    /// It can't be read.
    #[error("the artifact `{reference}`: {source}")]
    Io {
        /// The key.
        reference: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Largest artifact, where nobody says otherwise: 64 MiB.
pub const LARGEST: u64 = 64 << 20;

/// Artifacts in a directory: the key is the path below it.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    limit: u64,
}

impl Directory {
    /// In this directory.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), limit: LARGEST }
    }

    /// None larger than so many bytes.
    #[must_use]
    pub fn limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }
}

impl Artifacts for Directory {
    fn fetch(&mut self, reference: &str, checksum: &str) -> Result<Artifact, ArtifactError> {
        let named = || reference.to_owned();
        let key = Path::new(reference);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if reference.is_empty() || !key.components().all(plain) {
            return Err(ArtifactError::Key { reference: named() });
        }
        let file = File::open(self.root.join(key)).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ArtifactError::Missing { reference: named() },
            _ => ArtifactError::Io { reference: named(), source },
        })?;
        checked(reference, checksum, self.limit, file)
    }
}

/// Reads an artifact and its digest at once.
pub(crate) fn checked(
    reference: &str,
    checksum: &str,
    limit: u64,
    mut from: impl Read,
) -> Result<Artifact, ArtifactError> {
    let named = || reference.to_owned();
    let (mut bytes, mut digest) = (Vec::new(), Sha256::new());
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => piece.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(ArtifactError::Io { reference: named(), source }),
        };
        if bytes.len() as u64 + read.len() as u64 > limit {
            return Err(ArtifactError::TooLarge { reference: named(), limit });
        }
        digest.update(read);
        bytes.extend_from_slice(read);
    }
    let mut found = String::from("sha256:");
    for byte in digest.finalize() {
        found.push_str(&format!("{byte:02x}"));
    }
    if found != checksum {
        let expected = checksum.to_owned();
        return Err(ArtifactError::Mismatch { reference: named(), expected, found });
    }
    Ok(Artifact { reference: named(), bytes })
}
