//! Idempotency keys: once appended, however often it is sent.

use std::time::{Duration, Instant};

use wasink_record::RecordId;
use wasink_serve::{AppendError, Limits};

use super::client::{Connection, Request, finish};
use super::kit::{Bench, PATIENCE, usage};

const KEY: &str = "\"8e03978e-40d5-43dd-bc93-6894a57f9324\"";

fn keyed(key: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::lines("usage", body).with("Idempotency-Key", key)
}

#[test]
fn the_same_request_is_answered_again_and_appended_once() {
    let bench = Bench::new();
    let body = format!("{}\n{{}}\n{}", usage("1"), usage("2"));
    let first = bench.send(&keyed(KEY, body.as_str()));
    assert_eq!(first.status, 200);
    assert_eq!(first.header("idempotent-replayed"), None);
    for key in [KEY, KEY.trim_matches('"')] {
        let again = bench.send(&keyed(key, body.as_str()));
        assert_eq!(again.status, 200);
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
    }
    assert_eq!(bench.door.lines(), [usage("1"), usage("2")]);
    // Another key, another stream, or none: another request.
    assert_ne!(bench.send(&keyed("other", body.as_str())).ids(), first.ids());
    let event = Request::lines("events", super::kit::event("1", "1"));
    assert_eq!(bench.send(&event.with("Idempotency-Key", KEY)).status, 200);
    assert_eq!(bench.send(&Request::lines("usage", body)).status, 200);
    assert_eq!(bench.door.taken().len(), 4);
}

#[test]
fn the_same_request_has_the_same_ids_after_a_restart_and_another_has_others() {
    let body = format!("{}\n{}", usage("1"), usage("1"));
    let ids = |body: &str| {
        let bench = Bench::new();
        let ids = bench.send(&keyed(KEY, body)).ids();
        let given = bench.door.taken()[0].given.clone();
        let given: Vec<_> = given.iter().map(|id| id.unwrap().to_string()).collect();
        assert_eq!(ids, given);
        // They are ids as all others are, and are read as such.
        assert!(ids.iter().all(|id| id.parse::<RecordId>().is_ok()), "{ids:?}");
        ids
    };
    let first = ids(&body);
    assert_ne!(first[0], first[1]);
    assert_eq!(ids(&body), first);
    // Should somebody use the key for something else, nothing takes it for the same.
    let other = ids(&(body + " "));
    assert!(first.iter().all(|id| !other.contains(id)), "{first:?} {other:?}");
}

#[test]
fn an_id_that_an_envelope_brings_is_kept() {
    let bench = Bench::new();
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let request = Request::post("/v1/usage", super::kit::event(id, &usage("1")))
        .with("Content-Type", "application/cloudevents+json")
        .with("Idempotency-Key", KEY);
    assert_eq!(bench.send(&request).ids(), [id]);
    assert_eq!(bench.send(&request).ids(), [id]);
    assert_eq!(bench.door.taken().len(), 1);
}

#[test]
fn a_key_with_another_body_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.send(&keyed(KEY, usage("1"))).status, 200);
    let other = bench.send(&keyed(KEY, usage("2")));
    assert_eq!((other.status, other.problem()), (422, "idempotency-key-reused".to_owned()));
    let mut typed = keyed(KEY, usage("1"));
    typed.headers[0].1 = "application/json".to_owned();
    assert_eq!(bench.send(&typed).status, 422);
    // How it is compressed does not make another request.
    let compressed = zstd::encode_all(usage("1").as_bytes(), 1).unwrap();
    let same = bench.send(&keyed(KEY, compressed).with("Content-Encoding", "zstd"));
    assert_eq!((same.status, same.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(bench.door.taken().len(), 1);
}

#[test]
fn while_a_request_is_under_way_its_key_is_in_use() {
    let bench = Bench::new();
    bench.door.shut();
    let request = keyed(KEY, usage("1"));
    let mut first = Connection::open(&bench.tcp());
    first.write(&request.bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    let second = bench.send(&request);
    assert_eq!((second.status, second.problem()), (409, "idempotency-key-in-use".to_owned()));
    assert_eq!(second.header("retry-after"), Some("1"));
    assert_eq!(bench.send(&keyed(KEY, usage("2"))).status, 422);
    bench.door.open();
    let first = finish(first, &request);
    assert_eq!(bench.send(&request).body, first.body);
    assert_eq!(bench.door.taken().len(), 1);
}

#[test]
fn a_request_whose_client_went_away_is_remembered_all_the_same() {
    let bench = Bench::new();
    bench.door.shut();
    let request = keyed(KEY, usage("1"));
    let mut gone = Connection::open(&bench.tcp());
    gone.write(&request.bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    drop(gone);
    bench.door.open();
    let until = Instant::now() + PATIENCE;
    let mut answer = bench.send(&request);
    while answer.status == 409 && Instant::now() < until {
        answer = bench.send(&request);
    }
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(bench.door.taken().len(), 1);
}

#[test]
fn what_was_refused_is_not_remembered() {
    let bench = Bench::new();
    bench.door.refuse(AppendError::Full { retry_after: Duration::ZERO });
    assert_eq!(bench.send(&keyed(KEY, usage("1"))).status, 429);
    assert_eq!(bench.send(&keyed("other", "{}")).status, 400);
    for key in [KEY, "other"] {
        let answer = bench.send(&keyed(key, usage("1")));
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (200, None), "{key}");
    }
    assert_eq!(bench.door.taken().len(), 2);
}

#[test]
fn a_key_is_forgotten_when_there_are_too_many_or_its_time_is_over() {
    let bench = Bench::limited(Limits { keys: 2, ..Limits::default() });
    for key in ["1", "2", "3"] {
        assert_eq!(bench.send(&keyed(key, usage("1"))).status, 200);
    }
    for (key, replayed) in [("3", true), ("2", true), ("1", false)] {
        let answer = bench.send(&keyed(key, usage("1")));
        assert_eq!(answer.header("idempotent-replayed").is_some(), replayed, "{key}");
    }
    let bench = Bench::limited(Limits { key_age: Duration::ZERO, ..Limits::default() });
    let first = bench.send(&keyed(KEY, usage("1")));
    let again = bench.send(&keyed(KEY, usage("1")));
    assert_eq!(again.header("idempotent-replayed"), None);
    assert_eq!(again.ids(), first.ids());
    assert_eq!(bench.door.taken().len(), 2);
}

#[test]
fn what_is_no_key_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let long = "x".repeat(256);
    for key in ["", "\"\"", "\"open", "\"a\"b\"", "\"a\\n\"", "a b", "a\"b", "é", &long] {
        let answer = bench.send(&keyed(key, usage("1")));
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "bad-idempotency-key".to_owned()),
            "{key}"
        );
        assert!(answer.detail().contains("printable ASCII"), "{}", answer.detail());
    }
    let twice = keyed(KEY, usage("1")).with("Idempotency-Key", KEY);
    assert_eq!(bench.send(&twice).status, 400);
    let good = ["\"a \\\"b\\\\\"", "a", &"x".repeat(255)];
    assert!(good.iter().all(|key| bench.send(&keyed(key, usage("1"))).status == 200));
}
