//! The sink `http` in the real command, and a receiver that does all that receivers do.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wasink_guest::testing::http::{Received, Receiver, Reply};

use super::operator::Operator;
use super::service::{Client, serve};

fn usage(rid: &str) -> String {
    format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    )
}

/// The request ids in a body of NDJSON.
fn rids(request: &Received) -> Vec<String> {
    let rid = |line: &str| {
        let value: Value = serde_json::from_str(line).unwrap();
        value["rid"].as_str().unwrap().to_owned()
    };
    str::from_utf8(&request.body).unwrap().lines().map(rid).collect()
}

fn endless_headers() -> Reply {
    Reply::endless("HTTP/1.1 200 OK\r\n", "x: y\r\n")
}

/// All that a receiver does on bad days.
fn bad_days() -> Vec<Reply> {
    let body = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":";
    vec![
        Reply::status(500).body("oh no"),
        Reply::status(503).header("Retry-After", "0"),
        Reply::status(429),
        Reply::raw(body),
        Reply::raw(""),
        Reply::raw("HTTP/1.1 two hundred\r\n\r\n"),
        Reply::raw("\0\x01\x02 not HTTP at all"),
        Reply::reset(""),
        Reply::reset("HTTP/1.1 200 OK\r\ncontent-le"),
        Reply::drip("HTTP/1.1 500 Slow\r\ncontent-length: 2\r\n\r\nno", Duration::from_millis(5)),
        Reply::drip(body, Duration::from_millis(1)),
        endless_headers(),
        Reply::endless("HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n"),
        Reply::status(302).header("Location", "http://169.254.169.254/latest/meta-data"),
        Reply::status(307).header("Location", "http://localhost:1/elsewhere"),
        Reply::status(401).body("who are you?"),
        Reply::status(404),
        Reply::silent(),
    ]
}

/// A receiver that has these bad days and then takes what comes, a record called `bad` excepted.
fn receiver(mut bad_days: Vec<Reply>) -> Receiver {
    Receiver::new(move |request| match bad_days.pop() {
        Some(bad_day) => bad_day,
        None if rids(request).iter().any(|rid| rid == "bad") => {
            Reply::status(422).body("{\"error\":\"\x1b[31mno such customer\"}")
        }
        None => Reply::status(200).body("{}"),
    })
}

#[test]
fn whatever_a_receiver_does_nothing_is_lost_and_only_what_it_refuses_is_rejected() {
    // A few each: who fails again and again is left alone for longer and longer.
    let mut bad_days = bad_days();
    thread::scope(|scope| {
        while !bad_days.is_empty() {
            let some = bad_days.split_off(bad_days.len().saturating_sub(5));
            scope.spawn(move || get_through(some));
        }
    });
}

/// Records arrive at a receiver with such days.
fn get_through(bad_days: Vec<Reply>) {
    let endless = bad_days.contains(&endless_headers());
    let receiver = receiver(bad_days);
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        format!(
            "listen.http = ''\njournal.window = '0s'\n[usage]\nenabled = false\n\
             [[sink]]\nname = 'out'\nplugin = 'http'\nstreams = ['usage']\nbatch.age = '0s'\n\
             limits.http_headers = '16KiB'\n\
             [sink.settings]\nurl = '{}'\nformat = 'ndjson'\nmax_records = 10\n\
             idempotency_header = 'Idempotency-Key'\n\
             timeouts = {{ first_byte_ms = 500, between_bytes_ms = 500, request_ms = 1000 }}\n\
             [[sink.grants.http]]\norigin = '{}'\n",
            receiver.url("/in"),
            receiver.url("/").origin()
        ),
    );
    let running = serve(&operator);
    let mut client = Client::connect(&operator);
    let mut sent = BTreeSet::new();
    for n in 0..50 {
        let rid = if n == 17 { "bad".to_owned() } else { format!("r{n:02}") };
        let (status, body) = client.post("usage", "application/x-ndjson", &usage(&rid)).unwrap();
        assert_eq!(status, 200, "{body}");
        sent.insert(rid);
    }
    let status = operator.await_json("status --json", |status| {
        let lane = &status["sinks"][3]["lanes"][0];
        lane["pending"] == 0 && lane["rejected"] == 1
    });
    let out = &status["sinks"][3];
    let lane = &out["lanes"][0];
    assert_eq!((&lane["delivered"], &lane["rejected"]), (&49.into(), &1.into()), "{status:#}");
    // On a busy machine endless headers end at a deadline before they end at their limit.
    assert!(endless || out["limits"]["http_headers"].is_null(), "{status:#}");

    let dead = operator.says("dead list --json").expect(0).json();
    let letters = dead["dead"].as_array().unwrap();
    assert_eq!(letters.len(), 1, "{dead:#}");
    assert!(letters[0].to_string().contains("no such customer"), "{dead:#}");
    running.signal("TERM");
    running.end().expect(143);

    // What was taken with a whole answer is what was sent, and requests that are the same have the
    // same name.
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for request in receiver.received() {
        let ids = rids(&request);
        seen.extend(ids.clone());
        let key = request.header("idempotency-key").unwrap().to_owned();
        let known = keys.entry(key).or_insert_with(|| ids.clone());
        assert_eq!(*known, ids);
    }
    assert_eq!(seen, sent);
}
