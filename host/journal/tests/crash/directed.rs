//! Histories that chance hardly ever finds.

use std::sync::Arc;

use wasink_journal::{
    CommitError, Durability, Fate, Log, LogOptions, Next, Version, WhenFull, Writer,
};

use super::world::{limits, options};
use crate::simulated::dead;
use crate::simulated::disk::{Crash, Disk};
use crate::simulated::records::{Maker, letter};

fn open(disk: &Disk) -> (Log, Writer) {
    let (log, writer, _) = Log::open(Arc::new(disk.clone()), options(Durability::Disk, 0)).unwrap();
    (log, writer)
}

#[test]
fn a_segment_whose_name_a_killed_process_left_undone_is_there_for_good_once_it_is_used() {
    // Nobody reads: no lane's file brings the names to the disk on the way.
    for operations in 0..12 {
        for seed in 0..20 {
            let mut maker = Maker::new();
            let disk = Disk::new(seed);
            let (_log, mut writer) = open(&disk);
            writer.stage(maker.run(2, 0).0, usize::MAX);
            disk.faults(|faults| faults.dies_in = Some(operations));
            drop(writer.commit());
            let disk = disk.crash(Crash::Kill);
            let (_log, mut writer) = open(&disk);
            writer.stage(maker.run(3, 0).0, usize::MAX);
            let end = writer.commit().unwrap().end;
            let disk = disk.crash(Crash::Power);
            let (log, _) = open(&disk);
            assert_eq!(log.end(), end, "killed in operation {operations}, seed {seed}");
        }
    }
}

#[test]
fn a_segment_stays_while_the_cursor_behind_it_cannot_be_brought_to_the_disk() {
    for seed in 0..50 {
        let disk = Disk::new(seed);
        let (log, mut writer) = open(&disk);
        let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        let mut maker = Maker::new();
        for _ in 0..20 {
            writer.stage(maker.run(3, 100).0, usize::MAX);
            writer.commit().unwrap();
        }
        let end = log.end();
        let Next::Batch(batch) = sink.next(&limits(40)) else { panic!("no batch") };
        let runs = [(batch.position()..batch.end(), Fate::Delivered)];
        disk.faults(|faults| faults.file_syncs = u32::MAX);
        assert!(sink.settle(&batch, &runs, Vec::new()).is_err(), "no segment was passed");
        let disk = disk.crash(Crash::Kill);
        drop((log, writer, sink));
        let (log, writer) = open(&disk);
        let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        // What is written is read, where the failure has not taken that as well, and could still be
        // lost.
        assert!(sink.state().cursor == 0 || sink.sync().is_err());
        drop(sink.give_up(0..0));
        let disk = disk.crash(Crash::Power);
        drop((log, writer, sink));
        disk.faults(|faults| faults.file_syncs = 0);
        let (log, _writer) = open(&disk);
        let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        let mut at = sink.state().cursor;
        while at < end {
            let Next::Batch(batch) = sink.next(&limits(40)) else { panic!("{at} is lost") };
            assert_eq!(batch.position(), at);
            at = batch.end();
            sink.pass(at);
        }
    }
}

#[test]
fn opening_reads_no_more_of_a_long_backlog_than_of_a_short_one() {
    let read = |commits: usize| {
        let disk = Disk::new(1);
        let large = LogOptions { bytes: u64::MAX, ..options(Durability::Disk, 0) };
        let (log, mut writer, _) = Log::open(Arc::new(disk.clone()), large.clone()).unwrap();
        drop(log.reader("sink", WhenFull::Block, u64::MAX).unwrap());
        let mut maker = Maker::new();
        for _ in 0..commits {
            writer.stage(maker.run(4, 100).0, usize::MAX);
            writer.commit().unwrap();
        }
        let disk = disk.crash(Crash::Kill);
        let before = disk.read_bytes();
        let (log, ..) = Log::open(Arc::new(disk.clone()), large).unwrap();
        assert_eq!(log.orphans(), [("sink".to_owned(), 4 * commits as u64)]);
        disk.read_bytes() - before
    };
    let (short, long) = (read(10), read(1000));
    assert!(
        long <= short.max(8 << 10),
        "{short} bytes are read of a short one, {long} of a long one"
    );
}

#[test]
fn a_cursor_that_could_not_be_synced_is_synced_before_a_full_journal_takes_more() {
    let disk = Disk::new(1);
    let (log, mut writer) = open(&disk);
    let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
    let mut maker = Maker::new();
    let full = loop {
        writer.stage(maker.run(3, 100).0, usize::MAX);
        match writer.commit() {
            Ok(_) => {}
            Err(full) => break full,
        }
    };
    assert!(matches!(full, CommitError::Full { .. }), "{full}");
    let Next::Batch(batch) = sink.next(&limits(1000)) else { panic!("no batch") };
    let runs = [(batch.position()..batch.end(), Fate::Delivered)];
    disk.faults(|faults| faults.file_syncs = 2);
    assert!(sink.settle(&batch, &runs, Vec::new()).is_err());
    let before = log.bytes();
    writer.commit().unwrap();
    assert!(log.bytes() < before, "{} bytes were held, and {} are", before, log.bytes());
}

