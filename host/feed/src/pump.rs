//! From an outbox to a feed.
//!
//! A pass takes rows that are due, hands their events to the feed sink, and writes down which have got
//! which control version. Where that is lost, they are handed over again and get the same ones: the
//! sink knows their ids. So an event is published at least once, and has one place.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasink_chassis::feed::FeedSink;
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{CallError, Failure, Interrupter};
use wasink_record::{Clock, ControlEvent, Timestamp};

use crate::Backoff;
use crate::outbox::{Failed, Order, Outbox, OutboxError, OutboxState, Row};

/// How a pump goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PumpOptions {
    /// The longest between two passes. Default: 15 s.
    pub period: Duration,
    /// Most events that are handed over at a time. Default: 64.
    pub batch: usize,
    /// Whether an event may overtake one that could not be published. Default: no.
    pub order: Order,
    /// How long a row waits that could not be published.
    pub backoff: Backoff,
    /// So often an event is tried that the sink refuses, or that stops it, before it is a dead letter.
    /// Where the feed can't be reached there is no end to trying. Default: 10.
    pub attempts: u32,
    /// Rows are removed so long after they were published. Default: 7 days.
    pub keep: Duration,
}

impl Default for PumpOptions {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(15),
            batch: 64,
            order: Order::Held,
            backoff: Backoff::default(),
            attempts: 10,
            keep: Duration::from_hours(7 * 24),
        }
    }
}

/// How a pump is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PumpState {
    /// Events that were published since the start.
    pub published: u64,
    /// Attempts in vain since the start.
    pub failed: u64,
    /// What the outbox held after the last pass.
    pub outbox: OutboxState,
    /// What is in the way, since the last pass; `None` where nothing is.
    pub problem: Option<String>,
}

/// What one pass came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// Events that were published.
    pub published: usize,
    /// Rows that were tried in vain.
    pub failed: usize,
}

/// Publishes what is in an outbox. For whoever wants to say when; see [`Pump::start`].
pub struct Publisher {
    outbox: Box<dyn Outbox>,
    sink: Box<dyn FeedSink>,
    options: PumpOptions,
    clock: Arc<dyn Clock>,
    /// So many rows are handed over one by one: one of them has stopped the sink.
    alone: usize,
    /// The sink is to be opened again before it is called.
    stopped: bool,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Rows that were not published.
type Refusals<'a> = Vec<(&'a Row, Refused)>;

/// Rows that were, with their control versions.
type Stamps<'a> = Vec<(&'a Row, u64)>;

/// Why a row was not published.
struct Refused {
    reason: String,
    /// Not before so long.
    after: Option<Duration>,
    /// It is about this event, not about the feed: trying has an end.
    own: bool,
}

impl Publisher {
    /// Between this outbox and this sink.
    pub fn new(
        outbox: Box<dyn Outbox>,
        sink: Box<dyn FeedSink>,
        options: PumpOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { outbox, sink, options, clock, alone: 0, stopped: false }
    }

    /// Publishes what is due, until nothing is or something is in the way. Blocks for as long as the
    /// database and the sink take.
    ///
    /// # Errors
    ///
    /// What the database says. What was published before that is published.
    pub fn pass(&mut self) -> Result<Pass, OutboxError> {
        let mut all = Pass::default();
        loop {
            let most = if self.alone > 0 { 1 } else { self.options.batch.max(1) };
            let rows = self.outbox.due(most, self.options.order, self.clock.now())?;
            if rows.is_empty() {
                break;
            }
            if self.alone > 0 {
                self.alone -= 1;
            }
            let one = self.publish(&rows)?;
            all.published += one.published;
            all.failed += one.failed;
            // What could not be published now is not due any more.
            if one.failed > 0 && self.options.order == Order::Held || rows.len() < most {
                break;
            }
        }
        let now = self.clock.now();
        while self.outbox.prune(self.options.keep, now)? == PRUNED_AT_ONCE {}
        Ok(all)
    }

    /// Hands over these rows, and writes down what became of them.
    fn publish(&mut self, rows: &[Row]) -> Result<Pass, OutboxError> {
        let (mut events, mut refused) = (Vec::new(), Vec::new());
        let held = self.options.order == Order::Held;
        for row in rows {
            match row.event() {
                Ok(event) => events.push((row, event)),
                Err(reason) => {
                    refused.push((row, Refused { reason, after: None, own: true }));
                    if held {
                        break;
                    }
                }
            }
        }
        let (given, stamps) = self.append(&events);
        refused.extend(given);
        let published: Vec<_> = stamps.iter().map(|(row, version)| (row.id, *version)).collect();
        let now = self.clock.now();
        if !published.is_empty() {
            self.outbox.published(&published, now)?;
        }
        if held {
            // Those after the first were not tried, or not to be.
            refused.sort_by_key(|(row, _)| row.id);
            refused.truncate(1);
        }
        for (row, refused) in &refused {
            self.outbox.failed(&self.verdict(row, refused, now), now)?;
        }
        Ok(Pass { published: published.len(), failed: refused.len() })
    }

