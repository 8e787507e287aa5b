//! Receivers whose ways are known: what they are sent, by their own schemas, and what their answers
//! mean.

use std::time::Duration;

use wasink_guest::http::Request;
use wasink_guest::serde_json::{Map, Value, from_slice, from_str, json};
use wasink_guest::{Outcome, Sink as _, Status, Stream, UsageEvent, testing};

use super::{answer, fates, header, in_doubt, receiver, retried, sink_to, text};

/// 2026-05-20T01:02:03.5Z
const THEN: i64 = 1_779_238_923_500_000_000;

fn event(tenant: &str) -> UsageEvent {
    UsageEvent {
        rid: "r-1".into(),
        tenant: tenant.into(),
        src: "http".into(),
        stack: "s & t".into(),
        duration_ms: 12,
        status: Status::Ok,
        bytes_in: 34,
        bytes_out: u64::MAX,
        mem_bytes: 0,
        fuel: 56,
        admission_denied: None,
        billable: true,
        emitted_at: THEN,
    }
}

fn soon_after() {
    testing::set_now(Duration::from_secs(1_779_238_923 + 60));
}

fn profile(more: &str) -> crate::Http {
    sink_to("https://receiver.example", more)
}

const OPENMETER: &str = r#""profile":"openmeter""#;
const LAGO: &str = r#""profile":"lago","code":"requests""#;
const STRIPE: &str = r#""profile":"stripe","event_name":"compute","value":"duration_ms""#;

#[track_caller]
fn fits(schema: &str, instance: &Value) {
    let schema: Value = from_str(schema).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(instance).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{instance}: {errors:?}");
}

fn body(request: &Request) -> Value {
    from_slice(&request.body).unwrap()
}

/// A form with `a[b]=c` as an object.
fn form(request: &Request) -> Value {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._*+%&=".contains(byte);
    assert!(request.body.iter().all(plain), "{}", text(request));
    let mut form = Map::new();
    for field in text(request).split('&') {
        let (name, value) = field.split_once('=').unwrap();
        let (name, value) = (unescape(name), unescape(value));
        match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((object, key)) => {
                let object = form.entry(object).or_insert_with(|| json!({}));
                assert_eq!(object.as_object_mut().unwrap().insert(key.into(), value.into()), None);
            }
            None => {
                let value =
                    if name == "timestamp" { from_str(&value).unwrap() } else { json!(value) };
                assert_eq!(form.insert(name, value), None);
            }
        }
    }
    form.into()
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn openmeter_gets_events_whose_subject_is_the_tenant() {
    soon_after();
    let sent = receiver(|_| Ok(answer(204, "")));
    let batch = testing::usage(&[event("acme"), event("b & c")]);
    assert_eq!(fates(&batch, profile(OPENMETER).write(&batch)), "dd");
    let sent = sent.borrow();
    let events = body(&sent[0]);
    fits(include_str!("../../tests/schemas/openmeter-events.json"), &events);
    assert_eq!(header(&sent[0], "content-type"), Some("application/cloudevents-batch+json"));
    assert_eq!(
        events[0],
        json!({
            "specversion": "1.0", "id": batch.ids()[0], "source": "wasink", "type": "wasink.usage",
            "subject": "acme", "time": "2026-05-20T01:02:03.5Z", "datacontenttype": "application/json",
            "data": {
                "rid": "r-1", "tenant": "acme", "src": "http", "stack": "s & t", "status": "ok",
                "duration_ms": 12, "bytes_in": 34, "bytes_out": u64::MAX, "mem_bytes": 0, "fuel": 56,
            },
        })
    );
    assert_eq!(events[1]["subject"], "b & c");
}

#[test]
fn openmeter_gets_cloudevents_as_they_are_if_they_say_whose_they_are() {
    let sent = receiver(|_| Ok(answer(204, "")));
    let mine = r#"{"specversion":"1.0","id":"e1","source":"/x","type":"t","subject":"acme","data":{"n":1}}"#;
    let nobodys = r#"{"specversion":"1.0","id":"e2","source":"/x","type":"t"}"#;
    let batch = testing::batch(Stream::Events, &[mine, nobodys, mine]);
    let outcomes = profile(OPENMETER).write(&batch).unwrap();
    let Outcome::Rejected(reason) = &outcomes.exceptions()[0].outcome else { panic!() };
    assert!(reason.contains("`subject`"), "{reason}");
    assert_eq!(fates(&batch, Ok(outcomes)), "dxd");
    assert_eq!(text(&sent.borrow()[0]), format!("[{mine},{mine}]"));
    fits(include_str!("../../tests/schemas/openmeter-events.json"), &body(&sent.borrow()[0]));
}

