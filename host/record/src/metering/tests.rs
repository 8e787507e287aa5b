//! Tests of metering entries: their lines to the letter.

use super::{ComputeStart, ComputeStop, Entry, EntryBuilder, Kind, Reason, Shape};
use super::{StorageStart, StorageStop};
use crate::{MAX_QUANTITY, Record, Stream, Timestamp, parse_line};

fn now() -> Timestamp {
    "2026-05-20T01:02:03Z".parse().unwrap()
}

fn line(record: &Record) -> String {
    let mut out = Vec::new();
    record.encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn assert_line(entry: EntryBuilder, expected: &str) {
    let record = Record::from(entry.emitted_at(now()).build().unwrap());
    assert_eq!(line(&record), expected);
    assert_eq!(parse_line(Stream::Metering, expected.as_bytes(), Timestamp::MIN), Ok(record));
}

#[test]
fn kinds_and_reasons_have_their_names_on_the_wire() {
    assert_eq!(
        Kind::ALL.map(Kind::as_str),
        [
            "vm.compute.start",
            "vm.compute.stop",
            "vm.storage.start",
            "vm.storage.stop",
            "snap.storage.start",
            "snap.storage.stop",
        ]
    );
    assert_eq!(
        Reason::ALL.map(Reason::as_str),
        [
            "boot",
            "restart",
            "clone",
            "restore",
            "hibernate-wake",
            "stop-user",
            "stop-crash",
            "vm-rm",
            "snap-rm",
        ]
    );
}

#[test]
fn every_kind_is_written_with_every_reason_that_fits_it() {
    use ComputeStart as Start;
    use ComputeStop as Stop;
    assert_line(
        Entry::vm_compute_start("vm-7", Start::Boot)
            .hypervisor("cloud-hypervisor")
            .shape(Shape::new(2, 4_294_967_296, 10_737_418_240)),
        r#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"boot","hypervisor":"cloud-hypervisor","shape":{"cpu":2,"mem_bytes":4294967296,"storage_bytes":10737418240},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_start("vm-7", Start::Restart),
        r#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"restart","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_start("vm-7", Start::Clone).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.compute.start","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"clone","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_start("vm-7", Start::Restore).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.compute.start","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"restore","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_stop("vm-7", Stop::User),
        r#"{"kind":"vm.compute.stop","vm_id":"vm-7","reason":"stop-user","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_stop("vm-7", Stop::Crash),
        r#"{"kind":"vm.compute.stop","vm_id":"vm-7","reason":"stop-crash","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_compute_stop("vm-7", Stop::Restore).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.compute.stop","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"restore","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_storage_start("vm-7", StorageStart::Boot).shape(Shape::new(1, 0, 512)),
        r#"{"kind":"vm.storage.start","vm_id":"vm-7","reason":"boot","shape":{"cpu":1,"storage_bytes":512},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_storage_start("vm-7", StorageStart::Clone).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.storage.start","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"clone","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_storage_start("vm-7", StorageStart::Restore).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.storage.start","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"restore","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_storage_stop("vm-7", StorageStop::Removed),
        r#"{"kind":"vm.storage.stop","vm_id":"vm-7","reason":"vm-rm","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::vm_storage_stop("vm-7", StorageStop::Restore).source_snapshot_id("snap-1"),
        r#"{"kind":"vm.storage.stop","vm_id":"vm-7","source_snapshot_id":"snap-1","reason":"restore","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::snap_storage_start("snap-1").hypervisor("firecracker").shape(Shape::storage(77)),
        r#"{"kind":"snap.storage.start","snapshot_id":"snap-1","hypervisor":"firecracker","shape":{"storage_bytes":77},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
    assert_line(
        Entry::snap_storage_stop("snap-1").hypervisor("firecracker"),
        r#"{"kind":"snap.storage.stop","snapshot_id":"snap-1","reason":"snap-rm","hypervisor":"firecracker","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    );
}

/// Every subset of the optional fields, of every kind: 6 * 2^9 lines.
#[test]
fn each_optional_field_is_written_exactly_where_it_is_set() {
    let now_text = "\"emitted_at\":\"2026-05-20T01:02:03Z\"";
    let stamped = "\"emitted_at\":\"1999-12-31T23:59:59.5-08:00\"";
    let mut refused = 0;
    for kind in Kind::ALL {
        for set in 0..512_u32 {
            let has = |bit: u32| set & 1 << bit != 0;
            let pick = |bit: u32, member: &str| has(bit).then(|| member.to_owned());
            let shape: Vec<_> = [
                pick(5, r#""cpu":3"#),
                pick(6, r#""mem_bytes":9223372036854775807"#),
                pick(7, r#""storage_bytes":1"#),
            ]
            .into_iter()
            .flatten()
            .collect();
            let members = |time: Option<&str>| {
                let members: Vec<_> = [
                    Some(format!(r#""kind":"{}""#, kind.as_str())),
                    pick(0, r#""vm_id":"v""#),
                    pick(1, r#""snapshot_id":"s""#),
                    pick(2, r#""source_snapshot_id":"o""#),
                    pick(3, r#""reason":"hibernate-wake""#),
                    pick(4, r#""hypervisor":"h""#),
                    Some(format!(r#""shape":{{{}}}"#, shape.join(","))),
                    time.map(str::to_owned),
                ]
                .into_iter()
                .flatten()
                .collect();
                format!("{{{}}}", members.join(","))
            };
            let input = members(has(8).then_some(stamped));
            let expected = members(Some(if has(8) { stamped } else { now_text }));

            let named = if kind.as_str().starts_with("vm.") { has(0) } else { has(1) };
            match parse_line(Stream::Metering, input.as_bytes(), now()) {
                Ok(record) => {
                    assert!(named, "{input}");
                    assert_eq!(line(&record), expected);
                }
                Err(error) => {
                    assert!(!named, "{input}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 6 * 256);
}

#[test]
fn the_builder_refuses_an_empty_id() {
    let error = Entry::vm_compute_start("", ComputeStart::Boot).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "every `vm.compute.start` entry has a `vm_id`, and it may not be empty"
    );
    let error = Entry::snap_storage_stop("").build().unwrap_err();
    assert_eq!(error.field(), Some("snapshot_id"));
}

#[test]
fn the_builder_takes_empty_texts_for_absent_and_holds_quantities_at_their_limit() {
    let entry = Entry::vm_storage_stop("v", StorageStop::Removed)
        .source_snapshot_id("")
        .hypervisor("")
        .shape(Shape::new(u64::MAX, 1 << 63, MAX_QUANTITY))
        .build()
        .unwrap();
    assert_eq!((entry.source_snapshot_id(), entry.hypervisor()), (None, None));
    let shape = entry.shape();
    assert_eq!(
        (shape.cpu(), shape.mem_bytes(), shape.storage_bytes()),
        (MAX_QUANTITY, MAX_QUANTITY, MAX_QUANTITY)
    );
}

#[test]
fn an_entry_that_was_not_stamped_is_written_without_a_time() {
    let entry = Entry::vm_compute_stop("v", ComputeStop::User).build().unwrap();
    let mut record = Record::from(entry);
    assert_eq!(
        line(&record),
        r#"{"kind":"vm.compute.stop","vm_id":"v","reason":"stop-user","shape":{}}"#
    );
    record.stamp_time(now());
    record.stamp_time(Timestamp::MAX);
    assert_eq!(
        line(&record),
        r#"{"kind":"vm.compute.stop","vm_id":"v","reason":"stop-user","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#
    );
}
