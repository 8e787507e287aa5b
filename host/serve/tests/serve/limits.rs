//! Sizes, numbers and times: what is too much is refused, and what is too slow is ended.

use std::time::{Duration, Instant};

use wasink_serve::Limits;

use super::client::{Connection, Request, finish, send};
use super::kit::{Bench, PATIENCE, usage};

fn short() -> Limits {
    Limits { read_timeout: Duration::from_millis(300), ..Limits::default() }
}

#[test]
fn a_body_that_is_too_large_is_refused_before_and_while_it_is_sent() {
    let bench = Bench::limited(Limits { body_bytes: 1000, ..Limits::default() });
    // Larger than what the system holds on its way, so that the refusal is not lost.
    let body = vec![b' '; 8 << 20];
    let answer = bench.send(&Request::lines("usage", body.clone()));
    assert_eq!((answer.status, answer.problem()), (413, "too-large".to_owned()));
    assert_eq!(answer.detail(), "the body has more than 1000 bytes as it is sent, divide it");

    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let request = Request::lines("usage", chunked).with("Transfer-Encoding", "chunked");
    assert_eq!(bench.send(&request).status, 413);

    let fits = usage("1") + &" ".repeat(1000 - usage("1").len());
    assert_eq!(bench.send(&Request::lines("usage", fits)).status, 200);
}

#[test]
fn a_client_that_asks_first_is_refused_without_sending_its_body() {
    let bench = Bench::limited(Limits { body_bytes: 1000, ..Limits::default() });
    let mut request =
        Request::lines("usage", "").with("Expect", "100-continue").with("Content-Length", "1001");
    assert_eq!(send(&bench.tcp(), &request).status, 413);
    request = Request::lines("usage", usage("1")).with("Expect", "100-continue");
    let bytes = request.bytes();
    let mut connection = Connection::open(&bench.tcp());
    connection.write(&bytes).unwrap();
    let text = String::from_utf8(connection.rest()).unwrap();
    let rest = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[test]
fn there_may_be_so_many_records_and_no_more() {
    let bench = Bench::limited(Limits { records: 3, ..Limits::default() });
    let of = |count: usize| vec![usage("1"); count];
    assert_eq!(bench.send(&Request::lines("usage", of(3).join("\n"))).status, 200);
    let array = format!("[{}]", of(3).join(","));
    assert_eq!(bench.post("usage", "application/json", array).status, 200);
    let lines = bench.send(&Request::lines("usage", of(4).join("\n")));
    let array = bench.post("usage", "application/json", format!("[{}]", of(4).join(",")));
    for answer in [lines, array] {
        assert_eq!((answer.status, answer.problem()), (413, "too-many-records".to_owned()));
        assert_eq!(answer.detail(), "a request may have 3 records, divide it");
    }
    assert_eq!(bench.door.lines().len(), 6);
}

#[test]
fn a_record_that_is_too_large_is_rejected_and_the_others_are_taken() {
    let long = usage(&"x".repeat(200));
    let limits = Limits { record_bytes: long.len() - 1, ..Limits::default() };
    let bench = Bench::limited(limits);
    let answer =
        bench.send(&Request::lines("usage", format!("{}\n{long}\n{}", usage("1"), usage("2"))));
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json["accepted"], 2);
    assert_eq!(
        (&json["rejected"][0]["index"], &json["rejected"][0]["line"]),
        (&1.into(), &2.into())
    );
    assert_eq!(
        json["rejected"][0]["message"],
        format!("the record has {} bytes, {} is the most", long.len(), long.len() - 1)
    );
    let data = Request::post("/v1/usage", long).with("Content-Type", "application/json");
    let data = ["id", "source", "type"]
        .iter()
        .fold(data, |data, name| data.with(&format!("ce-{name}"), "x"))
        .with("ce-specversion", "1.0");
    assert_eq!(bench.send(&data).status, 400);
}

