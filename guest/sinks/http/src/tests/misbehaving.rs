//! Over TCP, against a receiver that misbehaves.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wasink_guest::testing::http::{Received, Receiver, Reply, over_tcp};
use wasink_guest::{Sink as _, testing};

use super::{batch, fates, in_doubt, retried, sink_to};
use crate::Http;

/// Short, for those that wait for it.
const HASTY: &str = r#","timeouts":{"first_byte_ms":300,"between_bytes_ms":300,"request_ms":600}"#;

fn over(receiver: &Receiver, more: &str) -> Http {
    over_tcp();
    sink_to(&receiver.url("/events").to_string(), &format!(r#""answer_bytes":2000{more}"#))
}

/// What becomes of a batch whose requests are all replied to so.
fn told_by(more: &str, reply: Reply) -> Result<String, String> {
    let receiver = Receiver::new(move |_| reply.clone());
    let batch = batch(0, 3);
    match over(&receiver, more).write(&batch) {
        Ok(outcomes) => Ok(fates(&batch, Ok(outcomes))),
        Err(failure) => Err(in_doubt(Err(failure)).0),
    }
}

fn told(reply: Reply) -> Result<String, String> {
    told_by("", reply)
}

#[test]
fn a_good_receiver_gets_all_of_it() {
    let receiver = Receiver::new(|_| Reply::status(204));
    let all = batch(0, 100);
    let mut sink = over(&receiver, r#","max_records":30,"id_header":"webhook-id""#);
    assert_eq!(fates(&all, sink.write(&all)), "d".repeat(100));
    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|request| request.method == "POST" && request.path == "/events"));
    assert!(received[0].header("webhook-id").unwrap().starts_with(&all.ids()[0]));
}

#[test]
fn an_answer_in_chunks_or_after_a_hundred_is_an_answer() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let late = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(told(Reply::raw(chunked)).unwrap(), "ddd");
    assert_eq!(told(Reply::raw(late)).unwrap(), "ddd");
}

#[test]
fn without_a_whole_answer_everything_comes_again() {
    for reply in [
        Reply::raw(""),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Len"),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour"),
        Reply::raw("HTTP/1.1 400 Bad\r\nContent-Length: 10\r\n\r\nfour"),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        Reply::raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        Reply::raw("220 smtp.example ready\r\n\r\n"),
        Reply::reset(""),
        Reply::reset("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour"),
        Reply::endless("HTTP/1.1 200 OK\r\n", "X-Header: again\r\n"),
    ] {
        let said = format!("{reply:?}");
        let reason = told(reply).unwrap_err();
        assert!(reason.contains("sent, but"), "{said}: {reason}");
    }
}

#[test]
fn a_slow_receiver_holds_nobody_up_for_long() {
    let begun = Instant::now();
    for reply in [
        Reply::silent(),
        Reply::drip("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Duration::from_millis(100)),
    ] {
        assert!(told_by(HASTY, reply).unwrap_err().contains("too long"));
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_body_without_end_does_not_matter_unless_it_decides() {
    let endless = || Reply::endless("HTTP/1.1 200 OK\r\n\r\n", "[".repeat(24));
    assert_eq!(told(endless()).unwrap(), "ddd");
    let receiver = Receiver::new(move |_| endless());
    let mut sink = over(&receiver, r#","results":{"status":"/s"}"#);
    let (reason, _) = in_doubt(sink.write(&batch(0, 3)));
    assert!(reason.contains("`answer_bytes`"), "{reason}");
}

#[test]
fn wrong_json_decides_nothing() {
    let receiver = Receiver::new(|_| Reply::status(200).body(r#"{"results":[{"s":2"#));
    let mut sink = over(&receiver, r#","results":{"list":"/results","status":"/s"}"#);
    assert!(in_doubt(sink.write(&batch(0, 3))).0.contains("no JSON"));
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let gone = Receiver::new(|_| Reply::status(200));
    let mut sink = over(&gone, "");
    let origin = gone.url("/").origin();
    drop(gone);
    let (reason, _) = retried(sink.write(&batch(0, 3)));
    assert!(reason.contains("no connection") && reason.contains(&origin), "{reason}");
}

#[test]
fn a_receiver_that_fails_now_and_then_gets_every_record_in_the_end() {
    let mut count = 0;
    let receiver = Receiver::new(move |request: &Received| {
        count += 1;
        let bad = request.body.windows(9).any(|window| window == br#"{"at":13}"#);
        match count % 5 {
            1 => Reply::reset("HTTP/1.1 200 OK\r\nContent-Le"),
            2 => Reply::status(500).body("oops"),
            3 => Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"),
            _ if bad => Reply::status(400).body("thirteen"),
            _ => Reply::status(200),
        }
    });
    let mut sink = over(&receiver, r#","max_records":4"#);
    let mut ends = BTreeMap::new();
    let mut runs = vec![(0_u64, 20_usize)];
    let mut calls = 0;
    while let Some((from, records)) = runs.pop() {
        calls += 1;
        assert!(calls < 500, "{ends:?}");
        let some = batch(from, records);
        match sink.write(&some) {
            Err(failure) => {
                in_doubt(Err(failure));
                runs.push((from, records));
            }
            Ok(outcomes) => {
                for (at, fate) in (from..).zip(fates(&some, Ok(outcomes)).chars()) {
                    if fate == 'r' || fate == '?' {
                        runs.push((at, 1));
                    } else {
                        assert_eq!(ends.insert(at, fate), None, "twice an end for {at}");
                    }
                }
            }
        }
    }
    let ends: String = ends.values().collect();
    assert_eq!(ends, "dddddddddddddxdddddd");
    assert!(!testing::logged().is_empty());
}
