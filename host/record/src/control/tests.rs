//! Tests of control events: their lines to the letter, and their rules in order.

use super::{ControlEvent, ControlType, MAX_CONTROL_TEXT};
use crate::{InvalidRecord, Record, Stream, Timestamp, parse_line};

fn line(event: ControlEvent) -> String {
    let mut out = Vec::new();
    Record::from(event).encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn parse(line: &str) -> Result<ControlEvent, String> {
    match parse_line(Stream::Control, line.as_bytes(), Timestamp::MIN) {
        Ok(Record::Control(event)) => Ok(event),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn types_have_their_names_on_the_wire() {
    assert_eq!(
        ControlType::ALL.map(ControlType::as_str),
        [
            "stack.activated",
            "tenant.created",
            "hostname.bound",
            "hostname.verified",
            "hostname.revoked",
            "actor.changed",
            "key.changed",
            "membership.changed",
            "entitlement.updated",
            "system.opstack.updated",
            "dns.zone.upserted",
            "dns.record.upserted",
            "dns.settings.upserted",
            "cron.settings.upserted",
            "secret.changed",
            "secret.revoked",
        ]
    );
    for of_type in ControlType::ALL {
        if of_type != ControlType::StackActivated {
            assert_eq!(
                line(ControlEvent::builder("evt_1", of_type).build().unwrap()),
                format!(r#"{{"id":0,"event_id":"evt_1","type":"{of_type}","control_version":0}}"#)
            );
        }
    }
}

#[test]
fn an_event_is_written_in_the_order_of_its_format() {
    let event = ControlEvent::stack_activated("evt_1", "acme", "shop", 7);
    assert_eq!(
        line(event.clone().build().unwrap()),
        r#"{"id":0,"event_id":"evt_1","type":"stack.activated","tenant_id":"acme","stack_id":"shop","version":7,"control_version":0}"#
    );
    let event = event
        .id(-3)
        .base_version(6)
        .artifact("stacks/acme/shop/7", [0xab; 32])
        .created_at("2026-05-20T01:02:03.250Z".parse().unwrap())
        .build()
        .unwrap()
        .with_control_version(u64::MAX);
    let text = r#"{"id":-3,"event_id":"evt_1","type":"stack.activated","tenant_id":"acme","stack_id":"shop","version":7,"base_version":6,"artifact_ref":"stacks/acme/shop/7","checksum":"sha256:abababababababababababababababababababababababababababababababab","control_version":18446744073709551615,"created_at":"2026-05-20T01:02:03.25Z"}"#;
    assert_eq!(line(event.clone()), text);
    assert_eq!(parse(text), Ok(event));
}

/// Every subset of the optional keys of an event that has no rules of its own, and of one that has.
#[test]
fn each_optional_key_is_written_exactly_where_it_is_set() {
    let mut refused = 0;
    for of_type in ["tenant.created", "stack.activated"] {
        for set in 0..128_u32 {
            let has = |bit: u32| set & 1 << bit != 0;
            let pick = |bit: u32, member: &str| has(bit).then(|| member.to_owned());
            let members: Vec<_> = [
                Some(r#""id":5"#.to_owned()),
                Some(r#""event_id":"e""#.to_owned()),
                Some(format!(r#""type":"{of_type}""#)),
                pick(0, r#""tenant_id":"t""#),
                pick(1, r#""stack_id":"s""#),
                pick(2, r#""version":9223372036854775807"#),
                pick(3, r#""base_version":-9223372036854775808"#),
                pick(4, r#""artifact_ref":"a/b""#),
                pick(5, r#""checksum":"sha256:0""#),
                Some(r#""control_version":1"#.to_owned()),
                pick(6, r#""created_at":"last week""#),
            ]
            .into_iter()
            .flatten()
            .collect();
            let input = format!("{{{}}}", members.join(","));
            let unchecked = has(4) && !has(5);
            let inactive = of_type == "stack.activated" && !(has(0) && has(1) && has(2));
            match parse(&input) {
                Ok(event) => {
                    assert!(!unchecked && !inactive, "{input}");
                    assert_eq!(line(event), input);
                }
                Err(error) => {
                    assert!(unchecked || inactive, "{input}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 32 + (128 - 12));
}

#[test]
fn what_is_empty_zero_or_null_is_as_if_it_were_absent() {
    let empty = r#"{"type":"key.changed","event_id":"e","tenant_id":"","stack_id":null,"version":0,"base_version":null,"artifact_ref":"","checksum":"","created_at":""}"#;
    let event = parse(empty).unwrap();
    assert_eq!(line(event), r#"{"id":0,"event_id":"e","type":"key.changed","control_version":0}"#);
}

/// An event that breaks all the rules is told the first, and the next once that is mended.
#[test]
fn rules_are_checked_in_their_order() {
    let broken = |event_id: &str, of_type: &str, checksum: &str, rest: &str| {
        parse(&format!(
            r#"{{"event_id":"{event_id}","type":"{of_type}","artifact_ref":"a"{checksum}{rest}}}"#
        ))
        .unwrap_err()
    };
    let md5 = r#","checksum":"md5:0""#;
    let sha = r#","checksum":"sha256:0""#;
    assert_eq!(
        broken("", "", md5, ""),
        "column 13, field `event_id`: `event_id` is required, and may not be empty"
    );
    assert_eq!(
        broken("e", "", md5, ""),
        "column 24, field `type`: `type` is required, and may not be empty"
    );
    assert_eq!(
        broken("e", "stack.activate", md5, ""),
        "column 24, field `type`: unknown type `stack.activate`, did you mean `stack.activated`?"
    );
    assert_eq!(
        broken("e", "stack.activated", md5, ""),
        "column 72, field `checksum`: checksum `md5:0` does not begin with `sha256:`"
    );
    assert_eq!(
        broken("e", "stack.activated", "", ""),
        "column 1, field `checksum`: a `checksum` is required where there is an `artifact_ref`"
    );
    assert_eq!(
        broken("e", "stack.activated", sha, r#","stack_id":"s""#),
        "column 1, field `tenant_id`: every `stack.activated` event has a `tenant_id`, and it may \
         not be empty or 0"
    );
    assert_eq!(
        broken("e", "stack.activated", sha, r#","tenant_id":"t""#),
        "column 1, field `stack_id`: every `stack.activated` event has a `stack_id`, and it may \
         not be empty or 0"
    );
    assert_eq!(
        broken("e", "stack.activated", sha, r#","tenant_id":"t","stack_id":"s","version":0"#),
        "column 124, field `version`: every `stack.activated` event has a `version`, and it may \
         not be empty or 0"
    );
}

#[test]
fn a_consumer_wants_a_place_in_the_feeds_order() {
    let event = ControlEvent::builder("e", ControlType::SecretChanged).build().unwrap();
    assert_eq!(
        event.validate_stamped().unwrap_err().to_string(),
        "`control_version` is 0: no feed has given the event its place yet"
    );
    assert_eq!(event.with_control_version(1).validate_stamped(), Ok(()));
}

#[test]
fn a_feed_wants_texts_that_are_not_too_long() {
    let event = |id: usize, reference: usize| {
        let event = ControlEvent::builder("e".repeat(id), ControlType::SecretChanged)
            .artifact("r".repeat(reference), [0; 32])
            .control_version(1);
        event.build().unwrap()
    };
    assert_eq!(event(MAX_CONTROL_TEXT, MAX_CONTROL_TEXT).validate_stamped(), Ok(()));
    assert_eq!(
        event(MAX_CONTROL_TEXT + 1, 1).validate_stamped().unwrap_err().to_string(),
        "`event_id` has 4097 bytes, and 4096 are the most in a feed"
    );
    let error = event(1, MAX_CONTROL_TEXT + 1).validate_texts().unwrap_err();
    assert_eq!(error, InvalidRecord::TooLong { field: "artifact_ref", bytes: 4097 });
    assert_eq!(error.field(), Some("artifact_ref"));
}

#[test]
fn the_builder_checks_the_same_rules() {
    let error = |event: super::ControlEventBuilder| event.build().unwrap_err().to_string();
    assert_eq!(
        error(ControlEvent::builder("", ControlType::KeyChanged)),
        "`event_id` is required, and may not be empty"
    );
    assert_eq!(
        error(ControlEvent::builder("e", ControlType::KeyChanged).artifact_ref("a")),
        "a `checksum` is required where there is an `artifact_ref`"
    );
    assert_eq!(
        error(ControlEvent::builder("e", ControlType::KeyChanged).checksum("sha1:0")),
        "checksum `sha1:0` does not begin with `sha256:`"
    );
    assert_eq!(
        error(ControlEvent::stack_activated("e", "t", "", 1)),
        "every `stack.activated` event has a `stack_id`, and it may not be empty or 0"
    );
    assert_eq!(
        error(ControlEvent::stack_activated("e", "t", "s", 0)),
        "every `stack.activated` event has a `version`, and it may not be empty or 0"
    );
}
