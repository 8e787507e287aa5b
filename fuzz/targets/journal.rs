//! Journals whose files were damaged, or written by somebody else.

#![no_main]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a target stops at the first surprise"
)]

use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use wasink_fuzz::Cut;
use wasink_journal::{
    CommitError, Encoding, Fate, Log, Next, Offline, OpenError, Reader, Version, WhenFull,
};
use wasink_record::Stream;

// The journal's tests have a disk in memory, and a small journal with all that is in it.
#[path = "../../host/journal/tests/damage/fixture.rs"]
#[expect(dead_code, reason = "it is made for more than this")]
mod fixture;
#[path = "../../host/journal/tests/simulated/kit.rs"]
#[expect(dead_code, reason = "it is made for more than this")]
mod simulated;

use fixture::{Fixture, LIMITS, options, reader, segments, try_open};
use simulated::disk::Disk;
use simulated::records::Maker;

/// The most changes that are made to one journal.
const MOST_CHANGES: usize = 64;

/// A file grows to no more than this.
const MOST_BYTES: usize = 256 << 10;

/// So many answers of a reader are more than any journal here has good reason to give.
const MOST_ANSWERS: usize = 20_000;

/// Files that may be put beside those that are there.
const NAMES: [&str; 12] = [
    "00000000000000000000.segment",
    "00000000000000000007.segment",
    "00000000000000000050.segment",
    "09223372036854775807.segment",
    "18446744073709551615.segment",
    "new.lane",
    "new.dead",
    "new.versions",
    "none.versions",
    "segment.tmp",
    "reserve",
    "quarantine-some.lane-0",
];

/// A journal of two sinks, and one whose plugin was exchanged and left something in doubt.
fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let fixture = Fixture::new();
        let (log, writer, _) = try_open(&fixture.disk).unwrap();
        let mut third = reader(&log, "third");
        third.take_over(&Version { digest: "sha256:1".into(), version: "1".into() }).unwrap();
        let mut some = reader(&log, "some");
        for digest in ["sha256:1", "sha256:2"] {
            let version = Version { digest: digest.into(), version: "2".into() };
            some.take_over(&version).unwrap();
            let Next::Batch(batch) = some.next(&LIMITS) else { panic!("no batch") };
            let run = batch.position()..batch.position() + 1;
            some.settle(&batch, &[(run, Fate::Delivered)], Vec::new()).unwrap();
        }
        some.doubt(30..33, 7).unwrap();
        some.sync().unwrap();
        drop((log, writer, some, third));
        Fixture { disk: fixture.disk.copy(), ..fixture }
    })
}

/// The first byte says whether the files are only damaged, or may say anything with a good sum.
fn target(input: &[u8]) {
    let mut cut = Cut::new(input);
    let fixture = fixture();
    let disk = fixture.disk.copy();
    if cut.byte() % 2 == 0 {
        for _ in 0..MOST_CHANGES {
            if cut.is_empty() {
                break;
            }
            damage(&disk, &mut cut);
        }
        damaged(fixture, &disk);
    } else {
        for _ in 0..MOST_CHANGES {
            if cut.is_empty() {
                break;
            }
            if cut.byte() % 4 == 0 { damage(&disk, &mut cut) } else { forge(&disk, &mut cut) }
        }
        forged(&disk);
    }
}

/// One of the files.
fn pick(disk: &Disk, cut: &mut Cut<'_>) -> (String, Vec<u8>) {
    let names: Vec<_> = disk.sorted_names().into_iter().filter(|name| name != "lock").collect();
    let Some(name) = names.get(usize::from(cut.byte()) % names.len().max(1)) else {
        return (NAMES[0].to_owned(), Vec::new());
    };
    (name.clone(), disk.bytes(name).unwrap())
}

/// What disks do to files.
fn damage(disk: &Disk, cut: &mut Cut<'_>) {
    let kind = cut.byte();
    let (name, mut bytes) = pick(disk, cut);
    let at = cut.word() % bytes.len().max(1);
    match kind % 5 {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (cut.byte() % 8);
            }
        }
        1 => {
            let end = (at + cut.word()).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
        2 => bytes.truncate(at),
        3 => {
            let len = bytes.len() + usize::from(cut.byte());
            bytes.resize(len, cut.byte());
        }
        _ => return disk.displace(&name),
    }
    disk.place(&name, bytes);
}

/// What only a program does, with the sums that make it pass for the journal's own.
fn forge(disk: &Disk, cut: &mut Cut<'_>) {
    let kind = cut.byte() % 8;
    if kind == 0 {
        let name = *cut.choose(&NAMES);
        let len = cut.word();
        return disk.place(name, cut.bytes(len));
    }
    let (name, mut bytes) = pick(disk, cut);
    let at = cut.word() % (bytes.len() + 1);
    let len = usize::from(cut.byte());
    match kind {
        1 => {
            let new = cut.bytes(len);
            let end = (at + new.len()).min(bytes.len());
            bytes.splice(at..end, new.iter().copied());
        }
        2 => drop(bytes.splice(at..at, cut.bytes(len).iter().copied())),
        3 => drop(bytes.drain(at..(at + len).min(bytes.len()))),
        4 => bytes.extend_from_within(at..(at + 8 * len).min(bytes.len())),
        5 => {
            // A line in place of one, or behind the last.
            let json = cut.until(b'\n');
            let mut lines: Vec<_> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
            let line = [format!("{:08x} ", crc32fast::hash(json)).as_bytes(), json, b"\n"].concat();
            match lines.get_mut(len) {
                Some(old) => *old = &line,
                None => lines.push(&line),
            }
            bytes = lines.concat();
        }
        6 => mend_head(&mut bytes),
        _ => mend_frames(&mut bytes),
    }
    bytes.truncate(MOST_BYTES);
    disk.place(&name, bytes);
}

