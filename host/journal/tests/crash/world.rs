//! Runs a history against a journal on a simulated disk, and checks it against the model.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::Duration;

use wasink_journal::{
    Batch, BatchLimits, CommitError, Durability, Fate, Log, LogOptions, Next, Offline, OpenError,
    Reader, Recovered, WhenFull, Writer,
};
use wasink_record::Stream;

use super::model::{Kept, LaneModel, Model};
use crate::simulated::dead;
use crate::simulated::disk::{Crash, Disk};

use super::steps::{Delivery, Fault, History, Step};
use crate::simulated::records::{Known, Maker};

/// The most that the journal may hold, in bytes.
const CAP: u64 = 24 << 10;

/// No commit of what is appended at once is larger, in bytes, or in runs.
const LARGEST_COMMIT: u64 = 18 << 10;
const MOST_RUNS: usize = 3;

const LANES: [(&str, WhenFull); 3] =
    [("waits", WhenFull::Block), ("refuses", WhenFull::Reject), ("drops", WhenFull::DropOldest)];

mod lane;
mod mend;

use lane::{audit, check, note, settle};
use mend::{end_doubt, not_taken, purge, resolve, take_over};

pub(crate) struct World {
    disk: Disk,
    durability: Durability,
    history: History,
    /// What is open; nothing between an end and the next beginning.
    open: Option<Open>,
    maker: Maker,
    staged: Vec<Vec<Known>>,
    model: Model,
    lanes: BTreeMap<&'static str, LaneModel>,
    /// How the disk will have died when it is found dead.
    death: Crash,
    /// Whether anything but a full disk has gone wrong.
    faulty: bool,
}

struct Open {
    log: Log,
    writer: Writer,
    readers: BTreeMap<&'static str, Reader>,
    /// Batches that were handed over and not settled yet.
    held: BTreeMap<&'static str, Batch>,
}

pub(crate) fn limits(records: u32) -> BatchLimits {
    BatchLimits {
        records: NonZeroU32::new(records).unwrap(),
        bytes: NonZeroU64::new(1 << 20).unwrap(),
        age: Duration::ZERO,
    }
}

pub(crate) fn options(durability: Durability, memory: u64) -> LogOptions {
    LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability,
        bytes: CAP,
        segment_bytes: 4 << 10,
        memory,
    }
}

/// Runs a history from its beginning to its end.
pub(crate) fn run(history: &History, durability: Durability) {
    let mut world = World {
        disk: Disk::new(history.seed),
        durability,
        history: history.clone(),
        open: None,
        maker: Maker::new(),
        staged: Vec::new(),
        model: Model::default(),
        lanes: BTreeMap::new(),
        death: Crash::Kill,
        faulty: false,
    };
    world.begin(Crash::Kill, 0);
    for step in &history.steps {
        let failed = world.disk.failed_syncs();
        world.step(step);
        world.note_failed_syncs(failed);
        let early = world.disk.early_names();
        assert!(durability != Durability::Disk || early == 0, "a name for what is not on the disk");
        if !world.disk.is_alive() {
            let failed = world.disk.failed_syncs();
            world.end(world.death, None, 0);
            world.note_failed_syncs(failed);
        }
    }
    world.finish();
}

