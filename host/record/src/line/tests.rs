//! Tests of reading: each mistake and what is said of it.

use proptest::prelude::*;

use super::parse_line;
use crate::{MAX_EXTENSIONS, Record, Stream, Timestamp};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);

fn read(stream: Stream, line: &[u8]) -> Result<Record, String> {
    parse_line(stream, line, NOW).map_err(|error| error.to_string())
}

#[track_caller]
fn assert_error(stream: Stream, line: &str, expected: &str) {
    match read(stream, line.as_bytes()) {
        Ok(record) => panic!("{line} was read: {record:?}"),
        Err(error) => assert_eq!(error, expected, "{line}"),
    }
}

#[test]
fn a_line_that_is_no_object_is_told_so() {
    for stream in Stream::ALL {
        for (line, expected) in [
            ("", "column 1: the line is empty, every line is one JSON object"),
            (" \t\r\n", "column 1: the line is empty, every line is one JSON object"),
            ("[]", "column 1: every line is one JSON object, this is an array"),
            (
                r#" ["vm.compute.start"]"#,
                "column 2: every line is one JSON object, this is an array",
            ),
            ("\"a\"", "column 1: every line is one JSON object, this is the string `a`"),
            ("17", "column 1: every line is one JSON object, this is the number `17`"),
            ("null", "column 1: every line is one JSON object, this is `null`"),
            ("kind=boot", "column 1: every line is one JSON object, this is `kind=boot`"),
            ("\u{feff}{}", "column 1: the line starts with a byte order mark, leave it out"),
            ("{", "column 1: the line ends before its object does, it was cut off"),
            ("{\"a\":\"b", "column 7: the line ends before its object does, it was cut off"),
            ("{a:1}", "column 2: not JSON: key must be a string"),
            ("{\"a\":1,}", "column 8: not JSON: trailing comma"),
            ("{'a':1}", "column 2: not JSON: key must be a string"),
            ("{\"a\":\"\\x\"}", "column 8: not JSON: invalid escape"),
            ("{\"a\":\"\t\"}", {
                "column 6: not JSON: control character (\\u0000-\\u001F) found while parsing a string"
            }),
            ("{\"a\":NaN}", "column 6: not JSON: expected value"),
        ] {
            assert_error(stream, line, expected);
        }
        assert_eq!(
            read(stream, b"{\"a\":\"\xff\"}").unwrap_err(),
            "column 7: byte 0xff is not UTF-8"
        );
        // A surrogate, and a character that is cut off.
        assert_eq!(read(stream, b"\xed\xa0\x80").unwrap_err(), "column 1: byte 0xed is not UTF-8");
        assert_eq!(read(stream, b"{\xc3").unwrap_err(), "column 2: byte 0xc3 is not UTF-8");
    }
}

