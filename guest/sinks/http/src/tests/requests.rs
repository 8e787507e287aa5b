//! What is sent.

use std::io::Read as _;

use wasink_guest::http::Method;
use wasink_guest::{Encoding, Sink as _, Stream, testing};

use super::{answer, answer_with, batch, header, receiver, sink, sink_to, text, write};

#[test]
fn a_batch_that_fits_is_one_request_with_the_hosts_own_bytes() {
    let all = batch(7, 3);
    for (format, encoding, media) in [
        ("json-array", Encoding::JsonArray, "application/json"),
        ("ndjson", Encoding::Jsonl, "application/x-ndjson"),
        ("cloudevents-batch", Encoding::CloudeventsBatch, "application/cloudevents-batch+json"),
    ] {
        let sent = receiver(|_| Ok(answer(200, "")));
        let mut sink = sink(&format!(r#""format":"{format}""#));
        assert!(sink.write(&all).unwrap().exceptions().is_empty());
        let sent = sent.borrow();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].body, *all.encode(encoding));
        assert_eq!(header(&sent[0], "content-type"), Some(media));
        assert_eq!((sent[0].method, sent[0].url.path()), (Method::Post, "/events"));
    }
}

#[test]
fn one_cloudevent_a_request() {
    let sent = receiver(|_| Ok(answer(202, "")));
    let mut sink = sink(r#""format":"cloudevents-structured","method":"PUT""#);
    let all = batch(0, 3);
    assert!(sink.write(&all).unwrap().exceptions().is_empty());
    let lines = all.encode(Encoding::CloudeventsJsonl);
    let lines = String::from_utf8(lines.to_vec()).unwrap();
    let bodies: Vec<String> = sent.borrow().iter().map(text).collect();
    assert_eq!(bodies, lines.lines().collect::<Vec<_>>());
    assert_eq!(header(&sent.borrow()[0], "content-type"), Some("application/cloudevents+json"));
    assert_eq!(sent.borrow()[0].method, Method::Put);
}

#[test]
fn what_is_cut_is_written_as_what_is_whole() {
    for (format, first, last) in [
        ("json-array", r#"[{"at":0},{"at":1}]"#, r#"[{"at":4}]"#),
        ("ndjson", "{\"at\":0}\n{\"at\":1}\n", "{\"at\":4}\n"),
    ] {
        let sent = receiver(|_| Ok(answer(200, "")));
        let mut sink = sink(&format!(r#""format":"{format}","max_records":2"#));
        assert_eq!(write(&mut sink, 5), "ddddd");
        let sent = sent.borrow();
        assert_eq!(sent.len(), 3);
        assert_eq!((text(&sent[0]).as_str(), text(&sent[2]).as_str()), (first, last));
    }
}

#[test]
fn no_request_is_larger_than_it_may_be_and_a_record_that_is_is_rejected() {
    for (format, max_bytes) in
        [("json-array", 19), ("ndjson", 18), ("json-array", 18), ("ndjson", 9)]
    {
        let sent = receiver(|_| Ok(answer(200, "")));
        let mut sink = sink(&format!(r#""format":"{format}","max_bytes":{max_bytes}"#));
        assert_eq!(write(&mut sink, 7), "ddddddd");
        let most = sent.borrow().iter().map(|request| request.body.len()).max().unwrap();
        assert!(most <= max_bytes, "{most} > {max_bytes}");
        let fewest =
            if max_bytes == 18 && format == "json-array" || max_bytes == 9 { 7 } else { 4 };
        assert_eq!(sent.borrow().len(), fewest, "{format} {max_bytes}");
    }
    for (max_bytes, fates) in [(10, "dd"), (9, "xx")] {
        let _sent = receiver(|_| Ok(answer(200, "")));
        assert_eq!(write(&mut sink(&format!(r#""max_bytes":{max_bytes}"#)), 2), fates);
    }
    let sent = receiver(|_| Ok(answer(200, "")));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(100));
    let all = testing::batch(Stream::Usage, &["{}", &long, "{}"]);
    let outcomes = sink(r#""max_bytes":50"#).write(&all).unwrap();
    let exceptions = outcomes.exceptions();
    assert_eq!(exceptions.len(), 1);
    assert_eq!(exceptions[0].index, 1);
    let said = format!("{:?}", exceptions[0].outcome);
    assert!(said.contains("110 bytes") && said.contains("`max_bytes` is 50"), "{said}");
    assert_eq!(text(&sent.borrow()[0]), "[{},{}]");
}

#[test]
fn the_same_records_in_one_request_have_the_same_name() {
    let sent = receiver(|_| Ok(answer(503, "")));
    let settings = r#""idempotency_header":"Idempotency-Key","id_header":"webhook-id""#;
    let first = batch(5, 3);
    drop(sink(settings).write(&first));
    drop(sink(settings).write(&batch(5, 3)));
    drop(sink(settings).write(&batch(5, 2)));
    drop(sink(settings).write(&batch(5, 1)));
    let names: Vec<String> = sent
        .borrow()
        .iter()
        .map(|request| {
            assert_eq!(header(request, "webhook-id"), header(request, "Idempotency-Key"));
            header(request, "webhook-id").unwrap().to_owned()
        })
        .collect();
    assert_eq!(names[0], names[1]);
    assert_ne!(names[1], names[2]);
    assert_eq!(names[3], first.ids()[0]);
}

#[test]
fn headers_are_sent_and_requests_compressed_where_that_is_set() {
    let sent = receiver(|_| Ok(answer(200, "")));
    let mut sink = sink(
        r#""compress":"gzip","content_type":"application/vnd.x+json","headers":{"X-Env":"prod","user-agent":"me"}"#,
    );
    assert_eq!(write(&mut sink, 2), "dd");
    let sent = sent.borrow();
    assert_eq!(header(&sent[0], "content-encoding"), Some("gzip"));
    assert_eq!(header(&sent[0], "content-type"), Some("application/vnd.x+json"));
    assert_eq!(header(&sent[0], "x-env"), Some("prod"));
    assert_eq!(header(&sent[0], "user-agent"), Some("me"));
    let mut body = String::new();
    flate2::read::GzDecoder::new(&sent[0].body[..]).read_to_string(&mut body).unwrap();
    assert_eq!(body, r#"[{"at":0},{"at":1}]"#);
}

#[test]
fn a_redirect_on_the_same_origin_is_followed_with_the_same_body() {
    let sent = receiver(|request| {
        Ok(match request.url.path() {
            "/events" => answer_with(307, ("Location", "/v2/events"), ""),
            "/v2/events" => answer_with(308, ("Location", "https://billing.example:443/v3"), ""),
            _ => answer(200, ""),
        })
    });
    assert_eq!(write(&mut sink(""), 2), "dd");
    let sent = sent.borrow();
    assert_eq!(sent[2].url.to_string(), "https://billing.example/v3");
    assert!(sent.iter().all(|request| request.body == sent[0].body));
}

#[test]
fn no_redirect_leads_to_another_origin_or_round_and_round() {
    for (status, location, requests) in [
        (307, "https://evil.example/events", 1),
        (308, "http://billing.example/events", 1),
        (307, "https://billing.example:8443/events", 1),
        (307, "//evil.example/", 1),
        (301, "/v2", 1),
        (302, "/v2", 1),
        (303, "/v2", 1),
        (307, "/events", 4),
        (307, "", 1),
    ] {
        let sent = receiver(move |_| Ok(answer_with(status, ("Location", location), "")));
        let (reason, after) = super::retried(sink("").write(&batch(0, 3)));
        assert!(reason.contains("`url`") && reason.contains(location), "{reason}");
        assert_eq!((sent.borrow().len(), after), (requests, None), "{location}");
        assert!(sent.borrow().iter().all(|request| request.url.host() == "billing.example"));
    }
}

#[test]
fn a_path_of_ones_own_is_kept() {
    let sent = receiver(|_| Ok(answer(204, "")));
    for (url, path) in [
        ("https://om.example", "/api/v1/events"),
        ("https://om.example/", "/api/v1/events"),
        ("https://om.example/proxy/events?x=1", "/proxy/events?x=1"),
    ] {
        let mut sink = sink_to(url, r#""profile":"openmeter""#);
        let event = r#"{"tenant":"t","emitted_at":"2026-05-20T01:02:03Z"}"#;
        sink.write(&testing::batch(Stream::Usage, &[event])).unwrap();
        assert_eq!(sent.borrow().last().unwrap().url.path_and_query(), path);
    }
}
