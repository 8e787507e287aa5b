//! The journal of one stream: what was accepted, in order, until every sink is past it.
//!
//! A [`Writer`] appends runs of records; [`Reader`]s, one a sink, cut [`Batch`]es out of them at
//! positions of their own and say with [`Reader::settle`] what became of the records. What is
//! appended together stays together as a [`Chunk`]: its records are encoded once, and every reader
//! shares the bytes. [`Offline`] looks at a journal from outside, and mends it.
//!
//! # Format
//!
//! A journal is one flat directory. All numbers are little-endian. Every file can be read from its
//! own bytes alone; nothing depends on another machine's byte order or word size.
//!
//! **Segments**, `<position of the first record, 20 digits>.segment`: a header of 64 bytes
//! (`wasinkJ\n`, version, CRC-32 of the rest, first position, the stream's name), and frames.
//!
//! **Frames** begin at multiples of 8 bytes: a header of 40 bytes (`wskF`, CRC-32 of the header,
//! payload length, CRC-32 of the payload, position of the first record, number of records, kind), the
//! payload, zeros up to a multiple of 8, and a trailer that repeats the header as `wskT`. The payload
//! of a frame of records is columns: ids of 16 bytes, times in nanoseconds since 1970, where each line
//! ends, tenants as codes into a list, and the lines themselves, as sinks get them. The first frame
//! of a segment, its base, says in JSON what was accepted by tenant before it.
//!
//! **Lanes**, `<sink>.lane`, and **dead letters**, `<sink>.dead`: lines of a CRC-32 in hexadecimal, a
//! space, and a JSON object. A lane's file begins with its whole state, twice, and goes on with
//! changes; it is written anew when it has grown. **Versions**, `<sink>.versions`, are such lines,
//! too: which version of the sink's plugin took over when, and what was settled before; they go there
//! before the lane's file, which tells of the newest, is written anew. `lock` keeps others out; `reserve` is room that is
//! given up when the disk is full, so that cursors can be written and segments removed.
//!
//! # What holds
//!
//! - A frame is written and synced before [`Writer::commit`] returns; then readers see it. Positions
//!   are never given twice: the next one is above all that segments, lanes and their trailers know of.
//! - A segment is made under another name, synced, renamed, and the directory synced, before a frame
//!   in it counts. After a write or a sync that failed the next segment begins where the last whole
//!   commit ended, and a segment ends where the next one begins, whatever it holds.
//! - Dead letters are synced before their records count as dealt with. What became of records is
//!   written as it happens, and synced when a segment could go; a segment is removed only when every
//!   lane's cursor is past it on disk for sure.
//! - Opening writes nothing to a lane's file that is sound. What an earlier process wrote there may be
//!   seen and not be on the disk, where a sync has failed: it is written over with itself, and synced,
//!   before anything is removed for it. A new sink's file has its name for good before a record that
//!   comes after it is accepted; one sync of the directory is for all sinks that came meanwhile.
//! - A sink without a reader keeps what it has not dealt with for as long as there is room.
//! - A crash can bring records again, with the ids that they had, and never takes one away.
//!
//! # Recovery
//!
//! Opening reads the last segment and the lanes, so it does not depend on how much is pending. Damage
//! never keeps a journal from opening, and nothing is deleted for it: good frames around a bad one are
//! delivered, the records that were in it are counted as [`Fate::Damaged`] by each lane that comes to
//! them, and its bytes are copied to `quarantine-…` with a receipt. A frame that the file's end cuts
//! off was never acknowledged, and counts as nothing. A damaged line of a lane makes what it told of
//! come again. Only a journal that is open elsewhere, of a later version, or of another stream does
//! not open.

mod batch;
mod checked;
mod chunk;
mod columns;
mod dead;
mod fate;
mod frame;
mod lane;
mod log;
mod names;
mod offline;
mod quarantine;
mod reader;
mod recovery;
mod reserve;
mod segment;
mod storage;
mod tenants;
mod versions;
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
pub use versions::{Stretch, Version};
pub use writer::{CommitError, Writer};
