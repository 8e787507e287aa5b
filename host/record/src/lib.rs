//! The records that wasink carries, and their wire formats. No I/O, no async, no Wasm.
//!
//! ```
//! use wasink_record::{
//!     Clock, ComputeStart, Entry, IdSource, Record, Shape, Stamped, Stream, SystemClock, UsageEvent,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // What a service writes.
//! let entry = Entry::vm_compute_start("vm-7", ComputeStart::Boot)
//!     .hypervisor("firecracker")
//!     .shape(Shape::new(2, 4 << 30, 10 << 30))
//!     .build()?;
//! let event = UsageEvent::builder("req-1", "acme", "http", "shop").duration_ms(12).fuel(75).build();
//!
//! // What the chassis does with it, once: an id, and the time where the service gave none.
//! let now = SystemClock.now();
//! let ids = IdSource::new(0x5eed);
//! let stamped = Stamped::new(ids.next(now), now, entry.into());
//! let mut line = Vec::new();
//! stamped.record.encode(&mut line);
//! assert!(line.starts_with(br#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"boot","#));
//!
//! // What comes in as text is checked, and what is wrong with it said.
//! let typo = br#"{"kind":"vm.compute.stop","vmid":"vm-7"}"#;
//! let error = wasink_record::parse_line(Stream::Metering, typo, now).unwrap_err();
//! assert_eq!(error.to_string(), "column 27, field `vmid`: unknown key, did you mean `vm_id`?");
//! # let _ = Record::from(event);
//! # Ok(())
//! # }
//! ```

mod names;

mod clock;
mod id;
mod invalid;
mod json;
mod stream;
mod time;

mod control;
mod event;
mod metering;
mod usage;

mod line;
mod record;

pub use clock::{Clock, SystemClock};
pub use control::{ControlEvent, ControlEventBuilder, ControlType, MAX_CONTROL_TEXT};
pub use event::{CloudEvent, CloudEventBuilder, EventData, ExtensionValue, MAX_EXTENSIONS};
pub use id::{IdSource, InvalidRecordId, RecordId};
pub use invalid::{InvalidRecord, MAX_QUANTITY};
pub use json::MAX_DEPTH;
pub use line::{LineError, parse_line};
pub use metering::{
    ComputeStart, ComputeStop, Entry, EntryBuilder, Kind, Reason, Shape, StorageStart, StorageStop,
};
pub use names::UnknownName;
pub use record::{Record, Stamped};
pub use stream::Stream;
pub use time::{InvalidTimestamp, Timestamp};
pub use usage::{Status, UsageEvent, UsageEventBuilder};
