//! Sinks that do not open, and files that can't be written to.

use super::operator::{Operator, Running, count, end};
use crate::support;

const ENTRY: &str = r#"{"kind":"vm.compute.start","vm_id":"vm-1","reason":"boot","shape":{"cpu":2},"emitted_at":"2026-05-20T01:02:03Z"}"#;

const LEDGER: &str = "wasink-data/metering/ledger.jsonl";

/// Said once, when the first call of several in a row has failed.
const WARNING: &str = "can't deliver, trying again";

/// `count` entries that differ, each with its end.
fn entries(count: usize) -> Vec<String> {
    (0..count).map(|index| ENTRY.replace("vm-1", &format!("vm-{index:06}")) + "\n").collect()
}

#[test]
fn no_configuration_at_all_is_the_file_in_its_place() {
    let operator = Operator::new();
    operator.write("empty.json", "{}");
    for arguments in ["run", "run --config empty.json"] {
        operator.feed(arguments, ENTRY).expect(0);
    }
    assert_eq!(operator.read(LEDGER), format!("{ENTRY}\n{ENTRY}\n"));
}

#[test]
fn the_backend_stderr_writes_each_record_as_a_line() {
    let operator = Operator::new();
    operator.write("c.json", r#"{"metering":{"backend":"stderr"}}"#);
    let ended =
        operator.feed("run --quiet --config c.json", format!("{ENTRY}\n{ENTRY}\n")).expect(0);
    assert_eq!(ended.stderr, format!("{ENTRY}\n{ENTRY}\n"));
    assert!(!operator.path("wasink-data/metering").exists());
}

#[test]
fn the_backend_nop_takes_all_and_writes_nothing() {
    let operator = Operator::new();
    operator.write("c.json", r#"{"metering":{"backend":"nop"}}"#);
    let ended =
        operator.feed("run --json --config c.json", format!("{ENTRY}\n{ENTRY}\n")).expect(0);
    assert_eq!(ended.json()["status"]["sinks"][0]["lanes"][0]["delivered"], 2);
    assert!(!operator.path(LEDGER).exists());
}

#[test]
fn the_path_of_the_ledger_is_taken_and_its_directory_made() {
    let operator = Operator::new();
    operator.write("c.json", r#"{"metering":{"file":{"path":"deep/down/m.jsonl"}}}"#);
    operator.feed("run --config c.json", ENTRY).expect(0);
    assert_eq!(operator.read("deep/down/m.jsonl"), format!("{ENTRY}\n"));
}

#[test]
fn an_unknown_backend_keeps_it_from_starting_and_the_known_ones_are_named() {
    let operator = Operator::new();
    operator.write("c.json", r#"{"metering":{"backend":"kafka"}}"#);
    for arguments in ["run --config c.json", "check --config c.json"] {
        let ended = operator.feed(arguments, ENTRY).expect(64);
        assert_eq!(
            ended.stderr,
            "wasink: c.json:1: metering.backend: unknown plugin `kafka`; available: `capture`, \
             `file`, `http`, `jetstream`, `log`, `nop`, `rollup`, `stderr`\n"
        );
    }
    assert!(!operator.path(LEDGER).exists());
}

#[test]
fn what_does_not_validate_keeps_it_from_starting_even_where_it_may_degrade() {
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        "[metering]\non_open_failure = \"degrade\"\n[metering.file]\nencodng = \"jsonl\"\n",
    );
    let ended = operator.feed("check", ENTRY).expect(64);
    assert!(ended.stderr.contains("encodng"), "{ended:?}");
}

#[test]
fn a_sink_that_does_not_open_keeps_it_from_starting() {
    let operator = Operator::new();
    std::fs::create_dir_all(operator.path(LEDGER)).unwrap();
    let ended = operator.feed("run", ENTRY).expect(69);
    assert!(ended.stderr.starts_with("wasink: sink `metering`: plugin `file` refused to open"));
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
}

#[test]
fn a_sink_that_may_degrade_is_left_out_in_plain_view() {
    let operator = Operator::new();
    std::fs::create_dir_all(operator.path(LEDGER)).unwrap();
    operator.write(
        "wasink.toml",
        "[metering]\non_open_failure = \"degrade\"\n\
         [[sink]]\nname = \"second\"\nplugin = \"file\"\nstreams = [\"metering\"]\ngrants.directory = true\n",
    );
    let ended = operator.feed("run --json", ENTRY).expect(75);
    assert_eq!(count(&ended.stderr, "going on without it"), 1, "{ended:?}");
    assert_eq!(ended.json()["status"]["sinks"][0]["state"], "degraded");
    assert_eq!(operator.read("wasink-data/sinks/second/ledger.jsonl"), format!("{ENTRY}\n"));

    // With no sink left it goes on all the same: who feeds it must not be held up.
    operator.write("wasink.toml", "[metering]\non_open_failure = \"degrade\"\n");
    let ended = operator.feed("run", entries(100_000).concat()).expect(75);
    assert!(ended.stderr.contains("100,000 lines read"), "{ended:?}");
    assert!(ended.stderr.contains("left out: sink `metering`: plugin `file`"), "{ended:?}");
}

#[test]
fn only_sinks_of_the_stream_are_opened() {
    let operator = Operator::new();
    // It can't be opened, and need not be.
    std::fs::create_dir_all(operator.path("wasink-data/control/ledger.jsonl")).unwrap();
    operator.feed("run", ENTRY).expect(0);
    operator.feed("run --stream control", "").expect(69);
    assert!(!operator.path("wasink-data/events").exists());
    assert!(!operator.path("wasink-data/sinks").exists());
}

#[test]
fn a_stream_that_no_sink_takes_is_a_mistake() {
    let operator = Operator::new();
    operator.write("wasink.toml", "[usage]\nenabled = false\n");
    let ended = operator.feed("run --stream usage", "").expect(64);
    assert!(ended.stderr.contains("no sink takes the stream `usage`"), "{ended:?}");
}

/// The command with a limit on the size of the files that it writes.
fn with_full_disk(operator: &Operator, arguments: &str) -> std::process::Command {
    // The limit is soft and counts 512 bytes; without the trap its signal would kill.
    operator.shell(&format!("trap '' XFSZ; ulimit -S -f 256; exec \"$WASINK\" {arguments}"))
}

/// The disk that is full is the sink's: what the journal does then has tests of its own.
const SMALL_BATCHES: &str = "journal.durability = \"memory\"\n[metering.batch]\nrecords = 16\n";

#[test]
fn a_full_disk_gives_one_warning_and_the_command_returns() {
    let operator = Operator::new();
    // Compiled code is kept in files as well.
    operator.says("check").expect(0);
    operator.write("wasink.toml", SMALL_BATCHES);
    let lines = entries(5_000);
    let ended = end(with_full_disk(&operator, "run --close-timeout 2s"), lines.concat().as_bytes());
    let ended = ended.expect(75);
    assert_eq!(count(&ended.stderr, WARNING), 1, "{ended:?}");
    assert_eq!(
        count(&ended.stderr, "closed with records that are not delivered yet"),
        1,
        "{ended:?}"
    );
    let ledger = operator.read(LEDGER);
    let whole: Vec<&str> = ledger.split_inclusive('\n').filter(|l| l.ends_with('\n')).collect();
    assert!(!whole.is_empty() && whole.len() < lines.len());
    assert!(whole.iter().zip(&lines).all(|(found, line)| found == line), "a prefix, and in order");
}

#[test]
fn what_a_full_disk_held_up_arrives_once_there_is_room() {
    let operator = Operator::new();
    operator.says("check").expect(0);
    operator.write("wasink.toml", SMALL_BATCHES);
    let lines = entries(1_500);
    let mut run = Running::start(with_full_disk(&operator, "run"));
    run.send(lines.concat());
    run.await_word(WARNING);
    // As whoever clears up would.
    std::fs::rename(operator.path(LEDGER), operator.path("moved.jsonl")).unwrap();
    run.end_input();
    let ended = run.end().expect(0);
    assert_eq!(count(&ended.stderr, "delivering again"), 1, "{ended:?}");
    assert_eq!(count(&ended.stderr, WARNING), 1, "{ended:?}");
    let (old, new) = (operator.read("moved.jsonl"), operator.read(LEDGER));
    let whole = |text: &str| -> String {
        text.split_inclusive('\n').filter(|line| line.ends_with('\n')).collect()
    };
    assert_eq!(whole(&old) + &whole(&new), lines.concat(), "all, in order, once");
}

#[test]
fn a_file_that_gets_out_of_reach_is_found_again() {
    let operator = Operator::new();
    let lines = entries(2);
    let mut run = operator.start("run");
    run.send(&lines[0]);
    operator.await_lines(LEDGER, 1);
    std::fs::remove_file(operator.path(LEDGER)).unwrap();
    std::fs::create_dir(operator.path(LEDGER)).unwrap();
    run.send(&lines[1]);
    run.await_word(WARNING);
    std::fs::remove_dir(operator.path(LEDGER)).unwrap();
    run.end_input();
    let ended = run.end().expect(0);
    assert_eq!(count(&ended.stderr, WARNING), 1, "{ended:?}");
    assert_eq!(operator.read(LEDGER), lines[1]);
}

#[test]
fn what_a_plugin_refuses_is_counted_and_the_rest_is_delivered() {
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    operator.write(
        "wasink.toml",
        format!(
            "plugin_dirs = ['{}']\n[metering]\nbackend = 'faulty'\n\
             [metering.faulty]\non = 'write'\ndoes = 'reject-first'\nat = 1\n",
            plugins.path().display()
        ),
    );
    let ended = operator.feed("run --json", entries(10).concat()).expect(65);
    let lane = &ended.json()["status"]["sinks"][0]["lanes"][0];
    assert_eq!((&lane["rejected"], &lane["delivered"]), (&1.into(), &9.into()), "{lane}");
    assert_eq!(count(&ended.stderr, "records rejected"), 1, "{ended:?}");
}
