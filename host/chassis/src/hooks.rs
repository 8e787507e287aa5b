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

    /// A step in the exchange of a plugin.
    fn swap(&self, event: &crate::swap::Event) {
        let _ = event;
    }
}

/// Does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHooks;

impl Hooks for NoHooks {}
