//! Getting one batch to one plugin: outcomes, retries, broken instances.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasink_journal::{Batch, DeadLetter, Fate};
use wasink_record::{Clock, Timestamp};

use self::item::Item;
use crate::config::PluginName;
use crate::logger::{Level, Line, Logger, Value};
use crate::plugin::{
    Acknowledges, CallError, Captured, Description, Exception, Failure, PluginError, SinkPlugin,
};
use crate::status::{SinkState, StateCell};

mod item;
mod outcomes;

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
    name: PluginName,
    logger: Arc<dyn Logger>,
    clock: Arc<dyn Clock>,
    /// Whether later records wait for those that are to be tried again.
    ordered: bool,
    about: Arc<Description>,
    digest: String,
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
    /// The last failure was a stop: what does it is looked for in the records, not at the receiver.
    searching: bool,
    /// Whether it has been said that records are about to expire.
    alarmed: bool,
}

/// What a delivery is made with.
pub(crate) struct DeliveryParts {
    pub(crate) sink: String,
    pub(crate) name: PluginName,
    pub(crate) plugin: Box<dyn SinkPlugin>,
    pub(crate) state: Arc<StateCell>,
    pub(crate) logger: Arc<dyn Logger>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ordered: bool,
}

/// The chassis closes, and its time is over: what is in hand stays pending.
pub(crate) struct OutOfTime;

/// How long waits may last, asked anew for each.
pub(crate) trait Patience {
    /// Waits until `until`.
    ///
    /// # Errors
    ///
    /// [`OutOfTime`] once nothing more may be tried.
    fn wait(&mut self, until: Instant) -> Result<(), OutOfTime>;
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

    /// A call is to be tried again.
    fn retried(&mut self, lane: usize);
}

impl Delivery {
    pub(crate) fn new(parts: DeliveryParts) -> Self {
        let DeliveryParts { sink, name, plugin, state, logger, clock, ordered } = parts;
        let about = plugin.description();
        let digest = plugin.version().digest;
        Self {
            sink,
            plugin,
            state,
            name,
            logger,
            clock,
            ordered,
            about,
            digest,
            unflushed: Vec::new(),
            deferred: Vec::new(),
            failures: 0,
            fruitless: 0,
            needs_reopen: false,
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
    ) -> Result<(), OutOfTime> {
        let batch = Arc::new(batch);
        let item = Item { lane, batch, strikes: 0, attempts: 0, tried: None, doubt };
        self.work_off(VecDeque::from([item]), books, patience)
    }

    /// Tries again what has been put off and is due; whether there was anything.
    pub(crate) fn deliver_deferred(
        &mut self,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<bool, OutOfTime> {
        let now = Instant::now();
        let Some(at) = self.deferred.iter().position(|(_, due)| *due <= now) else {
            return Ok(false);
        };
        let (item, _) = self.deferred.remove(at);
        self.work_off(VecDeque::from([item]), books, patience)?;
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
    ) -> Result<(), OutOfTime> {
        // What a flush that failed has brought back is taken, and to be flushed, again.
        while !self.unflushed.is_empty() {
            let mut work = VecDeque::new();
            if self.needs_reopen {
                self.gone(&mut work);
            } else {
                self.make_good(&mut work, books, patience)?;
            }
            self.work_off(work, books, patience)?;
        }
        Ok(())
    }

    fn work_off(
        &mut self,
        mut work: VecDeque<Item>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        while let Some(item) = work.pop_front() {
            if self.needs_reopen && !self.unflushed.is_empty() {
                // Another call has cost the instance: a flush of the next one would not be theirs.
                work.push_front(item);
                self.gone(&mut work);
                continue;
            }
            let Some(mut item) = self.expire(item, &mut work, books) else { continue };
            if self.failures >= BREAKER
                && !self.searching
                && item.batch.len() > PROBE
                && let (Some(probe), Some(rest)) = item.split(PROBE)
            {
                work.push_front(rest);
                item = probe;
            }
            self.hold_what_is_in_doubt(&item, patience)?;
            if let Err(error) = self.prepare(&mut item, books) {
                let reason = format!("the journal can't be written: {error}");
                work.push_front(item);
                self.back_off(&reason, None, patience)?;
                continue;
            }
            match self.call(&item.batch) {
                Ok(exceptions) => {
                    item.doubt = None;
                    if self.about.acknowledges == Acknowledges::OnFlush {
                        self.unflushed.push((item, exceptions));
                        let careful = self.failures > 0;
                        if careful || self.unflushed.len() >= RUN_AHEAD {
                            self.make_good(&mut work, books, patience)?;
                        }
                    } else {
                        let (again, hint) = self.settle(&item, exceptions, books);
                        self.after_settling(again, hint, &mut work, books, patience)?;
                    }
                }
                Err(error) => self.failed(item, error, &mut work, books, patience)?,
            }
        }
        Ok(())
    }

    /// Deals with a call that did not do what it was asked.
    fn failed(
        &mut self,
        mut item: Item,
        error: CallError,
        work: &mut VecDeque<Item>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        let lane = item.lane;
        self.searching = matches!(error, CallError::Stopped(_));
        match error {
            CallError::Failed(Failure::Retry(hint)) => {
                item.doubt = None;
                self.again(vec![item], "the plugin asks to try again", hint, work, books, patience)
            }
            CallError::Failed(Failure::Rejected(reason)) => {
                self.reject(&item, &reason, books);
                self.succeeded();
                Ok(())
            }
            CallError::Failed(Failure::Broken(reason)) => {
                work.push_front(item);
                self.gone(work);
                books.retried(lane);
                self.back_off(&reason, None, patience)
            }
            CallError::Stopped(PluginError::Interrupted { .. }) => Err(OutOfTime),
            CallError::Stopped(error) => {
                self.after_stop(item, &error, work, books);
                self.gone(work);
                books.retried(lane);
                self.back_off(&error.to_string(), None, patience)
            }
        }
    }

    /// The instance is gone, and with it what it had taken and not made good.
    fn gone(&mut self, work: &mut VecDeque<Item>) {
        self.needs_reopen = true;
        for (item, _) in self.unflushed.drain(..).rev() {
            work.push_front(item);
        }
    }

    /// Asks the plugin to make good what it has taken.
    fn make_good(
        &mut self,
        work: &mut VecDeque<Item>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
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
                self.after_settling(again, longest, work, books, patience)
            }
            Err(error) => {
                // Nobody knows whose records it was that could not be made good: all come again, one
                // flush each from now on, and the last of them takes the blame for this one.
                let Some((blamed, _)) = self.unflushed.pop() else { return Ok(()) };
                let others: Vec<_> = self.unflushed.drain(..).map(|(item, _)| item).collect();
                let result = self.failed(blamed, error, work, books, patience);
                others.into_iter().rev().for_each(|item| work.push_front(item));
                result
            }
        }
    }

