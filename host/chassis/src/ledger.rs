//! What became of every record: counts that always add up.
//!
//! For each stream, what was offered is what was accepted plus what was dropped at the door. For each
//! sink of a stream, what was accepted is what was delivered, found duplicate, rejected, expired or
//! dropped, plus what is pending.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use wasink_journal::{Fates, LaneState};
use wasink_record::Stream;

/// Counts at the door of a stream.
#[derive(Debug, Default)]
pub(crate) struct IntakeCounts {
    /// Since the stream's beginning: what the log had when it was opened is in it.
    pub(crate) accepted: AtomicU64,
    pub(crate) dropped_full: AtomicU64,
    pub(crate) dropped_closed: AtomicU64,
    pub(crate) dropped_misplaced: AtomicU64,
    pub(crate) dropped_too_large: AtomicU64,
}

/// Whether a stream takes records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Admission {
    /// It does.
    Open,
    /// Its log is full.
    Full {
        /// Which sink keeps it so.
        reason: String,
        /// Whether callers are told so, and not made to wait.
        reject: bool,
    },
    /// The disk does not take more.
    Unavailable {
        /// What the disk says.
        reason: String,
    },
}

/// What came to the door of a stream, in records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamLedger {
    /// The stream.
    pub stream: Stream,
    /// Whether records are taken now.
    pub admission: Admission,
    /// Taken in since the stream's beginning.
    pub accepted: u64,
    /// Turned away since this start because the queue was full.
    pub dropped_full: u64,
    /// Turned away since this start because the chassis was closing.
    pub dropped_closed: u64,
    /// Turned away since this start because they are of another stream.
    pub dropped_misplaced: u64,
    /// Turned away since this start because they are too large.
    pub dropped_too_large: u64,
}

impl IntakeCounts {
    pub(crate) fn new(accepted: u64) -> Self {
        Self { accepted: AtomicU64::new(accepted), ..Self::default() }
    }

    /// Records that were let in turn out to be too large.
    pub(crate) fn take_back_too_large(&self, records: usize) {
        self.accepted.fetch_sub(records as u64, Ordering::AcqRel);
        add(&self.dropped_too_large, records);
    }

    /// Records that were let in were never written, since the log was closed.
    pub(crate) fn take_back_closed(&self, records: usize) {
        self.accepted.fetch_sub(records as u64, Ordering::AcqRel);
        add(&self.dropped_closed, records);
    }

    pub(crate) fn ledger(&self, stream: Stream, admission: Admission) -> StreamLedger {
        StreamLedger {
            stream,
            admission,
            accepted: self.accepted.load(Ordering::Relaxed),
            dropped_full: self.dropped_full.load(Ordering::Relaxed),
            dropped_closed: self.dropped_closed.load(Ordering::Relaxed),
            dropped_misplaced: self.dropped_misplaced.load(Ordering::Relaxed),
            dropped_too_large: self.dropped_too_large.load(Ordering::Relaxed),
        }
    }
}

/// What became of the records of one stream at one sink, in records, since the sink was first there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaneLedger {
    /// The stream.
    pub stream: Stream,
    /// Accepted by the stream before the sink was first there: none of its concern.
    pub before: u64,
    /// Delivered.
    pub delivered: u64,
    /// Recognised by the receiver as had before: as good as delivered.
    pub duplicate: u64,
    /// Refused for good, by the receiver or because they stop the plugin: dead letters.
    pub rejected: u64,
    /// Too old for the receiver: dead letters.
    pub expired: u64,
    /// Given up to make room for newer ones, or damaged in the journal.
    pub dropped: u64,
    /// Accepted and none of the above yet.
    pub pending: u64,
    /// How often a call had to be tried again, since this start.
    pub retries: u64,
}

impl LaneLedger {
    /// The ledger of a lane, where nothing is pending yet. `beginning` is the stream's first position.
    pub(crate) fn new(stream: Stream, lane: &LaneState, beginning: u64, retries: u64) -> Self {
        let Fates { delivered, duplicate, rejected, expired, dropped, damaged } = lane.fates;
        let before = lane.origin - beginning;
        let dropped = dropped + damaged;
        Self {
            stream,
            before,
            delivered,
            duplicate,
            rejected,
            expired,
            dropped,
            pending: 0,
            retries,
        }
    }

    /// Records of which something has become.
    fn settled(&self) -> u64 {
        self.delivered + self.duplicate + self.rejected + self.expired + self.dropped
    }

    /// What came after `earlier` was read of the same lane. What is pending is pending still.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            delivered: self.delivered - earlier.delivered,
            duplicate: self.duplicate - earlier.duplicate,
            rejected: self.rejected.saturating_sub(earlier.rejected),
            expired: self.expired.saturating_sub(earlier.expired),
            dropped: self.dropped - earlier.dropped,
            // Those of a sink that was started anew count from there.
            retries: self.retries.saturating_sub(earlier.retries),
            ..*self
        }
    }
}

/// Joins what was read of streams and of lanes, at about the same moment, so that it adds up.
pub(crate) fn balance(stream: &mut StreamLedger, lanes: &mut [&mut LaneLedger]) {
    // A record may be through before it is counted at the door.
    let settled = lanes.iter().map(|lane| lane.before + lane.settled()).max().unwrap_or(0);
    stream.accepted = stream.accepted.max(settled);
    for lane in lanes {
        lane.pending = stream.accepted - lane.before - lane.settled();
    }
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, records: usize) {
    count.fetch_add(records as u64, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(fates: Fates, before: u64) -> LaneLedger {
        let mut state = LaneState::default();
        (state.fates, state.origin) = (fates, before);
        LaneLedger::new(Stream::Usage, &state, 0, 0)
    }

    #[test]
    fn a_record_that_is_through_before_it_is_counted_at_the_door_is_neither_lost_nor_owed() {
        let fast = lane(Fates { delivered: 3, expired: 1, ..Fates::default() }, 0);
        let slow = lane(Fates { duplicate: 1, ..Fates::default() }, 0);
        let mut stream = IntakeCounts::new(2).ledger(Stream::Usage, Admission::Open);
        let mut lanes = [fast, slow];
        balance(&mut stream, &mut lanes.each_mut().map(|lane| lane));
        assert_eq!(stream.accepted, 4);
        assert_eq!(lanes.map(|lane| lane.pending), [0, 3]);
    }

    #[test]
    fn a_sink_that_came_later_owes_nothing_of_what_was_before_it() {
        let late = lane(Fates { delivered: 2, ..Fates::default() }, 5);
        let mut stream = IntakeCounts::new(10).ledger(Stream::Usage, Admission::Open);
        let mut lanes = [late];
        balance(&mut stream, &mut lanes.each_mut().map(|lane| lane));
        assert_eq!(lanes[0].pending, 3);
    }
}
