//! The log itself: what readers and the writer share.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasink_record::Stream;

use crate::chunk::Chunk;
use crate::dead::{self, Dead, DeadLetter};
use crate::frame::Damage;
use crate::lane::{self, Lane, LaneState};
use crate::names::Names;
use crate::quarantine;
use crate::reader::{Load, Loaded, Reader};
use crate::reserve::Reserve;
use crate::segment::{self, Accepted};
use crate::storage::Storage;
use crate::tenants::Whose;
use crate::versions::{self, Stretch};
use crate::writer::Writer;

mod room;

/// What an append survives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The loss of power: written, and synced to the disk.
    #[default]
    Disk,
    /// The end of the process: written, and left to the operating system to bring to the disk.
    Os,
    /// Nothing: kept in memory.
    Memory,
}

/// What is done when a sink has not dealt with as much as the log can hold, or as the sink may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// Whoever appends waits.
    #[default]
    Block,
    /// Whoever appends is told so.
    Reject,
    /// The oldest are given up, for this sink, and counted.
    DropOldest,
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The stream.
    pub stream: Stream,
    /// Names the producer in CloudEvents envelopes.
    pub source: Arc<str>,
    /// What an append survives.
    pub durability: Durability,
    /// The most that it may hold, in bytes of its files, or of memory where it is kept there.
    pub bytes: u64,
    /// A segment that is longer gets no more frames, in bytes; at most a quarter of `bytes` is used.
    pub segment_bytes: u64,
    /// The most of the newest records that is kept in memory for readers, in bytes.
    pub memory: u64,
}

/// The log of one stream.
///
/// Cheap to clone: clones are the same log.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    options: LogOptions,
    storage: Option<Arc<dyn Storage>>,
    names: Arc<Names>,
    reserve: Reserve,
    state: Mutex<State>,
    /// Signalled when something is let go.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// Position that the next record gets.
    next: u64,
    /// The segments there are, in order; none where the log is kept in memory.
    segments: VecDeque<Segment>,
    /// The newest chunks, without a gap.
    chunks: VecDeque<Arc<Chunk>>,
    /// Sum of the weights of `chunks`.
    weight: u64,
    lanes: Vec<Slot>,
    wakers: Vec<Thread>,
    closed: bool,
    /// Whether records are on their way to the disk that nobody sees yet.
    committing: bool,
    /// What was accepted, by tenant.
    accepted: Accepted,
    /// Why the disk takes nothing, where it does not.
    trouble: Option<String>,
}

/// A segment, as readers need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    /// How much of it may be read.
    pub(crate) len: u64,
}

/// A lane, and what the log needs to know of it.
struct Slot {
    sink: String,
    lane: Arc<Mutex<Lane>>,
    when_full: WhenFull,
    /// The most bytes that it may leave in the log.
    max_pending: u64,
    /// Its cursor when it was looked at last: perhaps it is further by now.
    cursor: u64,
    /// The same, as it is on disk for sure.
    durable: u64,
    /// Whether there is a reader: a lane without one is of a sink that is not configured any more.
    attached: bool,
}

/// What holds for a lane without a reader: what it has not dealt with is kept while there is room.
const ORPHANED: (WhenFull, u64) = (WhenFull::DropOldest, u64::MAX);

impl Log {
    /// A log that is kept in memory, and ends with the process. Positions begin at `first`, so that
    /// those of a later start can be higher than those of an earlier one.
    pub fn in_memory(options: LogOptions, first: u64) -> (Self, Writer) {
        let state = State { next: first, ..State::default() };
        let log = Self::new(options, None, Arc::default(), Reserve::default(), state);
        (log.clone(), Writer::new(log, None))
    }

    pub(crate) fn on_disk(
        options: LogOptions,
        (storage, names): (Arc<dyn Storage>, Arc<Names>),
        next: u64,
        segments: VecDeque<Segment>,
        accepted: Accepted,
        lanes: Vec<(String, Lane)>,
    ) -> Self {
        let slot = |(sink, lane): (String, Lane)| Slot {
            sink,
            cursor: lane.state().cursor,
            durable: lane.durable(),
            lane: Arc::new(Mutex::new(lane)),
            when_full: ORPHANED.0,
            max_pending: ORPHANED.1,
            attached: false,
        };
        let lanes = lanes.into_iter().map(slot).collect();
        let reserve = Reserve::of(storage.clone());
        let state = State { next, segments, accepted, lanes, ..State::default() };
        Self::new(options, Some(storage), names, reserve, state)
    }

