//! Getting one batch to one plugin: outcomes, retries, broken instances.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasink_journal::{Batch, DeadLetter, Fate};
use wasink_record::{Clock, Timestamp};

use self::item::Item;
use crate::hooks::Hooks;
use crate::logger::{Level, Line, Logger, Value};
use crate::plugin::{
    Acknowledges, CallError, Captured, Description, Exception, Failure, PluginError, PluginVersion,
    SinkPlugin,
};
use crate::status::{SinkState, StateCell};

mod doubt;
mod exchange;
mod item;
mod outcomes;
mod probation;
mod trial;

pub(crate) use exchange::{Charge, Running};
pub(crate) use probation::{Pace, Probation, Thresholds};
use trial::Share;
pub(crate) use trial::{Score, Trial, WHOLE};
pub use trial::{Tally, TrialKind};

/// First wait before a call is tried again, and the longest. Each failure doubles it; the actual wait
/// is drawn at random from zero to it, so that many senders do not come back at the same moment
/// (full jitter, as in Amazon's "Exponential Backoff And Jitter", 2015).
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The longest wait that a receiver can ask for.
const LONGEST_HINT: Duration = Duration::from_secs(24 * 60 * 60);

/// A batch that stops its plugin so many times in a row is cut in halves to find the record that
/// does it.
const STRIKES: u32 = 2;

/// A plugin that acknowledges on flush may be given so many batches before it is asked to flush.
const RUN_AHEAD: usize = 16;

/// After so many failures in a row the circuit is open: what is tried next is a probe.
const BREAKER: u32 = 5;

/// Records in a probe: a receiver that is about to come back is not met with a full load.
const PROBE: usize = 16;

/// So many batches may wait for their retry while later ones go before them, where order does not
/// matter.
const DEFERRED: usize = 64;

/// The part of an acceptance window after which a record that is still not delivered is an alarm.
const ALARM_AFTER: f64 = 0.75;

/// Delivers to one instance, for as long as it is allowed to.
pub(crate) struct Delivery {
    pub(crate) sink: String,
    pub(crate) plugin: Box<dyn SinkPlugin>,
    pub(crate) state: Arc<StateCell>,
    charge: Charge,
    running: Arc<Running>,
    logger: Arc<dyn Logger>,
    hooks: Arc<dyn Hooks>,
    clock: Arc<dyn Clock>,
    /// Whether later records wait for those that are to be tried again.
    ordered: bool,
    about: Arc<Description>,
    digest: String,
    /// To be handed over next, in order.
    work: VecDeque<Item>,
    /// What comes next has to wait for so long.
    not_before: Option<Instant>,
    /// Taken by the plugin and not yet flushed, in order.
    unflushed: Vec<(Item, Vec<Exception>)>,
    /// Waiting for their retry while others go on.
    deferred: Vec<(Item, Instant)>,
    /// Failures in a row; reset by every success.
    failures: u32,
    /// Failures in a row that have brought nothing to light either: they make waits longer.
    fruitless: u32,
    /// The instance is gone and must be made again before the next call.
    needs_reopen: bool,
    /// A call was ended from outside, so the instance can't even be opened again.
    spoiled: bool,
    /// How fast the version in charge takes records.
    pace: Pace,
    /// The version in charge has yet to prove itself.
    probation: Option<Probation>,
    /// Another version is tried beside it.
    pub(crate) trial: Option<Trial>,
    /// The last failure was a stop: what does it is looked for in the records, not at the receiver.
    searching: bool,
    /// Whether it has been said that records are about to expire.
    alarmed: bool,
}

/// What a delivery is made with.
pub(crate) struct DeliveryParts {
    pub(crate) sink: String,
    pub(crate) charge: Charge,
    pub(crate) plugin: Box<dyn SinkPlugin>,
    pub(crate) state: Arc<StateCell>,
    pub(crate) logger: Arc<dyn Logger>,
    pub(crate) hooks: Arc<dyn Hooks>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ordered: bool,
    /// There is no instance that could be used.
    pub(crate) degraded: bool,
}

/// Why delivery stops before it has come to an end. What is in hand stays there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The chassis closes, and its time is over: what is in hand stays pending.
    OutOfTime,
    /// Somebody wants something of this thread, or it of itself; then it goes on.
    Asked,
    /// The call that was under way was ended from outside.
    Interrupted,
}

/// How long waits may last, asked anew for each.
pub(crate) trait Patience {
    /// Waits until `until`.
    ///
    /// # Errors
    ///
    /// [`Halt::OutOfTime`] once nothing more may be tried, [`Halt::Asked`] where something else has
    /// to be done first.
    fn wait(&mut self, until: Instant) -> Result<(), Halt>;

