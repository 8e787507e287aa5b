//! An instance at work: one store, one caller, a deadline on every call.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasink_chassis::limits::{Limit, Limits};
use wasink_chassis::plugin::{
    CallError, Description, Failure, Interrupter, OpenRequest, PluginError, PluginVersion,
};
use wasmtime::component::ResourceTableError;
use wasmtime::{Store, UpdateDeadline, component};
use wasmtime_wasi::I32Exit;

use crate::bindings::about::About;
use crate::bindings::wasink::plugin::lifecycle::{self, Context};
use crate::compile::{Loaded, chain};
use crate::convert;
use crate::engine::Engine;
use crate::host::{Commons, HostState, Surroundings};
use crate::stack;

/// The name of the call that a plugin answers before it is opened.
const DESCRIBE: &str = "describe";

/// Ends calls from outside.
#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    notify: Notify,
}

/// Who is called, for how long, and who may end it.
struct Caller {
    engine: Engine,
    loaded: Arc<Loaded>,
    timeout: Duration,
    stop: Arc<Stop>,
    /// Whether the guest was made to yield when it was looked at last: it computes then, and waits for
    /// nothing.
    yielded: Arc<AtomicBool>,
}

/// Why a call has no answer, before words are put to it.
enum Ended {
    Trap(wasmtime::Error),
    TimedOut,
    Interrupted,
}

impl Caller {
    /// Drives `call` on this thread until it is done or has to end. A call that is ended leaves its
    /// store good for nothing but a look at its data.
    fn drive<T>(&self, call: impl Future<Output = wasmtime::Result<T>>) -> Result<T, Ended> {
        if self.stop.asked.load(Ordering::SeqCst) {
            return Err(Ended::Interrupted);
        }
        let _running = self.engine.start_call();
        let mut call = pin!(call);
        let call = poll_fn(|context| {
            self.yielded.store(false, Ordering::Relaxed);
            call.as_mut().poll(context)
        });
        self.engine.block_on(async {
            tokio::select! {
                biased;
                answer = call => answer.map_err(Ended::Trap),
                () = self.stop.notify.notified() => Err(Ended::Interrupted),
                () = tokio::time::sleep(self.timeout) => Err(Ended::TimedOut),
            }
        })
    }

    /// Puts words to the end of a call.
    fn error(&self, ended: Ended, call: &'static str, state: &mut HostState) -> PluginError {
        let plugin = self.loaded.name.clone();
        match ended {
            Ended::Interrupted => PluginError::Interrupted { plugin, call },
            Ended::TimedOut => {
                state.words.reached(if call == DESCRIBE { Limit::Describe } else { Limit::Call });
                let computing = self.yielded.load(Ordering::Relaxed);
                let last_words = state.tail.last_words();
                PluginError::TimedOut { plugin, call, after: self.timeout, computing, last_words }
            }
            Ended::Trap(error) => PluginError::Trapped {
                plugin,
                call,
                reason: reason(&error, state),
                last_words: state.tail.last_words(),
            },
        }
    }

    /// A store for one instance, with everything it may use.
    fn store(&self, state: HostState, limits: &Limits) -> Store<HostState> {
        let mut store = Store::new(&self.engine.wasmtime, state);
        store.limiter(|state| &mut state.bounds);
        // What the guest calls one file is a descriptor, a stream and a pollable to it, and what is
        // only lent for a call counts as well.
        store.set_max_component_handles(limits.handles.saturating_mul(4));
        store.set_hostcall_fuel(limits.host_call_bytes);
        let yielded = self.yielded.clone();
        store.epoch_deadline_callback(move |_| {
            yielded.store(true, Ordering::Relaxed);
            Ok(UpdateDeadline::Yield(1))
        });
        store
    }
}

