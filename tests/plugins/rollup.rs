//! The rollup sink: sums are exact, whatever is delivered again and whenever the process ends.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use wasink_chassis::logger::{Level, Value};
use wasink_chassis::plugin::{
    Acknowledges, CallError, Failure, OpenRequest, Plugins as _, SinkPlugin,
};
use wasink_journal::Batch;
use wasink_record::{IdSource, Stamped, Stream, Timestamp, parse_line};

use crate::kit::{Log, batch, error, grant, host, name, request};

/// When ids are made: long before they are counted, or long after.
const LONG_AGO: i64 = 1_600_000_000_000_000_000;
const FAR_AHEAD: i64 = 7_000_000_000_000_000_000;

/// By the begin of the window and the tenant: records, fuel, billable records and their fuel.
type Sums = BTreeMap<(String, String), [u64; 4]>;

fn open(directory: &Path, settings: &Json) -> Box<dyn SinkPlugin> {
    host().open(of(directory, settings)).unwrap()
}

fn of(directory: &Path, settings: &Json) -> OpenRequest {
    OpenRequest { grants: grant(directory), ..request("rollup", settings) }
}

/// Windows of a minute, files that are refreshed at every flush.
fn minutes() -> Json {
    json!({ "window_seconds": 60, "refresh_seconds": 0 })
}

/// Seven tenants in ten windows, and a third of the records billable.
fn line(n: u64) -> String {
    let (tenant, minute, second, billable) = (n % 7, n / 100 % 10, n % 60, n.is_multiple_of(3));
    format!(
        r#"{{"rid":"r-{n}","tenant":"t-{tenant}","src":"http","stack":"shop","duration_ms":1,"status":"ok","bytes_in":1,"bytes_out":2,"fuel":{n},"billable":{billable},"emitted_at":"2026-05-20T01:{minute:02}:{second:02}Z"}}"#
    )
}

fn expected(numbers: impl IntoIterator<Item = u64>) -> Sums {
    let mut sums = Sums::new();
    for n in numbers {
        let window = format!("2026-05-20T01:{:02}:00Z", n / 100 % 10);
        let [records, fuel, billable, billable_fuel] =
            sums.entry((window, format!("t-{}", n % 7))).or_default();
        *records += 1;
        *fuel += n;
        *billable += u64::from(n.is_multiple_of(3));
        *billable_fuel += if n.is_multiple_of(3) { n } else { 0 };
    }
    sums
}

/// A batch of records with ids that were made then.
fn made_at(time: i64, from: u64, to: u64) -> Arc<Batch> {
    // A source of its own: ids of one source only rise.
    let ids = IdSource::new(7);
    let time = Timestamp::from_unix_nanos(time);
    let records = (from..to)
        .map(|n| {
            let record = parse_line(Stream::Usage, line(n).as_bytes(), time).unwrap();
            Stamped::new(ids.next(time), time, record)
        })
        .collect();
    Arc::new(Batch::of(Stream::Usage, from, records, "wasink/node").unwrap())
}

fn deliver(sink: &mut dyn SinkPlugin, batch: &Arc<Batch>) {
    assert_eq!(sink.write(batch).unwrap(), []);
    sink.flush().unwrap();
}

fn sums(directory: &Path) -> Sums {
    let mut sums = Sums::new();
    for entry in directory.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "jsonl") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Json>(line).unwrap());
        let header = lines.next().unwrap();
        let window = header["window_start"].as_str().unwrap();
        for row in lines.filter(|line| line.get("crc32").is_none()) {
            let [all, billable] = ["all", "billable"]
                .map(|part| ["records", "fuel"].map(|column| row[part][column].as_u64().unwrap()));
            let key = (window.to_owned(), row["tenant"].as_str().unwrap().to_owned());
            let before = sums.insert(key, [all[0], all[1], billable[0], billable[1]]);
            assert_eq!(before, None, "one line a tenant and window: {row}");
        }
    }
    sums
}

#[test]
fn usage_is_added_up_by_tenant_and_window_in_private_files() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(host().describe(&name("rollup")).unwrap().acknowledges, Acknowledges::OnFlush);
    let mut sink = open(directory.path(), &minutes());
    for from in (0..1_000).step_by(125) {
        deliver(&mut *sink, &made_at(LONG_AGO, from, from + 125));
        assert_eq!(sums(directory.path()), expected(0..from + 125));
    }
    sink.close().unwrap();
    let mut files = 0;
    for entry in directory.path().read_dir().unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 11, "ten windows and the state");
}

#[test]
fn files_say_which_window_they_are_of_and_in_which_epoch_counting_began() {
    let directory = tempfile::tempdir().unwrap();
    for epoch in ["first", "second"] {
        let request = OpenRequest { epoch: epoch.to_owned(), ..of(directory.path(), &json!({})) };
        let mut sink = host().open(request).unwrap();
        deliver(&mut *sink, &made_at(LONG_AGO, 0, 10));
        sink.close().unwrap();
    }
    let file = directory.path().join("rollup-20260520T010000Z-3600s.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let header: Json = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(header["epoch"], "first");
    assert_eq!(header["window_start"], "2026-05-20T01:00:00Z");
    assert_eq!(header["window_end"], "2026-05-20T02:00:00Z");
    assert_eq!(header["position"], 10);
}

#[test]
fn what_is_delivered_again_is_not_counted_again_by_this_instance_or_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = open(directory.path(), &minutes());
    deliver(&mut *sink, &made_at(LONG_AGO, 0, 100));
    sink.write(&made_at(LONG_AGO, 100, 200)).unwrap();
    sink.reopen().unwrap();
    assert_eq!(sums(directory.path()), expected(0..100), "it was not flushed");
    for (from, to) in [(0, 150), (50, 180), (100, 200), (0, 200)] {
        deliver(&mut *sink, &made_at(LONG_AGO, from, to));
        sink.reopen().unwrap();
    }
    assert_eq!(sums(directory.path()), expected(0..200));
}

