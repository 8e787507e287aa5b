//! From a feed to a database.
//!
//! A pass reads the events behind the cursor, in order, and applies each in one transaction together
//! with the cursor and the event's id: so an event that comes twice is applied once, and after a crash
//! either all of it is there or nothing. What can't be applied halts everything after it, loudly, until
//! somebody mends it or has it [skipped](Store::skip): a node that goes on without it would differ from
//! the others. What halts a feed stands in the database, and so does what is to be skipped: any process
//! that opens the database can ask, and say.

#[cfg(feature = "sqlite")]
pub mod rows;
#[cfg(feature = "sqlite")]
pub mod sqlite;

mod follower;

pub use follower::{Follower, FollowerState};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasink_chassis::feed::{FeedSource, PolledEvent};
use wasink_chassis::hooks::{Hooks, NoHooks};
use wasink_chassis::logger::{Level, Line, Logger, printable};
use wasink_chassis::plugin::{CallError, Failure, Interrupter};
use wasink_record::{Clock, ControlEvent, Timestamp};

use crate::artifacts::{Artifact, ArtifactError, Artifacts};

/// A database that knows how far a feed was applied.
pub trait Store: Send + 'static {
    /// What a caller writes in.
    type Transaction<'a>
    where
        Self: 'a;

    /// The control version up to which everything was applied; 0 at the beginning.
    ///
    /// # Errors
    ///
    /// What the database says, or that what it has there is no version.
    fn cursor(&mut self) -> Result<u64, StoreError>;

    /// Whether the event of this id was applied, at whatever place and by whatever feed.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn is_applied(&mut self, event_id: &str) -> Result<bool, StoreError>;

    /// In one transaction: what `with` does, the cursor, and the event's id. Where any of it fails
    /// nothing of it is there. What halted the feed does not halt it any more. Returns whether the
    /// event was new: `with` is not called for one that was applied before.
    ///
    /// # Errors
    ///
    /// What `with` or the database says, or that the cursor is not where `place` has it: nothing is
    /// done then, and `with` was not called.
    fn apply(
        &mut self,
        event_id: &str,
        place: Place,
        now: Timestamp,
        with: &mut dyn FnMut(&mut Self::Transaction<'_>) -> Result<(), ApplyError>,
    ) -> Result<bool, ApplyError>;

    /// Goes over an event that can't be applied, if somebody has asked for that: returns their reason.
    ///
    /// # Errors
    ///
    /// What the database says, or that the cursor is not where `place` has it.
    fn pass_over(&mut self, place: Place) -> Result<Option<String>, ApplyError>;

    /// Writes down what halts the feed, if the cursor is still where `place` has it. As long as that is
    /// the same event, the time stays the same.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn halt(&mut self, halted: &Halted, place: Place) -> Result<(), StoreError>;

    /// Where the feed is, and what halts it.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn status(&mut self) -> Result<FeedStatus, StoreError>;

    /// Asks for going over the event that halts the feed, which has to be at `version`. An applier does
    /// so with its next pass, unless the event can be applied by then. Another process may ask.
    ///
    /// # Errors
    ///
    /// That it is not that event that halts the feed, or what the database says.
    fn skip(&mut self, version: u64, reason: &str) -> Result<(), SkipError>;

    /// Begins again behind `version`. Events whose ids are known are not applied again; what was skipped
    /// behind it is tried again. Another process may ask.
    ///
    /// # Errors
    ///
    /// That ids of events behind it are forgotten, which would be applied after what came later; or what
    /// the database says.
    fn replay(&mut self, version: u64) -> Result<(), ReplayError>;

    /// Forgets the ids of this feed's events that were applied so long ago and lie behind the cursor, at most
    /// 10,000 of them. Returns how many.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, StoreError>;
}

/// What a caller does with an event.
pub trait Apply<S: Store>: Send {
    /// Writes what the event says, in this transaction, and does not end it. Called once for each
    /// event, but for those whose transaction was lost.
    ///
    /// # Errors
    ///
    /// Why it can't be applied: nothing after it is, until that is mended.
    fn apply(
        &mut self,
        event: &ControlEvent,
        artifact: Option<&Artifact>,
        transaction: &mut S::Transaction<'_>,
    ) -> Result<(), ApplyError>;

    /// Called after events were committed, once a pass: for caches of what the database has.
    fn applied(&mut self, events: usize) {
        let _ = events;
    }
}

/// An event's place in its feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Where the cursor is.
    pub since: u64,
    /// The event's control version.
    pub version: u64,
}

