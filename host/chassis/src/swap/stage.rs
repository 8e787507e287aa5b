//! Where an exchange stands, and what is told of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasink_record::Timestamp;

use crate::delivery::{Tally, TrialKind};
use crate::plugin::PluginVersion;

/// Where a plugin's name stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// One version delivers, and nothing else is under way.
    InCharge,
    /// Another version is read, checked, compiled and tried beside it.
    Preparing,
    /// It waits for the batch that is under way at each sink, and takes over there.
    Exchanging,
    /// It delivers, and the one before it is ready to come back.
    Probation,
    /// It has failed, and the one before it takes over again.
    Returning,
    /// One version delivers, and another is shown copies of the records.
    Shadow,
    /// One version delivers, and another a share of the batches.
    Canary,
}

/// What moves a plugin's name from one stage to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Somebody wants another version.
    Asked,
    /// It can't be used. Back to where it was, which is probation where a version is in that.
    Refused { probation: bool },
    /// It can be used.
    Prepared,
    /// It did not open at some sink, so the old one is in charge of all.
    NotOpened,
    /// It is open at every sink.
    Opened { probation: bool },
    /// It has kept its sinks going for the time of its probation.
    Proven,
    /// It has not.
    Failed,
    /// The one before it is open at every sink again.
    Returned,
    /// It is tried beside the one in charge.
    Tried { canary: bool },
    /// The trial ends without it.
    Aborted,
    /// The trial ends with it: it is to take over.
    Promoted,
}

impl Stage {
    /// Where a step leads; `None` where it can't be taken.
    pub(crate) fn after(self, step: Step) -> Option<Self> {
        Some(match (self, step) {
            (Self::InCharge | Self::Probation, Step::Asked) => Self::Preparing,
            (Self::Preparing, Step::Refused { probation: true }) => Self::Probation,
            (Self::Preparing, Step::Refused { probation: false }) => Self::InCharge,
            (Self::Preparing, Step::Prepared) => Self::Exchanging,
            (Self::Exchanging, Step::NotOpened) => Self::InCharge,
            (Self::Exchanging, Step::Opened { probation: true }) => Self::Probation,
            (Self::Exchanging, Step::Opened { probation: false }) => Self::InCharge,
            (Self::Probation, Step::Proven) => Self::InCharge,
            (Self::Probation, Step::Failed) => Self::Returning,
            (Self::Returning, Step::Returned) => Self::InCharge,
            (Self::Preparing, Step::Tried { canary: false }) => Self::Shadow,
            (Self::Preparing, Step::Tried { canary: true }) => Self::Canary,
            (Self::Shadow | Self::Canary, Step::Aborted) => Self::InCharge,
            (Self::Shadow | Self::Canary, Step::Promoted) => Self::Preparing,
            _ => return None,
        })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InCharge => "in charge",
            Self::Preparing => "preparing",
            Self::Exchanging => "exchanging",
            Self::Probation => "probation",
            Self::Returning => "returning",
            Self::Shadow => "shadow",
            Self::Canary => "canary",
        })
    }
}

/// Which version is to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// What the plugin directories, or else the program, have now.
    Directory,
    /// The component in this file.
    File(PathBuf),
    /// One that has been in charge: by its version, or by the beginning of its digest, with or
    /// without `sha256:`.
    Version(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => f.write_str("what the plugin directory has"),
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Version(version) => write!(f, "version `{version}`"),
        }
    }
}

/// One step in the exchange of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Grows with every event; starts anew where the record of events was lost.
    pub id: u64,
    /// When.
    pub time: Timestamp,
    /// The plugin.
    pub plugin: String,
    /// The sink, where it concerns one alone.
    pub sink: Option<String>,
    /// Where the plugin stands after it.
    pub stage: Stage,
    /// The version that it is about, where that is known.
    pub version: Option<PluginVersion>,
    /// What happened, and why, for people.
    pub reason: String,
}

/// What is under way for a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its number since this start.
    pub id: u64,
    /// What was asked for, for people.
    pub to: String,
    /// Where it stands.
    pub stage: Stage,
    /// Since when it is under way.
    pub since: Timestamp,
}

/// How a plugin stands that some sink uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginState {
    /// Its name.
    pub name: String,
    /// The sinks that use it.
    pub sinks: Vec<String>,
    /// Where it stands.
    pub stage: Stage,
    /// The version that delivers; `None` where no sink could open it.
    pub version: Option<PluginVersion>,
    /// The one before, to which there is a way back.
    pub previous: Option<PluginVersion>,
    /// What is under way.
    pub operation: Option<Operation>,
    /// Why the last exchange did not come about, or was taken back.
    pub reason: Option<String>,
    /// How often it was exchanged since this start.
    pub exchanges: u64,
    /// How often a call was cut off at the end of a grace period since this start.
    pub grace_expiries: u64,
}