impl World {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Append(runs) => {
                runs.iter().for_each(|&(records, padding)| self.stage(records, padding));
                self.commit();
            }
            Step::Retry => self.commit(),
            Step::Forget(which) => {
                let keep = |place: usize| which >> (place % 8) & 1 == 0;
                self.journal().writer.retain(keep);
                let mut place = 0;
                self.staged.retain(|_| {
                    place += 1;
                    keep(place - 1)
                });
            }
            Step::Deliver(delivery) => self.deliver(delivery),
            Step::Sync(lane) => self.with_lane(*lane, |reader, lane, _| {
                if reader.sync().is_ok() {
                    lane.kept(Kept::Synced);
                }
            }),
            Step::Doubt(lane) => self.with_lane(*lane, |reader, lane, _| {
                if let Next::Batch(batch) = reader.next(&limits(5)) {
                    let range = batch.position()..batch.end();
                    if reader.doubt(range.clone(), 1).is_ok() {
                        lane.doubts.push(range);
                    }
                }
            }),
            Step::EndDoubt(lane, as_had) => self.with_lane(*lane, |reader, lane, _| {
                end_doubt(reader, *as_had, lane);
            }),
            Step::NotTaken(lane, all) => self.with_lane(*lane, |reader, lane, _| {
                not_taken(reader, *all, lane);
            }),
            Step::Resolve(which, place) => self.with_lane(*which, |reader, lane, _| {
                resolve(reader, LANES[*which].0, *place, lane);
            }),
            Step::Purge(which, bits) => self.with_lane(*which, |reader, lane, _| {
                purge(reader, LANES[*which].0, *bits, lane);
            }),
            Step::TakeOver(which, version) => self.with_lane(*which, |reader, lane, _| {
                take_over(reader, *version, lane);
            }),
            Step::Fault(fault) => self.fault(*fault),
            Step::DieIn(left, crash) => {
                self.death = *crash;
                self.disk.faults(|faults| faults.dies_in = Some(*left));
            }
            Step::Crash(crash, again, without) => self.end(*crash, *again, *without),
            Step::Close => {
                let failed = self.disk.failed_syncs();
                let readers: Vec<_> = self.journal().readers.keys().copied().collect();
                self.open = None;
                self.note_failed_syncs(failed);
                if self.disk.is_alive() && !self.faulty && !self.disk_is_full() {
                    // Whoever closes a reader has brought everything to the disk.
                    for sink in readers {
                        self.lanes.get_mut(sink).unwrap().kept(Kept::Synced);
                    }
                }
                self.end(self.death, None, 0);
            }
        }
    }

    /// After a sync has failed nobody can rely on what was only written.
    fn note_failed_syncs(&mut self, before: u64) {
        if self.disk.failed_syncs() > before {
            self.lanes.values_mut().for_each(LaneModel::dropped);
        }
    }

    fn stage(&mut self, records: usize, padding: usize) {
        let (run, known) = self.maker.run(records, padding);
        self.model.attempt(&known);
        self.staged.push(known);
        assert_eq!(self.journal().writer.stage(run, usize::MAX), (1, 0));
    }

    fn journal(&mut self) -> &mut Open {
        self.open.as_mut().unwrap()
    }

    fn disk_is_full(&self) -> bool {
        let mut capacity = None;
        self.disk.faults(|faults| capacity = faults.capacity);
        capacity.is_some()
    }

    fn fault(&mut self, fault: Fault) {
        let used = self.disk.used();
        self.faulty |= !matches!(fault, Fault::Room(_) | Fault::RoomAgain | Fault::ShortWrites(_));
        self.model.unsteady |=
            matches!(fault, Fault::FileSyncs(_) | Fault::DirectorySyncs(_) | Fault::Reads(_));
        self.disk.faults(|faults| match fault {
            Fault::Room(bytes) => faults.capacity = Some(used + bytes),
            Fault::RoomAgain => faults.capacity = None,
            Fault::FileSyncs(calls) => faults.file_syncs = calls,
            Fault::DirectorySyncs(calls) => faults.directory_syncs = calls,
            Fault::Reads(calls) => faults.reads = calls,
            Fault::Writes(calls) => faults.writes = calls,
            Fault::Renames(calls) => faults.renames = calls,
            Fault::Removes(calls) => faults.removes = calls,
            Fault::ShortWrites(short) => faults.short_writes = short,
        });
    }

    fn commit(&mut self) {
        let tripped = self.disk.tripped();
        // What could not be committed before comes in with it, however much that is.
        let unbounded = self.faulty || self.staged.len() > MOST_RUNS;
        let full = self.disk_is_full();
        let disk = self.disk.clone();
        let open = self.open.as_mut().unwrap();
        match open.writer.commit() {
            Ok(positions) => {
                assert_eq!(open.log.end(), positions.end);
                assert!(
                    unbounded || open.log.bytes() <= CAP + LARGEST_COMMIT,
                    "{} bytes are held",
                    open.log.bytes()
                );
                let records = std::mem::take(&mut self.staged).concat();
                self.model.acknowledge(positions, records);
            }
            Err(CommitError::Full { sink, pending, reject }) => {
                let (_, policy) = LANES.iter().find(|(name, _)| *name == sink).unwrap();
                assert_ne!(*policy, WhenFull::DropOldest);
                assert_eq!(reject, *policy == WhenFull::Reject);
                assert!(pending > 0);
                self.staged.clear();
                open.writer.retain(|_| false);
            }
            Err(CommitError::Disk(error)) => {
                let excused = full || !disk.is_alive() || disk.tripped() > tripped;
                assert!(excused, "{error}");
                assert_eq!(open.writer.staged(), self.staged.len());
            }
            Err(error) => panic!("{error}"),
        }
        self.learn();
    }

    /// Learns what was given up for sinks.
    fn learn(&mut self) {
        let Some(open) = &self.open else { return };
        for (sink, state) in open.log.lanes() {
            let lane = self.lanes.get_mut(sink.as_str()).unwrap();
            lane.learn(&state);
        }
    }

    fn with_lane(
        &mut self,
        lane: usize,
        act: impl FnOnce(&mut Reader, &mut LaneModel, &mut Model),
    ) {
        let (sink, _) = LANES[lane];
        let open = self.open.as_mut().unwrap();
        if let Some(reader) = open.readers.get_mut(sink) {
            act(reader, self.lanes.get_mut(sink).unwrap(), &mut self.model);
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let disk = self.disk.clone();
        let tripped = disk.tripped();
        let (sink, _) = LANES[delivery.lane];
        let open = self.open.as_mut().unwrap();
        let earlier = open.held.remove(sink);
        let mut held = None;
        self.with_lane(delivery.lane, |reader, lane, model| {
            if let Some(batch) = earlier {
                settle(reader, &batch, delivery, lane, model);
                return;
            }
            match reader.next(&limits(delivery.records)) {
                Next::Batch(batch) => {
                    check(&batch, lane, model, false);
                    if delivery.later {
                        held = Some(batch);
                        return;
                    }
                    settle(reader, &batch, delivery, lane, model);
                    if delivery.pass {
                        reader.pass(batch.end());
                    }
                }
                Next::Damaged(range) => {
                    model.damaged(&range, lane);
                    let result = reader.give_up(range.clone());
                    note(reader, lane, &[(range, Fate::Damaged)], result.is_ok());
                }
                Next::Empty => {}
                Next::Failed(error) => {
                    assert!(!disk.is_alive() || disk.tripped() > tripped, "{error}");
                }
                other => panic!("{other:?}"),
            }
        });
        self.journal().held.extend(held.map(|batch| (sink, batch)));
        self.learn();
    }

    /// Ends the process in this way, perhaps again while it recovers, and begins another.
    fn end(&mut self, crash: Crash, again: Option<u32>, without: u8) {
        let mut worst = crash;
        self.disk.faults(|faults| faults.dies_in = None);
        self.disk = self.disk.crash(crash);
        self.open = None;
        if again.is_some() {
            self.disk.faults(|faults| faults.dies_in = again);
            // Most of it is done by opening; what comes after that is not looked at.
            drop(Log::open(Arc::new(self.disk.clone()), self.options()));
            self.disk.faults(|faults| faults.dies_in = None);
            self.disk = self.disk.crash(crash);
            worst = crash;
        }
        self.staged.clear();
        self.begin(worst, without);
    }

    fn options(&self) -> LogOptions {
        options(self.durability, self.history.memory)
    }

    fn begin(&mut self, crash: Crash, without: u8) {
        let (log, writer, recovered) = self.opened();
        self.disk.faults(|faults| faults.reads = 0);
        for (sink, state) in log.lanes() {
            let lane = self.lanes.get_mut(sink.as_str()).unwrap();
            lane.recover(&state, crash);
            lane.provenance(&log.provenance(&sink).unwrap(), Some(crash));
            let offline = Offline::new(Arc::new(self.disk.clone()), Stream::Usage);
            lane.provenance(&offline.provenance(&sink).unwrap(), None);
            lane.kept(Kept::Written);
            let pending = recovered.pending.iter().find(|(name, _)| *name == sink).unwrap();
            assert_eq!(pending.1, recovered.next - state.cursor);
        }
        assert_eq!(log.end(), recovered.next);
        let mut readers = BTreeMap::new();
        for (index, (sink, when_full)) in LANES.into_iter().enumerate() {
            let max_pending = match when_full {
                WhenFull::Reject => self.history.patience,
                _ => u64::MAX,
            };
            let lane = self.lanes.entry(sink).or_default();
            lane.may_drop |= when_full == WhenFull::DropOldest;
            // One stays, so that somebody sees all that is there.
            if index > 0 && without >> index & 1 == 1 {
                lane.may_drop = true;
                continue;
            }
            let reader = loop {
                let full = self.disk.tripped();
                match log.reader(sink, when_full, max_pending) {
                    Ok(reader) => break Some(reader),
                    Err(_) if !self.disk.is_alive() || self.disk.tripped() == full => break None,
                    Err(_) => {}
                }
            };
            let Some(mut reader) = reader else { continue };
            lane.origin = reader.state().origin;
            lane.provenance(&log.provenance(sink).unwrap(), None);
            // The first sees all that is there. The others may go on with what they were left, which
            // whoever closes a reader brings to the disk.
            if index == 0 || self.history.seed.is_multiple_of(2) {
                audit(&self.disk, &mut reader, lane, &mut self.model, true);
                drop(reader);
                reader = log.reader(sink, when_full, max_pending).unwrap();
            }
            readers.insert(sink, reader);
        }
        self.open = Some(Open { log, writer, readers, held: BTreeMap::new() });
        self.check();
    }

    fn opened(&mut self) -> (Log, Writer, Recovered) {
        loop {
            let tripped = self.disk.tripped();
            match Log::open(Arc::new(self.disk.clone()), self.options()) {
                Ok(open) => return open,
                // What was asked for to go wrong did: the next time it will not.
                Err(OpenError::Io(_)) if self.disk.tripped() > tripped => {}
                Err(error) => panic!("does not open: {error}"),
            }
        }
    }

    /// Checks what must hold whenever a journal has been opened.
    fn check(&mut self) {
        let open = self.open.as_ref().unwrap();
        if !self.model.unsteady {
            assert_eq!(open.log.accepted(), self.model.by_tenant(), "accepted by tenant");
        }
        for (sink, state) in open.log.lanes() {
            let lane = &self.lanes[sink.as_str()];
            assert_eq!(state.fates.sum(), lane.fates.len() as u64);
            let (letters, _) = dead::letters(&self.disk, &sink);
            for (position, (fate, _)) in &lane.fates {
                let found = letters.get(position).map(|letter| letter.fate);
                let (may_be, may_not_be) = lane.letter(*position);
                let right = found.map_or(may_not_be, |found| may_be && found == *fate);
                assert!(right, "{found:?} is the dead letter of {position} at {sink}: {fate:?}");
                if let Some(letter) = letters.get(position) {
                    let known = &self.model.there[position];
                    assert_eq!((letter.id, letter.line.as_bytes()), (known.id, &*known.line));
                    assert_eq!(letter.tenant.as_deref(), known.tenant);
                }
            }
            let gaps = lane.fates.keys().any(|position| !self.model.there.contains_key(position));
            if !self.model.unsteady && !gaps {
                let mut sums = state.before.clone();
                for (tenant, fates) in &state.tenants {
                    *sums.entry(tenant.clone()).or_default() += fates.sum();
                }
                for position in self.model.pending(lane) {
                    if let Some(tenant) = self.model.there[&position].tenant {
                        *sums.entry(tenant.to_owned()).or_default() += 1;
                    }
                }
                assert_eq!(sums, open.log.accepted(), "tenants of {sink}");
            }
        }
    }

    /// All is well again: everything can be delivered, and there is room for more.
    fn finish(&mut self) {
        self.disk.faults(|faults| *faults = Default::default());
        self.drain();
        self.stage(1, 0);
        self.commit();
        assert!(self.staged.is_empty(), "admission did not come back");
        assert_eq!(self.journal().log.trouble(), None);
        let worst = match self.durability {
            Durability::Disk => Crash::Power,
            _ => Crash::Kill,
        };
        self.end(worst, None, 0);
        self.drain();
        self.end(self.death, None, 0);
        let end = self.journal().log.end();
        for (sink, state) in self.journal().log.lanes() {
            assert_eq!((state.cursor, state.done.as_slice()), (end, &[][..]), "{sink}");
            assert_eq!(state.fates.sum(), end - state.origin, "{sink}");
        }
        let log = self.journal().log.clone();
        for (sink, lane) in &mut self.lanes {
            lane.provenance(&log.provenance(sink).unwrap(), None);
        }
        if !self.model.unsteady {
            let offline = Offline::new(Arc::new(self.disk.clone()), Stream::Usage);
            assert_eq!(offline.audit().unwrap(), []);
        }
        self.staged.clear();
        let segments = self.disk.sorted_names();
        let segments = segments.iter().filter(|name| name.ends_with(".segment")).count();
        assert!(segments <= 2, "{segments} segments are left");
    }

    /// Delivers everything at every sink that is there.
    fn drain(&mut self) {
        for (sink, _) in LANES {
            let open = self.open.as_mut().unwrap();
            // A sink that could not come is as one that is gone.
            if !open.readers.contains_key(sink)
                && let Ok(reader) = open.log.reader(sink, WhenFull::Block, u64::MAX)
            {
                let lane = self.lanes.get_mut(sink).unwrap();
                lane.origin = reader.state().origin;
                open.readers.insert(sink, reader);
            }
            let reader = open.readers.get_mut(sink).unwrap();
            // What was passed over comes again only to another reader.
            drop(reader.sync());
            let lane = self.lanes.get_mut(sink).unwrap();
            open.readers.remove(sink);
            let mut reader = open.log.reader(sink, WhenFull::Block, u64::MAX).unwrap();
            audit(&self.disk, &mut reader, lane, &mut self.model, false);
            drop(reader);
            let mut reader = open.log.reader(sink, WhenFull::Block, u64::MAX).unwrap();
            loop {
                match reader.next(&limits(7)) {
                    Next::Batch(batch) => {
                        check(&batch, lane, &mut self.model, false);
                        let runs = [(batch.position()..batch.end(), Fate::Delivered)];
                        let result = reader.settle(&batch, &runs, Vec::new());
                        assert!(result.is_ok(), "{result:?}");
                        note(&reader, lane, &runs, true);
                    }
                    Next::Damaged(range) => {
                        self.model.damaged(&range, lane);
                        reader.give_up(range.clone()).unwrap();
                        note(&reader, lane, &[(range, Fate::Damaged)], true);
                    }
                    Next::Empty => break,
                    other => panic!("{other:?}"),
                }
            }
            reader.sync().unwrap();
            lane.kept(Kept::Synced);
            open.readers.insert(sink, reader);
        }
        self.learn();
    }
}