#[test]
fn a_letter_that_a_failed_sync_left_in_sight_is_on_the_disk_before_its_record_counts() {
    let mut in_sight = 0;
    for seed in 0..50 {
        let disk = Disk::new(seed);
        let (log, mut writer) = open(&disk);
        let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        let (run, known) = Maker::new().run(1, 600);
        writer.stage(run, usize::MAX);
        writer.commit().unwrap();
        let runs = [(0..1, Fate::Rejected)];
        let letters = || vec![letter(0, &known[0], Fate::Rejected)];
        let Next::Batch(batch) = sink.next(&limits(1)) else { panic!("no batch") };
        // Made, named, written, not synced, and the process ends before that is taken back.
        disk.faults(|faults| (faults.file_syncs, faults.dies_in) = (1, Some(4)));
        assert!(sink.settle(&batch, &runs, letters()).is_err());
        let disk = disk.crash(Crash::Kill);
        drop((log, writer, sink));
        in_sight += dead::letters(&disk, "sink").0.len();
        let (log, _writer) = open(&disk);
        let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        let Next::Batch(batch) = sink.next(&limits(1)) else { panic!("no batch") };
        sink.settle(&batch, &runs, letters()).unwrap();
        sink.sync().unwrap();
        let disk = disk.crash(Crash::Power);
        assert_eq!(dead::letters(&disk, "sink").0.len(), 1, "seed {seed}");
    }
    assert!(in_sight > 5, "hardly any letter was in sight: {in_sight}");
}

#[test]
fn a_sink_that_comes_while_records_do_is_not_forgotten_once_they_are_accepted() {
    for seed in 0..40 {
        let mut maker = Maker::new();
        let disk = Disk::new(seed);
        let (log, mut writer) = open(&disk);
        writer.stage(maker.run(2, 0).0, usize::MAX);
        let origin = writer.commit().unwrap().end;
        let reader = log.reader("late", WhenFull::Block, u64::MAX).unwrap();
        // One that the directory's sync was refused for is not told that it is there for good.
        disk.faults(|faults| faults.directory_syncs = 1);
        writer.stage(maker.run(3, 0).0, usize::MAX);
        assert!(matches!(writer.commit(), Err(CommitError::Disk(_))), "its name was not synced");
        let end = writer.commit().unwrap().end;
        let disk = disk.crash(Crash::Power);
        drop((log, writer, reader));
        let (log, _writer) = open(&disk);
        let mut reader = log.reader("late", WhenFull::Block, u64::MAX).unwrap();
        let Next::Batch(batch) = reader.next(&limits(9)) else { panic!("it is forgotten") };
        assert_eq!((reader.state().origin, batch.position(), batch.end()), (origin, origin, end));
    }
}

#[test]
fn a_sink_that_was_synced_before_anything_was_accepted_is_known_after_a_loss_of_power() {
    for seed in 0..40 {
        let disk = Disk::new(seed);
        let (log, writer) = open(&disk);
        let mut reader = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
        reader.sync().unwrap();
        let disk = disk.crash(Crash::Power);
        drop((log, writer, reader));
        let (log, _writer) = open(&disk);
        assert!(log.lane("sink").is_some(), "seed {seed}");
    }
}

#[test]
fn what_a_version_settled_stays_its_doing_while_its_lane_is_written_anew() {
    let version = |digest: &str| Version { digest: digest.to_owned(), version: String::new() };
    for operations in 0..16 {
        for seed in 0..40 {
            let mut maker = Maker::new();
            let disk = Disk::new(seed);
            let (log, mut writer) = open(&disk);
            let mut reader = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
            for digest in ["one", "two"] {
                reader.take_over(&version(digest)).unwrap();
                writer.stage(maker.run(3, 0).0, usize::MAX);
                writer.commit().unwrap();
                let Next::Batch(batch) = reader.next(&limits(9)) else { panic!("no batch") };
                let runs = [(batch.position()..batch.end(), Fate::Delivered)];
                reader.settle(&batch, &runs, Vec::new()).unwrap();
                reader.pass(batch.end());
            }
            reader.sync().unwrap();
            let middle = log.end() - 3;
            // What a failed sync leaves behind is not trusted: the lane is written anew.
            disk.faults(|faults| {
                faults.file_syncs = 1;
                faults.dies_in = Some(operations);
            });
            drop(reader.take_over(&version("three")));
            drop(reader.sync());
            let disk = disk.crash(Crash::Power);
            drop((log, writer, reader));
            let (log, _writer) = open(&disk);
            let stretches = log.provenance("sink").unwrap();
            let by = |position: u64| {
                let of = |range: &std::ops::Range<u64>| range.contains(&position);
                stretches
                    .iter()
                    .find(|one| one.ranges.iter().any(of))
                    .map(|one| one.digest.as_str())
            };
            let told = [by(middle - 1), by(middle)];
            assert_eq!(told, [Some("one"), Some("two")], "dies in {operations}, seed {seed}");
        }
    }
}