/// What the runtime says of a trap, where it was, and the limit that it came of.
fn reason(error: &wasmtime::Error, state: &mut HostState) -> String {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return format!("it exited with status {status}");
    }
    let root = error.root_cause().to_string();
    let root = root.strip_prefix("wasm trap: ").unwrap_or(&root).to_owned();
    let refused = state.bounds.take_refused();
    let limit = refused.or_else(|| {
        let limit = limit_of(error, &root)?;
        state.words.reached(limit);
        Some(limit)
    });
    let place = stack::of(error).map_or_else(String::new, |stack| format!(" in {stack}"));
    match limit {
        Some(limit) => format!("{root}{place} (it came up against `limits.{}`)", limit.as_str()),
        None => format!("{root}{place}"),
    }
}

/// The limit that wasmtime enforces by ending the guest.
fn limit_of(error: &wasmtime::Error, root: &str) -> Option<Limit> {
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Some(Limit::Handles);
    }
    // Those have no type of their own.
    let texts = [
        ("fuel allocated for hostcalls", Limit::HostCall),
        // Of chance.
        ("requested len ", Limit::HostCall),
        ("store handle limit exceeded", Limit::Handles),
        ("resource limit exceeded", Limit::Instances),
        ("total size of fields exceeds limit", Limit::HttpHeaders),
    ];
    texts.into_iter().find(|(text, _)| root.contains(text)).map(|(_, limit)| limit)
}

/// Asks a component to describe itself, on an instance that has been granted nothing, not even the
/// time: what it tells comes of its bytes alone.
pub(crate) fn describe(
    engine: &Engine,
    loaded: &Arc<Loaded>,
    around: &Surroundings,
) -> Result<Arc<Description>, PluginError> {
    if let Some(description) = loaded.description.get() {
        return Ok(description.clone());
    }
    let caller = Caller {
        engine: engine.clone(),
        loaded: loaded.clone(),
        timeout: around.limits.describe_time,
        stop: Arc::default(),
        yielded: Arc::default(),
    };
    let mut store = caller.store(HostState::describing(around), &around.limits);
    store.set_epoch_deadline(1);
    let unusable = |reason: String| PluginError::Unusable {
        name: loaded.name.clone(),
        origin: loaded.source.describe(),
        reason,
    };
    let answer = caller.drive(async {
        let instance = loaded.pre.instantiate_async(&mut store).await?;
        // Only here are the types of its functions looked at.
        let about = match About::new(&mut store, &instance) {
            Ok(about) => about,
            Err(error) => return Ok(Err(format!("it does not fit this host: {}", chain(&error)))),
        };
        about.wasink_plugin_about().call_describe(&mut store).await.map(Ok)
    });
    let description = answer
        .map_err(|ended| caller.error(ended, DESCRIBE, store.data_mut()))?
        .and_then(|given| convert::description(given, &around.words))
        .map_err(unusable)?;
    Ok(loaded.description.get_or_init(|| Arc::new(description)).clone())
}

/// What of a component is called, by what it is used as.
pub(crate) trait Guest: Sized {
    /// What is known of its answers, which outlives it: who comes back has not said anything else.
    type Kept: Default + Send;

    /// Looks for the functions.
    fn find(store: &mut Store<HostState>, of: &component::Instance) -> wasmtime::Result<Self>;

    /// The contract's `open`.
    async fn open(
        &self,
        store: &mut Store<HostState>,
        context: &Context,
    ) -> wasmtime::Result<Result<(), String>>;

    /// The contract's `close`.
    async fn close(&self, store: &mut Store<HostState>) -> wasmtime::Result<Result<(), String>>;
}

/// An opened plugin.
pub(crate) struct Instance<G: Guest> {
    caller: Caller,
    pub(crate) description: Arc<Description>,
    request: OpenRequest,
    pub(crate) around: Surroundings,
    pub(crate) kept: G::Kept,
    /// Absent between a stop and a reopening.
    live: Option<Live<G>>,
}

/// A store and the guest in it.
pub(crate) struct Live<G> {
    pub(crate) store: Store<HostState>,
    pub(crate) guest: G,
}

