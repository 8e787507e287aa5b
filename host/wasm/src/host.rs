//! What the host keeps for one instance, and the functions that it gives to it.

use std::sync::Arc;

use wasink_chassis::Secret;
use wasink_chassis::limits::{LimitCounts, Limits};
use wasink_chassis::logger::{Level, Logger, Value};
use wasink_chassis::plugin::Grants;
use wasink_journal::{Batch, Encoding};
use wasink_record::Clock;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{DynOutputStream, StreamError};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::bindings::wasink::plugin::batches::{
    self, AppendError, Encoding as WitEncoding, UsageColumns, WrongStream,
};
use crate::bindings::wasink::plugin::log::{self, Level as WitLevel, Value as WitValue};
use crate::bindings::wasink::plugin::{lifecycle, records};
use crate::clock::Shown;
use crate::convert;
use crate::files::{self, DataDirectory};
use crate::memory::Bounds;
use crate::net::{Http, Lookups, Outlets, Resolve, Tcp};
use crate::quota::{Quota, Quotas};
use crate::stderr::{ProcessStderr, Tail};
use crate::still::still;
use crate::views::ViewCounts;
use crate::words::Words;

/// A batch that is lent to a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it as public")]
pub type BatchHandle = Arc<Batch>;

/// What an instance is made with: what stays when it is lost and another takes its place.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    pub(crate) reached: LimitCounts,
    pub(crate) words: Words,
    pub(crate) outlets: Arc<Outlets>,
    pub(crate) tcp: Arc<Tcp>,
    pub(crate) data: Option<DataDirectory>,
    /// The wall clock, where it is not the system's.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    views: Option<ViewCounts>,
}

/// What all instances of a host have in common.
pub(crate) struct Commons {
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) quotas: Quotas,
    pub(crate) clock: Option<Arc<dyn Clock>>,
    /// Who counts views, where a harness wants to know.
    pub(crate) views: Option<ViewCounts>,
}

impl Surroundings {
    /// For a sink or a plugin of this name.
    ///
    /// # Errors
    ///
    /// What is wrong with a grant, for the operator.
    pub(crate) fn new(
        name: &str,
        logger: Arc<dyn Logger>,
        grants: Grants,
        limits: Limits,
        reached: LimitCounts,
        commons: &Commons,
    ) -> Result<Self, String> {
        let words = Words::new(name.into(), logger, limits, reached.clone(), grants.log);
        let lookups = Lookups::new(commons.resolver.clone());
        let outlets = Outlets::new(&grants, limits, reached.clone(), words.clone(), &lookups)?;
        let tcp = Tcp::new(grants.tcp.clone(), lookups, words.clone());
        let data = grants.directory.clone().map(|directory| {
            let (limit, words) = (limits.directory_bytes, words.clone());
            let quota = Quota::new(directory.clone(), limit, words, &commons.quotas);
            DataDirectory { directory, quota }
        });
        let (views, clock) = (commons.views.clone(), commons.clock.clone());
        Ok(Self { grants, limits, reached, words, outlets, tcp, data, views, clock })
    }
}

/// What the host keeps for one instance.
pub(crate) struct HostState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Http,
    pub(crate) table: ResourceTable,
    pub(crate) data: Option<DataDirectory>,
    pub(crate) bounds: Bounds,
    pub(crate) tcp: Arc<Tcp>,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) words: Words,
    pub(crate) tail: Tail,
    pub(crate) views: Option<ViewCounts>,
}

impl HostState {
    /// For an instance that is to be opened.
    pub(crate) fn new(around: &Surroundings) -> Self {
        Self::with(around, |wasi| {
            if let Some(clock) = &around.clock {
                wasi.wall_clock(Shown(clock.clone()));
            }
        })
    }

    /// For an instance that is only asked to describe itself.
    pub(crate) fn describing(around: &Surroundings) -> Self {
        Self::with(around, still)
    }

    fn with(around: &Surroundings, more: impl FnOnce(&mut WasiCtxBuilder)) -> Self {
        let Surroundings { grants, limits, reached, words, outlets, tcp, data, views, .. } = around;
        let tail = Tail::new(words.clone());
        let mut wasi = WasiCtxBuilder::new();
        // File work is done on the instance's own thread: handing it to another costs more than
        // most of it takes.
        wasi.allow_blocking_current_thread(true).stdout(tail.clone()).envs(&grants.environment);
        if grants.stderr {
            wasi.stderr(ProcessStderr);
        } else {
            wasi.stderr(tail.clone());
        }
        if tcp.is_granted() {
            let tcp = tcp.clone();
            wasi.allow_tcp(true).socket_addr_check(move |address, used| tcp.check(address, used));
        }
        wasi.max_random_size(u64::try_from(limits.host_call_bytes).unwrap_or(u64::MAX));
        more(&mut wasi);
        let mut http = WasiHttpCtx::new();
        // The guest ends here. Headers that are a little too large are refused when they are sent.
        http.set_field_size_limit(limits.http_header_bytes.saturating_mul(4));
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi.build(),
            http,
            hooks: Http(outlets.clone()),
            table,
            data: data.clone(),
            bounds: Bounds::new(limits, reached.clone()),
            tcp: tcp.clone(),
            secrets: grants.secrets.clone(),
            words: words.clone(),
            tail,
            views: views.clone(),
        }
    }

    fn batch(&self, handle: &Resource<BatchHandle>) -> wasmtime::Result<&Arc<Batch>> {
        Ok(self.table.get(handle)?)
    }
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for HostState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }
}

