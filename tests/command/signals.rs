//! Ctrl-C and SIGTERM: once, twice, and with a plugin that hangs.

use super::operator::{Operator, Running};
use crate::support;

const ENTRY: &str = "{\"kind\":\"vm.compute.start\",\"vm_id\":\"vm-1\",\"shape\":{},\"emitted_at\":\"2026-05-20T01:02:03Z\"}\n";

/// What it says at the first signal.
const FINISHING: &str = "finishing what was accepted";

const SIGNALS: [(&str, i32); 2] = [("INT", 130), ("TERM", 143)];

#[test]
fn a_signal_ends_it_once_everything_accepted_is_delivered() {
    for (signal, exit) in SIGNALS {
        let operator = Operator::new();
        // One sink shows that the records are in; the other would sit on them for an hour.
        operator.write(
            "wasink.toml",
            "[metering.batch]\nage = \"0s\"\n\
             [[sink]]\nname = \"slow\"\nplugin = \"file\"\nstreams = [\"metering\"]\ngrants.directory = true\n\
             batch = { age = \"1h\" }\n",
        );
        let mut run = operator.start("run");
        run.send(ENTRY.repeat(100));
        operator.await_lines("wasink-data/metering/ledger.jsonl", 100);
        assert_eq!(operator.read("wasink-data/sinks/slow/ledger.jsonl"), "");
        run.signal(signal);
        let ended = run.end().expect(exit);
        assert!(ended.stderr.contains(FINISHING), "{ended:?}");
        assert!(ended.stderr.contains("100 lines read"), "{ended:?}");
        assert_eq!(operator.read("wasink-data/sinks/slow/ledger.jsonl"), ENTRY.repeat(100));
    }
}

/// A run whose plugin hangs in its first call, for longer than any test.
fn hanging(operator: &Operator, plugins: &tempfile::TempDir, arguments: &str) -> Running {
    operator.write(
        "wasink.toml",
        format!(
            "plugin_dirs = ['{}']\n[metering]\nbackend = 'faulty'\ntimeout = '1h'\n\
             [metering.faulty]\non = 'write'\ndoes = 'wait'\n",
            plugins.path().display()
        ),
    );
    let mut run = operator.start(arguments);
    run.send(ENTRY);
    run
}

#[test]
fn a_second_signal_ends_it_at_once_even_where_a_plugin_hangs() {
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    for (first, second, exit) in [("INT", "INT", 130), ("TERM", "TERM", 143), ("TERM", "INT", 130)]
    {
        let operator = Operator::new();
        let mut run = hanging(&operator, &plugins, "run --close-timeout 100s");
        // The handlers are there before the first line is read, and this one is refused.
        run.send("bad\n");
        run.await_word("line refused");
        run.signal(first);
        run.await_word(FINISHING);
        run.signal(second);
        run.end().expect(exit);
    }
}

#[test]
fn a_plugin_that_hangs_does_not_hold_up_the_end_for_longer_than_it_may() {
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    let operator = Operator::new();
    let mut run = hanging(&operator, &plugins, "run --close-timeout 300ms");
    run.end_input();
    let ended = run.end().expect(75);
    assert!(ended.stderr.contains("closed with records that are not delivered"), "{ended:?}");
    assert!(ended.stderr.contains("0 delivered, 1 pending"), "{ended:?}");
}
