//! An instance at work: one store, one caller, a deadline on every call.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use wasink_chassis::limits::{Limit, Limits};
use wasink_chassis::plugin::{
    CallError, Captured, Description, Exception, Failure, Interrupter, OpenRequest, PluginError,
    PluginVersion, SinkPlugin,
};
use wasink_journal::Batch;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Lift, Lower, Resource, ResourceTableError, TypedFunc,
};
use wasmtime::{AsContextMut as _, Store, UpdateDeadline};
use wasmtime_wasi::I32Exit;

use crate::bindings::SinkPlugin as Guest;
use crate::bindings::wasink::plugin::lifecycle::Context;
use crate::compile::{Loaded, chain};
use crate::convert;
use crate::engine::Engine;
use crate::host::{Commons, HostState, Surroundings};

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

/// What the runtime says of a trap, without the frames, and the limit that it came of.
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
    match limit {
        Some(limit) => format!("{root} (it came up against `limits.{}`)", limit.as_str()),
        None => root,
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
        let instance = loaded.pre.instance_pre().instantiate_async(&mut store).await?;
        // Only here are the types of its functions looked at.
        let guest = match Guest::new(&mut store, &instance) {
            Ok(guest) => guest,
            Err(error) => return Ok(Err(format!("it does not fit this host: {}", chain(&error)))),
        };
        guest.wasink_plugin_about().call_describe(&mut store).await.map(Ok)
    });
    let description = answer
        .map_err(|ended| caller.error(ended, DESCRIBE, store.data_mut()))?
        .and_then(|given| convert::description(given, &around.words))
        .map_err(unusable)?;
    Ok(loaded.description.get_or_init(|| Arc::new(description)).clone())
}

/// An opened sink.
pub(crate) struct Instance {
    caller: Caller,
    description: Arc<Description>,
    request: OpenRequest,
    around: Surroundings,
    /// Absent between a stop and a reopening.
    live: Option<Live>,
}

/// A store and the guest in it.
struct Live {
    store: Store<HostState>,
    guest: Guest,
    capture: Option<Capture>,
}

/// The contract's `captured`.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Kept {
    id: String,
    position: u64,
    line: String,
}

/// The functions of a plugin that keeps what it was given.
struct Capture {
    entries: TypedFunc<(), (Vec<Kept>,)>,
    reset: TypedFunc<(), ()>,
}

impl Instance {
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
        let mut instance = Self { caller, description, request, around, live: None };
        instance.live = Some(instance.make()?);
        Ok(instance)
    }

    fn make(&self) -> Result<Live, PluginError> {
        let Self { caller, request, around, .. } = self;
        let mut store = caller.store(HostState::new(around), &around.limits);
        store.set_epoch_deadline(1);
        let pre = &caller.loaded.pre;
        let made = caller.drive(async {
            let instance = pre.instance_pre().instantiate_async(&mut store).await?;
            let guest = Guest::new(&mut store, &instance)?;
            let capture = Capture::find(&mut store, &instance);
            let context = Context {
                name: request.name.clone(),
                node_id: request.node_id.clone(),
                epoch: request.epoch.clone(),
                settings: request.settings.clone(),
            };
            let opened = guest.wasink_plugin_sink().call_open(&mut store, &context).await?;
            Ok((guest, capture, opened))
        });
        let (guest, capture, opened) =
            made.map_err(|ended| caller.error(ended, "open", store.data_mut()))?;
        match opened {
            Ok(()) => Ok(Live { store, guest, capture }),
            Err(reason) => Err(PluginError::Refused {
                plugin: caller.loaded.name.clone(),
                name: request.name.clone(),
                reason: around.words.text(reason),
            }),
        }
    }

    /// Makes one call. An instance whose call is ended is gone.
    fn call<T>(
        &mut self,
        name: &'static str,
        call: impl AsyncFnOnce(&mut Live) -> wasmtime::Result<T>,
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

    fn failure(&self, given: crate::bindings::wasink::plugin::lifecycle::Failure) -> CallError {
        convert::failure(given, &self.around.words).into()
    }
}

impl SinkPlugin for Instance {
    fn version(&self) -> PluginVersion {
        self.caller.loaded.version(&self.description)
    }

    fn description(&self) -> Arc<Description> {
        self.description.clone()
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        let answer = self.call("write", async |live| {
            let handle = live.store.data_mut().table.push(batch.clone())?;
            let lent = Resource::new_borrow(handle.rep());
            let answer = live.guest.wasink_plugin_sink().call_write(&mut live.store, lent).await?;
            live.store.data_mut().table.delete(handle)?;
            Ok(answer)
        })?;
        let exceptions = answer.map_err(|failure| self.failure(failure))?;
        Ok(convert::exceptions(exceptions, batch.len(), &self.around.words)?)
    }

    fn flush(&mut self) -> Result<(), CallError> {
        let answer = self.call("flush", async |live| {
            live.guest.wasink_plugin_sink().call_flush(&mut live.store).await
        })?;
        answer.map_err(|failure| self.failure(failure))
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.live = None;
        self.live = Some(self.make()?);
        Ok(())
    }

    fn close(&mut self) -> Result<(), CallError> {
        let answer = self.call("close", async |live| {
            live.guest.wasink_plugin_sink().call_close(&mut live.store).await
        });
        self.live = None;
        answer?.map_err(|reason| Failure::Broken(self.around.words.text(reason)).into())
    }

    fn interrupter(&self) -> Interrupter {
        let stop = self.caller.stop.clone();
        Interrupter::new(move || {
            stop.asked.store(true, Ordering::SeqCst);
            stop.notify.notify_one();
        })
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        let entries = self.call("entries", async |live| match &live.capture {
            Some(capture) => Ok(Some(call(&mut live.store, &capture.entries).await?.0)),
            None => Ok(None),
        })?;
        let kept = |Kept { id, position, line }| {
            let id = id.parse().map_err(|_| {
                Failure::Broken(format!("it has kept `{id}`, which is no record's id"))
            })?;
            Ok(Captured { id, position, line })
        };
        entries.map(|entries| entries.into_iter().map(kept).collect()).transpose()
    }

    fn reset_captured(&mut self) -> Result<bool, CallError> {
        self.call("reset", async |live| match &live.capture {
            Some(capture) => call(&mut live.store, &capture.reset).await.map(|()| true),
            None => Ok(false),
        })
    }
}

async fn call<R>(store: &mut Store<HostState>, function: &TypedFunc<(), R>) -> wasmtime::Result<R>
where
    R: ComponentNamedList + Lift + Send + Sync + 'static,
    (): ComponentNamedList + Lower,
{
    function.call_async(store.as_context_mut(), ()).await
}

impl Capture {
    /// The functions, where the component exports them.
    fn find(
        store: &mut Store<HostState>,
        instance: &wasmtime::component::Instance,
    ) -> Option<Self> {
        const INTERFACE: &str = "wasink:plugin/capture@0.1.0";
        let interface = instance.get_export_index(&mut *store, None, INTERFACE)?;
        let entries = instance.get_export_index(&mut *store, Some(&interface), "entries")?;
        let reset = instance.get_export_index(&mut *store, Some(&interface), "reset")?;
        Some(Self {
            entries: instance.get_typed_func(&mut *store, entries).ok()?,
            reset: instance.get_typed_func(&mut *store, reset).ok()?,
        })
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("request", &self.request).finish_non_exhaustive()
    }
}
