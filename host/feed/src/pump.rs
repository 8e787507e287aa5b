//! From an outbox to a feed.
//!
//! A pass takes rows that are due, hands their events to the feed sink, and writes down which have got
//! which control version. Where that is lost, they are handed over again and get the same ones: the
//! sink knows their ids. So an event is published at least once, and has one place.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wasink_chassis::feed::FeedSink;
use wasink_chassis::hooks::{Hooks, NoHooks};
use wasink_chassis::logger::{Level, Line, Logger, printable};
use wasink_chassis::plugin::{CallError, Failure, Interrupter, PluginError};
use wasink_record::{Clock, ControlEvent, Timestamp};

use crate::Backoff;
use crate::outbox::{Failed, LONGEST_WAIT, Order, Outbox, OutboxError, OutboxState, Row};
use crate::worker::{DIED, LONGEST_PASS, Passes, Told, Worker};

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
    /// So many rows are handed over one by one: one of them has stopped the sink, or was refused.
    alone: usize,
    /// The sink is to be opened again before it is called.
    stopped: bool,
    /// When rows were removed last.
    pruned: Option<Instant>,
    /// No more rows are to be handed over.
    stop: Arc<AtomicBool>,
    hooks: Arc<dyn Hooks>,
    /// What hooks are told that the outbox is called.
    name: String,
    /// Events that have become dead letters, and why, until that is settled and told.
    given_up: Vec<(String, String)>,
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
    fault: Fault,
}

/// Whose fault it is that a row was not published.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// This event's: trying has an end.
    Event,
    /// The feed's: others would fare no better now.
    Feed,
}

/// Whether the next rows may fare better.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Yes,
    /// The feed had something against these.
    Perhaps,
    No,
}

/// After so many calls in a row that published nothing it is the feed that can't be reached.
const MOST_IN_VAIN: u32 = 3;

/// What became of a call.
#[derive(Default)]
struct Answer<'a> {
    refusals: Refusals<'a>,
    stamps: Stamps<'a>,
    /// Nobody can tell whose fault it was: the same are to be handed over once more, one by one.
    again: bool,
    /// The call was ended from outside: nothing was tried.
    interrupted: bool,
}

