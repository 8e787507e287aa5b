//! Reading a log at a position of one's own, and cutting batches out of it.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasink_record::{Clock, SystemClock, Timestamp};

use crate::batch::Batch;
use crate::chunk::Chunk;
use crate::dead::DeadLetter;
use crate::fate::Fate;
use crate::frame::{self, Damage, Found, Kind, Scan};
use crate::lane::{Doubt, Lane, LaneState};
use crate::log::{End, Log, WhenFull, lock, whose};
use crate::reserve::is_full;
use crate::storage::StorageFile;
use crate::tenants::Whose;
use crate::versions::Version;

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
    /// The records at these positions can't be read any more. What is left of them has been put
    /// aside, with a receipt.
    Damaged(Range<u64>),
    /// The disk could not be read. The same may be tried again, and where that is of no use
    /// [`skip_unreadable`](Reader::skip_unreadable) goes on.
    Failed(io::Error),
}

/// One sink's reader of a log, and its lane: where it is, and what became of what it has read.
#[derive(Debug)]
pub struct Reader {
    log: Log,
    index: usize,
    lane: Arc<Mutex<Lane>>,
    position: u64,
    load: Load,
}

impl Reader {
    pub(crate) fn new(log: Log, index: usize, lane: Arc<Mutex<Lane>>) -> Self {
        let position = lock(&lane).state().cursor;
        let load = Load::new(log.clone());
        Self { log, index, lane, position, load }
    }

    /// The next batch, where one is due: full, or its first record older than `limits.age`, or the
    /// log closed. Does not move the reader: the same call gives the same records until
    /// [`pass`](Self::pass) or [`settle`](Self::settle).
    ///
    /// Blocks for as long as a disk does where what it wants is not in memory.
    ///
    /// Chunks are not cut where they need not be, so that readers with the same limits share their
    /// views: a batch ends early rather than with a part of a chunk that fits the next batch whole.
    pub fn next(&mut self, limits: &BatchLimits) -> Next {
        let stop = {
            let lane = lock(&self.lane);
            let missing = lane.state().missing(self.position..u64::MAX);
            let (from, to) = missing.first().copied().unwrap_or((self.position, u64::MAX));
            self.position = from;
            to
        };
        self.load.forget(self.position);
        let mut cut = Cut::new(limits, stop);
        let mut at = self.position;
        let mut end = None;
        let mut oldest: Option<Option<Instant>> = None;
        while !cut.full && at < stop && end.is_none() {
            let cached = self.log.cached(at, |chunk| {
                oldest.get_or_insert(chunk.appended());
                let more = cut.take(chunk, at);
                at = chunk.end();
                more
            });
            match cached {
                Ok(true) => {}
                Err(state) => end = Some(state),
                Ok(false) => match self.load.at(at) {
                    Ok(Loaded::Chunk(chunk)) => {
                        oldest.get_or_insert(None);
                        cut.take(&chunk, at);
                        at = chunk.end();
                    }
                    Ok(Loaded::Gap(to)) if cut.parts.is_empty() => {
                        return Next::Damaged(at..to.min(stop));
                    }
                    Err(error) if cut.parts.is_empty() => return Next::Failed(error),
                    // What has been found so far first.
                    Ok(Loaded::Gap(_)) | Err(_) => cut.full = true,
                    Ok(Loaded::End) => end = Some(End::Open),
                },
            }
        }
        let closed = end == Some(End::Closed) || self.log.is_closed();
        let due = oldest.map(|appended| appended.map(|appended| appended + limits.age));
        match due {
            None if end == Some(End::Closed) => Next::End,
            None => Next::Empty,
            Some(Some(due)) if !cut.full && !closed && at < stop && due > Instant::now() => {
                Next::Wait(due)
            }
            Some(_) => Batch::new(cut.parts).map_or(Next::Empty, Next::Batch),
        }
    }

