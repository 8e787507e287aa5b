//! What goes wrong in a sink, by what the chassis then does.

use std::fmt;
use std::time::Duration;

use crate::WrongStream;

/// Why a sink can't be opened, or could not be closed well. Any error becomes one by `?`, with the
/// errors behind it; your own words become one by [`Error::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error in these words. The operator sees them.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Not an `std::error::Error` itself: that is what lets every such error convert.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self(chain(&error))
    }
}

/// Why `write` or `flush` did not do what it was asked, for all records of the call.
///
/// `?` makes a `Failure` of an [`std::io::Error`] ([`Retry`](Failure::Retry): the disk may have
/// room again), of a [`serde_json::Error`] ([`Rejected`](Failure::Rejected): the same bytes will not
/// parse next time either) and of a [`WrongStream`] (rejected as well).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The receiver has not got the records, and it may pass: the same batch is delivered again.
    #[non_exhaustive]
    Retry {
        /// Not before this long has gone by, where the receiver said so.
        after: Option<Duration>,
        /// What is in the way. The operator sees it in the log and in the status.
        reason: String,
    },
    /// It can't be told whether the receiver has the records: the same batch is delivered again, as
    /// long as the receiver would recognise it by the description's `dedup_window`.
    #[non_exhaustive]
    InDoubt {
        /// Not before this long has gone by, where the receiver said so.
        after: Option<Duration>,
        /// What came in between. The operator sees it in the log and in the status.
        reason: String,
    },
    /// Final, with the reason: the records go to the dead letters.
    Rejected(String),
    /// This instance can't go on, with the reason: the host makes a new one and tries again.
    Broken(String),
}

impl Failure {
    /// It may pass: the same batch is delivered again when the chassis sees fit.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { after: None, reason: reason.into() }
    }

    /// It may pass, and not before this long has gone by.
    pub fn retry_after(after: Duration, reason: impl Into<String>) -> Self {
        Self::Retry { after: Some(after), reason: reason.into() }
    }

    /// It can't be told whether the receiver has the records: an answer got lost, above all.
    pub fn in_doubt(reason: impl Into<String>) -> Self {
        Self::InDoubt { after: None, reason: reason.into() }
    }

    /// The same, and it is not to be tried again before this long has gone by.
    pub fn in_doubt_for(after: Duration, reason: impl Into<String>) -> Self {
        Self::InDoubt { after: Some(after), reason: reason.into() }
    }

    /// Final for every record of the call.
    pub fn rejected(reason: impl Into<String>) -> Self {
        Self::Rejected(reason.into())
    }

    /// This instance can't go on.
    pub fn broken(reason: impl Into<String>) -> Self {
        Self::Broken(reason.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry { reason, .. } => write!(f, "to be tried again: {reason}"),
            Self::InDoubt { reason, .. } => write!(f, "in doubt: {reason}"),
            Self::Rejected(reason) => write!(f, "rejected: {reason}"),
            Self::Broken(reason) => write!(f, "broken: {reason}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::retry(chain(&error))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::rejected(chain(&error))
    }
}

impl From<WrongStream> for Failure {
    fn from(error: WrongStream) -> Self {
        Self::rejected(format!("the batch is of another kind: `{}`", error.actual.as_str()))
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
