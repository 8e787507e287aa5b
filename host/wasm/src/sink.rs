//! An instance that is used as a sink.

use std::sync::Arc;

use wasink_chassis::plugin::{
    CallError, Captured, Description, Exception, Failure, Interrupter, PluginError, PluginVersion,
    SinkPlugin,
};
use wasink_journal::Batch;
use wasmtime::component::{
    self, ComponentNamedList, ComponentType, Lift, Lower, Resource, TypedFunc,
};
use wasmtime::{AsContextMut as _, Store};

use crate::bindings::sink::Sink;
use crate::bindings::wasink::plugin::lifecycle::Context;
use crate::convert;
use crate::host::HostState;
use crate::instance::{Guest, Instance};

/// The functions of a sink.
pub(crate) struct SinkGuest {
    sink: Sink,
    capture: Option<Capture>,
}

/// The functions of a plugin that keeps what it was given.
struct Capture {
    entries: TypedFunc<(), (Vec<Kept>,)>,
    reset: TypedFunc<(), ()>,
}

/// The contract's `captured`.
#[derive(ComponentType, Lift)]
#[component(record)]
struct Kept {
    id: String,
    position: u64,
    line: String,
}

impl Guest for SinkGuest {
    type Kept = ();

    fn find(store: &mut Store<HostState>, of: &component::Instance) -> wasmtime::Result<Self> {
        let sink = Sink::new(&mut *store, of)?;
        let capture = Capture::find(store, of);
        Ok(Self { sink, capture })
    }

    async fn open(
        &self,
        store: &mut Store<HostState>,
        context: &Context,
    ) -> wasmtime::Result<Result<(), String>> {
        self.sink.wasink_plugin_sink().call_open(store, context).await
    }

    async fn close(&self, store: &mut Store<HostState>) -> wasmtime::Result<Result<(), String>> {
        self.sink.wasink_plugin_sink().call_close(store).await
    }
}

impl SinkPlugin for Instance<SinkGuest> {
    fn version(&self) -> PluginVersion {
        self.bytes()
    }

    fn description(&self) -> Arc<Description> {
        self.description.clone()
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        let answer = self.call("write", async |live| {
            let handle = live.store.data_mut().table.push(batch.clone())?;
            let lent = Resource::new_borrow(handle.rep());
            let sink = live.guest.sink.wasink_plugin_sink();
            let answer = sink.call_write(&mut live.store, lent).await?;
            live.store.data_mut().table.delete(handle)?;
            Ok(answer)
        })?;
        let exceptions = answer.map_err(|failure| self.failure(failure))?;
        Ok(convert::exceptions(exceptions, batch.len(), &self.around.words)?)
    }

    fn flush(&mut self) -> Result<(), CallError> {
        let answer = self.call("flush", async |live| {
            live.guest.sink.wasink_plugin_sink().call_flush(&mut live.store).await
        })?;
        answer.map_err(|failure| self.failure(failure))
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.renew()
    }

    fn close(&mut self) -> Result<(), CallError> {
        self.end()
    }

    fn interrupter(&self) -> Interrupter {
        self.stopper()
    }

    fn memory(&self) -> Option<u64> {
        self.memory_bytes()
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        let entries = self.call("entries", async |live| match &live.guest.capture {
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
        self.call("reset", async |live| match &live.guest.capture {
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
    fn find(store: &mut Store<HostState>, of: &component::Instance) -> Option<Self> {
        const INTERFACE: &str = "wasink:plugin/capture@0.1.0";
        let interface = of.get_export_index(&mut *store, None, INTERFACE)?;
        let entries = of.get_export_index(&mut *store, Some(&interface), "entries")?;
        let reset = of.get_export_index(&mut *store, Some(&interface), "reset")?;
        Some(Self {
            entries: of.get_typed_func(&mut *store, entries).ok()?,
            reset: of.get_typed_func(&mut *store, reset).ok()?,
        })
    }
}