/// serde by itself reads the fields of a struct from an array, too.
#[test]
fn an_array_of_the_right_values_is_no_record() {
    for (stream, line) in [
        (Stream::Metering, r#"["vm.compute.start","v",null,null,null,null,null,null]"#),
        (Stream::Usage, r#"["r","t","s","k",1,"ok",2,3,null,null,null,null,null,null]"#),
        (Stream::Control, r#"[0,"e","key.changed",null,null,null,null,null,null,0,null]"#),
    ] {
        let expected = "column 1: every line is one JSON object, this is an array";
        assert_error(stream, line, expected);
    }
}

#[test]
fn a_line_is_one_object_and_space_around_it() {
    let one = r#"{"kind":"vm.compute.start","vm_id":"v"}"#;
    let record = read(Stream::Metering, one.as_bytes()).unwrap();
    for line in [format!("{one}\n"), format!("{one}\r\n"), format!(" \t{one} ")] {
        assert_eq!(read(Stream::Metering, line.as_bytes()), Ok(record.clone()));
    }
    for (rest, expected) in [
        ("{}", "column 40: a second value begins here, every line is one JSON object"),
        ("\n{}", "column 41: a second value begins here, every line is one JSON object"),
        (" [1]", "column 41: a second value begins here, every line is one JSON object"),
        (",", "column 40: nothing may follow the object"),
        ("}", "column 40: nothing may follow the object"),
        ("\0", "column 40: nothing may follow the object"),
    ] {
        assert_error(Stream::Metering, &format!("{one}{rest}"), expected);
    }
}

#[test]
fn mistakes_in_a_metering_entry_are_told_with_their_place() {
    for (line, expected) in [
        ("{}", "column 1, field `kind`: `kind` is required"),
        (" {\"vm_id\":\"v\"}", "column 2, field `kind`: `kind` is required"),
        (
            r#"{"kind":"vm.compute.start"}"#,
            "column 1, field `vm_id`: every `vm.compute.start` entry has a `vm_id`, and it may not be empty",
        ),
        (
            r#"{"kind":"vm.storage.stop","snapshot_id":"s","vm_id":""}"#,
            "column 53, field `vm_id`: every `vm.storage.stop` entry has a `vm_id`, and it may not be empty",
        ),
        (
            r#"{"kind":"snap.storage.start","vm_id":"v"}"#,
            "column 1, field `snapshot_id`: every `snap.storage.start` entry has a `snapshot_id`, and it may not be empty",
        ),
        (
            r#"{"kind":"vm.compute.begin","vm_id":"v"}"#,
            "column 9, field `kind`: unknown kind `vm.compute.begin`, did you mean `vm.compute.start`?",
        ),
        (
            r#"{"kind":"VM","vm_id":"v"}"#,
            "column 9, field `kind`: unknown kind `VM`, it is one of `vm.compute.start`, `vm.compute.stop`, `vm.storage.start`, `vm.storage.stop`, `snap.storage.start`, `snap.storage.stop`",
        ),
        (
            r#"{"kind":7}"#,
            "column 9, field `kind`: expected a kind as a string, found the number `7`",
        ),
        (r#"{"kind":null}"#, "column 9, field `kind`: expected a kind as a string, found `null`"),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","reason":"user-stop"}"#,
            "column 48, field `reason`: unknown reason `user-stop`, it is one of `boot`, `restart`, `clone`, `restore`, `hibernate-wake`, `stop-user`, `stop-crash`, `vm-rm`, `snap-rm`",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","reason":"stop_user"}"#,
            "column 48, field `reason`: unknown reason `stop_user`, did you mean `stop-user`?",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","reason":["boot"]}"#,
            "column 48, field `reason`: expected a reason as a string, found an array",
        ),
        (
            r#"{"kind":"vm.compute.stop","vmid":"v"}"#,
            "column 27, field `vmid`: unknown key, did you mean `vm_id`?",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","tenant":"t"}"#,
            "column 39, field `tenant`: unknown key, it is one of `kind`, `vm_id`, `snapshot_id`, `source_snapshot_id`, `reason`, `hypervisor`, `shape`, `emitted_at`",
        ),
        (
            r#"{"Kind":"vm.compute.stop"}"#,
            "column 2, field `Kind`: unknown key, did you mean `kind`?",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","vm_id":"v"}"#,
            "column 39, field `vm_id`: the key is given twice",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","vm\u005fid":"v"}"#,
            "column 52, field `vm_id`: the key is given twice",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":{}}"#,
            "column 35, field `vm_id`: expected a string, found an object",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":[1,2,3]}"#,
            "column 47, field `shape`: expected an object, found an array",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":"{}"}"#,
            "column 47, field `shape`: expected an object, found the string `{}`",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpus":2}}"#,
            "column 48, field `shape.cpus`: unknown key, did you mean `cpu`?",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape": {"cpu":1,"cpu":2}}"#,
            "column 57, field `shape.cpu`: the key is given twice",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":2.0}}"#,
            "column 54, field `shape.cpu`: `2.0` is not an integer, write it without fraction and exponent",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":1e3}}"#,
            "column 54, field `shape.cpu`: `1e3` is not an integer, write it without fraction and exponent",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"mem_bytes": "2"}}"#,
            "column 61, field `shape.mem_bytes`: expected an integer, found the string `2`, write it without quotes",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":-1}}"#,
            "column 54, field `shape.cpu`: `-1` is negative, it has to be 0 or more",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":-0}}"#,
            "column 54, field `shape.cpu`: `-0` is negative, it has to be 0 or more",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":true}}"#,
            "column 54, field `shape.cpu`: expected an integer, found `true`",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"storage_bytes":9223372036854775808}}"#,
            "column 64, field `shape.storage_bytes`: 9223372036854775808 is too much for `shape.storage_bytes`, the most it can hold is 9223372036854775807",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":18446744073709551616}}"#,
            "column 54, field `shape.cpu`: `18446744073709551616` is too large, the most it can hold is 9223372036854775807",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","shape":{"cpu":1e99999}}"#,
            "column 54, field `shape.cpu`: `1e99999` is not an integer, write it without fraction and exponent",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","emitted_at":"0001-01-01T00:00:00Z"}"#,
            "column 52, field `emitted_at`: `0001-01-01T00:00:00Z` is a zero time: its producer never set it; set it, or leave the key out",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","emitted_at":1779238923}"#,
            "column 52, field `emitted_at`: expected a time as a string, found the number `1779238923`",
        ),
        (
            r#"{"kind":"vm.compute.stop","vm_id":"v","emitted_at":""}"#,
            "column 52, field `emitted_at`: `` is not a time: it starts with a date as year-month-day, such as `2026-05-20T01:02:03.5Z`",
        ),
    ] {
        assert_error(Stream::Metering, line, expected);
    }
}