    fn new(
        options: LogOptions,
        storage: Option<Arc<dyn Storage>>,
        names: Arc<Names>,
        reserve: Reserve,
        state: State,
    ) -> Self {
        let (state, room) = (Mutex::new(state), Condvar::new());
        Self { shared: Arc::new(Shared { options, storage, names, reserve, state, room }) }
    }

    /// The stream.
    pub fn stream(&self) -> Stream {
        self.shared.options.stream
    }

    /// What an append survives.
    pub fn durability(&self) -> Durability {
        self.shared.options.durability
    }

    pub(crate) fn source(&self) -> &Arc<str> {
        &self.shared.options.source
    }

    pub(crate) fn reserve(&self) -> &Reserve {
        &self.shared.reserve
    }

    /// The reader of a sink: where it left off, or behind the last record for a sink that is new. It
    /// may come at any time. Once it is dropped the sink's records are kept while there is room.
    ///
    /// `max_pending` is the most that it may leave in the log, in bytes.
    ///
    /// # Errors
    ///
    /// What the file system says; and a second reader of one name.
    pub fn reader(&self, sink: &str, when_full: WhenFull, max_pending: u64) -> io::Result<Reader> {
        let mut state = self.shared.lock();
        let known = state.lanes.iter().position(|slot| slot.sink == sink);
        let index = match known {
            Some(index) => index,
            None => {
                let lane = self.new_lane(sink, &state)?;
                let (cursor, durable) = (lane.state().cursor, lane.durable());
                let lane = Arc::new(Mutex::new(lane));
                let sink = sink.to_owned();
                let attached = false;
                state.lanes.push(Slot {
                    sink,
                    lane,
                    when_full,
                    max_pending,
                    cursor,
                    durable,
                    attached,
                });
                state.lanes.len() - 1
            }
        };
        let slot = state.lanes.get_mut(index).ok_or(io::ErrorKind::NotFound)?;
        if slot.attached {
            let message = format!("sink `{sink}` reads this log already");
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        slot.attached = true;
        slot.when_full = when_full;
        slot.max_pending = max_pending;
        let lane = slot.lane.clone();
        drop(state);
        Ok(Reader::new(self.clone(), index, lane))
    }

    fn new_lane(&self, sink: &str, state: &State) -> io::Result<Lane> {
        let Some(storage) = &self.shared.storage else { return Ok(Lane::in_memory(state.next)) };
        let new = LaneState {
            origin: state.next,
            cursor: state.next,
            before: state.accepted.clone(),
            ..LaneState::default()
        };
        let names = &self.shared.names;
        let lane = Lane::open(storage, sink, &lane::Found::default(), new, names)?;
        if state.committing {
            // What is about to be accepted is this lane's, too: it must not be forgotten then.
            names.sync(names.last(), &**storage)?;
        }
        Ok(lane)
    }

    /// What is appended from now on until the answer is dropped is that of every lane there is: new
    /// ones are on the disk for sure before it is accepted.
    pub(crate) fn committing(&self) -> io::Result<Committing<'_>> {
        self.shared.lock().committing = true;
        let committing = Committing(self);
        if let Some(storage) = &self.shared.storage {
            self.shared.names.sync(self.shared.names.last(), &**storage)?;
        }
        Ok(committing)
    }

    /// The sinks that have records here and no reader, with how many.
    pub fn orphans(&self) -> Vec<(String, u64)> {
        let state = self.shared.lock();
        let pending = |slot: &Slot| state.next.saturating_sub(lock(&slot.lane).state().cursor);
        let orphans = state.lanes.iter().filter(|slot| !slot.attached);
        orphans.map(|slot| (slot.sink.clone(), pending(slot))).collect()
    }

    /// What is known of a sink's lane.
    pub fn lane(&self, sink: &str) -> Option<LaneState> {
        let lane = self.slot(sink)?;
        let known = lock(&lane).state().clone();
        Some(known)
    }

    fn slot(&self, sink: &str) -> Option<Arc<Mutex<Lane>>> {
        let state = self.shared.lock();
        state.lanes.iter().find(|slot| slot.sink == sink).map(|slot| slot.lane.clone())
    }

