//! What the door refuses, what is not there, and the probes.

use std::sync::Arc;
use std::time::Duration;

use wasink_record::{Record, RecordId, Stream};
use wasink_serve::{AppendError, Appending, Door, Limits, Listen, Server};

use super::client::{Request, Target, send};
use super::kit::{Bench, Lines, PATIENCE, parts, usage};

#[test]
fn what_the_door_refuses_is_told_with_when_to_try_again() {
    let bench = Bench::new();
    let second = Duration::from_secs(1);
    for (error, status, problem, retry_after) in [
        (AppendError::Full { retry_after: Duration::ZERO }, 429, "full", Some("1")),
        (AppendError::Full { retry_after: second }, 429, "full", Some("1")),
        (AppendError::Full { retry_after: second * 3 / 2 }, 429, "full", Some("2")),
        (
            AppendError::Unavailable { reason: "disk full".to_owned(), retry_after: second * 7 },
            503,
            "unavailable",
            Some("7"),
        ),
        (AppendError::Closed, 503, "closed", Some("5")),
        (AppendError::NoSink, 404, "no-sink", None),
    ] {
        let message = error.to_string();
        bench.door.refuse(error);
        let answer = bench.send(&Request::lines("control", control()));
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem));
        assert_eq!(answer.header("retry-after"), retry_after);
        if problem == "no-sink" {
            assert!(answer.detail().contains("`control`"), "{}", answer.detail());
        } else {
            assert_eq!(answer.detail(), message);
        }
    }
    assert_eq!(bench.send(&Request::lines("control", control())).status, 200);
}

fn control() -> &'static str {
    r#"{"id":0,"event_id":"evt_1","type":"stack.activated","tenant_id":"acme","stack_id":"shop","version":7,"control_version":1}"#
}

#[test]
fn a_record_that_the_door_finds_too_large_is_told_by_its_index_in_the_request() {
    let bench = Bench::new();
    bench.door.refuse(AppendError::TooLarge { index: 1, bytes: 2000, limit: 1000 });
    let body = format!("{}\n{{}}\n{}", usage("1"), usage("2"));
    let answer = bench.send(&Request::lines("usage", body));
    assert_eq!((answer.status, answer.problem()), (413, "record-too-large".to_owned()));
    let json = answer.json();
    assert_eq!(json["accepted"], 0);
    assert_eq!(json["rejected"][0]["index"], 2);
    assert_eq!(json["rejected"][0]["message"], "the record takes 2000 bytes, 1000 is the most");
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let bench = Bench::new();
    for path in ["/v1/kafka", "/v1/Usage", "/v1/%ff"] {
        let unknown = bench.send(&Request { path: path.to_owned(), ..Request::lines("x", "") });
        assert_eq!((unknown.status, unknown.problem()), (404, "unknown-stream".to_owned()));
        assert_eq!(
            unknown.detail(),
            "unknown stream, the streams are `metering`, `usage`, `control`, `events`"
        );
    }
    for path in ["/", "/v1", "/v1/", "/v1/usage/1", "/v2/usage", "/metrics"] {
        let nothing = bench.send(&Request { path: path.to_owned(), ..Request::lines("x", "") });
        assert_eq!((nothing.status, nothing.problem()), (404, "not-found".to_owned()), "{path}");
        assert!(nothing.detail().contains("`/v1/{stream}`"));
    }
}

#[test]
fn another_method_is_refused_with_those_that_are_allowed() {
    let bench = Bench::new();
    for (method, path, allowed) in [
        ("GET", "/v1/usage", "POST"),
        ("PUT", "/v1/usage", "POST"),
        ("OPTIONS", "/v1/usage", "POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("POST", "/readyz", "GET, HEAD"),
    ] {
        let answer = bench.send(&Request { method, ..Request::get(path) });
        assert_eq!((answer.status, answer.problem()), (405, "method-not-allowed".to_owned()));
        let mut methods: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
        let all = answer.headers.iter().filter(|(name, _)| name == "allow").count();
        methods.sort_unstable();
        assert_eq!((methods.join(", ").as_str(), all), (allowed, 1), "{method} {path}");
    }
}

#[test]
fn it_is_alive_and_ready_as_long_as_it_is_told_so() {
    let bench = Bench::new();
    for path in ["/livez", "/readyz"] {
        for target in [bench.tcp(), bench.unix()] {
            let answer = send(&target, &Request::get(path));
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"), "{path}");
        }
    }
    let unready = Arc::new(|| Err("the journal is read back".to_owned()));
    let bench = Bench::start(Limits::default(), unready, |_| {});
    assert_eq!(bench.send(&Request::get("/livez")).status, 200);
    let answer = bench.send(&Request::get("/readyz"));
    assert_eq!((answer.status, answer.problem()), (503, "not-ready".to_owned()));
    assert_eq!(answer.detail(), "the journal is read back");
}

#[test]
fn what_is_not_http_gets_an_error_and_the_server_goes_on() {
    let bench = Bench::new();
    let mut connection = super::client::Connection::open(&bench.tcp());
    connection.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n").unwrap();
    connection.end();
    let rest = String::from_utf8(connection.rest()).unwrap();
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400"), "{rest}");
    // A body that ends before its end takes nothing.
    let request = Request::lines("usage", usage("1") + "\n").with("Content-Length", "1000");
    let mut connection = super::client::Connection::open(&bench.tcp());
    connection.write(&request.bytes()).unwrap();
    connection.end();
    drop(connection.rest());
    assert_eq!(bench.send(&Request::lines("usage", usage("2"))).status, 200);
    assert_eq!(bench.door.lines(), [usage("2")]);
}

struct Broken;

impl Door for Broken {
    fn append(&self, _: Stream, _: Vec<(Option<RecordId>, Record)>) -> Appending {
        panic!("the door is broken, as this test wants it");
    }
}

#[test]
fn an_error_of_the_server_itself_is_told_as_one_and_the_server_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let listen = Listen { socket: Some(socket.clone()), ..Listen::default() };
    let parts = parts(Broken, Arc::new(|| Ok(())), Arc::new(Lines::default()));
    let server = Server::start(&listen, Limits::default(), &parts).unwrap();
    let request = Request::lines("usage", usage("1")).with("Idempotency-Key", "a");
    for _ in 0..2 {
        let answer = send(&Target::Unix(socket.clone()), &request);
        assert_eq!((answer.status, answer.problem()), (500, "internal".to_owned()));
    }
    assert_eq!(server.stop(PATIENCE), 0);
}
