//! The log that is kept in memory.

use std::collections::VecDeque;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use wasink_record::{Stamped, Stream};

use crate::batch::Batch;
use crate::chunk::Chunk;

/// The log of one stream, in memory, bounded by bytes.
///
/// Cheap to clone: clones are the same log.
#[derive(Clone)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

struct Shared {
    stream: Stream,
    source: Arc<str>,
    capacity: u64,
    state: Mutex<State>,
    /// Signalled when a chunk is let go.
    room: Condvar,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<Arc<Chunk>>,
    /// Position that the next record gets.
    next: u64,
    /// Sum of the weights of `chunks`.
    weight: u64,
    /// Where each reader is; `None` once it is gone.
    readers: Vec<Option<u64>>,
    wakers: Vec<Thread>,
    closed: bool,
}

impl MemoryLog {
    /// An empty log of `stream`.
    ///
    /// It holds about `capacity` bytes at most. `source` names the producer in CloudEvents
    /// envelopes.
    pub fn new(stream: Stream, capacity: NonZeroU64, source: Arc<str>) -> Self {
        let state = Mutex::new(State::default());
        let capacity = capacity.get();
        Self { shared: Arc::new(Shared { stream, source, capacity, state, room: Condvar::new() }) }
    }

    /// Appends `records` together and returns the positions that they got.
    ///
    /// Blocks while the log is full. A run that is larger than the whole log is taken once the log
    /// is empty. Where there is no reader the records are let go at once.
    ///
    /// # Errors
    ///
    /// [`Closed`] after [`close`](Self::close), also while it waits; nothing was appended then.
    pub fn append(&self, records: Vec<Stamped>) -> Result<Range<u64>, Closed> {
        let count = records.len() as u64;
        // Positions are given by the one writer, so they are known before the lock is taken and
        // the encoding is done outside it.
        let position = self.shared.lock().next;
        let source = self.shared.source.clone();
        let chunk = Chunk::new(self.shared.stream, position, records, source);
        let weight = chunk.weight();

        let mut state = self.shared.lock();
        while !state.closed && state.weight > 0 && state.weight + weight > self.shared.capacity {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(Closed);
        }
        if count > 0 {
            debug_assert_eq!(state.next, position, "a log has one writer");
            state.next = position + count;
            if state.readers.iter().any(Option::is_some) {
                state.weight += weight;
                state.chunks.push_back(Arc::new(chunk));
            }
            state.wakers.iter().for_each(Thread::unpark);
        }
        Ok(position..position + count)
    }

    /// A reader that starts behind the last record.
    pub fn reader(&self) -> Reader {
        let mut state = self.shared.lock();
        let position = state.next;
        let index = state.readers.len();
        state.readers.push(Some(position));
        Reader { log: self.clone(), index, position }
    }

    /// Unparks the calling thread on every append and when the log closes, from now on.
    pub fn wake_this_thread(&self) {
        self.shared.lock().wakers.push(std::thread::current());
    }

    /// Takes no more records. Readers still get what is there.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.wakers.iter().for_each(Thread::unpark);
        self.shared.room.notify_all();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// How many records were ever appended: the position that the next one gets.
    pub fn end(&self) -> u64 {
        self.shared.lock().next
    }

    /// Bytes held now, as an estimate.
    pub fn weight(&self) -> u64 {
        self.shared.lock().weight
    }
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog").field("stream", &self.shared.stream).finish_non_exhaustive()
    }
}

impl Shared {
    /// The state behind the lock. A panic elsewhere leaves it whole: each change is finished before
    /// anything that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go of the chunks that every reader is past.
    fn release(&mut self) -> bool {
        let floor = self.readers.iter().flatten().copied().min().unwrap_or(self.next);
        let mut released = false;
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= floor) {
            if let Some(chunk) = self.chunks.pop_front() {
                self.weight -= chunk.weight();
                released = true;
            }
        }
        released
    }
}

/// The log is closed: it takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the log is closed")
    }
}

impl std::error::Error for Closed {}

/// How large a batch may become, and how long its first record may wait for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most records.
    pub records: NonZeroU32,
    /// Most bytes, as JSON Lines. One record that is larger makes a batch by itself.
    pub bytes: NonZeroU64,
    /// Longest wait of a record for its batch to fill.
    pub age: Duration,
}

