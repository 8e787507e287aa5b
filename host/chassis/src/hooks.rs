//! What an embedder may want to be told at once: for metrics, above all.

use std::time::Duration;

use wasink_journal::Fate;
use wasink_record::Stream;

use crate::limits::Limit;
use crate::plugin::PluginVersion;

/// Called as things happen, on the threads that they happen on: implementations must not block, must
/// not call the chassis, and must not panic.
///
/// Every method does nothing unless it is implemented, so that nobody needs to implement all.
pub trait Hooks: Send + Sync {
    /// So many records of a stream have come to this end at a sink.
    fn settled(&self, sink: &str, stream: Stream, fate: Fate, records: u64) {
        let _ = (sink, stream, fate, records);
    }

    /// A call of a plugin has cost its instance: a trap, a missed deadline, or its own word.
    fn stopped(&self, sink: &str, version: &PluginVersion, reason: &str) {
        let _ = (sink, version, reason);
    }

    /// Another version has taken over at a sink; nothing was delivered there for `stall`.
    fn exchanged(&self, sink: &str, version: &PluginVersion, stall: Duration) {
        let _ = (sink, version, stall);
    }

    /// A call did not end within the grace period of a swap, and was ended. Its batch is delivered
    /// again.
    fn grace_expired(&self, sink: &str, version: &PluginVersion) {
        let _ = (sink, version);
    }

    /// A plugin has come up against a limit: at a sink, or, where it was being loaded, by its own name.
    fn limit_reached(&self, whose: &str, limit: Limit) {
        let _ = (whose, limit);
    }

    /// So many events of an outbox were published, and so many tried in vain.
    fn outbox_passed(&self, outbox: &str, published: u64, failed: u64) {
        let _ = (outbox, published, failed);
    }

    /// An event of an outbox is not published any more: it is a dead letter.
    fn outbox_gave_up(&self, outbox: &str, event_id: &str, reason: &str) {
        let _ = (outbox, event_id, reason);
    }

    /// So many events of a feed were applied; so many more were known already, or skipped as an operator
    /// had asked.
    fn feed_passed(&self, feed: &str, applied: u64, known: u64, skipped: u64) {
        let _ = (feed, applied, known, skipped);
    }

    /// A feed stands still at an event that can't be applied. Told once, however often that event is
    /// tried again.
    fn feed_halted(&self, feed: &str, version: u64, reason: &str) {
        let _ = (feed, version, reason);
    }

    /// A step in the exchange of a plugin.
    fn swap(&self, event: &crate::swap::Event) {
        let _ = event;
    }
}

/// Does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
