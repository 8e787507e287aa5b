//! Exchanging the versions of plugins while records flow.
//!
//! Nothing is handed over but a cursor, since records stay in the journal until something has become
//! of them. One version is in charge of a plugin's name; another takes over, at all sinks that use
//! the plugin or at none:
//!
//! ```text
//!                   refused: not a plugin, wrong digest, settings …
//!              ┌──────────────────────────────────────────────┐
//!              ▼                                              │
//!        ┌───────────┐   asked    ┌───────────┐  prepared  ┌──┴────────┐
//!        │ in charge │ ─────────► │ preparing │ ─────────► │ exchanging│
//!        └───────────┘            └───────────┘            └──┬────────┘
//!          ▲   ▲   ▲                    ▲                     │ opened everywhere
//!          │   │   │ proven             │ asked               ▼
//!          │   │   └────────────────────┼──────────────┌───────────┐
//!          │   └── without probation ───┼──────────────│ probation │
//!          │ returned                   └──────────────└───────────┘
//!        ┌─┴─────────┐                                        │
//!        │ returning │ ◄──────────────────────────────────────┘
//!        └───────────┘         stops, rejects, too slow
//! ```
//!
//! From *preparing* a version may also go on *trial*, as a shadow or a canary, beside the one in
//! charge (`delivery/trial.rs`); that ends by its being aborted or promoted, which leads back to
//! preparing.
//!
//! *Preparing* happens beside the work: the bytes are read once, and what is digested is what is
//! checked, compiled, asked to describe itself and opened once in an empty directory. *Exchanging*
//! happens on the thread of each sink, between two batches (`delivery/exchange.rs`). A batch that is
//! under way has the grace period to end; past it the old instance is dropped and the batch is
//! delivered again.

mod board;
mod reports;
mod stage;
mod swaps;
mod ticket;
mod trials;
mod versions;
mod watch;

pub use stage::{
    Event, Operation, PluginState, Stage, SwapError, Swapped, Target, Trial, TrialReport,
};
pub(crate) use swaps::{Granted, Site, Swaps};
pub(crate) use ticket::{Came, Incoming, Report, Reports};
pub(crate) use versions::Versions;
pub(crate) use watch::Watcher;
