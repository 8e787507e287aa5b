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
}

impl Item {
    /// A part of this one.
    pub(super) fn part(&self, batch: Arc<Batch>, strikes: u32) -> Self {
        let Self { lane, attempts, tried, doubt, .. } = *self;
        Self { lane, batch, strikes, attempts, tried, doubt }
    }

    /// The first `records`, and the rest.
    pub(super) fn split(&self, records: usize) -> (Option<Self>, Option<Self>) {
        let (head, tail) = self.batch.split_at(records);
        // It is not known in which part that was which has stopped the plugin.
        let part = |batch: Batch| self.part(Arc::new(batch), 0);
        (head.map(part), tail.map(part))
    }

    pub(super) fn positions(&self) -> Range<u64> {
        self.batch.position()..self.batch.end()
    }
}
