//! A thread that applies what is in a feed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{CallError, Interrupter, PluginError};

use super::{Applied, Applier, FeedStatus, Halt, Store};
use crate::Backoff;
use crate::worker::{DIED, LONGEST_PASS, Passes, Told, Worker};

/// How a follower is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowerState {
    /// Events that were applied since the start.
    pub applied: u64,
    /// Events that had been applied before, at another place.
    pub known: u64,
    /// Events that could not be applied and were skipped, as somebody had asked.
    pub skipped: u64,
    /// What the database said after the last pass.
    pub feed: FeedStatus,
    /// What is in the way, since the last pass; `None` where nothing is.
    pub problem: Option<String>,
}

/// A thread that applies events: at once, then as soon as the source has some. Where something fails
/// it is tried again, after a wait that grows up to the period.
pub struct Follower(Worker<FollowerState>);

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Follower {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// Where the system gives none.
    pub fn start<S: Store>(
        applier: Applier<S>,
        period: Duration,
        logger: Arc<dyn Logger>,
    ) -> std::io::Result<Self> {
        let mut applier = Some(applier);
        let open = move || applier.take().ok_or_else(|| "it was opened before".to_owned());
        Self::start_with(open, period, logger)
    }

    /// As [`start`](Self::start), with an applier that may not be had yet: where `open` says why, that
    /// is told as the [problem](FollowerState::problem), and tried again after each period.
    ///
    /// # Errors
    ///
    /// As for [`start`](Self::start).
    pub fn start_with<S: Store>(
        mut open: impl FnMut() -> Result<Applier<S>, String> + Send + 'static,
        period: Duration,
        logger: Arc<dyn Logger>,
    ) -> std::io::Result<Self> {
        let log = logger.clone();
        let backoff = Backoff { longest: period, ..Backoff::default() };
        let stop = Arc::<AtomicBool>::default();
        let stopping = stop.clone();
        let open = Box::new(move || {
            let applier = Applier { stop: stopping.clone(), ..open()? };
            Ok(Following { applier, period, backoff, failures: 0, logger: log.clone() })
        });
        let failed = move |told: &Told<FollowerState>, reason| tell(told, Some(reason), &*logger);
        Worker::start("wasink-follower", stop, period, open, failed).map(Self)
    }

    /// Makes it look at once, where it does not already wait for an event. Does not block.
    pub fn wake(&self) {
        self.0.wake();
    }

    /// How it is doing.
    pub fn state(&self) -> FollowerState {
        let mut state = self.0.state();
        if self.0.has_died() {
            state.problem = Some(DIED.to_owned());
        }
        state
    }

    /// Ends it: waits for the call under way for at most `grace`, then ends that too. What is not
    /// committed by then is applied after the next start.
    pub fn stop(&self, grace: Duration) {
        self.0.stop(grace);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// What the thread does.
struct Following<S: Store> {
    applier: Applier<S>,
    period: Duration,
    backoff: Backoff,
    /// Passes in a row that came to nothing but an error.
    failures: u32,
    logger: Arc<dyn Logger>,
}

impl<S: Store> Passes for Following<S> {
    type State = FollowerState;

    fn pass(&mut self, told: &Told<FollowerState>) -> Duration {
        let begun = Instant::now();
        let before = self.applier.total();
        let passed = self.applier.pass_until(Some(Instant::now() + LONGEST_PASS));
        if let Err(Halt::Source(CallError::Stopped(PluginError::Interrupted { .. }))) = passed {
            // It is about to end: that is nothing to tell of.
            return Duration::ZERO;
        }
        let (total, status) = (self.applier.total(), self.applier.store().status());
        let problem = match (&passed, &status) {
            (Err(halt), _) => Some(halt.to_string()),
            (Ok(_), Err(error)) => Some(error.to_string()),
            (Ok(_), Ok(_)) => None,
        };
        let halted = matches!(passed, Err(Halt::Event { .. }));
        let failed = problem.is_some();
        // All of it at once: whoever looks must not see a feed that is halted and has no problem.
        let changed = told.tell(|state| {
            let Applied { applied, known, skipped } = total;
            (state.applied, state.known) = (applied as u64, known as u64);
            state.skipped = skipped as u64;
            if let Ok(status) = status {
                state.feed = status;
            }
            note(state, problem.clone())
        });
        if changed {
            log(problem, halted, &*self.logger);
        }
        self.failures = if !failed || total != before { 0 } else { self.failures };
        if failed {
            self.failures += 1;
            return self.backoff.after(self.failures);
        }
        // A source that has waited may be asked again at once; one that does not wait, not so often.
        let waited = !self.applier.wait().is_zero() && begun.elapsed() >= self.applier.wait();
        if waited || total != before { Duration::ZERO } else { self.period }
    }

    fn interrupter(&self) -> Interrupter {
        self.applier.interrupter()
    }

    fn close(&mut self) {
        self.applier.close();
    }
}

fn tell(told: &Told<FollowerState>, problem: Option<String>, logger: &dyn Logger) {
    if told.tell(|state| note(state, problem.clone())) {
        log(problem, false, logger);
    }
}

/// Notes what is in the way; whether that is something else than before.
fn note(state: &mut FollowerState, problem: Option<String>) -> bool {
    let changed = problem != state.problem;
    state.problem = problem;
    changed
}

/// Without the lock: a logger may take its time.
fn log(problem: Option<String>, halted: bool, logger: &dyn Logger) {
    let (level, message) = match (&problem, halted) {
        (Some(_), true) => (
            Level::Error,
            "the feed is halted: mend what keeps the event from being applied, or have it skipped",
        ),
        (Some(_), false) => (Level::Warn, "can't apply what is in the feed"),
        (None, _) => (Level::Info, "applying again"),
    };
    let reason = |reason: &String| ("reason".to_owned(), reason.as_str().into());
    let fields: Vec<_> = problem.iter().map(reason).collect();
    logger.log(&Line { level, sink: None, message, fields: &fields });
}