impl<G: Guest> Instance<G> {
    /// Makes an instance and opens it.
    pub(crate) fn open(
        engine: &Engine,
        loaded: Arc<Loaded>,
        description: Arc<Description>,
        request: OpenRequest,
        commons: &Commons,
    ) -> Result<Self, PluginError> {
        let around = Surroundings::new(
            &request.name,
            request.logger.clone(),
            request.grants.clone(),
            request.limits,
            request.reached.clone(),
            commons,
        );
        let around = around.map_err(|reason| PluginError::Ungrantable {
            plugin: loaded.name.clone(),
            name: request.name.clone(),
            reason,
        })?;
        let caller = Caller {
            engine: engine.clone(),
            loaded,
            timeout: request.timeout,
            stop: Arc::default(),
            yielded: Arc::default(),
        };
        let kept = G::Kept::default();
        let mut instance = Self { caller, description, request, around, kept, live: None };
        instance.live = Some(instance.make()?);
        Ok(instance)
    }

    fn make(&self) -> Result<Live<G>, PluginError> {
        let Self { caller, request, around, .. } = self;
        let mut store = caller.store(HostState::new(around), &around.limits);
        store.set_epoch_deadline(1);
        let made = caller.drive(async {
            let instance = caller.loaded.pre.instantiate_async(&mut store).await?;
            let guest = G::find(&mut store, &instance)?;
            let context = Context {
                name: request.name.clone(),
                node_id: request.node_id.clone(),
                epoch: request.epoch.clone(),
                settings: request.settings.clone(),
            };
            let opened = guest.open(&mut store, &context).await?;
            Ok((guest, opened))
        });
        let (guest, opened) =
            made.map_err(|ended| caller.error(ended, "open", store.data_mut()))?;
        match opened {
            Ok(()) => Ok(Live { store, guest }),
            Err(reason) => Err(PluginError::Refused {
                plugin: caller.loaded.name.clone(),
                name: request.name.clone(),
                reason: around.words.text(reason),
            }),
        }
    }

    /// Makes one call. An instance whose call is ended is gone.
    pub(crate) fn call<T>(
        &mut self,
        name: &'static str,
        call: impl AsyncFnOnce(&mut Live<G>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let gone = || Failure::Broken("it has not been opened again".to_owned());
        let mut live = self.live.take().ok_or_else(gone)?;
        live.store.set_epoch_deadline(1);
        match self.caller.drive(call(&mut live)) {
            Ok(answer) => {
                self.live = Some(live);
                Ok(answer)
            }
            Err(ended) => Err(self.caller.error(ended, name, live.store.data_mut()).into()),
        }
    }

    /// What is so of the guest; false where there is none.
    pub(crate) fn is_live(&self, is: impl Fn(&G) -> bool) -> bool {
        self.live.as_ref().is_some_and(|live| is(&live.guest))
    }

    /// Bytes of memory that the guest has; `None` where there is none.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        self.live.as_ref().map(|live| live.store.data().bounds.memory())
    }

    /// Throws the guest away and opens another.
    pub(crate) fn renew(&mut self) -> Result<(), PluginError> {
        self.live = None;
        self.live = Some(self.make()?);
        Ok(())
    }

    /// Ends the guest in an orderly way.
    pub(crate) fn end(&mut self) -> Result<(), CallError> {
        let answer = self.call("close", async |live| live.guest.close(&mut live.store).await);
        self.live = None;
        answer?.map_err(|reason| Failure::Broken(self.around.words.text(reason)).into())
    }

    /// Which bytes it runs.
    pub(crate) fn bytes(&self) -> PluginVersion {
        self.caller.loaded.version(&self.description)
    }

    /// Ends its calls from other threads.
    pub(crate) fn stopper(&self) -> Interrupter {
        let stop = self.caller.stop.clone();
        Interrupter::new(move || {
            stop.asked.store(true, Ordering::SeqCst);
            stop.notify.notify_one();
        })
    }

    /// The plugin's own answer that it did not do what it was asked.
    pub(crate) fn failure(&self, given: lifecycle::Failure) -> CallError {
        convert::failure(given, &self.around.words).into()
    }
}

impl<G: Guest> std::fmt::Debug for Instance<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("request", &self.request).finish_non_exhaustive()
    }
}
