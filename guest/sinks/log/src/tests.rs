//! Lines as the operator sees them.

use wasink_guest::testing::{self, Logged, LoggedValue};
use wasink_guest::{Level, Sink as _, Status, Stream, UsageEvent};

use crate::Log;

fn event() -> UsageEvent {
    UsageEvent {
        rid: "r-1".to_owned(),
        tenant: "acme".to_owned(),
        src: "http".to_owned(),
        stack: "shop".to_owned(),
        duration_ms: 12,
        status: Status::Ok,
        bytes_in: 3,
        bytes_out: 0,
        mem_bytes: 0,
        fuel: 0,
        admission_denied: None,
        billable: true,
        emitted_at: 0,
    }
}

fn logged(event: UsageEvent) -> Logged {
    let mut sink: Log = wasink_guest::open(&testing::context("{}")).unwrap();
    sink.write(&testing::usage(&[event])).unwrap();
    let mut lines = testing::logged();
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

fn keys(line: &Logged) -> Vec<&str> {
    line.fields.iter().map(|(key, _)| key.as_str()).collect()
}

const ALWAYS: [&str; 8] =
    ["rid", "tenant", "src", "stack", "duration_ms", "status", "bytes_in", "bytes_out"];

#[test]
fn a_usage_line_has_its_eight_keys_in_order_with_their_types() {
    let line = logged(event());
    assert_eq!((line.level, line.message.as_str()), (Level::Info, "usage"));
    assert_eq!(keys(&line), ALWAYS);
    assert_eq!(line.field("status"), Some(&LoggedValue::Text("ok".to_owned())));
    for (key, value) in [("duration_ms", 12), ("bytes_in", 3), ("bytes_out", 0)] {
        assert_eq!(line.field(key), Some(&LoggedValue::Signed(value)), "{key}");
    }
}

#[test]
fn what_is_optional_is_there_only_where_it_says_something() {
    for (mem_bytes, fuel, denied, billable, more) in [
        (1, 0, None, true, vec!["mem_bytes"]),
        (0, 1, None, true, vec!["fuel"]),
        (0, 0, Some(""), true, vec!["admission_denied"]),
        (0, 0, Some("draining"), true, vec!["admission_denied", "admission_reason"]),
        (0, 0, None, false, vec!["billable"]),
        (
            2,
            3,
            Some("suspended"),
            false,
            vec!["mem_bytes", "fuel", "admission_denied", "admission_reason", "billable"],
        ),
    ] {
        let admission_denied = denied.map(str::to_owned);
        let line = logged(UsageEvent { mem_bytes, fuel, admission_denied, billable, ..event() });
        assert_eq!(keys(&line), [ALWAYS.to_vec(), more].concat());
        if !billable {
            assert_eq!(line.field("billable"), Some(&LoggedValue::Boolean(false)));
        }
    }
}

#[test]
fn only_the_system_s_own_tenant_is_logged_for_debugging() {
    for (tenant, level) in [("_sys", Level::Debug), ("", Level::Info), ("sys", Level::Info)] {
        let line = logged(UsageEvent { tenant: tenant.to_owned(), ..event() });
        assert_eq!(line.level, level, "`{tenant}`");
        assert_eq!(line.field("tenant"), Some(&LoggedValue::Text(tenant.to_owned())));
    }
}

#[test]
fn records_of_the_other_streams_are_logged_as_they_are() {
    let mut sink: Log = wasink_guest::open(&testing::context("{}")).unwrap();
    for stream in [Stream::Metering, Stream::Control, Stream::Events] {
        sink.write(&testing::batch(stream, &["{\"a\":1}", "{\"a\":2}"])).unwrap();
        let lines = testing::logged();
        assert_eq!(lines.len(), 2);
        for (line, record) in lines.iter().zip(["{\"a\":1}", "{\"a\":2}"]) {
            assert_eq!((line.level, line.message.as_str()), (Level::Info, stream.as_str()));
            assert_eq!(line.fields.len(), 1);
            assert_eq!(line.field("record"), Some(&LoggedValue::Text(record.to_owned())));
        }
    }
}