    /// Whether something else has to be done first.
    ///
    /// # Errors
    ///
    /// [`Halt::Asked`] where that is so.
    fn look(&mut self) -> Result<(), Halt>;
}

/// Where it is written down what became of records, a lane each.
pub(crate) trait Books {
    /// What became of these, by runs of positions, with the dead letters among them.
    fn settle(
        &mut self,
        lane: usize,
        batch: &Arc<Batch>,
        runs: &[(Range<u64>, Fate)],
        dead: Vec<DeadLetter>,
    );

    /// These are about to be handed to a receiver that recognises them only for a time.
    fn doubt(&mut self, lane: usize, batch: &Batch, since: Timestamp) -> std::io::Result<()>;

    /// The receiver has said that it has not got these, and nobody has tried them before.
    fn not_taken(&mut self, lane: usize, batch: &Batch);

    /// A call is to be tried again.
    fn retried(&mut self, lane: usize);

    /// From here on it is this version that is in charge, and settles.
    fn take_over(&mut self, version: &PluginVersion);

    /// What is settled next is this version's doing.
    fn attribute(&mut self, version: &PluginVersion);
}

impl Delivery {
    pub(crate) fn new(parts: DeliveryParts) -> Self {
        let DeliveryParts { sink, charge, plugin, state, logger, hooks, clock, ordered, degraded } =
            parts;
        let about = plugin.description();
        let running = Running::new(&*plugin);
        let digest = plugin.version().digest;
        Self {
            sink,
            plugin,
            state,
            charge,
            running,
            logger,
            hooks,
            clock,
            ordered,
            about,
            digest,
            work: VecDeque::new(),
            not_before: None,
            unflushed: Vec::new(),
            deferred: Vec::new(),
            failures: 0,
            fruitless: 0,
            needs_reopen: degraded,
            spoiled: degraded,
            pace: Pace::default(),
            probation: None,
            trial: None,
            searching: false,
            alarmed: false,
        }
    }

    /// Delivers `batch`, and returns once something has become of each record, or, where the plugin
    /// acknowledges on flush or order does not matter, will by later calls. What became of records is
    /// in the books only once it is sure.
    ///
    /// `doubt` says since when it is not known whether the receiver has them, where that is so.
    pub(crate) fn deliver(
        &mut self,
        lane: usize,
        batch: Batch,
        doubt: Option<Timestamp>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), Halt> {
        let batch = Arc::new(batch);
        self.work.push_back(Item {
            lane,
            batch,
            strikes: 0,
            attempts: 0,
            tried: None,
            doubt,
            earlier: doubt,
        });
        self.work_off(books, patience)
    }

