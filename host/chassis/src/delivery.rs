//! Getting one batch to one plugin: outcomes, retries, broken instances.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasink_journal::Batch;

use crate::config::PluginName;
use crate::ledger::{LaneCounts, add};
use crate::logger::{Level, Line, Logger, Value};
use crate::plugin::{
    Acknowledges, CallError, Captured, Exception, Failure, Outcome, PluginError, SinkPlugin,
};
use crate::status::{SinkState, StateCell};

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

/// Delivers to one instance, for as long as it is allowed to.
pub(crate) struct Delivery {
    pub(crate) sink: String,
    pub(crate) plugin: Box<dyn SinkPlugin>,
    pub(crate) state: Arc<StateCell>,
    name: PluginName,
    logger: Arc<dyn Logger>,
    /// Failures in a row; reset by every success.
    failures: u32,
    /// Failures in a row that have brought nothing to light either: they make waits longer.
    fruitless: u32,
    /// The instance is gone and must be made again before the next call.
    needs_reopen: bool,
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

/// A run of records on its way, and how often it has stopped the plugin.
struct Item {
    batch: Arc<Batch>,
    strikes: u32,
}

impl Delivery {
    pub(crate) fn new(
        sink: String,
        name: PluginName,
        plugin: Box<dyn SinkPlugin>,
        state: Arc<StateCell>,
        logger: Arc<dyn Logger>,
    ) -> Self {
        Self { sink, plugin, state, name, logger, failures: 0, fruitless: 0, needs_reopen: false }
    }

    /// Delivers `batch`, and returns once something has become of each record. Counts go up only
    /// then.
    pub(crate) fn deliver(
        &mut self,
        batch: Batch,
        counts: &LaneCounts,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        let mut work = VecDeque::from([Item { batch: Arc::new(batch), strikes: 0 }]);
        while let Some(item) = work.pop_front() {
            match self.call(&item.batch) {
                Ok(exceptions) => {
                    let retried = self.settle(&item.batch, exceptions, counts);
                    let hint = retried.iter().filter_map(|(_, hint)| *hint).max();
                    let any = !retried.is_empty();
                    for (batch, _) in retried.into_iter().rev() {
                        work.push_front(Item { batch, strikes: 0 });
                    }
                    if any {
                        self.back_off("the receiver asks to try again", hint, counts, patience)?;
                    } else {
                        self.succeeded();
                    }
                }
                Err(CallError::Failed(Failure::Retry(hint))) => {
                    work.push_front(item);
                    self.back_off("the plugin asks to try again", hint, counts, patience)?;
                }
                Err(CallError::Failed(Failure::Rejected(reason))) => {
                    self.reject(&item.batch, &reason, counts);
                    self.succeeded();
                }
                Err(CallError::Failed(Failure::Broken(reason))) => {
                    self.needs_reopen = true;
                    work.push_front(item);
                    self.back_off(&reason, None, counts, patience)?;
                }
                Err(CallError::Stopped(PluginError::Interrupted { .. })) => return Err(OutOfTime),
                Err(CallError::Stopped(error)) => {
                    self.needs_reopen = true;
                    self.after_stop(item, &error, &mut work, counts);
                    self.back_off(&error.to_string(), None, counts, patience)?;
                }
            }
        }
        Ok(())
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
        let exceptions = self.guarded("write", |plugin| plugin.write(batch))?;
        self.guarded("flush", |plugin| match plugin.description().acknowledges {
            Acknowledges::OnFlush => plugin.flush(),
            Acknowledges::OnWrite => Ok(()),
        })?;
        Ok(exceptions)
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

    /// Counts what became of the records, and returns the runs of those that are to be tried again.
    fn settle(
        &self,
        batch: &Arc<Batch>,
        mut exceptions: Vec<Exception>,
        counts: &LaneCounts,
    ) -> Vec<(Arc<Batch>, Option<Duration>)> {
        if exceptions.is_empty() {
            add(&counts.delivered, batch.len());
            return Vec::new();
        }
        exceptions.sort_unstable_by_key(|exception| exception.index);
        add(&counts.delivered, batch.len() - exceptions.len());
        let mut runs: Vec<(usize, usize, Option<Duration>)> = Vec::new();
        let mut reasons: Vec<(usize, String)> = Vec::new();
        for Exception { index, outcome } in exceptions {
            match outcome {
                Outcome::Duplicate => add(&counts.duplicate, 1),
                Outcome::Expired => add(&counts.expired, 1),
                Outcome::Rejected(reason) => reasons.push((index, reason)),
                Outcome::Retry(hint) => match runs.last_mut() {
                    Some((_, end, longest)) if *end == index => {
                        *end += 1;
                        *longest = (*longest).max(hint);
                    }
                    _ => runs.push((index, index + 1, hint)),
                },
            }
        }
        if let Some((index, reason)) = reasons.first() {
            add(&counts.rejected, reasons.len());
            self.log_rejected(batch, *index, reasons.len(), reason);
        }
        let cut = |(from, to, hint): (usize, usize, Option<Duration>)| {
            let run = batch.split_at(to).0?.split_at(from).1?;
            Some((Arc::new(run), hint))
        };
        runs.into_iter().filter_map(cut).collect()
    }

    fn reject(&self, batch: &Batch, reason: &str, counts: &LaneCounts) {
        add(&counts.rejected, batch.len());
        self.log_rejected(batch, 0, batch.len(), reason);
    }

    fn log_rejected(&self, batch: &Batch, first: usize, records: usize, reason: &str) {
        let id = batch.records().nth(first).map(|stamped| stamped.id.to_string());
        self.log(
            Level::Error,
            "records rejected",
            &[
                ("stream", batch.stream().as_str().into()),
                ("records", (records as u64).into()),
                ("first_id", id.unwrap_or_default().into()),
                ("reason", reason.into()),
            ],
        );
    }

    /// The plugin was stopped in the middle of `item`. A batch that does it again and again is cut
    /// until the record is found that does it; that one is rejected, so that the others get through.
    fn after_stop(
        &mut self,
        mut item: Item,
        error: &PluginError,
        work: &mut VecDeque<Item>,
        counts: &LaneCounts,
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
            self.reject(&item.batch, &format!("it stops the plugin: {error}"), counts);
            return;
        }
        let (head, tail) = item.batch.split_at(item.batch.len() / 2);
        for half in [tail, head].into_iter().flatten() {
            work.push_front(Item { batch: Arc::new(half), strikes: 0 });
        }
    }

    fn back_off(
        &mut self,
        reason: &str,
        hint: Option<Duration>,
        counts: &LaneCounts,
        patience: &mut dyn Patience,
    ) -> Result<(), OutOfTime> {
        add(&counts.retries, 1);
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            self.log(Level::Warn, "can't deliver, trying again", &[("reason", reason.into())]);
        }
        self.state.set(SinkState::Retrying { failures: self.failures, reason: reason.to_owned() });
        let longest =
            FIRST_BACKOFF.saturating_mul(1 << self.fruitless.min(16)).min(LONGEST_BACKOFF);
        self.fruitless = self.fruitless.saturating_add(1);
        // A plugin that always says `at once` would keep its thread spinning.
        let hint = hint.filter(|hint| !hint.is_zero()).map(|hint| hint.min(LONGEST_HINT));
        let wait = hint.unwrap_or_else(|| longest.mul_f64(fastrand::f64()));
        patience.wait(Instant::now() + wait)
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

#[cfg(test)]
mod tests;
