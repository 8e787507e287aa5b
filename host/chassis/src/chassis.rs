//! The whole: opened from a configuration, emitted to, closed.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasink_journal::{Fate, Log, Stretch};
use wasink_record::{
    Clock, CloudEvent, ControlEvent, Entry, Record, Stream, SystemClock, UsageEvent,
};

use crate::actor::{Actor, Mend, Request};
use crate::config::Config;
use crate::error::{MendError, OpenError};
use crate::hooks::{Hooks, NoHooks};
use crate::intake::Intake;
use crate::ledger::balance;
use crate::logger::{Level, Line, Logger, TracingLogger};
use crate::plugin::{Captured, Plugins};
use crate::recorder::Recorder;
use crate::replay::Replayed;
use crate::sink::{KnownLane, Sink};
use crate::start;
use crate::status::Status;
use crate::swap::{
    Event, PluginState, Reports, SwapError, Swapped, Swaps, Target, Trial, TrialReport, Watcher,
};

/// Takes records in and delivers them to the sinks of its configuration.
///
/// Dropping a chassis closes it with a deadline of [`DROP_DEADLINE`].
pub struct Chassis {
    pub(crate) epoch: String,
    pub(crate) doors: BTreeMap<Stream, Door>,
    pub(crate) logs: BTreeMap<Stream, KnownLog>,
    pub(crate) sinks: RwLock<Vec<Arc<Sink>>>,
    /// What it runs on. Held while that changes.
    pub(crate) config: Mutex<Config>,
    pub(crate) parts: Parts,
    pub(crate) reports: Reports,
    pub(crate) swaps: Arc<Swaps>,
    pub(crate) watcher: Mutex<Option<Watcher>>,
    /// Somebody has asked for that, whether the configuration says so now or not.
    pub(crate) watching: AtomicBool,
    pub(crate) logger: Arc<dyn Logger>,
    pub(crate) closed: AtomicBool,
}

/// How long a chassis that is dropped without [`Chassis::close`] tries to deliver what it has.
pub const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// How long an interrupted call may take to end. One that does not is left behind with its thread:
/// better than a program that can't end.
pub(crate) const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// How often a closing chassis looks whether what was accepted is in the journal.
const MOVER_POLL: Duration = Duration::from_millis(1);

/// Dead letters that are handed over before other records of the sink have their turn.
const REPLAYED_AT_ONCE: usize = 64;

/// Stands for deadlines that are too far away to be told.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Which version settled what, for each stream of a sink.
pub type Provenance = Vec<(Stream, Vec<Stretch>)>;

/// A stream that some sink takes.
pub(crate) struct Door {
    pub(crate) intake: Arc<Intake>,
    pub(crate) mover: Mutex<Option<JoinHandle<()>>>,
}

/// The journal of a stream, and its first position of all.
pub(crate) struct KnownLog {
    pub(crate) log: Log,
    pub(crate) beginning: u64,
}

/// What a chassis is joined with, besides its configuration.
#[derive(Clone)]
pub struct Parts {
    /// Where plugins come from.
    pub plugins: Arc<dyn Plugins>,
    /// Where log lines go.
    pub logger: Arc<dyn Logger>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
    /// Told as things happen.
    pub hooks: Arc<dyn Hooks>,
}

