//! Lines that are not what they should be: each is told, and the rest goes on.

use std::process::Stdio;

use super::operator::{Operator, count};

const ENTRY: &str = r#"{"kind":"vm.compute.start","vm_id":"vm-1","reason":"boot","shape":{"cpu":2},"emitted_at":"2026-05-20T01:02:03Z"}"#;

const LEDGER: &str = "wasink-data/metering/ledger.jsonl";

/// The longest line that is taken.
const LONGEST: usize = 1 << 20;

/// An entry that is so many bytes long.
fn entry_of(length: usize) -> String {
    let filler = "x".repeat(length - ENTRY.len());
    ENTRY.replace("vm-1", &format!("vm-1{filler}"))
}

#[test]
fn each_mistake_is_told_with_its_line_and_column_and_the_rest_goes_on() {
    let cases: [(&[u8], &str); 20] = [
        (b"not json", "column=1 "),
        (b"", "column=1 "),
        (b"  ", "column=1 "),
        (b"{", "cut off"),
        (b"null", "column=1 "),
        (b"[1]", "an array"),
        (b"{}", "field=kind "),
        (b"{\"kind\":\"vm.compute.pause\",\"vm_id\":\"a\",\"shape\":{}}", "field=kind "),
        (b"{\"kind\":\"vm.compute.start\",\"shape\":{}}", "field=vm_id "),
        (
            b"{\"kind\":\"vm.compute.start\",\"vm_id\":\"a\",\"shape\":{\"cpu\":-1}}",
            "field=shape.cpu ",
        ),
        (b"{\"kind\":\"vm.compute.start\",\"vm_id\":\"a\",\"shape\":{},\"more\":1}", "field=more "),
        (b"{\"kind\":\"vm.compute.start\",\"vm_id\":7,\"shape\":{}}", "field=vm_id "),
        (
            b"{\"kind\":\"vm.compute.start\",\"vm_id\":\"a\",\"shape\":{},\"emitted_at\":\"now\"}",
            "field=emitted_at ",
        ),
        (b"{\"kind\":\"\xff\xfe\"}", "not UTF-8"),
        (b"{\"kind\":\"vm\0compute\"}", "column="),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"{\"a\":{}} {}", "column="),
        (b"{\"a\":{}} trailing", "column="),
        (&[b'['; 100_000], "column="),
        (&[b'{'; 100_000], "column="),
    ];
    let mut input = Vec::new();
    for (bad, _) in cases {
        input.extend_from_slice(bad);
        input.push(b'\n');
        input.extend_from_slice(ENTRY.as_bytes());
        input.push(b'\n');
    }
    let operator = Operator::new();
    let ended = operator.feed("run", &input).expect(65);
    let told: Vec<&str> = ended.stderr.lines().filter(|l| l.contains("line refused")).collect();
    assert_eq!(told.len(), cases.len(), "{told:#?}");
    for (index, (told, (_, word))) in told.iter().zip(cases).enumerate() {
        let number = format!(" line={} ", index * 2 + 1);
        assert!(told.contains(&number) && told.contains(word), "{number}{word}: {told}");
        assert!(told.chars().all(|c| !c.is_control()), "{told}");
    }
    assert!(ended.stderr.contains("40 lines read"), "{ended:?}");
    assert_eq!(operator.read(LEDGER), format!("{ENTRY}\n").repeat(cases.len()));
}

#[test]
fn a_bad_line_may_be_the_first_in_the_middle_or_the_last() {
    for place in 0..3 {
        let mut lines = [ENTRY; 3];
        lines[place] = "bad";
        let operator = Operator::new();
        let ended = operator.feed("run", lines.join("\n")).expect(65);
        assert!(ended.stderr.contains(&format!(" line={} column=1 ", place + 1)), "{ended:?}");
        assert_eq!(operator.read(LEDGER), format!("{ENTRY}\n").repeat(2));
    }
}

#[test]
fn the_last_line_needs_no_end_and_an_end_may_have_a_carriage_return() {
    let operator = Operator::new();
    operator.feed("run", format!("{ENTRY}\r\n{ENTRY}\n{ENTRY}")).expect(0);
    assert_eq!(operator.read(LEDGER), format!("{ENTRY}\n").repeat(3));
}

