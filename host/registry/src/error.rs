//! What keeps something from being fetched or put into a registry.

use std::io;
use std::time::Duration;

use crate::digest::Digest;

/// Why something can't be fetched from a registry or put into one. No variant has anything of a
/// credential in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry is spoken to without encryption only where that was allowed.
    #[error("`{place}` would be spoken to without encryption, and it is not on this machine")]
    Plain {
        /// Where that would be.
        place: String,
    },
    /// What is set does not do.
    #[error("{0}")]
    Options(String),
    /// There is no connection.
    #[error("`{place}` can't be reached: {reason}")]
    Unreachable {
        /// The host.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The connection ended, or what came over it is no answer.
    #[error(
        "the exchange with `{place}` was cut off: {reason}; what had come is thrown away, try again"
    )]
    CutOff {
        /// The host.
        place: String,
        /// How it ended.
        reason: String,
    },
    /// It takes too long.
    #[error("`{place}` takes longer than {limit:?}")]
    Late {
        /// The host.
        place: String,
        /// What it was given.
        limit: Duration,
    },
    /// Nobody was named, or not rightly.
    #[error("`{place}` wants to know who asks (401): {reason}")]
    Unauthorized {
        /// What was asked.
        place: String,
        /// Whether credentials were given.
        given: bool,
        /// What was done about it.
        reason: String,
    },
    /// Whoever asks may not.
    #[error("`{place}` forbids that to whoever asks ({status}{})", code.as_deref().map(|code| format!(", {code}")).unwrap_or_default())]
    Forbidden {
        /// What was asked.
        place: String,
        /// The status.
        status: u16,
        /// The registry's word for it.
        code: Option<String>,
    },
    /// It is not there.
    #[error("there is no {what} (404{})", code.as_deref().map(|code| format!(", {code}")).unwrap_or_default())]
    Unknown {
        /// What is not there, with its place.
        what: String,
        /// The registry's word for it.
        code: Option<String>,
    },
    /// Another answer than those that were expected.
    #[error("`{place}` answers {status}{}", code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Answered {
        /// What was asked.
        place: String,
        /// The status.
        status: u16,
        /// The registry's word for it.
        code: Option<String>,
    },
    /// An answer that leads elsewhere, where nobody goes.
    #[error("`{place}` leads elsewhere, and that is not followed: {reason}")]
    Redirect {
        /// What was asked.
        place: String,
        /// Why it is not.
        reason: String,
    },
    /// The bytes are others than were asked for.
    #[error(
        "the {what} that `{place}` gives has the digest {found}, and {expected} was asked for; nothing of it is kept"
    )]
    Digest {
        /// What was asked for.
        what: &'static str,
        /// The host.
        place: String,
        /// The digest that it has.
        found: Digest,
        /// The digest that it was to have.
        expected: Digest,
    },
    /// It is larger than is taken, or than its manifest says.
    #[error("the {what} of `{place}` is too large: {reason}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// What was asked for.
        place: String,
        /// How large it is and may be.
        reason: String,
    },
    /// It is something else than a plugin.
    #[error(
        "`{reference}` is no plugin but {found}; `application/vnd.wasm.config.v0+json` is the configuration of one"
    )]
    NotWasm {
        /// What was asked for.
        reference: String,
        /// What it is.
        found: String,
    },
    /// The manifest is not right.
    #[error("the manifest of `{reference}` is not right: {reason}")]
    Manifest {
        /// What was asked for.
        reference: String,
        /// What is wrong.
        reason: String,
    },
    /// What was fetched can't be written down.
    #[error("what `{place}` gives can't be written down: {error}")]
    Write {
        /// The host.
        place: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}
