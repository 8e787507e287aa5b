//! Plugins as authors' own tests run them: what comes with wasink, in the harness.

use std::path::Path;
use std::time::Duration;

use wasink_chassis::plugin::{CallError, Failure, Outcome};
use wasink_guest::testing::http::{Receiver, Reply};
use wasink_kit::{Harness, Trial};
use wasink_record::{Stream, Timestamp};

use crate::kit::{bundled, line};

/// The trial of a component, which is called what it is.
fn trial(directory: &Path, name: &str, bytes: &[u8]) -> Trial {
    let file = directory.join(format!("{name}.wasm"));
    std::fs::write(&file, bytes).unwrap();
    let mut trial = Trial::new(file);
    trial.cache = Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled"));
    trial
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| line(Stream::Usage, n)).collect()
}

#[test]
fn a_batch_that_comes_again_is_the_same_in_this_instance_and_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let trial = trial(directory.path(), "capture", bundled("capture"));
    let mut harness = Harness::new(&trial).unwrap();
    let at = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);
    harness.set_time(at);
    let first = harness.batch(Stream::Usage, &lines(0..3)).unwrap();
    let second = harness.batch(Stream::Usage, &lines(3..5)).unwrap();
    let mut sink = harness.sink().unwrap();
    assert_eq!(sink.write(&first).unwrap(), []);
    assert_eq!(sink.write(&second).unwrap(), []);
    let kept = sink.captured().unwrap().unwrap();
    assert_eq!(kept.iter().map(|kept| kept.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    sink.reopen().unwrap();
    sink.write(&second).unwrap();
    assert_eq!(sink.captured().unwrap().unwrap(), kept[3..]);
}

#[test]
fn what_a_receiver_answers_is_told_for_each_record_by_the_clock_that_the_test_sets() {
    let directory = tempfile::tempdir().unwrap();
    let mut is_asked_first = true;
    let receiver = Receiver::new(move |_| {
        if std::mem::take(&mut is_asked_first) {
            Reply::status(503).header("retry-after", "Wed, 20 May 2026 01:00:30 GMT")
        } else {
            Reply::status(422)
        }
    });
    let mut trial = trial(directory.path(), "http", bundled("http"));
    trial.settings.insert("url".to_owned(), receiver.url("/usage").to_string().into());
    let origin = receiver.url("/").to_string();
    let granted = serde_json::json!([{ "origin": origin.trim_end_matches('/') }]);
    trial.grants.insert("http".to_owned(), granted);
    let mut harness = Harness::new(&trial).unwrap();
    harness.set_time("2026-05-20T01:00:00Z".parse().unwrap());
    let batch = harness.batch(Stream::Usage, &lines(0..2)).unwrap();
    let mut sink = harness.sink().unwrap();
    match sink.write(&batch) {
        Err(CallError::Failed(Failure::Retry { after, reason })) => {
            assert_eq!(after, Some(Duration::from_secs(30)), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    let rejected = Outcome::Rejected("status 422".to_owned());
    let told = sink.write(&batch).unwrap().into_iter().map(|told| (told.index, told.outcome));
    assert_eq!(told.collect::<Vec<_>>(), [(0, rejected.clone()), (1, rejected)]);
    sink.close().unwrap();
    assert!(receiver.received().iter().all(|request| request.path == "/usage"));
}

#[test]
fn what_a_killed_sink_has_acknowledged_is_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let mut harness = Harness::new(&trial(directory.path(), "file", bundled("file"))).unwrap();
    let batch = harness.batch(Stream::Usage, &lines(0..10)).unwrap();
    let mut sink = harness.sink().unwrap();
    assert_eq!(sink.write(&batch).unwrap(), []);
    sink.reopen().unwrap();
    let ledger = std::fs::read_to_string(harness.directory().join("ledger.jsonl")).unwrap();
    assert_eq!(ledger.lines().collect::<Vec<_>>(), lines(0..10));
    assert!(harness.log().iter().all(|line| line.starts_with("info ")), "{:?}", harness.log());
}

#[test]
fn what_is_wrong_in_a_test_is_told_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let trial = trial(directory.path(), "capture", bundled("capture"));
    let mut harness = Harness::new(&trial).unwrap();
    let wrong = [line(Stream::Usage, 1), "{}".to_owned()];
    let error = harness.batch(Stream::Usage, &wrong).unwrap_err().to_string();
    assert!(error.starts_with("line 2 of the batch: "), "{error}");
    let none: [&str; 0] = [];
    assert!(harness.batch(Stream::Usage, &none).is_err());
    // It is a sink, and no end of a feed.
    assert!(harness.feed_source().is_err());
    assert!(Harness::new(&Trial::new(directory.path().join("nosuch.wasm"))).is_err());
}
