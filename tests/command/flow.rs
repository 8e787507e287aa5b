//! Many lines: all of them, in order, each once.

use std::fmt::Write as _;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use serde_json::Value;
use serde_json::value::RawValue;

use super::operator::{Operator, Running};

/// The most memory that a run may take at its peak, in KiB, whatever it carries.
const MOST_MEMORY: u64 = 150 * 1024;

/// By how much the peak may differ between runs, in KiB: queues are full in one and not in another.
const MEMORY_MARGIN: u64 = 48 * 1024;

/// Line number `index` of the generated entries, in the wire format, its end included.
pub(crate) fn entry(index: u64, out: &mut String) {
    const KINDS: [(&str, &str); 6] = [
        ("vm.compute.start", "vm_id"),
        ("vm.compute.stop", "vm_id"),
        ("vm.storage.start", "vm_id"),
        ("vm.storage.stop", "vm_id"),
        ("snap.storage.start", "snapshot_id"),
        ("snap.storage.stop", "snapshot_id"),
    ];
    const REASONS: [&str; 4] = ["boot", "restart", "stop-user", "stop-crash"];
    // Spreads the bits of the index, so that lines differ in length and in what they leave out.
    let spread = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |shift: u32, below: u64| (spread >> shift) % below;
    let (kind, id) = KINDS[usize::try_from(index % 6).unwrap()];
    write!(out, r#"{{"kind":"{kind}","{id}":"node-{}/{index}""#, part(8, 1000)).unwrap();
    if part(16, 3) == 0 {
        write!(out, r#","source_snapshot_id":"snap-ü-{}""#, part(20, 100_000)).unwrap();
    }
    if kind != "snap.storage.start" {
        let reason = if kind.starts_with("snap") {
            "snap-rm"
        } else {
            REASONS[usize::try_from(part(24, 4)).unwrap()]
        };
        write!(out, r#","reason":"{reason}""#).unwrap();
    }
    if part(28, 4) > 0 {
        out.push_str(r#","hypervisor":"cloud-hypervisor""#);
    }
    out.push_str(r#","shape":{"#);
    let sizes = [("cpu", part(32, 5)), ("mem_bytes", part(36, 3) << 30), ("storage_bytes", index)];
    let sizes: Vec<String> = sizes
        .iter()
        .filter(|(_, size)| *size > 0)
        .map(|(name, size)| format!(r#""{name}":{size}"#))
        .collect();
    out.push_str(&sizes.join(","));
    let (hours, minutes, seconds) = (index / 3600 % 24, index / 60 % 60, index % 60);
    write!(out, r#"}},"emitted_at":"2026-05-20T{hours:02}:{minutes:02}:{seconds:02}"#).unwrap();
    if part(40, 2) == 0 {
        // A last digit that is not 0: those are left out.
        write!(out, ".{:08}{}", part(44, 100_000), 1 + index % 9).unwrap();
    }
    out.push_str(if part(48, 4) == 0 { "+02:00\"}\n" } else { "Z\"}\n" });
}

/// Sends that many entries through a run and checks what arrived; returns the peak of its memory, in
/// KiB.
fn carry(lines: u64) -> u64 {
    let operator = Operator::new();
    let mut run = operator.start("run");
    let mut text = String::new();
    for index in 0..lines {
        entry(index, &mut text);
        if text.len() > 1 << 16 || index + 1 == lines {
            run.send(&text);
            text.clear();
        }
    }
    let mut peak = peak_memory(run.id());
    run.end_input();
    // Once it has ended there is nothing to read any more, so it is read until then.
    while !run.has_ended() {
        peak = peak.max(peak_memory(run.id()));
        thread::yield_now();
    }
    let ended = run.end().expect(0);
    assert!(ended.stderr.contains(" lines read in "), "{ended:?}");
    assert_are_the_entries(&operator.path("wasink-data/metering/ledger.jsonl"), lines);
    peak
}

/// Byte by byte, so that a line that is missing, out of order, or there twice is found.
#[track_caller]
fn assert_are_the_entries(path: &Path, lines: u64) {
    let mut ledger = BufReader::with_capacity(1 << 20, std::fs::File::open(path).unwrap());
    let (mut expected, mut found) = (String::new(), Vec::new());
    for index in 0..lines {
        expected.clear();
        entry(index, &mut expected);
        found.resize(expected.len(), 0);
        ledger.read_exact(&mut found).unwrap_or_else(|error| panic!("line {index}: {error}"));
        assert_eq!(String::from_utf8_lossy(&found), expected, "line {index}");
    }
    assert_eq!(ledger.read(&mut [0]).unwrap(), 0, "there is more");
}

/// The peak of a process's memory so far, in KiB; 0 once it has ended, or where the system does not
/// tell.
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn a_million_lines_arrive_as_they_were_in_a_memory_that_does_not_grow_with_them() {
    let few = carry(100_000);
    let many = carry(1_000_000);
    println!("peak memory: {few} KiB for 100,000 lines, {many} KiB for 1,000,000");
    if cfg!(target_os = "linux") {
        assert!(few > 0 && many > 0, "nothing was measured");
    }
    assert!(many < MOST_MEMORY, "{many} KiB");
    assert!(many < few + MEMORY_MARGIN, "{few} KiB for a tenth of the lines, {many} KiB for all");
}

#[test]
fn four_processes_append_to_one_file_and_every_line_stays_whole() {
    const PROCESSES: usize = 4;
    const LINES: usize = 10_000;
    const ROUNDS: usize = 20;
    let line = |process: usize, index: usize| {
        // Of many lengths, so that a torn line is not taken for a whole one.
        let filler = "x".repeat(index * 7 % 97);
        format!(
            r#"{{"kind":"vm.compute.start","vm_id":"{process}-{index}-{filler}","reason":"boot","shape":{{}},"emitted_at":"2026-05-20T01:02:03Z"}}"#
        )
    };
    let operator = Operator::new();
    // Many small appends, so that there is much to mix.
    operator.write(
        "wasink.toml",
        "[metering.batch]\nrecords = 50\nage = \"0s\"\n[metering.file]\npath = \"ledger.jsonl\"\n",
    );
    let together = Barrier::new(PROCESSES);
    thread::scope(|scope| {
        for process in 0..PROCESSES {
            let (operator, together, line) = (&operator, &together, &line);
            scope.spawn(move || {
                // A journal belongs to one process; the file does not.
                let mut run = operator.start(&format!("--data-dir data-{process} run --quiet"));
                for round in 0..ROUNDS {
                    let size = LINES / ROUNDS;
                    let lines =
                        (round * size..(round + 1) * size).map(|index| line(process, index) + "\n");
                    let lines: String = lines.collect();
                    together.wait();
                    run.send(lines);
                }
                run.end_input();
                run.end().expect(0);
            });
        }
    });
    let ledger = operator.read("ledger.jsonl");
    let mut next = [0; PROCESSES];
    for found in ledger.lines() {
        let entry: Value = serde_json::from_str(found).unwrap();
        let process = entry["vm_id"].as_str().unwrap().split('-').next().unwrap();
        let process: usize = process.parse().unwrap();
        assert_eq!(found, line(process, next[process]));
        next[process] += 1;
    }
    assert_eq!(next, [LINES; PROCESSES]);
    assert!(ledger.ends_with('\n'));
}

#[test]
fn what_cargo_check_prints_arrives_as_the_data_of_events() {
    let operator = Operator::new();
    operator.write(
        "crate/Cargo.toml",
        "[package]\nname = \"checked\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    let mut library = String::from("//! Much to warn of: “ünïcode”, \\ and \"quotes\".\n");
    for index in 0..40 {
        writeln!(library, "fn unused_{index}(überflüssig: &str) {{\tlet x = 1; }}").unwrap();
    }
    operator.write("crate/src/lib.rs", library);
    operator.write("crate/src/main.rs", "fn main() { let never_read = \"\\u{1F980}\\n\"; }\n");
    operator.write("crate/examples/wrong.rs", "fn main() -> u8 { \"not a number <&>\" }\n");

    let mut cargo = operator.program(env!("CARGO"));
    cargo.args(["check", "--all-targets", "--keep-going", "--offline", "--message-format=json"]);
    cargo.args(["--manifest-path", "crate/Cargo.toml", "--target-dir", "target"]);
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    let printed = cargo.output().unwrap().stdout;
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.lines().count() > 40, "{printed}");
    assert!(printed.contains("mismatched types") && printed.contains("überflüssig"), "{printed}");

    let ended = operator.feed("run --stream events", &printed).expect(0);
    assert!(ended.stderr.contains("0 refused"), "{ended:?}");
    let events = operator.read("wasink-data/events/ledger.jsonl");
    assert_eq!(events.lines().count(), printed.lines().count());
    let mut ids = Vec::new();
    for (event, line) in events.lines().zip(printed.lines()) {
        let event: std::collections::BTreeMap<&str, &RawValue> =
            serde_json::from_str(event).unwrap();
        assert_eq!(event["data"].get(), line, "byte by byte");
        assert_eq!(event["specversion"].get(), r#""1.0""#);
        assert_eq!(event["type"].get(), r#""wasink.line""#);
        assert_eq!(event["datacontenttype"].get(), r#""application/json""#);
        ids.push(event["id"].get());
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "each has an id of its own, in order");
    let parsed = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    for (event, line) in events.lines().zip(printed.lines()) {
        assert_eq!(parsed(event)["data"], parsed(line));
    }
}

#[test]
fn what_comes_in_pieces_is_put_together() {
    let operator = Operator::new();
    let mut run: Running = operator.start("run");
    let mut text = String::new();
    (0..50).for_each(|index| entry(index, &mut text));
    for piece in text.as_bytes().chunks(7) {
        run.send(piece);
    }
    run.end_input();
    run.end().expect(0);
    assert_eq!(operator.read("wasink-data/metering/ledger.jsonl"), text);
}
