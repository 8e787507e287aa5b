//! Opening a journal: what is there, how far it goes, and what of it is damaged.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::frame::{self, Damage, Found, Kind, Scan, align};
use crate::lane::{self, Lane, LaneState};
use crate::log::{Durability, Log, LogOptions, Segment};
use crate::names::Names;
use crate::segment::{self, Accepted, Head};
use crate::storage::{Storage, StorageFile};
use crate::writer::{Active, Disk, Writer};
use crate::{quarantine, reserve};

/// The file that is locked while a journal is open.
pub(crate) const LOCK: &str = "lock";

/// A record takes more than this in a segment, in bytes: its id, its time, its line's end and the
/// shortest line.
const SHORTEST_RECORD: u64 = 16 + 8 + 4 + 2;

/// A segment is not made smaller than this, in bytes.
const MIN_SEGMENT: u64 = 4 << 10;

/// Why a journal does not open. Damage is never a reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("the journal is open in another process; end that, or choose another `data_dir`")]
    Locked,
    /// A later program wrote it.
    #[error(
        "`{file}` has format {version} of a later wasink, and this one reads up to {}; \
         use that one, or let it deliver what is there first",
        segment::VERSION
    )]
    Newer {
        /// The file.
        file: String,
        /// Its format.
        version: u32,
    },
    /// It is the journal of another stream.
    #[error("`{file}` is of another stream; has it been moved here?")]
    Foreign {
        /// The file.
        file: String,
    },
    /// The file system refuses.
    #[error("can't open the journal: {0}")]
    Io(#[from] io::Error),
}

/// What was found when a journal was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The position that the next record gets.
    pub next: u64,
    /// Records that some sink has not dealt with, by sink.
    pub pending: Vec<(String, u64)>,
    /// Bytes at the end of the last segment that are no whole frames, and were put aside.
    pub damaged_bytes: u64,
    /// Whether the last write was not finished: what was in it was never acknowledged.
    pub unfinished: bool,
    /// Damaged lines of lanes: what they told of is delivered again.
    pub damaged_lines: u64,
}

impl Log {
    /// Opens the journal in `storage`, or makes it there. Time and memory that it takes depend on
    /// the length of a segment, not on how much is pending.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(
        storage: Arc<dyn Storage>,
        mut options: LogOptions,
    ) -> Result<(Self, Writer, Recovered), OpenError> {
        let lock = storage.lock(LOCK)?.ok_or(OpenError::Locked)?;
        options.segment_bytes = options.segment_bytes.min(options.bytes / 4).max(MIN_SEGMENT);
        // An earlier process may have ended before it came to this: then what is written to a file
        // would be durable, and its name not.
        let given = Arc::new(Names::default());
        let named = given.sync(given.give(), &*storage).is_ok();
        let names = storage.names()?;
        let mut firsts: Vec<u64> = names.iter().filter_map(|name| segment::first(name)).collect();
        firsts.sort_unstable();
        let tail = tail(&*storage, &options, &firsts)?;
        let mut recovered = Recovered {
            next: tail.next,
            damaged_bytes: tail.damaged_bytes,
            unfinished: tail.unfinished,
            ..Recovered::default()
        };

        let mut read = Vec::new();
        for sink in names.iter().filter_map(|name| lane::sink(name)) {
            let found = lane::read(&*storage, sink)?;
            recovered.damaged_lines += found.damaged;
            read.push((sink.to_owned(), found));
        }
        let mut lanes = Vec::new();
        for (sink, found) in read {
            if found.state.is_none() || found.damaged > 0 {
                // The lane is written anew below, and there may be something to see in this.
                let kept = quarantine::copy(&*storage, &names, &lane::file_name(&sink));
                if found.state.is_none() {
                    kept?;
                }
            }
            // With nothing known of a lane all that is there is delivered again: ids tell receivers.
            let origin = firsts.first().copied().unwrap_or(recovered.next);
            let new = LaneState { origin, cursor: origin, ..LaneState::default() };
            let lane = Lane::open(&storage, &sink, &found, new, &given)?;
            recovered.next = recovered.next.max(lane.floor());
            lanes.push((sink, lane));
        }
        let pending = |(sink, lane): &(String, Lane)| {
            (sink.clone(), recovered.next.saturating_sub(lane.state().cursor))
        };
        recovered.pending = lanes.iter().map(pending).collect();

        let mut segments = VecDeque::with_capacity(firsts.len());
        for &first in &firsts {
            let len = storage.open(&segment::name(first))?.len()?;
            segments.push_back(Segment { first, len });
        }
        // Where positions are skipped, a new segment shows the gap.
        let keep_on = named && recovered.next == tail.next;
        let active = tail.active.filter(|_| keep_on);
        let disk = Disk {
            storage: storage.clone(),
            stream: options.stream,
            durability: options.durability,
            segment_bytes: options.segment_bytes,
            active,
            lock,
        };
        let mut accepted = tail.accepted;
        for (_, lane) in &lanes {
            // Where records are damaged, the lanes still know whose they were that are dealt with.
            for (tenant, fates) in &lane.state().tenants {
                let known = lane.state().before.get(tenant).copied().unwrap_or(0);
                let known = known.saturating_add(fates.sum());
                let accepted = accepted.entry(tenant.clone()).or_default();
                *accepted = known.max(*accepted);
            }
        }
        let log =
            Self::on_disk(options, (storage, given), recovered.next, segments, accepted, lanes);
        let writer = Writer::new(log.clone(), Some(disk));
        Ok((log, writer, recovered))
    }
}

