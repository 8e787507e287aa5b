//! CloudEvents: structured, in batches, in binary mode; as records and around them.

use serde_json::json;
use wasink_record::RecordId;

use super::client::Request;
use super::kit::{Bench, event, usage};

const ONE: &str = "application/cloudevents+json; charset=utf-8";
const MANY: &str = "application/cloudevents-batch+json";
const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn binary(stream: &str, body: impl Into<Vec<u8>>) -> Request {
    Request::post(&format!("/v1/{stream}"), body)
        .with("ce-specversion", "1.0")
        .with("ce-id", "e-1")
        .with("CE-Source", "/orders")
        .with("ce-type", "order.placed")
}

#[test]
fn events_are_records_of_their_stream_in_every_structured_form() {
    let bench = Bench::new();
    let lines = [event("1", "{}"), event("2", "null"), event("3", "\"x\"")];
    let array = format!("[{}]", lines.join(",\n"));
    for (media_type, body) in [
        (ONE, lines[0].clone()),
        ("application/json", lines[0].clone()),
        (MANY, array.clone()),
        ("application/json", array),
        ("application/x-ndjson", lines.join("\n")),
    ] {
        let before = bench.door.lines().len();
        let answer = bench.post("events", media_type, body);
        assert_eq!(answer.status, 200, "{media_type}: {answer:?}");
        let taken = &bench.door.lines()[before..];
        assert_eq!(taken, &lines[..taken.len()], "{media_type}");
        assert_eq!(answer.json()["accepted"], taken.len());
    }
    assert_eq!(bench.door.lines().len(), 1 + 1 + 3 + 3 + 3);
}

#[test]
fn an_event_keeps_its_own_id_beside_that_of_the_record() {
    let bench = Bench::new();
    let answer = bench.post("events", ONE, event(ID, "1"));
    assert_ne!(answer.ids()[0], ID);
    assert_eq!(bench.door.lines(), [event(ID, "1")]);
    assert_eq!(bench.door.taken()[0].given, [None]);
}

