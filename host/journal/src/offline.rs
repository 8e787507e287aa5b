//! Looking at a journal, and mending it, while nobody has it open.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use wasink_record::{RecordId, Stream, Timestamp};

use crate::chunk::Chunk;
use crate::dead::{self, Dead, DeadLetter};
use crate::fate::{Fate, Fates};
use crate::frame::{self, Found, Kind, Scan};
use crate::lane::{self, Lane, LaneState};
use crate::names::Names;
use crate::quarantine;
use crate::recovery::{self, LOCK, OpenError};
use crate::reserve::Reserve;
use crate::segment::{self, Accepted, Head};
use crate::storage::{Lock, Storage, StorageFile};
use crate::tenants::Whose;
use crate::versions::{self, Stretch};

/// A journal that is looked at from outside.
///
/// What only looks works while another process has the journal open, too, and then sees a moment of
/// it: the last frame may just be on its way. What changes something takes the journal's lock first.
#[derive(Debug)]
pub struct Offline {
    storage: Arc<dyn Storage>,
    stream: Stream,
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The segments, in order.
    pub segments: Vec<SegmentReport>,
    /// What is known of each sink's lane.
    pub lanes: BTreeMap<String, LaneReport>,
    /// Files of damaged bytes that were put aside, and their receipts.
    pub quarantined: Vec<String>,
    /// Files that are none of the journal's.
    pub strangers: Vec<String>,
    /// What was accepted by tenant, by what the segments say; records of nobody's are not in it.
    pub accepted: Accepted,
    /// The position that the next record would get.
    pub end: u64,
}

/// One segment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SegmentReport {
    /// Its file.
    pub file: String,
    /// The position of its first record.
    pub first: u64,
    /// The position behind its last whole record.
    pub end: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whole frames of records.
    pub frames: u64,
    /// Whole records.
    pub records: u64,
    /// Whether its header is not what it should be. It is read all the same.
    pub damaged_header: bool,
    /// Bytes that are no whole frames: where, and how many.
    pub damaged: Vec<(u64, u64)>,
    /// Whether it ends in a write that was not finished.
    pub unfinished: bool,
}

/// One lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneReport {
    /// What its file says; `None` where none of it can be read.
    pub state: Option<LaneState>,
    /// Lines of its file that are damaged.
    pub damaged_lines: u64,
    /// Dead letters that are there.
    pub dead: u64,
    /// Lines of the file of dead letters that are damaged.
    pub damaged_dead: u64,
    /// Lines of the file of versions that are damaged: whose doing something was, nobody knows then.
    pub damaged_versions: u64,
}

/// A record as the journal holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredRecord {
    /// Its position in the stream.
    pub position: u64,
    /// Its id.
    pub id: RecordId,
    /// When it was taken.
    pub time: Timestamp,
    /// Its wire format, with `\n` at the end.
    pub line: Bytes,
}

/// A difference between what the files say and what they should add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The sink.
    pub sink: String,
    /// The tenant, where it is one's alone.
    pub tenant: Option<String>,
    /// What is compared.
    pub what: &'static str,
    /// As it should be.
    pub expected: u64,
    /// As it is.
    pub found: u64,
}

/// What repair has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Receipt {
    /// Segments that were written anew without their damaged bytes.
    pub segments: Vec<String>,
    /// Bytes that went into quarantine.
    pub quarantined_bytes: u64,
    /// Lanes that were written anew without their damaged lines.
    pub lanes: Vec<String>,
    /// Files of versions that were written anew without their damaged lines.
    pub versions: Vec<String>,
}

impl Offline {
    /// The journal of `stream` in `storage`.
    pub fn new(storage: Arc<dyn Storage>, stream: Stream) -> Self {
        Self { storage, stream }
    }