    /// Tries again what has been put off and is due; whether there was anything.
    pub(crate) fn deliver_deferred(
        &mut self,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<bool, Halt> {
        let now = Instant::now();
        let Some(at) = self.deferred.iter().position(|(_, due)| *due <= now) else {
            return Ok(false);
        };
        let (item, _) = self.deferred.remove(at);
        self.work.push_back(item);
        self.work_off(books, patience)?;
        Ok(true)
    }

    /// When the next that was put off is due.
    pub(crate) fn deferred_until(&self) -> Option<Instant> {
        self.deferred.iter().map(|(_, due)| *due).min()
    }

    /// Makes good what a plugin that acknowledges on flush has taken.
    pub(crate) fn settle_up(
        &mut self,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), Halt> {
        // What a flush that failed has brought back is taken, and to be flushed, again.
        loop {
            self.work_off(books, patience)?;
            if self.unflushed.is_empty() {
                return Ok(());
            }
            if self.needs_reopen {
                self.gone();
            } else {
                self.make_good(books)?;
            }
        }
    }

    /// Hands over what is in hand.
    pub(crate) fn work_off(
        &mut self,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), Halt> {
        while !self.work.is_empty() {
            if self.probation.as_ref().is_some_and(Probation::has_failed) {
                return Err(Halt::Asked);
            }
            match self.not_before {
                Some(until) => patience.wait(until)?,
                None => patience.look()?,
            }
            self.not_before = None;
            if self.needs_reopen && !self.unflushed.is_empty() {
                // Another call has cost the instance: a flush of the next one would not be theirs.
                self.gone();
            }
            let Some(item) = self.work.pop_front() else { break };
            let Some(mut item) = self.expire(item, books) else { continue };
            if self.failures >= BREAKER
                && !self.searching
                && item.batch.len() > PROBE
                && let (Some(probe), Some(rest)) = item.split(PROBE)
            {
                self.work.push_front(rest);
                item = probe;
            }
            if let Some(reason) = self.too_late_to_ask_again(&item) {
                self.work.push_front(item);
                return self.hold(reason, patience);
            }
            // Before it counts as handed over: where no instance opens, it was not.
            if let Err(error) = self.revive() {
                self.failed(item, error, books)?;
                continue;
            }
            if let Err(error) = self.prepare(&mut item, books) {
                let reason = format!("the journal can't be written: {error}");
                self.work.push_front(item);
                self.back_off(&reason, None);
                continue;
            }
            if self.canary_takes(&mut item, books) {
                continue;
            }
            match self.call(&item.batch) {
                Ok(exceptions) => {
                    if let Some(trial) = &self.trial {
                        trial.show(&item.batch, &exceptions);
                    }
                    if self.about.acknowledges == Acknowledges::OnFlush {
                        self.unflushed.push((item, exceptions));
                        let careful = self.failures > 0;
                        if careful || self.unflushed.len() >= RUN_AHEAD {
                            self.make_good(books)?;
                        }
                    } else {
                        let (again, hint) = self.settle(&item, exceptions, books);
                        self.after_settling(again, hint, books);
                    }
                }
                Err(error) => self.failed(item, error, books)?,
            }
        }
        Ok(())
    }

    /// Lets a version on trial deliver, where that is its share; whether it has.
    fn canary_takes(&mut self, item: &mut Item, books: &mut dyn Books) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let exceptions = match trial.deliver(&item.batch) {
            Share::Delivered(exceptions) => exceptions,
            Share::None => return false,
            Share::Unknown => {
                // Whatever the version in charge will say, the receiver may have them.
                item.earlier = item.doubt;
                return false;
            }
        };
        let version = trial.charge().plugin.version();
        let present = self.charge.plugin.version();
        books.attribute(&version);
        self.digest = version.digest;
        let (again, hint) = self.settle(item, exceptions, books);
        books.attribute(&present);
        self.digest = present.digest;
        self.after_settling(again, hint, books);
        true
    }

    /// Deals with a call that did not do what it was asked.
    fn failed(
        &mut self,
        mut item: Item,
        error: CallError,
        books: &mut dyn Books,
    ) -> Result<(), Halt> {
        let lane = item.lane;
        self.searching = matches!(error, CallError::Stopped(_));
        match error {
            CallError::Failed(Failure::Retry { after, reason }) => {
                // It says nothing about what an earlier call may have brought about.
                item.doubt = item.earlier;
                if item.doubt.is_none() && self.about.dedup_window.is_some() {
                    books.not_taken(item.lane, &item.batch);
                }
                self.again(vec![item], &reason, after, books);
            }
            CallError::Failed(ref in_doubt @ Failure::InDoubt { after, .. }) => {
                self.again(vec![item], &in_doubt.to_string(), after, books);
            }
            CallError::Failed(Failure::Rejected(reason)) => {
                self.reject(&item, &reason, books);
                if let Some(probation) = &mut self.probation {
                    probation.rejected(item.batch.len(), item.batch.len());
                }
                self.succeeded();
            }
            CallError::Failed(Failure::Broken(reason)) => {
                self.stopped(&reason, false);
                self.work.push_front(item);
                self.gone();
                books.retried(lane);
                self.back_off(&reason, None);
            }
            CallError::Stopped(PluginError::Interrupted { .. }) => {
                self.work.push_front(item);
                self.gone();
                self.spoiled = true;
                return Err(Halt::Interrupted);
            }
            CallError::Stopped(error) => {
                let reason = error.to_string();
                self.stopped(&reason, matches!(error, PluginError::TimedOut { .. }));
                self.after_stop(item, &error, books);
                self.gone();
                books.retried(lane);
                self.back_off(&reason, None);
            }
        }
        Ok(())
    }

    /// Takes note of a call that cost the instance.
    fn stopped(&mut self, reason: &str, hung: bool) {
        self.hooks.stopped(&self.sink, &self.charge.plugin.version(), reason);
        if let Some(probation) = &mut self.probation {
            probation.stopped(reason, hung);
        }
    }

    /// The instance is gone, and with it what it had taken and not made good.
    fn gone(&mut self) {
        self.needs_reopen = true;
        for (item, _) in self.unflushed.drain(..).rev() {
            self.work.push_front(item);
        }
    }

