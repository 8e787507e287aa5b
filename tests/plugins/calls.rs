//! Deadlines, interruptions, traps in the middle of work, and instances side by side.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use wasink_chassis::plugin::{
    CallError, Exception, Failure, OpenRequest, Outcome, PluginError, Plugins as _, SinkPlugin,
};
use wasink_record::Stream;

use crate::kit::{PATIENCE, batch, error, faulty, grant, host, request};

/// The guest `faulty`, opened to do `does` at its first `write`, and only there: an instance that is
/// made in its place remembers, in `directory`, that this is behind it.
fn once(does: &str, timeout: Duration, directory: &Path) -> Box<dyn SinkPlugin> {
    let settings = json!({ "on": "write", "does": does, "at": 1, "remember": true });
    let request = request("faulty", &settings);
    host().open(OpenRequest { timeout, grants: grant(directory), ..request }).unwrap()
}

fn stopped<T: std::fmt::Debug>(answer: Result<T, CallError>) -> PluginError {
    match answer {
        Err(CallError::Stopped(error)) => error,
        other => panic!("not stopped: {other:?}"),
    }
}

/// Waits until the guest is in its first `write`, where it has left its mark just before, or until
/// `call`, which makes it, is over.
fn wait_for_write<T>(directory: &Path, call: &thread::ScopedJoinHandle<'_, T>) {
    let marked = || std::fs::read(directory.join("calls-write")).is_ok_and(|mark| mark == b"1");
    while !marked() && !call.is_finished() {
        thread::yield_now();
    }
}

#[test]
fn a_write_that_spins_is_ended_at_its_deadline_and_the_next_instance_works() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = once("spin", Duration::from_millis(500), directory.path());
    let error = stopped(sink.write(&batch(Stream::Usage, 0, 3)));
    assert_eq!(
        error.to_string(),
        "plugin `faulty` did not return from `write` within 500ms: it was computing"
    );
    sink.reopen().unwrap();
    assert_eq!(sink.write(&batch(Stream::Usage, 0, 3)).unwrap(), []);
    sink.close().unwrap();
}

#[test]
fn a_write_that_waits_is_ended_at_its_deadline_and_the_next_instance_works() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = once("wait", Duration::from_millis(700), directory.path());
    let error = stopped(sink.write(&batch(Stream::Usage, 0, 3)));
    assert_eq!(
        error.to_string(),
        "plugin `faulty` did not return from `write` within 700ms: it was waiting"
    );
    sink.reopen().unwrap();
    assert_eq!(sink.write(&batch(Stream::Usage, 0, 3)).unwrap(), []);
}

#[test]
fn a_write_that_traps_leaves_its_last_words_and_nothing_to_call() {
    let mut sink = faulty("panic");
    let said = stopped(sink.write(&batch(Stream::Usage, 0, 1))).to_string();
    let start = "plugin `faulty` trapped in `write`: wasm `unreachable` instruction executed; its \
                 last words: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.ends_with(" | told to panic on write"), "{said}");

    let broken = "the plugin can't go on: it has not been opened again";
    assert_eq!(error(sink.write(&batch(Stream::Usage, 0, 1))), broken);
    assert_eq!(error(sink.flush()), broken);
    assert_eq!(error(sink.close()), broken);
    sink.reopen().unwrap();
    sink.flush().unwrap();
}

#[test]
fn an_exit_is_a_trap_with_its_status() {
    let error = stopped(faulty("exit").write(&batch(Stream::Usage, 0, 1)));
    assert_eq!(error.to_string(), "plugin `faulty` trapped in `write`: it exited with status 1");
}

