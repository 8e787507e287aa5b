//! The traits that the ends of a feed implement.
//!
//! A feed is an ordered stream of control events: a [`FeedSink`] gives each event its place in the
//! order, a [`FeedSource`] reads them from a place on. Several nodes read the same feed, each from its
//! own place.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::{Context, ControlEvent, Description, Error, Failure, settings};

/// A plugin from which control events are read.
///
/// One instance is called by one caller at a time: `open`, then any number of `poll`, then `close`.
/// Every call has a deadline. After a panic or a missed deadline the instance is gone without `close`,
/// and a new one is opened.
pub trait FeedSource: Sized {
    /// What the operator sets, as for a [`Sink`](crate::Sink).
    type Settings: DeserializeOwned;

    /// What this plugin is. It accepts no streams.
    fn describe() -> Description;

    /// Makes ready for the first poll. An error is final for this configuration, and its words are
    /// shown to the operator.
    fn open(settings: Self::Settings, context: &Context) -> Result<Self, Error>;

    /// Events whose control version is above `since`, ascending, at most `max`. Where there is none
    /// yet, it may `wait` for one, at the most for so long. None is not an error.
    fn poll(&mut self, since: u64, max: u32, wait: Duration) -> Result<Vec<ControlEvent>, Failure>;

    /// Ends the instance.
    fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A source that wants to know what was applied: export it by `export_feed_source!(Type, acks)`.
pub trait Acknowledge: FeedSource {
    /// These events, by their ids, have been applied and committed, in this order. Where it fails, the
    /// host goes on: an event that is given again because of that does no harm.
    fn ack(&mut self, event_ids: &[String]) -> Result<(), Failure>;
}

/// A plugin to which control events are appended.
///
/// One instance is called by one caller at a time: `open`, then any number of `append`, then `close`.
/// Every call has a deadline, as for a [`FeedSource`].
pub trait FeedSink: Sized {
    /// What the operator sets, as for a [`Sink`](crate::Sink).
    type Settings: DeserializeOwned;

    /// What this plugin is. It accepts no streams; `dedup_window` says for how long it recognises an
    /// event id, where that is not for ever.
    fn describe() -> Description;

    /// Makes ready for the first append. An error is final for this configuration.
    fn open(settings: Self::Settings, context: &Context) -> Result<Self, Error>;

    /// Appends one event, and returns its control version: above that of every event appended before,
    /// or, for an event id that was appended before, the one that it got then.
    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure>;

    /// Appends events in order, one result each, up to the first that fails. For a sink that is faster
    /// with many at a time.
    fn append_all(&mut self, events: Vec<ControlEvent>) -> Vec<Result<u64, Failure>> {
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            let result = self.append(event);
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
        results
    }

    /// Ends the instance.
    fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

/// Opens a source as the host does: its settings are the JSON text of the context.
pub fn open_feed_source<S: FeedSource>(context: &Context) -> Result<S, Error> {
    S::open(settings::parse(&context.settings)?, context)
}

/// Opens a feed sink as the host does: its settings are the JSON text of the context.
pub fn open_feed_sink<S: FeedSink>(context: &Context) -> Result<S, Error> {
    S::open(settings::parse(&context.settings)?, context)
}