impl Publisher {
    /// Between this outbox and this sink.
    pub fn new(
        outbox: Box<dyn Outbox>,
        sink: Box<dyn FeedSink>,
        options: PumpOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            outbox,
            sink,
            options,
            clock,
            alone: 0,
            stopped: false,
            pruned: None,
            stop: Arc::default(),
            hooks: Arc::new(NoHooks),
            name: String::new(),
            given_up: Vec::new(),
        }
    }

    /// Tells `hooks` what becomes of this outbox, which they know by `name`.
    #[must_use]
    pub fn hooked(self, name: impl Into<String>, hooks: Arc<dyn Hooks>) -> Self {
        Self { hooks, name: name.into(), ..self }
    }

    /// Publishes what is due, until nothing is or something is in the way. Blocks for as long as the
    /// database and the sink take.
    ///
    /// # Errors
    ///
    /// What the database says. What was published before that is published.
    pub fn pass(&mut self) -> Result<Pass, OutboxError> {
        self.pass_until(None).map(|(pass, _)| pass)
    }

    /// A pass that may end when it is time, and whether it has: there may be more then.
    fn pass_until(&mut self, until: Option<Instant>) -> Result<(Pass, bool), OutboxError> {
        let (mut all, mut vain, mut more) = (Pass::default(), 0, false);
        while !self.stop.load(Ordering::Relaxed) {
            let most = if self.alone > 0 { 1 } else { self.options.batch.max(1) };
            let rows = self.outbox.due(most, self.options.order, self.clock.now())?;
            if rows.is_empty() {
                break;
            }
            self.alone = self.alone.saturating_sub(1);
            self.given_up.clear();
            let (one, next) = self.publish(&rows)?;
            self.outbox.settle()?;
            self.tell(one);
            all.published += one.published;
            all.failed += one.failed;
            vain = if next == Next::Perhaps && one.published == 0 { vain + 1 } else { 0 };
            if next == Next::No || vain == MOST_IN_VAIN {
                break;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                more = true;
                break;
            }
        }
        if self.pruned.is_none_or(|at| at.elapsed() >= PRUNED_EVERY) {
            let now = self.clock.now();
            while self.outbox.prune(self.options.keep, now)? == PRUNED_AT_ONCE {}
            self.pruned = Some(Instant::now());
        }
        Ok((all, more))
    }

    /// Tells what became of some rows.
    fn tell(&mut self, pass: Pass) {
        if pass != Pass::default() {
            let [published, failed] = [pass.published, pass.failed].map(|events| events as u64);
            self.hooks.outbox_passed(&self.name, published, failed);
        }
        for (event_id, reason) in self.given_up.drain(..) {
            self.hooks.outbox_gave_up(&self.name, &event_id, &reason);
        }
    }

    /// Hands over these rows, and writes down what became of them; whether others may fare better.
    fn publish(&mut self, rows: &[Row]) -> Result<(Pass, Next), OutboxError> {
        let (mut events, mut refused) = (Vec::new(), Vec::new());
        let held = self.options.order == Order::Held;
        for row in rows {
            match row.event() {
                Ok(event) => events.push((row, event)),
                Err(reason) => {
                    refused.push((row, Refused { reason, after: None, fault: Fault::Event }));
                    if held {
                        break;
                    }
                }
            }
        }
        let Answer { refusals, stamps, again, interrupted } = self.append(&events);
        refused.extend(refusals);
        let published: Vec<_> = stamps.iter().map(|(row, version)| (row.id, *version)).collect();
        let now = self.clock.now();
        if !published.is_empty() {
            self.outbox.published(&published, now)?;
        }
        if held {
            // Those after the first were not tried, or not to be.
            refused.sort_by_key(|(row, _)| row.id);
            refused.truncate(1);
            if again || interrupted {
                let first = events.first().map_or(i64::MAX, |(row, _)| row.id);
                refused.retain(|(row, _)| row.id < first);
            }
        }
        let mut next = if interrupted { Next::No } else { Next::Yes };
        for (row, refused) in &refused {
            let failed = self.verdict(row, refused, now);
            if held && failed.again.is_some() {
                next = Next::No;
            } else if refused.fault == Fault::Feed && next == Next::Yes {
                next = Next::Perhaps;
            }
            self.outbox.failed(&failed, now)?;
            if failed.again.is_none() {
                self.given_up.push((row.event_id.clone(), failed.error));
            }
        }
        let pass = Pass { published: published.len(), failed: refused.len() };
        Ok((pass, next))
    }

    /// Appends events to the feed.
    fn append<'a>(&mut self, events: &[(&'a Row, ControlEvent)]) -> Answer<'a> {
        let mut answer = Answer::default();
        let Some((first, _)) = events.first() else { return answer };
        if self.stopped {
            if let Err(error) = self.sink.reopen() {
                if matches!(error, PluginError::Interrupted { .. }) {
                    answer.interrupted = true;
                    return answer;
                }
                let reason = error.to_string();
                answer.refusals =
                    vec![(*first, Refused { reason, after: None, fault: Fault::Feed })];
                return answer;
            }
            self.stopped = false;
        }
        let given: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
        let results = match self.sink.append(&given) {
            Ok(results) => results,
            Err(error) => {
                self.stopped =
                    matches!(error, CallError::Stopped(_) | CallError::Failed(Failure::Broken(_)));
                let refused = match error {
                    CallError::Failed(failure) => refused(failure),
                    CallError::Stopped(PluginError::Interrupted { .. }) => {
                        answer.interrupted = true;
                        return answer;
                    }
                    CallError::Stopped(error) => {
                        let fault = match error {
                            PluginError::Trapped { .. }
                            | PluginError::TimedOut { computing: true, .. } => Fault::Event,
                            // It waits for something outside.
                            _ => Fault::Feed,
                        };
                        Refused { reason: error.to_string(), after: None, fault }
                    }
                };
                if refused.fault == Fault::Event && events.len() > 1 {
                    // Which of them it was comes out when they are handed over one by one.
                    self.alone = self.alone.max(events.len());
                    answer.again = true;
                } else {
                    answer.refusals = vec![(*first, refused)];
                }
                return answer;
            }
        };
        for ((row, _), result) in events.iter().zip(results) {
            match result {
                Ok(0) => {
                    // As of the sink `nop`: it is not for this event that it does so.
                    let reason = "the feed sink gives no control versions".to_owned();
                    let fault = Fault::Feed;
                    answer.refusals.push((*row, Refused { reason, after: None, fault }));
                    break;
                }
                Ok(version) => answer.stamps.push((*row, version)),
                Err(failure) => {
                    answer.refusals.push((*row, refused(failure)));
                    // The sink stops there.
                    break;
                }
            }
        }
        answer
    }

    fn verdict(&self, row: &Row, refused: &Refused, now: Timestamp) -> Failed {
        let failures = row.attempts.saturating_add(1);
        let own = refused.fault == Fault::Event;
        let dead = own && row.refusals.saturating_add(1) >= self.options.attempts;
        let wait = refused.after.unwrap_or_default().max(self.options.backoff.after(failures));
        let wait = wait.min(LONGEST_WAIT / 2);
        let wait = i64::try_from(wait.as_nanos()).unwrap_or(i64::MAX);
        let again = Timestamp::from_unix_nanos(now.unix_nanos().saturating_add(wait));
        let error = refused.reason.clone();
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

/// How often there may be something to prune.
const PRUNED_EVERY: Duration = Duration::from_mins(5);

fn refused(failure: Failure) -> Refused {
    match failure {
        Failure::Retry { after, reason } | Failure::InDoubt { after, reason } => {
            Refused { reason, after, fault: Fault::Feed }
        }
        Failure::Rejected(reason) => Refused { reason, after: None, fault: Fault::Event },
        Failure::Broken(reason) => Refused { reason, after: None, fault: Fault::Feed },
    }
}

/// A thread that publishes: at once, then whenever it is woken, and after each period.
pub struct Pump(Worker<PumpState>);

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
        let (stop, retry) = (publisher.stop.clone(), publisher.options.period);
        let mut publisher = Some(publisher);
        let open = move || publisher.take().ok_or_else(|| "it was opened before".to_owned());
        Self::launch(open, stop, retry, logger)
    }

    /// As [`start`](Self::start), with a publisher that may not be had yet: where `open` says why, that
    /// is told as the [problem](PumpState::problem), and tried again after each `retry`.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_with(
        open: impl FnMut() -> Result<Publisher, String> + Send + 'static,
        retry: Duration,
        logger: Arc<dyn Logger>,
    ) -> std::io::Result<Self> {
        Self::launch(open, Arc::default(), retry, logger)
    }

    fn launch(
        mut open: impl FnMut() -> Result<Publisher, String> + Send + 'static,
        stop: Arc<AtomicBool>,
        retry: Duration,
        logger: Arc<dyn Logger>,
    ) -> std::io::Result<Self> {
        let (stopping, log) = (stop.clone(), logger.clone());
        let open = Box::new(move || {
            let publisher = Publisher { stop: stopping.clone(), ..open()? };
            Ok(Pumping { publisher, logger: log.clone() })
        });
        let failed = move |told: &Told<PumpState>, reason| tell(told, Some(reason), &*logger);
        Worker::start("wasink-pump", stop, retry, open, failed).map(Self)
    }

    /// Says that there is something new: a producer does so after it has committed. Does not block.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// How it is doing.
    pub fn state(&self) -> PumpState {
        let mut state = self.0.state();
        if self.0.has_died() {
            state.problem = Some(DIED.to_owned());
        }
        state
    }

    /// Ends it: waits for the call under way for at most `grace`, then ends that too.
    pub fn stop(&self, grace: Duration) {
        self.0.stop(grace);
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// What the thread does.
struct Pumping {
    publisher: Publisher,
    logger: Arc<dyn Logger>,
}

impl Passes for Pumping {
    type State = PumpState;

    fn pass(&mut self, told: &Told<PumpState>) -> Duration {
        let passed = self.publisher.pass_until(Some(Instant::now() + LONGEST_PASS));
        let more = passed.as_ref().is_ok_and(|(_, more)| *more);
        let state = self.publisher.state();
        let problem = match (&passed, &state) {
            (Err(error), _) | (_, Err(error)) => Some(error.to_string()),
            (Ok(_), Ok(state)) => state.waiting.as_ref().map(|waiting| {
                let error = printable(&waiting.error);
                format!("event `{}` is not published: {error}", printable(&waiting.event_id))
            }),
        };
        let more_dead = told.tell(|known| {
            if let Ok((pass, _)) = passed {
                known.published += pass.published as u64;
                known.failed += pass.failed as u64;
            }
            let state = state.ok()?;
            let more = state.dead > known.outbox.dead;
            known.outbox = state;
            more.then_some(known.outbox.dead)
        });
        // Without the lock: a logger may take its time.
        if let Some(dead) = more_dead {
            let dead = [("dead".to_owned(), dead.into())];
            let message = "events are dead letters: they are not published any more";
            self.logger.log(&Line { level: Level::Error, sink: None, message, fields: &dead });
        }
        tell(told, problem, &*self.logger);
        if more { Duration::ZERO } else { self.publisher.options.period }
    }

    fn interrupter(&self) -> Interrupter {
        self.publisher.sink.interrupter()
    }

    fn close(&mut self) {
        // How it ends there is of no interest: what is published is in the feed.
        drop(self.publisher.sink.close());
    }
}

/// Notes what is in the way, and logs it where that is something else than before.
fn tell(told: &Told<PumpState>, problem: Option<String>, logger: &dyn Logger) {
    let changed = told.tell(|state| {
        let changed = problem != state.problem;
        state.problem.clone_from(&problem);
        changed
    });
    if changed {
        let (level, message) = match problem {
            Some(_) => (Level::Warn, "can't publish all that is in the outbox"),
            None => (Level::Info, "publishing again"),
        };
        let reason = |reason: &String| ("reason".to_owned(), reason.as_str().into());
        let fields: Vec<_> = problem.iter().map(reason).collect();
        logger.log(&Line { level, sink: None, message, fields: &fields });
    }
}