#[test]
fn mistakes_in_a_usage_event_are_told_with_their_place() {
    let start = r#"{"rid":"r","tenant":"t","src":"s","stack":"k","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3"#;
    assert!(read(Stream::Usage, format!("{start}}}").as_bytes()).is_ok());
    for (rest, expected) in [
        (
            r#","admission_reason":"x"}"#,
            "column 123, field `admission_reason`: an `admission_reason` is given, but `admission_denied` is not `true`",
        ),
        (
            r#","admission_denied":false,"admission_reason":"x"}"#,
            "column 148, field `admission_reason`: an `admission_reason` is given, but `admission_denied` is not `true`",
        ),
        (
            r#","admission_denied":true,"billable":true}"#,
            "column 139, field `billable`: work that was not admitted is never `billable`: leave the key out, or write `false`",
        ),
        (
            r#","fuel":1,"admission_denied":true}"#,
            "column 111, field `fuel`: work that was not admitted consumes no `fuel`: leave the key out",
        ),
        (
            r#","billable":1}"#,
            "column 115, field `billable`: expected `true` or `false`, found the number `1`",
        ),
        (
            r#","fuel":9223372036854775808}"#,
            "column 111, field `fuel`: 9223372036854775808 is too much for `fuel`, the most it can hold is 9223372036854775807",
        ),
        (
            r#","fuel":0.5}"#,
            "column 111, field `fuel`: `0.5` is not an integer, write it without fraction and exponent",
        ),
        (
            r#","user":"u"}"#,
            "column 104, field `user`: unknown key, it is one of `rid`, `tenant`, `src`, `stack`, `duration_ms`, `status`, `bytes_in`, `bytes_out`, `mem_bytes`, `fuel`, `admission_denied`, `admission_reason`, `billable`, `emitted_at`",
        ),
        (
            r#","bilable":false}"#,
            "column 104, field `bilable`: unknown key, did you mean `billable`?",
        ),
    ] {
        assert_error(Stream::Usage, &format!("{start}{rest}"), expected);
    }
    for key in ["rid", "tenant", "src", "stack", "duration_ms", "status", "bytes_in", "bytes_out"] {
        let without = format!("{start}}}").replace(&format!("\"{key}\":"), "\"fuel\":").replace(
            if matches!(key, "rid" | "tenant" | "src" | "stack" | "status") { key } else { "\0" },
            "",
        );
        // Whatever the replacement made of the value, the key itself is gone.
        let value: serde_json::Value = serde_json::from_str(&without).unwrap();
        let mut object = value.as_object().unwrap().clone();
        object.remove("fuel");
        let line = serde_json::to_string(&object).unwrap();
        assert_error(
            Stream::Usage,
            &line,
            &format!("column 1, field `{key}`: `{key}` is required"),
        );
        let null =
            format!("{start}}}").replace(&format!("\"{key}\":"), &format!("\"{key}\":null,\"x\":"));
        let error = read(Stream::Usage, null.as_bytes()).unwrap_err();
        assert!(error.ends_with(", found `null`"), "{error}");
    }
    for (line, expected) in [
        (
            start.replace("\"ok\"", "\"OK\""),
            "column 72, field `status`: unknown status `OK`, it is one of `ok`, `error`",
        ),
        (
            start.replace("\"ok\"", "\"err\""),
            "column 72, field `status`: unknown status `err`, it is one of `ok`, `error`",
        ),
        (
            start.replace("\"ok\"", "200"),
            "column 72, field `status`: expected a status as a string, found the number `200`",
        ),
        (
            start.replace("\"duration_ms\":1", "\"duration_ms\":-1"),
            "column 61, field `duration_ms`: `-1` is negative, it has to be 0 or more",
        ),
        (
            start.replace("\"tenant\":\"t\"", "\"tenant\":1"),
            "column 21, field `tenant`: expected a string, found the number `1`",
        ),
    ] {
        assert_error(Stream::Usage, &format!("{line}}}"), expected);
    }
}