    /// Asks the plugin to make good what it has taken.
    fn make_good(&mut self, books: &mut dyn Books) -> Result<(), Halt> {
        match self.guarded("flush", |plugin| plugin.flush()) {
            Ok(()) => {
                // All of it is written down before anything is waited for.
                let mut again = Vec::new();
                let mut longest = None;
                for (item, exceptions) in std::mem::take(&mut self.unflushed) {
                    let (more, hint) = self.settle(&item, exceptions, books);
                    again.extend(more);
                    longest = longest.max(hint);
                }
                self.after_settling(again, longest, books);
                Ok(())
            }
            Err(error) => {
                // Nobody knows whose records it was that could not be made good: all come again, one
                // flush each from now on, and the last of them takes the blame for this one.
                let Some((blamed, _)) = self.unflushed.pop() else { return Ok(()) };
                let mut others: Vec<_> = self.unflushed.drain(..).map(|(item, _)| item).collect();
                if matches!(error, CallError::Failed(Failure::Retry { .. } | Failure::Rejected(_)))
                {
                    // The receiver has answered for all of them.
                    others.iter_mut().for_each(|item| item.doubt = item.earlier);
                }
                let result = self.failed(blamed, error, books);
                others.into_iter().rev().for_each(|item| self.work.push_front(item));
                result
            }
        }
    }

    /// Goes on after outcomes are written down: these are to be tried again.
    fn after_settling(&mut self, again: Vec<Item>, hint: Option<Duration>, books: &mut dyn Books) {
        if again.is_empty() {
            self.succeeded();
        } else {
            self.again(again, "the receiver asks to try again", hint, books);
        }
    }

    /// Tries these again later: at once after a wait, or, where order does not matter, when their
    /// time has come.
    fn again(
        &mut self,
        items: Vec<Item>,
        reason: &str,
        hint: Option<Duration>,
        books: &mut dyn Books,
    ) {
        items.iter().for_each(|item| books.retried(item.lane));
        if !self.ordered && self.deferred.len() + items.len() <= DEFERRED {
            let due = self.note_failure(reason, hint);
            self.deferred.extend(items.into_iter().map(|item| (item, due)));
            return;
        }
        items.into_iter().rev().for_each(|item| self.work.push_front(item));
        self.back_off(reason, hint);
    }

    /// Makes good what the plugin has taken, where it asks for that.
    pub(crate) fn flush(&mut self) -> Result<(), CallError> {
        if self.needs_reopen {
            return Ok(());
        }
        self.guarded("flush", |plugin| plugin.flush())
    }

    /// Ends the instance in an orderly way, where there is one.
    pub(crate) fn close(&mut self) -> Result<(), CallError> {
        if self.needs_reopen {
            return Ok(());
        }
        self.guarded("close", |plugin| plugin.close())
    }