    /// Goes on behind `position`, whatever becomes of what is before it. A start of the process
    /// after this one begins again with everything of which nothing has become.
    pub fn pass(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    /// Takes what can't be read of the segment that the reader is in for damaged, where the disk has
    /// [failed](Next::Failed) and will not come back: blocks of 4 KiB that still fail are left out,
    /// frames that are whole without them are given, and the records of the others are
    /// [damaged](Next::Damaged). What can be read of those is put aside with a receipt.
    pub fn skip_unreadable(&mut self) {
        if let Some((segment, _)) = self.log.segment(self.position) {
            self.load.tolerate(segment.first..segment.first.saturating_add(1));
        }
    }

    /// Takes note of what became of a batch's records, and writes it down: by runs of positions, in
    /// order. Records of which something has become before are left as they are. Dead letters are
    /// durable before their records count as dealt with.
    ///
    /// # Errors
    ///
    /// What the file system says. Where it is a dead letter that the disk does not take, nothing has
    /// become of any of the records, and the same can be tried again. Else what became of them is
    /// known all the same, and is written down as soon as the disk takes it; after a crash before
    /// that, they are delivered again.
    pub fn settle(
        &mut self,
        batch: &Batch,
        runs: &[(Range<u64>, Fate)],
        mut dead: Vec<DeadLetter>,
    ) -> io::Result<()> {
        let index_of = |position: u64| usize::try_from(position - batch.position()).ok();
        for letter in &mut dead {
            let tenant = index_of(letter.position).and_then(|index| batch.tenant(index));
            letter.tenant = tenant.map(str::to_owned);
        }
        self.note(runs, &dead, &batch.whose())
    }

    /// Takes note that the records at these positions can't be read, and goes on behind them.
    ///
    /// # Errors
    ///
    /// As for [`settle`](Self::settle).
    pub fn give_up(&mut self, range: Range<u64>) -> io::Result<()> {
        self.note(&[(range, Fate::Damaged)], &[], &Whose::default())
    }

    fn note(
        &mut self,
        runs: &[(Range<u64>, Fate)],
        dead: &[DeadLetter],
        whose: &Whose<'_>,
    ) -> io::Result<()> {
        let reserve = self.log.reserve();
        let mut lane = lock(&self.lane);
        let mut noted = lane.settle(runs, dead, whose, reserve);
        let cursor = lane.state().cursor;
        if noted.is_ok() && self.log.worth_a_sync(self.index, cursor) {
            noted = lane.sync(reserve);
        }
        drop(lane);
        self.log.moved();
        noted
    }

    /// Takes note that something else has become of dead letters, such as that they were delivered
    /// after all: they are no more, and the ledger counts them as what they are now. Those that are
    /// not there any more are left out. Durable when this returns. A log in memory has no letters.
    ///
    /// # Errors
    ///
    /// What the file system says. Where it is the letters that the disk does not take, nothing has
    /// changed; else it is known all the same, and is written down as soon as the disk takes it.
    pub fn resolve(&mut self, resolved: &[(DeadLetter, Fate)], now: Timestamp) -> io::Result<()> {
        lock(&self.lane).resolve(resolved, now, self.log.reserve())
    }

    /// Takes the dead letters of the records at these positions away; returns how many there were.
    /// The ledger goes on counting their records as what they are: rejected or expired. Durable when
    /// this returns. A log in memory has no letters.
    ///
    /// # Errors
    ///
    /// What the file system says; then all of them are gone, or none.
    pub fn purge(&mut self, positions: &[u64]) -> io::Result<u64> {
        let positions: BTreeSet<u64> = positions.iter().copied().collect();
        let chosen = |letter: &DeadLetter| positions.contains(&letter.position);
        lock(&self.lane).purge(chosen, self.log.reserve())
    }

    /// Settles what is in doubt: `None` to hand it over again, or what has become of it. Returns the
    /// positions; `None` where nothing is in doubt. Durable when this returns.
    ///
    /// What is to be handed over again the reader gives again, also where it had
    /// [passed](Self::pass) it; what is settled it does not.
    ///
    /// # Errors
    ///
    /// What the file system says. It is known all the same, and is written down as soon as the disk
    /// takes it.
    pub fn end_doubt(&mut self, fate: Option<Fate>) -> io::Result<Option<Range<u64>>> {
        let Some(doubt) = lock(&self.lane).state().doubt else { return Ok(None) };
        let range = doubt.from..doubt.to;
        // Read before the lane is held: whoever appends must not wait for that.
        let chunks = match fate {
            Some(_) => self.log.chunks(&range)?,
            None => Vec::new(),
        };
        if fate.is_none() {
            self.position = self.position.min(range.start);
            self.load.begin_anew();
        }
        let ended = lock(&self.lane).end_doubt(fate, &whose(&chunks), self.log.reserve());
        self.log.moved();
        ended
    }

    /// Takes note that these records are about to be handed to a receiver that recognises them only
    /// for a time, first at `since`, in nanoseconds since 1970. Durable when this returns. Where
    /// others are in doubt already they stay so, and all from the first to the last count as handed
    /// over at the earlier time.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn doubt(&mut self, range: Range<u64>, since: i64) -> io::Result<()> {
        let mut lane = lock(&self.lane);
        let doubt = Doubt { from: range.start, to: range.end, since };
        lane.doubt(doubt, self.log.reserve())
    }

