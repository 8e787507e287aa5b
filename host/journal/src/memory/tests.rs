//! Appending, cutting batches, letting go, closing.

use std::sync::mpsc::sync_channel;

use wasink_record::{IdSource, Timestamp, UsageEvent};

use super::*;
use crate::Encoding;

fn log(capacity: u64) -> MemoryLog {
    let capacity = NonZeroU64::new(capacity).unwrap();
    MemoryLog::new(Stream::Usage, capacity, "test".into())
}

fn records(rids: impl IntoIterator<Item = u64>) -> Vec<Stamped> {
    let ids = IdSource::new(7);
    let now = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
    rids.into_iter()
        .map(|rid| {
            let event = UsageEvent::builder(rid.to_string(), "acme", "http", "shop").build();
            Stamped::new(ids.next(now), now, event.into())
        })
        .collect()
}

fn limits(records: u32, bytes: u64, age: Duration) -> BatchLimits {
    BatchLimits {
        records: NonZeroU32::new(records).unwrap(),
        bytes: NonZeroU64::new(bytes).unwrap(),
        age,
    }
}

const AT_ONCE: Duration = Duration::ZERO;
const NEVER: Duration = Duration::from_secs(3600);

fn batch(reader: &Reader, limits: &BatchLimits) -> Batch {
    match reader.next(limits) {
        Next::Batch(batch) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

fn rids(batch: &Batch) -> Vec<u64> {
    let lines = batch.encode(Encoding::Jsonl);
    let text = std::str::from_utf8(&lines).unwrap();
    let rid = |line: &str| line.split('"').nth(3).unwrap().parse().unwrap();
    text.lines().map(rid).collect()
}

#[test]
fn a_reader_gets_what_was_appended_in_order_and_again_until_it_commits() {
    let log = log(1 << 20);
    let mut reader = log.reader();
    assert_eq!(log.append(records(0..3)), Ok(0..3));
    assert_eq!(log.append(records(3..5)), Ok(3..5));
    let limits = limits(100, 1 << 20, AT_ONCE);

    let first = batch(&reader, &limits);
    assert_eq!((first.position(), first.end(), rids(&first)), (0, 5, vec![0, 1, 2, 3, 4]));
    assert_eq!(rids(&batch(&reader, &limits)), [0, 1, 2, 3, 4]);
    reader.commit(3);
    assert_eq!(rids(&batch(&reader, &limits)), [3, 4]);
    reader.commit(5);
    assert!(matches!(reader.next(&limits), Next::Empty));
    assert_eq!(reader.pending(), 0);
}

#[test]
fn a_batch_is_cut_by_records_and_never_leaves_one_out() {
    let log = log(1 << 20);
    let mut reader = log.reader();
    log.append(records(0..10)).unwrap();
    log.append(records(10..13)).unwrap();
    let limits = limits(4, 1 << 20, NEVER);
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    log.close();
    while let Next::Batch(batch) = reader.next(&limits) {
        sizes.push(batch.len());
        seen.extend(rids(&batch));
        reader.commit(batch.end());
    }
    assert_eq!(seen, (0..13).collect::<Vec<_>>());
    // The rest of the first chunk does not draw a part of the second one to it.
    assert_eq!(sizes, [4, 4, 2, 3]);
}

#[test]
fn a_batch_is_cut_by_bytes_but_holds_one_record_at_the_least() {
    let log = log(1 << 20);
    let mut reader = log.reader();
    log.append(records(0..5)).unwrap();
    let line = batch(&reader, &limits(1, 1 << 20, AT_ONCE)).line_bytes() as u64;

    let two = limits(100, 2 * line + 1, AT_ONCE);
    assert_eq!(rids(&batch(&reader, &two)), [0, 1]);
    let exact = limits(100, 2 * line, AT_ONCE);
    assert_eq!(rids(&batch(&reader, &exact)), [0, 1]);
    let less = limits(100, 2 * line - 1, AT_ONCE);
    assert_eq!(rids(&batch(&reader, &less)), [0]);
    let tiny = limits(100, 1, AT_ONCE);
    assert_eq!(rids(&batch(&reader, &tiny)), [0]);
    reader.commit(4);
    assert_eq!(rids(&batch(&reader, &tiny)), [4]);
}

#[test]
fn a_batch_waits_for_its_age_unless_it_is_full_or_the_log_closes() {
    let log = log(1 << 20);
    let mut reader = log.reader();
    assert!(matches!(reader.next(&limits(2, 1 << 20, NEVER)), Next::Empty));
    let before = Instant::now();
    log.append(records(0..1)).unwrap();
    let Next::Wait(due) = reader.next(&limits(2, 1 << 20, NEVER)) else { panic!("not due yet") };
    assert!(due >= before + NEVER);
    assert_eq!(rids(&batch(&reader, &limits(1, 1 << 20, NEVER))), [0], "full");
    log.append(records(1..2)).unwrap();
    assert_eq!(rids(&batch(&reader, &limits(2, 1 << 20, NEVER))), [0, 1], "full by two chunks");
    log.append(records(2..3)).unwrap();
    reader.commit(2);
    log.close();
    assert_eq!(rids(&batch(&reader, &limits(2, 1 << 20, NEVER))), [2], "closed");
    reader.commit(3);
    assert!(matches!(reader.next(&limits(2, 1 << 20, NEVER)), Next::End));
}

#[test]
fn chunks_are_let_go_when_the_slowest_reader_is_past_them() {
    let log = log(1 << 20);
    let (mut slow, mut fast) = (log.reader(), log.reader());
    log.append(records(0..10)).unwrap();
    log.append(records(10..20)).unwrap();
    let full = log.weight();
    fast.commit(20);
    assert_eq!(log.weight(), full);
    slow.commit(9);
    assert_eq!(log.weight(), full, "a chunk goes as a whole");
    slow.commit(10);
    assert!(0 < log.weight() && log.weight() < full);
    drop(slow);
    assert_eq!(log.weight(), 0);
}

#[test]
fn a_log_that_nobody_reads_holds_nothing() {
    let log = log(1);
    assert_eq!(log.append(records(0..100)), Ok(0..100));
    assert_eq!((log.weight(), log.end()), (0, 100));
}

#[test]
fn an_append_to_a_full_log_waits_for_room_and_loses_nothing() {
    let log = log(1);
    let mut reader = log.reader();
    log.append(records(0..2)).unwrap();
    let (done, finished) = sync_channel(2);
    let writer = log.clone();
    let thread = std::thread::spawn(move || {
        done.send("about to append").unwrap();
        let appended = writer.append(records(2..4));
        done.send("appended").unwrap();
        appended
    });
    assert_eq!(finished.recv().unwrap(), "about to append");
    assert!(finished.try_recv().is_err());
    assert_eq!(log.end(), 2);
    reader.commit(2);
    assert_eq!(thread.join().unwrap(), Ok(2..4));
    assert_eq!(rids(&batch(&reader, &limits(9, 1 << 20, AT_ONCE))), [2, 3]);
}

#[test]
fn closing_ends_an_append_that_waits() {
    let log = log(1);
    let _reader = log.reader();
    log.append(records(0..2)).unwrap();
    let writer = log.clone();
    let thread = std::thread::spawn(move || writer.append(records(2..4)));
    log.close();
    assert_eq!(thread.join().unwrap(), Err(Closed));
    assert_eq!(log.end(), 2);
    assert_eq!(log.append(records(4..5)), Err(Closed));
}

#[test]
fn readers_of_whole_chunks_share_every_view() {
    let log = log(1 << 20);
    let (one, two) = (log.reader(), log.reader());
    log.append(records(0..3)).unwrap();
    let limits = limits(3, 1 << 20, AT_ONCE);
    let (one, two) = (batch(&one, &limits), batch(&two, &limits));
    for encoding in [
        Encoding::Jsonl,
        Encoding::JsonArray,
        Encoding::CloudEventsBatch,
        Encoding::CloudEventsJsonl,
    ] {
        assert_eq!(one.encode(encoding).as_ptr(), two.encode(encoding).as_ptr(), "{encoding:?}");
    }
    let columns = [one.usage_columns().unwrap(), two.usage_columns().unwrap()];
    assert!(Arc::ptr_eq(&columns[0], &columns[1]));
}

#[test]
fn encodings_hold_the_same_records_whether_cut_or_whole() {
    let log = log(1 << 20);
    let mut reader = log.reader();
    log.append(records(0..3)).unwrap();
    log.append(records(3..5)).unwrap();
    reader.commit(1);
    let cut = batch(&reader, &limits(9, 1 << 20, AT_ONCE));
    let text = |encoding| String::from_utf8(cut.encode(encoding).to_vec()).unwrap();
    let lines = text(Encoding::Jsonl);
    assert_eq!(lines.lines().count(), 4);
    assert!(lines.ends_with("}\n"));
    let array = format!("[{}]", lines.trim_end().replace('\n', ","));
    assert_eq!(text(Encoding::JsonArray), array);
    let events = text(Encoding::CloudEventsJsonl);
    assert_eq!(events.matches(r#""specversion":"1.0""#).count(), 4);
    assert_eq!(events.matches(r#""source":"test""#).count(), 4);
    let array = format!("[{}]", events.trim_end().replace('\n', ","));
    assert_eq!(text(Encoding::CloudEventsBatch), array);
}

#[test]
fn columns_hold_the_fields_of_every_row() {
    let ids = IdSource::new(7);
    let now = Timestamp::from_unix_nanos(5);
    let event = |tenant: &str, fuel| {
        UsageEvent::builder("r", tenant, "http", "shop").fuel(fuel).duration_ms(fuel + 1).build()
    };
    let denied = UsageEvent::builder("r", "b", "cron", "shop").denied("rate_limited").build();
    let events = [event("a", 1), event("a", 2), event("b", 3), event("a", 4), denied];
    let records = events.map(|event| Stamped::new(ids.next(now), now, event.into())).into();
    let batch = Batch::of(Stream::Usage, 0, records, "test").unwrap();
    let columns = batch.usage_columns().unwrap();
    assert_eq!(columns.tenant.values, ["a", "b"]);
    assert_eq!(columns.tenant.codes, [0, 0, 1, 0, 1]);
    assert_eq!(columns.src.values, ["http", "cron"]);
    assert_eq!(columns.src.codes, [0, 0, 0, 0, 1]);
    assert_eq!(columns.stack.codes, [0; 5]);
    assert_eq!(columns.fuel, [1, 2, 3, 4, 0]);
    assert_eq!(columns.duration_ms, [2, 3, 4, 5, 0]);
    assert_eq!(columns.billable, [1, 1, 1, 1, 0]);
    assert_eq!(columns.denied, [0, 0, 0, 0, 1]);
    assert_eq!(columns.ok, [1; 5]);
    assert_eq!(columns.emitted_at, [5; 5]);
}

#[test]
fn a_batch_splits_into_two_without_losing_its_place() {
    let log = log(1 << 20);
    let reader = log.reader();
    log.append(records(0..3)).unwrap();
    log.append(records(3..5)).unwrap();
    let whole = batch(&reader, &limits(9, 1 << 20, AT_ONCE));
    for cut in 0..=5 {
        let (head, tail) = whole.split_at(cut);
        let side = |side: &Option<Batch>| side.as_ref().map_or(Vec::new(), rids);
        assert_eq!([side(&head), side(&tail)].concat(), [0, 1, 2, 3, 4]);
        assert_eq!(side(&head).len(), cut);
        assert_eq!(tail.map_or(5, |tail| tail.position()), cut as u64);
    }
}
