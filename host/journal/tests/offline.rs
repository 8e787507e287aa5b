//! Journals looked at and mended from outside, in a real directory.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tempfile::TempDir;
use wasink_journal::{
    Batch, BatchLimits, DeadLetter, Directory, Durability, Fate, Log, LogOptions, Next, Offline,
    OpenError, Reader, Storage, WhenFull, Writer,
};
use wasink_record::{IdSource, Stamped, Stream, Timestamp, UsageEvent};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

fn storage(directory: &Path) -> Arc<dyn Storage> {
    Arc::new(Directory::new(Dir::open_ambient_dir(directory, ambient_authority()).unwrap()))
}

fn offline(directory: &TempDir) -> Offline {
    Offline::new(storage(directory.path()), Stream::Usage)
}

fn open(directory: &TempDir) -> (Log, Writer) {
    let options = LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability: Durability::Disk,
        bytes: 1 << 20,
        segment_bytes: 4 << 10,
        memory: 1 << 20,
    };
    let (log, writer, _) = Log::open(storage(directory.path()), options).unwrap();
    (log, writer)
}

fn append(writer: &mut Writer, rids: std::ops::Range<u64>) {
    let ids = IdSource::new(3);
    let record = |rid: u64| {
        let tenant = if rid.is_multiple_of(3) { "bolt" } else { "acme" };
        let event = UsageEvent::builder(rid.to_string(), tenant, "http", "shop").build();
        Stamped::new(ids.next(NOW), NOW, event.into())
    };
    writer.stage(rids.map(record).collect(), 1 << 20);
    writer.commit().unwrap();
}