#[test]
fn mistakes_in_a_control_event_are_told_with_their_place() {
    let start = r#"{"event_id":"e","type":"key.changed""#;
    for (line, expected) in [
        (
            "{}".to_owned(),
            "column 1, field `event_id`: `event_id` is required, and may not be empty",
        ),
        (
            r#"{"event_id":"e"}"#.to_owned(),
            "column 1, field `type`: `type` is required, and may not be empty",
        ),
        (
            r#"{"event_id":7,"type":"key.changed"}"#.to_owned(),
            "column 13, field `event_id`: expected a string, found the number `7`",
        ),
        (
            r#"{"event_id":"e","type":"secret.change"}"#.to_owned(),
            "column 24, field `type`: unknown type `secret.change`, did you mean `secret.changed`?",
        ),
        (
            r#"{"event_id":"e","type":null,"id":1.5}"#.to_owned(),
            "column 34, field `id`: `1.5` is not an integer, write it without fraction and exponent",
        ),
        (
            format!(r#"{start},"id":9223372036854775808}}"#),
            "column 43, field `id`: `9223372036854775808` is too large, the most it can hold is 9223372036854775807",
        ),
        (
            format!(r#"{start},"id":-9223372036854775809}}"#),
            "column 43, field `id`: `-9223372036854775809` is less than -9223372036854775808",
        ),
        (
            format!(r#"{start},"id":-0}}"#),
            "column 43, field `id`: `-0` is not an integer, write `0`",
        ),
        (
            format!(r#"{start},"version":"7"}}"#),
            "column 48, field `version`: expected an integer, found the string `7`, write it without quotes",
        ),
        (
            format!(r#"{start},"control_version":18446744073709551616}}"#),
            "column 56, field `control_version`: `18446744073709551616` is too large, the most it can hold is 18446744073709551615",
        ),
        (
            format!(r#"{start},"control_version":-1}}"#),
            "column 56, field `control_version`: `-1` is negative, it has to be 0 or more",
        ),
        (
            format!(r#"{start},"snapshot_ref":"x"}}"#),
            "column 38, field `snapshot_ref`: unknown key, it is one of `id`, `event_id`, `type`, `tenant_id`, `stack_id`, `version`, `base_version`, `artifact_ref`, `checksum`, `control_version`, `created_at`",
        ),
        (
            format!(r#"{start},"active_version":1}}"#),
            "column 38, field `active_version`: unknown key, it is one of `id`, `event_id`, `type`, `tenant_id`, `stack_id`, `version`, `base_version`, `artifact_ref`, `checksum`, `control_version`, `created_at`",
        ),
    ] {
        assert_error(Stream::Control, &line, expected);
    }
}

#[test]
fn mistakes_in_a_cloudevent_are_told_with_their_place() {
    let start = r#"{"specversion":"1.0","id":"i","source":"s","type":"t""#;
    for (line, expected) in [
        (
            "{}".to_owned(),
            "column 1, field `specversion`: `specversion` is required, and may not be empty",
        ),
        (
            start.replace("1.0", "0.3") + "}",
            "column 16, field `specversion`: specversion `0.3` is not supported, it has to be `1.0`",
        ),
        (
            start.replace("\"1.0\"", "1.0") + "}",
            "column 16, field `specversion`: expected a string, found the number `1.0`",
        ),
        (
            start.replace("\"i\"", "\"\"") + "}",
            "column 27, field `id`: `id` is required, and may not be empty",
        ),
        (
            start.replace("\"i\"", "7") + "}",
            "column 27, field `id`: expected a string, found the number `7`",
        ),
        (
            start.replace(",\"source\":\"s\"", "") + "}",
            "column 1, field `source`: `source` is required, and may not be empty",
        ),
        (
            start.replace("\"t\"", "null") + "}",
            "column 51, field `type`: `type` is required, and may not be empty",
        ),
        (
            format!(r#"{start},"time":"now"}}"#),
            "column 62, field `time`: `now` is not a time: it starts with a date as year-month-day, such as `2026-05-20T01:02:03.5Z`",
        ),
        (
            format!(r#"{start},"traceParent":"x"}}"#),
            "column 55, field `traceParent`: `traceParent` can't name an extension attribute: 1 to 20 of `a` to `z` and `0` to `9`, and not the name of another attribute",
        ),
        (
            format!(r#"{start},"":"x"}}"#),
            "column 55, field ``: `` can't name an extension attribute: 1 to 20 of `a` to `z` and `0` to `9`, and not the name of another attribute",
        ),
        (
            format!(r#"{start},"ext":{{"a":1}}}}"#),
            "column 61, field `ext`: expected a string, a boolean or an integer in an extension attribute, found an object",
        ),
        (
            format!(r#"{start},"ext":1.0}}"#),
            "column 61, field `ext`: `1.0` is not an integer, write it without fraction and exponent",
        ),
        (
            format!(r#"{start},"ext":2147483648}}"#),
            "column 61, field `ext`: `2147483648` is too large, the most it can hold is 2147483647",
        ),
        (
            format!(r#"{start},"ext":-2147483649}}"#),
            "column 61, field `ext`: `-2147483649` is less than -2147483648",
        ),
        (
            format!(r#"{start},"ext":null,"ext":1}}"#),
            "column 66, field `ext`: the key is given twice",
        ),
        (
            format!(r#"{start},"data":1,"data":1}}"#),
            "column 64, field `data`: the key is given twice",
        ),
        (
            format!(r#"{start},"data":1,"data_base64":"AA=="}}"#),
            "column 78, field `data_base64`: an event has `data` or `data_base64`, not both",
        ),
        (
            format!(r#"{start},"data_base64":"AA"}}"#),
            "column 69, field `data_base64`: `data_base64` is not base64 with the standard alphabet and padding",
        ),
        (
            format!(r#"{start},"data_base64":7}}"#),
            "column 69, field `data_base64`: expected a string, found the number `7`",
        ),
        (
            format!(r#"{start},"data":{}{}}}"#, "[".repeat(129), "]".repeat(129)),
            "column 62, field `data`: the data's arrays and objects are nested more than 128 deep",
        ),
        (format!(r#"{start},"data":{{"a":}}}}"#), "column 67: not JSON: expected value"),
    ] {
        assert_error(Stream::Events, &line, expected);
    }
}

#[test]
fn a_line_that_is_nested_without_end_is_an_error_and_no_crash() {
    for stream in Stream::ALL {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let bomb = format!("{}1{}", open.repeat(300_000), close.repeat(300_000));
            for key in ["kind", "shape", "rid", "fuel", "id", "data", "ext", "specversion"] {
                assert!(read(stream, format!("{{\"{key}\":{bomb}}}").as_bytes()).is_err());
            }
            assert!(read(stream, bomb.as_bytes()).is_err());
            assert!(read(stream, open.repeat(300_000).as_bytes()).is_err());
        }
    }
}

#[test]
fn an_event_has_no_more_extension_attributes_than_their_limit() {
    let event = |count: usize| {
        let extensions: String =
            (0..count).map(|index| format!(r#","e{index}":{index}"#)).collect();
        format!(r#"{{"specversion":"1.0","id":"i","source":"s","type":"t"{extensions}}}"#)
    };
    assert!(read(Stream::Events, event(MAX_EXTENSIONS).as_bytes()).is_ok());
    for count in [MAX_EXTENSIONS + 1, 100_000] {
        let line = event(count);
        let column = line.find(r#""e128":"#).unwrap() + 1;
        assert_error(
            Stream::Events,
            &line,
            &format!(
                "column {column}, field `e128`: an event has at most 128 extension attributes"
            ),
        );
    }
}

#[test]
fn a_message_stays_on_one_line_whatever_the_producer_wrote() {
    assert_error(
        Stream::Usage,
        "3   {\n \"spec",
        "column 1: every line is one JSON object, this is the number `3   {\\n \"spec`",
    );
    assert_error(
        Stream::Metering,
        r#"{"kind":"a\nb\u001b[31m","vm_id":"v"}"#,
        "column 9, field `kind`: unknown kind `a\\nb\\u{1b}[31m`, it is one of `vm.compute.start`, \
         `vm.compute.stop`, `vm.storage.start`, `vm.storage.stop`, `snap.storage.start`, \
         `snap.storage.stop`",
    );
    let key = read(Stream::Control, br#"{"a\nb":1}"#).unwrap_err();
    assert_eq!(key.lines().count(), 1, "{key}");
}

#[test]
fn long_values_are_cut_in_messages() {
    let long = "x".repeat(10_000);
    let line = format!(r#"{{"kind":"{long}"}}"#);
    let error = parse_line(Stream::Metering, line.as_bytes(), NOW).unwrap_err();
    assert!(error.message.len() < 300, "{}", error.message);
    let line = format!(r#"{{"{long}":1}}"#);
    let error = parse_line(Stream::Metering, line.as_bytes(), NOW).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
}

#[test]
fn columns_count_bytes_through_line_breaks() {
    let line = "{\n\"kind\":\"vm.compute.stop\",\n\"hypervisor\":\"ä\",\"vm_id\":7}";
    let error = parse_line(Stream::Metering, line.as_bytes(), NOW).unwrap_err();
    assert_eq!(error.column, line.find("7}").unwrap() + 1);
    let line = "{\n\"kind\":\n,}";
    let error = parse_line(Stream::Metering, line.as_bytes(), NOW).unwrap_err();
    assert_eq!(error.column, line.find(",}").unwrap() + 1);
}

const LINES: [(Stream, &str); 4] = [
    (
        Stream::Metering,
        r#"{"kind":"vm.compute.start","vm_id":"v","reason":"boot","shape":{"cpu":2,"mem_bytes":1},"emitted_at":"2026-05-20T01:02:03Z"}"#,
    ),
    (
        Stream::Usage,
        r#"{"rid":"r","tenant":"t","src":"s","stack":"k","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3,"admission_denied":true,"billable":false}"#,
    ),
    (
        Stream::Control,
        r#"{"id":0,"event_id":"e","type":"stack.activated","tenant_id":"t","stack_id":"s","version":1,"control_version":0}"#,
    ),
    (
        Stream::Events,
        r#"{"specversion":"1.0","id":"i","source":"s","type":"t","time":"2026-05-20T01:02:03Z","ext":1,"data":{"a":[1]}}"#,
    ),
];

/// What serde says of a value that it could read and does not want.
const SERDES_OWN: [&str; 7] = [
    "invalid type",
    "invalid value",
    "unknown field",
    "unknown variant",
    "missing field",
    "duplicate field",
    "expected struct",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Every mistake is found again by the search that explains it, and lies within the line.
    #[test]
    fn a_damaged_line_is_read_or_explained(
        which in 0..LINES.len(),
        other in 0..LINES.len(),
        place in any::<prop::sample::Index>(),
        length in 0_usize..8,
        with in prop_oneof![
            "[ -~]{0,3}",
            prop::sample::select(vec![
                "null", "true", "1", "-1", "1.5", "1e9", "99999999999999999999", "\"\"", "[]", "{}",
                ",", ":", "\"", "\\", "}", "\"kind\":", "\n", "\\u0000", "é",
            ]).prop_map(str::to_owned),
        ],
    ) {
        let (_, line) = LINES[which];
        let stream = if place.index(5) == 0 { LINES[other].0 } else { LINES[which].0 };
        let start = place.index(line.len());
        let end = (start + length).min(line.len());
        let damaged = format!("{}{with}{}", line.get(..start).unwrap(), line.get(end..).unwrap());
        match parse_line(stream, damaged.as_bytes(), NOW) {
            Ok(record) => {
                let mut out = Vec::new();
                record.encode(&mut out);
                prop_assert_eq!(parse_line(stream, &out, NOW).unwrap(), record);
            }
            Err(error) => {
                prop_assert!((1..=damaged.len().max(1)).contains(&error.column), "{}", error);
                for own in SERDES_OWN {
                    prop_assert!(!error.message.contains(own), "{}: {}", damaged, error);
                }
            }
        }
    }

    /// One value in the place of another: the likeliest mistake of a producer's program.
    #[test]
    fn a_wrong_value_is_told_with_its_field(
        which in 0..LINES.len(),
        member in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![
            "null", "true", "0", "7", "-7", "2.0", "1e2", "9223372036854775808", "18446744073709551616",
            "\"\"", "\"x\"", "\"2026-05-20T01:02:03Z\"", "[]", "[1,2,3]", "{}", "{\"cpu\":[]}",
        ]),
    ) {
        let (stream, line) = LINES[which];
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let (key, old) = members.iter().nth(member.index(members.len())).unwrap();
        let old = format!("\"{key}\":{old}");
        prop_assert!(line.contains(&old));
        let wrong = line.replacen(&old, &format!("\"{key}\":{value}"), 1);
        if let Err(error) = parse_line(stream, wrong.as_bytes(), NOW) {
            let field = error.field.clone().unwrap();
            for own in SERDES_OWN {
                prop_assert!(!error.message.contains(own), "{}: {}", wrong, error);
            }
            if stream != Stream::Usage && stream != Stream::Control {
                prop_assert!(field.starts_with(key.as_str()) || field == "vm_id" || field == "snapshot_id",
                    "{}: {}", wrong, error);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for stream in Stream::ALL {
            if let Err(error) = parse_line(stream, &bytes, NOW) {
                prop_assert!((1..=bytes.len().max(1)).contains(&error.column));
            }
        }
    }
}