    /// What the plugin has kept, where it is one that keeps records for tests.
    pub(crate) fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        self.revive()?;
        let answer = self.guarded("captured", |plugin| plugin.captured());
        answer.inspect_err(|error| self.broke(error))
    }

    /// Makes such a plugin forget.
    pub(crate) fn reset_captured(&mut self) -> Result<bool, CallError> {
        self.revive()?;
        let answer = self.guarded("reset-captured", |plugin| plugin.reset_captured());
        answer.inspect_err(|error| self.broke(error))
    }

    /// Takes note that a call outside of delivery failed.
    pub(crate) fn broke(&mut self, error: &CallError) {
        self.needs_reopen |=
            matches!(error, CallError::Stopped(_) | CallError::Failed(Failure::Broken(_)));
    }

    pub(crate) fn logger(&self) -> Arc<dyn Logger> {
        self.logger.clone()
    }

    pub(crate) fn node_id(&self) -> &str {
        &self.charge.request.node_id
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn running(&self) -> Arc<Running> {
        self.running.clone()
    }

    pub(crate) fn hooks(&self) -> Arc<dyn Hooks> {
        self.hooks.clone()
    }

    /// Writes a line in the sink's name.
    pub(crate) fn log(&self, level: Level, message: &str, fields: &[(&str, Value)]) {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        let sink = Some(self.sink.as_str());
        let line = Line { level, sink, message, fields: &fields };
        // Records are worth more than the line: a logger that panics must not end their delivery.
        drop(catch_unwind(AssertUnwindSafe(|| self.logger.log(&line))));
    }

    /// One attempt, with a fresh instance where the old one is gone.
    fn call(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        self.revive()?;
        let started = Instant::now();
        let answer = self.guarded("write", |plugin| plugin.write(batch));
        if let Ok(exceptions) = &answer {
            self.pace.add(batch.len(), started.elapsed());
            if let Some(probation) = &mut self.probation {
                probation.answered(batch.len(), exceptions, &self.pace);
            }
        }
        answer
    }

    /// Makes a fresh instance where the old one is gone.
    fn revive(&mut self) -> Result<(), CallError> {
        if self.needs_reopen {
            // Not the batch's fault, so not a strike: an instance that does not open is broken.
            let opened = match self.spoiled {
                false => self.guarded("open", |plugin| plugin.reopen()),
                true => self.charge.open().map(|plugin| {
                    self.plugin = plugin;
                    self.about = self.charge.plugin.description();
                    self.running.is_now(&*self.plugin);
                }),
            };
            opened.map_err(|error| match error {
                PluginError::Interrupted { .. } => CallError::Stopped(error),
                error => CallError::Failed(Failure::Broken(error.to_string())),
            })?;
            self.needs_reopen = false;
            self.spoiled = false;
        }
        Ok(())
    }

    /// Calls the plugin. A panic in what runs it ends the instance as a trap in the plugin does, and
    /// no more than that.
    fn guarded<T, E: From<PluginError>>(
        &mut self,
        call: &'static str,
        run: impl FnOnce(&mut dyn SinkPlugin) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { charge, plugin, .. } = self;
        charge.guarded(call, || run(&mut **plugin))
    }

    /// Notes that the item is about to be handed over.
    fn prepare(&mut self, item: &mut Item, books: &mut dyn Books) -> std::io::Result<()> {
        let now = self.clock.now();
        if self.about.dedup_window.is_some() {
            item.earlier = item.doubt;
            let since = *item.doubt.get_or_insert(now);
            books.doubt(item.lane, &item.batch, since)?;
        }
        item.attempts = item.attempts.saturating_add(1);
        item.tried = Some((item.tried.map_or(now, |(first, _)| first), now));
        Ok(())
    }

    /// The plugin was stopped in the middle of `item`. A batch that does it again and again is cut
    /// until the record is found that does it; that one becomes a dead letter, so that the others get
    /// through.
    fn after_stop(&mut self, mut item: Item, error: &PluginError, books: &mut dyn Books) {
        // What waits for the world outside is not stopped by what is in a record, and while a version
        // has yet to prove itself, it is that which is suspected.
        let waiting = matches!(error, PluginError::TimedOut { computing: false, .. });
        if !waiting && self.probation.is_none() {
            item.strikes += 1;
        }
        if item.strikes < STRIKES {
            self.work.push_front(item);
            return;
        }
        // Each cut comes closer to the record, so the next call need not wait for long.
        self.fruitless = 0;
        if item.batch.len() == 1 {
            self.reject(&item, &format!("it stops the plugin: {error}"), books);
            return;
        }
        let (head, tail) = item.split(item.batch.len() / 2);
        for half in [tail, head].into_iter().flatten() {
            self.work.push_front(half);
        }
    }

    fn back_off(&mut self, reason: &str, hint: Option<Duration>) {
        self.not_before = Some(self.note_failure(reason, hint));
    }

    /// Counts a failure, and says until when to wait.
    fn note_failure(&mut self, reason: &str, hint: Option<Duration>) -> Instant {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            self.log(Level::Warn, "can't deliver, trying again", &[("reason", reason.into())]);
        }
        let (failures, reason) = (self.failures, reason.to_owned());
        self.state.set(if failures < BREAKER {
            SinkState::Retrying { failures, reason }
        } else {
            SinkState::Open { failures, reason }
        });
        let longest =
            FIRST_BACKOFF.saturating_mul(1 << self.fruitless.min(16)).min(LONGEST_BACKOFF);
        self.fruitless = self.fruitless.saturating_add(1);
        // A plugin that always says `at once` would keep its thread spinning.
        let hint = hint.filter(|hint| !hint.is_zero()).map(|hint| hint.min(LONGEST_HINT));
        let wait = hint.unwrap_or_else(|| longest.mul_f64(fastrand::f64()));
        Instant::now() + wait
    }

    fn succeeded(&mut self) {
        if self.failures > 0 {
            let failures = u64::from(self.failures);
            self.log(Level::Info, "delivering again", &[("failures", failures.into())]);
            self.failures = 0;
            self.fruitless = 0;
        }
        self.state.set(SinkState::Working);
    }
}

/// How much later `until` is.
fn between(since: Timestamp, until: Timestamp) -> Duration {
    let nanos = i128::from(until.unix_nanos()) - i128::from(since.unix_nanos());
    Duration::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
