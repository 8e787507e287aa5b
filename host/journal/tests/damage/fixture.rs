//! A small journal to be damaged, all that is in it, and what a sink is given of it.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use wasink_journal::{
    BatchLimits, Durability, Fate, Log, LogOptions, Next, OpenError, Reader, Recovered, WhenFull,
    Writer,
};
use wasink_record::Stream;

use crate::simulated::disk::Disk;
use crate::simulated::records::{Known, Maker, letter};

pub(crate) const LIMITS: BatchLimits = BatchLimits {
    records: NonZeroU32::new(1000).unwrap(),
    bytes: NonZeroU64::new(1 << 20).unwrap(),
    age: Duration::ZERO,
};

/// A frame of records, and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) segment: String,
    pub(crate) bytes: Range<usize>,
    pub(crate) positions: Range<u64>,
}

/// A journal that was closed, with two sinks: `some` has dealt with a few records, `none` with none.
pub(crate) struct Fixture {
    pub(crate) disk: Disk,
    pub(crate) records: Vec<Known>,
    pub(crate) frames: Vec<Frame>,
    /// What became of records at `some`.
    pub(crate) settled: BTreeMap<u64, Fate>,
}

pub(crate) fn options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability: Durability::Disk,
        bytes: 1 << 20,
        segment_bytes,
        memory: 0,
    }
}

pub(crate) fn try_open(disk: &Disk) -> Result<(Log, Writer, Recovered), OpenError> {
    Log::open(Arc::new(disk.clone()), options(4 << 10))
}

pub(crate) fn open(disk: &Disk) -> (Log, Writer, Recovered) {
    try_open(disk).unwrap()
}

pub(crate) fn reader(log: &Log, sink: &str) -> Reader {
    log.reader(sink, WhenFull::Block, u64::MAX).unwrap()
}

/// The last segment there is.
pub(crate) fn last_segment(disk: &Disk) -> String {
    segments(disk).pop().unwrap()
}

pub(crate) fn segments(disk: &Disk) -> Vec<String> {
    disk.sorted_names().into_iter().filter(|name| name.ends_with(".segment")).collect()
}

/// Appends a run and finds its frame.
pub(crate) fn append(
    disk: &Disk,
    writer: &mut Writer,
    maker: &mut Maker,
    records: usize,
) -> (Vec<Known>, Frame) {
    let (run, known) = maker.run(records, 20);
    writer.stage(run, usize::MAX);
    let before = segments(disk);
    let len = before.last().map_or(0, |name| disk.bytes(name).unwrap().len());
    let positions = writer.commit().unwrap();
    let segment = last_segment(disk);
    let bytes = disk.bytes(&segment).unwrap();
    let start = if before.contains(&segment) {
        len
    } else {
        // Behind the header, and the frame that tells what was accepted before.
        let payload = u32::from_le_bytes(bytes[64 + 8..64 + 12].try_into().unwrap());
        64 + (40 + payload as usize).next_multiple_of(8) + 40
    };
    let frame = Frame { segment, bytes: start..bytes.len(), positions };
    (known, frame)
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let disk = Disk::new(1);
        let mut maker = Maker::new();
        let (log, mut writer, _) = open(&disk);
        let mut some = reader(&log, "some");
        let none = reader(&log, "none");
        let (mut records, mut frames) = (Vec::new(), Vec::new());
        for run in 0..14 {
            let (known, frame) = append(&disk, &mut writer, &mut maker, 1 + run % 5);
            records.extend(known);
            frames.push(frame);
        }
        let mut settled = BTreeMap::new();
        let Next::Batch(batch) = some.next(&LIMITS) else { panic!("no batch") };
        let end = batch.end();
        for (range, fate) in [
            (0..3, Fate::Delivered),
            (3..5, Fate::Rejected),
            (5..9, Fate::Duplicate),
            (12..14, Fate::Expired),
            (20..end - 2, Fate::Delivered),
        ] {
            let is_dead = matches!(fate, Fate::Rejected | Fate::Expired);
            let letters = range.clone().filter(|_| is_dead);
            let letters =
                letters.map(|at| letter(at, &records[usize::try_from(at).unwrap()], fate));
            some.settle(&batch, &[(range.clone(), fate)], letters.collect()).unwrap();
            settled.extend(range.map(|position| (position, fate)));
        }
        assert_eq!(segments(&disk).len(), 3);
        drop((log, writer, some, none));
        Self { disk: disk.copy(), records, frames, settled }
    }

    pub(crate) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// What a sink is given, by position, where it has to be exactly what was appended; and what it
    /// is told to be damaged.
    pub(crate) fn given(&self, reader: &mut Reader) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let (mut given, mut damaged) = (BTreeSet::new(), BTreeSet::new());
        loop {
            match reader.next(&LIMITS) {
                Next::Batch(batch) => {
                    for (index, id) in batch.ids().enumerate() {
                        let position = batch.position() + index as u64;
                        let known = &self.records[usize::try_from(position).unwrap()];
                        let line = batch.line(index).unwrap();
                        assert_eq!((id, &line[..line.len() - 1]), (known.id, &*known.line));
                        assert!(given.insert(position), "{position} is given twice");
                    }
                    reader.pass(batch.end());
                }
                Next::Damaged(range) => {
                    assert!(range.start < range.end);
                    damaged.extend(range.clone());
                    reader.pass(range.end);
                }
                Next::Empty => break,
                other => panic!("{other:?}"),
            }
        }
        (given, damaged)
    }

    /// Opens a damaged copy and checks what holds whatever is damaged in it. Returns what was found,
    /// and what the sinks were given and told to be damaged.
    pub(crate) fn examine(&self, disk: &Disk) -> Examined {
        let (log, mut writer, recovered) = open(disk);
        let mut sinks = BTreeMap::new();
        for sink in ["some", "none"] {
            let mut reader = reader(&log, sink);
            let state = reader.state();
            let done = |position: &u64| {
                let in_order = (state.origin..state.cursor).contains(position);
                in_order || state.done.iter().any(|(from, to)| (from..to).contains(&position))
            };
            let (given, damaged) = self.given(&mut reader);
            // Each is accounted for once.
            for position in state.origin..log.end() {
                let ways =
                    [done(&position), given.contains(&position), damaged.contains(&position)];
                assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{position}: {ways:?}");
            }
            let done = (state.origin..log.end()).filter(|position| done(position)).collect();
            sinks.insert(sink, Sink { given, damaged, done });
        }
        // And what comes now is taken, and given as it is.
        let end = log.end();
        let (run, known) = Maker::new().run(1, 33);
        writer.stage(run, usize::MAX);
        assert_eq!(writer.commit().unwrap(), end..end + 1);
        drop((log, writer));
        let disk = disk.crash(crate::simulated::disk::Crash::Power);
        let (log, _writer, _) = open(&disk);
        let mut reader = reader(&log, "none");
        reader.pass(end);
        let Next::Batch(batch) = reader.next(&LIMITS) else { panic!("no batch") };
        assert_eq!((batch.position(), batch.ids().collect::<Vec<_>>()), (end, vec![known[0].id]));
        Examined { recovered, sinks, disk }
    }
}

pub(crate) struct Examined {
    pub(crate) recovered: Recovered,
    pub(crate) sinks: BTreeMap<&'static str, Sink>,
    pub(crate) disk: Disk,
}

pub(crate) struct Sink {
    pub(crate) given: BTreeSet<u64>,
    pub(crate) damaged: BTreeSet<u64>,
    pub(crate) done: BTreeSet<u64>,
}
