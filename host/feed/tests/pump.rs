//! From an outbox in SQLite to a feed, where the feed does what it likes.

#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tempfile::TempDir;
use wasink_chassis::config::PluginName;
use wasink_chassis::feed::{FeedPlugin, FeedSink};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{
    Acknowledges, CallError, Description, Failure, Interrupter, PluginError, PluginVersion,
};
use wasink_feed::outbox::sqlite::{SqliteOutbox, append, append_all};
use wasink_feed::outbox::{Order, Outbox as _, OutboxState};
use wasink_feed::pump::{Pass, Publisher, Pump, PumpOptions};
use wasink_record::{Clock, ControlEvent, ControlType, MAX_CONTROL_TEXT, Timestamp};

const PATIENCE: Duration = Duration::from_secs(60);
const START: i64 = 1_779_238_923_000_000_000;

/// A clock that stands until it is told to go on.
#[derive(Debug)]
struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0.load(Ordering::SeqCst))
    }
}

impl Standing {
    fn go_on(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

/// A feed that numbers what it gets and knows it again.
#[derive(Default)]
struct Feed {
    versions: BTreeMap<String, u64>,
    calls: Vec<Vec<String>>,
    reopened: u32,
    /// Told when a call is to be ended.
    interrupted: Option<SyncSender<()>>,
}

type Answer = Box<dyn FnMut(&str) -> Option<Result<u64, CallError>> + Send>;

/// A sink of that feed. `answer` may say something else of an event.
struct Fake {
    feed: Arc<Mutex<Feed>>,
    answer: Answer,
}

impl FeedPlugin for Fake {
    fn version(&self) -> PluginVersion {
        PluginVersion { digest: String::new(), version: String::new(), path: None }
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(Description {
            version: "0.1.0".to_owned(),
            summary: String::new(),
            streams: Vec::new(),
            settings_schema: None,
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks: Vec::new(),
        })
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.feed.lock().unwrap().reopened += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        let interrupted = self.feed.lock().unwrap().interrupted.clone();
        Interrupter::new(move || {
            if let Some(interrupted) = &interrupted {
                interrupted.send(()).unwrap();
            }
        })
    }
}

impl FeedSink for Fake {
    fn append(&mut self, events: &[ControlEvent]) -> Result<Vec<Result<u64, Failure>>, CallError> {
        let mut feed = self.feed.lock().unwrap();
        feed.calls.push(events.iter().map(|event| event.event_id().to_owned()).collect());
        let mut results = Vec::new();
        for event in events {
            assert_eq!(event.control_version(), 0);
            let id = event.event_id().to_owned();
            match (self.answer)(&id) {
                Some(Ok(version)) => results.push(Ok(version)),
                Some(Err(CallError::Failed(failure))) => {
                    results.push(Err(failure));
                    while results.len() < events.len() {
                        results.push(Err(retry("an event before it was not appended")));
                    }
                    break;
                }
                Some(Err(stopped)) => return Err(stopped),
                None => {
                    let next = feed.versions.len() as u64 + 1;
                    results.push(Ok(*feed.versions.entry(id).or_insert(next)));
                }
            }
        }
        Ok(results)
    }
}

fn retry(reason: &str) -> Failure {
    Failure::Retry { after: None, reason: reason.to_owned() }
}

fn trap() -> CallError {
    let plugin: PluginName = "fake".parse().unwrap();
    let (reason, last_words) = ("unreachable".to_owned(), String::new());
    PluginError::Trapped { plugin, call: "append", reason, last_words }.into()
}

struct Silent;

impl Logger for Silent {
    fn log(&self, _: &Line<'_>) {}

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

struct Kit {
    directory: TempDir,
    feed: Arc<Mutex<Feed>>,
    clock: Arc<Standing>,
}

impl Kit {
    fn new() -> Self {
        let clock = Arc::new(Standing(AtomicI64::new(START)));
        let kit = Self { directory: tempfile::tempdir().unwrap(), feed: Arc::default(), clock };
        drop(kit.outbox());
        kit
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("db")
    }

    fn outbox(&self) -> SqliteOutbox {
        SqliteOutbox::open(&self.path()).unwrap()
    }

    /// A producer's transaction.
    fn produce(&self, ids: &[&str]) {
        let mut connection = Connection::open(self.path()).unwrap();
        let transaction = connection.transaction().unwrap();
        for id in ids {
            append(&transaction, &event(id), self.clock.now()).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn publisher(&self, options: PumpOptions, answer: Answer) -> Publisher {
        let sink = Box::new(Fake { feed: self.feed.clone(), answer });
        Publisher::new(Box::new(self.outbox()), sink, options, self.clock.clone())
    }

    fn calls(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.feed.lock().unwrap().calls)
    }

    /// A row's columns as text.
    fn row(&self, id: &str, columns: &str) -> String {
        let sql = format!("SELECT {columns} FROM control_events_outbox WHERE event_id = ?");
        let connection = Connection::open(self.path()).unwrap();
        let text = connection.query_row(&sql, [id], |row| {
            let value = |index| match row.get_ref(index) {
                Ok(rusqlite::types::ValueRef::Null) => Some("-".to_owned()),
                Ok(rusqlite::types::ValueRef::Integer(number)) => Some(number.to_string()),
                Ok(
                    rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text),
                ) => Some(String::from_utf8_lossy(text).into_owned()),
                _ => None,
            };
            Ok((0..).map_while(value).collect::<Vec<_>>().join("|"))
        });
        text.unwrap()
    }
}

fn event(id: &str) -> ControlEvent {
    ControlEvent::builder(id, ControlType::TenantCreated).tenant_id("acme").build().unwrap()
}

fn counts(publisher: &mut Publisher) -> (u64, u64) {
    let state = publisher.state().unwrap();
    (state.pending, state.dead)
}

fn always() -> Answer {
    Box::new(|_| None)
}

#[test]
fn events_are_published_in_order_and_their_versions_written_down() {
    let kit = Kit::new();
    kit.produce(&["a", "b", "c"]);
    let mut options = PumpOptions::default();
    options.batch = 2;
    let mut publisher = kit.publisher(options, always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 3, failed: 0 });
    assert_eq!(kit.calls(), [vec!["a", "b"], vec!["c"]]);
    let columns = "published_control_version, published_at, attempt_count, last_error";
    assert_eq!(kit.row("c", columns), "3|2026-05-20T01:02:03.000Z|0|-");
    // What is published is left alone.
    assert_eq!(publisher.pass().unwrap(), Pass::default());
    assert!(kit.calls().is_empty());
    assert_eq!(publisher.state().unwrap(), OutboxState::default());
}

#[test]
fn rows_have_the_columns_that_their_producers_know() {
    let kit = Kit::new();
    let mut connection = Connection::open(kit.path()).unwrap();
    let transaction = connection.transaction().unwrap();
    let full = ControlEvent::stack_activated("full", "acme", "shop", 7)
        .base_version(6)
        .artifact("stacks/shop/7", [0xab; 32])
        .control_version(9)
        .build()
        .unwrap();
    append(&transaction, &full, kit.clock.now()).unwrap();
    append(&transaction, &event("bare"), kit.clock.now()).unwrap();
    transaction.commit().unwrap();
    let columns =
        "event_type, tenant_id, stack_id, version, base_version, artifact_ref, created_at";
    assert_eq!(
        kit.row("full", columns),
        "stack.activated|acme|shop|7|6|stacks/shop/7|2026-05-20T01:02:03.000Z"
    );
    assert_eq!(kit.row("bare", columns), "tenant.created|acme|-|-|-|-|2026-05-20T01:02:03.000Z");
    assert_eq!(
        kit.row("bare", "payload_json"),
        r#"{"id":0,"event_id":"bare","type":"tenant.created","tenant_id":"acme","control_version":0}"#
    );
    assert!(
        kit.row("full", "payload_json").contains("\"control_version\":0"),
        "it has no place yet"
    );
}

#[test]
fn what_is_rolled_back_is_not_in_the_outbox_and_an_id_is_there_once() {
    let kit = Kit::new();
    let mut connection = Connection::open(kit.path()).unwrap();
    let transaction = connection.transaction().unwrap();
    let events: Vec<_> = (0..200).map(|n| event(&format!("e{n}"))).collect();
    append_all(&transaction, &events, kit.clock.now()).unwrap();
    drop(transaction);
    assert_eq!(kit.outbox().state().unwrap().pending, 0);
    let transaction = connection.transaction().unwrap();
    append_all(&transaction, &events, kit.clock.now()).unwrap();
    let error = append(&transaction, &events[7], kit.clock.now()).unwrap_err();
    assert!(error.to_string().contains("UNIQUE constraint failed"), "{error}");
    transaction.commit().unwrap();
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap().published, 200);
    let sent: Vec<String> = kit.calls().into_iter().flatten().collect();
    let expected: Vec<_> = (0..200).map(|n| format!("e{n}")).collect();
    assert_eq!(sent, expected);
}

#[test]
fn a_feed_that_can_t_be_reached_holds_up_what_comes_after_and_nothing_dies_of_it() {
    let kit = Kit::new();
    kit.produce(&["a", "b"]);
    let down = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_down = down.clone();
    let answer: Answer = Box::new(move |id| {
        (id == "a" && is_down.load(Ordering::SeqCst)).then(|| Err(retry("no route").into()))
    });
    let mut options = PumpOptions::default();
    options.attempts = 2;
    let mut publisher = kit.publisher(options, answer);
    for attempt in 1..=5 {
        assert_eq!(publisher.pass().unwrap(), Pass { published: 0, failed: 1 });
        assert_eq!(
            kit.row("a", "attempt_count, refused_count, last_error, dead_at"),
            format!("{attempt}|0|no route|-")
        );
        // Before its time nothing is tried, not even the one behind it, and it is told why.
        kit.calls();
        let waiting = publisher.state().unwrap().waiting.unwrap();
        assert_eq!((&*waiting.event_id, &*waiting.error), ("a", "no route"));
        assert_eq!(waiting.attempts, attempt);
        assert_eq!(publisher.pass().unwrap(), Pass::default());
        assert!(kit.calls().is_empty());
        kit.clock.go_on(options.backoff.longest);
    }
    assert_eq!(kit.row("b", "attempt_count, last_error"), "0|-");
    down.store(false, Ordering::SeqCst);
    assert_eq!(publisher.pass().unwrap(), Pass { published: 2, failed: 0 });
    assert_eq!(kit.row("b", "published_control_version"), "2");
}

#[test]
fn where_order_does_not_matter_others_get_by() {
    let kit = Kit::new();
    kit.produce(&["a", "b", "c"]);
    let answer: Answer = Box::new(|id| (id == "a").then(|| Err(retry("busy").into())));
    let mut options = PumpOptions::default();
    (options.order, options.batch) = (Order::Relaxed, 1);
    let mut publisher = kit.publisher(options, answer);
    assert_eq!(publisher.pass().unwrap(), Pass { published: 2, failed: 1 });
    assert_eq!(kit.calls(), [["a"], ["b"], ["c"]]);
}

#[test]
fn an_event_that_is_refused_is_a_dead_letter_in_the_end_and_can_come_back() {
    let kit = Kit::new();
    kit.produce(&["good", "bad", "behind"]);
    let refuses = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = refuses.clone();
    let answer: Answer = Box::new(move |id| {
        let bad = id == "bad" && still.load(Ordering::SeqCst);
        bad.then(|| Err(Failure::Rejected("too odd".to_owned()).into()))
    });
    let mut options = PumpOptions::default();
    options.attempts = 3;
    let mut publisher = kit.publisher(options, answer);
    for published in [1, 0] {
        assert_eq!(publisher.pass().unwrap(), Pass { published, failed: 1 });
        assert_eq!(counts(&mut publisher), (2, 0));
        kit.clock.go_on(options.backoff.longest);
    }
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 1 });
    assert_eq!(counts(&mut publisher), (0, 1));
    let dead = publisher.outbox().dead(10).unwrap();
    assert_eq!((dead.len(), dead[0].event_id.as_str(), dead[0].attempts), (1, "bad", 3));
    assert_eq!(dead[0].error, "too odd");

