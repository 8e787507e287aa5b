//! Tests of ids.

use std::collections::HashSet;

use super::{IdSource, RecordId};
use crate::Timestamp;

const NOW: Timestamp = Timestamp::from_unix_nanos(1_779_238_923_456_789_000);

#[test]
fn an_id_has_the_fields_of_a_uuid_of_version_7() {
    let id = IdSource::new(u64::MAX).next(NOW);
    let bytes = id.as_bytes();
    let millis = bytes[..6].iter().fold(0_u64, |value, &byte| value << 8 | u64::from(byte));
    assert_eq!(millis, 1_779_238_923_456);
    assert_eq!(bytes[6] >> 4, 7, "version");
    assert_eq!(bytes[8] >> 6, 0b10, "variant");
    assert_eq!(id.to_string(), "019e42e7-6cc0-7000-800f-ffffffffffff");
    assert_eq!(IdSource::new(0xabc).next(NOW).to_string(), "019e42e7-6cc0-7000-8000-000000000abc");

    let peer = uuid::Uuid::parse_str(&id.to_string()).unwrap();
    assert_eq!(peer.get_version_num(), 7);
    assert_eq!(peer.get_variant(), uuid::Variant::RFC4122);
    let (seconds, nanos) = peer.get_timestamp().unwrap().to_unix();
    assert_eq!((seconds, nanos / 1_000_000), (1_779_238_923, 456));
}

#[test]
fn ids_of_one_millisecond_count_through_both_parts_of_the_counter() {
    let source = IdSource::new(7);
    let ids: Vec<_> = (0..3000).map(|_| source.next(NOW)).collect();
    assert!(ids.is_sorted_by(|a, b| a < b && a.to_string() < b.to_string()));
    for id in &ids {
        let bytes = id.as_bytes();
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (7, 0b10));
        assert_eq!(bytes[..6], ids[0].as_bytes()[..6]);
        assert_eq!(bytes[10..], [0, 0, 0, 0, 0, 7]);
    }
    // 2999 = 2 * 1024 + 951: the upper part counts what overflows the lower one.
    assert_eq!(ids[2999].to_string(), "019e42e7-6cc0-7002-bb70-000000000007");
}

#[test]
fn ids_keep_growing_when_the_clock_goes_back_or_stands_outside_its_range() {
    let source = IdSource::new(1);
    let times = [
        NOW,
        Timestamp::from_unix_nanos(NOW.unix_nanos() - 3_600_000_000_000),
        Timestamp::MIN,
        Timestamp::from_unix_nanos(0),
        Timestamp::from_unix_nanos(NOW.unix_nanos() + 1_000_000),
        Timestamp::MAX,
        NOW,
    ];
    let ids: Vec<_> = times.iter().map(|&time| source.next(time)).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn ids_are_strictly_increasing_in_each_thread_and_unique_across_them() {
    let source = IdSource::new(42);
    let mut all = HashSet::new();
    let of_threads: Vec<Vec<RecordId>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5000).map(|_| source.next(NOW)).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for ids in of_threads {
        assert!(ids.is_sorted_by(|a, b| a < b));
        all.extend(ids);
    }
    assert_eq!(all.len(), 8 * 5000);
}

#[test]
fn an_id_is_read_from_its_text_and_its_bytes() {
    let id = IdSource::new(9).next(NOW);
    assert_eq!(id.to_string().parse(), Ok(id));
    assert_eq!(RecordId::from_bytes(*id.as_bytes()), id);
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{id}\""));
    assert_eq!(serde_json::from_str::<RecordId>(&json).unwrap(), id);
    for text in [
        "",
        "0197",
        "c232ab00-9414-41ec-b3c8-9f6bdeced846",
        "00000000-0000-0000-0000-000000000000",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "01890a5dac96774bbcceb302099a8057",
        "01890a5d-ac96-774b-0cce-b302099a8057",
    ] {
        assert_eq!(
            text.parse::<RecordId>().unwrap_err().to_string(),
            format!(
                "`{text}` is not a UUID of version 7, such as \
                 `01890a5d-ac96-774b-bcce-b302099a8057`"
            )
        );
    }
}

#[test]
fn event_ids_sort_by_time() {
    let source = IdSource::new(3);
    let first = source.event_id(NOW);
    let second = source.event_id(NOW);
    assert_eq!(first, "evt_019e42e7-6cc0-7000-8000-000000000003");
    assert!(first < second);
}
