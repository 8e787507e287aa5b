//! Another version beside the one in charge: shown copies of the records, or given a part of them.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use serde::Serialize;
use wasink_journal::Batch;

use super::Charge;
use crate::plugin::{
    Acknowledges, CallError, Exception, Failure, Interrupter, Outcome, PluginError, SinkPlugin,
};

/// Batches that may wait for a shadow; it is spared those that come meanwhile.
const BEHIND: usize = 4;

/// A share of one is a million.
pub(crate) const WHOLE: u32 = 1_000_000;

/// How a trial is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum TrialKind {
    /// It is shown the same batches, in a data directory of its own and without a network. What it
    /// does with them is compared and counts for nothing.
    Shadow,
    /// It delivers a share of the batches for real, beside the version in charge and in the same data
    /// directory. Which those are depends on the id of a batch's first record alone.
    Canary {
        /// The share, in millionths.
        share: u32,
    },
}

/// What has come of a trial so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Batches that it has been given.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Records of which the same became as with the version in charge. A canary's are not compared.
    pub same: u64,
    /// Records of which something else became.
    pub different: u64,
    /// Records that it rejected.
    pub rejected: u64,
    /// Calls that cost its instance, or were not answered with what became of records.
    pub stops: u64,
    /// Records that a shadow was spared since it was behind.
    pub skipped: u64,
    /// The last thing that did not go well.
    pub last: Option<String>,
}

/// Told whether a version has passed its trial.
type Over = Box<dyn FnOnce(bool) + Send>;

/// A tally that all sinks of a trial share, with the rule by which it ends.
pub(crate) struct Score {
    tally: Mutex<Tally>,
    kind: TrialKind,
    /// So many records with fewer failures, and it has passed.
    records: Option<u64>,
    /// So many failures, and it has not.
    failures: Option<u64>,
    /// Told once.
    over: Mutex<Option<Over>>,
}

impl Score {
    pub(crate) fn new(
        kind: TrialKind,
        records: Option<u64>,
        failures: Option<u64>,
        over: Over,
    ) -> Arc<Self> {
        let (tally, over) = (Mutex::default(), Mutex::new(Some(over)));
        Arc::new(Self { tally, kind, records, failures, over })
    }

    pub(crate) fn tally(&self) -> Tally {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts something, and ends the trial where it is decided by that.
    fn count(&self, count: impl FnOnce(&mut Tally)) {
        let decided = {
            let mut tally = self.lock();
            count(&mut tally);
            let wrong = match self.kind {
                TrialKind::Shadow => tally.different,
                TrialKind::Canary { .. } => tally.rejected,
            };
            let failed = self.failures.is_some_and(|most| wrong + tally.stops >= most);
            let enough = self.records.is_some_and(|enough| tally.records >= enough);
            failed.then_some(false).or(enough.then_some(true))
        };
        if let Some(passed) = decided {
            let over = self.over.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(over) = over {
                over(passed);
            }
        }
    }

    fn stopped(&self, error: &CallError) {
        self.count(|tally| {
            tally.stops += 1;
            tally.last = Some(error.to_string());
        });
    }
}

/// A version on trial at one sink. Dropping it ends that.
pub(crate) struct Trial {
    charge: Charge,
    score: Arc<Score>,
    runner: Runner,
}

enum Runner {
    Shadow { batches: SyncSender<Shown>, interrupter: Interrupter },
    Canary { share: u32, plugin: Box<dyn SinkPlugin>, gone: bool },
}

/// A batch, and what the version in charge made of it.
type Shown = (Arc<Batch>, Vec<Exception>);

impl Trial {
    /// Opens the version.
    pub(crate) fn begin(charge: Charge, score: Arc<Score>) -> Result<Self, String> {
        let plugin = charge.open().map_err(|error| error.to_string())?;
        let runner = match score.kind {
            TrialKind::Canary { share } => Runner::Canary { share, plugin, gone: false },
            TrialKind::Shadow => {
                let interrupter = plugin.interrupter();
                let (batches, shown) = sync_channel(BEHIND);
                start_shadow(plugin, charge.clone(), score.clone(), shown)
                    .map_err(|error| error.to_string())?;
                Runner::Shadow { batches, interrupter }
            }
        };
        Ok(Self { charge, score, runner })
    }

    pub(super) fn charge(&self) -> &Charge {
        &self.charge
    }

    /// Shows a shadow what the version in charge has dealt with.
    pub(super) fn show(&self, batch: &Arc<Batch>, exceptions: &[Exception]) {
        let Runner::Shadow { batches, .. } = &self.runner else { return };
        if batches.try_send((batch.clone(), exceptions.to_vec())).is_err() {
            self.score.count(|tally| tally.skipped += batch.len() as u64);
        }
    }