    /// Looks at everything: reads every byte and checks every sum.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn inspect(&self) -> io::Result<Inspection> {
        let mut names = self.storage.names()?;
        names.sort_unstable();
        let mut inspection = Inspection::default();
        for name in &names {
            if let Some(first) = segment::first(name) {
                let report = self.segment(first, &mut inspection.accepted)?;
                inspection.end = inspection.end.max(report.end);
                inspection.segments.push(report);
            } else if let Some(sink) = lane::sink(name) {
                let found = lane::read(&*self.storage, sink)?;
                let dead = dead::read(&*self.storage, sink, |_| true)?;
                let cursor = found.state.as_ref().map_or(0, |state| state.cursor);
                inspection.end = inspection.end.max(cursor);
                let report = LaneReport {
                    damaged_lines: found.damaged,
                    state: found.state,
                    dead: dead.letters.len() as u64,
                    damaged_dead: dead.damaged,
                    damaged_versions: versions::read(&*self.storage, sink)?.damaged,
                };
                inspection.lanes.insert(sink.to_owned(), report);
            } else if quarantine::is(name) {
                inspection.quarantined.push(name.clone());
            } else if !recovery::is_own(name) {
                inspection.strangers.push(name.clone());
            }
        }
        Ok(inspection)
    }

    fn segment(&self, first: u64, accepted: &mut Accepted) -> io::Result<SegmentReport> {
        let file = segment::name(first);
        let open: Arc<dyn StorageFile> = self.storage.open(&file)?.into();
        let mut report = SegmentReport {
            bytes: open.len()?,
            first,
            end: first,
            file,
            ..SegmentReport::default()
        };
        report.damaged_header = segment::head(&*open, self.stream)? != Head::Good;
        let mut scan = Scan::new(open, segment::HEADER as u64);
        while let Some(found) = scan.next(report.bytes)? {
            match found {
                Found::Damage(damage) if damage.unfinished => report.unfinished = true,
                Found::Damage(damage) => report.damaged.push((damage.offset, damage.len)),
                Found::Frame { header, payload, .. } if header.kind == Kind::Base => {
                    // What came before is in here, whether or not its segments still are.
                    *accepted = serde_json::from_slice(&payload).unwrap_or_default();
                }
                Found::Frame { header, payload, .. } => {
                    report.frames += 1;
                    report.records += u64::from(header.records);
                    report.end = report.end.max(header.end());
                    let tenants = frame::tenants(&header, &payload).unwrap_or_default();
                    for (tenant, &records) in tenants.values.iter().zip(&tenants.counts) {
                        *accepted.entry(tenant.to_string()).or_default() += records;
                    }
                }
            }
        }
        Ok(report)
    }

    /// Gives every record that is there and whole, at these positions, to `each`, in order, until
    /// that says `false`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn records(
        &self,
        positions: Range<u64>,
        mut each: impl FnMut(StoredRecord) -> bool,
    ) -> io::Result<()> {
        self.chunks(positions.clone(), |chunk| {
            for (index, (&id, &time)) in chunk.ids().iter().zip(chunk.times()).enumerate() {
                let position = chunk.position() + index as u64;
                let line = chunk.lines(index..index + 1);
                if positions.contains(&position) && !each(StoredRecord { position, id, time, line })
                {
                    return false;
                }
            }
            true
        })
    }

    fn chunks(
        &self,
        positions: Range<u64>,
        mut each: impl FnMut(&Chunk) -> bool,
    ) -> io::Result<()> {
        let mut firsts: Vec<_> =
            self.storage.names()?.iter().filter_map(|name| segment::first(name)).collect();
        firsts.sort_unstable();
        let ends = firsts.iter().skip(1).copied().chain([u64::MAX]);
        for (&first, end) in firsts.iter().zip(ends.collect::<Vec<_>>()) {
            if end <= positions.start || positions.end <= first {
                continue;
            }
            let file: Arc<dyn StorageFile> = self.storage.open(&segment::name(first))?.into();
            let len = file.len()?;
            let mut scan = Scan::new(file, segment::HEADER as u64);
            while let Some(found) = scan.next(len)? {
                let Found::Frame { header, payload, .. } = found else { continue };
                let outside = header.position >= end || header.end() <= positions.start;
                if header.kind != Kind::Records || outside {
                    continue;
                }
                let chunk = frame::chunk(&header, payload, self.stream, "".into());
                if let Some(chunk) = chunk
                    && !each(&chunk)
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Counts everything anew from the files and compares: for each sink, what was accepted since it
    /// was there with what became of records and what is pending; the same by tenant, unless some of
    /// what is there is damaged; and its
    /// rejected and expired records with its dead letters, of which some may have been purged.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn audit(&self) -> io::Result<Vec<Difference>> {
        let inspection = self.inspect()?;
        let damaged = inspection.segments.iter().any(|segment| !segment.damaged.is_empty());
        let mut differences = Vec::new();
        for (sink, report) in &inspection.lanes {
            let Some(state) = &report.state else { continue };
            let mut differ = |tenant: Option<&str>, what, expected, found| {
                if expected != found {
                    let (sink, tenant) = (sink.clone(), tenant.map(str::to_owned));
                    differences.push(Difference { sink, tenant, what, expected, found });
                }
            };
            let pending: u64 = state
                .missing(state.cursor..inspection.end)
                .iter()
                .fold(0, |sum, (from, to)| sum.saturating_add(to - from));
            differ(
                None,
                "accepted = settled + pending",
                inspection.end.saturating_sub(state.origin),
                state.fates.sum().saturating_add(pending),
            );
            let (there, by_tenant) = self.pending(state, inspection.end)?;
            differ(None, "pending records that can be read", pending, there);
            // Whose the records were that are damaged, nobody knows.
            if there == pending && !damaged {
                self.audit_tenants(state, &inspection.accepted, &by_tenant, &mut differ);
            }
            // Letters are written before it is noted that their records are dealt with; and some may
            // have been purged.
            let dealt_with = |letter: &DeadLetter| state.is_done(letter.position);
            let letters = dead::read(&*self.storage, sink, dealt_with)?.letters.len() as u64;
            let dead = state.fates.rejected.saturating_add(state.fates.expired);
            let stretches = self.provenance(sink)?;
            let told = stretches.iter().map(|stretch| stretch.fates.sum());
            let told = told.fold(0, u64::saturating_add);
            differ(None, "settled = settled by all versions", state.fates.sum(), told);
            if letters > dead {
                differ(None, "rejected and expired = dead letters", dead, letters);
            }
        }
        Ok(differences)
    }

    fn audit_tenants(
        &self,
        state: &LaneState,
        accepted: &Accepted,
        pending: &Accepted,
        differ: &mut impl FnMut(Option<&str>, &'static str, u64, u64),
    ) {
        for (tenant, &accepted) in accepted {
            let of = |counts: &Accepted| counts.get(tenant).copied().unwrap_or(0);
            let settled = state.tenants.get(tenant).map_or(0, Fates::sum);
            let before = of(&state.before);
            let found = settled.saturating_add(of(pending));
            // Less than before: what was accepted meanwhile is not told by any segment any more.
            let expected = accepted.saturating_sub(before);
            differ(Some(tenant), "accepted = settled + pending", expected, found);
        }
    }

    /// The records that are pending and can be read, and how many of them are whose.
    fn pending(&self, state: &LaneState, end: u64) -> io::Result<(u64, Accepted)> {
        let missing = state.missing(state.cursor..end);
        let mut there = 0;
        let mut by_tenant = Accepted::new();
        self.chunks(state.cursor..end, |chunk| {
            for index in 0..chunk.len() {
                let position = chunk.position() + index as u64;
                if !missing.iter().any(|&(from, to)| (from..to).contains(&position)) {
                    continue;
                }
                there += 1;
                if let Some(tenant) = chunk.tenants().get(index) {
                    *by_tenant.entry(tenant.to_owned()).or_default() += 1;
                }
            }
            true
        })?;
        Ok((there, by_tenant))
    }

    /// The dead letters of a sink that `wanted` chooses, in the order in which they came.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn dead(&self, sink: &str, wanted: impl FnMut(&DeadLetter) -> bool) -> io::Result<Dead> {
        dead::read(&*self.storage, sink, wanted)
    }

    /// Which version of its plugin settled what at a sink: all that is settled there is in one of the
    /// stretches, and once.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn provenance(&self, sink: &str) -> io::Result<Vec<Stretch>> {
        let found = lane::read(&*self.storage, sink)?;
        let Some(state) = found.state else { return Ok(Vec::new()) };
        let file = versions::read(&*self.storage, sink)?.takeovers;
        Ok(found.takeovers.stretches(&state, file))
    }

    /// The sinks that have a lane here.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn sinks(&self) -> io::Result<Vec<String>> {
        let names = self.storage.names()?;
        let mut sinks: Vec<_> =
            names.iter().filter_map(|name| lane::sink(name)).map(str::to_owned).collect();
        sinks.sort_unstable();
        Ok(sinks)
    }

    /// Takes the journal's lock, to change something.
    ///
    /// # Errors
    ///
    /// [`OpenError::Locked`] while another process has it open.
    pub fn lock(&self) -> Result<Mending<'_>, OpenError> {
        let lock = self.storage.lock(LOCK)?.ok_or(OpenError::Locked)?;
        Ok(Mending { offline: self, _lock: lock })
    }
}

