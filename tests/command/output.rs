//! Where the command writes to: pipes whose reader has gone, full disks, shells, terminals.

use std::process::Command;

use super::operator::{Ended, Operator, count, end};

const ENTRY: &str =
    r#"{"kind":"vm.compute.start","vm_id":"vm-1","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}"#;

/// Commands that print much.
const TALKERS: [&str; 10] = [
    "config",
    "config --json",
    "config --schema",
    "check",
    "check --json",
    "plugins list",
    "plugins inspect file",
    "completions bash",
    "man",
    "--help",
];

/// Runs to the end with a standard output, or a standard error, that nobody reads.
fn unread(mut command: Command, stderr: bool) -> Ended {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (told, heard) = (tempfile::NamedTempFile::new().unwrap(), std::process::Stdio::null());
    let file = told.reopen().unwrap();
    if stderr {
        command.stderr(writer).stdout(file);
    } else {
        command.stdout(writer).stderr(file);
    }
    let status = command.stdin(heard).status().unwrap();
    let told = std::fs::read_to_string(told.path()).unwrap();
    Ended { status, stdout: String::new(), stderr: told }
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let operator = Operator::new();
    for arguments in TALKERS.into_iter().chain(["run --json"]) {
        let ended = unread(operator.wasink(arguments), false).expect(0);
        assert!(!ended.stderr.contains("panicked"), "{arguments}: {ended:?}");
    }
}

#[test]
fn an_unread_standard_error_changes_nothing() {
    let operator = Operator::new();
    for (arguments, exit) in [("run", 0), ("run --config gone.toml", 64), ("plugins list", 0)] {
        unread(operator.wasink(arguments), true).expect(exit);
    }
    operator.write("in.jsonl", format!("bad\n{ENTRY}\n"));
    unread(operator.shell("exec \"$WASINK\" run < in.jsonl"), true).expect(65);
    assert_eq!(operator.read("wasink-data/metering/ledger.jsonl"), format!("{ENTRY}\n"));
}

#[test]
fn closed_outputs_change_nothing() {
    let operator = Operator::new();
    operator.write("in.jsonl", format!("bad\n{ENTRY}\n"));
    let ended = end(operator.shell("exec \"$WASINK\" run --json < in.jsonl >&- 2>&-"), b"");
    ended.expect(65);
    assert_eq!(operator.read("wasink-data/metering/ledger.jsonl"), format!("{ENTRY}\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told() {
    let operator = Operator::new();
    for arguments in TALKERS.iter().filter(|arguments| **arguments != "--help") {
        let ended =
            end(operator.shell(&format!("\"$WASINK\" {arguments} > /dev/full")), b"").expect(1);
        assert!(ended.stderr.starts_with("wasink: can't write to standard output: "), "{ended:?}");
    }
}

#[test]
fn there_are_completions_for_each_shell_and_a_manual_page() {
    let operator = Operator::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = operator.says(&format!("completions {shell}")).expect(0).stdout;
        assert!(script.contains("plugin-dir") && script.contains("metering"), "{shell}");
    }
    let page = operator.says("man").expect(0).stdout;
    assert!(page.contains(".TH wasink 1") && page.contains("Exit status"), "{page}");
}

/// Runs a line of shell on a terminal of its own, and returns what the terminal got.
#[cfg(target_os = "linux")]
fn on_a_terminal(operator: &Operator, line: &str) -> String {
    let mut script = operator.program("script");
    script.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    script.env("WASINK", env!("CARGO_BIN_EXE_wasink")).env("TERM", "xterm").env_remove("NO_COLOR");
    let ended = end(script, b"");
    assert!(ended.status.success(), "{ended:?}");
    ended.stdout
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_shows_how_it_goes_and_keeps_only_the_summary() {
    let operator = Operator::new();
    operator.write("in.jsonl", format!("{ENTRY}\n").repeat(2000));
    // Goes on only once the records have arrived, so that there is something to be shown.
    let line = "{ cat in.jsonl; until [ -s wasink-data/metering/ledger.jsonl ]; do sleep 0.1; done; \
                sleep 0.5; echo bad; } | \"$WASINK\" run || [ $? -eq 65 ]";
    let shown = on_a_terminal(&operator, line);
    assert!(shown.contains("2,000 lines  "), "the total and the rate: {shown:?}");
    assert!(shown.contains("  metering     2,000 delivered"), "each sink: {shown:?}");
    assert!(shown.contains("line refused line=2001"), "{shown:?}");
    let (_, summary) = shown.rsplit_once("2,001 lines read in ").unwrap();
    assert!(summary.contains("1 refused"), "{summary:?}");
    assert!(summary.contains("-> wasink-data/metering/ledger.jsonl"), "{summary:?}");
    assert_eq!(count(summary, "\n"), 2, "{summary:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_as_input_is_told_that_lines_are_waited_for() {
    let operator = Operator::new();
    // Nothing is typed: `script` passes the end of its own input on.
    let shown = on_a_terminal(&operator, "\"$WASINK\" run");
    assert!(shown.contains("waiting for lines on standard input"), "{shown:?}");
    assert!(shown.contains("0 lines read in "), "{shown:?}");
    let quiet = on_a_terminal(&operator, "\"$WASINK\" run --quiet");
    assert!(!quiet.contains("waiting"), "{quiet:?}");
}
