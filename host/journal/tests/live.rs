//! Lanes mended while the journal is open, as an operator does through the process that has it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tempfile::TempDir;
use wasink_journal::{
    Batch, BatchLimits, DeadLetter, Directory, Durability, Fate, Log, LogOptions, Next, Offline,
    Reader, Storage, Stretch, Version, WhenFull, Writer,
};
use wasink_record::{IdSource, Stamped, Stream, Timestamp, UsageEvent};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

fn options() -> LogOptions {
    LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability: Durability::Disk,
        bytes: 1 << 20,
        segment_bytes: 4 << 10,
        // Read from disk, so that going back has to find it there.
        memory: 0,
    }
}

fn storage(directory: &TempDir) -> Arc<dyn Storage> {
    let dir = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
    Arc::new(Directory::new(dir))
}

fn open(directory: &TempDir) -> (Log, Writer) {
    let (log, writer, _) = Log::open(storage(directory), options()).unwrap();
    (log, writer)
}

fn offline(directory: &TempDir) -> Offline {
    Offline::new(storage(directory), Stream::Usage)
}

fn append(writer: &mut Writer, rids: Range<u64>) {
    let ids = IdSource::new(3);
    let record = |rid: u64| {
        let tenant = if rid.is_multiple_of(3) { "bolt" } else { "acme" };
        let event = UsageEvent::builder(rid.to_string(), tenant, "http", "shop").build();
        Stamped::new(ids.next(NOW), NOW, event.into())
    };
    writer.stage(rids.map(record).collect(), 1 << 20);
    writer.commit().unwrap();
}

fn next(reader: &mut Reader) -> Next {
    reader.next(&BatchLimits {
        records: NonZeroU32::new(1000).unwrap(),
        bytes: NonZeroU64::new(1 << 20).unwrap(),
        age: Duration::ZERO,
    })
}

fn batch(reader: &mut Reader) -> Batch {
    match next(reader) {
        Next::Batch(batch) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

fn letter(batch: &Batch, index: usize) -> DeadLetter {
    let line = batch.line(index).unwrap();
    DeadLetter::new(
        Stream::Usage,
        batch.position() + index as u64,
        (batch.id(index).unwrap(), batch.time(index).unwrap()),
        Fate::Rejected,
        "no such customer".to_owned(),
        (2, NOW, NOW),
        ("billing".to_owned(), "sha256:00".to_owned()),
        String::from_utf8(line.trim_ascii_end().to_vec()).unwrap(),
    )
}

/// Ten records, of which the sink has five delivered and three rejected.
fn journal() -> (TempDir, Log, Writer, Reader) {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(&directory);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    append(&mut writer, 0..4);
    append(&mut writer, 4..10);
    let batch = batch(&mut reader);
    let runs = [(0..5, Fate::Delivered), (5..8, Fate::Rejected)];
    let dead = (5..8).map(|index| letter(&batch, index)).collect();
    reader.settle(&batch, &runs, dead).unwrap();
    (directory, log, writer, reader)
}

fn positions(log: &Log) -> Vec<u64> {
    let dead = log.dead("a", |_| true).unwrap();
    dead.letters.iter().map(|letter| letter.position).collect()
}

#[test]
fn a_letter_that_is_delivered_after_all_counts_so_once_and_is_gone() {
    let (directory, log, writer, mut reader) = journal();
    let dead = log.dead("a", |letter| letter.position != 5).unwrap().letters;
    let [six, seven] = &dead[..] else { panic!("{dead:?}") };
    let both = [(six.clone(), Fate::Delivered), (seven.clone(), Fate::Duplicate)];
    reader.resolve(&both, NOW).unwrap();
    // Somebody else had the same thought.
    reader.resolve(&both[..1], NOW).unwrap();
    let state = reader.state();
    let fates = state.fates;
    assert_eq!((fates.delivered, fates.duplicate, fates.rejected), (6, 1, 1));
    assert_eq!((state.tenants["bolt"].delivered, state.tenants["bolt"].rejected), (3, 0));
    assert_eq!(positions(&log), [5]);
    assert_eq!(offline(&directory).audit().unwrap(), []);
    drop((log, writer, reader));
    let (log, _writer) = open(&directory);
    assert_eq!(log.lane("a").unwrap(), state);
}

#[test]
fn purged_letters_leave_no_bytes_behind_and_later_ones_come_behind_those_that_stay() {
    let (directory, log, writer, mut reader) = journal();
    assert_eq!(reader.purge(&[5, 7, 99]).unwrap(), 2);
    assert_eq!(reader.purge(&[5, 7, 99]).unwrap(), 0);
    assert_eq!((positions(&log), reader.state().fates.rejected), (vec![6], 3));
    let text = std::fs::read_to_string(directory.path().join("a.dead")).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let rest = batch(&mut reader);
    reader.settle(&rest, &[(8..9, Fate::Rejected)], vec![letter(&rest, 0)]).unwrap();
    assert_eq!(positions(&log), [6, 8]);
    drop((log, writer, reader));
    assert_eq!(offline(&directory).audit().unwrap(), []);
    let (log, _writer) = open(&directory);
    assert_eq!(positions(&log), [6, 8]);
}

#[test]
fn what_is_in_doubt_is_given_again_or_not_as_a_person_says() {
    for fate in [None, Some(Fate::Delivered)] {
        let (directory, log, writer, mut reader) = journal();
        assert_eq!(reader.end_doubt(fate).unwrap(), None);
        reader.doubt(8..10, 5).unwrap();
        let held = batch(&mut reader);
        assert_eq!(reader.doubtful(&held), Some(5));
        reader.pass(held.end());
        assert_eq!(reader.end_doubt(fate).unwrap(), Some(8..10));
        assert_eq!(reader.end_doubt(fate).unwrap(), None);
        if fate.is_some() {
            assert!(matches!(next(&mut reader), Next::Empty));
            assert_eq!((reader.state().cursor, reader.state().fates.delivered), (10, 7));
            assert_eq!(reader.state().tenants["bolt"].delivered, 3);
        } else {
            let again = batch(&mut reader);
            assert_eq!((again.position(), reader.doubtful(&again)), (8, None));
        }
        drop((log, writer, reader));
        assert_eq!(offline(&directory).audit().unwrap(), []);
    }
}

#[test]
fn a_log_in_memory_has_no_letters_to_mend_and_ends_doubt_all_the_same() {
    let (log, mut writer) = Log::in_memory(options(), 0);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    append(&mut writer, 0..4);
    let all = batch(&mut reader);
    reader.settle(&all, &[(0..1, Fate::Rejected)], vec![letter(&all, 0)]).unwrap();
    assert_eq!(log.dead("a", |_| true).unwrap().letters, []);
    assert_eq!(reader.purge(&[0]).unwrap(), 0);
    reader.resolve(&[(letter(&all, 0), Fate::Delivered)], NOW).unwrap();
    assert_eq!(reader.state().fates.rejected, 1);
    reader.doubt(1..3, 5).unwrap();
    assert_eq!(reader.end_doubt(Some(Fate::Delivered)).unwrap(), Some(1..3));
    assert_eq!(batch(&mut reader).position(), 3);
}

fn version(digest: impl Into<String>) -> Version {
    Version { digest: digest.into(), version: "1.0".to_owned() }
}

/// Whose doing which positions are, and what became of how many.
type Told<'a> = (&'a str, Vec<(u64, u64)>, u64);

fn told(stretches: &[Stretch]) -> Vec<Told<'_>> {
    let mut told = Vec::new();
    for stretch in stretches {
        let pairs = stretch.ranges.iter().map(|range| (range.start, range.end)).collect();
        told.push((stretch.digest.as_str(), pairs, stretch.fates.sum()));
    }
    told
}