/// The end of a journal.
#[derive(Debug, Default)]
struct Tail {
    next: u64,
    accepted: Accepted,
    damaged_bytes: u64,
    unfinished: bool,
    /// The last segment, where more can be appended to it.
    active: Option<Active>,
}

/// Reads the last segment.
fn tail(storage: &dyn Storage, options: &LogOptions, firsts: &[u64]) -> Result<Tail, OpenError> {
    let Some((&last, earlier)) = firsts.split_last() else { return Ok(Tail::default()) };
    let name = segment::name(last);
    let file: Arc<dyn StorageFile> = storage.open(&name)?.into();
    let head = match segment::head(&*file, options.stream) {
        Ok(Head::Newer(version)) => return Err(OpenError::Newer { file: name, version }),
        Ok(Head::Foreign) => return Err(OpenError::Foreign { file: name }),
        Ok(head) => head,
        Err(_) => Head::Damaged,
    };
    let mut tail = Tail { next: last, ..Tail::default() };
    let walked = walk(&file, &mut |found| match found {
        Walked::Records { end, tenants } => {
            tail.next = tail.next.max(end);
            add(&mut tail.accepted, &tenants);
        }
        Walked::Base(base) => add(&mut tail.accepted, &base),
        Walked::Damage(damage) if damage.unfinished => tail.unfinished = true,
        Walked::Damage(damage) => {
            tail.damaged_bytes += damage.len;
            tail.next = tail.next.max(damage.end().unwrap_or(0));
            // Whoever reads this segment will come here again, and try again.
            drop(quarantine::keep(storage, last, &*file, &damage));
        }
    });
    let walk = walked?;
    if walk.has_unreadable {
        // What can't be read now may be read later: no position in it may be given again.
        let most = walk.len.saturating_sub(walk.end) / SHORTEST_RECORD;
        tail.next = tail.next.max(walk.next.max(last).saturating_add(most));
    }
    if !walk.has_base {
        // The base is damaged; the sums are those of the segment before, and its records.
        add(&mut tail.accepted, &accepted_before(storage, earlier));
    }
    let clean = walk.clean && !walk.has_unreadable && head == Head::Good;
    // What was written before may still be on its way to the disk.
    let synced = options.durability != Durability::Disk || file.sync().is_ok();
    if clean && synced {
        let file = storage.open(&name)?;
        tail.active = Some(Active { file, len: align(walk.end) });
    }
    Ok(tail)
}

/// What a walk over a segment comes by.
enum Walked {
    Records { end: u64, tenants: Accepted },
    Base(Accepted),
    Damage(Damage),
}

/// How a walk ended.
struct Walk {
    has_base: bool,
    /// Whether the last that was found is whole, and nothing is behind it.
    clean: bool,
    /// Where the last whole frame ends, and the position behind its last record.
    end: u64,
    next: u64,
    len: u64,
    /// Whether some of it could not be read.
    has_unreadable: bool,
}

fn walk(file: &Arc<dyn StorageFile>, each: &mut dyn FnMut(Walked)) -> io::Result<Walk> {
    let len = file.len()?;
    let mut scan = Scan::new(file.clone(), segment::HEADER as u64);
    scan.tolerate();
    let mut walk = Walk {
        has_base: false,
        clean: len >= segment::HEADER as u64,
        end: scan.offset(),
        next: 0,
        len,
        has_unreadable: false,
    };
    while let Some(found) = scan.next(len)? {
        match found {
            Found::Damage(damage) => {
                walk.clean = false;
                each(Walked::Damage(damage));
            }
            Found::Frame { header, payload, .. } => {
                walk.end = scan.offset();
                // With a trailer that is cut off, the next frame would not begin where one is sought.
                walk.clean = walk.end <= len;
                walk.next = header.end();
                match header.kind {
                    Kind::Base => {
                        walk.has_base = true;
                        each(Walked::Base(serde_json::from_slice(&payload).unwrap_or_default()));
                    }
                    Kind::Records => {
                        let tenants = frame::tenants(&header, &payload).unwrap_or_default();
                        let mut sums = Accepted::new();
                        for (tenant, &records) in tenants.values.iter().zip(&tenants.counts) {
                            let sum = sums.entry(tenant.to_string()).or_default();
                            *sum = sum.saturating_add(records);
                        }
                        each(Walked::Records { end: header.end(), tenants: sums });
                    }
                }
            }
        }
    }
    walk.has_unreadable = scan.has_unreadable();
    Ok(walk)
}

/// What was accepted up to the end of these segments, as far as it can be known.
fn accepted_before(storage: &dyn Storage, firsts: &[u64]) -> Accepted {
    let mut accepted = Accepted::new();
    for &first in firsts.iter().rev() {
        let Ok(file) = storage.open(&segment::name(first)) else { continue };
        let walked = walk(&file.into(), &mut |found| match found {
            Walked::Records { tenants, .. } | Walked::Base(tenants) => add(&mut accepted, &tenants),
            Walked::Damage(_) => {}
        });
        if walked.is_ok_and(|walk| walk.has_base) {
            break;
        }
    }
    accepted
}

fn add(sums: &mut Accepted, more: &Accepted) {
    for (tenant, records) in more {
        let sum = sums.entry(tenant.clone()).or_default();
        *sum = sum.saturating_add(*records);
    }
}

/// Whether a file of this name is the journal's.
pub(crate) fn is_own(name: &str) -> bool {
    [LOCK, reserve::NAME].contains(&name)
        || segment::first(name).is_some()
        || lane::sink(name).is_some()
        || crate::dead::sink(name).is_some()
        || crate::versions::sink(name).is_some()
        || quarantine::is(name)
        || name.ends_with("tmp")
}