    assert!(!publisher.outbox().revive(dead[0].row + 1).unwrap());
    assert!(publisher.outbox().revive(dead[0].row).unwrap());
    refuses.store(false, Ordering::SeqCst);
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
    assert_eq!(kit.row("bad", "published_control_version"), "3");
}

#[test]
fn rows_that_no_event_comes_of_are_told_and_given_up() {
    let kit = Kit::new();
    kit.produce(&["nonsense", "other", "good"]);
    let connection = Connection::open(kit.path()).unwrap();
    let change = "UPDATE control_events_outbox SET payload_json = ?2 WHERE event_id = ?1";
    connection.execute(change, ["nonsense", "{"]).unwrap();
    let payload = kit.row("good", "payload_json");
    connection.execute(change, ["other", payload.as_str()]).unwrap();
    let mut options = PumpOptions::default();
    options.attempts = 1;
    let mut publisher = kit.publisher(options, always());
    for _ in 0..3 {
        publisher.pass().unwrap();
    }
    assert_eq!(counts(&mut publisher), (0, 2));
    assert!(kit.row("nonsense", "last_error").starts_with("its payload is no event: "));
    assert_eq!(
        kit.row("other", "last_error"),
        "its payload is the event `good`, and the row is that of `other`"
    );
    assert_eq!(kit.row("good", "published_control_version"), "1");
}