    /// Goes on after outcomes are written down: these are to be tried again.
    fn after_settling(
        &mut self,
        again: Vec<Item>,
        hint: Option<Duration>,
        work: &mut VecDeque<Item>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        if again.is_empty() {
            self.succeeded();
            return Ok(());
        }
        self.again(again, "the receiver asks to try again", hint, work, books, patience)
    }

    /// Tries these again later: at once after a wait, or, where order does not matter, when their
    /// time has come.
    fn again(
        &mut self,
        items: Vec<Item>,
        reason: &str,
        hint: Option<Duration>,
        work: &mut VecDeque<Item>,
        books: &mut dyn Books,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        items.iter().for_each(|item| books.retried(item.lane));
        if !self.ordered && self.deferred.len() + items.len() <= DEFERRED {
            let due = self.note_failure(reason, hint);
            self.deferred.extend(items.into_iter().map(|item| (item, due)));
            return Ok(());
        }
        items.into_iter().rev().for_each(|item| work.push_front(item));
        self.back_off(reason, hint, patience)
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
        self.guarded("write", |plugin| plugin.write(batch))
    }

    /// Makes a fresh instance where the old one is gone.
    fn revive(&mut self) -> Result<(), CallError> {
        if self.needs_reopen {
            // Not the batch's fault, so not a strike: an instance that does not open is broken.
            self.guarded("open", |plugin| plugin.reopen()).map_err(|error| match error {
                PluginError::Interrupted { .. } => CallError::Stopped(error),
                error => CallError::Failed(Failure::Broken(error.to_string())),
            })?;
            self.needs_reopen = false;
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
        catch_unwind(AssertUnwindSafe(|| run(&mut *self.plugin))).unwrap_or_else(|panic| {
            let words = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(E::from(PluginError::Trapped {
                plugin: self.name.clone(),
                call,
                reason: format!("the host panicked: {}", words.unwrap_or_default()),
                last_words: String::new(),
            }))
        })
    }

    /// Where it is not known whether the receiver has the records, and it would not recognise them
    /// any more, only a person can tell: waits for the end.
    fn hold_what_is_in_doubt(
        &mut self,
        item: &Item,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        let Some((window, doubt)) = self.about.dedup_window.zip(item.doubt) else { return Ok(()) };
        if between(doubt, self.clock.now()) <= window {
            return Ok(());
        }
        let reason = format!(
            "it is not known whether the receiver has the records {} to {}, handed over at {doubt}, \
             and it recognises them only for {window:?}; find out, stop this process, and say \
             `wasink held resend {sink}` or `wasink held discard {sink}`",
            item.batch.position(),
            item.batch.end() - 1,
            sink = self.sink,
        );
        self.log(Level::Error, "holding records in doubt", &[("reason", reason.as_str().into())]);
        self.state.set(SinkState::Held { reason });
        loop {
            patience.wait(Instant::now() + LONGEST_HINT)?;
        }
    }

    /// Notes that the item is about to be handed over.
    fn prepare(&mut self, item: &mut Item, books: &mut dyn Books) -> std::io::Result<()> {
        let now = self.clock.now();
        if self.about.dedup_window.is_some() {
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
    fn after_stop(
        &mut self,
        mut item: Item,
        error: &PluginError,
        work: &mut VecDeque<Item>,
        books: &mut dyn Books,
    ) {
        // What waits for the world outside is not stopped by what is in a record.
        if !matches!(error, PluginError::TimedOut { computing: false, .. }) {
            item.strikes += 1;
        }
        if item.strikes < STRIKES {
            work.push_front(item);
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
            work.push_front(half);
        }
    }

    fn back_off(
        &mut self,
        reason: &str,
        hint: Option<Duration>,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        let until = self.note_failure(reason, hint);
        patience.wait(until)
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
