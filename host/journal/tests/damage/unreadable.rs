//! Blocks that the disk does not give back.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasink_journal::{CommitError, Log, Next, Reader, WhenFull, Writer};

use super::fixture::{Frame, LIMITS, append, options, reader};
use crate::simulated::disk::{BLOCK, Crash, Disk};
use crate::simulated::records::{Known, Maker};

/// A journal whose first segment is of some blocks, and its frames.
fn journal(disk: &Disk) -> (Log, Writer, Vec<Frame>, Vec<Known>) {
    let (log, mut writer, _) = Log::open(Arc::new(disk.clone()), options(16 << 10)).unwrap();
    drop(reader(&log, "sink"));
    let mut maker = Maker::new();
    let (mut frames, mut records) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let (known, frame) = append(disk, &mut writer, &mut maker, 3);
        frames.push(frame);
        records.extend(known);
    }
    (log, writer, frames, records)
}

/// The positions of the records that lie in the block.
fn inside(frames: &[Frame], segment: &str, block: u64) -> BTreeSet<u64> {
    let (from, to) = (block * BLOCK, (block + 1) * BLOCK);
    let hit = |frame: &&Frame| {
        // What a frame ends with is not needed.
        let (begin, end) = (frame.bytes.start as u64, frame.bytes.end as u64 - 40);
        frame.segment == segment && begin < to && from < end
    };
    frames.iter().filter(hit).flat_map(|frame| frame.positions.clone()).collect()
}

