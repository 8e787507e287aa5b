//! What the chassis shows of itself.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::ledger::{LaneLedger, StreamLedger};
use crate::limits::LimitsReached;
use crate::plugin::PluginVersion;

/// How a sink is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SinkState {
    /// It takes what comes.
    Working,
    /// Its last call did not succeed; it is tried again.
    Retrying {
        /// Calls in a row that did not succeed.
        failures: u32,
        /// Why the last did not.
        reason: String,
    },
    /// Its last calls have failed one after the other: a few records at a time are tried until one
    /// gets through.
    Open {
        /// Calls in a row that did not succeed.
        failures: u32,
        /// Why the last did not.
        reason: String,
    },
    /// It waits for a person to say what is to become of records in doubt.
    Held {
        /// Which, and what to do.
        reason: String,
    },
    /// It did not open, and the configuration says to go on without it.
    Degraded {
        /// Why it did not open.
        reason: String,
    },
    /// It is closed.
    Closed,
}

/// A sink's state, shared between its thread and whoever looks.
#[derive(Debug)]
pub(crate) struct StateCell(Mutex<SinkState>);

impl StateCell {
    pub(crate) fn new(state: SinkState) -> Self {
        Self(Mutex::new(state))
    }

    pub(crate) fn set(&self, state: SinkState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn get(&self) -> SinkState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All that a chassis shows of itself at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Fresh at every start.
    pub epoch: String,
    /// The streams that somebody takes, and what came to their doors.
    pub streams: Vec<StreamLedger>,
    /// The sinks, in the order of the configuration.
    pub sinks: Vec<SinkStatus>,
}

impl Status {
    /// Records that some sink has not dealt with yet, summed over sinks.
    pub fn pending(&self) -> u64 {
        self.sinks.iter().flat_map(|sink| &sink.lanes).map(|lane| lane.pending).sum()
    }

    /// Records that were given up to make room, or are damaged, summed over sinks.
    pub fn dropped(&self) -> u64 {
        self.sinks.iter().flat_map(|sink| &sink.lanes).map(|lane| lane.dropped).sum()
    }

    /// What came after `earlier` was asked of the same chassis. What is pending is pending still.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for sink in &mut self.sinks {
            // A configuration may have come between them, so the order says nothing.
            let Some(earlier) = earlier.sinks.iter().find(|one| one.name == sink.name) else {
                continue;
            };
            for lane in &mut sink.lanes {
                let known = earlier.lanes.iter().find(|known| known.stream == lane.stream);
                if let Some(known) = known {
                    *lane = lane.since(known);
                }
            }
        }
        self
    }

    /// Records that were refused for good or too old, summed over sinks.
    pub fn refused(&self) -> u64 {
        let lanes = self.sinks.iter().flat_map(|sink| &sink.lanes);
        lanes.map(|lane| lane.rejected + lane.expired).sum()
    }
}

/// One sink at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SinkStatus {
    /// Its name in the configuration.
    pub name: String,
    /// The plugin that it runs.
    pub plugin: String,
    /// Which bytes; absent where it did not open.
    pub version: Option<PluginVersion>,
    /// How it is doing.
    #[serde(flatten)]
    pub state: SinkState,
    /// What became of the records, a stream each.
    pub lanes: Vec<LaneLedger>,
    /// How often its plugin came up against each limit since the start.
    pub limits: LimitsReached,
}
