//! Saying what a plugin is.

use crate::{Acknowledges, Ask, Description, Need, Stream};

impl Description {
    /// A plugin of this `version` (by semantic versioning; commonly `env!("CARGO_PKG_VERSION")`),
    /// and in one line for people what it does with the records. It accepts no stream yet.
    pub fn new(version: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            summary: summary.into(),
            streams: Vec::new(),
            settings_schema: None,
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks: Vec::new(),
        }
    }

    /// The streams that it accepts.
    #[must_use]
    pub fn streams(mut self, streams: &[Stream]) -> Self {
        self.streams = streams.to_vec();
        self
    }

    /// It accepts all four streams.
    #[must_use]
    pub fn all_streams(self) -> Self {
        self.streams(&[Stream::Metering, Stream::Usage, Stream::Control, Stream::Events])
    }

    /// JSON Schema (draft 2020-12) of its settings. The host then checks settings before it opens
    /// the plugin, and shows people what there is to set.
    #[must_use]
    pub fn settings_schema(mut self, schema: impl Into<String>) -> Self {
        self.settings_schema = Some(schema.into());
        self
    }

    /// A record counts as delivered only once a later `flush` has returned.
    #[must_use]
    pub fn acknowledges_on_flush(mut self) -> Self {
        self.acknowledges = Acknowledges::OnFlush;
        self
    }

    /// For how many seconds the receiver recognises an id that it has had.
    #[must_use]
    pub fn dedup_window(mut self, seconds: u64) -> Self {
        self.dedup_window = Some(seconds);
        self
    }

    /// How old, in seconds, a record is that the receiver still takes.
    #[must_use]
    pub fn acceptance_window(mut self, seconds: u64) -> Self {
        self.acceptance_window = Some(seconds);
        self
    }

    /// It can do nothing without this, and what for. Whoever has not granted it is told what to write
    /// into the configuration, before the plugin opens.
    #[must_use]
    pub fn needs(mut self, need: Need, reason: impl Into<String>) -> Self {
        self.asks.push(Ask { need, required: true, reason: reason.into() });
        self
    }

    /// It makes use of this where it is granted, and what for.
    #[must_use]
    pub fn can_use(mut self, need: Need, reason: impl Into<String>) -> Self {
        self.asks.push(Ask { need, required: false, reason: reason.into() });
        self
    }
}