#[test]
fn what_did_not_come_at_first_is_counted_when_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = open(directory.path(), &minutes());
    deliver(&mut *sink, &made_at(LONG_AGO, 0, 100));
    deliver(&mut *sink, &made_at(LONG_AGO, 300, 400));
    sink.reopen().unwrap();
    deliver(&mut *sink, &made_at(LONG_AGO, 150, 350));
    assert_eq!(sums(directory.path()), expected((0..100).chain(150..400)));
}

#[test]
fn positions_that_begin_anew_go_on_being_counted() {
    let directory = tempfile::tempdir().unwrap();
    deliver(&mut *open(directory.path(), &minutes()), &made_at(LONG_AGO, 0, 100));
    let mut sink = open(directory.path(), &minutes());
    for _ in 0..2 {
        deliver(&mut *sink, &made_at(FAR_AHEAD, 0, 50));
        assert_eq!(sums(directory.path()), expected((0..100).chain(0..50)));
    }
}

#[test]
fn a_damaged_state_is_set_aside_and_the_operator_told() {
    let directory = tempfile::tempdir().unwrap();
    deliver(&mut *open(directory.path(), &minutes()), &made_at(LONG_AGO, 0, 100));
    std::fs::write(directory.path().join("rollup.state"), "junk").unwrap();
    let log = Arc::new(Log::default());
    let request = OpenRequest { logger: log.clone(), ..of(directory.path(), &minutes()) };
    host().open(request).unwrap().close().unwrap();
    let lines = log.lines();
    let told = lines.iter().find(|line| line.level == Level::Error).unwrap();
    assert_eq!(told.fields, [("set_aside".to_owned(), Value::from("rollup.state.damaged-1"))]);
    let aside = directory.path().join("rollup.state.damaged-1");
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "junk");
    assert_eq!(sums(directory.path()), expected(0..100), "what was written stays");
}

#[test]
fn a_state_that_was_taken_away_breaks_the_instance() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = open(directory.path(), &minutes());
    deliver(&mut *sink, &made_at(LONG_AGO, 0, 100));
    std::fs::remove_file(directory.path().join("rollup.state")).unwrap();
    sink.write(&made_at(LONG_AGO, 100, 200)).unwrap();
    match sink.flush() {
        Err(CallError::Failed(Failure::Broken(reason))) => {
            assert!(reason.contains("`rollup.state`"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_takes_no_other_stream_and_no_window_that_is_too_short() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = open(directory.path(), &minutes());
    match sink.write(&batch(Stream::Metering, 0, 1)) {
        Err(CallError::Failed(Failure::Rejected(_))) => {}
        other => panic!("{other:?}"),
    }
    let said = error(host().open(of(directory.path(), &json!({ "window_seconds": 59 }))));
    assert!(said.contains("window_seconds"), "{said}");
}

/// Records in a batch of the process that is killed.
const STEP: u64 = 40;

/// Where the process that is killed finds its directory, and where it begins.
const DIRECTORY: &str = "WASINK_TEST_ROLLUP_DIRECTORY";
const FROM: &str = "WASINK_TEST_ROLLUP_FROM";

#[test]
#[ignore = "it is run, and killed, by the test below"]
fn counts_until_it_is_killed() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let from: u64 = std::env::var(FROM).unwrap().parse().unwrap();
    let mut sink = open(Path::new(&directory), &minutes());
    let mut out = std::io::stdout();
    for position in (from..).step_by(usize::try_from(STEP).unwrap()) {
        deliver(&mut *sink, &made_at(LONG_AGO, position, position + STEP));
        writeln!(out, "\ncounted {}", position + STEP).unwrap();
    }
}

#[test]
fn sums_are_exact_after_kill_9_at_any_moment() {
    const ROUNDS: u64 = 20;
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        // Who delivers may know less than what was acknowledged.
        let from: u64 = acknowledged - STEP * (round % 3).min(acknowledged / STEP);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "rollup::counts_until_it_is_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(FROM, from.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut counted = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("counted ")?.parse::<u64>().ok());
        // It is somewhere else in its work each time the line is read.
        let enough = counted.nth(usize::try_from(round * 5 % 13).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        let last = counted.last().or(enough);
        acknowledged = acknowledged.max(last.unwrap());
    }
    let mut sink = open(directory.path(), &minutes());
    let end = acknowledged + 10 * STEP;
    for position in (acknowledged..end).step_by(usize::try_from(STEP).unwrap()) {
        deliver(&mut *sink, &made_at(LONG_AGO, position, position + STEP));
    }
    sink.close().unwrap();
    assert!(end > ROUNDS * STEP);
    assert_eq!(sums(directory.path()), expected(0..end));
    let strange = |name: &str| name.contains("damaged") || name.contains("earlier");
    for entry in directory.path().read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!strange(&name), "{name}");
    }
}

#[test]
fn through_the_command_all_of_it_is_in_the_files_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("wasink.toml");
    let text = "[usage]\nsink = 'nop'\n[[sink]]\nname = 'bill'\nplugin = 'rollup'\n\
                streams = ['usage']\ngrants.directory = true\nbatch = { records = 100, age = '0s' }\n\
                settings = { window_seconds = 60 }\n";
    std::fs::write(&config, text).unwrap();
    let data = directory.path().join("data");
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--quiet", "--stream", "usage", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(&data)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let fed: String = (0..3_000).map(|n| line(n) + "\n").collect();
    let writer = std::thread::spawn(move || input.write_all(fed.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(sums(&data.join("sinks/bill")), expected(0..3_000));
}