#[test]
fn a_feed_that_gives_no_version_has_not_published() {
    let kit = Kit::new();
    kit.produce(&["a"]);
    let mut publisher = kit.publisher(PumpOptions::default(), Box::new(|_| Some(Ok(0))));
    assert_eq!(publisher.pass().unwrap(), Pass { published: 0, failed: 1 });
    assert_eq!(
        kit.row("a", "last_error, published_control_version"),
        "the feed sink gives no control versions|-"
    );
    // As often as it may be: it is not the event's fault.
    for _ in 0..20 {
        kit.clock.go_on(Duration::from_hours(1));
        publisher.pass().unwrap();
    }
    assert_eq!((counts(&mut publisher), kit.row("a", "attempt_count")), ((1, 0), "21".to_owned()));
}

#[test]
fn an_event_that_stops_the_sink_is_found_among_others_and_given_up() {
    let kit = Kit::new();
    kit.produce(&["a", "b", "poison", "c"]);
    let answer: Answer = Box::new(|id| (id == "poison").then(|| Err(trap())));
    let mut options = PumpOptions::default();
    options.attempts = 2;
    let mut publisher = kit.publisher(options, answer);
    for _ in 0..8 {
        publisher.pass().unwrap();
        kit.clock.go_on(options.backoff.longest);
    }
    assert_eq!(counts(&mut publisher), (0, 1));
    assert_eq!(publisher.outbox().dead(10).unwrap()[0].event_id, "poison");
    assert_eq!(kit.row("c", "published_control_version"), "3");
    assert!(kit.feed.lock().unwrap().reopened >= 2);
}