/// For wasmtime: the host's functions get the whole state.
pub(crate) struct Host;

impl HasData for Host {
    type Data<'a> = &'a mut HostState;
}

impl records::Host for HostState {}

impl lifecycle::Host for HostState {}

impl batches::Host for HostState {}

impl batches::HostBatch for HostState {
    fn of(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<records::Stream> {
        Ok(convert::stream(self.batch(&batch)?.stream()))
    }

    fn len(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<u32> {
        Ok(u32::try_from(self.batch(&batch)?.len())?)
    }

    fn position(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<u64> {
        Ok(self.batch(&batch)?.position())
    }

    fn ids(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<Vec<String>> {
        Ok(self.batch(&batch)?.ids().map(|id| id.to_string()).collect())
    }

    fn encode(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: WitEncoding,
    ) -> wasmtime::Result<Vec<u8>> {
        Ok(self.batch(&batch)?.encode(host_encoding(encoding))?.into())
    }

    async fn write_to(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: WitEncoding,
        to: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Result<u64, StreamErrorForGuest>> {
        let bytes = self.batch(&batch)?.encode(host_encoding(encoding))?;
        let length = bytes.len() as u64;
        let stream = self.table.get_mut(&to)?;
        match stream.blocking_write_and_flush(bytes).await {
            Ok(()) => Ok(Ok(length)),
            Err(StreamError::Closed) => Ok(Err(StreamErrorForGuest::Closed)),
            Err(StreamError::LastOperationFailed(error)) => {
                Ok(Err(StreamErrorForGuest::LastOperationFailed(self.table.push(error)?)))
            }
            Err(StreamError::Trap(error)) => Err(error),
        }
    }

    fn append_to(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: WitEncoding,
        skip: u64,
        to: Resource<Descriptor>,
    ) -> wasmtime::Result<Result<u64, AppendError>> {
        let bytes = self.batch(&batch)?.encode(host_encoding(encoding))?;
        let quota = self.data.as_ref().map(|data| &*data.quota);
        Ok(files::append(self.table.get(&to)?, &bytes, skip, quota))
    }

    fn entries(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<records::Entry>, WrongStream>> {
        Ok(convert::entries(self.batch(&batch)?)?)
    }

    fn usage(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<records::UsageEvent>, WrongStream>> {
        Ok(convert::usage(self.batch(&batch)?)?)
    }

    fn usage_columns(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<UsageColumns, WrongStream>> {
        Ok(convert::usage_columns(self.batch(&batch)?)?)
    }

    fn control(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<records::ControlEvent>, WrongStream>> {
        Ok(convert::control(self.batch(&batch)?)?)
    }

    fn events(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<records::CloudEvent>, WrongStream>> {
        Ok(convert::events(self.batch(&batch)?)?)
    }

    fn drop(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<()> {
        // Guests only ever borrow batches, so this is for wasmtime's bookkeeping.
        self.table.delete(batch)?;
        Ok(())
    }
}

/// What a stream says to a guest that could not write.
pub(crate) type StreamErrorForGuest = wasmtime_wasi::p2::bindings::io::streams::StreamError;

fn host_encoding(encoding: WitEncoding) -> Encoding {
    match encoding {
        WitEncoding::Jsonl => Encoding::Jsonl,
        WitEncoding::JsonArray => Encoding::JsonArray,
        WitEncoding::CloudeventsBatch => Encoding::CloudEventsBatch,
        WitEncoding::CloudeventsJsonl => Encoding::CloudEventsJsonl,
    }
}

impl log::Host for HostState {
    fn write(
        &mut self,
        level: WitLevel,
        message: String,
        fields: Vec<(String, WitValue)>,
    ) -> wasmtime::Result<()> {
        let level = match level {
            WitLevel::Debug => Level::Debug,
            WitLevel::Info => Level::Info,
            WitLevel::Warn => Level::Warn,
            WitLevel::Error => Level::Error,
        };
        let value = |value| match value {
            WitValue::Text(text) => Value::Text(text),
            WitValue::Signed(number) => Value::Signed(number),
            WitValue::Unsigned(number) => Value::Unsigned(number),
            WitValue::Boolean(truth) => Value::Boolean(truth),
        };
        let fields = fields.into_iter().map(|(key, given)| (key, value(given))).collect();
        self.words.line(level, message, fields);
        Ok(())
    }
}
