//! Settings that fit, and those that do not.

use wasink_guest::serde_json::{Value, from_str, json};
use wasink_guest::{Sink as _, open, testing};

use crate::{Http, settings};

fn refused(settings: &Value) -> String {
    open::<Http>(&testing::context(&settings.to_string())).unwrap_err().to_string()
}

#[test]
fn credentials_are_refused_with_where_they_belong() {
    for name in
        ["Authorization", "proxy-authorization", "X-Api-Key", "X-Auth-Token", "Cookie", "My-Secret"]
    {
        let error = refused(&json!({ "url": "https://a.example", "headers": { name: "hunter2" } }));
        assert!(error.contains("`grants.http`") && error.contains(name), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = refused(&json!({ "url": "https://me:hunter2@a.example" }));
    assert!(error.contains("granted") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_wrong_setting_is_named() {
    let url = "https://a.example";
    for (settings, named) in [
        (json!({}), "`url`"),
        (json!({ "url": "a.example" }), "setting `url`"),
        (json!({ "url": "https://a.example/#x" }), "setting `url`"),
        (json!({ "url": url, "method": "GET" }), "setting `method`"),
        (json!({ "url": url, "format": "xml" }), "setting `format`"),
        (json!({ "url": url, "headers": { "a b": "c" } }), "setting `headers.a b`"),
        (json!({ "url": url, "headers": { "A": "b\r\nC: d" } }), "setting `headers.A`"),
        (json!({ "url": url, "headers": { "Host": "b" } }), "setting `headers.Host`"),
        (json!({ "url": url, "headers": { "content-type": "b" } }), "`content_type`"),
        (json!({ "url": url, "headers": { "X-Id": "b" }, "id_header": "x-id" }), "`headers.X-Id`"),
        (json!({ "url": url, "content_type": "a\n" }), "setting `content_type`"),
        (json!({ "url": url, "id_header": "a:" }), "setting `id_header`"),
        (json!({ "url": url, "idempotency_header": "Authorization" }), "`idempotency_header`"),
        (json!({ "url": url, "max_records": 0 }), "setting `max_records`"),
        (json!({ "url": url, "max_bytes": 0 }), "setting `max_bytes`"),
        (json!({ "url": url, "max_requests": 0 }), "setting `max_requests`"),
        (json!({ "url": url, "answer_bytes": 0 }), "setting `answer_bytes`"),
        (json!({ "url": url, "timeouts": { "call_ms": 0 } }), "setting `timeouts`"),
        (json!({ "url": url, "timeouts": { "call_ms": u64::MAX } }), "setting `timeouts`"),
        (json!({ "url": url, "timeouts": { "call": 1 } }), "`call`"),
        (json!({ "url": url, "results": {} }), "`status`"),
        (json!({ "url": url, "results": { "status": "s" } }), "`results.status`"),
        (
            json!({ "url": url, "results": { "status": "/s", "id": "/i", "index": "/j" } }),
            "`results`",
        ),
        (json!({ "url": url, "code": "x" }), "the profile `lago`"),
        (json!({ "url": url, "unbillable": true }), "setting `unbillable`"),
        (json!({ "url": url, "profile": "openmeter", "event_customer": "x" }), "`event_customer`"),
        (
            json!({ "url": url, "profile": "lago", "code": "c", "event_value": "/x" }),
            "the profile `stripe`",
        ),
        (
            json!({ "url": url, "profile": "stripe", "event_name": "e", "value": "fuel", "event_value": "x" }),
            "`event_value`",
        ),
        (json!({ "url": url, "profile": "lago" }), "setting `code`"),
        (json!({ "url": url, "profile": "stripe", "value": "count" }), "setting `event_name`"),
        (json!({ "url": url, "profile": "stripe", "event_name": "e" }), "setting `value`"),
        (json!({ "url": url, "profile": "openmeter", "value": "fuel" }), "the profile `stripe`"),
        (json!({ "url": url, "profile": "openmeter", "format": "ndjson" }), "setting `format`"),
        (json!({ "url": url, "profile": "openmeter", "method": "PUT" }), "setting `method`"),
        (json!({ "url": url, "profile": "openmeter", "results": { "status": "/s" } }), "`results`"),
    ] {
        let error = refused(&settings);
        assert!(error.contains(named), "{settings}: {error}");
    }
}

#[test]
fn the_schema_and_the_sink_agree() {
    let schema: Value = from_str(settings::SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for settings in [
        json!({ "url": "https://a.example" }),
        json!({
            "url": "https://a.example", "method": "PUT", "format": "ndjson", "content_type": "text/plain",
            "headers": { "X-A": "b" }, "max_records": 5, "max_bytes": 1000, "max_requests": 9,
            "idempotency_header": "Idempotency-Key", "id_header": "webhook-id", "compress": "gzip",
            "timeouts": {
                "connect_ms": 1, "first_byte_ms": 2, "between_bytes_ms": 3, "request_ms": 4, "call_ms": 5,
            },
            "answer_bytes": 100,
            "duplicate": [{ "status": 409, "contains": "known", "of": "request" }],
            "results": {
                "list": "/results", "id": "/id", "status": "/status", "message": "/error/message",
                "delivered": ["ok"], "duplicate": ["known", 409], "rejected": ["bad"],
                "unnamed": "delivered", "statuses": [422],
            },
        }),
        json!({
            "url": "https://a.example", "profile": "openmeter", "event_type": "t", "source": "s",
            "customer": "stack", "unbillable": true,
        }),
        json!({ "url": "https://a.example", "profile": "lago", "code": "c" }),
        json!({
            "url": "https://a.example", "profile": "stripe", "event_name": "e", "value": "duration_ms",
            "customer_key": "customer", "value_key": "quantity", "event_value": "/n", "event_customer": "c",
        }),
    ] {
        let errors: Vec<String> =
            validator.iter_errors(&settings).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
        open::<Http>(&testing::context(&settings.to_string())).unwrap();
    }
    assert!(!validator.is_valid(&json!({ "url": "https://a.example", "uri": "b" })));
}

#[test]
fn every_setting_has_its_place_in_the_crates_text() {
    let schema: Value = from_str(settings::SCHEMA).unwrap();
    let head: String =
        include_str!("../lib.rs").lines().take_while(|line| line.starts_with("//!")).collect();
    for (name, about) in schema["properties"].as_object().unwrap() {
        assert!(about["description"].is_string() || name == "status", "{name}");
        let inner = name == "timeouts" && head.contains("`timeouts.call_ms`");
        assert!(inner || head.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn it_describes_itself() {
    let about = Http::describe();
    assert_eq!(about.streams.len(), 4);
    assert_eq!(about.dedup_window, Some(86_400));
    assert_eq!(about.acceptance_window, None);
    assert_eq!(about, Http::describe());
}