#[test]
fn nothing_at_all_is_fine() {
    let operator = Operator::new();
    let ended = operator.feed("run", "").expect(0);
    assert!(ended.stderr.starts_with("0 lines read in "), "{ended:?}");
    assert_eq!(operator.read(LEDGER), "");
}

#[test]
fn a_line_may_be_a_mebibyte_long_and_not_more() {
    for end in ["\n", "\r\n"] {
        let operator = Operator::new();
        let longest = entry_of(LONGEST);
        let lines = [ENTRY, &longest, &entry_of(LONGEST + 1), ENTRY, &entry_of(4 << 20), ENTRY];
        let ended = operator.feed("run", lines.join(end)).expect(65);
        assert_eq!(count(&ended.stderr, "longer than 1048576 bytes"), 2, "{ended:?}");
        assert!(
            ended.stderr.contains(" line=3 ") && ended.stderr.contains(" line=5 "),
            "{ended:?}"
        );
        let expected: String = [ENTRY, &longest, ENTRY, ENTRY].map(|l| format!("{l}\n")).concat();
        assert!(operator.read(LEDGER) == expected, "not the four that are short enough");
    }
}

#[test]
fn of_ten_thousand_bad_lines_the_first_twenty_are_told_and_the_rest_counted() {
    let operator = Operator::new();
    let ended = operator.feed("run", "bad\n".repeat(10_000) + ENTRY).expect(65);
    assert_eq!(count(&ended.stderr, "line refused"), 20, "{ended:?}");
    assert!(ended.stderr.contains("more lines refused lines=9980"), "{ended:?}");
    assert!(ended.stderr.contains("10,001 lines read"), "{ended:?}");
    assert_eq!(operator.read(LEDGER), format!("{ENTRY}\n"));
}

#[test]
fn what_a_line_holds_never_acts_on_the_terminal() {
    let operator = Operator::new();
    let ended =
        operator.feed("run", "\u{1b}]0;title\u{7}\u{9b}2J\n{\"\\u001b[2J\":1}\n").expect(65);
    assert!(!ended.stderr.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{ended:?}");
}

#[test]
fn events_are_any_objects_kept_byte_by_byte() {
    let operator = Operator::new();
    let data = [r#"{ "a" : 1.0e2, "b":[ ] }"#, r#"{"big":123456789012345678901234567890}"#, "{}"];
    operator
        .feed("run --stream events --event-source /me --event-type t.x", data.join("\n"))
        .expect(0);
    for (event, data) in operator.read("wasink-data/events/ledger.jsonl").lines().zip(data) {
        assert!(event.ends_with(&format!(r#","data":{data}}}"#)), "{event}");
        assert!(event.contains(r#""source":"/me","type":"t.x""#), "{event}");
    }
}

#[test]
fn an_input_that_can_not_be_read_is_told() {
    let operator = Operator::new();
    let ended = operator.shell("\"$WASINK\" run < .").output().unwrap();
    assert_eq!(ended.status.code(), Some(74));
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(stderr.contains("wasink: can't read standard input to its end: "), "{stderr}");
}

#[test]
fn a_standard_input_that_is_closed_is_an_empty_one() {
    let operator = Operator::new();
    let ended = operator.shell("\"$WASINK\" run <&-").stdin(Stdio::null()).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

#[test]
fn the_summary_is_json_where_that_is_asked_for() {
    let operator = Operator::new();
    let ended = operator.feed("run --json", format!("{ENTRY}\nbad\n{ENTRY}\n")).expect(65);
    let summary = ended.json();
    assert_eq!(summary["exit"], 65);
    assert_eq!(summary["lines"], serde_json::json!({ "read": 3, "refused": 1 }));
    assert_eq!(summary["status"]["streams"][0]["accepted"], 2);
    assert_eq!(summary["status"]["sinks"][0]["lanes"][0]["delivered"], 2);
    assert_eq!(summary["status"]["sinks"][0]["lanes"][0]["pending"], 0);
    assert!(!ended.stderr.contains("lines read"), "{ended:?}");
    let quiet = operator.feed("run --quiet", ENTRY).expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}
