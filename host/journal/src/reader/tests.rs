//! Appending, cutting batches, letting go, closing: of a log in memory.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::mpsc::sync_channel;

use wasink_record::{IdSource, Stamped, Stream, Timestamp, UsageEvent};

use super::*;
use crate::{CommitError, Encoding, LogOptions, Writer};

fn log(bytes: u64) -> (Log, Writer) {
    log_from(bytes, 0)
}

fn log_from(bytes: u64, first: u64) -> (Log, Writer) {
    let options = LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability: crate::Durability::Memory,
        bytes,
        segment_bytes: 0,
        memory: 0,
    };
    Log::in_memory(options, first)
}

fn reader(log: &Log, sink: &str) -> Reader {
    log.reader(sink, WhenFull::Block, u64::MAX).unwrap()
}

fn records(rids: Range<u64>) -> Vec<Stamped> {
    let ids = IdSource::new(7);
    let now = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
    rids.map(|rid| {
        let event = UsageEvent::builder(rid.to_string(), "acme", "http", "shop").build();
        Stamped::new(ids.next(now), now, event.into())
    })
    .collect()
}

fn append(writer: &mut Writer, rids: Range<u64>) -> Result<Range<u64>, CommitError> {
    assert_eq!(writer.stage(records(rids), usize::MAX), (1, 0));
    writer.commit()
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

fn batch(reader: &mut Reader, limits: &BatchLimits) -> Batch {
    match reader.next(limits) {
        Next::Batch(batch) => batch,
        other => panic!("expected a batch, got {other:?}"),
    }
}

fn deliver(reader: &mut Reader, range: Range<u64>) {
    let batch = batch(reader, &limits(1000, 1 << 20, AT_ONCE));
    reader.settle(&batch, &[(range, Fate::Delivered)], Vec::new()).unwrap();
}

fn rids(batch: &Batch) -> Vec<u64> {
    let lines = batch.encode(Encoding::Jsonl).unwrap();
    let text = std::str::from_utf8(&lines).unwrap();
    let rid = |line: &str| line.split('"').nth(3).unwrap().parse().unwrap();
    text.lines().map(rid).collect()
}

#[test]
fn a_reader_gets_what_was_appended_in_order_and_again_until_it_is_settled() {
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    assert_eq!(append(&mut writer, 0..3).unwrap(), 0..3);
    assert_eq!(append(&mut writer, 3..5).unwrap(), 3..5);
    let limits = limits(100, 1 << 20, AT_ONCE);

    let first = batch(&mut reader, &limits);
    assert_eq!((first.position(), first.end(), rids(&first)), (0, 5, vec![0, 1, 2, 3, 4]));
    assert_eq!(rids(&batch(&mut reader, &limits)), [0, 1, 2, 3, 4]);
    deliver(&mut reader, 0..3);
    assert_eq!(rids(&batch(&mut reader, &limits)), [3, 4]);
    deliver(&mut reader, 3..5);
    assert!(matches!(reader.next(&limits), Next::Empty));
    assert_eq!((reader.state().cursor, reader.state().fates.delivered), (5, 5));
}

#[test]
fn runs_that_are_staged_together_are_appended_together_and_those_forgotten_are_not() {
    let (log, mut writer) = log_from(1 << 20, 70);
    let mut reader = reader(&log, "sink");
    for run in [0..2, 2..3, 3..6] {
        writer.stage(records(run), usize::MAX);
    }
    assert!(matches!(reader.next(&limits(9, 1 << 20, AT_ONCE)), Next::Empty));
    writer.retain(|place| place != 1);
    assert_eq!(writer.staged(), 2);
    assert_eq!(writer.commit().unwrap(), 70..75);
    assert_eq!(writer.commit().unwrap(), 75..75);
    assert_eq!(rids(&batch(&mut reader, &limits(9, 1 << 20, AT_ONCE))), [0, 1, 3, 4, 5]);
    assert_eq!(log.accepted(), [("acme".to_owned(), 5)].into());
}

#[test]
fn a_batch_is_cut_by_records_and_never_leaves_one_out() {
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    append(&mut writer, 0..10).unwrap();
    append(&mut writer, 10..13).unwrap();
    let limits = limits(4, 1 << 20, NEVER);
    let mut seen = Vec::new();
    let mut sizes = Vec::new();
    log.close();
    while let Next::Batch(batch) = reader.next(&limits) {
        sizes.push(batch.len());
        seen.extend(rids(&batch));
        reader.pass(batch.end());
    }
    assert_eq!(seen, (0..13).collect::<Vec<_>>());
    // The rest of the first chunk does not draw a part of the second one to it.
    assert_eq!(sizes, [4, 4, 2, 3]);
}

#[test]
fn a_batch_is_cut_by_bytes_but_holds_one_record_at_the_least() {
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    append(&mut writer, 0..5).unwrap();
    let line = batch(&mut reader, &limits(1, 1 << 20, AT_ONCE)).line_bytes() as u64;

    let two = limits(100, 2 * line + 1, AT_ONCE);
    assert_eq!(rids(&batch(&mut reader, &two)), [0, 1]);
    let exact = limits(100, 2 * line, AT_ONCE);
    assert_eq!(rids(&batch(&mut reader, &exact)), [0, 1]);
    let less = limits(100, 2 * line - 1, AT_ONCE);
    assert_eq!(rids(&batch(&mut reader, &less)), [0]);
    let tiny = limits(100, 1, AT_ONCE);
    assert_eq!(rids(&batch(&mut reader, &tiny)), [0]);
    reader.pass(4);
    assert_eq!(rids(&batch(&mut reader, &tiny)), [4]);
}

#[test]
fn a_batch_waits_for_its_age_unless_it_is_full_or_the_log_closes() {
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    assert!(matches!(reader.next(&limits(2, 1 << 20, NEVER)), Next::Empty));
    let before = Instant::now();
    append(&mut writer, 0..1).unwrap();
    let Next::Wait(due) = reader.next(&limits(2, 1 << 20, NEVER)) else { panic!("not due yet") };
    assert!(due >= before + NEVER);
    assert_eq!(rids(&batch(&mut reader, &limits(1, 1 << 20, NEVER))), [0], "full");
    append(&mut writer, 1..2).unwrap();
    assert_eq!(rids(&batch(&mut reader, &limits(2, 1 << 20, NEVER))), [0, 1], "full by two chunks");
    append(&mut writer, 2..3).unwrap();
    reader.pass(2);
    log.close();
    assert_eq!(rids(&batch(&mut reader, &limits(2, 1 << 20, NEVER))), [2], "closed");
    reader.pass(3);
    assert!(matches!(reader.next(&limits(2, 1 << 20, NEVER)), Next::End));
}

#[test]
fn records_that_were_dealt_with_out_of_order_are_not_given_again_and_do_not_join_others() {
    let (log, mut writer) = log(1 << 20);
    let mut first = reader(&log, "sink");
    let _other = reader(&log, "other");
    append(&mut writer, 0..8).unwrap();
    let all = limits(100, 1 << 20, AT_ONCE);
    deliver(&mut first, 2..4);
    deliver(&mut first, 5..6);
    assert_eq!(rids(&batch(&mut first, &all)), [0, 1]);
    first.pass(2);
    assert_eq!(rids(&batch(&mut first, &all)), [4]);
    first.pass(5);
    assert_eq!(rids(&batch(&mut first, &all)), [6, 7]);
    // Another reader begins again with what nothing has become of.
    drop(first);
    let mut second = reader(&log, "sink");
    assert_eq!(rids(&batch(&mut second, &all)), [0, 1]);
    let state = second.state();
    assert_eq!((state.cursor, state.done.as_slice()), (0, &[(2, 4), (5, 6)][..]));
}

#[test]
fn a_sink_has_one_reader_at_a_time_and_a_new_one_begins_behind_the_last_record() {
    let (log, mut writer) = log(1 << 20);
    let first = reader(&log, "first");
    append(&mut writer, 0..2).unwrap();
    let error = log.reader("first", WhenFull::Block, u64::MAX).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    let mut second = reader(&log, "second");
    assert!(matches!(second.next(&limits(2, 1 << 20, AT_ONCE)), Next::Empty));
    assert_eq!((first.state().origin, second.state().origin), (0, 2));
}

#[test]
fn chunks_are_let_go_when_the_slowest_reader_is_past_them() {
    let (log, mut writer) = log(1 << 20);
    let (mut slow, mut fast) = (reader(&log, "slow"), reader(&log, "fast"));
    append(&mut writer, 0..10).unwrap();
    append(&mut writer, 10..20).unwrap();
    let full = log.bytes();
    deliver(&mut fast, 0..20);
    assert_eq!(log.bytes(), full);
    deliver(&mut slow, 0..9);
    assert_eq!(log.bytes(), full, "a chunk goes as a whole");
    deliver(&mut slow, 9..10);
    assert!(0 < log.bytes() && log.bytes() < full);
    deliver(&mut slow, 10..20);
    assert_eq!(log.bytes(), 0);
}

#[test]
fn what_a_sink_leaves_that_is_gone_is_kept_for_it_until_its_room_is_needed() {
    let (log, mut writer) = log(1 << 20);
    let (mut goes, mut stays) = (reader(&log, "goes"), reader(&log, "stays"));
    append(&mut writer, 0..10).unwrap();
    append(&mut writer, 10..20).unwrap();
    deliver(&mut stays, 0..20);
    drop(goes);
    let held = log.bytes();
    assert!(held > 0);
    goes = log.reader("goes", WhenFull::Block, 1).unwrap();
    assert_eq!(batch(&mut goes, &limits(99, 1 << 20, AT_ONCE)).len(), 20);
    // With a reader it stands in the way, and without one it does not.
    assert!(matches!(append(&mut writer, 20..22), Err(CommitError::Full { .. })));
    goes.set_policy(WhenFull::DropOldest, held);
    writer.commit().unwrap();
    assert_eq!((goes.state().fates.dropped, goes.state().tenants["acme"].dropped), (10, 10));
    goes.set_policy(WhenFull::Reject, 1);
    drop(goes);
    append(&mut writer, 22..24).unwrap();
    deliver(&mut stays, 20..24);
    let mut goes = reader(&log, "goes");
    assert_eq!(batch(&mut goes, &limits(99, 1 << 20, AT_ONCE)).position(), 10);
}

#[test]
fn a_log_that_nobody_reads_holds_nothing() {
    let (log, mut writer) = log(1);
    assert_eq!(append(&mut writer, 0..100).unwrap(), 0..100);
    assert_eq!((log.bytes(), log.end()), (0, 100));
}

#[test]
fn a_full_log_takes_nothing_until_there_is_room_and_loses_nothing() {
    let (log, mut writer) = log(1);
    let mut reader = reader(&log, "sink");
    append(&mut writer, 0..2).unwrap();
    let full = append(&mut writer, 2..4).unwrap_err();
    let CommitError::Full { sink, pending, reject } = full else { panic!("{full}") };
    assert_eq!((sink.as_str(), pending, reject), ("sink", 2, false));
    assert_eq!((log.end(), writer.staged()), (2, 1));
    let (done, finished) = sync_channel(1);
    let waiting = log.clone();
    let thread = std::thread::spawn(move || {
        done.send("about to wait").unwrap();
        while let Err(CommitError::Full { .. }) = writer.commit() {
            waiting.wait_for_room(Duration::from_secs(1));
        }
    });
    assert_eq!(finished.recv().unwrap(), "about to wait");
    deliver(&mut reader, 0..2);
    thread.join().unwrap();
    assert_eq!(rids(&batch(&mut reader, &limits(9, 1 << 20, AT_ONCE))), [2, 3]);
}

#[test]
fn the_sink_that_turns_away_is_named_before_the_one_that_waits() {
    let (log, mut writer) = log(1);
    let _waits = reader(&log, "waits");
    let _refuses = log.reader("refuses", WhenFull::Reject, u64::MAX).unwrap();
    append(&mut writer, 0..2).unwrap();
    let full = append(&mut writer, 2..4).unwrap_err();
    assert!(matches!(&full, CommitError::Full { sink, reject: true, .. } if sink == "refuses"));
}

#[test]
fn a_sink_that_gives_up_its_oldest_delays_nobody_and_every_one_is_counted() {
    let (log, mut writer) = log(1 << 20);
    let mut drops = log.reader("drops", WhenFull::DropOldest, 1).unwrap();
    let mut keeps = reader(&log, "keeps");
    for run in 0..5 {
        append(&mut writer, 2 * run..2 * run + 2).unwrap();
    }
    let state = drops.state();
    assert_eq!((state.cursor, state.fates.dropped, state.fates.sum()), (8, 8, 8));
    assert_eq!(state.tenants["acme"].dropped, 8);
    assert_eq!(rids(&batch(&mut drops, &limits(99, 1 << 20, AT_ONCE))), [8, 9]);
    assert_eq!(batch(&mut keeps, &limits(99, 1 << 20, AT_ONCE)).len(), 10);
}

#[test]
fn closing_ends_all_appends() {
    let (log, mut writer) = log(1);
    let _reader = reader(&log, "sink");
    append(&mut writer, 0..2).unwrap();
    assert!(matches!(append(&mut writer, 2..4), Err(CommitError::Full { .. })));
    log.close();
    assert!(matches!(writer.commit(), Err(CommitError::Closed)));
    assert_eq!(log.end(), 2);
}

#[test]
fn readers_of_whole_chunks_share_every_view() {
    let (log, mut writer) = log(1 << 20);
    let (mut one, mut two) = (reader(&log, "one"), reader(&log, "two"));
    append(&mut writer, 0..3).unwrap();
    let limits = limits(3, 1 << 20, AT_ONCE);
    let (one, two) = (batch(&mut one, &limits), batch(&mut two, &limits));
    for encoding in [
        Encoding::Jsonl,
        Encoding::JsonArray,
        Encoding::CloudEventsBatch,
        Encoding::CloudEventsJsonl,
    ] {
        let [one, two] = [&one, &two].map(|batch| batch.encode(encoding).unwrap().as_ptr());
        assert_eq!(one, two, "{encoding:?}");
    }
    let columns = [one, two].map(|batch| batch.usage_columns().unwrap().unwrap());
    assert!(Arc::ptr_eq(&columns[0], &columns[1]));
}

#[test]
fn encodings_hold_the_same_records_whether_cut_or_whole() {
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    append(&mut writer, 0..3).unwrap();
    append(&mut writer, 3..5).unwrap();
    reader.pass(1);
    let cut = batch(&mut reader, &limits(9, 1 << 20, AT_ONCE));
    let text = |encoding| String::from_utf8(cut.encode(encoding).unwrap().to_vec()).unwrap();
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
    let columns = batch.usage_columns().unwrap().unwrap();
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
    let (log, mut writer) = log(1 << 20);
    let mut reader = reader(&log, "sink");
    append(&mut writer, 0..3).unwrap();
    append(&mut writer, 3..5).unwrap();
    let whole = batch(&mut reader, &limits(9, 1 << 20, AT_ONCE));
    for cut in 0..=5 {
        let (head, tail) = whole.split_at(cut);
        let side = |side: &Option<Batch>| side.as_ref().map_or(Vec::new(), rids);
        assert_eq!([side(&head), side(&tail)].concat(), [0, 1, 2, 3, 4]);
        assert_eq!(side(&head).len(), cut);
        assert_eq!(tail.map_or(5, |tail| tail.position()), cut as u64);
    }
}
