//! What the host keeps for one instance, and the functions that it gives to it.

use std::sync::Arc;
use std::time::Instant;

use wasink_chassis::logger::{Level, Line, Logger, Value};
use wasink_journal::{Batch, Encoding};
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::{DynOutputStream, StreamError};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::bindings::wasink::plugin::batches::{
    self, AppendError, Encoding as WitEncoding, UsageColumns, WrongStream,
};
use crate::bindings::wasink::plugin::log::{self, Level as WitLevel, Value as WitValue};
use crate::bindings::wasink::plugin::{lifecycle, records};
use crate::convert;
use crate::files::{self, Preopen};
use crate::limits::{Limits, cut};
use crate::stderr::{ProcessStderr, Tail};

/// A batch that is lent to a guest.
#[expect(unreachable_pub, reason = "the generated bindings re-export it as public")]
pub type BatchHandle = Arc<Batch>;

/// What the host keeps for one instance.
pub(crate) struct HostState {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) preopen: Option<Preopen>,
    pub(crate) memory: StoreLimits,
    limits: Limits,
    sink: Arc<str>,
    logger: Arc<dyn Logger>,
    pub(crate) tail: Tail,
    /// When the guest was last seen computing.
    pub(crate) last_yield: Option<Instant>,
}

impl HostState {
    pub(crate) fn new(
        sink: Arc<str>,
        logger: Arc<dyn Logger>,
        preopen: Option<Preopen>,
        stderr: bool,
        limits: Limits,
    ) -> Self {
        let tail = Tail::new(sink.clone(), logger.clone());
        let mut wasi = WasiCtxBuilder::new();
        // File work is done on the instance's own thread: handing it to another costs more than
        // most of it takes.
        wasi.allow_blocking_current_thread(true).stdout(tail.clone());
        if stderr {
            wasi.stderr(ProcessStderr);
        } else {
            wasi.stderr(tail.clone());
        }
        let memory = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes)
            .table_elements(limits.table_elements)
            .instances(limits.instances)
            .memories(limits.instances)
            .tables(limits.instances)
            .build();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles);
        Self {
            wasi: wasi.build(),
            table,
            preopen,
            memory,
            limits,
            sink,
            logger,
            tail,
            last_yield: None,
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
        Ok(files::append(self.table.get(&to)?, &bytes, skip))
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
type StreamErrorForGuest = wasmtime_wasi::p2::bindings::io::streams::StreamError;

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
        if !self.logger.enabled(level) {
            return Ok(());
        }
        let max = self.limits.log_bytes;
        let value = |value| match value {
            WitValue::Text(text) => Value::Text(cut(text, max)),
            WitValue::Signed(number) => Value::Signed(number),
            WitValue::Unsigned(number) => Value::Unsigned(number),
            WitValue::Boolean(truth) => Value::Boolean(truth),
        };
        let fields: Vec<_> = fields
            .into_iter()
            .take(self.limits.log_fields)
            .map(|(key, given)| (cut(key, max), value(given)))
            .collect();
        let message = cut(message, max);
        self.logger.log(&Line {
            level,
            sink: Some(&self.sink),
            message: &message,
            fields: &fields,
        });
        Ok(())
    }
}
