//! The chassis: takes records in and delivers them to sinks.
//!
//! A [`Chassis`] is opened from a [`config::Config`] and a set of [`plugin::Plugins`]. Services emit
//! through [`Recorder`]s, which never block. Each stream has one log; each sink has a thread that
//! reads the logs of its streams at its own pace, hands batches to its plugin instance, and deals
//! with what comes back.
//!
//! This crate knows no WebAssembly: what it asks of plugins are the traits in [`plugin`].

pub mod config;
pub mod feed;
pub mod hooks;
pub mod limits;
pub mod logger;
pub mod plugin;

mod actor;
mod append;
mod chassis;
mod delivery;
mod directory;
mod ends;
mod error;
mod intake;
mod ledger;
mod missing;
mod recorder;
mod reload;
mod replay;
mod secret;
mod sink;
mod start;
mod status;
mod swap;

pub use append::AppendError;
pub use chassis::{Chassis, DROP_DEADLINE, Parts, Provenance};
pub use delivery::{Tally, TrialKind};
pub use directory::open_private;
pub use ends::Ends;
pub use error::{MendError, OpenError, SinkProblem};
pub use intake::Closed;
pub use ledger::{Admission, LaneLedger, StreamLedger};
pub use recorder::Recorder;
pub use reload::{ReloadError, Reloaded};
pub use replay::{Replayed, replay};
pub use secret::{Secret, SecretError, SecretText};
pub use start::check;
pub use status::{SinkState, SinkStatus, Status};
pub use swap::{
    Event, Operation, PluginState, Stage, SwapError, Swapped, Target, Trial, TrialReport,
};