#[test]
fn what_is_said_of_openmeters_events_can_be_set() {
    soon_after();
    let sent = receiver(|_| Ok(answer(204, "")));
    let settings = format!(r#"{OPENMETER},"event_type":"request","source":"/eu","customer":"src""#);
    profile(&settings).write(&testing::usage(&[event("acme")])).unwrap();
    let events = body(&sent.borrow()[0]);
    fits(include_str!("../../tests/schemas/openmeter-events.json"), &events);
    let [of_type, source, subject] =
        ["type", "source", "subject"].map(|key| events[0][key].clone());
    assert_eq!((of_type, source, subject), (json!("request"), json!("/eu"), json!("http")));
}

#[test]
fn lago_gets_at_most_a_hundred_at_once() {
    soon_after();
    let sent = receiver(|_| Ok(answer(200, "{}")));
    let batch = testing::usage(&vec![event("sub-1"); 250]);
    let outcomes = profile(&format!(r#"{LAGO},"max_records":500"#)).write(&batch);
    assert_eq!(fates(&batch, outcomes), "d".repeat(250));
    let sent = sent.borrow();
    let lengths: Vec<usize> =
        sent.iter().map(|request| body(request)["events"].as_array().unwrap().len()).collect();
    assert_eq!(lengths, [100, 100, 50]);
    for request in sent.iter() {
        fits(include_str!("../../tests/schemas/lago-events-batch.json"), &body(request));
    }
    assert_eq!(sent[0].url.path(), "/api/v1/events/batch");
    assert_eq!(header(&sent[0], "content-type"), Some("application/json"));
    assert_eq!(
        body(&sent[0])["events"][0],
        json!({
            "transaction_id": batch.ids()[0], "external_subscription_id": "sub-1", "code": "requests",
            "timestamp": "1779238923.500",
            "properties": {
                "rid": "r-1", "tenant": "sub-1", "src": "http", "stack": "s & t", "status": "ok",
                "duration_ms": 12, "bytes_in": 34, "bytes_out": u64::MAX, "mem_bytes": 0, "fuel": 56,
            },
        })
    );
}

/// Lago, as it answers: it takes all or none.
fn lago(known: &'static [&'static str], bad: &'static str) -> impl FnMut(&Request) -> Value {
    move |request| {
        let mut details = Map::new();
        for (index, event) in body(request)["events"].as_array().unwrap().iter().enumerate() {
            let tenant = event["external_subscription_id"].as_str().unwrap();
            if known.contains(&tenant) {
                details.insert(
                    index.to_string(),
                    json!({ "transaction_id": ["value_already_exist"] }),
                );
            } else if tenant == bad {
                details.insert(index.to_string(), json!({ "code": ["metric_not_found"] }));
            }
        }
        details.into()
    }
}

#[test]
fn what_lago_has_is_a_duplicate_and_the_others_are_sent_again_without_it() {
    soon_after();
    let mut answers = lago(&["b", "d"], "c");
    let sent = receiver(move |request| {
        let details = answers(request);
        Ok(if details.as_object().unwrap().is_empty() {
            answer(200, "{}")
        } else {
            let body =
                json!({ "status": 422, "code": "validation_errors", "error_details": details });
            answer(422, &body.to_string())
        })
    });
    let events: Vec<UsageEvent> = ["a", "b", "c", "d", "e"].map(event).to_vec();
    let batch = testing::usage(&events);
    let outcomes = profile(LAGO).write(&batch).unwrap();
    let reasons = format!("{:?}", outcomes.exceptions());
    assert!(reasons.contains("metric_not_found"), "{reasons}");
    assert_eq!(fates(&batch, Ok(outcomes)), "d=x=d");
    let sent = sent.borrow();
    assert_eq!(sent.len(), 2);
    let again: Vec<Value> = body(&sent[1])["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["external_subscription_id"].clone())
        .collect();
    assert_eq!(again, ["a", "e"]);
}

#[test]
fn an_id_that_lago_finds_wrong_for_another_reason_is_no_duplicate() {
    soon_after();
    let body = r#"{"error_details":{"0":{"transaction_id":["value_is_mandatory"]}}}"#;
    let _sent = receiver(move |_| Ok(answer(422, body)));
    let batch = testing::usage(&[event("a")]);
    assert_eq!(fates(&batch, profile(LAGO).write(&batch)), "x");
}

#[test]
fn an_answer_of_lagos_that_is_not_understood_is_split_like_any_other() {
    soon_after();
    for body in [
        "",
        "[]",
        "{}",
        r#"{"error_details":{}}"#,
        r#"{"error_details":{"7":{}}}"#,
        r#"{"error_details":{"transaction_id":["value_already_exist"]}}"#,
        r#"{"error_details":{"0":"no"}}"#,
        r#"{"error_details":{"-1":{}}}"#,
    ] {
        let sent = receiver(move |_| Ok(answer(422, body)));
        let batch = testing::usage(&[event("a"), event("b")]);
        assert_eq!(fates(&batch, profile(LAGO).write(&batch)), "xx", "{body}");
        assert_eq!(sent.borrow().len(), 3);
    }
}

#[test]
fn stripe_gets_one_event_a_request_as_a_form() {
    soon_after();
    let sent = receiver(|_| Ok(answer(200, "{}")));
    let batch = testing::usage(&[event("cus_1"), event("cus_2 ü")]);
    let settings = format!(r#"{STRIPE},"max_records":50"#);
    assert_eq!(fates(&batch, profile(&settings).write(&batch)), "dd");
    let sent = sent.borrow();
    assert_eq!(sent.len(), 2);
    for request in sent.iter() {
        fits(include_str!("../../tests/schemas/stripe-meter-event.json"), &form(request));
        assert_eq!(header(request, "content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(request.url.path(), "/v1/billing/meter_events");
    }
    assert_eq!(
        text(&sent[0]),
        format!(
            "event_name=compute&identifier={}&timestamp=1779238923\
             &payload%5Bstripe_customer_id%5D=cus_1&payload%5Bvalue%5D=12",
            batch.ids()[0]
        )
    );
    assert_eq!(form(&sent[1])["payload"]["stripe_customer_id"], "cus_2 ü");
}

#[test]
fn every_quantity_can_be_the_one_that_stripe_bills() {
    soon_after();
    for (value, number) in [
        ("duration_ms", "12"),
        ("bytes_in", "34"),
        ("bytes_out", "18446744073709551615"),
        ("mem_bytes", "0"),
        ("fuel", "56"),
        ("count", "1"),
    ] {
        let sent = receiver(|_| Ok(answer(200, "{}")));
        let settings = format!(
            r#""profile":"stripe","event_name":"e","value":"{value}","customer_key":"c","value_key":"n","customer":"stack""#
        );
        profile(&settings).write(&testing::usage(&[event("t")])).unwrap();
        let form = form(&sent.borrow()[0]);
        fits(include_str!("../../tests/schemas/stripe-meter-event.json"), &form);
        assert_eq!(form["payload"], json!({ "c": "s & t", "n": number }));
    }
}

#[test]
fn what_stripe_says_of_an_event() {
    soon_after();
    for (status, body, fate) in [
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"An event already exists with identifier 0190."}}"#,
            "=",
        ),
        (400, r#"{"error":{"code":"duplicate_meter_event"}}"#, "="),
        (400, r#"{"error":{"code":"timestamp_too_far_in_past"}}"#, "e"),
        (400, r#"{"error":{"message":"No such customer"}}"#, "x"),
        (400, "not JSON", "x"),
        (422, r#"{"error":{"code":"duplicate_meter_event"}}"#, "x"),
    ] {
        let _sent = receiver(move |_| Ok(answer(status, body)));
        let batch = testing::usage(&[event("cus_1")]);
        assert_eq!(fates(&batch, profile(STRIPE).write(&batch)), fate, "{body}");
    }
    for status in [401, 402, 403, 404, 409, 429] {
        let _sent = receiver(move |_| Ok(answer(status, "{}")));
        let batch = testing::usage(&[event("cus_1")]);
        retried(profile(STRIPE).write(&batch));
    }
    let _sent = receiver(|_| Ok(answer(500, "{}")));
    in_doubt(profile(STRIPE).write(&testing::usage(&[event("cus_1")])));
}

#[test]
fn what_is_too_old_for_stripe_is_expired_without_being_sent() {
    let sent = receiver(|_| Ok(answer(200, "{}")));
    let batch = testing::usage(&[event("cus_1")]);
    let window = Duration::from_secs(35 * 86_400);
    let at = Duration::from_nanos(THEN as u64);
    testing::set_now(at + window + Duration::from_nanos(1));
    assert_eq!(fates(&batch, profile(STRIPE).write(&batch)), "e");
    assert!(sent.borrow().is_empty());
    testing::set_now(at + window);
    assert_eq!(fates(&batch, profile(STRIPE).write(&batch)), "d");
}

#[test]
fn nobody_is_sent_a_bill_for_what_is_not_billable() {
    soon_after();
    for settings in [OPENMETER, LAGO, STRIPE] {
        let sent = receiver(|_| Ok(answer(200, "{}")));
        let free = UsageEvent { billable: false, ..event("a") };
        let batch = testing::usage(&[free, event("_sys"), event("")]);
        let outcomes = profile(settings).write(&batch).unwrap();
        let Outcome::Rejected(reason) = &outcomes.exceptions()[0].outcome else { panic!() };
        assert!(reason.contains("`tenant`"), "{reason}");
        assert_eq!(fates(&batch, Ok(outcomes)), "ddx");
        assert!(sent.borrow().is_empty());
        let all = format!(r#"{settings},"unbillable":true"#);
        assert_eq!(fates(&batch, profile(&all).write(&batch)), "ddx");
        assert!(!sent.borrow().is_empty());
    }
}

/// A CloudEvent of 2026-05-20T01:02:03.5Z with these members besides.
fn cloudevent(more: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"e","source":"/x","type":"t","time":"2026-05-20T01:02:03.5Z"{more}}}"#
    )
}

fn reasons(outcomes: &wasink_guest::Outcomes) -> Vec<String> {
    let reason = |exception: wasink_guest::Exception| match exception.outcome {
        Outcome::Rejected(reason) => reason,
        other => panic!("{other:?}"),
    };
    outcomes.exceptions().into_iter().map(reason).collect()
}

#[test]
fn lago_gets_cloudevents_with_their_data_as_properties() {
    soon_after();
    let sent = receiver(|_| Ok(answer(200, "{}")));
    let lines = [
        cloudevent(r#","subject":"sub-1","data":{"tokens":7,"model":"m"}"#),
        cloudevent(r#","data":{"tokens":7}"#),
        cloudevent(r#","subject":"sub-1","data":{"a":{}}"#),
        cloudevent(r#","subject":"sub-1""#),
    ];
    let batch = testing::batch(Stream::Events, &lines.each_ref().map(String::as_str));
    let outcomes = profile(LAGO).write(&batch).unwrap();
    let reasons = reasons(&outcomes);
    assert!(
        reasons[0].contains("`subject`") && reasons[1].contains("texts and numbers"),
        "{reasons:?}"
    );
    assert_eq!(fates(&batch, Ok(outcomes)), "dxxx");
    let body = body(&sent.borrow()[0]);
    fits(include_str!("../../tests/schemas/lago-events-batch.json"), &body);
    assert_eq!(
        body["events"],
        json!([{
            "transaction_id": batch.ids()[0], "external_subscription_id": "sub-1", "code": "requests",
            "timestamp": "1779238923.500", "properties": { "tokens": 7, "model": "m" },
        }])
    );
}

#[test]
fn stripe_gets_the_quantity_out_of_a_cloudevents_data() {
    soon_after();
    let sent = receiver(|_| Ok(answer(200, "{}")));
    let with = |value: &str| {
        cloudevent(&format!(r#","customer":"cus_1","data":{{"n":{{"tokens":{value}}}}}"#))
    };
    let good = ["7", "0", "18446744073709551615", r#""12.50""#, r#""3""#];
    let bad = ["-1", "1.5", "null", r#""""#, r#""1.""#, r#""-1""#, r#""1e3""#, "[]"];
    let lines: Vec<String> = good.into_iter().chain(bad).map(with).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let batch = testing::batch(Stream::Events, &lines);
    let settings = format!(r#"{STRIPE},"event_value":"/n/tokens","event_customer":"customer""#);
    let outcomes = profile(&settings).write(&batch).unwrap();
    assert!(reasons(&outcomes).iter().all(|reason| reason.contains("`/n/tokens`")));
    assert_eq!(fates(&batch, Ok(outcomes)), "dddddxxxxxxxx");
    let forms: Vec<Value> = sent.borrow().iter().map(form).collect();
    forms
        .iter()
        .for_each(|form| fits(include_str!("../../tests/schemas/stripe-meter-event.json"), form));
    let values: Vec<&str> =
        forms.iter().map(|form| form["payload"]["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["7", "0", "18446744073709551615", "12.50", "3"]);
    assert_eq!(forms[1]["identifier"], json!(batch.ids()[1]));
    assert_eq!(forms[1]["timestamp"], json!(1_779_238_923));
    assert_eq!(forms[1]["payload"]["stripe_customer_id"], "cus_1");
    // One that is too old is not sent.
    testing::set_now(Duration::from_secs(1_779_238_923 + 36 * 86_400));
    let batch = testing::batch(Stream::Events, &lines[..1]);
    assert_eq!(fates(&batch, profile(&settings).write(&batch)), "e");
}

#[test]
fn a_stream_that_a_profile_does_not_take_is_left_waiting_with_a_reason() {
    for (settings, streams) in [
        (OPENMETER, &[Stream::Metering, Stream::Control][..]),
        (LAGO, &[Stream::Metering, Stream::Control]),
        (STRIPE, &[Stream::Metering, Stream::Control, Stream::Events]),
        (
            r#""profile":"stripe","event_name":"e","event_value":"/n""#,
            &[Stream::Metering, Stream::Control, Stream::Usage],
        ),
    ] {
        for stream in streams {
            let sent = receiver(|_| Ok(answer(200, "{}")));
            let (reason, _) = retried(profile(settings).write(&testing::batch(*stream, &["{}"])));
            assert!(reason.contains("`streams`") && reason.contains(stream.as_str()), "{reason}");
            assert!(sent.borrow().is_empty());
        }
    }
}
