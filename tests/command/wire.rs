//! The wire formats through the command and the component `file`: what goes in is what is there.

use serde_json::Value;

use super::operator::Operator;

/// Sends lines to a stream's file, each of which must come out as it went in.
#[track_caller]
fn assert_unchanged(stream: &str, lines: &[String]) {
    let operator = Operator::new();
    operator.write("wasink.toml", "[usage]\nsink = \"file\"\n");
    let input = lines.join("\n") + "\n";
    operator.feed(&format!("run --stream {stream}"), &input).expect(0);
    let ledger = operator.read(&format!("wasink-data/{stream}/ledger.jsonl"));
    for (index, (found, line)) in ledger.lines().zip(lines).enumerate() {
        assert_eq!(found, line, "line {index}");
    }
    assert_eq!(ledger, input);
}

/// Every way to take some of these and leave the others, in their order.
fn subsets<'a>(parts: &[&'a str]) -> Vec<Vec<&'a str>> {
    let chosen = |bits: usize| {
        let parts = parts.iter().enumerate();
        parts.filter(move |(index, _)| bits >> index & 1 == 1).map(|(_, part)| *part).collect()
    };
    (0..1 << parts.len()).map(chosen).collect()
}

const TIME: &str = r#""emitted_at":"2026-05-20T01:02:03Z""#;

