//! What is asked of plugins that are the ends of a feed of control events.
//!
//! A feed is an ordered stream that many nodes read, each from its own place. A sink gives each event
//! its control version, a source reads events from a version on.

use std::sync::Arc;
use std::time::Duration;

use wasink_record::{ControlEvent, InvalidRecord};

use crate::config::PluginName;
use crate::plugin::{
    CallError, Demands, Description, Failure, Interrupter, OpenRequest, PluginError, PluginVersion,
};

/// A set of plugins that can be opened by name as ends of feeds. Sources and sinks have names of their
/// own: `file` is one of each, and a sink of records besides.
pub trait Feeds: Send + Sync {
    /// What a source tells about itself.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from being loaded and asked, bytes that are not those that are
    /// demanded among it; names that there are, where there is none of this one.
    fn describe_source(
        &self,
        name: &PluginName,
        demands: &Demands,
    ) -> Result<Arc<Description>, PluginError>;

    /// What a sink tells about itself.
    ///
    /// # Errors
    ///
    /// As for [`describe_source`](Self::describe_source).
    fn describe_sink(
        &self,
        name: &PluginName,
        demands: &Demands,
    ) -> Result<Arc<Description>, PluginError>;

    /// Makes an instance of the source that a request names, and opens it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being loaded or opened.
    fn open_source(&self, request: OpenRequest) -> Result<Box<dyn FeedSource>, PluginError>;

    /// Makes an instance of the sink that a request names, and opens it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being loaded or opened.
    fn open_sink(&self, request: OpenRequest) -> Result<Box<dyn FeedSink>, PluginError>;
}

/// What both ends of a feed have in common. An instance is called from one thread at a time.
pub trait FeedPlugin: Send {
    /// Which bytes it runs.
    fn version(&self) -> PluginVersion;

    /// What the plugin told about itself.
    fn description(&self) -> Arc<Description>;

    /// Throws the instance away and opens another with the same settings.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from opening; it can be tried again.
    fn reopen(&mut self) -> Result<(), PluginError>;

    /// Ends the instance in an orderly way.
    ///
    /// # Errors
    ///
    /// What the plugin has to say of it, or what stopped it. The instance is gone either way.
    fn close(&mut self) -> Result<(), CallError>;

    /// A way for other threads to end the call that is under way.
    fn interrupter(&self) -> Interrupter;

    /// Bytes of memory that the instance has; `None` where that is not known.
    fn memory(&self) -> Option<u64> {
        None
    }
}

/// An instance of a source of control events.
pub trait FeedSource: FeedPlugin {
    /// Events whose control version is above `since`, ascending, at most `max`; none is not an error.
    /// Where there is none yet, the plugin may `wait` for one, at the most for so long, which must be
    /// less than the time that a call may take.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] is the plugin's own answer, or says what is wrong with it: events at
    /// or below `since`, not in order, too many, or at versions that there are not: they are 1 to
    /// [`i64::MAX`]. After [`CallError::Stopped`] and after
    /// [`Failure::Broken`] the instance is of no more use until it is [opened
    /// again](FeedPlugin::reopen).
    fn poll(&mut self, since: u64, max: u32, wait: Duration)
    -> Result<Vec<PolledEvent>, CallError>;

    /// Whether the plugin wants to know what was applied.
    fn wants_acks(&self) -> bool;

    /// Tells the plugin that these events, by their ids, were applied and committed, in this order.
    /// Does nothing where it does not want to know.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Self::poll).
    fn ack(&mut self, event_ids: &[String]) -> Result<(), CallError>;
}

/// An instance of a sink of control events.
pub trait FeedSink: FeedPlugin {
    /// Appends events in order: for each of them its control version, or why it has none. Those after
    /// the first that failed were not appended. A version is 0, where the plugin gives none, or at most
    /// [`i64::MAX`]. No two events of a call have the same, and none has the highest that another got
    /// before. They need not go up: an event that was appended before has the version that it got then.
    /// One with a text longer than [`MAX_CONTROL_TEXT`](wasink_record::MAX_CONTROL_TEXT), which no source
    /// may give, is refused and never shown to the plugin.
    ///
    /// # Errors
    ///
    /// As for [`FeedSource::poll`], where the answer can't be; it is not known then what of them was
    /// appended.
    fn append(&mut self, events: &[ControlEvent]) -> Result<Vec<Result<u64, Failure>>, CallError>;
}

/// An event as a source gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolledEvent {
    /// Its producer's id, as it is, whatever else is wrong with it; cut where it is longer than
    /// [`MAX_CONTROL_TEXT`](wasink_record::MAX_CONTROL_TEXT), and the event none then.
    pub event_id: String,
    /// Its place in the feed.
    pub control_version: u64,
    /// The event, or the first rule that it breaks: it is not to be applied, nor is anything after it.
    pub event: Result<ControlEvent, InvalidRecord>,
}
