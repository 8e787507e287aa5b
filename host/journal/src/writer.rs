//! The one that appends: frames, group commit, new segments.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use wasink_record::{Stamped, Stream};

use crate::chunk::Chunk;
use crate::frame::{Encoded, align};
use crate::log::{Durability, Log};
use crate::segment::{self, Accepted};
use crate::storage::{Lock, Storage, StorageFile};

/// Appends to a log. There is one for each log.
///
/// Records are [staged](Self::stage) first, in runs, and then made durable together by
/// [`commit`](Self::commit): one write and one sync for all that has come in meanwhile (group commit,
/// as in DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984).
#[derive(Debug)]
pub struct Writer {
    log: Log,
    disk: Option<Disk>,
    staged: Vec<Chunk>,
}

/// Why staged records were not made durable. They are staged still.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The log is full, and a sink that has not dealt with what is in it keeps it so.
    #[error("the log is full: sink `{sink}` has {pending} records to deal with")]
    Full {
        /// The sink.
        sink: String,
        /// What it has not dealt with, in records.
        pending: u64,
        /// Whether the sink's policy is to turn away what comes, not to make it wait.
        reject: bool,
    },
    /// The disk does not take it.
    #[error("the journal can't be written: {0}")]
    Disk(#[from] io::Error),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

impl Writer {
    pub(crate) fn new(log: Log, disk: Option<Disk>) -> Self {
        Self { log, disk, staged: Vec::new() }
    }

    /// The log that it appends to.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Encodes a run of records, to be appended together by the next [`commit`](Self::commit).
    /// Returns how many runs they make: a long one is cut. A record whose line is longer than
    /// `max_record` bytes is left out, and counted in the second number.
    pub fn stage(&mut self, records: Vec<Stamped>, max_record: usize) -> (usize, usize) {
        let source = self.log.source().clone();
        let before = self.staged.len();
        let refused = Chunk::of_run(self.log.stream(), records, max_record, &source, |chunk| {
            self.staged.push(chunk);
        });
        (self.staged.len() - before, refused)
    }

    /// How many runs are staged.
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Forgets the staged runs that `keep`, asked of each by its place, does not choose.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut place = 0;
        self.staged.retain(|_| {
            place += 1;
            keep(place - 1)
        });
    }

    /// Appends what is staged, makes it as durable as the log promises, and shows it to readers.
    /// Returns the positions that it got.
    ///
    /// Blocks for as long as the disk does.
    ///
    /// # Errors
    ///
    /// Nothing was appended then, and everything is staged still: the same can be tried again. After
    /// a write that failed half way, what it left is never read.
    pub fn commit(&mut self) -> Result<Range<u64>, CommitError> {
        let first = self.log.end();
        let mut next = first;
        for chunk in &mut self.staged {
            chunk.set_position(next);
            next = chunk.end();
        }
        if self.log.is_closed() {
            return Err(CommitError::Closed);
        }
        let (encoded, needed): (Vec<_>, u64) = match &self.disk {
            Some(_) => {
                let encoded: Vec<_> = self.staged.iter().map(Encoded::of).collect();
                let needed = encoded.iter().map(Encoded::len).sum();
                (encoded, needed)
            }
            None => (Vec::new(), self.staged.iter().map(Chunk::weight).sum()),
        };
        if self.staged.is_empty() {
            return Ok(first..first);
        }
        self.log.make_room(needed)?;
        let committing = match &mut self.disk {
            Some(disk) => {
                let room = self.log.reserve().restore();
                let written = room.and_then(|()| {
                    let committing = self.log.committing()?;
                    disk.write(&self.log, first, &encoded)?;
                    Ok(committing)
                });
                self.log.set_trouble(written.as_ref().err().map(ToString::to_string));
                Some(written?)
            }
            None => None,
        };
        self.log.publish(std::mem::take(&mut self.staged));
        drop(committing);
        Ok(first..next)
    }
}

/// The files that are written to.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) stream: Stream,
    pub(crate) durability: Durability,
    /// A segment that is longer gets no more frames, in bytes.
    pub(crate) segment_bytes: u64,
    /// The segment that is written to; `None` where the next write makes one.
    pub(crate) active: Option<Active>,
    /// Held for as long as the journal is open.
    #[expect(dead_code, reason = "it is kept for its lock")]
    pub(crate) lock: Box<dyn Lock>,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Box<dyn StorageFile>,
    /// Where the next frame begins.
    pub(crate) len: u64,
}

impl Disk {
    /// Writes frames, the first of which is of the record at `first`.
    fn write(&mut self, log: &Log, first: u64, frames: &[Encoded]) -> io::Result<()> {
        let full = |active: &Active| active.len >= self.segment_bytes;
        if self.active.as_ref().is_none_or(full) {
            let base: Accepted = log.accepted();
            let durable = self.durability == Durability::Disk;
            let made = segment::create(&*self.storage, self.stream, first, &base, durable);
            let (file, len) = made?;
            log.add_segment(first, len);
            self.active = Some(Active { file, len: align(len) });
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        let mut slices: Vec<IoSlice<'_>> = frames.iter().flat_map(Encoded::slices).collect();
        let written = match active.file.write_all_at(&mut slices, active.len) {
            Ok(()) if self.durability == Durability::Disk => active.file.sync(),
            other => other,
        };
        if let Err(error) = written {
            // What was written is taken back. A sync that failed has told its error, and may say
            // that all is well the next time without having written anything (Rebello et al., "Can
            // Applications Recover from fsync Failures?", 2020): so a new segment is begun, and where
            // it begins the old one ends, whatever it holds.
            drop(active.file.set_len(active.len));
            self.active = None;
            return Err(error);
        }
        active.len += frames.iter().map(Encoded::len).sum::<u64>();
        log.set_segment_len(active.len);
        Ok(())
    }
}