#[test]
fn what_no_consumer_would_take_does_not_get_into_a_feed() {
    let kit = Kit::new();
    let long = "x".repeat(MAX_CONTROL_TEXT + 1);
    let mut connection = Connection::open(kit.path()).unwrap();
    let transaction = connection.transaction().unwrap();
    let refused = append(&transaction, &event(&long), kit.clock.now()).unwrap_err();
    assert_eq!(refused.to_string(), "`event_id` has 4097 bytes, and 4096 are the most in a feed");
    drop(transaction);

    // One that its producer wrote by itself.
    kit.produce(&["a"]);
    let payload = serde_json::to_string(&event("a")).unwrap();
    let payload = payload.replacen("acme", &long, 1);
    assert!(payload.contains(&long), "{payload}");
    let sql = "UPDATE control_events_outbox SET payload_json = ?";
    connection.execute(sql, [payload]).unwrap();
    let mut options = PumpOptions::default();
    options.attempts = 1;
    let mut publisher = kit.publisher(options, always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 0, failed: 1 });
    let dead = publisher.outbox().dead(1).unwrap();
    assert!(dead[0].error.contains("`tenant_id` has 4097 bytes"), "{dead:?}");

    let refused = kit.outbox().published(&[(1, u64::MAX)], kit.clock.now()).unwrap_err();
    assert_eq!(refused.to_string(), "the outbox: 18446744073709551615 is no control version");
    assert_eq!(kit.row("a", "published_control_version"), "-");
}

