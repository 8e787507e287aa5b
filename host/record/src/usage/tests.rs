//! Tests of usage events: their lines to the letter.

use super::{Status, UsageEvent};
use crate::{MAX_QUANTITY, Record, Stream, Timestamp, parse_line};

fn now() -> Timestamp {
    "2026-05-20T01:02:03Z".parse().unwrap()
}

fn line(event: UsageEvent) -> String {
    let mut out = Vec::new();
    Record::from(event).encode(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_event_is_written_with_its_eight_keys_and_the_others_where_they_say_something() {
    let event = UsageEvent::builder("r1", "acme", "http", "shop").emitted_at(now());
    assert_eq!(
        line(event.clone().build()),
        r#"{"rid":"r1","tenant":"acme","src":"http","stack":"shop","duration_ms":0,"status":"ok","bytes_in":0,"bytes_out":0,"emitted_at":"2026-05-20T01:02:03Z"}"#
    );
    let all = event.duration_ms(12).status(Status::Error).bytes_in(3).bytes_out(4).mem_bytes(5);
    assert_eq!(
        line(all.clone().fuel(6).billable(false).build()),
        r#"{"rid":"r1","tenant":"acme","src":"http","stack":"shop","duration_ms":12,"status":"error","bytes_in":3,"bytes_out":4,"mem_bytes":5,"fuel":6,"billable":false,"emitted_at":"2026-05-20T01:02:03Z"}"#
    );
    assert_eq!(
        line(all.clone().denied("rate_limited").build()),
        r#"{"rid":"r1","tenant":"acme","src":"http","stack":"shop","duration_ms":12,"status":"error","bytes_in":3,"bytes_out":4,"mem_bytes":5,"admission_denied":true,"admission_reason":"rate_limited","billable":false,"emitted_at":"2026-05-20T01:02:03Z"}"#
    );
    assert_eq!(
        line(all.denied("").build()),
        r#"{"rid":"r1","tenant":"acme","src":"http","stack":"shop","duration_ms":12,"status":"error","bytes_in":3,"bytes_out":4,"mem_bytes":5,"admission_denied":true,"billable":false,"emitted_at":"2026-05-20T01:02:03Z"}"#
    );
    assert_eq!(
        line(UsageEvent::builder("", "", "", "").build()),
        r#"{"rid":"","tenant":"","src":"","stack":"","duration_ms":0,"status":"ok","bytes_in":0,"bytes_out":0}"#
    );
}

#[test]
fn denied_work_is_never_billable_and_has_no_fuel_whatever_is_called_first() {
    let start = || UsageEvent::builder("r", "t", "http", "s");
    for event in [
        start().fuel(9).billable(true).denied("at_capacity").build(),
        start().denied("at_capacity").fuel(9).billable(true).build(),
        start().fuel(9).denied("at_capacity").billable(true).build(),
    ] {
        assert_eq!((event.fuel(), event.billable()), (0, false));
        assert_eq!(event.denied(), Some("at_capacity"));
    }
    assert!(start().build().billable());
}

#[test]
fn quantities_are_held_at_their_limit() {
    let event = UsageEvent::builder("r", "t", "http", "s")
        .duration_ms(u64::MAX)
        .bytes_in(u64::MAX)
        .bytes_out(u64::MAX)
        .mem_bytes(u64::MAX)
        .fuel(u64::MAX)
        .build();
    let quantities =
        [event.duration_ms(), event.bytes_in(), event.bytes_out(), event.mem_bytes(), event.fuel()];
    assert_eq!(quantities, [MAX_QUANTITY; 5]);
}

/// Every combination of the optional keys: absent, at the value that the wire leaves out, and set.
#[test]
fn each_optional_key_is_read_in_every_spelling_and_written_where_the_wire_has_it() {
    let numbers = |key: &str, value: &str| {
        [
            "".to_owned(),
            format!(",\"{key}\":null"),
            format!(",\"{key}\":0"),
            format!(",\"{key}\":{value}"),
        ]
    };
    let denials = [
        "",
        r#","admission_denied":null"#,
        r#","admission_denied":false"#,
        r#","admission_denied":true"#,
    ];
    let reasons = [
        "",
        r#","admission_reason":null"#,
        r#","admission_reason":"""#,
        r#","admission_reason":"x""#,
    ];
    let billables = ["", r#","billable":null"#, r#","billable":true"#, r#","billable":false"#];
    let times = ["", r#","emitted_at":null"#, r#","emitted_at":"2000-01-01T00:00:00Z""#];
    let fixed = r#""rid":"r","tenant":"","src":"s","stack":"k","duration_ms":1,"status":"error","bytes_in":2,"bytes_out":3"#;
    let (mut read, mut refused) = (0, 0);
    for mem in numbers("mem_bytes", "7") {
        for fuel in numbers("fuel", "8") {
            for denial in denials {
                for reason in reasons {
                    for billable in billables {
                        for time in times {
                            let input =
                                format!("{{{fixed}{mem}{fuel}{denial}{reason}{billable}{time}}}");
                            let denied = denial.ends_with("true");
                            let refuse = if denied {
                                billable.ends_with("true") || fuel.ends_with('8')
                            } else {
                                reason.ends_with("\"x\"")
                            };
                            let result = parse_line(Stream::Usage, input.as_bytes(), now());
                            let Ok(record) = result else {
                                assert!(refuse, "{input}");
                                refused += 1;
                                continue;
                            };
                            assert!(!refuse, "{input}");
                            read += 1;
                            let mut expected = format!("{{{fixed}");
                            if mem.ends_with('7') {
                                expected.push_str(&mem);
                            }
                            if fuel.ends_with('8') {
                                expected.push_str(&fuel);
                            }
                            if denied {
                                expected.push_str(denial);
                                if reason.ends_with("\"x\"") {
                                    expected.push_str(reason);
                                }
                            }
                            if denied || billable.ends_with("false") {
                                expected.push_str(r#","billable":false"#);
                            }
                            expected.push_str(if time.contains("2000") {
                                time
                            } else {
                                r#","emitted_at":"2026-05-20T01:02:03Z""#
                            });
                            expected.push('}');
                            let Record::Usage(event) = record else { panic!("{input}") };
                            assert_eq!(line(event), expected);
                        }
                    }
                }
            }
        }
    }
    assert_eq!(read + refused, 4 * 4 * 4 * 4 * 4 * 3);
    assert!(refused > 0);
}