#[test]
fn what_is_no_event_is_refused_in_the_stream_of_events_with_the_way_out() {
    let bench = Bench::new();
    for media_type in ["application/json", "application/x-ndjson"] {
        let answer = bench.post("events", media_type, r#"{"Hello": "world"}"#);
        assert_eq!(answer.status, 400);
        let fault = &answer.json()["rejected"][0];
        assert_eq!(fault["field"], "specversion");
        let message = fault["message"].as_str().unwrap();
        assert!(message.starts_with("this is not a CloudEvent"), "{message}");
        assert!(message.contains("`ce-specversion: 1.0`"), "{message}");
    }
    // One that says to be an event is told what is wrong with it.
    let answer = bench.post("events", "application/json", r#"{"specversion":"1.0","id":"1"}"#);
    assert_eq!(answer.json()["rejected"][0]["field"], "source");
    let answer = bench.post("events", ONE, r#"{"id":"1"}"#);
    assert_eq!(answer.json()["rejected"][0]["field"], "specversion");
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn one_event_and_a_batch_are_told_apart_by_their_types() {
    let bench = Bench::new();
    let batch = bench.post("events", ONE, format!("[{}]", event("1", "1")));
    assert_eq!(batch.status, 400);
    assert!(batch.detail().contains("`application/cloudevents-batch+json`"), "{batch:?}");
    let one = bench.post("events", MANY, event("1", "1"));
    assert_eq!(one.status, 400);
    assert!(one.detail().contains("`application/cloudevents+json`"), "{one:?}");
}

#[test]
fn records_of_the_other_streams_are_taken_out_of_their_envelopes() {
    let bench = Bench::new();
    let answer = bench.post("usage", ONE, event("order-1", &usage("1")));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(bench.door.taken()[0].given, [None], "the id of the envelope says nothing");

    let answer = bench.post(
        "usage",
        MANY,
        format!("[{},{}]", event(ID, &usage("2")), event("x", &usage("3"))),
    );
    assert_eq!(answer.ids()[0], ID, "the id is one of wasink's");
    assert_eq!(bench.door.taken()[1].given, [Some(ID.parse::<RecordId>().unwrap()), None]);

    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, usage("4"));
    let envelope = event("x", "0").replace("\"data\":0", &format!("\"data_base64\":\"{base64}\""));
    assert_eq!(bench.post("usage", ONE, envelope).status, 200);
    assert_eq!(bench.door.lines(), [usage("1"), usage("2"), usage("3"), usage("4")]);
}

#[test]
fn a_mistake_in_an_envelope_is_told_with_its_place_in_the_body() {
    let bench = Bench::new();
    let bad = event("1", &usage("1").replace("\"tenant\"", "\n\"tenent\""));
    let body = format!(
        "[{bad},\n{},\n{},\n{},\n{}]",
        event("2", "7"),
        event("3", "0").replace(",\"data\":0", ""),
        event("4", "\"x\"").replace("\"type\"", "\"datacontenttype\":\"text/plain\",\"type\""),
        event("5", "0").replace("\"data\":0", "\"data_base64\":\"e30=\""),
    );
    let answer = bench.post("usage", MANY, body);
    assert_eq!(answer.status, 400);
    let json = answer.json();
    let told = |index: usize| {
        let fault = &json["rejected"][index];
        json!([fault["line"], fault["column"], fault["field"]])
    };
    assert_eq!(told(0), json!([2, 1, "data.tenent"]));
    assert_eq!(told(1), json!([3, event("2", "").len(), "data"]));
    assert_eq!(told(2), json!([4, 1, "data"]));
    assert_eq!(told(3)[2], "datacontenttype");
    assert_eq!(told(4)[2], "data_base64");
    assert_eq!(
        json["rejected"][3]["message"],
        "a `usage` record is JSON, the data's type is `text/plain`"
    );
}

#[test]
fn an_event_in_binary_mode_has_its_attributes_in_headers() {
    let bench = Bench::new();
    let request = binary("events", "{\"a\": 1}\n")
        .with("Content-Type", "application/vnd.order+json; charset=utf-8")
        .with("ce-subject", "Euro%20%E2%82%AC%20%F0%9F%98%80")
        .with("ce-time", "2026-05-20T01:02:03Z")
        .with("ce-tier", "\"a \\\"b\\\" 100%25\"")
        .with("ce-attempt", "2");
    let answer = bench.send(&request);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        bench.door.lines(),
        [concat!(
            r#"{"specversion":"1.0","id":"e-1","source":"/orders","type":"order.placed","#,
            r#""subject":"Euro € 😀","time":"2026-05-20T01:02:03Z","#,
            r#""datacontenttype":"application/vnd.order+json; charset=utf-8","#,
            r#""tier":"a \"b\" 100%","attempt":"2","data":{"a": 1}}"#
        )]
    );
}

#[test]
fn other_data_in_binary_mode_is_kept_as_bytes() {
    let bench = Bench::new();
    let request =
        binary("events", [0, 255, b'\n']).with("Content-Type", "image/png").with("ce-zone", "eu");
    assert_eq!(bench.send(&request).status, 200);
    // The type of the data is free, also where it is one that would hold records.
    let request = binary("events", "a\nb").with("Content-Type", "application/x-ndjson");
    assert_eq!(bench.send(&request).status, 200);
    assert_eq!(bench.send(&binary("events", "")).status, 200);
    assert_eq!(
        bench.door.lines(),
        [
            r#"{"specversion":"1.0","id":"e-1","source":"/orders","type":"order.placed","datacontenttype":"image/png","zone":"eu","data_base64":"AP8K"}"#,
            r#"{"specversion":"1.0","id":"e-1","source":"/orders","type":"order.placed","datacontenttype":"application/x-ndjson","data_base64":"YQpi"}"#,
            r#"{"specversion":"1.0","id":"e-1","source":"/orders","type":"order.placed"}"#,
        ]
    );
}

#[test]
fn a_record_of_another_stream_may_come_in_binary_mode_too() {
    let bench = Bench::new();
    let request = binary("usage", usage("1")).with("Content-Type", "application/json");
    assert_eq!(bench.send(&request).status, 200);
    let mut request = binary("usage", usage("2")).with("Content-Type", "application/json");
    request.headers[1].1 = ID.to_owned();
    assert_eq!(bench.send(&request).ids(), [ID]);
    assert_eq!(bench.door.lines(), [usage("1"), usage("2")]);

    let body = usage("3").replace("\"tenant\"", "\n \"tenent\"");
    let bad = bench.send(&binary("usage", body).with("Content-Type", "application/json"));
    assert_eq!(bad.status, 400);
    let fault = &bad.json()["rejected"][0];
    assert_eq!(
        json!([fault["line"], fault["column"], fault["field"]]),
        json!([2, 2, "data.tenent"])
    );
    let text = bench.send(&binary("usage", usage("4")).with("Content-Type", "text/plain"));
    assert_eq!(text.json()["rejected"][0]["field"], "datacontenttype");
}

#[test]
fn what_is_wrong_in_binary_mode_is_told_by_the_attribute() {
    let bench = Bench::new();
    let json = |request: Request| request.with("Content-Type", "application/json");
    for (request, field) in [
        (json(binary("events", "1")).with("ce-id", "again"), "id"),
        (json(binary("events", "1")).with("ce-data", "1"), "data"),
        (json(binary("events", "1")).with("ce-data_base64", "1"), "data_base64"),
        (json(binary("events", "1")).with("ce-datacontenttype", "a/b"), "datacontenttype"),
        (json(binary("events", "1")).with("ce-some-name", "1"), "some-name"),
        (json(binary("events", "1")).with("ce-time", "yesterday"), "time"),
        (json(binary("events", "1")).with("ce-subject", "%ff"), "subject"),
        (json(Request::post("/v1/events", "1")).with("ce-id", "1"), "specversion"),
        (json(Request::post("/v1/usage", usage("1"))).with("ce-id", "1"), "specversion"),
        (json(binary("events", "1,\"x\":2")), "data"),
        (json(binary("events", "")).with("ce-specversion", "0.3"), "specversion"),
    ] {
        let answer = bench.send(&request);
        assert_eq!(answer.status, 400, "{request:?}: {answer:?}");
        let fault = &answer.json()["rejected"][0];
        assert_eq!(fault["field"], field, "{fault}");
        assert_eq!(fault.get("line").is_some(), field == "data" && !has(&request, "ce-data"));
    }
    let untyped = bench.send(&binary("events", "1"));
    assert_eq!((untyped.status, untyped.problem()), (415, "media-type".to_owned()));
    assert_eq!(bench.door.taken(), []);
}

fn has(request: &Request, name: &str) -> bool {
    request.headers.iter().any(|(other, _)| other == name)
}
