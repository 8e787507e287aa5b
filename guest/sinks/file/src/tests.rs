//! What the sink does with its directory, seen from outside.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use wasink_guest::{Failure, Sink, Stream, native, open, testing};

use crate::{File, Settings, settings};

const SOME_DAY: Duration = Duration::from_secs(1_700_000_000);

/// A directory of its own, the disk empty, the time stopped.
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    testing::empty_disk();
    testing::set_now(SOME_DAY);
    directory
}

fn sink(settings: &str) -> File {
    open(&testing::context(settings)).unwrap()
}

fn write(sink: &mut File, position: u64, lines: &[&str]) -> Result<(), Failure> {
    sink.write(&testing::batch_at(position, Stream::Metering, lines)).map(drop)
}

fn text(directory: &TempDir, name: &str) -> String {
    fs::read_to_string(directory.path().join(name)).unwrap()
}

/// Names in the directory that are no bookkeeping, sorted.
fn names(directory: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn unzipped(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn batches_are_appended_line_by_line_in_order() {
    let directory = directory();
    let mut sink = sink("{}");
    write(&mut sink, 0, &["1", "2"]).unwrap();
    write(&mut sink, 2, &["3"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "1\n2\n3\n");
}

#[test]
fn cloudevents_are_written_where_they_are_asked_for() {
    let directory = directory();
    let mut sink = sink(r#"{"encoding":"cloudevents-jsonl"}"#);
    write(&mut sink, 0, &[r#"{"kind":"vm.compute.start"}"#]).unwrap();
    let text = text(&directory, "ledger.jsonl");
    assert!(text.contains(r#""specversion":"1.0""#) && text.ends_with("}\n"), "{text}");
}

#[cfg(unix)]
#[test]
fn file_and_folders_are_made_for_the_owner_and_its_group() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = directory();
    sink(r#"{"path":"metering/daily/ledger.jsonl"}"#);
    for (name, mode) in [("metering", 0o750), ("metering/daily/ledger.jsonl", 0o600)] {
        let metadata = fs::metadata(directory.path().join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn a_path_out_of_the_directory_is_refused_with_what_to_do_instead() {
    let _directory = directory();
    for path in ["/var/ledger.jsonl", "../ledger.jsonl", "a/../../b", "a/.."] {
        let settings = format!(r#"{{"path":"{path}"}}"#);
        let error = open::<File>(&testing::context(&settings)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains("`directory`"), "{error}");
    }
    for path in ["", "a//b", "a/", "./a"] {
        let settings = format!(r#"{{"path":"{path}"}}"#);
        let error = open::<File>(&testing::context(&settings)).unwrap_err().to_string();
        assert!(error.starts_with("setting `path`"), "{error}");
    }
}

#[test]
fn a_wrong_setting_is_named_by_its_path() {
    let _directory = directory();
    for (settings, named) in [
        (r#"{"rotate":{"bytes":"1"}}"#, "setting `rotate.bytes`"),
        (r#"{"rotate":{"size":1}}"#, "`size`"),
        (r#"{"rotate":{}}"#, "setting `rotate`"),
        (r#"{"rotate":{"bytes":0}}"#, "setting `rotate.bytes`"),
        (r#"{"encoding":"xml"}"#, "setting `encoding`"),
        (r#"{"paht":"x"}"#, "`paht`"),
    ] {
        let error = open::<File>(&testing::context(settings)).unwrap_err().to_string();
        assert!(error.contains(named), "{settings}: {error}");
        assert!(!error.contains(" at line "), "{error}");
    }
}

#[test]
fn without_a_directory_it_does_not_open() {
    std::thread::spawn(|| {
        let error = open::<File>(&testing::context("{}")).unwrap_err().to_string();
        assert!(error.contains("`grants.directory = true`"), "{error}");
    })
    .join()
    .unwrap();
}

#[test]
fn the_schema_names_every_setting_with_its_default() {
    let schema: wasink_guest::serde_json::Value =
        wasink_guest::serde_json::from_str(settings::SCHEMA).unwrap();
    let defaults = Settings::default();
    assert_eq!(schema["properties"]["path"]["default"], defaults.path);
    assert_eq!(schema["properties"]["encoding"]["default"], "jsonl");
    let rotate = &schema["properties"]["rotate"]["properties"];
    assert_eq!(rotate["gzip"]["default"], true);
    assert_eq!(rotate["settle_seconds"]["default"], 60);
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn a_full_disk_is_a_retry_and_the_same_batch_goes_on_where_it_stopped() {
    let directory = directory();
    let mut sink = sink("{}");
    testing::fill_disk_after(5);
    for _ in 0..2 {
        let failure = write(&mut sink, 0, &["aaa", "bbb"]).unwrap_err();
        assert!(matches!(failure, Failure::Retry { after: None, .. }), "{failure}");
        assert_eq!(text(&directory, "ledger.jsonl"), "aaa\nb");
    }
    testing::empty_disk();
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap();
    write(&mut sink, 2, &["ccc"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "aaa\nbbb\nccc\n");
}

#[test]
fn another_batch_after_a_torn_line_begins_a_line_of_its_own() {
    let directory = directory();
    let mut sink = sink("{}");
    testing::fill_disk_after(5);
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap_err();
    testing::empty_disk();
    write(&mut sink, 2, &["ccc"]).unwrap();
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "aaa\nb\nccc\naaa\nbbb\n");
}

#[test]
fn a_line_torn_under_another_writer_is_written_again_whole_and_those_before_it_are_not() {
    let directory = directory();
    let mut sink = sink("{}");
    testing::fill_disk_after(5);
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap_err();
    testing::empty_disk();
    let mut other = self::sink("{}");
    write(&mut other, 9, &["xxx"]).unwrap();
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "aaa\nb\nxxx\nbbb\n");
}

#[test]
fn a_line_that_somebody_else_tore_is_closed_first() {
    let directory = directory();
    fs::write(directory.path().join("ledger.jsonl"), "aaa\nb").unwrap();
    let mut sink = sink("{}");
    write(&mut sink, 0, &["ccc"]).unwrap();
    let mut torn =
        fs::OpenOptions::new().append(true).open(directory.path().join("ledger.jsonl")).unwrap();
    std::io::Write::write_all(&mut torn, b"dd").unwrap();
    write(&mut sink, 1, &["eee"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "aaa\nb\nccc\ndd\neee\n");
}

#[test]
fn a_batch_torn_in_a_file_that_was_moved_away_goes_on_with_its_whole_line_in_the_new_one() {
    let directory = directory();
    let mut sink = sink("{}");
    testing::fill_disk_after(5);
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap_err();
    testing::empty_disk();
    fs::rename(directory.path().join("ledger.jsonl"), directory.path().join("old")).unwrap();
    write(&mut sink, 0, &["aaa", "bbb"]).unwrap();
    assert_eq!(text(&directory, "old"), "aaa\nb");
    assert_eq!(text(&directory, "ledger.jsonl"), "bbb\n");
}

#[test]
fn a_file_that_is_moved_or_removed_is_opened_anew() {
    let directory = directory();
    let mut sink = sink("{}");
    let path = directory.path().join("ledger.jsonl");
    write(&mut sink, 0, &["1"]).unwrap();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    write(&mut sink, 1, &["2"]).unwrap();
    assert_eq!(text(&directory, "moved"), "1\n");
    assert_eq!(text(&directory, "ledger.jsonl"), "2\n");
    fs::remove_file(&path).unwrap();
    write(&mut sink, 2, &["3"]).unwrap();
    assert_eq!(text(&directory, "ledger.jsonl"), "3\n");
}

#[test]
fn a_file_that_has_reached_its_size_is_rotated_before_the_next_batch() {
    let directory = directory();
    let mut sink = sink(r#"{"rotate":{"bytes":4}}"#);
    write(&mut sink, 0, &["1"]).unwrap();
    write(&mut sink, 1, &["2"]).unwrap();
    assert_eq!(names(&directory), ["ledger.jsonl"]);
    write(&mut sink, 2, &["3"]).unwrap();
    let rotated = "ledger-20231114T221320.000000000Z.jsonl";
    assert_eq!(names(&directory), [rotated, "ledger.jsonl"]);
    assert_eq!(text(&directory, rotated), "1\n2\n");
    assert_eq!(text(&directory, "ledger.jsonl"), "3\n");
}

#[test]
fn two_rotations_at_one_instant_do_not_overwrite_each_other() {
    let directory = directory();
    let mut sink = sink(r#"{"rotate":{"bytes":1}}"#);
    for line in ["1", "2", "3"] {
        write(&mut sink, 0, &[line]).unwrap();
    }
    assert_eq!(text(&directory, "ledger-20231114T221320.000000000Z.jsonl"), "1\n");
    assert_eq!(text(&directory, "ledger-20231114T221320.000000001Z.jsonl"), "2\n");
    assert_eq!(text(&directory, "ledger.jsonl"), "3\n");
}

#[test]
fn age_counts_from_the_first_record_and_survives_a_restart() {
    let directory = directory();
    let settings = r#"{"rotate":{"age_seconds":100,"gzip":false}}"#;
    let mut first = sink(settings);
    testing::set_now(SOME_DAY + Duration::from_secs(1_000));
    write(&mut first, 0, &["1"]).unwrap();
    drop(first);
    testing::set_now(SOME_DAY + Duration::from_secs(1_099));
    let mut second = sink(settings);
    write(&mut second, 1, &["2"]).unwrap();
    assert_eq!(names(&directory), ["ledger.jsonl"]);
    testing::set_now(SOME_DAY + Duration::from_secs(1_100));
    second.flush().unwrap();
    assert_eq!(names(&directory).len(), 2, "an idle file is rotated as well");
    second.flush().unwrap();
    testing::set_now(SOME_DAY + Duration::from_secs(9_999));
    second.flush().unwrap();
    assert_eq!(names(&directory).len(), 2, "an empty one is not");
}

#[test]
fn two_processes_on_one_file_lose_nothing_when_either_rotates() {
    let directory = directory();
    let settings = r#"{"rotate":{"bytes":6,"gzip":false}}"#;
    let (mut one, mut two) = (sink(settings), sink(settings));
    for n in 0..20_u64 {
        testing::set_now(SOME_DAY + Duration::from_secs(n));
        let line = n.to_string();
        write(if n % 3 == 0 { &mut one } else { &mut two }, n, &[&line]).unwrap();
    }
    let all: String = names(&directory).iter().map(|name| text(&directory, name)).collect();
    let mut lines: Vec<u64> = all.lines().map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..20).collect::<Vec<_>>());
    assert!(names(&directory).len() > 3);
}

/// Big enough to take several steps.
fn big_line() -> String {
    (0..300_000).map(|n| format!("{n},")).collect()
}

#[test]
fn a_rotated_file_is_compressed_piece_by_piece_once_it_is_left_alone() {
    let directory = directory();
    let mut sink = sink(r#"{"rotate":{"bytes":1,"settle_seconds":60}}"#);
    let line = big_line();
    write(&mut sink, 0, &[&line]).unwrap();
    sink.flush().unwrap();
    let rotated = "ledger-20231114T221320.000000000Z.jsonl";
    for _ in 0..9 {
        sink.flush().unwrap();
    }
    assert_eq!(names(&directory), [rotated, "ledger.jsonl"], "too early");
    testing::set_now(SOME_DAY + Duration::from_secs(60));
    let mut steps = 0;
    while directory.path().join(rotated).exists() {
        sink.flush().unwrap();
        steps += 1;
        assert!(steps < 20);
    }
    assert!(steps > 2, "it took {steps} steps");
    let compressed = format!("{rotated}.gz");
    assert_eq!(names(&directory), [&compressed, "ledger.jsonl"]);
    assert!(unzipped(&directory.path().join(compressed)) == format!("{line}\n"));
}

#[test]
fn a_compression_that_was_cut_short_is_begun_again() {
    let directory = directory();
    let settings = r#"{"rotate":{"bytes":1,"settle_seconds":0}}"#;
    let mut first = sink(settings);
    write(&mut first, 0, &[&big_line()]).unwrap();
    first.flush().unwrap();
    first.flush().unwrap();
    assert_eq!(names(&directory).len(), 3, "one is unfinished: {:?}", names(&directory));
    drop(first);
    testing::set_now(SOME_DAY + Duration::from_secs(1));
    let mut second = sink(settings);
    for _ in 0..9 {
        second.flush().unwrap();
    }
    let compressed = "ledger-20231114T221320.000000000Z.jsonl.gz";
    assert_eq!(names(&directory), [compressed, "ledger.jsonl"]);
    assert!(unzipped(&directory.path().join(compressed)) == format!("{}\n", big_line()));
}

#[test]
fn a_late_line_in_a_rotated_file_is_not_lost_to_its_compression() {
    let directory = directory();
    let mut sink = sink(r#"{"rotate":{"bytes":1,"settle_seconds":0}}"#);
    write(&mut sink, 0, &[&big_line()]).unwrap();
    sink.flush().unwrap();
    let rotated = directory.path().join("ledger-20231114T221320.000000000Z.jsonl");
    sink.flush().unwrap();
    let mut late = fs::OpenOptions::new().append(true).open(&rotated).unwrap();
    std::io::Write::write_all(&mut late, b"late\n").unwrap();
    for second in 1..30 {
        testing::set_now(SOME_DAY + Duration::from_secs(second));
        sink.flush().unwrap();
    }
    let compressed = directory.path().join("ledger-20231114T221320.000000000Z.jsonl.gz");
    assert!(unzipped(&compressed).ends_with("\nlate\n"));
    assert!(!rotated.exists());
}

#[test]
fn only_so_many_rotated_files_stay_and_nothing_else_is_removed() {
    let directory = directory();
    fs::write(directory.path().join("ledger-notes.jsonl"), "mine").unwrap();
    let settings = r#"{"rotate":{"bytes":1,"keep":2,"gzip":false,"settle_seconds":10}}"#;
    let mut sink = sink(settings);
    for n in 0..6_u64 {
        testing::set_now(SOME_DAY + Duration::from_secs(n));
        write(&mut sink, n, &[&n.to_string()]).unwrap();
    }
    assert_eq!(names(&directory).len(), 5 + 2, "none has settled");
    testing::set_now(SOME_DAY + Duration::from_secs(100));
    sink.flush().unwrap();
    sink.flush().unwrap();
    let kept: Vec<String> = names(&directory)
        .iter()
        .filter(|name| name.starts_with("ledger-2"))
        .map(|name| text(&directory, name))
        .collect();
    assert_eq!(kept, ["4\n", "5\n"], "the flush has rotated the last one too");
    assert_eq!(text(&directory, "ledger-notes.jsonl"), "mine");
}

#[test]
fn what_fails_in_tidying_is_logged_and_no_record_fails() {
    let directory = directory();
    let mut sink = sink(r#"{"rotate":{"bytes":1,"settle_seconds":0}}"#);
    // It has the name of a rotated file, but is a folder: it can't be compressed.
    let odd = directory.path().join("ledger-20200101T000000.000000000Z.jsonl");
    fs::create_dir_all(odd.join("x")).unwrap();
    for second in 0..30 {
        testing::set_now(SOME_DAY + Duration::from_secs(second));
        write(&mut sink, second, &["1"]).unwrap();
    }
    let logged = testing::logged();
    assert!(logged.iter().any(|line| line.message == "cannot tidy rotated files"), "{logged:?}");
    let compressed = names(&directory).iter().filter(|name| name.ends_with(".gz")).count();
    assert!(compressed > 3, "the others are compressed all the same: {:?}", names(&directory));
}
