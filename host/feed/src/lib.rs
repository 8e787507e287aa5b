//! The feed of control events: the ordered stream that keeps a fleet of nodes in step.
//!
//! A producer writes a change and an event that tells of it in one transaction of its database: the
//! event goes into an [`outbox`]. A [`pump`] takes events from there to a feed sink, which gives each
//! its control version. Every node reads the feed from its own place on and [applies](applier) what it
//! says, in one transaction with its new place; what an event points to comes from a store of
//! [`artifacts`], and is what the event says it is or is not taken.
//!
//! ```
//! use rusqlite::Connection;
//! use wasink_feed::outbox::sqlite::{append, prepare};
//! use wasink_record::{ControlEvent, ControlType, Timestamp};
//!
//! let mut database = Connection::open_in_memory()?;
//! prepare(&database)?;
//! database.execute_batch("CREATE TABLE tenants (id TEXT PRIMARY KEY)")?;
//!
//! // The change and its event: both or neither.
//! let transaction = database.transaction()?;
//! transaction.execute("INSERT INTO tenants VALUES ('acme')", ())?;
//! let event = ControlEvent::builder("evt_1", ControlType::TenantCreated).tenant_id("acme").build()?;
//! append(&transaction, &event, Timestamp::from_unix_nanos(0))?;
//! transaction.commit()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod applier;
pub mod artifacts;
pub mod outbox;
pub mod pump;

mod backoff;
mod worker;

pub use backoff::Backoff;
