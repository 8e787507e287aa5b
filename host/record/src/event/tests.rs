//! Tests of CloudEvents.

use super::{CloudEvent, EventData, ExtensionValue};
use crate::{IdSource, InvalidRecord, Record, Stream, Timestamp, parse_line};

fn now() -> Timestamp {
    "2026-05-20T01:02:03Z".parse().unwrap()
}

fn line(event: CloudEvent) -> String {
    let mut out = Vec::new();
    Record::from(event).encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn parse(line: &str) -> CloudEvent {
    match parse_line(Stream::Events, line.as_bytes(), now()) {
        Ok(Record::Event(event)) => event,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn an_event_is_written_in_the_order_of_its_format() {
    let event = CloudEvent::builder("1", "/orders", "order.placed");
    assert_eq!(
        line(event.clone().build().unwrap()),
        r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed"}"#
    );
    let event = event
        .subject("o-7")
        .time("2026-05-20T03:02:03.5+02:00".parse().unwrap())
        .data_schema("https://example.com/order")
        .extension("zone", "eu<1>")
        .extension("attempt", 2)
        .extension("final", true);
    assert_eq!(
        line(event.clone().json(" {\"total\": 1.10, \"id\":1e400}\n").build().unwrap()),
        r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed","subject":"o-7","time":"2026-05-20T03:02:03.5+02:00","datacontenttype":"application/json","dataschema":"https://example.com/order","zone":"eu\u003c1\u003e","attempt":2,"final":true,"data":{"total": 1.10, "id":1e400}}"#
    );
    let bytes = event.binary("image/png", [0, 1, 254, 255]).build().unwrap();
    assert_eq!(
        line(bytes),
        r#"{"specversion":"1.0","id":"1","source":"/orders","type":"order.placed","subject":"o-7","time":"2026-05-20T03:02:03.5+02:00","datacontenttype":"image/png","dataschema":"https://example.com/order","zone":"eu\u003c1\u003e","attempt":2,"final":true,"data_base64":"AAH+/w=="}"#
    );
}

/// Every subset of what an event may lack, with each sort of data.
#[test]
fn each_optional_attribute_is_written_exactly_where_it_is_set() {
    let optional = [
        r#","subject":"s""#,
        r#","time":"2000-01-01T00:00:00.000000001Z""#,
        r#","datacontenttype":"text/plain""#,
        r#","dataschema":"d""#,
        r#","one":"1""#,
        r#","two":-2147483648"#,
        r#","three":false"#,
    ];
    let data = [
        "",
        r#","data":null"#,
        r#","data":"text \u00e4 / \/""#,
        r#","data": -0.0 "#,
        r#","data":{"b":1,"a":1,"a":2}"#,
        r#","data_base64":"""#,
        r#","data_base64":"AA==""#,
    ];
    for set in 0..1_u32 << optional.len() {
        for data in data {
            let mut text = r#"{"specversion":"1.0","id":"i","source":"s","type":"t""#.to_owned();
            for (bit, member) in optional.iter().enumerate() {
                if set & 1 << bit != 0 {
                    text.push_str(member);
                }
            }
            text.push_str(data);
            text.push('}');
            // Space around a value is no part of it.
            let expected = text.replace(" -0.0 ", "-0.0");
            assert_eq!(line(parse(&text)), expected);
        }
    }
}

#[test]
fn attributes_are_read_in_any_order_and_null_is_the_same_as_absent() {
    let event = parse(
        r#"{"data":[1],"b":"x","type":"t","subject":null,"time":null,"a":null,"dataschema":"","source":"s","id":"i","specversion":"1.0","data_base64":null}"#,
    );
    assert_eq!(
        line(event),
        r#"{"specversion":"1.0","id":"i","source":"s","type":"t","b":"x","data":[1]}"#
    );
}

#[test]
fn an_event_is_not_given_a_time_on_the_way() {
    let text = r#"{"specversion":"1.0","id":"i","source":"s","type":"t"}"#;
    assert_eq!(parse(text).time(), None);
    assert_eq!(line(parse(text)), text);
}

#[test]
fn data_is_told_by_its_content_type() {
    let event = |rest: &str| {
        parse(&format!(r#"{{"specversion":"1.0","id":"i","source":"s","type":"t"{rest}}}"#))
    };
    for (rest, expected) in [
        (r#","data":"a\nb""#, Some(&br#""a\nb""#[..])),
        (r#","datacontenttype":"application/json","data":"a\nb""#, Some(br#""a\nb""#)),
        (r#","datacontenttype":"application/x+JSON; v=1","data":"a""#, Some(br#""a""#)),
        (r#","datacontenttype":"text/plain","data":"a\nb""#, Some(b"a\nb")),
        (r#","datacontenttype":"application/jsonp","data":"a""#, Some(b"a")),
        (r#","datacontenttype":"text/plain","data":{"a":1}"#, Some(br#"{"a":1}"#)),
        (r#","datacontenttype":"text/plain","data_base64":"/w==""#, Some(b"\xff")),
        (r#","data":null"#, Some(b"null")),
        ("", None),
    ] {
        assert_eq!(event(rest).data_bytes().as_deref(), expected, "{rest}");
    }
    assert_eq!(event(r#","data":{"a": 1}"#).data(), Some(EventData::Json("{\"a\": 1}")));
    assert_eq!(event(r#","data_base64":"AAE=""#).data(), Some(EventData::Binary(&[0, 1])));
    assert_eq!(
        event(r#","x":"1","y":true"#).extensions().collect::<Vec<_>>(),
        [("x", &ExtensionValue::from("1")), ("y", &ExtensionValue::Flag(true))]
    );
}

#[test]
fn any_json_object_is_wrapped_with_its_bytes_as_they_are() {
    let id = IdSource::new(5).next(now());
    for object in [
        "{}",
        r#"{ "n":1.0e+2 , "n":0.10000000000000000000001,"s":"\u00e4<>&\/","deep":[[{}]] }"#,
        r#"{"specversion":"9","kind":"vm.compute.start"}"#,
    ] {
        let padded = format!(" \t{object} \r\n");
        let event = CloudEvent::wrap_json(padded.as_bytes(), "/svc", "log", id, now()).unwrap();
        assert_eq!(event.data(), Some(EventData::Json(object)));
        let text = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/svc","type":"log","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{object}}}"#
        );
        assert_eq!(line(event.clone()), text);
        assert_eq!(parse(&text), event);
    }
}

#[test]
fn what_is_not_one_json_object_is_not_wrapped() {
    let id = IdSource::new(5).next(now());
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    for (text, message) in [
        ("", "column 1: the line is empty, every line is one JSON object"),
        (" [1]", "column 2: every line is one JSON object, this is an array"),
        ("{\"a\":1", "column 6: the line ends before its object does, it was cut off"),
        ("{} {}", "column 4: a second value begins here, every line is one JSON object"),
        ("{} x", "column 4: nothing may follow the object"),
        ("{\"a\":01}", "column 7: not JSON: invalid number"),
        (&deep, "column 1: the data's arrays and objects are nested more than 128 deep"),
    ] {
        let error = CloudEvent::wrap_json(text.as_bytes(), "s", "t", id, now()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let error = CloudEvent::wrap_json(b"{}", "", "t", id, now()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 1, field `source`: `source` is required, and may not be empty"
    );
}

#[test]
fn the_builder_refuses_what_cloudevents_does_not_allow() {
    let event = || CloudEvent::builder("i", "s", "t");
    for (empty, field) in [
        (CloudEvent::builder("", "s", "t"), "id"),
        (CloudEvent::builder("i", "", "t"), "source"),
        (CloudEvent::builder("i", "s", ""), "type"),
    ] {
        assert_eq!(empty.build(), Err(InvalidRecord::Missing { field }));
    }
    for name in ["", "Upper", "under_score", "ä", "abcdefghijklmnopqrstu", "data", "time"] {
        assert_eq!(
            event().extension(name, 1).build(),
            Err(InvalidRecord::ExtensionName { name: name.to_owned() })
        );
    }
    assert!(event().extension("abcdefghijklmnopqr12", 1).build().is_ok());
    assert_eq!(
        event().extension("a", 1).extension("a", 2).build(),
        Err(InvalidRecord::ExtensionTwice { name: "a".to_owned() })
    );
    assert_eq!(
        event().json("{").build().unwrap_err().to_string(),
        "the data is not JSON: EOF while parsing an object at line 1 column 1"
    );
    assert_eq!(
        event().json(&"[".repeat(129)).build().unwrap_err().to_string(),
        "the data is not JSON: EOF while parsing a list at line 1 column 129"
    );
}
