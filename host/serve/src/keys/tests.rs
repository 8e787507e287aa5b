//! Keys over time, which no client can see without waiting.

use std::time::{Duration, Instant};

use wasink_record::{RecordId, Stream};

use super::{Claim, Key, Keys, Known};

const AGE: Duration = Duration::from_secs(600);

fn key(text: &str) -> Key {
    Key(text.to_owned())
}

fn claim(keys: &std::sync::Arc<Keys>, text: &str, now: Instant) -> Option<Claim> {
    match keys.claim(&key(text), Stream::Usage, [1; 32], now).unwrap() {
        Known::New(claim) => Some(claim),
        Known::Done => None,
    }
}

#[test]
fn a_key_is_remembered_for_its_age_after_its_end() {
    let keys = Keys::new(10, AGE);
    let start = Instant::now();
    let under_way = claim(&keys, "a", start).unwrap();
    // However long it takes.
    assert!(keys.claim(&key("a"), Stream::Usage, [1; 32], start + 3 * AGE).is_err());
    under_way.keep(start + 3 * AGE);
    assert!(claim(&keys, "a", start + 4 * AGE - Duration::from_nanos(1)).is_none());
    assert!(claim(&keys, "a", start + 4 * AGE).is_some());
}

#[test]
fn the_oldest_key_goes_first_and_none_that_is_under_way() {
    let keys = Keys::new(2, AGE);
    let now = Instant::now();
    let under_way = claim(&keys, "under way", now).unwrap();
    for text in ["a", "b", "c", "d"] {
        claim(&keys, text, now).unwrap().keep(now);
    }
    assert!(keys.claim(&key("under way"), Stream::Usage, [1; 32], now).is_err());
    assert!(claim(&keys, "d", now).is_none());
    assert!(claim(&keys, "c", now).is_none());
    assert!(claim(&keys, "b", now).is_some());
    under_way.keep(now);
    assert_eq!(keys.memory().requests.len(), 2);
}

#[test]
fn a_claim_that_is_dropped_frees_its_key() {
    let keys = Keys::new(2, AGE);
    let now = Instant::now();
    drop(claim(&keys, "a", now).unwrap());
    assert!(keys.memory().requests.is_empty());
    assert!(claim(&keys, "a", now).is_some());
}

#[test]
fn streams_have_keys_of_their_own() {
    let keys = Keys::new(2, AGE);
    let now = Instant::now();
    claim(&keys, "a", now).unwrap().keep(now);
    let other = keys.claim(&key("a"), Stream::Control, [2; 32], now).unwrap();
    assert!(matches!(other, Known::New(_)));
}

/// Receivers know records by them for longer than any version of this lives.
#[test]
fn ids_are_made_as_they_always_were() {
    let id = key("8e03978e").id(Stream::Usage, &[7; 32], 3);
    assert_eq!(id.to_string(), "e1d6e2b6-d1eb-7d59-bdc7-7505dd598725");
}

#[test]
fn ids_have_the_shape_of_version_7_and_differ_in_everything_that_they_are_made_of() {
    let mut ids = Vec::new();
    for text in ["a", "b", "ab"] {
        for stream in Stream::ALL {
            for body in [[0; 32], [1; 32]] {
                ids.extend((0..50).map(|index| key(text).id(stream, &body, index)));
            }
        }
    }
    for id in &ids {
        assert_eq!(id.to_string().parse::<RecordId>().as_ref(), Ok(id));
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
