//! A thread that makes passes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasink_chassis::plugin::Interrupter;

/// How often somebody who waits for the thread to end looks at it.
const LOOK: Duration = Duration::from_millis(1);

/// So long the thread has at least, once its call has been ended.
const LEAST_GRACE: Duration = Duration::from_secs(1);

/// After so long a pass ends although there is more to do, so that how it goes can be told.
pub(crate) const LONGEST_PASS: Duration = Duration::from_secs(1);

/// What is in the way where the thread is gone and nobody has asked for that.
pub(crate) const DIED: &str = "its thread has panicked; what it said is on the standard error, and only \
                               another start goes on";

/// What a thread does again and again.
pub(crate) trait Passes: 'static {
    /// How it is doing, for others to see.
    type State: Clone + Default + Send;

    /// Makes a pass, and tells how it went. Returns how long to wait before the next.
    fn pass(&mut self, told: &Told<Self::State>) -> Duration;

    /// A way to end the call under way, and every later one.
    fn interrupter(&self) -> Interrupter;

    /// The thread is about to end.
    fn close(&mut self);
}

/// Makes what passes are made with.
pub(crate) type Open<P> = Box<dyn FnMut() -> Result<P, String> + Send>;

/// What the thread and others share.
pub(crate) struct Told<S> {
    signals: Mutex<Signals<S>>,
    changed: Condvar,
    stop: Arc<AtomicBool>,
}

struct Signals<S> {
    woken: bool,
    state: S,
    interrupter: Option<Interrupter>,
}

impl<S: Clone> Told<S> {
    fn signals(&self) -> MutexGuard<'_, Signals<S>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state.
    pub(crate) fn tell<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        change(&mut self.signals().state)
    }

    fn state(&self) -> S {
        self.signals().state.clone()
    }

    /// Waits, at the most for so long, until there is reason to go on; whether there is any.
    fn wait(&self, for_long: Duration) -> bool {
        let until = Instant::now() + for_long;
        let mut signals = self.signals();
        while !signals.woken && !self.stop.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            signals =
                self.changed.wait_timeout(signals, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        signals.woken = false;
        !self.stop.load(Ordering::Relaxed)
    }
}

/// The thread, from outside.
pub(crate) struct Worker<S> {
    told: Arc<Told<S>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl<S: Clone + Default + Send + 'static> Worker<S> {
    /// Starts a thread of this name. It opens what it needs first, and tries that again after each
    /// `retry` for as long as it fails, which `failed` is told of.
    pub(crate) fn start<P: Passes<State = S>>(
        name: &str,
        stop: Arc<AtomicBool>,
        retry: Duration,
        mut open: Open<P>,
        mut failed: impl FnMut(&Told<S>, String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let signals = Signals { woken: false, state: S::default(), interrupter: None };
        let told = Arc::new(Told { signals: Mutex::new(signals), changed: Condvar::new(), stop });
        let work = told.clone();
        let run = move || {
            let mut passes = loop {
                if work.stop.load(Ordering::Relaxed) {
                    return;
                }
                match open() {
                    Ok(passes) => break passes,
                    Err(reason) => failed(&work, reason),
                }
                work.wait(retry);
            };
            work.signals().interrupter = Some(passes.interrupter());
            while !work.stop.load(Ordering::Relaxed) {
                let wait = passes.pass(&work);
                work.wait(wait);
            }
            passes.close();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { told, thread: Mutex::new(Some(thread)) })
    }

    /// Makes it go on at once. Does not block.
    pub(crate) fn wake(&self) {
        self.told.signals().woken = true;
        self.told.changed.notify_all();
    }

    pub(crate) fn state(&self) -> S {
        self.told.state()
    }

    /// Whether the thread has ended by itself, which it does where it panics.
    pub(crate) fn has_died(&self) -> bool {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = thread.as_ref().is_some_and(JoinHandle::is_finished);
        ended && !self.told.stop.load(Ordering::Relaxed)
    }

    /// Ends it: waits for the call under way for at most `grace`, then ends that too.
    pub(crate) fn stop(&self, grace: Duration) {
        self.told.stop.store(true, Ordering::Relaxed);
        // With the lock, so that nobody has looked and does not wait yet.
        drop(self.told.signals());
        self.told.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let until = Instant::now() + grace;
        while !thread.is_finished() && Instant::now() < until {
            thread::park_timeout(LOOK);
        }
        if !thread.is_finished()
            && let Some(interrupter) = &self.told.signals().interrupter
        {
            interrupter.interrupt();
        }
        // What no interrupter ends (a database, an artifact on its way) is not waited for for ever.
        let until = Instant::now() + grace.max(LEAST_GRACE);
        while !thread.is_finished() {
            if Instant::now() >= until {
                return;
            }
            thread::park_timeout(LOOK);
        }
        // A panic in the thread has been printed; there is nothing to add.
        drop(thread.join());
    }
}
