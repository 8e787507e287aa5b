//! Files that are missing, empty, foreign, stray or in use.

use std::collections::BTreeSet;
use std::sync::Arc;

use wasink_journal::{CommitError, Directory, Log, Next, Offline, OpenError};
use wasink_record::Stream;

use super::fixture::{
    Fixture, LIMITS, append, last_segment, open, options, reader, segments, try_open,
};
use crate::simulated::disk::Disk;
use crate::simulated::records::Maker;

/// Changes the last segment, and expects nothing to be lost by it.
fn survives(change: impl FnOnce(&mut Vec<u8>)) -> super::fixture::Examined {
    let fixture = Fixture::new();
    let name = last_segment(&fixture.disk);
    let mut bytes = fixture.disk.bytes(&name).unwrap();
    change(&mut bytes);
    fixture.disk.place(&name, bytes);
    let examined = fixture.examine(&fixture.disk);
    assert_eq!(examined.sinks["none"].given, (0..fixture.end()).collect());
    assert_eq!(examined.sinks["some"].done, fixture.settled.keys().copied().collect());
    examined
}

#[test]
fn garbage_behind_the_last_frame_is_put_aside() {
    let examined = survives(|bytes| bytes.extend_from_slice(&[0xa5; 1000]));
    assert_eq!(examined.recovered.damaged_bytes, 1000);
    let aside = examined.disk.sorted_names();
    let aside = aside.iter().find(|name| name.ends_with(".bin")).unwrap();
    assert_eq!(examined.disk.bytes(aside), Some(vec![0xa5; 1000]));
}

#[test]
fn zeros_behind_the_last_frame_are_no_records() {
    for zeros in [1, 8, 40, 511, 4096] {
        let examined = survives(|bytes| bytes.resize(bytes.len() + zeros, 0));
        assert!(examined.sinks["none"].damaged.is_empty());
    }
}

#[test]
fn half_a_frame_behind_the_last_is_an_unfinished_write() {
    let examined = survives(|bytes| {
        // A copy of the first frame, which is of other positions, without its end.
        let half = bytes[64..64 + 41].to_vec();
        bytes.extend_from_slice(&half);
    });
    assert!(examined.recovered.unfinished);
    assert_eq!(examined.recovered.damaged_bytes, 0);
}

#[test]
fn an_empty_segment_is_begun_anew() {
    let fixture = Fixture::new();
    fixture.disk.place(&format!("{:020}.segment", fixture.end()), []);
    let examined = fixture.examine(&fixture.disk);
    assert_eq!(examined.sinks["none"].given, (0..fixture.end()).collect());
    assert_eq!(examined.recovered.next, fixture.end());
}

#[test]
fn the_records_of_a_missing_segment_are_damaged_and_no_others() {
    let fixture = Fixture::new();
    for name in segments(&fixture.disk) {
        let disk = fixture.disk.copy();
        disk.displace(&name);
        let of = fixture.frames.iter().filter(|frame| frame.segment == name);
        let missing: BTreeSet<u64> = of.flat_map(|frame| frame.positions.clone()).collect();
        let examined = fixture.examine(&disk);
        let none = &examined.sinks["none"];
        assert_eq!(none.given, (0..fixture.end()).filter(|at| !missing.contains(at)).collect());
        // Behind what is there, nobody can tell what there was; what was dealt with is known.
        let last = none.given.union(&examined.sinks["some"].done).max().copied().unwrap();
        assert_eq!(none.damaged, missing.range(..last + 1).copied().collect());
    }
}

#[test]
fn the_records_of_a_journal_without_any_segment_are_damaged_as_far_as_they_are_known() {
    let fixture = Fixture::new();
    for name in segments(&fixture.disk) {
        fixture.disk.displace(&name);
    }
    let examined = fixture.examine(&fixture.disk);
    let last = fixture.settled.keys().next_back().copied().unwrap();
    assert_eq!(examined.sinks["none"].damaged, (0..last + 1).collect());
    assert_eq!(examined.recovered.next, last + 1);
}

/// A line as the journal's files have it.
fn checked(json: &str) -> String {
    format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
}