    /// Takes back what [`doubt`](Self::doubt) has taken note of, where no others than these are in
    /// doubt: the receiver says that it has not got them. Not synced: what a crash brings back is the
    /// doubt.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn not_taken(&mut self, range: Range<u64>) -> io::Result<()> {
        lock(&self.lane).not_taken(&range, self.log.reserve())
    }

    /// Since when it is not known whether the receiver has some of the batch's records, in nanoseconds
    /// since 1970, where that is so.
    pub fn doubtful(&self, batch: &Batch) -> Option<i64> {
        let doubt = lock(&self.lane).state().doubt?;
        (doubt.from < batch.end() && batch.position() < doubt.to).then_some(doubt.since)
    }

    /// A version of the sink's plugin takes over: what is settled from now on counts as its doing, see
    /// [`Log::provenance`]. The one that is there already changes nothing. Costs no sync: it is as
    /// durable as what is settled next.
    ///
    /// # Errors
    ///
    /// What the file system says. It is known all the same, and is written down as soon as the disk
    /// takes it, before anything that it settles.
    pub fn take_over(&mut self, version: &Version) -> io::Result<()> {
        let since = SystemClock.now().unix_nanos();
        lock(&self.lane).take_over(version, since, self.log.reserve())
    }

    /// Brings to the disk what became of records. Called when there is nothing else to do.
    ///
    /// # Errors
    ///
    /// What the file system says; it can be tried again.
    pub fn sync(&mut self) -> io::Result<()> {
        let mut lane = lock(&self.lane);
        if lane.is_synced() {
            return Ok(());
        }
        let synced = lane.sync(self.log.reserve());
        drop(lane);
        self.log.moved();
        synced
    }

    /// Changes what is done when the sink has not dealt with as much as the log can hold, or as it may
    /// leave there, in bytes.
    pub fn set_policy(&self, when_full: WhenFull, max_pending: u64) {
        self.log.set_policy(self.index, when_full, max_pending);
    }

    /// Where the reader is: the position of the first record that it would give.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is known of the lane.
    pub fn state(&self) -> LaneState {
        lock(&self.lane).state().clone()
    }

    /// The log that it reads.
    pub fn log(&self) -> &Log {
        &self.log
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Not written down in time is delivered again: nothing is lost.
        drop(lock(&self.lane).sync(self.log.reserve()));
        self.log.detach(self.index);
    }
}

/// What is at a position on disk.
pub(crate) enum Loaded {
    Chunk(Arc<Chunk>),
    /// Nothing up to this position, which is above the one that was asked for.
    Gap(u64),
    /// Nothing yet.
    End,
}

/// Reads chunks from segments, in order.
#[derive(Debug)]
pub(crate) struct Load {
    log: Log,
    open: Option<Open>,
    /// Segments of which what can't be read is taken for damaged, by where they begin.
    tolerated: Range<u64>,
    /// Chunks that were read and may be asked for again, in order.
    chunks: VecDeque<Arc<Chunk>>,
}

/// A segment that is being read.
#[derive(Debug)]
struct Open {
    first: u64,
    file: Arc<dyn StorageFile>,
    scan: Scan,
}

