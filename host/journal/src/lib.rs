//! The log of one stream: what was accepted, in order, until every sink is past it.
//!
//! A [`Writer`] appends runs of records; [`Reader`]s, one a sink, cut [`Batch`]es out of them at
//! positions of their own and say with [`Reader::settle`] what became of the records. What is
//! appended together stays together as a [`Chunk`]: its records are encoded once, and every reader
//! shares the bytes.
mod batch;
mod checked;
mod chunk;
mod columns;
mod dead;
mod fate;
mod frame;
mod lane;
mod log;
mod offline;
mod quarantine;
mod reader;
mod recovery;
mod reserve;
mod segment;
mod storage;
mod tenants;
mod writer;

pub use batch::{Batch, Encoding};
pub use chunk::{Chunk, Unreadable};
pub use columns::{DictionaryColumn, UsageColumns};
pub use dead::{Dead, DeadLetter};
pub use fate::{Fate, Fates};
pub use lane::{Doubt, LaneState};
pub use log::{Durability, Log, LogOptions, WhenFull};
pub use offline::{
    Difference, Inspection, LaneReport, Mending, Offline, Receipt, SegmentReport, StoredRecord,
};
pub use reader::{BatchLimits, Next, Reader};
pub use recovery::{OpenError, Recovered};
pub use storage::{Directory, Lock, Storage, StorageFile};
pub use writer::{CommitError, Writer};
