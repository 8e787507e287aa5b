//! wasmtime, set up for plugins: compiled-code cache, clock for deadlines, timers for waits.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use wasmtime::{Cache, CacheConfig, Config, EngineWeak};

use crate::error::EngineError;

/// How often a guest that computes is made to yield, so that its deadline can be looked at.
const TICK: Duration = Duration::from_millis(10);

/// How long the clock goes on without a call before it stops. Starting it again costs a call a
/// wake-up, so it outlives the pauses of a busy sink.
const LINGER: Duration = Duration::from_secs(1);

/// What all plugins share.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    clock: Arc<ClockOwner>,
    timers: Arc<Timers>,
}

/// Its timers and its connections: guests run on the threads of their callers.
struct Timers(Option<Runtime>);

impl Drop for Timers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropping it would wait for its thread, and panic where an embedder's asynchronous code
            // drops a chassis.
            runtime.shutdown_background();
        }
    }
}

impl Engine {
    /// An engine that keeps compiled code in `cache`, or nowhere.
    pub(crate) fn new(cache: Option<&Path>) -> Result<Self, EngineError> {
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            // The contract has no asynchronous functions, and without them a call costs a third.
            .concurrency_support(false)
            // The same plugin gives the same results on every machine.
            .relaxed_simd_deterministic(true)
            // Nobody needs more than 4 GiB, and without it bounds cost nothing.
            .wasm_memory64(false)
            .cache(cache.map(open_cache).transpose()?);
        let wasmtime = wasmtime::Engine::new(&config)
            .map_err(|error| EngineError::Runtime(format!("{error:#}")))?;
        let clock = Arc::new(Clock::default());
        let (ticking, engine) = (clock.clone(), wasmtime.weak());
        thread::Builder::new()
            .name("wasink-clock".to_owned())
            .spawn(move || ticking.run(&engine))
            .map_err(EngineError::Thread)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("wasink-timers")
            .enable_all()
            .build()
            .map_err(EngineError::Thread)?;
        let clock = Arc::new(ClockOwner(clock));
        Ok(Self { wasmtime, clock, timers: Arc::new(Timers(Some(runtime))) })
    }

    /// Runs `future` on this thread until it is done. Unlike a runtime's own function for it, this
    /// may be called from within another runtime, so that a chassis can be opened there.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _timers = self.timers.0.as_ref().map(|runtime| runtime.enter());
        pollster::block_on(future)
    }

    /// Keeps the clock going for as long as the answer lives.
    pub(crate) fn start_call(&self) -> RunningCall<'_> {
        let clock = &*self.clock.0;
        clock.calls.fetch_add(1, Ordering::SeqCst);
        if clock.stopped.load(Ordering::SeqCst) {
            clock.wake();
        }
        RunningCall(clock)
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

/// Ends the clock's thread with the last engine.
struct ClockOwner(Arc<Clock>);

impl Drop for ClockOwner {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// A call that is under way.
pub(crate) struct RunningCall<'a>(&'a Clock);

impl Drop for RunningCall<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Advances wasmtime's epoch while there are calls; stands still while there are none.
#[derive(Default)]
struct Clock {
    calls: AtomicUsize,
    stopped: AtomicBool,
    over: AtomicBool,
    gate: Mutex<()>,
    started: Condvar,
}

impl Clock {
    fn run(&self, engine: &EngineWeak) {
        let mut idle_since = Instant::now();
        while !self.over.load(Ordering::SeqCst) {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
            if self.calls.load(Ordering::SeqCst) > 0 {
                idle_since = Instant::now();
            } else if idle_since.elapsed() > LINGER {
                drop(engine);
                self.stand_still();
                idle_since = Instant::now();
            }
        }
    }

    fn wake(&self) {
        // Whoever is about to wait holds the gate, and looks once more before.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.started.notify_one();
    }

    fn stand_still(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.stopped.store(true, Ordering::SeqCst);
        let idle = |_: &mut ()| {
            self.calls.load(Ordering::SeqCst) == 0 && !self.over.load(Ordering::SeqCst)
        };
        drop(self.started.wait_while(gate, idle).unwrap_or_else(PoisonError::into_inner));
        self.stopped.store(false, Ordering::SeqCst);
    }
}

/// Compiled code is native code: whoever can write into its directory can run anything as this
/// user. So the directory must be this user's, and nobody else may write there.
fn open_cache(path: &Path) -> Result<Cache, EngineError> {
    let failed = |source| EngineError::Cache { path: path.display().to_string(), source };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(failed)?;
    check_private(path).map_err(failed)?;
    let path = path.canonicalize().map_err(failed)?;
    let mut config = CacheConfig::new();
    config.with_directory(path.clone());
    Cache::new(config).map_err(|error| failed(io::Error::other(format!("{error:#}"))))
}

#[cfg(unix)]
fn check_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = std::fs::metadata(path)?;
    let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refuse("it belongs to another user".to_owned());
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return refuse(format!("others may write to it (mode {mode:04o}); `chmod 700` it"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_private(_path: &Path) -> io::Result<()> {
    Ok(())
}