/// What a swap came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swapped {
    /// The version that delivers now.
    pub version: PluginVersion,
    /// The one before it; the same where there was nothing to do.
    pub previous: Option<PluginVersion>,
    /// The longest time for which a sink delivered nothing because of it, in nanoseconds.
    #[serde(rename = "stall_ns", serialize_with = "nanos")]
    pub stall: Duration,
    /// Where it stands.
    pub stage: Stage,
}

fn nanos<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// How a version is to be tried beside the one in charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// In which way.
    pub kind: TrialKind,
    /// After so many records with fewer failures it is promoted. `None`: when somebody says so.
    pub records: Option<u64>,
    /// After so many failures it is aborted: calls that stopped it, and records that were rejected,
    /// or, of a shadow, of which something else became than with the version in charge.
    pub failures: Option<u64>,
}

/// How a trial goes, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialReport {
    /// The plugin.
    pub plugin: String,
    /// The version on trial.
    pub version: PluginVersion,
    /// In which way it is tried.
    #[serde(flatten)]
    pub kind: TrialKind,
    /// Since when.
    pub since: Timestamp,
    /// How it ended, where it has.
    pub ended: Option<String>,
    /// What has come of it so far.
    #[serde(flatten)]
    pub tally: Tally,
}

/// Why a swap did not come about. The version that was in charge is in charge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// No sink uses the plugin.
    #[error("no sink uses a plugin `{name}`; used are: {}", used.join(", "))]
    Unused {
        /// The name.
        name: String,
        /// The names of those that sinks use.
        used: Vec<String>,
    },
    /// Something else is under way for it.
    #[error(
        "`{name}` is busy: {} is {} since {}", operation.to, operation.stage, operation.since
    )]
    Busy {
        /// The name.
        name: String,
        /// What is under way.
        operation: Operation,
    },
    /// No trial of it is under way, and none has been.
    #[error("no version of `{0}` is or was on trial since this start")]
    NoTrial(String),
    /// There is no such version.
    #[error("`{name}` has no version `{wanted}`; it has: {}", list(known))]
    NoVersion {
        /// The name.
        name: String,
        /// What was asked for.
        wanted: String,
        /// The versions that there are.
        known: Vec<String>,
    },
    /// The new version can't be used, or did not open.
    #[error("{0}")]
    Refused(String),
    /// The chassis is closed, or closes.
    #[error("this process is about to end")]
    Closed,
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none before the present one".to_owned() } else { known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_steps_of_the_diagram_can_be_taken() {
        use Stage::{Canary, Exchanging, InCharge, Preparing, Probation, Returning, Shadow};
        let steps = [
            Step::Asked,
            Step::Refused { probation: false },
            Step::Refused { probation: true },
            Step::Prepared,
            Step::NotOpened,
            Step::Opened { probation: false },
            Step::Opened { probation: true },
            Step::Proven,
            Step::Failed,
            Step::Returned,
            Step::Tried { canary: false },
            Step::Tried { canary: true },
            Step::Aborted,
            Step::Promoted,
        ];
        let taken = |stage: Stage| -> Vec<(Step, Stage)> {
            steps.into_iter().filter_map(|step| Some((step, stage.after(step)?))).collect()
        };
        assert_eq!(taken(InCharge), [(Step::Asked, Preparing)]);
        assert_eq!(
            taken(Preparing),
            [
                (Step::Refused { probation: false }, InCharge),
                (Step::Refused { probation: true }, Probation),
                (Step::Prepared, Exchanging),
                (Step::Tried { canary: false }, Shadow),
                (Step::Tried { canary: true }, Canary),
            ]
        );
        assert_eq!(
            taken(Exchanging),
            [
                (Step::NotOpened, InCharge),
                (Step::Opened { probation: false }, InCharge),
                (Step::Opened { probation: true }, Probation),
            ]
        );
        assert_eq!(
            taken(Probation),
            [(Step::Asked, Preparing), (Step::Proven, InCharge), (Step::Failed, Returning)]
        );
        assert_eq!(taken(Returning), [(Step::Returned, InCharge)]);
        for trial in [Shadow, Canary] {
            assert_eq!(taken(trial), [(Step::Aborted, InCharge), (Step::Promoted, Preparing)]);
        }
    }
}
