//! Hostile receivers of control events: what a pump is handed, and what becomes of its outbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;
use wasink_chassis::feed::{FeedSink, Feeds as _};
use wasink_chassis::limits::Limit;
use wasink_chassis::plugin::CallError;
use wasink_feed::outbox::sqlite::{SqliteOutbox, append_all};
use wasink_feed::pump::{Publisher, PumpOptions};
use wasink_record::{ControlEvent, Timestamp};

use self::Expected::{Dead, Held, Publishes};
use crate::feeds::{EVENTS, Good, Hands, SOUND, Way, check_words, event, host};

/// What is expected to become of the events behind `SOUND`.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// They wait for ever, the first of them for a reason with these words: it is the feed's fault.
    Held(&'static str),
    /// Each is a dead letter, for a reason with these words: it is that event's fault.
    Dead(&'static str),
    /// They are published, at these versions.
    Publishes([u64; 3]),
}

/// What a sink does when it is given what is behind `SOUND`, what is expected, and which limit it comes
/// up against.
const APPENDS: &[(&str, Expected, Option<Limit>)] = &[
    // No answer.
    ("panic", Dead("trapped in `append`: "), None),
    ("spin", Dead("did not return from `append` within 1s: it was computing"), Some(Limit::Call)),
    ("sleep", Held("did not return from `append` within 1s: it was waiting"), Some(Limit::Call)),
    ("allocate", Dead("it came up against `limits.memory`"), Some(Limit::Memory)),
    // Reasons.
    ("broken", Held("broken broken "), Some(Limit::Text)),
    ("rejected", Dead("rejected rejected "), Some(Limit::Text)),
    ("rejects-each", Dead("gpj.exe"), None),
    ("retries-each", Held("again again "), Some(Limit::Text)),
    // Answers that are none.
    ("too-few", Held("it gives 2 results for 3 events"), None),
    ("too-many", Held("it gives 1000000 results for 3 events"), None),
    ("unstamped-then-stamped", Held("`evt_5` the version 5, and none to one before it"), None),
    ("error-then-versions", Held("`evt_5` the version 5, and none to one before it"), None),
    ("repeated", Held("`evt_5` the version 4, which is another event's"), None),
    ("stuck", Held("`evt_4` the version 3, which is another event's"), None),
    ("beyond-signed", Held("`evt_4` the version 9223372036854775808, and"), None),
    ("last", Held("`evt_4` the version 18446744073709551615, and"), None),
    // No version is an answer, and none that an event is published by.
    ("unstamped", Held("the feed sink gives no control versions"), None),
    // What was appended before has the version that it got then, so this may be right.
    ("descending", Publishes([6, 5, 4]), None),
    // Whatever it says in whosever name.
    ("impostor", Publishes([4, 5, 6]), None),
];

/// A producer with a database of its own.
struct Producer {
    directory: TempDir,
    clock: Arc<Hands>,
}

impl Producer {
    /// One that has made so many events.
    fn new() -> Self {
        let producer = Self { directory: tempfile::tempdir().unwrap(), clock: Arc::default() };
        drop(producer.outbox());
        let mut connection = Connection::open(producer.path()).unwrap();
        let transaction = connection.transaction().unwrap();
        let events: Vec<_> = (1..=EVENTS).map(event).collect();
        append_all(&transaction, &events, Timestamp::from_unix_nanos(0)).unwrap();
        transaction.commit().unwrap();
        producer
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    fn outbox(&self) -> SqliteOutbox {
        SqliteOutbox::open(&self.path()).unwrap()
    }

    fn publisher(&self, sink: Box<dyn FeedSink>) -> Publisher {
        let mut options = PumpOptions::default();
        (options.batch, options.attempts) = (usize::try_from(SOUND).unwrap(), 1);
        Publisher::new(Box::new(self.outbox()), sink, options, self.clock.clone())
    }

    /// The version of each event, in their order.
    fn versions(&self) -> Vec<Option<u64>> {
        let connection = Connection::open(self.path()).unwrap();
        let sql = "SELECT published_control_version FROM control_events_outbox ORDER BY id";
        let mut all = connection.prepare(sql).unwrap();
        let versions = all.query_map([], |row| row.get::<_, Option<i64>>(0)).unwrap();
        versions
            .map(|version| version.unwrap().map(|version| version.try_into().unwrap()))
            .collect()
    }
}

fn sound(rest: [Option<u64>; 3]) -> Vec<Option<u64>> {
    (1..=SOUND).map(Some).chain(rest).collect()
}

/// What its caller is handed, and that it can be opened again.
fn check_call(way: &Way, expected: Expected) {
    let mut sink = host().open_sink(way.request()).unwrap();
    let (first, rest): (Vec<ControlEvent>, Vec<_>) =
        (1..=EVENTS).map(event).partition(|event| event.event_id() <= "evt_3");
    assert_eq!(sink.append(&first).unwrap(), [Ok(1), Ok(2), Ok(3)]);
    let said = match sink.append(&rest) {
        Ok(results) => {
            assert_eq!(results.len(), rest.len());
            let versions: Vec<_> =
                results.iter().filter_map(|result| result.as_ref().ok()).collect();
            if let Publishes(expected) = expected {
                assert_eq!(versions, expected.iter().collect::<Vec<_>>());
            } else {
                assert!(versions.iter().all(|version| **version == 0), "{results:?}");
            }
            results.into_iter().find_map(Result::err).map(|failure| failure.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    match (expected, said) {
        (Held(words) | Dead(words), Some(said)) => check_words(&said, words),
        (Held(_) | Publishes(_), None) => {}
        (expected, said) => panic!("{expected:?}, but {said:?}"),
    }
    // Whoever comes back may not say otherwise what was said.
    sink.reopen().unwrap();
    assert_eq!(sink.append(&first).unwrap(), [Ok(1), Ok(2), Ok(3)]);
}

#[test]
fn no_event_is_published_by_what_a_hostile_sink_answers_and_none_is_lost_by_it() {
    let good = Good::start();
    for (does, expected, limit) in APPENDS {
        let way = Way::new(json!({ "on": "append", "does": does, "behind": SOUND }));
        check_call(&way, *expected);
        let producer = Producer::new();
        let mut publisher = producer.publisher(host().open_sink(way.request()).unwrap());
        for _ in 0..4 {
            publisher.pass().unwrap();
            producer.clock.go_on(Duration::from_hours(13));
        }
        let state = publisher.state().unwrap();
        let dead = publisher.outbox().dead(10).unwrap();
        match expected {
            Held(words) => {
                let waiting = state.waiting.unwrap();
                assert_eq!(
                    (&*waiting.event_id, state.pending, state.dead),
                    ("evt_4", 3, 0),
                    "{does}"
                );
                check_words(&waiting.error, words);
                assert_eq!(producer.versions(), sound([None; 3]), "{does}");
            }
            Dead(words) => {
                assert_eq!((state.pending, state.dead), (0, 3), "{does}: {dead:?}");
                dead.iter().for_each(|dead| check_words(&dead.error, words));
                assert_eq!(producer.versions(), sound([None; 3]), "{does}");
            }
            Publishes(versions) => {
                assert_eq!((state.pending, state.dead), (0, 0), "{does}: {dead:?}");
                assert_eq!(producer.versions(), sound(versions.map(Some)), "{does}");
            }
        }
        way.check(*limit);

        for dead in dead {
            assert!(publisher.outbox().revive(dead.row).unwrap());
        }
        let mended = Way::new(json!({ "on": "close", "does": "panic" }));
        let mut publisher = producer.publisher(host().open_sink(mended.request()).unwrap());
        publisher.pass().unwrap();
        if !matches!(expected, Publishes(_)) {
            assert_eq!(producer.versions(), (1..=EVENTS).map(Some).collect::<Vec<_>>(), "{does}");
        }
        good.goes_on();
    }
    good.end();
}

#[test]
fn a_version_that_another_event_has_is_refused_also_after_the_sink_was_opened_again() {
    let way = Way::new(json!({ "on": "append", "does": "stuck", "behind": SOUND }));
    let mut sink = host().open_sink(way.request()).unwrap();
    assert_eq!(sink.append(&[event(3)]).unwrap(), [Ok(3)]);
    for _ in 0..2 {
        let refused = sink.append(&[event(4)]).unwrap_err();
        assert!(matches!(refused, CallError::Failed(_)), "{refused:?}");
        check_words(&refused.to_string(), "`evt_4` the version 3, which is another event's");
        sink.reopen().unwrap();
    }
}

#[test]
fn a_feed_sink_that_does_not_open_or_close_says_why_and_holds_up_nobody() {
    let good = Good::start();
    for (does, opening, closing) in [
        ("panic", "trapped in `open`: ", "trapped in `close`: "),
        ("spin", "did not return from `open` within 1s", "did not return from `close` within 1s"),
        ("broken", "refused to open as `hostile`: ", "broken broken "),
    ] {
        let way = Way::new(json!({ "on": "open", "does": does }));
        match host().open_sink(way.request()) {
            Ok(_) => panic!("`{does}`: it opened"),
            Err(error) => check_words(&error.to_string(), opening),
        }
        let way = Way::new(json!({ "on": "close", "does": does }));
        let mut sink = host().open_sink(way.request()).unwrap();
        check_words(&sink.close().unwrap_err().to_string(), closing);
        sink.reopen().unwrap();
        assert_eq!(sink.append(&[event(1)]).unwrap(), [Ok(1)]);
        good.goes_on();
    }
    good.end();
}
