//! `wasink plugins new`, `build` and `test`: what an author does first, in each language.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::operator::{Operator, end};
use super::service::{Client, serve_on_a_small_disk};

/// Set by who wants tests to fail that lack the tools that they need.
const REQUIRED: &str = "TEST_LANGUAGES";

/// Of a sink.
const CONFIGURATION: &str = "[usage]\nsink = 'subject'\ngrants.directory = true\n";

/// Where `.ci/languages` puts what languages have installed in a project.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("languages")
}

/// A new project called `subject` in this language, with what its build needs; `None` where that is
/// not on this machine and nobody has asked for it: then the test has nothing to show, and says so.
fn project(language: &str, kind: &str) -> Option<Operator> {
    let operator = Operator::new();
    let new = format!("plugins new subject --language {language} --kind {kind} --directory .");
    let made = operator.says(&new).expect(0);
    assert!(made.stdout.contains("wasink plugins build"), "{made:?}");
    for folder in [".venv", "node_modules"] {
        let there = installed().join(language).join(folder);
        if there.is_dir() {
            std::os::unix::fs::symlink(there, operator.path(folder)).unwrap();
        }
    }
    let built = operator.says("plugins build");
    if built.stderr.contains("; install it by") {
        let required = std::env::var_os(REQUIRED).is_some_and(|list| {
            list.to_string_lossy().split(',').any(|required| required == language)
        });
        assert!(!required, "{built:?}");
        // Not by `eprintln!`, which is kept for tests that fail.
        let said = format!("LEFT OUT: a plugin in {language}: {}", built.stderr);
        std::io::stderr().write_all(said.as_bytes()).unwrap();
        return None;
    }
    let built = built.expect(0);
    assert!(built.stdout.starts_with("built subject.wasm: "), "{built:?}");
    Some(operator)
}

/// The kit finds nothing that is broken.
fn keeps_the_contract(operator: &Operator, rounds: usize, more: &str) {
    let command = format!("plugins test --rounds {rounds} --records 5000 {more}");
    let tried = operator.says(&command).expect(0);
    assert!(tried.stdout.contains(", 0 broken, "), "{tried:?}");
}

