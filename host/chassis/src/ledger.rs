//! What became of every record: counts that always add up.
//!
//! For each stream, what was offered is what was accepted plus what was dropped at the door. For each
//! sink of a stream, what was accepted is what was delivered, found duplicate, rejected, expired or
//! dropped, plus what is pending.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use wasink_record::Stream;

/// Counts at the door of a stream.
#[derive(Debug, Default)]
pub(crate) struct IntakeCounts {
    pub(crate) accepted: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_closed: AtomicU64,
    pub(crate) dropped_misplaced: AtomicU64,
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
    /// Turned away because they are of another stream.
    pub dropped_misplaced: u64,
}

impl IntakeCounts {
    pub(crate) fn ledger(&self, stream: Stream) -> StreamLedger {
        StreamLedger {
            stream,
            accepted: self.accepted.load(Ordering::Relaxed),
            dropped_full: self.dropped_full.load(Ordering::Relaxed),
            dropped_closed: self.dropped_closed.load(Ordering::Relaxed),
            dropped_misplaced: self.dropped_misplaced.load(Ordering::Relaxed),
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
    /// Never tried, because the sink did not open and was left out.
    pub dropped: u64,
    /// Accepted and none of the above yet.
    pub pending: u64,
    /// How often a call had to be tried again.
    pub retries: u64,
}

impl LaneLedger {
    /// Counts what is pending as dropped: nobody is there to deliver it.
    pub(crate) fn drop_pending(&mut self) {
        self.dropped += std::mem::take(&mut self.pending);
    }

    /// Records of which something has become.
    fn settled(&self) -> u64 {
        self.delivered + self.duplicate + self.rejected + self.expired
    }
}

impl LaneCounts {
    /// The counts, where nothing is pending yet.
    pub(crate) fn ledger(&self, stream: Stream) -> LaneLedger {
        let [delivered, duplicate, rejected, expired] =
            [&self.delivered, &self.duplicate, &self.rejected, &self.expired]
                .map(|count| count.load(Ordering::Acquire));
        LaneLedger {
            stream,
            delivered,
            duplicate,
            rejected,
            expired,
            dropped: 0,
            pending: 0,
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

/// Joins what was read of streams and of lanes, at about the same moment, so that it adds up.
pub(crate) fn balance(stream: &mut StreamLedger, lanes: &mut [&mut LaneLedger]) {
    // A record may be through before it is counted at the door.
    let settled = lanes.iter().map(|lane| lane.settled()).max().unwrap_or(0);
    stream.accepted = stream.accepted.max(settled);
    for lane in lanes {
        lane.pending = stream.accepted - lane.settled();
    }
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, records: usize) {
    count.fetch_add(records as u64, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_through_before_it_is_counted_at_the_door_is_neither_lost_nor_owed() {
        let fast = LaneCounts::default();
        add(&fast.delivered, 3);
        add(&fast.expired, 1);
        let slow = LaneCounts::default();
        add(&slow.duplicate, 1);
        let accepted = IntakeCounts::default();
        add(&accepted.accepted, 2);
        let mut stream = accepted.ledger(Stream::Usage);
        let mut lanes = [fast.ledger(Stream::Usage), slow.ledger(Stream::Usage)];
        balance(&mut stream, &mut lanes.each_mut().map(|lane| lane));
        assert_eq!(stream.accepted, 4);
        assert_eq!(lanes.map(|lane| lane.pending), [0, 3]);
    }

    #[test]
    fn what_a_sink_that_was_left_out_would_have_had_is_dropped_not_pending() {
        let mut stream = IntakeCounts::default().ledger(Stream::Usage);
        stream.accepted = 5;
        let mut lane = LaneCounts::default().ledger(Stream::Usage);
        balance(&mut stream, &mut [&mut lane]);
        lane.drop_pending();
        assert_eq!((lane.dropped, lane.pending), (5, 0));
    }
}