#[test]
fn every_kind_with_every_reason_is_written_as_it_came() {
    let kinds = [
        ("vm.compute.start", "vm_id"),
        ("vm.compute.stop", "vm_id"),
        ("vm.storage.start", "vm_id"),
        ("vm.storage.stop", "vm_id"),
        ("snap.storage.start", "snapshot_id"),
        ("snap.storage.stop", "snapshot_id"),
    ];
    let reasons = [
        "boot",
        "restart",
        "clone",
        "restore",
        "hibernate-wake",
        "stop-user",
        "stop-crash",
        "vm-rm",
        "snap-rm",
    ];
    let mut lines = Vec::new();
    for (kind, id) in kinds {
        let none = (kind != "snap.storage.stop").then(String::new);
        let reasons = reasons.iter().map(|reason| format!(r#","reason":"{reason}""#));
        for reason in none.into_iter().chain(reasons) {
            lines.push(format!(r#"{{"kind":"{kind}","{id}":"a-1"{reason},"shape":{{}},{TIME}}}"#));
        }
    }
    assert_unchanged("metering", &lines);
}

#[test]
fn what_an_entry_leaves_out_stays_out_and_its_shape_is_always_there() {
    let optional = [
        r#","source_snapshot_id":"snap-9""#,
        r#","reason":"clone""#,
        r#","hypervisor":"firecracker""#,
    ];
    let sizes = [r#""cpu":2"#, r#""mem_bytes":4294967296"#, r#""storage_bytes":10737418240"#];
    let mut lines = Vec::new();
    for given in subsets(&optional) {
        for sizes in subsets(&sizes) {
            let (given, sizes) = (given.concat(), sizes.join(","));
            lines.push(format!(
                r#"{{"kind":"vm.compute.start","vm_id":"vm-7"{given},"shape":{{{sizes}}},{TIME}}}"#
            ));
        }
    }
    assert_eq!(lines.len(), 64);
    assert_unchanged("metering", &lines);
}

#[test]
fn times_keep_their_digits_and_their_offset() {
    let times = [
        "2026-05-20T01:02:03Z",
        "2026-05-20T01:02:03.1Z",
        "2026-05-20T01:02:03.12Z",
        "2026-05-20T01:02:03.123456789Z",
        "2026-05-20T01:02:03.000000001Z",
        "2026-05-20T01:02:03+02:00",
        "2026-05-20T01:02:03.5-07:30",
        "1970-01-01T00:00:00Z",
        "2000-02-29T23:59:59.999999999Z",
    ];
    let line = |time: &str| {
        format!(r#"{{"kind":"vm.compute.stop","vm_id":"a","shape":{{}},"emitted_at":"{time}"}}"#)
    };
    assert_unchanged("metering", &times.map(line));

    // Zeros at the end of the fraction are dropped; UTC is `Z`, however it was written.
    let operator = Operator::new();
    let written =
        ["2026-05-20T01:02:03.120Z", "2026-05-20T01:02:03.000Z", "2026-05-20T01:02:03+00:00"];
    operator.feed("run", written.map(line).join("\n")).expect(0);
    let expected = ["2026-05-20T01:02:03.12Z", "2026-05-20T01:02:03Z", "2026-05-20T01:02:03Z"];
    let ledger = operator.read("wasink-data/metering/ledger.jsonl");
    assert_eq!(ledger, expected.map(line).join("\n") + "\n");
}

#[test]
fn characters_are_escaped_as_the_format_has_them() {
    let ids = ["\\u003c\\u003e\\u0026", "\\\"\\\\", "ünïcode 🦀", "\\u2028\\u2029", "a\\nb\\tc"];
    let line = |id| format!(r#"{{"kind":"vm.compute.stop","vm_id":"{id}","shape":{{}},{TIME}}}"#);
    assert_unchanged("metering", &ids.map(line));
}

/// Every way to leave out what usage may leave out.
fn usage_lines() -> Vec<String> {
    let mut lines = Vec::new();
    for status in ["ok", "error"] {
        for tenant in ["acme", "_sys", ""] {
            for optional in
                subsets(&[r#","mem_bytes":4096"#, r#","fuel":77"#, r#","billable":false"#])
            {
                lines.push((status, tenant, optional.concat()));
            }
            // Denied work has no fuel and is never billable.
            for mem in ["", r#","mem_bytes":4096"#] {
                for reason in ["", r#","admission_reason":"rate_limited""#] {
                    let denied =
                        format!(r#"{mem},"admission_denied":true{reason},"billable":false"#);
                    lines.push((status, tenant, denied));
                }
            }
        }
    }
    let line = |(index, (status, tenant, optional)): (usize, (&str, &str, String))| {
        format!(
            r#"{{"rid":"req-{index}","tenant":"{tenant}","src":"http","stack":"shop","duration_ms":{index},"status":"{status}","bytes_in":120,"bytes_out":0{optional}"#
        )
    };
    lines.into_iter().enumerate().map(line).collect()
}

#[test]
fn what_usage_leaves_out_stays_out() {
    let lines: Vec<_> = usage_lines().into_iter().map(|line| format!("{line},{TIME}}}")).collect();
    assert_eq!(lines.len(), 2 * 3 * (8 + 4));
    assert_unchanged("usage", &lines);
}

#[test]
fn control_events_and_cloud_events_are_written_as_they_came() {
    let full = format!(
        r#"{{"id":0,"event_id":"e-1","type":"stack.activated","tenant_id":"acme","stack_id":"shop","version":7,"base_version":6,"artifact_ref":"stacks/shop/7","checksum":"sha256:{}","control_version":3,"created_at":"2026-05-20T01:02:03Z"}}"#,
        "0a".repeat(32)
    );
    assert_unchanged("control", &[full]);

    let operator = Operator::new();
    let event = r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{"b" : [1e3, 1.0]}}"#;
    operator.feed("run --stream events --structured", event).expect(0);
    assert_eq!(operator.read("wasink-data/events/ledger.jsonl"), format!("{event}\n"));
}

#[test]
fn a_line_without_a_time_gets_one() {
    let operator = Operator::new();
    operator.feed("run", r#"{"kind":"vm.compute.stop","vm_id":"a","shape":{}}"#).expect(0);
    let entry: Value =
        serde_json::from_str(&operator.read("wasink-data/metering/ledger.jsonl")).unwrap();
    assert!(entry["emitted_at"].as_str().unwrap().ends_with('Z'), "{entry}");
}

#[test]
fn usage_is_a_line_of_the_log_with_its_fields_in_order() {
    let lines: Vec<_> = usage_lines().into_iter().map(|line| line + "}").collect();
    let operator = Operator::new();
    let input = lines.join("\n");
    let ended = operator
        .feed("run --stream usage --log-format json --log-level debug --quiet", &input)
        .expect(0);
    let logged: Vec<&str> =
        ended.stderr.lines().filter(|line| line.contains(r#""msg":"usage""#)).collect();
    assert_eq!(logged.len(), lines.len(), "{ended:?}");
    for (logged, line) in logged.iter().zip(&lines) {
        let level = if line.contains(r#""tenant":"_sys""#) { "debug" } else { "info" };
        let head = format!(r#""level":"{level}","msg":"usage","sink":"usage","#);
        let (_, fields) = logged.split_once(&head).unwrap_or_else(|| panic!("{logged}"));
        assert_eq!(format!("{{{fields}"), *line);
        let parsed: Value = serde_json::from_str(logged).unwrap();
        assert!(parsed["ts"].as_str().unwrap().ends_with('Z'), "{logged}");
    }

    let ended = operator.feed("run --stream usage --log-format json --quiet", &input).expect(0);
    let others = lines.iter().filter(|line| !line.contains(r#""tenant":"_sys""#)).count();
    assert_eq!(ended.stderr.lines().count(), others, "the service's own are not told: {ended:?}");
}