fn batch(reader: &mut Reader) -> Batch {
    let limits = BatchLimits {
        records: NonZeroU32::new(1000).unwrap(),
        bytes: NonZeroU64::new(1 << 20).unwrap(),
        age: Duration::ZERO,
    };
    match reader.next(&limits) {
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

/// Ten records, of which the sink `a` has five delivered and two rejected.
fn journal() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let (log, mut writer) = open(&directory);
    let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
    append(&mut writer, 0..4);
    append(&mut writer, 4..10);
    let batch = batch(&mut reader);
    let runs = [(0..5, Fate::Delivered), (5..7, Fate::Rejected)];
    let dead = vec![letter(&batch, 5), letter(&batch, 6)];
    reader.settle(&batch, &runs, dead).unwrap();
    directory
}

#[test]
fn what_is_there_is_told_and_adds_up() {
    let directory = journal();
    let journal = offline(&directory);
    let found = journal.inspect().unwrap();
    assert_eq!((found.end, found.segments.len()), (10, 1));
    assert_eq!((found.accepted["bolt"], found.accepted["acme"]), (4, 6));
    let lane = &found.lanes["a"];
    let state = lane.state.as_ref().unwrap();
    assert_eq!((state.cursor, state.fates.delivered, state.fates.rejected), (7, 5, 2));
    assert_eq!((lane.dead, lane.damaged_lines), (2, 0));
    assert_eq!(found.strangers, Vec::<String>::new());
    assert_eq!(journal.audit().unwrap(), []);

    let mut positions = Vec::new();
    journal
        .records(3..6, |record| {
            positions.push(record.position);
            assert!(record.line.ends_with(b"}\n"));
            true
        })
        .unwrap();
    assert_eq!(positions, [3, 4, 5]);
}

#[test]
fn an_audit_finds_what_somebody_has_taken_out_of_the_files() {
    let directory = journal();
    let file = directory.path().join("a.lane");
    let text = std::fs::read_to_string(&file).unwrap();
    // The note of what became of records, and with it five of them.
    let lines: Vec<&str> = text.lines().collect();
    let (change, state) = lines.split_last().unwrap();
    assert!(change.contains("settled"), "{change}");
    std::fs::write(&file, state.join("\n") + "\n").unwrap();
    // That alone means that they come again, so it adds up; but then the journal loses four of them.
    assert_eq!(offline(&directory).audit().unwrap(), []);
    let segment = directory.path().join("00000000000000000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(7).position(|bytes| bytes == b"\"acme\",").unwrap();
    bytes[at + 1] ^= 0x20;
    std::fs::write(&segment, &bytes).unwrap();
    let differences = offline(&directory).audit().unwrap();
    let [difference] = &differences[..] else { panic!("{differences:?}") };
    assert_eq!((difference.expected, difference.found), (10, 6), "{difference:?}");
}

#[test]
fn a_journal_that_is_open_can_be_looked_at_and_not_changed() {
    let directory = journal();
    let (_log, _writer) = open(&directory);
    let journal = offline(&directory);
    assert_eq!(journal.inspect().unwrap().end, 10);
    assert!(matches!(journal.lock(), Err(OpenError::Locked)));
}

#[test]
fn a_dead_letter_that_is_taken_after_all_counts_as_delivered_and_is_gone() {
    let directory = journal();
    let journal = offline(&directory);
    let dead = journal.dead("a", |letter| letter.position == 6).unwrap().letters;
    let [letter] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((letter.tenant.as_deref(), letter.attempts), (Some("bolt"), 2));
    let mending = journal.lock().unwrap();
    mending.resolve("a", &[(letter.clone(), Fate::Delivered)], NOW).unwrap();
    drop(mending);

    let found = journal.inspect().unwrap();
    let state = found.lanes["a"].state.clone().unwrap();
    assert_eq!((state.fates.delivered, state.fates.rejected, found.lanes["a"].dead), (6, 1, 1));
    assert_eq!((state.tenants["bolt"].delivered, state.tenants["bolt"].rejected), (3, 0));
    assert_eq!(journal.audit().unwrap(), []);
    // And so says the journal when it is opened.
    let (log, _writer) = open(&directory);
    assert_eq!(log.lane("a").unwrap().fates, state.fates);
}

#[test]
fn purged_letters_are_gone_and_counted_still() {
    let directory = journal();
    let journal = offline(&directory);
    let purged = journal.lock().unwrap().purge("a", |letter| letter.position == 5).unwrap();
    assert_eq!(purged, 1);
    let left = journal.dead("a", |_| true).unwrap();
    assert_eq!(left.letters.iter().map(|letter| letter.position).collect::<Vec<_>>(), [6]);
    let state = journal.inspect().unwrap().lanes["a"].state.clone().unwrap();
    assert_eq!(state.fates.rejected, 2);
    assert_eq!(journal.audit().unwrap(), []);
}

#[test]
fn what_is_in_doubt_is_sent_again_or_taken_for_delivered_as_a_person_says() {
    for (fate, cursor) in [(None, 7), (Some(Fate::Delivered), 9)] {
        let directory = journal();
        let (log, writer) = open(&directory);
        let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
        reader.doubt(7..9, 5).unwrap();
        drop((reader, log, writer));

        let journal = offline(&directory);
        let doubt = journal.inspect().unwrap().lanes["a"].state.as_ref().unwrap().doubt.unwrap();
        assert_eq!((doubt.from, doubt.to, doubt.since), (7, 9, 5));
        let ended = journal.lock().unwrap().end_doubt("a", fate).unwrap();
        assert_eq!(ended, Some(7..9));
        assert_eq!(journal.lock().unwrap().end_doubt("a", fate).unwrap(), None, "it is settled");
        assert_eq!(journal.audit().unwrap(), []);

        let (log, _writer) = open(&directory);
        let mut reader = log.reader("a", WhenFull::Block, u64::MAX).unwrap();
        let batch = batch(&mut reader);
        assert_eq!((batch.position(), batch.end()), (cursor, 10));
        assert_eq!(reader.doubtful(&batch), None);
    }
}

#[test]
fn repair_takes_damage_out_and_keeps_it_and_says_so() {
    let directory = journal();
    let segment = directory.path().join("00000000000000000000.segment");
    let whole = std::fs::read(&segment).unwrap();
    let mut damaged = whole.clone();
    // In the lines of the first frame of records.
    let at = whole.windows(7).position(|bytes| bytes == b"\"acme\",").unwrap();
    damaged[at + 1] ^= 0x20;
    std::fs::write(&segment, &damaged).unwrap();
    let lane = directory.path().join("a.lane");
    let mut text = std::fs::read(&lane).unwrap();
    let last = text.len() - 10;
    text[last] ^= 1;
    std::fs::write(&lane, &text).unwrap();

    let journal = offline(&directory);
    let found = journal.inspect().unwrap();
    let [(_, bytes)] = found.segments[0].damaged[..] else { panic!("{found:?}") };
    assert_eq!(found.lanes["a"].damaged_lines, 1);
    let receipt = journal.lock().unwrap().repair().unwrap();
    assert_eq!(receipt.segments, ["00000000000000000000.segment"]);
    assert_eq!(
        (receipt.quarantined_bytes, &receipt.lanes[..]),
        (bytes, &["a.lane".to_owned()][..])
    );

    let mended = journal.inspect().unwrap();
    assert!(mended.segments[0].damaged.is_empty() && mended.lanes["a"].damaged_lines == 0);
    assert_eq!(mended.segments[0].records, 6, "the frame that was whole");
    let kept: Vec<_> = mended.quarantined.iter().filter(|name| name.ends_with(".bin")).collect();
    let [kept] = kept[..] else { panic!("{mended:?}") };
    assert_eq!(std::fs::read(directory.path().join(kept)).unwrap().len() as u64, bytes);
    assert!(mended.quarantined.iter().any(|name| name.starts_with("quarantine-repair")));
    let again = journal.lock().unwrap().repair().unwrap();
    assert!(again.segments.is_empty() && again.lanes.is_empty(), "there is nothing left to do");
}