#[test]
fn a_call_that_was_ended_from_outside_is_nobodys_fault() {
    let kit = Kit::new();
    kit.produce(&["a"]);
    let plugin: PluginName = "fake".parse().unwrap();
    let interrupted = move || PluginError::Interrupted { plugin: plugin.clone(), call: "append" };
    let answer: Answer = Box::new(move |_| Some(Err(interrupted().into())));
    let mut publisher = kit.publisher(PumpOptions::default(), answer);
    assert_eq!(publisher.pass().unwrap(), Pass::default());
    assert_eq!(kit.row("a", "attempt_count, last_error"), "0|-");
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
}

#[test]
fn a_sink_that_waits_for_too_long_has_nothing_against_the_event() {
    let timed_out = |computing: bool| -> CallError {
        let (plugin, after) = ("fake".parse::<PluginName>().unwrap(), PATIENCE);
        let last_words = String::new();
        PluginError::TimedOut { plugin, call: "append", after, computing, last_words }.into()
    };
    for (computing, dead) in [(true, 1), (false, 0)] {
        let kit = Kit::new();
        kit.produce(&["a"]);
        let mut options = PumpOptions::default();
        options.attempts = 2;
        let answer: Answer = Box::new(move |_| Some(Err(timed_out(computing))));
        let mut publisher = kit.publisher(options, answer);
        for _ in 0..4 {
            publisher.pass().unwrap();
            kit.clock.go_on(options.backoff.longest);
        }
        assert_eq!(counts(&mut publisher), (1 - dead, dead), "computing: {computing}");
    }
}

#[test]
fn a_pump_that_is_to_stop_hands_nothing_more_over() {
    let kit = Kit::new();
    let ids: Vec<_> = (0..100).map(|n| format!("e{n:02}")).collect();
    kit.produce(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let (begun, has_begun) = sync_channel(1);
    let (let_go, held) = sync_channel(1);
    let answer: Answer = Box::new(move |id| {
        if id == "e01" {
            begun.send(()).unwrap();
            held.recv_timeout(PATIENCE).unwrap();
        }
        None
    });
    let mut options = PumpOptions::default();
    options.batch = 1;
    kit.feed.lock().unwrap().interrupted = Some(let_go);
    let pump = Pump::start(kit.publisher(options, answer), Arc::new(Silent)).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    // It is interrupted at once, and by then it has been told to stop.
    pump.stop(Duration::ZERO);
    assert_eq!(kit.calls(), [["e00"], ["e01"]]);
}

#[test]
fn where_order_does_not_matter_a_feed_that_is_gone_is_not_asked_for_every_row() {
    let kit = Kit::new();
    let ids: Vec<_> = (0..100).map(|n| format!("e{n}")).collect();
    kit.produce(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut options = PumpOptions::default();
    (options.order, options.batch) = (Order::Relaxed, 10);
    let answer: Answer = Box::new(|_| Some(Err(retry("no route").into())));
    let mut publisher = kit.publisher(options, answer);
    publisher.pass().unwrap();
    assert_eq!(kit.calls().len(), 3);
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let kit = Kit::new();
    kit.produce(&["a"]);
    let answer: Answer = Box::new(|_| Some(Err(retry("no route").into())));
    kit.clock.go_on(Duration::from_hours(48));
    kit.publisher(PumpOptions::default(), answer).pass().unwrap();
    kit.clock.0.store(START, Ordering::SeqCst);
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
}

#[test]
fn a_version_that_was_not_written_down_is_got_again() {
    let kit = Kit::new();
    kit.produce(&["a", "b"]);
    // It was published, and then the process was gone.
    let mut lost = kit.publisher(PumpOptions::default(), always());
    lost.pass().unwrap();
    let connection = Connection::open(kit.path()).unwrap();
    let forget = "UPDATE control_events_outbox SET published_control_version = NULL";
    connection.execute(forget, []).unwrap();
    kit.produce(&["c"]);
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 3, failed: 0 });
    for (id, version) in [("a", "1|0"), ("b", "2|0"), ("c", "3|0")] {
        assert_eq!(kit.row(id, "published_control_version, attempt_count"), version);
    }
}

