//! What a plugin for wasink is written with: one trait, one macro, and what a sink commonly
//! needs around them.
//!
//! ```
//! use wasink_guest::{Batch, Context, Description, Error, Failure, NoSettings, Outcomes, Sink, Stream};
//!
//! struct Counter(u64);
//!
//! impl Sink for Counter {
//!     type Settings = NoSettings;
//!
//!     fn describe() -> Description {
//!         Description::new(env!("CARGO_PKG_VERSION"), "counts").streams(&[Stream::Usage])
//!     }
//!
//!     fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
//!         Ok(Counter(0))
//!     }
//!
//!     fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
//!         self.0 += u64::from(batch.len());
//!         wasink_guest::info!("counted"; total = self.0);
//!         Ok(Outcomes::delivered())
//!     }
//! }
//!
//! wasink_guest::export_sink!(Counter);
//! # fn main() {}
//! ```
//!
//! The ends of a feed of control events are plugins as well: [`FeedSource`] and [`FeedSink`].
//!
//! Build it as a `cdylib` for `wasm32-wasip2`. The same code also builds for the machine that you
//! work on, where [`testing`] gives it batches and shows what it logged; there the macro does
//! nothing.

pub mod bindings;

mod batch;
mod clock;
mod data;
mod description;
mod event;
mod export;
mod failure;
mod feed;
pub mod http;
mod log;
#[cfg(not(target_family = "wasm"))]
pub mod native;
mod outcomes;
pub mod prelude;
mod secret;
mod settings;
mod sink;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod vocabulary;

pub use serde;
pub use serde_json;
pub use wasip2;

pub use batch::{Batch, Encoded};
pub use bindings::about::exports::wasink::plugin::about::{Acknowledges, Ask, Description, Need};
pub use bindings::capture::exports::wasink::plugin::capture::Captured;
pub use bindings::host::wasink::plugin::batches::{
    DictionaryColumn, Encoding, UsageColumns, WrongStream,
};
pub use bindings::host::wasink::plugin::lifecycle::Context;
pub use bindings::host::wasink::plugin::log::{Level, Value};
pub use bindings::host::wasink::plugin::records::{
    CloudEvent, ControlEvent, Entry, Kind, Reason, Shape, Status, Stream, Timestamp, UsageEvent,
};
pub use bindings::sink::exports::wasink::plugin::sink::{Exception, Outcome};
pub use clock::{Utc, now};
pub use data::{AppendError, AppendFile, DataFile, Directory, Metadata};
pub use failure::{Error, Failure};
pub use feed::{Acknowledge, FeedSink, FeedSource, open_feed_sink, open_feed_source};
pub use log::{Field, log};
pub use outcomes::Outcomes;
pub use secret::secret;
pub use settings::NoSettings;
pub use sink::{Capture, Sink, open};

#[doc(hidden)]
pub use export::Slot;

#[cfg(test)]
mod tests;
