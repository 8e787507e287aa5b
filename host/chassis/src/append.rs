//! Records whose callers wait until they are durable.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use wasink_record::Stamped;

/// Why records were not appended. None of them was, unless a variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The log is full, or too much waits to be appended.
    #[error("full: try again in {retry_after:?}")]
    Full {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The disk does not take more.
    #[error("nothing can be taken now: {reason}; try again in {retry_after:?}")]
    Unavailable {
        /// What the disk says.
        reason: String,
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// A record is longer than is taken.
    #[error("record {index} has {bytes} bytes, and {limit} is the most (`journal.record`)")]
    TooLarge {
        /// Which, from 0.
        index: usize,
        /// The length of its wire format, in bytes.
        bytes: usize,
        /// The most.
        limit: usize,
    },
    /// A record is of another stream.
    #[error("record {index} is of another stream")]
    Misplaced {
        /// Which, from 0.
        index: usize,
    },
    /// No sink takes the stream.
    #[error("no sink takes the stream, so its records would be lost")]
    NoSink,
    /// The chassis is closed, or closes: whether the records were appended is not known where it
    /// closed meanwhile.
    #[error("the chassis is closed")]
    Closed,
}

/// Records that somebody waits for.
pub(crate) struct Append {
    pub(crate) records: Vec<Stamped>,
    /// Bytes of their wire format.
    pub(crate) bytes: u64,
    /// Whether the caller waits for room, too.
    pub(crate) patient: bool,
    pub(crate) done: oneshot::Sender<Result<(), AppendError>>,
}

/// The line of those who wait.
#[derive(Default)]
pub(crate) struct Line(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    appends: VecDeque<Append>,
    bytes: u64,
    closed: bool,
}

impl Line {
    /// Stands in line, where it is not longer than `most` bytes, or empty.
    pub(crate) fn push(&self, append: Append, most: u64) -> Result<(), AppendError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.closed {
            return Err(AppendError::Closed);
        }
        if waiting.bytes > 0 && waiting.bytes + append.bytes > most {
            return Err(AppendError::Full { retry_after: RETRY_SOON });
        }
        waiting.bytes += append.bytes;
        waiting.appends.push_back(append);
        Ok(())
    }

    /// Takes the first ones, up to about `most` bytes.
    pub(crate) fn take(&self, most: u64) -> Vec<Append> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Vec::new();
        let mut bytes = 0;
        while bytes < most
            && let Some(append) = waiting.appends.pop_front()
        {
            bytes += append.bytes;
            waiting.bytes -= append.bytes;
            taken.push(append);
        }
        taken
    }

    /// Answers those for whom `answer` has one; the others stay.
    pub(crate) fn answer(&self, answer: impl Fn(&Append) -> Option<AppendError>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for append in std::mem::take(&mut waiting.appends) {
            match answer(&append) {
                Some(error) => {
                    waiting.bytes -= append.bytes;
                    drop(append.done.send(Err(error)));
                }
                None => waiting.appends.push_back(append),
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).appends.is_empty()
    }

    /// Nobody may stand in line from now on; those who do are sent away.
    pub(crate) fn close(&self) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.closed = true;
        for append in waiting.appends.drain(..) {
            // Whoever does not wait any more does not mind.
            drop(append.done.send(Err(AppendError::Closed)));
        }
    }
}

/// When to come back where it is full only for the moment.
pub(crate) const RETRY_SOON: Duration = Duration::from_secs(1);

/// When to come back where somebody has to do something first.
pub(crate) const RETRY_LATER: Duration = Duration::from_secs(10);