impl Load {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, open: None, tolerated: 0..0, chunks: VecDeque::new() }
    }

    /// Takes what can't be read of the segments that begin there for damaged.
    pub(crate) fn tolerate(&mut self, firsts: Range<u64>) {
        self.tolerated = firsts;
        // To be opened anew: perhaps even that has failed.
        self.begin_anew();
    }

    /// Forgets where it is, so that it can go back.
    fn begin_anew(&mut self) {
        self.open = None;
        self.chunks.clear();
    }

    /// Forgets what is before `position`.
    fn forget(&mut self, position: u64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position) {
            self.chunks.pop_front();
        }
    }

    /// What is at `position`. Cheap for one that was asked for before or comes next; another makes
    /// it begin anew at its segment's start.
    pub(crate) fn at(&mut self, position: u64) -> io::Result<Loaded> {
        if self.chunks.front().is_some_and(|first| position < first.position()) {
            self.begin_anew();
        }
        let known = self.chunks.iter().find(|chunk| position < chunk.end());
        if let Some(chunk) = known {
            return Ok(if chunk.position() <= position {
                Loaded::Chunk(chunk.clone())
            } else {
                Loaded::Gap(chunk.position())
            });
        }
        let Some((segment, end)) = self.log.segment(position) else {
            return Ok(self.log.lost(position).map_or(Loaded::End, Loaded::Gap));
        };
        if position < segment.first {
            return Ok(Loaded::Gap(segment.first));
        }
        if self.open.as_ref().is_none_or(|open| open.first != segment.first) {
            let file = match self.log.open_segment(segment.first) {
                Err(_) if self.tolerated.contains(&segment.first) => return Ok(Loaded::Gap(end)),
                file => file?,
            };
            let mut scan = Scan::new(file.clone(), crate::segment::HEADER as u64);
            if self.tolerated.contains(&segment.first) {
                scan.tolerate();
            }
            self.open = Some(Open { first: segment.first, file, scan });
        }
        let Some(open) = &mut self.open else { return Ok(Loaded::End) };
        while let Some(found) = open.scan.next(segment.len)? {
            let (offset, header, payload) = match found {
                Found::Damage(damage) => {
                    put_aside(&self.log, &self.tolerated, open, &damage)?;
                    continue;
                }
                Found::Frame { offset, header, payload } => (offset, header, payload),
            };
            if header.kind == Kind::Base || header.end() <= position {
                continue;
            }
            // What was written here and then again in the next segment, because nobody was told of
            // it, does not count.
            if header.position >= end {
                continue;
            }
            let len = frame::HEADER as u64 + payload.len() as u64;
            let source = self.log.source().clone();
            let Some(chunk) = frame::chunk(&header, payload, self.log.stream(), source) else {
                let header = Some(header);
                let damage = Damage { offset, len, header, trailer: None, unfinished: false };
                put_aside(&self.log, &self.tolerated, open, &damage)?;
                continue;
            };
            let chunk = Arc::new(chunk);
            self.chunks.push_back(chunk.clone());
            return Ok(if chunk.position() <= position {
                Loaded::Chunk(chunk)
            } else {
                Loaded::Gap(chunk.position())
            });
        }
        // The scan is at its end, and the position belongs to this segment: it is not there. Where
        // more may come, it comes behind.
        Ok(Loaded::Gap(end))
    }
}

/// Puts damaged bytes aside. Where that fails they are come by again, but for a disk that is full or
/// can't be read: then the segment alone has them, and nobody waits for that.
fn put_aside(
    log: &Log,
    tolerated: &Range<u64>,
    open: &mut Open,
    damage: &Damage,
) -> io::Result<()> {
    match log.quarantine(open.first, &*open.file, damage) {
        Err(error) if !is_full(&error) && !tolerated.contains(&open.first) => {
            open.scan.go_back(damage.offset);
            Err(error)
        }
        _ => Ok(()),
    }
}

/// A batch in the making.
struct Cut {
    records: usize,
    bytes: u64,
    /// It ends before this position.
    stop: u64,
    parts: Vec<(Arc<Chunk>, Range<usize>)>,
    full: bool,
}

impl Cut {
    fn new(limits: &BatchLimits, stop: u64) -> Self {
        let records = usize::try_from(limits.records.get()).unwrap_or(usize::MAX);
        Self { records, bytes: limits.bytes.get(), stop, parts: Vec::new(), full: false }
    }

    /// Adds what fits of `chunk` from `position` on; false once the batch is full.
    fn take(&mut self, chunk: &Arc<Chunk>, position: u64) -> bool {
        let index = |position: u64| {
            usize::try_from(position.saturating_sub(chunk.position())).unwrap_or(usize::MAX)
        };
        let from = index(position);
        let len = chunk.len().min(index(self.stop));
        let fits = self.fitting(chunk, from, len);
        if fits == len {
            self.records -= len.saturating_sub(from);
            self.bytes -= chunk.line_bytes(from..len) as u64;
            self.full = self.records == 0 || self.bytes == 0 || len < chunk.len();
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
        if chunk.line_bytes(from..most) as u64 <= self.bytes {
            return most;
        }
        // The longest run of lines that fits, by bisection: `low` fits, `high` does not.
        let (mut low, mut high) = (from, most);
        while low + 1 < high {
            let middle = low.midpoint(high);
            if chunk.line_bytes(from..middle) as u64 <= self.bytes {
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