impl Parts {
    /// These plugins, the system's clock, log lines to the `tracing` crate, and no hooks.
    pub fn new(plugins: Arc<dyn Plugins>) -> Self {
        let (logger, clock) = (Arc::new(TracingLogger), Arc::new(SystemClock));
        Self { plugins, logger, clock, hooks: Arc::new(NoHooks) }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

impl Chassis {
    /// Opens every sink of `config` and starts to take records.
    ///
    /// A sink that does not open, and whose configuration says `degrade`, is left out: a line in the
    /// log and its state say so.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration and with the other sinks, together; nothing is left
    /// running then.
    pub fn open(config: &Config, parts: &Parts) -> Result<Self, OpenError> {
        start::open(config, parts)
    }

    /// Records the endpoints of billable intervals.
    pub fn metering(&self) -> Recorder<Entry> {
        Recorder::new(self.intake(Stream::Metering))
    }

    /// Records finished units of work.
    pub fn usage(&self) -> Recorder<UsageEvent> {
        Recorder::new(self.intake(Stream::Usage))
    }

    /// Records control events.
    pub fn control(&self) -> Recorder<ControlEvent> {
        Recorder::new(self.intake(Stream::Control))
    }

    /// Records CloudEvents.
    pub fn events(&self) -> Recorder<CloudEvent> {
        Recorder::new(self.intake(Stream::Events))
    }

    /// Records of `stream`, for doors that learn the stream while running. A record of another stream
    /// is dropped and counted.
    pub fn recorder(&self, stream: Stream) -> Recorder<Record> {
        Recorder::new(self.intake(stream))
    }

    /// How everything is doing, at this moment.
    pub fn status(&self) -> Status {
        let mut sinks: Vec<_> = self.sinks().iter().map(|sink| sink.status()).collect();
        let mut streams: Vec<_> = self.doors.values().map(|door| door.intake.ledger()).collect();
        for stream in &mut streams {
            let lanes = sinks.iter_mut().flat_map(|sink| &mut sink.lanes);
            let mut lanes: Vec<_> = lanes.filter(|lane| lane.stream == stream.stream).collect();
            balance(stream, &mut lanes);
        }
        Status { epoch: self.epoch.clone(), streams, sinks }
    }

    /// What the named sink has kept, where its plugin is one that keeps records for tests.
    ///
    /// Waits until the sink is between two batches. `None` where there is no such sink, its plugin
    /// keeps nothing, it does not answer, or it is closed.
    pub fn captured(&self, sink: &str) -> Option<Vec<Captured>> {
        self.actor(sink)?.ask(Request::Captured)?.ok()?
    }

    /// Makes such a sink forget; false where [`captured`](Self::captured) would give `None`.
    pub fn reset_captured(&self, sink: &str) -> bool {
        let answer = || self.actor(sink)?.ask(Request::ResetCaptured)?.ok();
        answer().unwrap_or(false)
    }

    /// How the plugins stand that sinks use, sorted by name.
    pub fn plugins(&self) -> Vec<PluginState> {
        self.swaps.states()
    }

    /// The steps in the exchange of a plugin, or of all, the latest `most` of them, the oldest first.
    /// Those of earlier starts are among them.
    pub fn swap_events(&self, plugin: Option<&str>, most: usize) -> Vec<Event> {
        self.swaps.events(plugin, most)
    }

    /// Puts another version of a plugin in charge at every sink that uses it, with records flowing,
    /// and returns when it is, or it is clear that it will not be. Blocks meanwhile: for compiling,
    /// for the batches that are under way, at the most for the grace period, and for the new
    /// version's opening.
    ///
    /// # Errors
    ///
    /// Why not. The version that was in charge is in charge then.
    pub fn swap(&self, plugin: &str, to: &Target) -> Result<Swapped, SwapError> {
        self.swaps.swap(plugin, to)
    }

    /// Puts the version before the present one in charge again. Blocks as [`swap`](Self::swap) does.
    ///
    /// # Errors
    ///
    /// As for [`swap`](Self::swap), and where there was none before.
    pub fn roll_back(&self, plugin: &str) -> Result<Swapped, SwapError> {
        self.swaps.roll_back(plugin)
    }

    /// Begins to try another version of a plugin beside the one in charge, at every sink that uses
    /// it. Blocks for compiling, and until the sinks are between two batches.
    ///
    /// # Errors
    ///
    /// As for [`swap`](Self::swap).
    pub fn start_trial(
        &self,
        plugin: &str,
        to: &Target,
        trial: Trial,
    ) -> Result<TrialReport, SwapError> {
        self.swaps.start_trial(plugin, to, trial)
    }

    /// How the trial of a plugin goes, or how the last one went.
    ///
    /// # Errors
    ///
    /// Where there was none since this start.
    pub fn trial(&self, plugin: &str) -> Result<TrialReport, SwapError> {
        self.swaps.trial(plugin)
    }

    /// Ends a trial; the version in charge goes on. Blocks until the sinks are between two batches.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn abort_trial(&self, plugin: &str) -> Result<TrialReport, SwapError> {
        self.swaps.abort(plugin, "aborted")
    }

    /// Ends a trial and puts the version on trial in charge, as [`swap`](Self::swap) does.
    ///
    /// # Errors
    ///
    /// Where there is none, and as for [`swap`](Self::swap).
    pub fn promote(&self, plugin: &str) -> Result<Swapped, SwapError> {
        self.swaps.promote(plugin)
    }

    /// Which version of its plugin settled what at a sink, for each of its streams: all that is
    /// settled there is in one of the stretches, and once. `None` where there is no such sink.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn provenance(&self, sink: &str) -> io::Result<Option<Provenance>> {
        let Some(sink) = self.sink(sink) else { return Ok(None) };
        let of = |lane: &KnownLane| Ok((lane.log.stream(), lane.log.provenance(&sink.name)?));
        sink.lanes.iter().map(of).collect::<io::Result<_>>().map(Some)
    }