/// Makes the sum of a segment's header right.
fn mend_head(bytes: &mut [u8]) {
    if bytes.len() >= 64 {
        let sum = crc32fast::hash(&[&bytes[..12], &bytes[16..64]].concat());
        bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Makes the sums of all that looks like a frame right.
fn mend_frames(bytes: &mut [u8]) {
    let mut at = 64;
    while at + 40 <= bytes.len() {
        if bytes[at..].starts_with(b"wskF") {
            let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
            let end = (at + 40).saturating_add(len as usize);
            if let Some(payload) = bytes.get(at + 40..end) {
                let sum = crc32fast::hash(payload);
                bytes[at + 12..at + 16].copy_from_slice(&sum.to_le_bytes());
            }
            let sum = crc32fast::hash(&bytes[at + 8..at + 40]);
            bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        }
        at += 8;
    }
}

/// Whatever was damaged: what was not is given, all is accounted for once, and it goes on.
fn damaged(fixture: &Fixture, disk: &Disk) {
    outside(&disk.copy());
    let intact = |name: &str| disk.bytes(name) == fixture.disk.bytes(name);
    let lane_is_intact = intact("none.lane");
    let whole: Vec<_> = fixture
        .frames
        .iter()
        .filter(|frame| {
            let old = fixture.disk.bytes(&frame.segment).unwrap();
            let new = disk.bytes(&frame.segment).unwrap_or_default();
            new.get(frame.bytes.clone()) == Some(&old[frame.bytes.clone()])
        })
        .flat_map(|frame| frame.positions.clone())
        .collect();
    let examined = fixture.examine(disk);
    let none = &examined.sinks["none"];
    for position in whole {
        assert!(!lane_is_intact || none.given.contains(&position), "{position} is lost");
    }
}

/// Whatever the files say: it opens, or says why it does not, reads on to its end, and goes on.
fn forged(disk: &Disk) {
    outside(&disk.copy());
    let (log, mut writer) = match try_open(disk) {
        Ok((log, writer, _)) => (log, writer),
        Err(OpenError::Newer { file, .. } | OpenError::Foreign { file }) => {
            assert!(segments(disk).contains(&file), "{file}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    for sink in ["some", "none", "third", "new"] {
        let mut reader = log.reader(sink, WhenFull::DropOldest, u64::MAX).unwrap();
        read(&mut reader);
        let _provenance = log.provenance(sink).unwrap();
        let _letters = log.dead(sink, |_| true).unwrap();
        reader.end_doubt(Some(Fate::Delivered)).unwrap();
        reader.sync().unwrap();
    }
    let (run, known) = Maker::new().run(1, 33);
    writer.stage(run, usize::MAX);
    let at = match writer.commit() {
        Ok(positions) => positions.start,
        // It may be full of what nobody can take.
        Err(CommitError::Full { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    drop((log, writer));
    let (log, _writer, recovered) = try_open(disk).unwrap();
    // Dead letters without a lane were nobody's, until there was a reader.
    assert!(recovered.next > at, "{at} could be given again");
    let mut reader = reader(&log, "none");
    reader.pass(at);
    let Next::Batch(batch) = reader.next(&LIMITS) else { panic!("{at} is lost") };
    assert_eq!((batch.position(), batch.ids().next()), (at, Some(known[0].id)));
}

/// Reads all that there is, by every view, and settles a part of it.
fn read(reader: &mut Reader) {
    for _ in 0..MOST_ANSWERS {
        let before = reader.position();
        match reader.next(&LIMITS) {
            Next::Batch(batch) => {
                assert!(batch.position() < batch.end());
                let _records = batch.records().map(|records| records.count());
                for index in 0..batch.len() {
                    assert!(batch.line(index).is_some() && batch.id(index).is_some());
                }
                for encoding in [Encoding::Jsonl, Encoding::CloudEventsBatch] {
                    let _bytes = batch.encode(encoding);
                }
                let _columns = batch.usage_columns();
                let half = batch.position() + (batch.end() - batch.position()) / 2;
                let run = batch.position()..half + 1;
                reader.settle(&batch, &[(run, Fate::Delivered)], Vec::new()).unwrap();
                reader.pass(batch.end());
            }
            Next::Damaged(range) => {
                assert!(range.start < range.end);
                reader.give_up(range).unwrap();
            }
            Next::Empty => return,
            other => panic!("{other:?}"),
        }
        assert!(reader.position() >= before);
    }
    panic!("a reader does not come to an end");
}

/// Looks at it from outside, and mends it.
fn outside(disk: &Disk) {
    let offline = Offline::new(Arc::new(disk.clone()), Stream::Usage);
    let look = || {
        let inspection = offline.inspect().unwrap();
        let mut records = 0_u64;
        offline
            .records(0..u64::MAX, |_| {
                records += 1;
                records < 100_000
            })
            .unwrap();
        let _differences = offline.audit().unwrap();
        for sink in offline.sinks().unwrap() {
            let _letters = offline.dead(&sink, |_| true).unwrap();
            let _stretches = offline.provenance(&sink).unwrap();
        }
        inspection
    };
    look();
    offline.lock().unwrap().repair().unwrap();
    let mended = look();
    for segment in &mended.segments {
        assert!(segment.damaged.is_empty() && !segment.damaged_header, "{segment:?}");
    }
    match Log::open(Arc::new(disk.clone()), options(4 << 10)) {
        Ok(_) | Err(OpenError::Newer { .. } | OpenError::Foreign { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fuzz_target!(|input: &[u8]| target(input));