/// Reads all there is, skipping what can't be read.
fn read_around(sink: &mut Reader, records: &[Known]) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let (mut given, mut damaged) = (BTreeSet::new(), BTreeSet::new());
    loop {
        match sink.next(&LIMITS) {
            Next::Batch(batch) => {
                let position = usize::try_from(batch.position()).unwrap();
                let known = records[position..].iter().map(|known| known.id);
                assert!(batch.ids().eq(known.take(batch.len())));
                given.extend(batch.position()..batch.end());
                sink.pass(batch.end());
            }
            Next::Damaged(range) => {
                damaged.extend(range.clone());
                sink.give_up(range).unwrap();
            }
            Next::Failed(_) => sink.skip_unreadable(),
            Next::Empty => return (given, damaged),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn records_before_what_cannot_be_read_are_given_and_the_failure_stays_until_it_is_skipped() {
    let disk = Disk::new(1);
    let (log, _writer, frames, records) = journal(&disk);
    let segment = frames[0].segment.clone();
    disk.spoil(&segment, BLOCK);
    let hit = inside(&frames, &segment, 1);
    let first = *hit.first().unwrap();
    let mut sink = reader(&log, "sink");
    let mut given = 0;
    while given < first {
        let Next::Batch(batch) = sink.next(&LIMITS) else { panic!("no batch at {given}") };
        assert_eq!(batch.position(), given);
        given = batch.end();
        sink.pass(given);
    }
    assert_eq!(given, first);
    for _ in 0..3 {
        assert!(matches!(sink.next(&LIMITS), Next::Failed(_)));
    }
    sink.skip_unreadable();
    let (given, damaged) = read_around(&mut sink, &records);
    assert_eq!(damaged, hit);
    assert_eq!(given, (hit.last().unwrap() + 1..log.end()).collect());
    assert_eq!(sink.state().fates.damaged, hit.len() as u64);

    let names = disk.sorted_names();
    let receipt = names.iter().find(|name| name.ends_with(".json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_slice(&disk.bytes(receipt).unwrap()).unwrap();
    assert_eq!(receipt["unreadable_bytes"], BLOCK);
    let copy = disk.bytes(receipt["copy"].as_str().unwrap()).unwrap();
    assert_eq!(receipt["bytes"], copy.len());
    assert!(copy.len() as u64 > BLOCK && copy.iter().any(|&byte| byte != 0));
}

#[test]
fn a_journal_opens_with_any_block_unreadable_and_gives_the_rest() {
    let disk = Disk::new(1);
    let (log, writer, frames, records) = journal(&disk);
    drop((log, writer));
    let disk = disk.crash(Crash::Power);
    let end = records.len() as u64;
    let mut names: Vec<_> = frames.iter().map(|frame| frame.segment.clone()).collect();
    names.dedup();
    for name in names {
        let blocks = (disk.bytes(&name).unwrap().len() as u64).div_ceil(BLOCK);
        for block in 0..blocks {
            let disk = disk.copy();
            disk.spoil(&name, block * BLOCK);
            let (log, mut writer, _) =
                Log::open(Arc::new(disk.clone()), options(16 << 10)).unwrap();
            let hit = inside(&frames, &name, block);
            let mut sink = reader(&log, "sink");
            let (given, damaged) = read_around(&mut sink, &records);
            assert_eq!(given, (0..end).filter(|at| !hit.contains(at)).collect(), "{name} {block}");
            assert!(damaged.is_superset(&hit), "{name} {block}");
            assert_eq!(sink.state().fates.damaged + given.len() as u64, log.end());
            // No position that can't be read is given again.
            let (run, _) = Maker::new().run(1, 0);
            writer.stage(run, usize::MAX);
            assert!(writer.commit().unwrap().start >= end, "{name} {block}");
        }
    }
}

#[test]
fn a_segment_that_is_gone_while_it_is_wanted_is_damaged_once_it_is_skipped() {
    let disk = Disk::new(1);
    let (log, _writer, frames, records) = journal(&disk);
    disk.displace(&frames[0].segment);
    let of = frames.iter().filter(|frame| frame.segment == frames[0].segment);
    let gone: BTreeSet<u64> = of.flat_map(|frame| frame.positions.clone()).collect();
    let mut sink = reader(&log, "sink");
    assert!(matches!(sink.next(&LIMITS), Next::Failed(_)));
    let (given, damaged) = read_around(&mut sink, &records);
    assert_eq!(damaged, gone);
    assert_eq!(given, (gone.len() as u64..log.end()).collect());
}

#[test]
fn what_cannot_be_read_can_be_given_up_for_newer_records() {
    let disk = Disk::new(1);
    let small = wasink_journal::LogOptions { bytes: 32 << 10, ..options(4 << 10) };
    let (log, mut writer, _) = Log::open(Arc::new(disk.clone()), small).unwrap();
    let sink = log.reader("sink", WhenFull::DropOldest, u64::MAX).unwrap();
    let mut maker = Maker::new();
    let (_, frame) = append(&disk, &mut writer, &mut maker, 3);
    disk.spoil(&frame.segment, 0);
    for _ in 0..100 {
        writer.stage(maker.run(3, 20).0, usize::MAX);
        let committed = writer.commit();
        assert!(!matches!(committed, Err(CommitError::Disk(_))), "{committed:?}");
    }
    let state = sink.state();
    assert!(state.fates.dropped > 0);
    assert_eq!(state.fates.sum(), state.cursor);
}

#[test]
fn damage_that_cannot_be_put_aside_is_come_by_again() {
    let disk = Disk::new(1);
    let (log, _writer, frames, _) = journal(&disk);
    let mut bytes = disk.bytes(&frames[1].segment).unwrap();
    bytes[frames[1].bytes.start + 50] ^= 1;
    disk.place(&frames[1].segment, bytes);
    let mut sink = reader(&log, "sink");
    sink.pass(frames[1].positions.start);
    disk.faults(|faults| faults.writes = 1);
    assert!(matches!(sink.next(&LIMITS), Next::Failed(_)));
    let receipts =
        || disk.sorted_names().into_iter().filter(|name| name.ends_with(".json")).count();
    assert_eq!(receipts(), 0);
    let Next::Damaged(range) = sink.next(&LIMITS) else { panic!("not damaged") };
    assert_eq!((range, receipts()), (frames[1].positions.clone(), 1));
}