#[test]
fn flush_and_close_have_deadlines_and_words_of_their_own() {
    for call in ["flush", "close"] {
        let open = |does: &str, timeout: Duration| {
            let request = request("faulty", &json!({ "on": call, "does": does }));
            host().open(OpenRequest { timeout, ..request }).unwrap()
        };
        let make = |sink: &mut Box<dyn SinkPlugin>| match call {
            "flush" => sink.flush(),
            _ => sink.close(),
        };
        let said = stopped(make(&mut open("panic", PATIENCE))).to_string();
        assert!(said.starts_with(&format!("plugin `faulty` trapped in `{call}`: ")), "{said}");
        assert!(said.ends_with(&format!("told to panic on {call}")), "{said}");
        assert_eq!(
            stopped(make(&mut open("spin", Duration::from_millis(300)))).to_string(),
            format!("plugin `faulty` did not return from `{call}` within 300ms: it was computing")
        );
        let said = error(make(&mut open("error", PATIENCE)));
        assert!(said.starts_with("the plugin can't go on: "), "{said}");
        assert!(said.ends_with("told to fail"), "{said}");
    }
}

#[test]
fn a_call_is_ended_from_another_thread_whether_it_spins_or_waits() {
    for does in ["spin", "wait"] {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = once(does, PATIENCE, directory.path());
        let interrupter = sink.interrupter();
        let error = thread::scope(|scope| {
            let call =
                scope.spawn(move || (stopped(sink.write(&batch(Stream::Usage, 0, 1))), sink));
            wait_for_write(directory.path(), &call);
            interrupter.interrupt();
            let (error, mut sink) = call.join().unwrap();
            let again = sink.reopen().unwrap_err();
            assert!(matches!(again, PluginError::Interrupted { .. }), "and every later: {again}");
            error
        });
        assert_eq!(error.to_string(), "plugin `faulty` was interrupted in `write`");
    }
}

#[test]
fn an_instance_that_spins_or_waits_delays_no_other() {
    for does in ["spin", "wait"] {
        let directory = tempfile::tempdir().unwrap();
        let mut stuck = once(does, PATIENCE, directory.path());
        let mut other = host().open(request("capture", &json!({}))).unwrap();
        let interrupter = stuck.interrupter();
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let call = scope.spawn(|| {
                let error = stopped(stuck.write(&batch(Stream::Usage, 0, 1)));
                ended.store(true, Ordering::SeqCst);
                error
            });
            wait_for_write(directory.path(), &call);
            let mut written = 0;
            while written < 500 && !ended.load(Ordering::SeqCst) {
                other.write(&batch(Stream::Usage, written, 1)).unwrap();
                written += 1;
            }
            assert_eq!(written, 500, "`{does}` ended before the other had its turn");
            assert_eq!(other.captured().unwrap().unwrap().len(), 500);
            interrupter.interrupt();
            let error = call.join().unwrap();
            assert!(matches!(error, PluginError::Interrupted { .. }), "{error}");
        });
    }
}

#[test]
fn instances_of_one_plugin_share_nothing() {
    let mut first = host().open(request("capture", &json!({}))).unwrap();
    let mut second = host().open(request("capture", &json!({}))).unwrap();
    first.write(&batch(Stream::Usage, 0, 2)).unwrap();
    assert_eq!(first.captured().unwrap().unwrap().len(), 2);
    assert_eq!(second.captured().unwrap().unwrap().len(), 0);
    first.reopen().unwrap();
    assert_eq!(first.captured().unwrap().unwrap().len(), 0, "a reopening starts from nothing");
}

#[test]
fn outcomes_and_failures_come_back_as_the_plugin_gave_them() {
    let three: Arc<_> = batch(Stream::Usage, 0, 3);
    for (does, outcome) in [
        ("duplicate-first", Outcome::Duplicate),
        ("retry-first", Outcome::Retry(None)),
        ("reject-first", Outcome::Rejected("told to reject the first".to_owned())),
        ("expire-first", Outcome::Expired),
    ] {
        assert_eq!(faulty(does).write(&three).unwrap(), [Exception { index: 0, outcome }]);
    }
    for (does, failure) in [
        ("retry", Failure::Retry { after: None, reason: "told to retry".to_owned() }),
        ("reject", Failure::Rejected("told to reject".to_owned())),
        ("broken", Failure::Broken("told to break".to_owned())),
    ] {
        let mut sink = faulty(does);
        for _ in 0..2 {
            // An answer ends no instance: whether it goes on is the caller's choice.
            match sink.write(&three) {
                Err(CallError::Failed(given)) => assert_eq!(given, failure),
                other => panic!("`{does}`: {other:?}"),
            }
        }
    }
}