#[test]
fn rows_go_some_time_after_they_were_published_and_no_others() {
    let kit = Kit::new();
    kit.produce(&["old"]);
    let mut options = PumpOptions::default();
    options.keep = Duration::from_secs(60);
    let answer: Answer = Box::new(|id| (id == "late").then(|| Err(retry("later").into())));
    let mut publisher = kit.publisher(options, answer);
    kit.publisher(options, always()).pass().unwrap();
    kit.clock.go_on(Duration::from_secs(61));
    kit.produce(&["new", "late"]);
    publisher.pass().unwrap();
    let connection = Connection::open(kit.path()).unwrap();
    let mut statement =
        connection.prepare("SELECT event_id FROM control_events_outbox ORDER BY id").unwrap();
    let left: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(left, ["new", "late"]);
}

#[test]
fn a_table_of_old_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    old_table(&path);
    let mut outbox = SqliteOutbox::open(&path).unwrap();
    let now = Timestamp::from_unix_nanos(START);
    let rows = outbox.due(10, Order::Held, now).unwrap();
    assert_eq!((rows[0].event_id.as_str(), rows[0].attempts, rows[0].refusals), ("a", 4, 0));
    // Twice is once.
    drop(outbox);
    SqliteOutbox::open(&path).unwrap();
}

/// The table as it was before rows had a time for the next attempt.
fn old_table(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE control_events_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, \
             event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL, tenant_id TEXT, stack_id TEXT, \
             version INTEGER, base_version INTEGER, artifact_ref TEXT, checksum TEXT, \
             payload_json BLOB NOT NULL, created_at TEXT NOT NULL, attempt_count INTEGER DEFAULT 0, \
             last_error TEXT, last_attempt_at TEXT, published_control_version INTEGER, \
             published_at TEXT);
             INSERT INTO control_events_outbox (event_id, event_type, payload_json, created_at, \
             attempt_count) VALUES ('a', 'tenant.created', '{}', '2026-01-01T00:00:00.000Z', 4);",
        )
        .unwrap();
}

#[test]
fn a_pump_publishes_at_once_and_whenever_it_is_woken() {
    let kit = Kit::new();
    kit.produce(&["before"]);
    let mut options = PumpOptions::default();
    options.period = Duration::from_secs(3_600);
    let pump = Pump::start(kit.publisher(options, always()), Arc::new(Silent)).unwrap();
    let wait_for = |published: u64| {
        let until = Instant::now() + PATIENCE;
        while pump.state().published < published {
            assert!(Instant::now() < until, "{:?}", pump.state());
            std::thread::yield_now();
        }
    };
    wait_for(1);
    kit.produce(&["after"]);
    pump.wake();
    wait_for(2);
    assert_eq!(pump.state().problem, None);
    pump.stop(PATIENCE);
    kit.produce(&["late"]);
    pump.wake();
    assert_eq!(kit.calls().len(), 2);
}
