//! Records in each form, and what is said of those that are wrong.

use serde_json::json;
use wasink_record::Stream;

use super::client::{Request, send};
use super::kit::{Bench, event, usage};

#[test]
fn lines_are_taken_with_each_of_their_types_over_tcp_and_over_the_socket() {
    let bench = Bench::new();
    let body = format!("{}\n\n{}\r\n  \n{}", usage("1"), usage("2"), usage("3"));
    for (count, media_type) in
        ["application/x-ndjson", "application/jsonl; charset=utf-8", "Application/X-JSONLines"]
            .into_iter()
            .enumerate()
    {
        let request = Request::post("/v1/usage", body.as_str()).with("Content-Type", media_type);
        for (target, taken) in [(bench.tcp(), 2 * count), (bench.unix(), 2 * count + 1)] {
            let answer = send(&target, &request);
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let json = answer.json();
            assert_eq!(json["accepted"], 3);
            assert_eq!(json["rejected"], json!([]));
            assert_eq!(json["more_rejected"], 0);
            assert_eq!(answer.ids().len(), 3);
            let taken = &bench.door.taken()[taken];
            assert_eq!(taken.stream, Stream::Usage);
            assert_eq!(taken.given, [None; 3]);
            assert_eq!(taken.lines, [usage("1"), usage("2"), usage("3")]);
        }
    }
}