#[test]
fn what_each_version_settled_is_told_by_the_open_log_and_from_outside() {
    let (directory, log, writer, mut reader) = journal();
    reader.take_over(&version("one")).unwrap();
    let rest = batch(&mut reader);
    reader.settle(&rest, &[(9..10, Fate::Delivered)], Vec::new()).unwrap();
    reader.take_over(&version("one")).unwrap();
    reader.take_over(&version("two")).unwrap();
    reader.settle(&rest, &[(8..9, Fate::Duplicate)], Vec::new()).unwrap();
    // What becomes of a letter later is nobody's doing here.
    let dead = log.dead("a", |_| true).unwrap().letters;
    reader.resolve(&[(dead[0].clone(), Fate::Delivered)], NOW).unwrap();
    reader.take_over(&version("one")).unwrap();
    let expected = [
        ("", vec![(0, 8)], 8),
        ("one", vec![(9, 10)], 1),
        ("two", vec![(8, 9)], 1),
        ("one", vec![], 0),
    ];
    let stretches = log.provenance("a").unwrap();
    assert_eq!(told(&stretches), expected);
    assert_eq!(stretches[0].fates.rejected, 3);
    assert!(stretches[0].since == 0 && stretches[1].since > 0, "{stretches:?}");
    assert!(stretches[1].since <= stretches[2].since);
    assert_eq!(offline(&directory).provenance("a").unwrap(), stretches);
    drop((log, writer, reader));
    let (log, _writer) = open(&directory);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    reader.take_over(&version("one")).unwrap();
    assert_eq!(log.provenance("a").unwrap(), stretches, "nothing has changed");
    assert_eq!(offline(&directory).audit().unwrap(), []);
    assert_eq!(log.provenance("nobody").unwrap(), []);
}