/// What halts a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted {
    /// The event's id.
    pub event_id: String,
    /// Its place.
    pub version: u64,
    /// Why it can't be applied.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Where a feed is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedStatus {
    /// Everything up to here was applied.
    pub cursor: u64,
    /// What halts it, if anything does.
    pub halted: Option<Halted>,
    /// The version that is to be skipped, and why, where that has not come to pass.
    pub skip: Option<(u64, String)>,
}

/// Why nothing is skipped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// Nothing halts the feed.
    #[error("nothing halts the feed, so there is nothing to skip; it is at {cursor}")]
    NotHalted {
        /// Everything up to here was applied.
        cursor: u64,
    },
    /// It is another event that halts it.
    #[error("it is event `{}` at {version} that halts the feed", printable(.event_id))]
    Other {
        /// Its id.
        event_id: String,
        /// Its place.
        version: u64,
    },
    /// There is no reason to be read later.
    #[error("say why: the reason is kept in the log")]
    NoReason,
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a feed does not begin again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// What is known of events begins later.
    #[error(
        "ids up to {forgotten} are forgotten: events from there on would be applied again, after what \
         came later; begin behind {forgotten}, or with an empty database"
    )]
    Forgotten {
        /// The highest version whose id is forgotten.
        forgotten: u64,
    },
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a database says.
#[derive(Debug, thiserror::Error)]
#[error("the database: {0}")]
pub struct StoreError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why an event was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The caller's own reason.
    #[error("{0}")]
    Refused(String),
    /// The cursor is not where it was: somebody has set it, or applies the same feed to the same
    /// database. It is read anew.
    #[error("the cursor was moved meanwhile")]
    Moved,
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// An event can't be applied.
    #[error("event `{}` at {version}: {}", printable(.event_id), printable(.reason))]
    Event {
        /// Its id.
        event_id: String,
        /// Its place.
        version: u64,
        /// Why.
        reason: String,
    },
    /// The feed can't be read.
    #[error("the feed: {}", printable(&.0.to_string()))]
    Source(CallError),
    /// What the next event points to can't be had now, which says nothing of the event: the next pass
    /// tries again, and nothing is skipped meanwhile.
    #[error("the store of artifacts: {0}")]
    Artifacts(ArtifactError),
    /// The database can't.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How an applier goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApplierOptions {
    /// Most events that are asked for at a time. Default: 256.
    pub batch: u32,
    /// How long the source may wait for an event. Default: 10 s.
    pub wait: Duration,
    /// Ids are known for so long after their events were applied. It has to be longer than anybody
    /// publishes an event again. Default: 30 days.
    pub keep: Duration,
}

impl Default for ApplierOptions {
    fn default() -> Self {
        let keep = Duration::from_hours(30 * 24);
        Self { batch: 256, wait: Duration::from_secs(10), keep }
    }
}

/// What one pass came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events that were applied.
    pub applied: usize,
    /// Events that had been applied before, at another place.
    pub known: usize,
    /// Events that could not be applied and were skipped, as somebody had asked.
    pub skipped: usize,
}

/// Applies what is in a feed. For whoever wants to say when.
pub struct Applier<S: Store> {
    source: Box<dyn FeedSource>,
    store: S,
    apply: Box<dyn Apply<S>>,
    artifacts: Option<Box<dyn Artifacts>>,
    options: ApplierOptions,
    clock: Arc<dyn Clock>,
    logger: Arc<dyn Logger>,
    /// The source is to be opened again before it is called.
    stopped: bool,
    /// When ids were forgotten last.
    pruned: Option<Instant>,
    /// What all passes came to.
    total: Applied,
    /// No more events are to be applied.
    stop: Arc<AtomicBool>,
    hooks: Arc<dyn Hooks>,
    /// What hooks are told that the feed is called.
    name: String,
    /// The event that hooks were told to halt it.
    halted_at: Option<u64>,
}

impl<S: Store> std::fmt::Debug for Applier<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").field("options", &self.options).finish_non_exhaustive()
    }
}

impl<S: Store> Applier<S> {
    /// From this source into this database. Without `artifacts`, an event that points to one can't be
    /// applied.
    pub fn new(
        source: Box<dyn FeedSource>,
        store: S,
        apply: Box<dyn Apply<S>>,
        artifacts: Option<Box<dyn Artifacts>>,
        options: ApplierOptions,
        clock: Arc<dyn Clock>,
        logger: Arc<dyn Logger>,
    ) -> Self {
        Self {
            source,
            store,
            apply,
            artifacts,
            options,
            clock,
            logger,
            stopped: false,
            pruned: None,
            total: Applied::default(),
            stop: Arc::default(),
            hooks: Arc::new(NoHooks),
            name: String::new(),
            halted_at: None,
        }
    }