/// What a reader finds.
#[derive(Debug)]
pub enum Next {
    /// A batch is due.
    Batch(Batch),
    /// There are records; their batch is due then, or when it is full.
    Wait(Instant),
    /// There is no record.
    Empty,
    /// There is no record and never will be.
    End,
}

/// One reader of a log, at a position of its own.
#[derive(Debug)]
pub struct Reader {
    log: MemoryLog,
    index: usize,
    position: u64,
}

impl Reader {
    /// The next batch, where one is due: full, or its first record older than `limits.age`, or the
    /// log closed. Does not block and does not move the reader: the same call gives the same records
    /// until [`commit`](Self::commit).
    ///
    /// Chunks are not cut where they need not be, so that readers with the same limits share their
    /// views: a batch ends early rather than with a part of a chunk that fits the next batch whole.
    pub fn next(&self, limits: &BatchLimits) -> Next {
        let state = self.log.shared.lock();
        let skip = state.chunks.partition_point(|chunk| chunk.end() <= self.position);
        let mut cut = Cut::new(limits);
        let mut oldest = None;
        for chunk in state.chunks.range(skip..) {
            oldest.get_or_insert(chunk.appended());
            if !cut.take(chunk, self.position) {
                break;
            }
        }
        let due = |appended: Instant| appended + limits.age;
        match oldest {
            None if state.closed => Next::End,
            None => Next::Empty,
            Some(oldest) if !cut.full && !state.closed && due(oldest) > Instant::now() => {
                Next::Wait(due(oldest))
            }
            Some(_) => Batch::new(cut.parts).map_or(Next::Empty, Next::Batch),
        }
    }

    /// Moves the reader to `position`: what is before it is done with. A position that the reader is
    /// past changes nothing.
    pub fn commit(&mut self, position: u64) {
        if position <= self.position {
            return;
        }
        self.position = position;
        let mut state = self.log.shared.lock();
        if let Some(reader) = state.readers.get_mut(self.index) {
            *reader = Some(position);
        }
        if state.release() {
            self.log.shared.room.notify_all();
        }
    }

    /// Where the reader is: the position of the first record that it has not committed.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many records it has not committed.
    pub fn pending(&self) -> u64 {
        self.log.end() - self.position
    }

    /// The log that it reads.
    pub fn log(&self) -> &MemoryLog {
        &self.log
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.log.shared.lock();
        if let Some(reader) = state.readers.get_mut(self.index) {
            *reader = None;
        }
        if state.release() {
            self.log.shared.room.notify_all();
        }
    }
}

/// A batch in the making.
struct Cut {
    records: usize,
    bytes: u64,
    parts: Vec<(Arc<Chunk>, Range<usize>)>,
    full: bool,
}

impl Cut {
    fn new(limits: &BatchLimits) -> Self {
        let records = usize::try_from(limits.records.get()).unwrap_or(usize::MAX);
        Self { records, bytes: limits.bytes.get(), parts: Vec::new(), full: false }
    }

    /// Adds what fits of `chunk` from `position` on; false once the batch is full.
    fn take(&mut self, chunk: &Arc<Chunk>, position: u64) -> bool {
        let from = usize::try_from(position.saturating_sub(chunk.position())).unwrap_or(0);
        let len = chunk.records().len();
        let fits = self.fitting(chunk, from, len);
        if fits == len {
            self.records -= len - from;
            self.bytes -= chunk.line_bytes(from, len) as u64;
            self.full = self.records == 0 || self.bytes == 0;
            self.parts.push((chunk.clone(), from..len));
            return !self.full;
        }
        self.full = true;
        if self.parts.is_empty() {
            // Even alone it is too long: cut it, and take one record at the least.
            self.parts.push((chunk.clone(), from..fits.max(from + 1)));
        }
        false
    }

    /// Up to which record of `chunk` the batch has room.
    fn fitting(&self, chunk: &Chunk, from: usize, len: usize) -> usize {
        let most = len.min(from.saturating_add(self.records));
        if chunk.line_bytes(from, most) as u64 <= self.bytes {
            return most;
        }
        // The longest run of lines that fits, by bisection: `low` fits, `high` does not.
        let (mut low, mut high) = (from, most);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if chunk.line_bytes(from, middle) as u64 <= self.bytes {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests;
