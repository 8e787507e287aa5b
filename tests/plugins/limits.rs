//! Plugins that use more than they may, or answer what can't be.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use wasink_chassis::hooks::Hooks;
use wasink_chassis::limits::Limit;
use wasink_chassis::logger::Value;
use wasink_chassis::plugin::{
    CallError, Failure, OpenRequest, Outcome, PluginError, Plugins as _, SinkPlugin,
};
use wasink_record::Stream;
use wasink_wasm::{Limits, WasmPlugins};

use crate::kit::{
    Log, PATIENCE, batch, component, error, faulty, grant, host, looking_in, misbehaving, name,
    options, request,
};

/// `faulty`, doing `does` on `write`, on a host with other limits.
fn limited(does: &str, limits: impl FnOnce(&mut Limits)) -> Box<dyn SinkPlugin> {
    let mut request = request("faulty", &json!({ "on": "write", "does": does }));
    limits(&mut request.limits);
    host().open(request).unwrap()
}

/// One record in, and the sink must be stopped for it; afterwards another instance opens.
fn trapped(mut sink: Box<dyn SinkPlugin>) -> String {
    let said = match sink.write(&batch(Stream::Usage, 0, 2)) {
        Err(CallError::Stopped(error @ PluginError::Trapped { .. })) => error.to_string(),
        other => panic!("not trapped: {other:?}"),
    };
    sink.reopen().unwrap();
    sink.flush().unwrap();
    said
}

fn broken(mut sink: Box<dyn SinkPlugin>) -> String {
    match sink.write(&batch(Stream::Usage, 0, 2)) {
        Err(CallError::Failed(Failure::Broken(reason))) => reason,
        other => panic!("not broken: {other:?}"),
    }
}

#[test]
fn memory_ends_where_its_limit_is() {
    let said = trapped(limited("allocate", |limits| limits.memory_bytes = 16 << 20));
    let start = "plugin `faulty` trapped in `write`: wasm `unreachable` instruction executed (it \
                 came up against `limits.memory`); its last words: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains("memory allocation of 1048576 bytes failed"), "{said}");
}

#[test]
fn memory_that_a_plugin_starts_with_is_limited_as_well() {
    let mut options = options();
    options.limits.memory_bytes = 1 << 16;
    let host = WasmPlugins::new(options).unwrap();
    let said = host.open(request("nop", &json!({}))).err().unwrap().to_string();
    assert!(said.starts_with("plugin `nop` trapped in `describe`: "), "{said}");
    assert!(said.contains("memory"), "{said}");
}

#[test]
fn a_recursion_without_an_end_ends_with_the_guests_stack_not_with_the_hosts() {
    let said = trapped(faulty("recurse"));
    assert_eq!(said, "plugin `faulty` trapped in `write`: call stack exhausted");
}

#[test]
fn handles_end_where_their_limit_is() {
    let directory = tempfile::tempdir().unwrap();
    let settings = json!({ "on": "write", "does": "open-files" });
    let mut request =
        OpenRequest { grants: grant(directory.path()), ..request("faulty", &settings) };
    request.limits.handles = 50;
    let mut sink = host().open(request).unwrap();
    match sink.write(&batch(Stream::Usage, 0, 1)) {
        Err(CallError::Stopped(PluginError::Trapped { .. }) | CallError::Failed(_)) => {}
        other => panic!("opened without end: {other:?}"),
    }
    sink.reopen().unwrap();
    sink.flush().unwrap();
}

#[test]
fn what_a_call_makes_the_host_allocate_is_limited() {
    let said = trapped(limited("long-reasons", |limits| limits.host_call_bytes = 1 << 20));
    assert!(said.starts_with("plugin `faulty` trapped in `write`: "), "{said}");
    let said = trapped(limited("long-log", |limits| limits.host_call_bytes = 1 << 20));
    assert!(said.starts_with("plugin `faulty` trapped in `write`: "), "{said}");
}

#[test]
fn an_answer_that_names_a_record_that_is_not_there_is_no_answer() {
    assert_eq!(broken(faulty("bad-index")), "its answer names record 2 of a batch of 2");
}

#[test]
fn a_million_exceptions_are_no_answer_either() {
    assert_eq!(broken(faulty("many-exceptions")), "its answer names record 2 of a batch of 2");
}