#[test]
fn ten_thousand_versions_in_a_run_are_each_told_with_what_they_settled() {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(&directory);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    append(&mut writer, 0..1000);
    let all = batch(&mut reader);
    for swap in 0..10_000 {
        reader.take_over(&version(format!("sha256:{swap:064}"))).unwrap();
        if swap % 10 == 0 {
            let position = swap / 10;
            reader.settle(&all, &[(position..position + 1, Fate::Delivered)], Vec::new()).unwrap();
        }
    }
    let lane = std::fs::metadata(directory.path().join("a.lane")).unwrap().len();
    assert!(lane < 1 << 20, "the lane's own file is written anew: {lane}");
    let stretches = log.provenance("a").unwrap();
    drop((log, writer, reader));
    assert_eq!(offline(&directory).provenance("a").unwrap(), stretches);
    assert_eq!(stretches.len(), 10_000);
    for (swap, stretch) in (0..).zip(&stretches) {
        assert_eq!(stretch.digest, format!("sha256:{swap:064}"));
        let settled = (swap % 10 == 0).then_some(swap / 10..swap / 10 + 1);
        assert_eq!(stretch.ranges, settled.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn with_damaged_lines_nobody_is_said_to_have_done_what_another_did() {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(&directory);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    append(&mut writer, 0..8);
    let all = batch(&mut reader);
    for position in 0..6 {
        reader.take_over(&version(format!("v{position}"))).unwrap();
        reader.settle(&all, &[(position..position + 1, Fate::Delivered)], Vec::new()).unwrap();
        if position == 2 {
            // So many lines that the file is written anew.
            for swap in 0..4000 {
                reader.take_over(&version(format!("{swap}"))).unwrap();
            }
        }
    }
    drop((log, writer, reader));
    for name in ["a.lane", "a.versions"] {
        let file = directory.path().join(name);
        let whole = std::fs::read(&file).unwrap();
        let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let ends: Vec<usize> = ends.map(|(at, _)| at).collect();
        let places = ends.iter().take(30).chain(ends.iter().rev().take(20));
        for end in places.filter(|end| **end > 10) {
            let mut damaged = whole.clone();
            damaged[end - 3] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            let journal = offline(&directory);
            let stretches = journal.provenance("a").unwrap();
            let inspection = journal.inspect().unwrap();
            let lane = &inspection.lanes["a"];
            assert_eq!(lane.damaged_lines + lane.damaged_versions, 1, "{name} {end}");
            let state = lane.state.as_ref().unwrap();
            let sum: u64 = stretches.iter().map(|stretch| stretch.fates.sum()).sum();
            assert_eq!(sum, state.fates.sum());
            for stretch in &stretches {
                for position in stretch.ranges.iter().cloned().flatten() {
                    let by = stretch.digest.as_str();
                    assert!(by.is_empty() || by == format!("v{position}"), "{by}: {position}");
                }
            }
        }
        std::fs::write(&file, &whole).unwrap();
    }
    // And repair takes the line out, and keeps it.
    let file = directory.path().join("a.versions");
    let mut text = std::fs::read(&file).unwrap();
    text[20] ^= 1;
    std::fs::write(&file, &text).unwrap();
    let journal = offline(&directory);
    let receipt = journal.lock().unwrap().repair().unwrap();
    assert_eq!(receipt.versions, ["a.versions"]);
    let inspection = journal.inspect().unwrap();
    assert_eq!(inspection.lanes["a"].damaged_versions, 0);
    assert!(inspection.quarantined.iter().any(|name| name.contains("a.versions")));
    assert_eq!((inspection.strangers.len(), journal.audit().unwrap().len()), (0, 0));
}

#[test]
fn a_sink_that_comes_later_begins_at_the_end_and_one_that_comes_back_where_it_was() {
    let (directory, log, mut writer, reader) = journal();
    let mut late = log.reader("late", WhenFull::Block, u64::MAX).unwrap();
    assert_eq!((late.state().origin, late.state().cursor), (10, 10));
    assert!(matches!(next(&mut late), Next::Empty));
    drop(reader);
    assert_eq!(log.orphans(), [("a".to_owned(), 2)]);
    append(&mut writer, 10..14);
    assert_eq!((batch(&mut late).position(), batch(&mut late).len()), (10, 4));
    let mut back = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    let error = log.reader("a", WhenFull::Block, u64::MAX).unwrap_err();
    assert!(error.to_string().contains("`a` reads this log already"), "{error}");
    let rest = batch(&mut back);
    assert_eq!((rest.position(), rest.end()), (8, 14));
    assert_eq!(offline(&directory).audit().unwrap(), []);
    drop((log, writer, back, late));
    let (log, _writer) = open(&directory);
    assert_eq!(log.lane("late").unwrap().origin, 10);
    assert_eq!(offline(&directory).audit().unwrap(), []);
}

#[test]
fn a_sink_that_is_gone_stands_in_nobodys_way_and_loses_its_oldest_first() {
    let directory = tempfile::tempdir().unwrap();
    let small = LogOptions { bytes: 16 << 10, ..options() };
    let (log, mut writer, _) = Log::open(storage(&directory), small).unwrap();
    let gone = log.reader("gone", WhenFull::Reject, 1 << 10).unwrap();
    append(&mut writer, 0..4);
    drop(gone);
    for run in 1..40 {
        append(&mut writer, 4 * run..4 * run + 4);
    }
    let left = log.lane("gone").unwrap();
    assert!(left.fates.dropped > 0 && left.cursor < 160, "{left:?}");
    let mut back = log.reader("gone", WhenFull::Block, u64::MAX).unwrap();
    let rest = batch(&mut back);
    assert_eq!((rest.position(), rest.end()), (left.cursor, 160));
    assert_eq!(offline(&directory).audit().unwrap(), []);
}