/// A journal that nobody else has open, to be changed.
#[derive(Debug)]
pub struct Mending<'a> {
    offline: &'a Offline,
    _lock: Box<dyn Lock>,
}

impl Mending<'_> {
    /// Takes damaged bytes out of segments and lanes. They go into quarantine first, and what was
    /// changed is written down in a file named `quarantine-repair-`, which the answer repeats.
    ///
    /// # Errors
    ///
    /// What the file system says. What was done until then is whole; it can be done again.
    pub fn repair(&self) -> io::Result<Receipt> {
        let Offline { storage, stream } = self.offline;
        let inspection = self.offline.inspect()?;
        let mut receipt = Receipt::default();
        for report in &inspection.segments {
            let bad = report.damaged_header || report.unfinished || !report.damaged.is_empty();
            if bad {
                receipt.quarantined_bytes += self.rewrite(report.first, *stream)?;
                receipt.segments.push(report.file.clone());
            }
        }
        for (sink, report) in &inspection.lanes {
            if report.state.is_some() && report.damaged_lines > 0 {
                self.keep_copy(&lane::file_name(sink))?;
                let reserve = Reserve::default();
                self.lane(sink)?.map_or(Ok(()), |mut lane| lane.rewrite(&reserve))?;
                receipt.lanes.push(lane::file_name(sink));
            }
            if report.damaged_versions > 0 {
                self.keep_copy(&versions::file_name(sink))?;
                let whole = versions::read(&**storage, sink)?.whole;
                versions::write_anew(&**storage, sink, &whole)?;
                receipt.versions.push(versions::file_name(sink));
            }
        }
        if receipt != Receipt::default() {
            let name = self.free("quarantine-repair")?;
            let file = storage.create(&format!("{name}.json"))?;
            let text = format!("{:#}\n", json!(receipt));
            file.write_all_at(&mut [io::IoSlice::new(text.as_bytes())], 0)?;
            file.sync()?;
            storage.sync_directory()?;
        }
        Ok(receipt)
    }

    /// Writes a segment anew with its whole frames only; returns how many bytes it lost.
    fn rewrite(&self, first: u64, stream: Stream) -> io::Result<u64> {
        const UNREADY: &str = "repair.tmp";
        let storage = &self.offline.storage;
        let file: Arc<dyn StorageFile> = storage.open(&segment::name(first))?.into();
        let len = file.len()?;
        match storage.remove(UNREADY) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let anew = storage.create(UNREADY)?;
        let header = segment::header(stream, first);
        anew.write_all_at(&mut [io::IoSlice::new(&header)], 0)?;
        let mut at = header.len() as u64;
        let mut lost = 0;
        let mut scan = Scan::new(file.clone(), segment::HEADER as u64);
        while let Some(found) = scan.next(len)? {
            match found {
                Found::Damage(damage) => {
                    quarantine::keep(&**storage, first, &*file, &damage)?;
                    lost += damage.len;
                }
                Found::Frame { offset, header, .. } => {
                    let stride = usize::try_from(header.stride()).unwrap_or(usize::MAX);
                    let mut frame = vec![0; stride];
                    let read = file.read_full_at(&mut frame, offset)?;
                    frame.truncate(read);
                    anew.write_all_at(&mut [io::IoSlice::new(&frame)], at)?;
                    at += header.stride();
                }
            }
        }
        anew.sync()?;
        storage.rename(UNREADY, &segment::name(first))?;
        storage.sync_directory()?;
        Ok(lost)
    }

    /// Copies a file into quarantine.
    fn keep_copy(&self, name: &str) -> io::Result<()> {
        let storage = &self.offline.storage;
        let bytes = storage.open(name)?.read_all(u64::MAX)?;
        let copy = storage.create(&self.free(&format!("quarantine-{name}"))?)?;
        copy.write_all_at(&mut [io::IoSlice::new(&bytes)], 0)?;
        copy.sync()?;
        storage.sync_directory()
    }

    /// A name that no file begins with.
    fn free(&self, name: &str) -> io::Result<String> {
        let names = self.offline.storage.names()?;
        let free = (0..u32::MAX).map(|number| format!("{name}-{number}"));
        let taken = |free: &String| names.iter().any(|name| name.starts_with(free.as_str()));
        free.into_iter()
            .find(|free| !taken(free))
            .ok_or_else(|| io::ErrorKind::AlreadyExists.into())
    }

    /// Takes dead letters away that `chosen` chooses; returns how many. The ledger goes on counting
    /// their records as what they are: rejected or expired.
    ///
    /// # Errors
    ///
    /// What the file system says; then all of them are there still.
    pub fn purge(&self, sink: &str, chosen: impl Fn(&DeadLetter) -> bool) -> io::Result<u64> {
        self.lane(sink)?.map_or(Ok(0), |mut lane| lane.purge(chosen, &Reserve::default()))
    }

    /// Takes note that something else has become of dead letters: they are no more. Those that are
    /// not there are left out. Durable when this returns.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn resolve(
        &self,
        sink: &str,
        resolved: &[(DeadLetter, Fate)],
        now: Timestamp,
    ) -> io::Result<()> {
        let reserve = Reserve::default();
        self.lane(sink)?.map_or(Ok(()), |mut lane| lane.resolve(resolved, now, &reserve))
    }

    /// Settles what is in doubt at a sink: `None` to hand it over again, or what has become of it.
    /// Returns the positions; `None` where nothing is in doubt.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn end_doubt(&self, sink: &str, fate: Option<Fate>) -> io::Result<Option<Range<u64>>> {
        let Some(mut lane) = self.lane(sink)? else { return Ok(None) };
        let Some(doubt) = lane.state().doubt else { return Ok(None) };
        let mut chunks = Vec::new();
        if fate.is_some() {
            self.offline.chunks(doubt.from..doubt.to, |chunk| {
                chunks.push((chunk.position(), chunk.tenants().clone()));
                true
            })?;
        }
        let mut whose = Whose::default();
        chunks.iter().for_each(|(position, tenants)| whose.add(*position, tenants));
        lane.end_doubt(fate, &whose, &Reserve::default())
    }

    /// A sink's lane, to be changed; `None` where there is none that can be read.
    fn lane(&self, sink: &str) -> io::Result<Option<Lane>> {
        let storage = &self.offline.storage;
        let found = lane::read(&**storage, sink)?;
        if found.state.is_none() {
            return Ok(None);
        }
        let names = Arc::new(Names::default());
        // Names may not be on disk that an earlier process gave.
        names.give();
        Lane::open(storage, sink, &found, LaneState::default(), &names).map(Some)
    }
}