/// A sink writes just what those in other languages write.
fn tallies(language: &str) {
    let Some(operator) = project(language, "sink") else { return };
    keeps_the_contract(&operator, 5, "");
    let plugins = operator.path("wasink-data/plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::fs::rename(operator.path("subject.wasm"), plugins.join("subject.wasm")).unwrap();
    operator.write("wasink.toml", CONFIGURATION);
    let tenants = [r#""b""#, r#""a \"q\" \\""#, r#""größe 漢字 🎈""#, r#""b""#];
    let lines: Vec<_> = tenants.iter().enumerate().map(|(n, tenant)| record(n, tenant)).collect();
    let input = lines.join("\n") + "\n";
    operator.feed("run --stream usage", &input).expect(0);
    assert_eq!(operator.read("wasink-data/sinks/usage/usage.jsonl"), input, "{language}");
    let counts = concat!(
        r#"{"tenant":"a \"q\" \\","records":1}"#,
        "\n",
        r#"{"tenant":"b","records":2}"#,
        "\n",
        r#"{"tenant":"größe 漢字 🎈","records":1}"#,
        "\n",
    );
    assert_eq!(operator.read("wasink-data/sinks/usage/tenants.jsonl"), counts, "{language}");
    // Half a line that a crash left is not in the way of what comes next.
    let file = operator.path("wasink-data/sinks/usage/usage.jsonl");
    std::fs::write(&file, format!("{input}{{\"rid\":\"r-")).unwrap();
    operator.feed("run --stream usage", &input).expect(0);
    assert_eq!(operator.read("wasink-data/sinks/usage/usage.jsonl"), input.repeat(2), "{language}");
    fills(&operator);
}

/// A sink whose disk is full goes on once there is room, without an instance that begins anew: a record
/// that comes once is there once.
fn fills(operator: &Operator) {
    const RECORDS: usize = 200;
    operator.write("wasink.toml", format!("listen.http = ''\n{CONFIGURATION}"));
    let (mut running, disk) = serve_on_a_small_disk(operator, "wasink-data/sinks/usage", 96 << 10);
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![0; 80 << 10]).unwrap();
    let lines: Vec<_> = (0..RECORDS).map(|rid| record(rid, r#""acme""#) + "\n").collect();
    let mut client = Client::connect(operator);
    for lines in lines.chunks(5) {
        let posted = client.post("usage", "application/x-ndjson", &lines.concat()).unwrap();
        assert_eq!(posted.0, 200, "{}", posted.1);
    }
    // Each in its language's words.
    running.await_word("usage.jsonl: ");
    std::fs::remove_file(ballast).unwrap();
    let usage = disk.join("usage.jsonl");
    let usage = operator.await_lines(usage.to_str().unwrap(), RECORDS);
    assert_eq!(usage, lines.concat());
    // Counted when it was flushed, each record once.
    let tenants = disk.join("tenants.jsonl");
    let counted = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["records"].as_u64().unwrap()
    };
    let mut lines = 1;
    loop {
        let counts = operator.await_lines(tenants.to_str().unwrap(), lines);
        let sum: u64 = counts.lines().map(counted).sum();
        if sum >= RECORDS as u64 {
            assert_eq!(sum, RECORDS as u64, "{counts}");
            break;
        }
        lines = counts.lines().count() + 1;
    }
}

fn record(rid: usize, tenant: &str) -> String {
    format!(
        r#"{{"rid":"r-{rid}","tenant":{tenant},"src":"http","stack":"s","duration_ms":1,"status":"ok","bytes_in":9223372036854775807,"bytes_out":2,"emitted_at":"2026-01-02T03:04:05.678Z"}}"#
    )
}

/// Both ends of a feed in a file.
fn feeds(language: &str) {
    let Some(sink) = project(language, "feed-sink") else { return };
    keeps_the_contract(&sink, 5, "");
    let Some(source) = project(language, "feed-source") else { return };
    let sink = sink.path("subject.wasm");
    // More polls than an instance may have handles.
    keeps_the_contract(&source, 300, &format!("--feed-sink {}", sink.display()));
}

macro_rules! languages {
    ($($language:ident: $($kind:ident)*;)*) => {$(
        mod $language {
            $(
                #[test]
                fn $kind() {
                    super::$kind(stringify!($language));
                }
            )*
        }
    )*};
}

languages! {
    c: tallies feeds;
    cpp: tallies feeds;
    go: tallies feeds;
    javascript: tallies feeds;
    python: tallies feeds;
    rust: tallies feeds;
    typescript: tallies feeds;
    zig: tallies feeds;
}

#[test]
fn a_project_is_made_in_an_empty_folder_alone() {
    let operator = Operator::new();
    operator.write("mine/notes.txt", "keep me");
    let refused = operator.says("plugins new mine --language c").expect(1);
    assert!(refused.stderr.contains("`mine` is there already and not empty"), "{refused:?}");
    assert_eq!(operator.read("mine/notes.txt"), "keep me");
    assert_eq!(std::fs::read_dir(operator.path("mine")).unwrap().count(), 1);
    let unknown = operator.says("plugins new other --language cobol").expect(2);
    assert!(unknown.stderr.contains("possible values: rust, python"), "{unknown:?}");
    let known = operator.says("plugins new file --language c").expect(1);
    assert!(known.stderr.contains("`file` comes with wasink"), "{known:?}");
    assert!(!operator.path("file").exists());
    let digit = operator.says("plugins new 1st --language rust").expect(1);
    assert!(digit.stderr.contains("a letter first"), "{digit:?}");
    assert!(!operator.path("1st").exists());
}

#[test]
fn what_is_in_the_way_of_a_build_is_told_with_the_way_out() {
    let operator = Operator::new();
    let none = operator.says("plugins build").expect(1);
    assert!(none.stderr.contains("no project of a plugin"), "{none:?}");
    operator.says("plugins new subject --language python --directory .").expect(0);
    let untried = operator.says("plugins test").expect(1);
    assert!(untried.stderr.contains("`wasink plugins build` makes it"), "{untried:?}");
    let mut nothing_there = operator.wasink("plugins build");
    nothing_there.env("PATH", "/nonexistent");
    let missing = end(nothing_there, b"").expect(1);
    let way_out = "componentize-py is missing; install it by `python3 -m venv .venv && ";
    assert!(missing.stderr.contains(way_out), "{missing:?}");

    let contract = operator.read("wit/batches.wit");
    operator.write("wit/batches.wit", contract.replace("ids: func", "keys: func"));
    let changed = operator.says("plugins build").expect(1);
    assert!(changed.stderr.contains("`batches.wit` was changed"), "{changed:?}");
    drop(operator.says("plugins build --update-contract"));
    assert_eq!(operator.read("wit/batches.wit"), contract);
}

#[test]
fn a_build_that_fails_leaves_the_component_that_was_there() {
    let operator = Operator::new();
    operator.says("plugins new subject --language rust --directory .").expect(0);
    operator.write("subject.wasm", "the one before");
    operator.write("src/lib.rs", "this is no Rust");
    let failed = operator.says("plugins build").expect(1);
    assert!(failed.stderr.contains("expected one of"), "{failed:?}");
    assert!(failed.stderr.contains("`subject` can't be built: `cargo build "), "{failed:?}");
    assert_eq!(operator.read("subject.wasm"), "the one before");
}

#[test]
fn a_new_project_in_rust_has_tests_that_pass() {
    let operator = Operator::new();
    operator.says("plugins new subject --language rust --directory .").expect(0);
    let mut cargo = Command::new(env!("CARGO"));
    let tested = cargo.args(["test", "--quiet"]).current_dir(operator.path(".")).output().unwrap();
    let said = String::from_utf8_lossy(&tested.stdout);
    assert!(tested.status.success() && said.contains("test result: ok. 2 passed"), "{tested:?}");
}