#[test]
fn a_body_that_takes_too_long_is_given_up() {
    let bench = Bench::limited(short());
    for target in [bench.tcp(), bench.unix()] {
        let request = Request::lines("usage", "").with("Content-Length", "10");
        let mut connection = Connection::open(&target);
        connection.write(&request.bytes()).unwrap();
        let answer = finish(connection, &request);
        assert_eq!((answer.status, answer.problem()), (408, "timeout".to_owned()));
        assert_eq!(answer.header("connection"), Some("close"));
    }
}

#[test]
fn a_head_that_takes_too_long_or_never_comes_ends_the_connection() {
    let bench = Bench::limited(short());
    for sent in [&b""[..], b"POST /v1/usage HTTP/1.1\r\nHost: lo"] {
        let mut connection = Connection::open(&bench.tcp());
        connection.write(sent).unwrap();
        let rest = String::from_utf8(connection.rest()).unwrap();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    // So does one that has been of use, and is not any more.
    let request = String::from_utf8(Request::get("/livez").bytes()).unwrap();
    let mut connection = Connection::open(&bench.tcp());
    connection.write(request.replace("Connection: close\r\n", "").as_bytes()).unwrap();
    connection.until("ok\n");
    assert_eq!(connection.rest(), b"");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let bench = Bench::limited(Limits { head_bytes: 8 << 10, headers: 20, ..Limits::default() });
    let large = Request::get("/livez").with("X-Filler", &"x".repeat(8 << 10));
    let many = (0..20)
        .fold(Request::get("/livez"), |request, index| request.with(&format!("x-{index}"), "1"));
    for request in [large, many] {
        let request = Request { path: "/v1/usage".to_owned(), ..request };
        assert_eq!(bench.send(&request).status, 431);
    }
}

#[test]
fn only_so_many_connections_are_served_at_once() {
    let bench = Bench::limited(Limits { connections: 2, ..Limits::default() });
    bench.door.shut();
    let request = Request::lines("usage", usage("1"));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = Connection::open(&bench.tcp());
            connection.write(&request.bytes()).unwrap();
            connection
        })
        .collect();
    for _ in 0..2 {
        bench.begun.recv_timeout(PATIENCE).unwrap();
    }
    // The other listener has places of its own, and what it serves now began later than the third.
    assert_eq!(send(&bench.unix(), &Request::get("/livez")).status, 200);
    assert!(bench.begun.try_recv().is_err(), "a third is served");
    bench.door.open();
    for connection in waiting {
        assert_eq!(finish(connection, &request).status, 200);
    }
}

#[test]
fn what_is_held_of_all_requests_together_is_bounded_and_given_back() {
    let body = usage("1") + &" ".repeat(100 << 10);
    let bench = Bench::limited(Limits { bytes_under_way: 150 << 10, ..Limits::default() });
    let request = Request::lines("usage", body);
    bench.door.shut();
    let mut first = Connection::open(&bench.tcp());
    first.write(&request.bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    let busy = bench.send(&request);
    assert_eq!((busy.status, busy.problem()), (503, "busy".to_owned()));
    assert_eq!(busy.header("retry-after"), Some("1"));
    bench.door.open();
    assert_eq!(finish(first, &request).status, 200);
    for _ in 0..5 {
        assert_eq!(bench.send(&request).status, 200);
    }
}

#[test]
fn a_client_that_does_not_take_its_answer_is_given_up() {
    let write_timeout = Duration::from_millis(300);
    let bench = Bench::limited(Limits { write_timeout, ..Limits::default() });
    // More than the system holds on its way.
    let body = vec![usage("1"); 30_000].join("\n");
    let mut connection = Connection::open(&bench.unix());
    connection.write(&Request::lines("usage", body).bytes()).unwrap();
    bench.begun.recv_timeout(PATIENCE).unwrap();
    let began = Instant::now();
    assert_eq!(bench.server.stop(PATIENCE), 0);
    assert!(began.elapsed() < PATIENCE / 2);
    let got = String::from_utf8(connection.rest()).unwrap();
    assert!(got.starts_with("HTTP/1.1 200 OK"));
    assert!(!got.ends_with('}'), "all of it came");
}