    /// Tells `hooks` what becomes of this feed, which they know by `name`.
    #[must_use]
    pub fn hooked(self, name: impl Into<String>, hooks: Arc<dyn Hooks>) -> Self {
        Self { hooks, name: name.into(), ..self }
    }

    /// Applies what is behind the cursor, until there is nothing or something halts it. Waits for the
    /// first event as long as the options say.
    ///
    /// # Errors
    ///
    /// What halts it; what came before is applied.
    pub fn pass(&mut self) -> Result<Applied, Halt> {
        self.pass_until(None)
    }

    /// A pass that may end when it is time, although there may be more.
    fn pass_until(&mut self, until: Option<Instant>) -> Result<Applied, Halt> {
        let mut all = Applied::default();
        let mut wait = self.options.wait;
        let passed = loop {
            match self.step(wait, &mut all) {
                Ok(true) if self.stop.load(Ordering::Relaxed) => break Ok(()),
                Ok(true) if until.is_some_and(|until| Instant::now() >= until) => break Ok(()),
                Ok(true) => wait = Duration::ZERO,
                Ok(false) => break Ok(()),
                Err(halt) => break Err(halt),
            }
        };
        self.total.applied += all.applied;
        self.total.known += all.known;
        self.total.skipped += all.skipped;
        if all.applied > 0 {
            self.apply.applied(all.applied);
        }
        self.tell(all, &passed);
        passed?;
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNED_EVERY) {
            while self.store.prune(self.options.keep, self.clock.now())? == PRUNED_AT_ONCE {}
            self.pruned = Some(Instant::now());
        }
        Ok(all)
    }

    /// Tells what a pass came to.
    fn tell(&mut self, all: Applied, passed: &Result<(), Halt>) {
        if all != Applied::default() {
            let [applied, known, skipped] =
                [all.applied, all.known, all.skipped].map(|events| events as u64);
            self.hooks.feed_passed(&self.name, applied, known, skipped);
        }
        match passed {
            Err(Halt::Event { version, reason, .. }) if self.halted_at != Some(*version) => {
                self.hooks.feed_halted(&self.name, *version, reason);
                self.halted_at = Some(*version);
            }
            Ok(()) => self.halted_at = None,
            // What can't be reached says nothing of the event that it may stand still at.
            Err(_) => {}
        }
    }

    /// Applies one batch; whether there may be more.
    fn step(&mut self, wait: Duration, all: &mut Applied) -> Result<bool, Halt> {
        let mut since = self.store.cursor()?;
        let events = self.poll(since, wait)?;
        let begun = since;
        let mut moved = false;
        let mut done = Vec::with_capacity(events.len());
        let mut halted = Ok(());
        for event in &events {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let version = event.control_version;
            if version == 0 || i64::try_from(version).is_err() {
                let reason = format!("it gives an event the control version {version}");
                halted = Err(Halt::Source(CallError::Failed(Failure::Broken(reason))));
                break;
            }
            if version <= since {
                done.push(event.event_id.clone());
                continue;
            }
            let place = Place { since, version };
            match self.one(event, place, all) {
                Ok(true) => done.push(event.event_id.clone()),
                // What comes next is to be asked for anew.
                Ok(false) => {
                    moved = true;
                    break;
                }
                Err(halt) => {
                    halted = Err(halt);
                    break;
                }
            }
            since = event.control_version;
        }
        if !done.is_empty() && self.source.wants_acks() {
            self.ack(&done);
        }
        halted.map(|()| moved || since > begun)
    }

    fn poll(&mut self, since: u64, wait: Duration) -> Result<Vec<PolledEvent>, Halt> {
        if self.stopped {
            self.source.reopen().map_err(|error| Halt::Source(error.into()))?;
            self.stopped = false;
        }
        self.source.poll(since, self.options.batch.max(1), wait).map_err(|error| {
            self.stopped = is_gone(&error);
            Halt::Source(error)
        })
    }

    /// Applies one event, or goes over it as somebody has asked; `false` where the cursor was moved.
    fn one(&mut self, polled: &PolledEvent, place: Place, all: &mut Applied) -> Result<bool, Halt> {
        let reason = match self.try_one(polled, place, all) {
            Ok(()) => return Ok(true),
            Err(NotApplied::Artifacts(error)) => return Err(Halt::Artifacts(error)),
            Err(NotApplied::Apply(ApplyError::Moved)) => return Ok(false),
            Err(NotApplied::Apply(ApplyError::Store(error))) => return Err(error.into()),
            Err(NotApplied::Apply(ApplyError::Refused(reason))) => reason,
        };
        let event_id = &polled.event_id;
        match self.store.pass_over(place) {
            Ok(Some(why)) => {
                all.skipped += 1;
                self.logger.log(&Line {
                    level: Level::Warn,
                    sink: None,
                    message: "an event of the feed is skipped",
                    fields: &[
                        ("event_id".to_owned(), event_id.as_str().into()),
                        ("version".to_owned(), place.version.into()),
                        ("why".to_owned(), why.into()),
                        ("reason".to_owned(), reason.into()),
                    ],
                });
                return Ok(true);
            }
            Ok(None) => {}
            Err(ApplyError::Moved) => return Ok(false),
            Err(ApplyError::Store(error)) => return Err(error.into()),
            Err(ApplyError::Refused(reason)) => return Err(StoreError(reason.into()).into()),
        }
        let since = self.clock.now();
        let (event_id, version) = (event_id.clone(), place.version);
        let halted = Halted { event_id, version, reason, since };
        self.store.halt(&halted, place)?;
        let Halted { event_id, version, reason, .. } = halted;
        Err(Halt::Event { event_id, version, reason })
    }

    fn try_one(
        &mut self,
        polled: &PolledEvent,
        place: Place,
        all: &mut Applied,
    ) -> Result<(), NotApplied> {
        let event = polled.event.as_ref();
        let event = event.map_err(|invalid| ApplyError::Refused(invalid.to_string()))?;
        let (id, now) = (event.event_id(), self.clock.now());
        if self.store.is_applied(id).map_err(ApplyError::Store)? {
            self.store.apply(id, place, now, &mut |_| Ok(()))?;
            all.known += 1;
            return Ok(());
        }
        let artifact = match (event.artifact_ref(), event.checksum()) {
            (None, _) => None,
            (Some(reference), checksum) => {
                let fetched = self.fetch(reference, checksum.unwrap_or_default());
                Some(fetched.map_err(|error| match error {
                    ArtifactError::Unreachable { .. } => NotApplied::Artifacts(error),
                    error => ApplyError::Refused(error.to_string()).into(),
                })?)
            }
        };
        let apply = &mut self.apply;
        let is_new = self.store.apply(id, place, now, &mut |transaction| {
            apply.apply(event, artifact.as_ref(), transaction)
        })?;
        if is_new {
            all.applied += 1;
        } else {
            // Somebody was faster: one that reads another feed with the same events.
            all.known += 1;
        }
        Ok(())
    }

    fn fetch(&mut self, reference: &str, checksum: &str) -> Result<Artifact, ArtifactError> {
        match &mut self.artifacts {
            Some(artifacts) => artifacts.fetch(reference, checksum),
            None => Err(ArtifactError::NoStore { reference: reference.to_owned() }),
        }
    }

    /// Tells the source what is committed. It comes to no harm where that fails: what it gives again is
    /// known.
    fn ack(&mut self, event_ids: &[String]) {
        let Err(error) = self.source.ack(event_ids) else { return };
        self.stopped = is_gone(&error);
        self.logger.log(&Line {
            level: Level::Warn,
            sink: None,
            message: "the feed's source was not told what is applied; it may give it again",
            fields: &[("reason".to_owned(), error.to_string().into())],
        });
    }

    /// What all passes came to, those that were halted as well.
    pub fn total(&self) -> Applied {
        self.total
    }

    /// How long the source may wait.
    fn wait(&self) -> Duration {
        self.options.wait
    }

    fn interrupter(&self) -> Interrupter {
        self.source.interrupter()
    }

    fn close(&mut self) {
        // How it ends there is of no interest: what is applied is committed.
        drop(self.source.close());
    }

    /// The database.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }
}

/// Why an event was not applied, and whether that is its own fault.
enum NotApplied {
    Apply(ApplyError),
    Artifacts(ArtifactError),
}

impl From<ApplyError> for NotApplied {
    fn from(error: ApplyError) -> Self {
        Self::Apply(error)
    }
}

/// A store prunes so many ids at a time.
const PRUNED_AT_ONCE: usize = 10_000;

/// How often there may be something to prune.
const PRUNED_EVERY: Duration = Duration::from_mins(5);

/// Whether an instance is of no more use.
fn is_gone(error: &CallError) -> bool {
    matches!(error, CallError::Stopped(_) | CallError::Failed(Failure::Broken(_)))
}