    /// Gives a canary its share. Where that is no part of it, or it did not do what it was asked, it is
    /// for the version in charge.
    pub(super) fn deliver(&mut self, batch: &Arc<Batch>) -> Share {
        let Runner::Canary { share, plugin, gone } = &mut self.runner else { return Share::None };
        if !falls_within(batch, *share) {
            return Share::None;
        }
        let answer = attempt(&self.charge, plugin, gone, batch);
        match answer {
            Ok(exceptions) => {
                let rejected = |one: &&Exception| matches!(one.outcome, Outcome::Rejected(_));
                let rejected = exceptions.iter().filter(rejected).count() as u64;
                self.score.count(|tally| {
                    tally.batches += 1;
                    tally.records += batch.len() as u64;
                    tally.rejected += rejected;
                });
                Share::Delivered(exceptions)
            }
            Err(CallError::Failed(Failure::Retry { .. })) => Share::None,
            Err(CallError::Failed(Failure::InDoubt { .. })) => Share::Unknown,
            Err(error) => {
                self.score.stopped(&error);
                Share::Unknown
            }
        }
    }
}

/// What a canary did with a batch.
pub(super) enum Share {
    /// Nothing that a receiver knows of.
    None,
    /// Nobody knows what.
    Unknown,
    /// It has an answer.
    Delivered(Vec<Exception>),
}

impl Drop for Trial {
    fn drop(&mut self) {
        match &mut self.runner {
            // Its thread ends when nothing more can come.
            Runner::Shadow { interrupter, .. } => interrupter.interrupt(),
            // Everything that it took is flushed; how it ends changes nothing.
            Runner::Canary { plugin, gone, .. } => {
                if !*gone {
                    drop(plugin.close());
                }
            }
        }
    }
}

/// Whether a batch is part of such a share: always the same for the same first record.
fn falls_within(batch: &Batch, share: u32) -> bool {
    let Some(id) = batch.id(0) else { return false };
    // Of one process they differ in their times and counters alone, which are all over them.
    let id = u128::from_be_bytes(*id.as_bytes());
    let halves = [id >> 64, id & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    let number = halves.into_iter().fold(0, |sum, half| spread(sum ^ half));
    let point = (u128::from(number) * u128::from(WHOLE)) >> 64;
    point < u128::from(share)
}

/// Spreads what may be consecutive evenly over all numbers: the finalizer of `SplitMix64` (Steele,
/// Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Hands a batch to an instance and has it make it good, in a fresh one where the old one is gone.
fn attempt(
    charge: &Charge,
    plugin: &mut Box<dyn SinkPlugin>,
    gone: &mut bool,
    batch: &Arc<Batch>,
) -> Result<Vec<Exception>, CallError> {
    if *gone {
        *plugin = charge.open()?;
        *gone = false;
    }
    let on_flush = plugin.description().acknowledges == Acknowledges::OnFlush;
    let answer = charge.guarded("write", || {
        let exceptions = plugin.write(batch)?;
        if on_flush {
            plugin.flush()?;
        }
        Ok(exceptions)
    });
    *gone = matches!(answer, Err(CallError::Stopped(_) | CallError::Failed(Failure::Broken(_))));
    answer
}

fn start_shadow(
    mut plugin: Box<dyn SinkPlugin>,
    charge: Charge,
    score: Arc<Score>,
    shown: Receiver<Shown>,
) -> io::Result<()> {
    let name = format!("shadow-{}", charge.request.name);
    thread::Builder::new().name(name).spawn(move || {
        let mut gone = false;
        for (batch, expected) in shown {
            match attempt(&charge, &mut plugin, &mut gone, &batch) {
                Ok(found) => score.count(|tally| compare(tally, &batch, &expected, &found)),
                Err(CallError::Stopped(PluginError::Interrupted { .. })) => return,
                Err(error) => score.stopped(&error),
            }
        }
        drop(plugin.close());
    })?;
    Ok(())
}

/// Counts the records of which the same became.
fn compare(tally: &mut Tally, batch: &Batch, expected: &[Exception], found: &[Exception]) {
    let outcome = |of: &[Exception], index: usize| {
        let one = of.iter().find(|one| one.index == index);
        one.map_or(("delivered", None), |one| match &one.outcome {
            Outcome::Duplicate => ("duplicate", None),
            Outcome::Retry(_) => ("to be tried again", None),
            Outcome::InDoubt(_) => ("in doubt", None),
            Outcome::Rejected(reason) => ("rejected", Some(reason.clone())),
            Outcome::Expired => ("expired", None),
        })
    };
    tally.batches += 1;
    tally.records += batch.len() as u64;
    let named: std::collections::BTreeSet<usize> =
        expected.iter().chain(found).map(|one| one.index).collect();
    let mut different = 0;
    for index in named {
        let ((known, _), (new, reason)) = (outcome(expected, index), outcome(found, index));
        tally.rejected += u64::from(new == "rejected");
        if known != new {
            different += 1;
            let position = batch.position() + index as u64;
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            tally.last = Some(format!(
                "the record at {position} is {known} with the version in charge, and {new} with \
                 this one{reason}"
            ));
        }
    }
    tally.different += different;
    tally.same += (batch.len() as u64).saturating_sub(different);
}