    /// Appends events to the feed: which were refused, and which have got which version.
    fn append<'a>(&mut self, events: &[(&'a Row, ControlEvent)]) -> (Refusals<'a>, Stamps<'a>) {
        let Some((first, _)) = events.first() else { return Default::default() };
        if self.stopped {
            if let Err(error) = self.sink.reopen() {
                let refused = Refused { reason: error.to_string(), after: None, own: false };
                return (vec![(*first, refused)], Vec::new());
            }
            self.stopped = false;
        }
        let given: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
        let results = match self.sink.append(&given) {
            Ok(results) => results,
            Err(CallError::Failed(failure)) => {
                self.stopped = matches!(failure, Failure::Broken(_));
                return (vec![(*first, refused(failure))], Vec::new());
            }
            Err(CallError::Stopped(error)) => {
                self.stopped = true;
                // Which of them it was comes out when they are handed over one by one.
                let own = events.len() == 1;
                self.alone = self.alone.max(events.len());
                let refused = Refused { reason: error.to_string(), after: None, own };
                return (vec![(*first, refused)], Vec::new());
            }
        };
        let (mut refusals, mut stamps) = (Vec::new(), Vec::new());
        for ((row, _), result) in events.iter().zip(results) {
            match result {
                Ok(0) => {
                    let reason = "the feed sink gives it no control version".to_owned();
                    refusals.push((*row, Refused { reason, after: None, own: true }));
                }
                Ok(version) => stamps.push((*row, version)),
                Err(failure) => {
                    refusals.push((*row, refused(failure)));
                    // The sink stops there.
                    break;
                }
            }
        }
        (refusals, stamps)
    }

    fn verdict(&self, row: &Row, refused: &Refused, now: Timestamp) -> Failed {
        let failures = row.attempts.saturating_add(1);
        let dead = refused.own && row.refusals.saturating_add(1) >= self.options.attempts;
        let wait = refused.after.unwrap_or_default().max(self.options.backoff.after(failures));
        let wait = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        let again = Timestamp::from_unix_nanos(now.unix_nanos().saturating_add(wait));
        let (error, own) = (refused.reason.clone(), refused.own);
        Failed { row: row.id, error, own, again: (!dead).then_some(again) }
    }

    /// What the outbox holds.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn state(&mut self) -> Result<OutboxState, OutboxError> {
        self.outbox.state()
    }

    /// The outbox, for whoever looks at its dead letters.
    pub fn outbox(&mut self) -> &mut dyn Outbox {
        &mut *self.outbox
    }
}

/// An outbox prunes so many rows at a time.
const PRUNED_AT_ONCE: usize = 10_000;

fn refused(failure: Failure) -> Refused {
    match failure {
        Failure::Retry { after, reason } | Failure::InDoubt { after, reason } => {
            Refused { reason, after, own: false }
        }
        Failure::Rejected(reason) => Refused { reason, after: None, own: true },
        Failure::Broken(reason) => Refused { reason, after: None, own: false },
    }
}

/// A thread that publishes: at once, then whenever it is woken, and after each period.
pub struct Pump {
    shared: Arc<Shared>,
    interrupter: Interrupter,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    signals: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Default)]
struct Signals {
    woken: bool,
    stopping: bool,
    state: PumpState,
}

impl Shared {
    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Pump {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives none.
    pub fn start(publisher: Publisher, logger: Arc<dyn Logger>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { signals: Mutex::default(), changed: Condvar::new() });
        let interrupter = publisher.sink.interrupter();
        let work = shared.clone();
        let thread = thread::Builder::new()
            .name("wasink-pump".to_owned())
            .spawn(move || run(publisher, &work, &*logger))?;
        Ok(Self { shared, interrupter, thread: Mutex::new(Some(thread)) })
    }

    /// Says that there is something new: a producer does so after it has committed. Does not block.
    pub fn wake(&self) {
        self.shared.signals().woken = true;
        self.shared.changed.notify_all();
    }

    /// How it is doing.
    pub fn state(&self) -> PumpState {
        self.shared.signals().state.clone()
    }

    /// Ends it: waits for the pass under way for at most `grace`, then ends the call that it is in.
    pub fn stop(&self, grace: Duration) {
        self.shared.signals().stopping = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let until = Instant::now() + grace;
        while !thread.is_finished() && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(1));
        }
        if !thread.is_finished() {
            self.interrupter.interrupt();
        }
        // A panic in the thread has been printed; there is nothing to add.
        drop(thread.join());
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn run(mut publisher: Publisher, shared: &Shared, logger: &dyn Logger) {
    loop {
        let passed = publisher.pass();
        let state = publisher.state();
        let period = publisher.options.period;
        let mut signals = shared.signals();
        let problem = match (&passed, &state) {
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
            (Ok(pass), Ok(_)) if pass.failed > 0 => {
                Some("an event is not published; `last_error` of its row says why".to_owned())
            }
            _ => None,
        };
        if let Ok(pass) = passed {
            signals.state.published += pass.published as u64;
            signals.state.failed += pass.failed as u64;
        }
        if let Ok(state) = state {
            if state.dead > signals.state.outbox.dead {
                let dead = [("dead".to_owned(), state.dead.into())];
                let message = "events are dead letters: they are not published any more";
                logger.log(&Line { level: Level::Error, sink: None, message, fields: &dead });
            }
            signals.state.outbox = state;
        }
        if problem != signals.state.problem {
            let (level, message) = match problem {
                Some(_) => (Level::Warn, "can't publish all that is in the outbox"),
                None => (Level::Info, "publishing again"),
            };
            let fields: Vec<_> = problem
                .iter()
                .map(|reason| ("reason".to_owned(), reason.as_str().into()))
                .collect();
            logger.log(&Line { level, sink: None, message, fields: &fields });
            signals.state.problem = problem;
        }
        let until = Instant::now() + period;
        while !signals.woken && !signals.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            signals = shared
                .changed
                .wait_timeout(signals, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        signals.woken = false;
        if signals.stopping {
            break;
        }
    }
    // How it ends there is of no interest: what is published is in the feed.
    drop(publisher.sink.close());
}
