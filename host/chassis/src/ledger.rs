//! What became of every record: counts that always add up.
//!
//! For each stream, what was offered is what was accepted plus what was dropped. For each sink of a
//! stream, what was accepted since it opened is what was delivered, found duplicate, rejected or
//! expired, plus what is pending.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use wasink_record::Stream;

/// Counts at the door of a stream.
#[derive(Debug, Default)]
pub(crate) struct IntakeCounts {
    pub(crate) accepted: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_closed: AtomicU64,
}

/// What came to the door of a stream, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StreamLedger {
    /// The stream.
    pub stream: Stream,
    /// Taken in.
    pub accepted: u64,
    /// Turned away because the queue was full.
    pub dropped_full: u64,
    /// Turned away because the chassis was closing.
    pub dropped_closed: u64,
}

impl IntakeCounts {
    pub(crate) fn ledger(&self, stream: Stream) -> StreamLedger {
        StreamLedger {
            stream,
            accepted: self.accepted.load(Ordering::Relaxed),
            dropped_full: self.dropped_full.load(Ordering::Relaxed),
            dropped_closed: self.dropped_closed.load(Ordering::Relaxed),
        }
    }
}

/// Counts of one sink on one stream.
#[derive(Debug, Default)]
pub(crate) struct LaneCounts {
    pub(crate) delivered: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) retries: AtomicU64,
}

/// What became of the records of one stream at one sink, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaneLedger {
    /// The stream.
    pub stream: Stream,
    /// Delivered.
    pub delivered: u64,
    /// Recognised by the receiver as had before: as good as delivered.
    pub duplicate: u64,
    /// Refused for good, by the receiver or because they stop the plugin.
    pub rejected: u64,
    /// Too old for the receiver.
    pub expired: u64,
    /// Accepted and none of the above yet.
    pub pending: u64,
    /// How often a call had to be tried again.
    pub retries: u64,
}

impl LaneCounts {
    /// The counts, where `accepted` records have come to the stream's door so far.
    pub(crate) fn ledger(&self, stream: Stream, accepted: u64) -> LaneLedger {
        let [delivered, duplicate, rejected, expired] =
            [&self.delivered, &self.duplicate, &self.rejected, &self.expired]
                .map(|count| count.load(Ordering::Acquire));
        LaneLedger {
            stream,
            delivered,
            duplicate,
            rejected,
            expired,
            pending: accepted.saturating_sub(delivered + duplicate + rejected + expired),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, records: usize) {
    count.fetch_add(records as u64, Ordering::AcqRel);
}
