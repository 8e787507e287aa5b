//! The log of one stream: what was accepted, in order, until every reader is past it.
//!
//! A [`MemoryLog`] takes runs of records from one writer and hands them to any number of
//! [`Reader`]s, each at a position of its own. What is appended together stays together as a
//! [`Chunk`]: its records are encoded once, and every reader shares the bytes. A reader cuts
//! [`Batch`]es out of the chunks and says with [`Reader::commit`] how far it has got; a chunk is let
//! go once all readers are past it.
//!
//! This log lives in memory: it ends with the process. Writer and readers see nothing of that but
//! the name, so a log on disk can take its place.

mod batch;
mod chunk;
mod columns;
mod memory;

pub use batch::{Batch, Encoding};
pub use chunk::Chunk;
pub use columns::{DictionaryColumn, UsageColumns};
pub use memory::{BatchLimits, Closed, MemoryLog, Next, Reader};