    /// Hands dead letters of a sink to its plugin once more, between two batches, with the ids that
    /// they have had all along. Those that are not there any more are left out. Blocks; the sink's
    /// other records wait for a few of them at a time.
    ///
    /// # Errors
    ///
    /// [`MendError`]. What was delivered before it is dead no more.
    pub fn replay_dead(
        &self,
        sink: &str,
        stream: Stream,
        positions: &[u64],
    ) -> Result<Replayed, MendError> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        let mut all = Replayed::default();
        for some in positions.chunks(REPLAYED_AT_ONCE) {
            let replayed = self.mend(sink, stream, |answer| Mend::Replay(some.to_vec(), answer))?;
            all.resolved.extend(replayed.resolved);
            all.refused.extend(replayed.refused);
        }
        Ok(all)
    }

    /// Takes dead letters of a sink away, and returns how many there were. The ledger goes on
    /// counting their records as what they are.
    ///
    /// # Errors
    ///
    /// [`MendError`]; then all of them are gone, or none.
    pub fn purge_dead(
        &self,
        sink: &str,
        stream: Stream,
        positions: &[u64],
    ) -> Result<u64, MendError> {
        self.mend(sink, stream, |answer| Mend::Purge(positions.to_vec(), answer))
    }

    /// Settles what is in doubt at a sink: `None` to hand it over again, or what has become of it.
    /// Returns the positions by stream; those where nothing is in doubt are left out.
    ///
    /// # Errors
    ///
    /// [`MendError`].
    pub fn end_doubt(
        &self,
        sink: &str,
        fate: Option<Fate>,
    ) -> Result<Vec<(Stream, Range<u64>)>, MendError> {
        let known = self.sink(sink).ok_or_else(|| self.unknown(sink))?;
        let mut ended = Vec::new();
        for stream in known.lanes.iter().map(|lane| lane.log.stream()) {
            let range = self.mend(sink, stream, |answer| Mend::EndDoubt(fate, answer))?;
            ended.extend(range.map(|range| (stream, range)));
        }
        Ok(ended)
    }

    fn unknown(&self, sink: &str) -> MendError {
        let known = self.sinks().iter().map(|sink| sink.name.clone()).collect();
        MendError::Unknown { sink: sink.to_owned(), known }
    }

    fn mend<T>(
        &self,
        sink: &str,
        stream: Stream,
        mend: impl FnOnce(SyncSender<io::Result<T>>) -> Mend,
    ) -> Result<T, MendError> {
        let known = self.sink(sink).ok_or_else(|| self.unknown(sink))?;
        if !known.lanes.iter().any(|lane| lane.log.stream() == stream) {
            return Err(MendError::NoStream { sink: sink.to_owned(), stream });
        }
        let answer = known.site.actor.ask(|answer| Request::Mend(stream, mend(answer)));
        answer.ok_or(MendError::Closed)?.map_err(MendError::Journal)
    }

    /// Looks for new versions in the plugin directories from now on, as often as the configuration's
    /// `swap.watch` says, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn watch(&self, config: &Config) -> io::Result<()> {
        self.watching.store(true, Ordering::SeqCst);
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        *watcher = match config.swap.watch {
            Duration::ZERO => None,
            interval => Some(Watcher::start(&self.swaps, interval)?),
        };
        Ok(())
    }

    /// Takes nothing more, delivers what there is, flushes and closes every sink, and returns how it
    /// all ended. What could not be delivered within `deadline` shows as pending.
    ///
    /// Blocks. A call of a plugin that is under way at the deadline is ended. Closing again changes
    /// nothing, and does not wait for a close that is under way.
    pub fn close(&self, deadline: Duration) -> Status {
        if self.closed.swap(true, Ordering::SeqCst) {
            return self.status();
        }
        let now = Instant::now();
        let deadline = now.checked_add(deadline).unwrap_or(now + LONGEST_DEADLINE);
        self.swaps.close();
        drop(self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.doors.values().for_each(|door| door.intake.close());
        // After a change of the configuration that is under way: what it starts has to end as well.
        drop(self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let sinks = self.sinks();
        let actors = || sinks.iter().map(|sink| &sink.site.actor);
        actors().for_each(|actor| actor.close_by(deadline));
        let late: Vec<_> = actors().filter(|actor| !actor.join(deadline)).collect();
        late.iter().for_each(|actor| actor.interrupt());
        for actor in late {
            actor.join(deadline + INTERRUPT_GRACE);
        }
        for door in self.doors.values() {
            let mut mover = door.mover.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mover) = mover.take() else { continue };
            while !mover.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(MOVER_POLL);
            }
            // With nobody left to read, a mover that waits for room would wait for ever.
            door.intake.abandon();
            // A panic in the thread has been printed; there is nothing to add.
            drop(mover.join());
        }
        let status = self.status();
        self.log_pending(&status);
        status
    }

    fn intake(&self, stream: Stream) -> Option<Arc<Intake>> {
        self.doors.get(&stream).map(|door| door.intake.clone())
    }

    /// The sinks that there are now.
    pub(crate) fn sinks(&self) -> Vec<Arc<Sink>> {
        self.sinks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sink(&self, name: &str) -> Option<Arc<Sink>> {
        self.sinks().into_iter().find(|sink| sink.name == name)
    }

    fn actor(&self, sink: &str) -> Option<Arc<Actor>> {
        Some(self.sink(sink)?.site.actor.clone())
    }

    /// Whether plugin directories are looked at.
    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Ordering::SeqCst)
    }

    /// Says in the log which records were left.
    fn log_pending(&self, status: &Status) {
        for sink in &status.sinks {
            for lane in sink.lanes.iter().filter(|lane| lane.pending > 0) {
                self.logger.log(&Line {
                    level: Level::Error,
                    sink: Some(&sink.name),
                    message: "closed with records that are not delivered yet",
                    fields: &[
                        ("stream".to_owned(), lane.stream.as_str().into()),
                        ("records".to_owned(), lane.pending.into()),
                    ],
                });
            }
        }
    }
}

impl Drop for Chassis {
    fn drop(&mut self) {
        self.close(DROP_DEADLINE);
    }
}

impl std::fmt::Debug for Chassis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chassis").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