    /// The dead letters of a sink that `choose` chooses, in the order in which they came. A log in
    /// memory has none.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn dead(&self, sink: &str, choose: impl FnMut(&DeadLetter) -> bool) -> io::Result<Dead> {
        match &self.shared.storage {
            Some(storage) => dead::read(&**storage, sink, choose),
            None => Ok(Dead::default()),
        }
    }

    /// Which version of its plugin settled what at a sink: all that is settled there is in one of the
    /// stretches, and once.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn provenance(&self, sink: &str) -> io::Result<Vec<Stretch>> {
        let Some(lane) = self.slot(sink) else { return Ok(Vec::new()) };
        let (told, state) = {
            let lane = lock(&lane);
            (lane.versions().clone(), lane.state().clone())
        };
        let file = match &self.shared.storage {
            Some(storage) => versions::read(&**storage, sink)?.takeovers,
            None => Vec::new(),
        };
        Ok(told.stretches(&state, file))
    }

    /// What is known of every lane, by sink.
    pub fn lanes(&self) -> BTreeMap<String, LaneState> {
        let state = self.shared.lock();
        let known = |slot: &Slot| (slot.sink.clone(), lock(&slot.lane).state().clone());
        state.lanes.iter().map(known).collect()
    }

    /// Unparks the calling thread on every append and when the log closes, from now on.
    pub fn wake_this_thread(&self) {
        let thread = std::thread::current();
        let mut state = self.shared.lock();
        state.wakers.retain(|known| known.id() != thread.id());
        state.wakers.push(thread);
    }

    /// Lets the calling thread sleep, from now on: for one that has no reader here any more.
    pub fn forget_this_thread(&self) {
        let thread = std::thread::current().id();
        self.shared.lock().wakers.retain(|known| known.id() != thread);
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

    /// The position that the next record gets. What was accepted since the beginning is as many.
    pub fn end(&self) -> u64 {
        self.shared.lock().next
    }

    /// What was accepted since the beginning, by tenant; records of nobody's are not in it.
    pub fn accepted(&self) -> Accepted {
        self.shared.lock().accepted.clone()
    }

    /// Bytes held now: in files, or, of a log in memory, an estimate.
    pub fn bytes(&self) -> u64 {
        self.shared.used(&self.shared.lock())
    }

    /// Why the disk takes nothing, where it does not.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }

    pub(crate) fn set_trouble(&self, trouble: Option<String>) {
        self.shared.lock().trouble = trouble;
    }

    /// Waits until something is let go, the log closes, or `most` has gone by.
    pub fn wait_for_room(&self, most: Duration) {
        let state = self.shared.lock();
        if !state.closed {
            drop(self.shared.room.wait_timeout(state, most));
        }
    }

    /// The chunks that hold records at these positions, of those that can be read.
    pub(crate) fn chunks(&self, range: &Range<u64>) -> io::Result<Vec<Arc<Chunk>>> {
        let mut load = Load::new(self.clone());
        // What can't be read can be settled all the same.
        load.tolerate(0..u64::MAX);
        let mut chunks = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let take = |chunk: &Arc<Chunk>| {
                chunks.push(chunk.clone());
                chunk.end() < range.end
            };
            match self.cached(at, take) {
                Ok(true) => {
                    at = chunks.last().map_or(range.end, |chunk| chunk.end());
                    continue;
                }
                Ok(false) => {}
                Err(_) => break,
            }
            match load.at(at)? {
                Loaded::Chunk(chunk) => {
                    at = chunk.end();
                    chunks.push(chunk);
                }
                Loaded::Gap(to) => at = to,
                Loaded::End => break,
            }
        }
        Ok(chunks)
    }

    /// Takes note of how far lanes have got, and lets go of what nobody needs.
    pub(crate) fn moved(&self) {
        let mut state = self.shared.lock();
        if self.shared.release(&mut state) {
            self.shared.room.notify_all();
        }
    }

    /// Whether a lane has come so far that a segment could be removed if its cursor were durable.
    pub(crate) fn worth_a_sync(&self, index: usize, cursor: u64) -> bool {
        let state = self.shared.lock();
        let durable = state.lanes.get(index).map_or(cursor, |slot| slot.durable);
        let ends = state.segments.iter().skip(1).map(|segment| segment.first);
        ends.take_while(|&end| end <= cursor).any(|end| end > durable)
    }

    /// Shows chunks to readers.
    pub(crate) fn publish(&self, chunks: Vec<Chunk>) {
        let mut state = self.shared.lock();
        for chunk in chunks {
            let tenants = chunk.tenants();
            for (tenant, &count) in tenants.values.iter().zip(&tenants.counts) {
                match state.accepted.get_mut(&**tenant) {
                    Some(sum) => *sum = sum.saturating_add(count),
                    None => drop(state.accepted.insert(tenant.to_string(), count)),
                }
            }
            state.next = chunk.end();
            state.weight += chunk.weight();
            state.chunks.push_back(Arc::new(chunk));
        }
        self.shared.trim(&mut state);
        state.wakers.iter().for_each(Thread::unpark);
    }

    pub(crate) fn add_segment(&self, first: u64, len: u64) {
        let mut state = self.shared.lock();
        // One that begins at the same place never had a record that anybody was told of.
        if state.segments.back().is_some_and(|last| last.first == first) {
            state.segments.pop_back();
        }
        state.segments.push_back(Segment { first, len });
    }

    pub(crate) fn set_segment_len(&self, len: u64) {
        if let Some(segment) = self.shared.lock().segments.back_mut() {
            segment.len = len;
        }
    }

    /// The segment that holds the record at `position`, and the position behind its last record;
    /// `None` where that record is not there yet, or the log is kept in memory.
    pub(crate) fn segment(&self, position: u64) -> Option<(Segment, u64)> {
        let state = self.shared.lock();
        if position >= state.next {
            return None;
        }
        let behind = state.segments.partition_point(|segment| segment.first <= position);
        // Before the first: what was there is gone, and so the gap ends where that begins.
        let at = behind.saturating_sub(1);
        let end = state.segments.get(at + 1).map_or(state.next, |next| next.first);
        state.segments.get(at).map(|segment| (*segment, end))
    }

    /// Where no segment is left, and lanes still know of records behind `position`: the position
    /// behind them.
    pub(crate) fn lost(&self, position: u64) -> Option<u64> {
        let state = self.shared.lock();
        let none_left = self.shared.storage.is_some() && state.segments.is_empty();
        (none_left && position < state.next).then_some(state.next)
    }

    /// Gives the chunks in memory from the one that holds `position` on to `take`, until it has
    /// enough. Returns false where `position` is not in memory.
    pub(crate) fn cached(
        &self,
        position: u64,
        mut take: impl FnMut(&Arc<Chunk>) -> bool,
    ) -> Result<bool, End> {
        let state = self.shared.lock();
        if position >= state.next {
            return Err(if state.closed { End::Closed } else { End::Open });
        }
        if state.chunks.front().is_none_or(|first| position < first.position()) {
            return Ok(false);
        }
        let skip = state.chunks.partition_point(|chunk| chunk.end() <= position);
        for chunk in state.chunks.range(skip..) {
            if !take(chunk) {
                break;
            }
        }
        Ok(true)
    }

    pub(crate) fn open_segment(&self, first: u64) -> io::Result<Arc<dyn crate::StorageFile>> {
        let storage = self.shared.storage.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        Ok(storage.open(&segment::name(first))?.into())
    }

    pub(crate) fn quarantine(
        &self,
        segment: u64,
        file: &dyn crate::StorageFile,
        damage: &Damage,
    ) -> io::Result<()> {
        match &self.shared.storage {
            Some(storage) => quarantine::keep(&**storage, segment, file, damage),
            None => Ok(()),
        }
    }

    /// A lane has no reader any more: it is of a sink that nobody may come back for.
    pub(crate) fn detach(&self, index: usize) {
        if let Some(slot) = self.shared.lock().lanes.get_mut(index) {
            slot.attached = false;
        }
        let (when_full, max_pending) = ORPHANED;
        self.set_policy(index, when_full, max_pending);
    }

    pub(crate) fn set_policy(&self, index: usize, when_full: WhenFull, max_pending: u64) {
        let mut state = self.shared.lock();
        if let Some(slot) = state.lanes.get_mut(index) {
            slot.when_full = when_full;
            slot.max_pending = max_pending;
        }
        // Whoever waits for room may have waited for this.
        self.shared.room.notify_all();
    }
}

/// Records are being appended.
pub(crate) struct Committing<'a>(&'a Log);

impl Drop for Committing<'_> {
    fn drop(&mut self) {
        self.0.shared.lock().committing = false;
    }
}

/// There is nothing at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Yet.
    Open,
    /// And never will be.
    Closed,
}

impl Shared {
    /// The state behind the lock. A panic elsewhere leaves it whole: each change is finished before
    /// anything that could panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose the records of these chunks are.
pub(crate) fn whose(chunks: &[Arc<Chunk>]) -> Whose<'_> {
    let mut whose = Whose::default();
    chunks.iter().for_each(|chunk| whose.add(chunk.position(), chunk.tenants()));
    whose
}

pub(crate) fn lock(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("stream", &self.stream()).finish_non_exhaustive()
    }
}
