//! Instances that are used as the ends of a feed.

use std::sync::Arc;
use std::time::Duration;

use wasink_chassis::feed::{FeedPlugin, FeedSink, FeedSource, PolledEvent};
use wasink_chassis::plugin::{
    CallError, Description, Failure, Interrupter, PluginError, PluginVersion,
};
use wasink_record::ControlEvent;
use wasmtime::Store;
use wasmtime::component;

use crate::bindings::acks::Acks;
use crate::bindings::feed_sink::FeedSink as SinkExports;
use crate::bindings::feed_source::FeedSource as SourceExports;
use crate::bindings::wasink::plugin::lifecycle::Context;
use crate::convert;
use crate::host::HostState;
use crate::instance::{Guest, Instance};

/// The functions of a source.
pub(crate) struct SourceGuest {
    source: SourceExports,
    /// Absent where it does not want to know what was applied.
    acks: Option<Acks>,
}

impl Guest for SourceGuest {
    type Kept = ();

    fn find(store: &mut Store<HostState>, of: &component::Instance) -> wasmtime::Result<Self> {
        const ACKS: &str = "wasink:plugin/acks@0.1.0";
        let source = SourceExports::new(&mut *store, of)?;
        let acks = match of.get_export_index(&mut *store, None, ACKS) {
            Some(_) => Some(Acks::new(&mut *store, of)?),
            None => None,
        };
        Ok(Self { source, acks })
    }

    async fn open(
        &self,
        store: &mut Store<HostState>,
        context: &Context,
    ) -> wasmtime::Result<Result<(), String>> {
        self.source.wasink_plugin_feed_source().call_open(store, context).await
    }

    async fn close(&self, store: &mut Store<HostState>) -> wasmtime::Result<Result<(), String>> {
        self.source.wasink_plugin_feed_source().call_close(store).await
    }
}

/// The functions of a feed sink.
pub(crate) struct FeedSinkGuest(SinkExports);

impl Guest for FeedSinkGuest {
    type Kept = convert::Highest;

    fn find(store: &mut Store<HostState>, of: &component::Instance) -> wasmtime::Result<Self> {
        Ok(Self(SinkExports::new(&mut *store, of)?))
    }

    async fn open(
        &self,
        store: &mut Store<HostState>,
        context: &Context,
    ) -> wasmtime::Result<Result<(), String>> {
        self.0.wasink_plugin_feed_sink().call_open(store, context).await
    }

    async fn close(&self, store: &mut Store<HostState>) -> wasmtime::Result<Result<(), String>> {
        self.0.wasink_plugin_feed_sink().call_close(store).await
    }
}

impl<G: Guest + Send> FeedPlugin for Instance<G> {
    fn version(&self) -> PluginVersion {
        self.bytes()
    }

    fn description(&self) -> Arc<Description> {
        self.description.clone()
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
}

impl FeedSource for Instance<SourceGuest> {
    fn poll(
        &mut self,
        since: u64,
        max: u32,
        wait: Duration,
    ) -> Result<Vec<PolledEvent>, CallError> {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let answer = self.call("poll", async |live| {
            let source = live.guest.source.wasink_plugin_feed_source();
            source.call_poll(&mut live.store, since, max, wait).await
        })?;
        let events = answer.map_err(|failure| self.failure(failure))?;
        Ok(convert::polled(events, since, max, &self.around.words)?)
    }

    fn wants_acks(&self) -> bool {
        self.is_live(|guest| guest.acks.is_some())
    }

    fn ack(&mut self, event_ids: &[String]) -> Result<(), CallError> {
        let answer = self.call("ack", async |live| match &live.guest.acks {
            Some(acks) => acks.wasink_plugin_acks().call_ack(&mut live.store, event_ids).await,
            None => Ok(Ok(())),
        })?;
        answer.map_err(|failure| self.failure(failure))
    }
}

impl FeedSink for Instance<FeedSinkGuest> {
    fn append(&mut self, events: &[ControlEvent]) -> Result<Vec<Result<u64, Failure>>, CallError> {
        // What no source may give must not get into a feed.
        let unfit = events.iter().enumerate().find_map(|(n, event)| {
            event.validate_texts().err().map(|invalid| (n, Failure::Rejected(invalid.to_string())))
        });
        let events_given = unfit.as_ref().map_or(events, |(n, _)| events.split_at(*n).0);
        let mut results = Vec::with_capacity(events.len());
        if unfit.is_none() || !events_given.is_empty() {
            let given: Vec<_> = events_given.iter().map(convert::control_event).collect();
            let answer = self.call("append", async |live| {
                live.guest.0.wasink_plugin_feed_sink().call_append(&mut live.store, &given).await
            })?;
            let answer = answer.map_err(|failure| self.failure(failure))?;
            let words = &self.around.words;
            results = convert::appended(answer, events_given, &mut self.kept, words)?;
        }
        if let Some((_, refused)) = unfit
            && results.iter().all(Result::is_ok)
        {
            results.push(Err(refused));
        }
        results.resize_with(events.len(), || {
            let reason = "an event before it was not appended".to_owned();
            Err(Failure::Retry { after: None, reason })
        });
        Ok(results)
    }
}