#[test]
fn long_reasons_are_cut() {
    let answer = faulty("long-reasons").write(&batch(Stream::Usage, 0, 2)).unwrap();
    assert_eq!(answer.len(), 2);
    for exception in answer {
        let Outcome::Rejected(reason) = exception.outcome else { panic!("{exception:?}") };
        assert_eq!(reason.len(), Limits::default().text_bytes + '…'.len_utf8());
        assert!(reason.starts_with("reason reason ") && reason.ends_with('…'));
    }
}

#[test]
fn what_a_plugin_says_when_it_opens_and_closes_is_cut_as_well() {
    let saying = |on: &str| {
        let mut request = request("faulty", &json!({ "on": on, "does": "error" }));
        request.limits.text_bytes = 6;
        host().open(request)
    };
    assert_eq!(error(saying("open")), "plugin `faulty` refused to open as `under-test`: broken…");
    match saying("close").unwrap().close() {
        Err(CallError::Failed(Failure::Broken(said))) => assert_eq!(said, "broken…"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_longest_wait_that_can_be_asked_for_is_a_day() {
    for (asked, given) in [
        (u64::MAX, Duration::from_hours(24)),
        (24 * 60 * 60 * 1_000 + 1, Duration::from_hours(24)),
        (1_500, Duration::from_millis(1_500)),
        (0, Duration::ZERO),
    ] {
        let settings = json!({ "on": "write", "does": "retry", "after_ms": asked });
        let mut sink = host().open(request("faulty", &settings)).unwrap();
        match sink.write(&batch(Stream::Usage, 0, 1)) {
            Err(CallError::Failed(failure)) => {
                let reason = "told to retry".to_owned();
                assert_eq!(failure, Failure::Retry { after: Some(given), reason });
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_flood_of_log_lines_is_taken_where_it_is_granted() {
    let log = Arc::new(Log::default());
    let mut request = request("faulty", &json!({ "on": "write", "does": "log-flood" }));
    request.grants.log = true;
    let mut sink = host().open(OpenRequest { logger: log.clone(), ..request }).unwrap();
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 100_000);
    assert!(lines.iter().all(|line| line.sink.as_deref() == Some("under-test")));
    assert_eq!(lines[99_999].fields, [("line".to_owned(), Value::Unsigned(99_999))]);
}

#[test]
fn a_flood_of_log_lines_is_bounded_and_counted() {
    let log = Arc::new(Log::default());
    let mut request = request("faulty", &json!({ "on": "write", "does": "log-flood" }));
    request.limits.log_rate = 10;
    let reached = request.reached.clone();
    let mut sink = host().open(OpenRequest { logger: log.clone(), ..request }).unwrap();
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    let lines = log.lines().len();
    // Ten seconds' worth at once, and what came due meanwhile.
    assert!((100..10_000).contains(&lines), "{lines}");
    assert!(reached.get(Limit::LogRate) + lines as u64 >= 100_000);
    // Another instance has no more lines for it, and the next that may be written tells of the others.
    sink.reopen().unwrap();
    let until = Instant::now() + PATIENCE;
    while !log.lines().iter().any(|line| line.message.contains("lines were left out")) {
        assert!(Instant::now() < until, "nobody tells of the lines that are left out");
        sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    }
    assert!(log.lines().len() < lines + 10_000);
}

/// What is counted of plugins before they are opened.
#[derive(Default)]
struct Counted(Mutex<Vec<(String, Limit)>>);

impl Hooks for Counted {
    fn limit_reached(&self, whose: &str, limit: Limit) {
        self.0.lock().unwrap().push((whose.to_owned(), limit));
    }
}

#[test]
fn a_plugin_that_is_too_large_or_takes_too_long_is_not_used_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    for (name, guest) in [("large", "faulty"), ("spins", "describe-spins")] {
        let path = directory.path().join(format!("{name}.wasm"));
        std::fs::write(path, misbehaving(guest)).unwrap();
    }
    let with = |plugin: &str, limits: &dyn Fn(&mut Limits)| {
        let counted = Arc::new(Counted::default());
        let mut options = looking_in(&[directory.path()]);
        limits(&mut options.limits);
        options.hooks = Some(counted.clone());
        let error = error(WasmPlugins::new(options).unwrap().describe(&name(plugin)));
        let counted = std::mem::take(&mut *counted.0.lock().unwrap());
        (error, counted)
    };
    let (said, counted) = with("large", &|limits| limits.component_bytes = 1_000);
    let expected = "and a plugin may have 1000 at most; allow it more with `limits.component`";
    assert!(said.contains(expected), "{said}");
    assert_eq!(counted, [("large".to_owned(), Limit::Component)]);
    let (said, counted) = with("large", &|limits| limits.compile_time = Duration::ZERO);
    let expected = "it does not compile within 0ns; allow it more with `limits.compile`";
    assert!(said.contains(expected), "{said}");
    assert_eq!(counted, [("large".to_owned(), Limit::Compile)]);
    let brief = Duration::from_millis(100);
    let (said, counted) = with("spins", &|limits| limits.describe_time = brief);
    let expected = "did not return from `describe` within 100ms: it was computing; allow it more \
                    with `limits.describe`";
    assert!(said.contains(expected), "{said}");
    assert_eq!(counted, [("spins".to_owned(), Limit::Describe)]);
    // Each component is of several modules at least.
    let (said, counted) = with("large", &|limits| limits.instances = 1);
    assert!(said.contains("`limits.instances`"), "{said}");
    assert_eq!(counted, [("large".to_owned(), Limit::Instances)]);
    let (said, counted) = with("large", &|limits| limits.table_elements = 1);
    assert!(said.contains("`limits.table`"), "{said}");
    assert_eq!(counted, [("large".to_owned(), Limit::Table)]);
}

/// A sink that makes so many things of its own when it is to describe itself, and lets go of none: the
/// host keeps count of them.
fn makes_things(count: u32) -> Vec<u8> {
    component(
        "interface things { resource thing; }
         world probe {
            include wasink:plugin/sink-plugin@0.1.0;
            export things;
         }",
        &format!(
            r#"(module
            (import "[export]test:probe/things" "[resource-new]thing"
                (func $new (param i32) (result i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                i32.const 1024)
            ;; 64 bytes of zeros: empty texts, no streams, no schema, no windows.
            (func (export "wasink:plugin/about@0.1.0#describe") (result i32)
                (local $left i32)
                (local.set $left (i32.const {count}))
                (loop $again
                    (drop (call $new (i32.const 1)))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $again (local.get $left)))
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#open")
                (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#write") (param i32) (result i32)
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#flush") (result i32)
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#close") (result i32)
                i32.const 64))"#
        ),
    )
}

#[test]
fn handles_to_a_plugins_own_things_are_limited_as_well() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("few.wasm"), makes_things(150)).unwrap();
    std::fs::write(directory.path().join("many.wasm"), makes_things(10_000)).unwrap();
    let mut options = looking_in(&[directory.path()]);
    options.limits.handles = 50;
    let host = WasmPlugins::new(options).unwrap();
    host.describe(&name("few")).unwrap();
    let said = error(host.describe(&name("many")));
    assert!(said.contains("it came up against `limits.handles`"), "{said}");
}

#[test]
fn a_long_log_line_is_cut_in_message_and_fields() {
    let log = Arc::new(Log::default());
    let request = request("faulty", &json!({ "on": "write", "does": "long-log" }));
    let mut sink = host().open(OpenRequest { logger: log.clone(), ..request }).unwrap();
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    let lines = log.lines();
    assert_eq!(lines.len(), 1);
    let most = Limits::default().log_bytes + '…'.len_utf8();
    assert_eq!(lines[0].message.len(), most);
    let (key, Value::Text(text)) = &lines[0].fields[0] else { panic!("no text") };
    assert_eq!((key.as_str(), text.len()), ("field", most));
}

#[test]
fn a_flood_of_standard_error_is_taken_and_little_of_it_kept() {
    let log = Arc::new(Log::default());
    let request = request("faulty", &json!({ "on": "write", "does": "deep-stderr" }));
    let mut sink = host().open(OpenRequest { logger: log.clone(), ..request }).unwrap();
    assert_eq!(sink.write(&batch(Stream::Usage, 0, 1)).unwrap(), []);
    assert_eq!(log.lines(), [], "no line has come to its end");
}

#[test]
fn the_lines_that_a_plugin_writes_to_standard_error_are_in_the_log_at_debug() {
    let log = Arc::new(Log::default());
    let request = request("faulty", &json!({ "on": "write", "does": "panic" }));
    let mut sink = host().open(OpenRequest { logger: log.clone(), ..request }).unwrap();
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap_err();
    let said = Value::Text("told to panic on write".to_owned());
    let lines = log.lines();
    assert!(lines.iter().all(|line| line.message == "plugin wrote"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.fields == [("line".to_owned(), said.clone())]),
        "{lines:?}"
    );
}
