//! The bytes that events point to.

#[cfg(feature = "object-store")]
mod store;

#[cfg(feature = "object-store")]
pub use store::{ArtifactStore, PublishError, Published, StoreOpenError, StoreOptions};

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

/// Why there is no artifact. All but [`Unreachable`](Self::Unreachable) is the event's own: it can't be
/// applied until its artifact is as it says, or there is a store.
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
    #[error("`{}` is no key of an artifact", reference.escape_debug())]
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
    /// The store can't be reached, or refuses to say what it has. That is no fault of the event, and
    /// says nothing of its artifact: ask again later.
    #[error("the artifact `{reference}` can't be had from its store: {reason}")]
    Unreachable {
        /// The key.
        reference: String,
        /// What the store or the system says, without any credential.
        reason: String,
    },
}

/// Largest artifact, where nobody says otherwise: 64 MiB.
pub const LARGEST: u64 = 64 << 20;