#[test]
fn ids_are_told_in_the_order_of_the_records() {
    let bench = Bench::new();
    let body: Vec<_> = (0..50).map(|index| usage(&index.to_string())).collect();
    let ids = bench.post("usage", "application/x-ndjson", body.join("\n")).ids();
    assert_eq!(ids.len(), 50);
    // Those of the door are made in order.
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn one_json_object_is_a_record_and_an_array_is_many() {
    let bench = Bench::new();
    let one = usage("1").replace(',', ",\n  ");
    assert_eq!(bench.post("usage", "application/json", one).json()["accepted"], 1);
    let many = format!(" [\n{} ,\n{}]\n", usage("2"), usage("3").replace(',', "\n,"));
    assert_eq!(
        bench.post("usage", "application/json;charset=\"UTF-8\"", many).json()["accepted"],
        2
    );
    assert_eq!(bench.door.lines(), [usage("1"), usage("2"), usage("3")]);
}

#[test]
fn each_stream_takes_its_records() {
    let bench = Bench::new();
    for (stream, record) in [
        ("usage", usage("1")),
        (
            "metering",
            r#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"boot","hypervisor":"firecracker","shape":{"cpu":2,"mem_bytes":4,"storage_bytes":5},"emitted_at":"2026-05-20T01:02:03Z"}"#.to_owned(),
        ),
        ("events", event("1", "[1, 2]")),
    ] {
        let answer = bench.send(&Request::lines(stream, record.as_str()));
        assert_eq!(answer.status, 200, "{stream}: {answer:?}");
        let taken = bench.door.taken().pop().unwrap();
        assert_eq!((taken.stream.as_str(), &taken.lines[0]), (stream, &record));
    }
}

#[test]
fn nothing_to_take_is_no_error() {
    let bench = Bench::new();
    for (media_type, body) in [
        ("application/x-ndjson", ""),
        ("application/x-ndjson", " \n\n"),
        ("application/json", "[]"),
    ] {
        let answer = bench.post("usage", media_type, body);
        assert_eq!(answer.status, 200, "{body:?}");
        assert_eq!(answer.json()["accepted"], 0);
    }
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn good_lines_are_taken_and_bad_ones_told_with_their_places() {
    let bench = Bench::new();
    let body = format!(
        "{}\n\n{}\n{}\nnot json\n{}",
        usage("1"),
        usage("2").replace("\"tenant\"", "\"tenent\""),
        usage("3"),
        usage("4").replace(":1,", ":1.5,"),
    );
    let answer = bench.post("usage", "application/x-ndjson", body);
    assert_eq!(answer.status, 200);
    let json = answer.json();
    assert_eq!(json["accepted"], 2);
    assert_eq!(answer.ids().len(), 2);
    assert_eq!(json["more_rejected"], 0);
    let rejected = json["rejected"].as_array().unwrap();
    let places: Vec<_> = rejected
        .iter()
        .map(|fault| json!([fault["index"], fault["line"], fault["column"], fault["field"]]))
        .collect();
    assert_eq!(
        places,
        [json!([1, 3, 12, "tenent"]), json!([3, 5, 1, null]), json!([4, 6, 70, "duration_ms"])]
    );
    assert_eq!(rejected[0]["message"], "unknown key, did you mean `tenant`?");
    assert_eq!(bench.door.lines(), [usage("1"), usage("3")]);
}

#[test]
fn where_no_record_is_good_the_answer_is_an_error_of_the_same_shape() {
    let bench = Bench::new();
    let answer = bench.post("usage", "application/x-ndjson", "{}\n[]\n");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.problem(), "records-rejected");
    assert_eq!(answer.detail(), "each of the 2 records has an error");
    let json = answer.json();
    assert_eq!((&json["accepted"], &json["ids"]), (&json!(0), &json!([])));
    assert_eq!(json["rejected"].as_array().unwrap().len(), 2);
    let alone = bench.post("usage", "application/json", "{}");
    assert_eq!(alone.detail(), alone.json()["rejected"][0]["message"]);
    assert_eq!(bench.post("usage", "application/json", "").status, 400);
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn a_hundred_errors_are_told_and_the_others_counted() {
    let bench = Bench::new();
    let body = "{}\n".repeat(250) + &usage("1");
    let answer = bench.post("usage", "application/x-ndjson", body);
    let json = answer.json();
    assert_eq!(json["accepted"], 1);
    assert_eq!(json["rejected"].as_array().unwrap().len(), 100);
    assert_eq!(json["rejected"][99]["line"], 100);
    assert_eq!(json["more_rejected"], 150);
}

#[test]
fn elements_of_an_array_are_told_by_their_lines() {
    let bench = Bench::new();
    let bad = usage("2").replace("\"stack\"", "\n  \"stuck\"");
    let body = format!("[\n  {},\n  {bad}, 7\n]", usage("1"));
    let answer = bench.post("usage", "application/json", body);
    let json = answer.json();
    assert_eq!(json["accepted"], 1);
    let rejected = &json["rejected"];
    assert_eq!(rejected[0]["index"], 1);
    assert_eq!((&rejected[0]["line"], &rejected[0]["column"]), (&json!(4), &json!(3)));
    assert_eq!(rejected[0]["field"], "stuck");
    assert_eq!(rejected[1]["index"], 2);
    assert_eq!(rejected[1]["line"], 4);
}

#[test]
fn an_array_that_is_not_json_is_refused_whole_with_the_place() {
    let bench = Bench::new();
    for (end, line, column) in [
        ("", 2, usage("1").len() + 1),
        (", oops]", 2, usage("1").len() + 3),
        ("] and more", 2, usage("1").len() + 3),
    ] {
        let answer = bench.post("usage", "application/json", format!("[\n{}{end}", usage("1")));
        assert_eq!(answer.status, 400, "{end}");
        let fault = &answer.json()["rejected"][0];
        assert_eq!(fault["index"], 1, "{end}");
        assert_eq!(fault["line"], line, "{end}: {fault}");
        assert!(fault["column"].as_u64().unwrap().abs_diff(column as u64) <= 1, "{end}: {fault}");
        let message = fault["message"].as_str().unwrap();
        assert!(message.starts_with("the body is not a JSON array: "), "{message}");
        assert!(message.ends_with("; no record is taken"), "{message}");
    }
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn other_types_are_refused_with_those_that_are_taken() {
    let bench = Bench::new();
    let none = bench.send(&Request::post("/v1/usage", usage("1")));
    let other = bench.post("usage", "text/csv", usage("1"));
    let avro = bench.post("events", "application/cloudevents+avro", "x");
    let charset = bench.post("usage", "application/json; charset=latin1", usage("1"));
    for (answer, begins) in [
        (none, "there is no `Content-Type`; send `application/x-ndjson` (or"),
        (other, "`text/csv` is not taken; send `application/x-ndjson` (or"),
        (avro, "`application/cloudevents+avro` is not taken; send"),
        (charset, "JSON is always UTF-8, leave out the `charset`; send"),
    ] {
        assert_eq!(answer.status, 415);
        assert_eq!(answer.problem(), "media-type");
        assert!(answer.detail().starts_with(begins), "{}", answer.detail());
        assert!(answer.detail().contains("`application/cloudevents-batch+json`"));
    }
    assert_eq!(bench.door.taken(), []);
}
