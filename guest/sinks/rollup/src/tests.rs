//! What the sink does with its directory, seen from outside.

mod crashes;
mod disk;
mod expected;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use wasink_guest::serde_json::Value;
use wasink_guest::testing::{self, LoggedValue};
use wasink_guest::{Acknowledges, Context, Level, Sink as _, Stream, native, open, serde_json};

use crate::{Rollup, Settings, settings};
use expected::{MAX_QUANTITY, Record, batch, expected, read};
use random::Random;

/// Later than the ids of the batches.
const SOME_DAY: Duration = Duration::from_secs(1_800_000_000);

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    testing::set_now(SOME_DAY);
    directory
}

fn sink_of(settings: &str, epoch: &str) -> Rollup {
    open(&Context { epoch: epoch.to_owned(), ..testing::context(settings) }).unwrap()
}

/// Windows of a minute, files that are refreshed at every flush.
fn sink(epoch: &str) -> Rollup {
    sink_of(r#"{"window_seconds":60,"refresh_seconds":0}"#, epoch)
}

fn deliver(sink: &mut Rollup, position: u64, records: &[Record]) {
    let outcomes = sink.write(&batch(position, records)).unwrap();
    assert_eq!(outcomes.exceptions(), []);
    sink.flush().unwrap();
}

fn files(directory: &TempDir) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn header(directory: &TempDir, name: &str) -> Value {
    let text = fs::read_to_string(directory.path().join(name)).unwrap();
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

fn records(count: usize) -> Vec<Record> {
    let mut random = Random::new(3);
    (0..count).map(|_| Record::random(&mut random, 9, 3)).collect()
}

fn one(tenant: &str, minute: i64, fuel: u64) -> Record {
    Record {
        tenant: tenant.to_owned(),
        at: minute * 60_000_000_000,
        quantities: [1, 2, 3, fuel, 4],
        ok: true,
        denied: false,
        billable: true,
    }
}

/// Name of the file of a minute's window.
fn minute(minute: u64) -> String {
    format!("rollup-19700101T{:02}{:02}00Z-60s.jsonl", minute / 60, minute % 60)
}

#[test]
fn it_takes_usage_alone_and_acknowledges_on_flush() {
    let description = <Rollup as wasink_guest::Sink>::describe();
    assert_eq!(description.streams, [Stream::Usage]);
    assert_eq!(description.acknowledges, Acknowledges::OnFlush);
    let _directory = directory();
    let other = testing::batch(Stream::Events, &["{}"]);
    let failure = sink("e").write(&other).unwrap_err();
    assert!(failure.to_string().starts_with("rejected: "), "{failure}");
}

#[test]
fn a_window_is_a_file_with_a_line_a_tenant() {
    let directory = directory();
    let mut sink = sink_of(r#"{"refresh_seconds":0}"#, "epoch-7");
    let mut records = [one("b", 61, 7), one("a", 119, 5), one("b", 60, 1)];
    (records[1].ok, records[1].denied, records[1].billable) = (false, true, false);
    deliver(&mut sink, 40, &records);
    let names: Vec<_> = files(&directory).into_keys().collect();
    assert_eq!(names, ["rollup-19700101T010000Z-3600s.jsonl", "rollup.state"]);
    let text = fs::read_to_string(directory.path().join(&names[0])).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            r#"{"format":"wasink-rollup/1","window_start":"1970-01-01T01:00:00Z","window_end":"1970-01-01T02:00:00Z","epoch":"epoch-7","began":"2027-01-15T08:00:00Z","since":"2027-01-15T08:00:00Z","position":43}"#,
            r#"{"tenant":"a","all":{"records":1,"duration_ms":1,"bytes_in":2,"bytes_out":3,"fuel":5},"billable":{"records":0,"duration_ms":0,"bytes_in":0,"bytes_out":0,"fuel":0},"ok":0,"failed":1,"denied":1,"mem_bytes_max":4}"#,
            r#"{"tenant":"b","all":{"records":2,"duration_ms":2,"bytes_in":4,"bytes_out":6,"fuel":8},"billable":{"records":2,"duration_ms":2,"bytes_in":4,"bytes_out":6,"fuel":8},"ok":2,"failed":0,"denied":0,"mem_bytes_max":4}"#,
        ]
    );
    assert!(lines[3].starts_with(r#"{"crc32":""#) && lines.len() == 4, "{text}");
}

#[test]
fn sums_of_the_largest_quantities_are_exact() {
    let directory = directory();
    let mut sink = sink("e");
    let mut record = one("a", 0, MAX_QUANTITY);
    record.quantities = [MAX_QUANTITY; 5];
    for n in 0..40 {
        deliver(&mut sink, 100 * n, &vec![record.clone(); 100]);
    }
    let sums = read(&files(&directory));
    let [(_, numbers)] = sums.iter().collect::<Vec<_>>()[..] else { panic!("{sums:?}") };
    assert_eq!(numbers[1], 4_000 * u128::from(MAX_QUANTITY));
    assert_eq!(numbers[9], 36_893_488_147_419_103_228_000);
    drop(sink);
    deliver(&mut self::sink("f"), 4_000, &[record]);
    let numbers = *read(&files(&directory)).values().next().unwrap();
    assert_eq!(numbers[4], 4_001 * u128::from(MAX_QUANTITY), "and after they were read again");
}

#[test]
fn what_is_delivered_again_in_other_batches_is_not_counted_again() {
    let directory = directory();
    let records = records(50);
    let mut sink = sink("e");
    for (from, to) in [(0, 10), (0, 10), (5, 20), (3, 7), (20, 50), (19, 21)] {
        deliver(&mut sink, from as u64, &records[from..to]);
    }
    drop(sink);
    let mut sink = self::sink("f");
    deliver(&mut sink, 0, &records);
    sink.close().unwrap();
    assert_eq!(read(&files(&directory)), expected(&records, 60));
}

#[test]
fn what_is_not_flushed_is_not_acknowledged_and_is_counted_when_it_comes_again() {
    let directory = directory();
    let records = records(20);
    let mut sink = sink("e");
    deliver(&mut sink, 0, &records[..10]);
    sink.write(&batch(10, &records[10..])).unwrap();
    drop(sink);
    assert_eq!(read(&files(&directory)), expected(&records[..10], 60));
    deliver(&mut self::sink("e"), 10, &records[10..]);
    assert_eq!(read(&files(&directory)), expected(&records, 60));
}

#[test]
fn a_gap_is_logged_and_what_comes_in_it_later_is_counted() {
    let directory = directory();
    let records = records(30);
    let mut sink = sink("e");
    deliver(&mut sink, 0, &records[..10]);
    assert_eq!(testing::logged(), []);
    deliver(&mut sink, 20, &records[20..]);
    let logged = testing::logged();
    assert_eq!((logged.len(), &*logged[0].message), (1, "records did not come"));
    assert_eq!(logged[0].field("from"), Some(&LoggedValue::Unsigned(10)));
    assert_eq!(logged[0].field("to"), Some(&LoggedValue::Unsigned(20)));
    drop(sink);
    let mut sink = self::sink("f");
    for _ in 0..2 {
        deliver(&mut sink, 5, &records[5..25]);
        assert_eq!(read(&files(&directory)), expected(&records, 60));
    }
    assert_eq!(testing::logged(), []);
}

#[test]
fn a_restart_goes_on_in_the_epoch_in_which_counting_began() {
    let directory = directory();
    let records = [one("a", 1, 1), one("a", 1, 2)];
    deliver(&mut sink("first"), 0, &records[..1]);
    testing::set_now(SOME_DAY + Duration::from_secs(5));
    deliver(&mut sink("second"), 1, &records[1..]);
    let header = header(&directory, &minute(1));
    assert_eq!((&header["epoch"], &header["position"]), (&"first".into(), &2.into()));
    assert_eq!(header["since"], header["began"]);
    assert_eq!(read(&files(&directory)), expected(&records, 60));
}

#[test]
fn without_its_state_counting_begins_at_zero_in_a_new_epoch_and_the_old_file_stays() {
    let directory = directory();
    deliver(&mut sink("first"), 0, &[one("a", 1, 1), one("a", 2, 1)]);
    let before = files(&directory);
    fs::remove_file(directory.path().join("rollup.state")).unwrap();
    testing::logged();
    let again = [one("a", 1, 10)];
    deliver(&mut sink("second"), 2, &again);
    assert_eq!(header(&directory, &minute(1))["epoch"], "second");
    assert_eq!(header(&directory, &minute(2))["epoch"], "first", "nothing has come for it");
    let mut after = files(&directory);
    let aside = format!("{}.earlier-1", minute(1));
    assert_eq!(after.remove(&aside), Some(before[&minute(1)].clone()));
    after.remove(&minute(2));
    assert_eq!(read(&after), expected(&again, 60));
    assert_eq!(testing::logged()[0].level, Level::Warn);
}

#[test]
fn a_damaged_state_is_set_aside_and_named_and_counting_begins_anew() {
    let directory = directory();
    for n in 1..=2 {
        let mut sink = sink(&format!("epoch-{n}"));
        deliver(&mut sink, 0, &[one("a", 1, 1)]);
        deliver(&mut sink, 1, &[one("a", 1, 1)]);
        drop(sink);
        let state = directory.path().join("rollup.state");
        let mut bytes = fs::read(&state).unwrap();
        bytes[20] ^= 1;
        fs::write(&state, &bytes).unwrap();
        testing::logged();
        drop(self::sink("unused"));
        let aside = format!("rollup.state.damaged-{n}");
        let logged = testing::logged();
        assert_eq!(logged[0].level, Level::Error);
        assert_eq!(logged[0].field("set_aside"), Some(&LoggedValue::Text(aside.clone())));
        assert_eq!(files(&directory)[&aside], bytes);
        assert!(!state.exists());
    }
    deliver(&mut sink("last"), 9, &[one("a", 1, 5)]);
    assert_eq!(header(&directory, &minute(1))["epoch"], "last");
}

#[test]
fn a_damaged_window_is_set_aside_and_its_counters_begin_at_zero() {
    let directory = directory();
    deliver(&mut sink("first"), 0, &[one("a", 1, 1), one("a", 2, 1)]);
    let path = directory.path().join(minute(1));
    let text = fs::read_to_string(&path).unwrap().replace("\"fuel\":1", "\"fuel\":9");
    fs::write(&path, &text).unwrap();
    testing::logged();
    testing::set_now(SOME_DAY + Duration::from_secs(9));
    let more = [one("a", 1, 10), one("a", 2, 10)];
    deliver(&mut sink("second"), 2, &more);
    assert_eq!(testing::logged()[0].level, Level::Error);
    let after = files(&directory);
    assert_eq!(after[&format!("{}.damaged-1", minute(1))], text.as_bytes());
    let fuel = |of: u64| {
        read(&after)
            .into_iter()
            .find(|((window, _), _)| *window == format!("1970-01-01T00:{of:02}:00Z"))
            .unwrap()
            .1[4]
    };
    assert_eq!((fuel(1), fuel(2)), (10, 11));
    let since = |of: u64| header(&directory, &minute(of))["since"].clone();
    assert!(since(1) != since(2) && header(&directory, &minute(1))["epoch"] == "first");
}

#[test]
fn a_window_that_was_moved_away_begins_a_new_file() {
    let directory = directory();
    deliver(&mut sink("first"), 0, &[one("a", 1, 1)]);
    let since = header(&directory, &minute(1))["since"].clone();
    fs::rename(directory.path().join(minute(1)), directory.path().join("billed")).unwrap();
    testing::set_now(SOME_DAY + Duration::from_secs(9));
    let late = [one("a", 1, 10)];
    deliver(&mut sink("second"), 1, &late);
    assert_eq!(read(&files(&directory)), expected(&late, 60));
    assert_ne!(header(&directory, &minute(1))["since"], since);
}

#[test]
fn positions_that_begin_anew_are_seen_by_their_ids_and_counting_goes_on() {
    let directory = directory();
    // Before the ids of all batches, so that those of the next start are newer.
    testing::set_now(Duration::from_secs(1_700_000_000));
    let first = records(20);
    deliver(&mut sink("first"), 0, &first);
    let second: Vec<_> = records(35).split_off(20);
    let mut sink = sink("second");
    testing::logged();
    deliver(&mut sink, 0, &second[..5]);
    assert_eq!(testing::logged()[0].message, "the stream's positions begin anew, counting goes on");
    deliver(&mut sink, 5, &second[5..]);
    deliver(&mut sink, 2, &second[2..]);
    assert_eq!(testing::logged(), []);
    assert_eq!(read(&files(&directory)), expected(&records(35), 60));
}

#[test]
fn another_length_of_windows_begins_other_files() {
    let directory = directory();
    let records = records(20);
    deliver(&mut sink("e"), 0, &records[..10]);
    let before = files(&directory);
    let mut sink = sink_of(r#"{"window_seconds":3600,"refresh_seconds":0}"#, "f");
    deliver(&mut sink, 0, &records);
    let mut after = files(&directory);
    let hours: BTreeMap<_, _> =
        after.clone().into_iter().filter(|(name, _)| name.ends_with("-3600s.jsonl")).collect();
    assert_eq!(read(&hours), expected(&records[10..], 3_600));
    after.retain(|name, _| name.ends_with("-60s.jsonl"));
    assert_eq!(read(&after), read(&before));
}

#[test]
fn files_are_refreshed_when_it_is_time_and_at_the_end() {
    let directory = directory();
    let mut sink = sink_of(r#"{"refresh_seconds":10}"#, "e");
    let records = records(30);
    deliver(&mut sink, 0, &records[..10]);
    let first = expected(&records[..10], 3_600);
    assert_eq!(read(&files(&directory)), first, "the first are there at once");
    testing::set_now(SOME_DAY + Duration::from_millis(9_999));
    deliver(&mut sink, 10, &records[10..20]);
    assert_eq!(read(&files(&directory)), first);
    testing::set_now(SOME_DAY + Duration::from_secs(10));
    sink.flush().unwrap();
    assert_eq!(read(&files(&directory)), expected(&records[..20], 3_600), "with nothing new");
    deliver(&mut sink, 20, &records[20..]);
    sink.close().unwrap();
    assert_eq!(read(&files(&directory)), expected(&records, 3_600));
}

#[test]
fn a_state_that_somebody_else_writes_to_breaks_the_instance_and_not_the_sums() {
    let directory = directory();
    let records = records(30);
    let mut one = sink("e");
    deliver(&mut one, 0, &records[..10]);
    let mut two = sink("e");
    deliver(&mut two, 10, &records[10..20]);
    one.write(&batch(10, &records[10..])).unwrap();
    let failure = one.flush().unwrap_err();
    assert!(failure.to_string().contains("`rollup.state` was removed or replaced"), "{failure}");
    drop(one);
    deliver(&mut sink("e"), 10, &records[10..]);
    assert_eq!(read(&files(&directory)), expected(&records, 60));
}

#[test]
fn wrong_settings_are_refused_by_name() {
    let _directory = directory();
    for (settings, named) in [
        (r#"{"window_seconds":59}"#, "setting `window_seconds`: `59`"),
        (r#"{"window_seconds":2678401}"#, "setting `window_seconds`: `2678401`"),
        (r#"{"window_seconds":"1h"}"#, "setting `window_seconds`"),
        (r#"{"refresh_seconds":86401}"#, "setting `refresh_seconds`: `86401`"),
        (r#"{"refresh_seconds":-1}"#, "setting `refresh_seconds`"),
        (r#"{"window":1}"#, "`window`"),
    ] {
        let error = open::<Rollup>(&testing::context(settings)).unwrap_err().to_string();
        assert!(error.contains(named), "{settings}: {error}");
    }
}

#[test]
fn the_schema_names_every_setting_with_its_default_and_bounds() {
    let schema: Value = serde_json::from_str(settings::SCHEMA).unwrap();
    let defaults = Settings::default();
    let [window, refresh] =
        ["window_seconds", "refresh_seconds"].map(|name| &schema["properties"][name]);
    assert_eq!(window["default"], defaults.window_seconds);
    assert_eq!(refresh["default"], defaults.refresh_seconds);
    assert_eq!(schema["additionalProperties"], false);
    for (setting, bound) in [(window, "minimum"), (window, "maximum"), (refresh, "maximum")] {
        let value = u32::try_from(setting[bound].as_u64().unwrap()).unwrap();
        let check = |value| {
            let of = |mut settings: Settings| {
                let place = match std::ptr::eq(setting, window) {
                    true => &mut settings.window_seconds,
                    false => &mut settings.refresh_seconds,
                };
                *place = value;
                settings.check()
            };
            of(Settings::default())
        };
        assert!(check(value).is_ok());
        let beyond = if bound == "minimum" { value - 1 } else { value + 1 };
        assert!(check(beyond).is_err());
    }
}

#[test]
fn a_state_of_a_later_version_is_left_as_it_is() {
    let directory = directory();
    let mut text = b"{\"entry\":{\"version\":2}}\n".to_vec();
    crate::seal::seal(&mut text);
    fs::write(directory.path().join("rollup.state"), &text).unwrap();
    let error = open::<Rollup>(&testing::context("{}")).unwrap_err().to_string();
    assert!(error.contains("later version"), "{error}");
    assert_eq!(files(&directory).into_values().collect::<Vec<_>>(), [text]);
}

#[test]
fn without_a_directory_it_does_not_open() {
    std::thread::spawn(|| {
        let error = open::<Rollup>(&testing::context("{}")).unwrap_err().to_string();
        assert!(error.contains("`grants.directory = true`"), "{error}");
    })
    .join()
    .unwrap();
}
