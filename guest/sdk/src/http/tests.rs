//! Addresses, answers, and the client for tests against receivers that misbehave.

use std::time::{Duration, Instant};

use super::*;
use crate::native;
use crate::testing::http::{Receiver, Reply, over_tcp};

fn url(text: &str) -> Result<Url, Error> {
    text.parse()
}

#[test]
fn a_url_is_taken_apart() {
    for (text, origin, path) in [
        ("https://example.org", "https://example.org", "/"),
        ("HTTPS://Example.ORG:443/a/b?c=d&e=%20", "https://example.org", "/a/b?c=d&e=%20"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080", "/x"),
        ("http://[::1]:80?q", "http://[::1]", "/?q"),
        ("http://[2001:db8::1]:9/", "http://[2001:db8::1]:9", "/"),
    ] {
        let url = url(text).unwrap();
        assert_eq!((url.origin().as_str(), url.path_and_query()), (origin, path), "{text}");
        assert_eq!(url.to_string().parse::<Url>().unwrap(), url);
    }
    assert_eq!(url("https://a/").unwrap().port(), 443);
    assert_eq!(url("https://a:8443/x?y").unwrap().path(), "/x");
}

#[test]
fn what_is_no_url_is_refused() {
    for text in [
        "",
        "example.org",
        "/events",
        "ftp://example.org",
        "https://",
        "https:///x",
        "https://a b/",
        "https://a:0/",
        "https://a:65536/",
        "https://a:+1/",
        "https://a:/",
        "https://a:b/",
        "https://[::1/",
        "https://[::g]/",
        "https://[::1]x/",
        "https://a/#b",
        "https://a/ b",
        "https://a/\r\nx: y",
        "https://a/\u{e4}",
        "https://\u{e4}/",
        "https://a\\b/",
        "https://a/<b>",
        "http://%41/",
    ] {
        assert!(matches!(url(text), Err(Error::Invalid(_))), "{text:?}");
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_not_repeated() {
    let error = url("https://me:hunter2@example.org/").unwrap_err().to_string();
    assert!(error.contains("granted") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_location_leads_to_a_url() {
    let from = url("https://a.example/x?y").unwrap();
    for (location, to) in [
        ("/z", "https://a.example/z"),
        ("//b.example/z", "https://b.example/z"),
        ("https://a.example:443/z#part", "https://a.example/z"),
        ("http://a.example/", "http://a.example/"),
    ] {
        assert_eq!(from.follow(location).unwrap().to_string(), to);
    }
    for location in ["", "z", "../z", "ftp://a.example/"] {
        assert!(from.follow(location).is_err(), "{location}");
    }
}

#[test]
fn a_header_that_would_break_a_request_is_refused() {
    for (name, value) in [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\n", "x"),
        ("a", "x\r\nb: c"),
        ("a", "\u{7f}"),
        ("a", "\u{e4}"),
        ("Host", "x"),
        ("content-length", "1"),
        ("Transfer-Encoding", "chunked"),
    ] {
        assert!(matches!(check_header(name, value), Err(Error::Invalid(_))), "{name:?} {value:?}");
    }
    check_header("X-Tenant", "a\tb ~").unwrap();
}

#[test]
fn dates_are_read_as_http_writes_them() {
    let date = |text: &str| parse_date(text).map(|date| date.as_secs());
    assert_eq!(date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    assert_eq!(date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!(date("Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
    for text in [
        "",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 32 Nov 1994 00:00:00 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT x",
        "Sun, -6 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(date(text), None, "{text}");
    }
}

fn answer(headers: &[(&str, &str)], body: &str) -> Answer {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    Answer { status: 200, headers: headers.collect(), body: body.into(), cut: false }
}

#[test]
fn how_long_to_wait_is_told_in_seconds_or_by_a_date() {
    let now = Duration::from_secs(784_111_700);
    let wait = |text: &str| answer(&[("retry-AFTER", text)], "").retry_after(now);
    assert_eq!(wait("120"), Some(Duration::from_secs(120)));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(77)));
    assert_eq!(wait("Sun, 06 Nov 1993 08:49:37 GMT"), Some(Duration::ZERO));
    assert!(wait("99999999999999999999999").unwrap() > Duration::from_secs(86_400));
    for text in ["", "-1", "1.5", "soon"] {
        assert_eq!(wait(text), None, "{text}");
    }
    assert_eq!(answer(&[], "").retry_after(now), None);
}

#[test]
fn an_excerpt_is_one_harmless_line() {
    assert_eq!(answer(&[], " a\r\nb\u{1b}[31m\u{202e}c ").excerpt(99), r"a  b\u{1b}[31m\u{202e}c");
    assert_eq!(answer(&[], "\u{e4}\u{f6}\u{fc}").excerpt(2), "\u{e4}\u{f6}…");
    let mut cut = answer(&[], "ab");
    cut.cut = true;
    assert_eq!(cut.excerpt(2), "ab…");
    assert_eq!(answer(&[], "").excerpt(5), "");
}

fn client() -> Client {
    Client { answer_bytes: 1000, ..Client::default() }
}

fn send_by(client: &Client, reply: Reply) -> Result<Answer, Error> {
    over_tcp();
    let receiver = Receiver::new(move |_| reply.clone());
    client.send(&Request::post(receiver.url("/")).body("four"))
}

fn send(reply: Reply) -> Result<Answer, Error> {
    send_by(&client(), reply)
}

#[test]
fn a_request_arrives_as_it_was_made() {
    over_tcp();
    let receiver = Receiver::new(|_| Reply::status(201).header("X-A", "b").body("done"));
    let body = vec![7; 300_000];
    let request =
        Request::new(Method::Put, receiver.url("/a?b")).header("X-C", "d").body(body.clone());
    let answer = client().send(&request).unwrap();
    assert_eq!(
        (answer.status, &*answer.body, answer.header("x-a")),
        (201, &b"done"[..], Some("b"))
    );
    let received = receiver.received();
    assert_eq!((received[0].method.as_str(), received[0].path.as_str()), ("PUT", "/a?b"));
    assert_eq!(received[0].header("x-c"), Some("d"));
    assert_eq!(received[0].body, body);
}

#[test]
fn what_is_not_granted_is_denied() {
    std::thread::spawn(|| {
        let request = Request::post(url("http://example.org/").unwrap());
        assert!(matches!(client().send(&request), Err(Error::Denied(_))));
        native::set_http(|_, _| Ok(answer(&[], "here")));
        assert_eq!(client().send(&request).unwrap().body, b"here");
        let wrong = request.header("A", "\n");
        assert!(matches!(client().send(&wrong), Err(Error::Invalid(_))));
    })
    .join()
    .unwrap();
}

#[test]
fn nobody_listening_is_no_connection() {
    over_tcp();
    let gone = Receiver::new(|_| Reply::status(200)).url("/");
    assert!(matches!(client().send(&Request::post(gone)), Err(Error::NotConnected(_))));
}

#[test]
fn an_answer_that_says_to_go_on_is_not_the_answer() {
    let answer =
        send(Reply::raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 Done\r\n\r\n")).unwrap();
    assert_eq!(answer.status, 204);
}

#[test]
fn chunks_are_put_together() {
    let raw =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    assert_eq!(send(Reply::raw(raw)).unwrap().body, b"abcde");
}

#[test]
fn half_an_answer_leaves_in_doubt() {
    for raw in [
        "",
        "HTTP/1.1 200",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfour",
        "HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\nfour",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nab",
        "SMTP ready\r\n\r\n",
    ] {
        let error = send(Reply::raw(raw)).unwrap_err();
        assert!(matches!(error, Error::InDoubt(_)), "{raw}: {error}");
    }
    for raw in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfour"] {
        assert!(send(Reply::reset(raw)).unwrap_err().in_doubt());
    }
}

#[test]
fn one_that_is_slow_is_given_up_in_time() {
    let begun = Instant::now();
    let short = Duration::from_millis(300);
    let timeouts = Timeouts {
        first_byte: short,
        between_bytes: short,
        total: 2 * short,
        ..Timeouts::default()
    };
    let hasty = Client { timeouts, ..client() };
    for reply in [
        Reply::silent(),
        Reply::drip("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Duration::from_millis(100)),
        Reply::drip("HTTP/1.1 200 OK\r\n", Duration::from_millis(500)),
    ] {
        let error = send_by(&hasty, reply).unwrap_err();
        assert_eq!(error, Error::InDoubt("it took too long".to_owned()));
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn an_answer_without_end_is_cut_or_refused() {
    over_tcp();
    let receiver =
        Receiver::new(|_| Reply::endless("HTTP/1.1 200 OK\r\n\r\n", "0123456789\r\n\r\n"));
    let request = Request::post(receiver.url("/"));
    let answer = client().send(&request).unwrap();
    assert_eq!((answer.body.len(), answer.cut), (1000, true));
    let strict = Client { beyond: Beyond::Fail, ..client() };
    assert!(matches!(strict.send(&request), Err(Error::TooLarge(_))));
}

#[test]
fn headers_without_end_are_refused() {
    let error = send(Reply::endless("HTTP/1.1 200 OK\r\n", "X-Header: again\r\n")).unwrap_err();
    assert!(matches!(error, Error::TooLarge(_)), "{error}");
}
