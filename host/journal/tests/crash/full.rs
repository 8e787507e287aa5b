//! A disk that is full: nothing crashes, and room that sinks make is room for more.

use std::sync::Arc;

use wasink_journal::{CommitError, Durability, Fate, Log, Next, WhenFull};

use super::world::{limits, options};
use crate::simulated::disk::Disk;
use crate::simulated::records::{Maker, letter};

/// A disk with so little room that the journal's own bound is never met.
fn small_disk() -> Disk {
    let disk = Disk::new(3);
    // What is set aside for cursors, and a few segments.
    disk.faults(|faults| faults.capacity = Some((256 << 10) + (12 << 10)));
    disk
}

#[test]
fn on_a_full_disk_admission_stops_and_comes_back_by_itself_once_records_are_dealt_with() {
    let disk = small_disk();
    let (log, mut writer, _) =
        Log::open(Arc::new(disk.clone()), options(Durability::Disk, 0)).unwrap();
    let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
    let mut maker = Maker::new();
    let mut accepted = 0;
    let mut stopped = 0;
    for _ in 0..400 {
        if writer.staged() == 0 {
            writer.stage(maker.run(3, 100).0, usize::MAX);
        }
        match writer.commit() {
            Ok(positions) => {
                accepted = positions.end;
                assert_eq!(log.trouble(), None);
            }
            Err(CommitError::Disk(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                assert_eq!(log.trouble(), Some(error.to_string()));
                stopped += 1;
                // The sink goes on, with as much as it gets at a time.
                let Next::Batch(batch) = sink.next(&limits(7)) else { continue };
                let runs = [(batch.position()..batch.end(), Fate::Delivered)];
                sink.settle(&batch, &runs, Vec::new()).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(stopped > 50, "the disk was hardly ever full: {stopped}");
    assert!(accepted > 300, "admission did not come back: {accepted}");
    assert_eq!(sink.state().fates.delivered, sink.state().cursor);
}

#[test]
fn what_others_take_of_a_full_disk_does_not_keep_cursors_from_being_written() {
    let disk = small_disk();
    let (log, mut writer, _) =
        Log::open(Arc::new(disk.clone()), options(Durability::Disk, 0)).unwrap();
    let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
    writer.stage(Maker::new().run(5, 100).0, usize::MAX);
    let end = writer.commit().unwrap().end;
    let used = disk.used();
    disk.faults(|faults| faults.capacity = Some(used));
    let Next::Batch(batch) = sink.next(&limits(100)) else { panic!("no batch") };
    sink.settle(&batch, &[(0..end, Fate::Delivered)], Vec::new()).unwrap();
    sink.sync().unwrap();
    drop((log, writer, sink));
    let (log, ..) = Log::open(Arc::new(disk.clone()), options(Durability::Disk, 0)).unwrap();
    assert_eq!(log.lanes()["sink"].cursor, end);
}

#[test]
fn a_dead_letter_that_cannot_be_written_leaves_its_record_as_it_was() {
    let disk = Disk::new(3);
    let (log, mut writer, _) =
        Log::open(Arc::new(disk.clone()), options(Durability::Disk, 0)).unwrap();
    let mut sink = log.reader("sink", WhenFull::Block, u64::MAX).unwrap();
    let (run, known) = Maker::new().run(2, 0);
    writer.stage(run, usize::MAX);
    writer.commit().unwrap();
    let Next::Batch(batch) = sink.next(&limits(100)) else { panic!("no batch") };
    let runs = [(0..1, Fate::Rejected), (1..2, Fate::Delivered)];
    let letters = || vec![letter(0, &known[0], Fate::Rejected)];
    disk.faults(|faults| faults.file_syncs = 1);
    assert!(sink.settle(&batch, &runs, letters()).is_err());
    assert_eq!(sink.state().fates.sum(), 0);
    sink.settle(&batch, &runs, letters()).unwrap();
    assert_eq!((sink.state().cursor, sink.state().fates.rejected), (2, 1));
    let (letters, damaged) = crate::simulated::dead::letters(&disk, "sink");
    assert_eq!((letters.len(), damaged), (1, 0));
}
