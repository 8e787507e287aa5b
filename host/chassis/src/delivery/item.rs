//! Records on their way.

use std::ops::Range;
use std::sync::Arc;

use wasink_journal::Batch;
use wasink_record::Timestamp;

/// A run of records on its way.
pub(super) struct Item {
    pub(super) lane: usize,
    pub(super) batch: Arc<Batch>,
    /// How often it has stopped the plugin.
    pub(super) strikes: u32,
    pub(super) attempts: u32,
    /// When it was handed over first, and last.
    pub(super) tried: Option<(Timestamp, Timestamp)>,
    /// When it was handed over first without an answer.
    pub(super) doubt: Option<Timestamp>,
    /// The same, as it was before the call that is under way.
    pub(super) earlier: Option<Timestamp>,
}

impl Item {
    /// A part of this one.
    pub(super) fn part(&self, batch: Arc<Batch>, strikes: u32) -> Self {
        let Self { lane, attempts, tried, doubt, earlier, .. } = *self;
        Self { lane, batch, strikes, attempts, tried, doubt, earlier }
    }

    /// The first `records`, and the rest.
    pub(super) fn split(&self, records: usize) -> (Option<Self>, Option<Self>) {
        let (head, tail) = self.batch.split_at(records);
        // It is not known in which part that was which has stopped the plugin.
        let part = |batch: Batch| self.part(Arc::new(batch), 0);
        (head.map(part), tail.map(part))
    }

    /// What is left of it without those records of the lane.
    pub(super) fn without(self, lane: usize, range: &Range<u64>) -> Vec<Self> {
        let positions = self.positions();
        if self.lane != lane || positions.end <= range.start || range.end <= positions.start {
            return vec![self];
        }
        let at = |position: u64| {
            usize::try_from(position.saturating_sub(positions.start)).unwrap_or(usize::MAX)
        };
        let before = (positions.start < range.start).then(|| self.split(at(range.start)).0);
        let behind = (range.end < positions.end).then(|| self.split(at(range.end)).1);
        before.into_iter().chain(behind).flatten().collect()
    }

    pub(super) fn positions(&self) -> Range<u64> {
        self.batch.position()..self.batch.end()
    }
}
