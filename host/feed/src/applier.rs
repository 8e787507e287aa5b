//! From a feed to a database.
//!
//! A pass reads the events behind the cursor, in order, and applies each in one transaction together
//! with the cursor and the event's id: so an event that comes twice is applied once, and after a crash
//! either all of it is there or nothing. What can't be applied halts everything after it, loudly, until
//! somebody mends it or [skips](Applier::skip) it: a node that goes on without it would differ from the
//! others.

#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use wasink_chassis::feed::{FeedSource, PolledEvent};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::CallError;
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

    /// Whether the event of this id was applied, at whatever place.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn is_applied(&mut self, event_id: &str) -> Result<bool, StoreError>;

    /// In one transaction: what `with` does, the cursor, and the event's id. Where any of it fails
    /// nothing of it is there.
    ///
    /// # Errors
    ///
    /// What `with` or the database says.
    fn apply(
        &mut self,
        event_id: &str,
        version: u64,
        now: Timestamp,
        with: &mut dyn FnMut(&mut Self::Transaction<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError>;

    /// Sets the cursor, as [`Applier::replay`] and [`Applier::skip`] do.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn set_cursor(&mut self, version: u64) -> Result<(), StoreError>;

    /// Forgets the ids of events that were applied so long ago and lie behind the cursor, at most
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
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why nothing goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Halt {
    /// An event can't be applied.
    #[error("event `{event_id}` at {version}: {reason}")]
    Event {
        /// Its id.
        event_id: String,
        /// Its place.
        version: u64,
        /// Why.
        reason: String,
    },
    /// The feed can't be read.
    #[error("the feed: {0}")]
    Source(CallError),
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
        Self { source, store, apply, artifacts, options, clock, logger, stopped: false }
    }

    /// Applies what is behind the cursor, until there is nothing or something halts it. Waits for the
    /// first event as long as the options say.
    ///
    /// # Errors
    ///
    /// What halts it; what came before is applied.
    pub fn pass(&mut self) -> Result<Applied, Halt> {
        let mut all = Applied::default();
        let mut wait = self.options.wait;
        let passed = loop {
            match self.step(wait, &mut all) {
                Ok(true) => wait = Duration::ZERO,
                Ok(false) => break Ok(()),
                Err(halt) => break Err(halt),
            }
        };
        if all.applied > 0 {
            self.apply.applied(all.applied);
        }
        passed?;
        while self.store.prune(self.options.keep, self.clock.now())? == PRUNED_AT_ONCE {}
        Ok(all)
    }

    /// Applies one batch; whether there may be more.
    fn step(&mut self, wait: Duration, all: &mut Applied) -> Result<bool, Halt> {
        let since = self.store.cursor()?;
        let events = self.poll(since, wait)?;
        let more = !events.is_empty();
        let mut done = Vec::with_capacity(events.len());
        let mut halted = Ok(());
        for event in &events {
            match self.one(event, all) {
                Ok(()) => done.push(event.event_id.clone()),
                Err(halt) => {
                    halted = Err(halt);
                    break;
                }
            }
        }
        if !done.is_empty() && self.source.wants_acks() {
            self.ack(&done);
        }
        halted.map(|()| more)
    }

    fn poll(&mut self, since: u64, wait: Duration) -> Result<Vec<PolledEvent>, Halt> {
        if self.stopped {
            self.source.reopen().map_err(|error| Halt::Source(error.into()))?;
            self.stopped = false;
        }
        self.source.poll(since, self.options.batch.max(1), wait).map_err(|error| {
            self.stopped = matches!(error, CallError::Stopped(_));
            Halt::Source(error)
        })
    }

    fn one(&mut self, polled: &PolledEvent, all: &mut Applied) -> Result<(), Halt> {
        let halt = |reason: String| Halt::Event {
            event_id: polled.event_id.clone(),
            version: polled.control_version,
            reason,
        };
        let event = polled.event.as_ref().map_err(|invalid| halt(invalid.to_string()))?;
        let (id, version, now) = (event.event_id(), event.control_version(), self.clock.now());
        let told = |error: ApplyError| match error {
            ApplyError::Refused(reason) => halt(reason),
            ApplyError::Store(error) => Halt::Store(error),
        };
        if self.store.is_applied(id)? {
            self.store.apply(id, version, now, &mut |_| Ok(())).map_err(told)?;
            all.known += 1;
            return Ok(());
        }
        let artifact = match (event.artifact_ref(), event.checksum()) {
            (None, _) => None,
            (Some(reference), checksum) => {
                let fetched = self.fetch(reference, checksum.unwrap_or_default());
                Some(fetched.map_err(|error| halt(error.to_string()))?)
            }
        };
        let apply = &mut self.apply;
        self.store
            .apply(id, version, now, &mut |transaction| {
                apply.apply(event, artifact.as_ref(), transaction)
            })
            .map_err(told)?;
        all.applied += 1;
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
        self.stopped = matches!(error, CallError::Stopped(_));
        self.logger.log(&Line {
            level: Level::Warn,
            sink: None,
            message: "the feed's source was not told what is applied; it may give it again",
            fields: &[("reason".to_owned(), error.to_string().into())],
        });
    }

    /// Goes past the event at `version`, which is the next, without applying it. The log keeps the
    /// reason.
    ///
    /// # Errors
    ///
    /// Where another is the next, or what the database says.
    pub fn skip(&mut self, version: u64, reason: &str) -> Result<(), Halt> {
        let since = self.store.cursor()?;
        let next = self.poll(since, Duration::ZERO)?.into_iter().next();
        let found = next.map(|event| (event.control_version, event.event_id));
        match found {
            Some((next, event_id)) if next == version => {
                self.store.set_cursor(version)?;
                self.logger.log(&Line {
                    level: Level::Warn,
                    sink: None,
                    message: "an event of the feed is passed over",
                    fields: &[
                        ("event_id".to_owned(), event_id.into()),
                        ("version".to_owned(), version.into()),
                        ("reason".to_owned(), reason.into()),
                    ],
                });
                Ok(())
            }
            Some((next, event_id)) => Err(Halt::Event {
                event_id,
                version: next,
                reason: format!("it is the next, not {version}"),
            }),
            None => Err(Halt::Event {
                event_id: String::new(),
                version,
                reason: format!("there is nothing behind {since}"),
            }),
        }
    }

    /// Begins again behind `version`. Events whose ids are known are not applied again.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn replay(&mut self, version: u64) -> Result<(), StoreError> {
        self.store.set_cursor(version)
    }

    /// The database.
    pub fn store(&mut self) -> &mut S {
        &mut self.store
    }
}

/// A store prunes so many ids at a time.
const PRUNED_AT_ONCE: usize = 10_000;
