//! The trait that a sink implements.

use serde::de::DeserializeOwned;

use crate::{Batch, Captured, Context, Description, Error, Failure, Outcomes, settings};

/// A plugin that takes records somewhere.
///
/// One instance is called by one caller at a time: `open`, then any number of `write` and `flush`,
/// then `close`. Every call has a deadline, set by the operator. After a panic or a missed deadline
/// the instance is gone without `close`, a new one is opened, and the batch is delivered to it.
pub trait Sink: Sized {
    /// What the operator sets, read from JSON. A wrong setting makes the plugin fail to open, with
    /// the name of the setting and what is wrong with it. [`NoSettings`](crate::NoSettings) where
    /// there is nothing to set.
    type Settings: DeserializeOwned;

    /// What this plugin is. Called on an instance of its own that has been granted nothing, and
    /// gives the same answer every time.
    fn describe() -> Description;

    /// Makes ready for the first batch. An error is final for this configuration, and its words are
    /// shown to the operator.
    fn open(settings: Self::Settings, context: &Context) -> Result<Self, Error>;

    /// Takes one batch. A batch can come again: after a [`Failure::Retry`], and after this instance
    /// was lost. Its ids and its position are then the same.
    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure>;

    /// Makes good what `write` has taken and not yet made good. Called from time to time while
    /// idle, and before `close`.
    fn flush(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Ends the instance.
    fn close(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A sink that a test harness can look into: export it by `export_sink!(Type, capture)`.
pub trait Capture: Sink {
    /// All that is kept, in the order of arrival.
    fn entries(&self) -> Vec<Captured>;

    /// Forgets what is kept.
    fn reset(&mut self);
}

/// Opens a sink as the host does: its settings are the JSON text of the context.
pub fn open<S: Sink>(context: &Context) -> Result<S, Error> {
    S::open(settings::parse(&context.settings)?, context)
}