#[test]
fn numbers_that_no_journal_comes_to_are_damage_whatever_their_sums_say() {
    let fixture = Fixture::new();
    let far = u64::MAX;
    fixture.disk.place(&format!("{far}.segment"), *b"far away");
    for line in [
        format!(r#"{{"change":{{"settled":[[40,{far},"delivered"]],"by":{far}}}}}"#),
        format!(r#"{{"doubt":{{"from":3,"to":{far},"since":0}}}}"#),
        format!(r#"{{"version":{{"number":{far},"digest":"","version":"","since":0}}}}"#),
        format!(r#"{{"state":{{"origin":9,"cursor":3,"done":[[{far},4]],"fates":{{}}}}}}"#),
    ] {
        let disk = fixture.disk.copy();
        let lane = [disk.bytes("some.lane").unwrap(), checked(&line).into_bytes()].concat();
        disk.place("some.lane", lane);
        let examined = fixture.examine(&disk);
        assert_eq!(examined.recovered.damaged_lines, 1, "{line}");
        assert_eq!(examined.recovered.next, fixture.end(), "{line}");
        assert_eq!(examined.sinks["some"].done, fixture.settled.keys().copied().collect());
    }
}

#[test]
fn an_audit_of_a_journal_that_has_lost_its_end_tells_what_is_missing() {
    let fixture = Fixture::new();
    let (log, ..) = open(&fixture.disk);
    // A sink that came last counts what was accepted before it.
    drop(reader(&log, "late"));
    drop(log);
    let name = last_segment(&fixture.disk);
    let mut bytes = fixture.disk.bytes(&name).unwrap();
    bytes.truncate(300);
    fixture.disk.place(&name, bytes);
    let offline = Offline::new(Arc::new(fixture.disk.clone()), Stream::Usage);
    let differences = offline.audit().unwrap();
    let most = differences.iter().map(|one| one.expected.max(one.found)).max().unwrap();
    assert!(most <= fixture.end(), "{differences:?}");
}

#[test]
fn sums_that_fit_no_number_are_told_as_differences() {
    let fixture = Fixture::new();
    let far = u64::MAX;
    let state = format!(
        r#"{{"state":{{"origin":40,"cursor":50,"fates":{{"delivered":{far},"rejected":{far},"expired":2}},"tenants":{{"acme":{{"delivered":{far}}}}},"before":{{"acme":{far}}}}}}}"#
    );
    fixture.disk.place("some.lane", checked(&state).into_bytes());
    let offline = Offline::new(Arc::new(fixture.disk.clone()), Stream::Usage);
    let differences = offline.audit().unwrap();
    assert!(differences.iter().any(|one| one.sink == "some" && one.found == far));
    let (log, ..) = open(&fixture.disk);
    assert_eq!(log.accepted().get("acme"), Some(&far));
}

#[test]
fn a_sum_by_tenant_is_found_again_when_the_base_of_the_last_segment_is_damaged() {
    let fixture = Fixture::new();
    let (log, ..) = open(&fixture.disk.copy());
    let accepted = log.accepted();
    assert_eq!(accepted.len(), 2);
    let name = last_segment(&fixture.disk);
    let mut bytes = fixture.disk.bytes(&name).unwrap();
    bytes[64 + 40] ^= 1;
    fixture.disk.place(&name, bytes);
    let (log, ..) = open(&fixture.disk);
    assert_eq!(log.accepted(), accepted);
}

#[test]
fn a_journal_of_another_stream_or_a_later_program_is_refused_by_name() {
    let fixture = Fixture::new();
    let name = last_segment(&fixture.disk);
    let other = wasink_journal::LogOptions { stream: Stream::Metering, ..options(4 << 10) };
    let error = Log::open(Arc::new(fixture.disk.clone()), other).unwrap_err();
    assert!(matches!(&error, OpenError::Foreign { file } if *file == name), "{error}");

    let mut bytes = fixture.disk.bytes(&name).unwrap();
    bytes[8] = 9;
    let sum = crc32fast::hash(&[&bytes[..12], &bytes[16..64]].concat());
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    fixture.disk.place(&name, bytes);
    let error = try_open(&fixture.disk).unwrap_err();
    assert!(matches!(&error, OpenError::Newer { file, version: 9 } if *file == name), "{error}");
}

#[test]
fn stray_files_and_leftovers_are_in_nobodys_way() {
    let fixture = Fixture::new();
    let strays = [
        "segment.tmp",
        "some.lane-tmp",
        "some.dead-tmp",
        "notes.txt",
        "1.segment",
        ".lane",
        "quarantine-some.lane-0",
    ];
    for name in strays {
        fixture.disk.place(name, *b"left here");
    }
    let examined = fixture.examine(&fixture.disk);
    assert_eq!(examined.sinks["none"].given, (0..fixture.end()).collect());
    for name in ["notes.txt", "1.segment", ".lane", "quarantine-some.lane-0"] {
        assert_eq!(examined.disk.bytes(name), Some(b"left here".to_vec()), "{name}");
    }
}

#[test]
fn what_was_written_again_in_another_segment_is_not_read_where_it_was_first() {
    let disk = Disk::new(1);
    let mut maker = Maker::new();
    let (log, mut writer, _) = open(&disk);
    let none = reader(&log, "none");
    let (_, frame) = append(&disk, &mut writer, &mut maker, 2);
    // Written, not synced, and not to be taken back; and then only the second of the two runs.
    let ((first, _), (second, known)) = (maker.run(2, 1), maker.run(2, 1));
    writer.stage(first, usize::MAX);
    writer.stage(second, usize::MAX);
    disk.faults(|faults| faults.file_syncs = 1);
    let copy = disk.clone();
    assert!(matches!(writer.commit(), Err(CommitError::Disk(_))));
    writer.retain(|place| place == 1);
    assert_eq!(writer.commit().unwrap(), 2..4);
    drop((log, writer, none));
    // What the failed write left is there again, and the frame before it is damaged.
    let mut bytes = copy.bytes(&frame.segment).unwrap();
    assert_eq!(bytes.len(), frame.bytes.end, "what failed was taken back");
    bytes[frame.bytes.start + 60] ^= 1;
    let other = Disk::new(2);
    let (log, mut writer, _) = open(&other);
    for records in [2, 2, 2] {
        append(&other, &mut writer, &mut Maker::new(), records);
    }
    let left = other.bytes(&frame.segment).unwrap();
    bytes.extend_from_slice(&left[frame.bytes.end..]);
    disk.place(&frame.segment, bytes);
    drop((log, writer));

    let (log, ..) = open(&disk);
    let mut none = reader(&log, "none");
    assert!(matches!(none.next(&LIMITS), Next::Damaged(range) if range == (0..2)));
    none.give_up(0..2).unwrap();
    let Next::Batch(batch) = none.next(&LIMITS) else { panic!("no batch") };
    assert_eq!(batch.ids().collect::<Vec<_>>(), [known[0].id, known[1].id]);
}

#[test]
fn a_journal_is_open_once_at_a_time_on_a_real_disk_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let directory = || {
        let authority = cap_std::ambient_authority();
        let dir = cap_std::fs::Dir::open_ambient_dir(dir.path(), authority).unwrap();
        Arc::new(Directory::new(dir))
    };
    let (log, mut writer, _) = Log::open(directory(), options(4 << 10)).unwrap();
    let mut sink = reader(&log, "sink");
    let (run, known) = Maker::new().run(3, 5);
    writer.stage(run, usize::MAX);
    assert_eq!(writer.commit().unwrap(), 0..3);
    let error = Log::open(directory(), options(4 << 10)).unwrap_err();
    assert!(matches!(error, OpenError::Locked), "{error}");
    assert!(matches!(sink.next(&LIMITS), Next::Batch(_)));
    drop((log, writer, sink));

    let (log, _writer, recovered) = Log::open(directory(), options(4 << 10)).unwrap();
    assert_eq!(recovered.pending, [("sink".to_owned(), 3)]);
    let Next::Batch(batch) = reader(&log, "sink").next(&LIMITS) else { panic!("no batch") };
    assert_eq!(
        batch.ids().collect::<Vec<_>>(),
        known.iter().map(|known| known.id).collect::<Vec<_>>()
    );
}
