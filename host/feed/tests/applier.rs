//! From a feed to SQLite, where the feed, the artifacts and the process do what they like.

#![cfg(all(feature = "object-store", feature = "sqlite"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

#[path = "applier/follower.rs"]
mod follower;
#[path = "applier/kit.rs"]
mod kit;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use wasink_chassis::feed::PolledEvent;
use wasink_chassis::hooks::Hooks;
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{
    Applied, Applier, ApplierOptions, Apply, ApplyError, FeedStatus, Halt, Halted, Place,
    ReplayError, SkipError, Store as _,
};
use wasink_feed::artifacts::{Artifact, ArtifactError};
use wasink_record::{Clock, ControlEvent, ControlType, InvalidRecord, SystemClock, Timestamp};

use kit::{Kit, Source, Writes, applied, event, of};

#[test]
fn each_event_is_applied_once_in_order_and_acknowledged_after_it_is_committed() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 5), event("c", 9)]);
    let mut applier = kit.applier();
    assert_eq!(applier.pass().unwrap(), applied(3, 0));
    assert_eq!(kit.changes(), ["a", "b", "c"]);
    assert_eq!(kit.acks(), [["a", "b", "c"]]);
    assert_eq!(applier.store().cursor().unwrap(), 9);
    assert_eq!(*kit.reloads.lock().unwrap(), [3], "caches are made anew once a pass");
    assert_eq!(applier.pass().unwrap(), Applied::default());
    // After a restart as well.
    kit.put(vec![event("d", 10)]);
    assert_eq!(kit.applier().pass().unwrap(), applied(1, 0));
    assert_eq!(kit.changes(), ["a", "b", "c", "d"]);
}

#[test]
fn an_event_that_comes_again_at_another_place_is_known_by_its_id() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("a", 2), event("b", 3)]);
    let mut applier = kit.applier();
    assert_eq!(applier.pass().unwrap(), applied(2, 1));
    assert_eq!(kit.changes(), ["a", "b"]);
    // Its artifact is not even looked for: it may be another by now.
    let again = ControlEvent::builder("b", ControlType::TenantCreated)
        .artifact("gone", [0; 32])
        .control_version(4)
        .build()
        .unwrap();
    kit.put(vec![again]);
    assert_eq!(applier.pass().unwrap(), applied(0, 1));
    assert_eq!(applier.store().cursor().unwrap(), 4);
}

#[test]
fn what_can_t_be_applied_halts_what_comes_after_and_leaves_nothing_of_itself() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), of("refused", "b", 2), event("c", 3)]);
    let mut applier = kit.applier();
    for _ in 0..3 {
        let halt = applier.pass().unwrap_err();
        assert_eq!(halt.to_string(), "event `b` at 2: I can't");
    }
    assert_eq!(kit.changes(), ["a"]);
    assert_eq!(kit.acks(), [["a"]]);
    assert_eq!(applier.store().cursor().unwrap(), 1);
    // Any process can ask what halts it, and say that the node is to go on without it.
    let mut operator = SqliteStore::open(&kit.path(), "fleet").unwrap();
    let status = operator.status().unwrap();
    let halted = status.halted.clone().unwrap();
    assert_eq!((status.cursor, halted.version, halted.event_id.as_str()), (1, 2, "b"));
    assert_eq!(halted.reason, "I can't");
    let begun = halted.since;
    applier.pass().unwrap_err();
    assert_eq!(operator.status().unwrap().halted.unwrap().since, begun, "it is the same halt");

    let said = |answer: Result<(), SkipError>| answer.unwrap_err().to_string();
    assert_eq!(said(operator.skip(3, "wrong")), "it is event `b` at 2 that halts the feed");
    assert_eq!(said(operator.skip(2, " ")), "say why: the reason is kept in the log");
    operator.skip(2, "ticket 7").unwrap();
    assert_eq!(operator.status().unwrap().skip, Some((2, "ticket 7".to_owned())));
    assert_eq!(applier.pass().unwrap(), Applied { skipped: 1, ..applied(1, 0) });
    assert!(kit.lines.0.lock().unwrap().iter().any(|line| line.contains("ticket 7")));
    assert_eq!(kit.changes(), ["a", "c"]);
    assert_eq!(kit.acks(), [["b", "c"]]);
    assert_eq!(operator.status().unwrap(), FeedStatus { cursor: 3, ..FeedStatus::default() });
    let nothing = "nothing halts the feed, so there is nothing to skip; it is at 3";
    assert_eq!(said(operator.skip(4, "none")), nothing);
    // What was skipped is not applied: behind a replay it halts again.
    operator.replay(1).unwrap();
    assert_eq!(applier.pass().unwrap_err().to_string(), "event `b` at 2: I can't");
}

#[test]
fn what_is_to_be_skipped_and_can_be_applied_after_all_is_applied() {
    let kit = Kit::new();
    kit.put(vec![of("refused", "a", 1), event("b", 2)]);
    let mut applier = kit.applier();
    applier.pass().unwrap_err();
    applier.store().skip(1, "ticket 8").unwrap();
    kit.feed.lock().unwrap().events.clear();
    kit.put(vec![event("a", 1), event("b", 2)]);
    assert_eq!(applier.pass().unwrap(), applied(2, 0));
    assert_eq!(applier.store().status().unwrap().skip, None);
}

#[test]
fn two_appliers_of_one_database_apply_each_event_once() {
    let kit = Kit::new();
    let ids: Vec<_> = (1..=200).map(|n| format!("evt_{n}")).collect();
    kit.put(ids.iter().zip(1..).map(|(id, version)| event(id, version)).collect());
    let mut options = ApplierOptions::default();
    options.batch = 7;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let both = [(), ()].map(|()| kit.applier_with(options, clock.clone()));
    let sums: usize = std::thread::scope(|scope| {
        let threads = both.map(|mut applier| scope.spawn(move || applier.pass().unwrap().applied));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!((sums, kit.changes()), (200, ids));
}

#[test]
fn a_cursor_that_is_set_back_while_events_are_applied_stays_set_back() {
    struct Rewinds(PathBuf, bool);
    impl Apply<SqliteStore> for Rewinds {
        fn apply(
            &mut self,
            event: &ControlEvent,
            _: Option<&Artifact>,
            transaction: &mut Transaction<'_>,
        ) -> Result<(), ApplyError> {
            let sql = "INSERT INTO changes (event_id) VALUES (?)";
            transaction.execute(sql, [event.event_id()]).unwrap();
            Ok(())
        }
        fn applied(&mut self, _: usize) {
            if !std::mem::replace(&mut self.1, true) {
                SqliteStore::open(&self.0, "fleet").unwrap().replay(0).unwrap();
            }
        }
    }
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 2)]);
    let mut store = SqliteStore::open(&kit.path(), "fleet").unwrap();
    let now = SystemClock.now();
    let mut nothing = |_: &mut Transaction<'_>| Ok(());
    let place = |since, version| Place { since, version };
    store.apply("a", place(0, 1), now, &mut nothing).unwrap();
    // It believes to be at 1, and somebody has begun again.
    SqliteStore::open(&kit.path(), "fleet").unwrap().replay(0).unwrap();
    let mut called = false;
    let moved = store.apply("b", place(1, 2), now, &mut |_| {
        called = true;
        Ok(())
    });
    assert!(matches!(moved, Err(ApplyError::Moved)) && !called, "{moved:?}");
    assert_eq!((store.cursor().unwrap(), store.is_applied("b").unwrap()), (0, false));
    let mut applier = Applier::new(
        Box::new(Source(kit.feed.clone())),
        store,
        Box::new(Rewinds(kit.path(), false)),
        None,
        ApplierOptions::default(),
        Arc::new(SystemClock),
        kit.lines.clone(),
    );
    assert_eq!(applier.pass().unwrap(), applied(1, 1));
    assert_eq!(applier.store().cursor().unwrap(), 0);
    assert_eq!(applier.pass().unwrap(), applied(0, 2));
    assert_eq!(kit.changes(), ["b"]);
}

#[test]
fn what_can_t_be_applied_is_not_written_down_against_a_cursor_that_has_moved() {
    let kit = Kit::new();
    let mut store = SqliteStore::open(&kit.path(), "fleet").unwrap();
    let mut nothing = |_: &mut Transaction<'_>| Ok(());
    let now = SystemClock.now();
    store.apply("a", Place { since: 0, version: 1 }, now, &mut nothing).unwrap();
    let (event_id, reason) = ("a".to_owned(), "I can't".to_owned());
    let halted = Halted { event_id, version: 1, reason, since: now };
    // Somebody else has applied it in the meantime.
    store.halt(&halted, Place { since: 0, version: 1 }).unwrap();
    assert_eq!(store.status().unwrap(), FeedStatus { cursor: 1, ..FeedStatus::default() });
    let halted = Halted { event_id: "b".to_owned(), version: 2, ..halted };
    store.halt(&halted, Place { since: 1, version: 2 }).unwrap();
    assert_eq!(store.status().unwrap().halted.unwrap().event_id, "b");
}

#[test]
fn an_event_that_came_by_another_feed_of_the_database_is_known() {
    let kit = Kit::new();
    let [mut one, mut other] =
        ["fleet", "site"].map(|feed| SqliteStore::open(&kit.path(), feed).unwrap());
    let (now, mut calls) = (SystemClock.now(), 0);
    let mut count = |_: &mut Transaction<'_>| {
        calls += 1;
        Ok(())
    };
    // The other has looked it up, and then one was faster.
    assert!(!other.is_applied("a").unwrap());
    assert!(one.apply("a", Place { since: 0, version: 7 }, now, &mut count).unwrap());
    assert!(!other.apply("a", Place { since: 0, version: 3 }, now, &mut count).unwrap());
    assert_eq!(calls, 1);
    assert_eq!((one.cursor().unwrap(), other.cursor().unwrap()), (7, 3));
    assert!(other.is_applied("a").unwrap());
}

#[test]
fn an_event_that_is_none_halts_by_its_id() {
    let kit = Kit::new();
    let broken = PolledEvent {
        event_id: "odd".to_owned(),
        control_version: 2,
        event: Err(InvalidRecord::MissingChecksum),
    };
    kit.put(vec![event("a", 1)]);
    kit.feed.lock().unwrap().events.push(broken);
    let halt = kit.applier().pass().unwrap_err();
    let expected = "event `odd` at 2: a `checksum` is required where there is an `artifact_ref`";
    assert_eq!(halt.to_string(), expected);
    assert_eq!(kit.changes(), ["a"]);
}

#[test]
fn an_artifact_is_what_its_event_says_or_nothing_is_applied() {
    let kit = Kit::new();
    let digest = kit.store("stacks/shop/7", b"the files");
    let activated = |id: &str, version: u64, key: &str, digest| {
        let event = ControlEvent::stack_activated(id, "acme", "shop", 7).artifact(key, digest);
        event.control_version(version).build().unwrap()
    };
    kit.put(vec![activated("good", 1, "stacks/shop/7", digest)]);
    let mut applier = kit.applier();
    assert_eq!(applier.pass().unwrap().applied, 1);
    let connection = Connection::open(kit.path()).unwrap();
    let bytes: Vec<u8> =
        connection.query_row("SELECT bytes FROM changes", (), |row| row.get(0)).unwrap();
    assert_eq!(bytes, b"the files");

    kit.store("large", &[b'x'; 1_001]);
    for (key, digest, expected) in [
        ("stacks/shop/8", digest, "the artifact `stacks/shop/8` is missing"),
        ("stacks/shop/7", [0; 32], "the artifact `stacks/shop/7` has the checksum sha256:"),
        ("large", digest, "the artifact `large` is larger than the 1000 bytes"),
        ("../db", digest, "`../db` is no key of an artifact"),
        ("/etc/passwd", digest, "`/etc/passwd` is no key of an artifact"),
    ] {
        kit.put(vec![activated("bad", 2, key, digest)]);
        let halt = applier.pass().unwrap_err().to_string();
        assert!(halt.starts_with(&format!("event `bad` at 2: {expected}")), "{halt}");
        kit.feed.lock().unwrap().events.pop();
    }
    assert_eq!(kit.changes(), ["good"]);
}

#[test]
fn a_store_that_can_t_be_reached_halts_without_blaming_the_event_and_nothing_is_skipped() {
    let kit = Kit::new();
    let published = kit.artifacts().put("stacks", b"the files".as_slice()).unwrap();
    let activated = |id: &str, version: u64, sha256| {
        let event = ControlEvent::stack_activated(id, "acme", "shop", 7);
        let event = event.artifact(&published.reference, sha256);
        event.control_version(version).build().unwrap()
    };
    kit.put(vec![event("a", 1), activated("b", 2, [0; 32]), event("c", 3)]);
    let mut applier = kit.applier();
    // Somebody means to skip an event whose artifact is another.
    assert!(matches!(applier.pass(), Err(Halt::Event { version: 2, .. })));
    let mut operator = SqliteStore::open(&kit.path(), "fleet").unwrap();
    operator.skip(2, "ticket 9").unwrap();
    // Just then the store can't be reached.
    let [here, gone] = ["artifacts", "gone"].map(|name| kit.directory.path().join(name));
    std::fs::rename(&here, &gone).unwrap();
    let halt = applier.pass().unwrap_err();
    assert!(matches!(halt, Halt::Artifacts(ArtifactError::Unreachable { .. })), "{halt}");
    assert!(halt.to_string().starts_with("the store of artifacts: the artifact `stacks/sha256/"));
    assert_eq!((kit.changes(), operator.cursor().unwrap()), (vec!["a".to_owned()], 1));

    // An event that nothing is wrong with is not written down, and waits.
    let fresh = Kit::new();
    fresh.put(vec![event("a", 1), activated("d", 2, published.sha256), event("e", 3)]);
    let mut applier = fresh.applier();
    let empty = fresh.directory.path().join("artifacts");
    std::fs::remove_dir(&empty).unwrap();
    for _ in 0..2 {
        assert!(matches!(applier.pass(), Err(Halt::Artifacts(_))));
    }
    let mut operator = SqliteStore::open(&fresh.path(), "fleet").unwrap();
    assert_eq!(operator.status().unwrap(), FeedStatus { cursor: 1, ..FeedStatus::default() });
    assert!(matches!(operator.skip(2, "x"), Err(SkipError::NotHalted { cursor: 1 })));
    assert_eq!(fresh.acks(), [["a"]]);
    std::fs::rename(&gone, &empty).unwrap();
    assert_eq!(applier.pass().unwrap(), applied(2, 0));
    assert_eq!(fresh.changes(), ["a", "d", "e"]);
}

#[test]
fn a_source_that_can_t_be_told_what_is_applied_is_warned_of_and_nothing_stops() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 2)]);
    kit.feed.lock().unwrap().refuse_acks = true;
    let mut applier = kit.applier();
    assert_eq!(applier.pass().unwrap().applied, 2);
    assert!(kit.lines.0.lock().unwrap()[0].contains("was not told"));
    kit.feed.lock().unwrap().refuse_acks = false;
    kit.put(vec![event("c", 3)]);
    assert_eq!(applier.pass().unwrap().applied, 1);
    assert_eq!(kit.acks(), [["c"]]);
}

#[test]
fn a_replay_goes_over_everything_and_applies_only_what_is_not_known() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 2)]);
    let mut applier = kit.applier();
    applier.pass().unwrap();
    let forget = "DELETE FROM applied_events WHERE event_id = 'b'";
    Connection::open(kit.path()).unwrap().execute(forget, ()).unwrap();
    applier.store().replay(0).unwrap();
    assert_eq!(applier.pass().unwrap(), applied(1, 1));
    assert_eq!(kit.changes(), ["a", "b", "b"]);
}

#[test]
fn ids_are_forgotten_once_nobody_can_publish_their_events_again() {
    #[derive(Debug)]
    struct Later;
    impl Clock for Later {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_nanos(SystemClock.now().unix_nanos() + 3_600_000_000_000)
        }
    }
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 2)]);
    kit.applier().pass().unwrap();
    let mut options = ApplierOptions::default();
    options.keep = Duration::from_secs(3_500);
    kit.put(vec![event("c", 3)]);
    let mut applier = kit.applier_with(options, Arc::new(Later));
    applier.pass().unwrap();
    for (id, known) in [("a", false), ("b", false), ("c", true)] {
        assert_eq!(applier.store().is_applied(id).unwrap(), known, "{id}");
    }
    // They would come after what came after them.
    let refused = applier.store().replay(1).unwrap_err().to_string();
    assert!(refused.starts_with("ids up to 2 are forgotten"), "{refused}");
    applier.store().replay(2).unwrap();
}

#[test]
fn each_feed_of_a_database_forgets_its_own_ids() {
    let kit = Kit::new();
    let [mut one, mut other] =
        ["fleet", "site"].map(|feed| SqliteStore::open(&kit.path(), feed).unwrap());
    let (now, mut nothing) = (SystemClock.now(), |_: &mut Transaction<'_>| Ok(()));
    let later = Timestamp::from_unix_nanos(now.unix_nanos() + 3_600_000_000_000);
    one.apply("both", Place { since: 0, version: 900 }, now, &mut nothing).unwrap();
    one.apply("a", Place { since: 900, version: 901 }, now, &mut nothing).unwrap();
    other.apply("both", Place { since: 0, version: 1 }, later, &mut nothing).unwrap();
    other.apply("b", Place { since: 1, version: 2 }, now, &mut nothing).unwrap();
    let age = Duration::from_secs(60);
    assert_eq!(one.prune(age, later).unwrap(), 2);
    let known = |store: &mut SqliteStore, id| store.is_applied(id).unwrap();
    assert!(!known(&mut one, "a") && known(&mut one, "both") && known(&mut one, "b"));
    let refused = one.replay(900).unwrap_err();
    assert!(matches!(refused, ReplayError::Forgotten { forgotten: 901 }), "{refused}");
    // Of the other nothing is forgotten yet.
    other.replay(0).unwrap();
    other.apply("both", Place { since: 0, version: 1 }, later, &mut nothing).unwrap();
    other.apply("b", Place { since: 1, version: 2 }, now, &mut nothing).unwrap();
    assert_eq!(other.prune(age, later).unwrap(), 1);
    assert!(known(&mut other, "both") && !known(&mut other, "b"));
}

#[test]
fn hooks_are_told_what_becomes_of_a_feed_and_of_a_halt_once() {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Hooks for Told {
        fn feed_passed(&self, feed: &str, applied: u64, known: u64, skipped: u64) {
            let told = format!("{feed}: {applied} applied, {known} known, {skipped} skipped");
            self.0.lock().unwrap().push(told);
        }
        fn feed_halted(&self, feed: &str, version: u64, reason: &str) {
            self.0.lock().unwrap().push(format!("{feed} halts at {version}: {reason}"));
        }
    }
    let (kit, hooks) = (Kit::new(), Arc::new(Told::default()));
    kit.put(vec![event("a", 1), event("a", 2), of("refused", "b", 3), event("c", 4)]);
    let mut applier = kit.applier().hooked("control", hooks.clone());
    let told = || std::mem::take(&mut *hooks.0.lock().unwrap());
    applier.pass().unwrap_err();
    let halts = "control halts at 3: I can't";
    assert_eq!(told(), ["control: 1 applied, 1 known, 0 skipped", halts]);
    // It is the same halt, also where the feed could not be asked in the meantime.
    applier.pass().unwrap_err();
    kit.feed.lock().unwrap().broken = true;
    assert!(matches!(applier.pass(), Err(Halt::Source(_))));
    applier.pass().unwrap_err();
    assert!(told().is_empty());
    applier.store().skip(3, "ticket 10").unwrap();
    applier.pass().unwrap();
    assert_eq!(told(), ["control: 1 applied, 0 known, 1 skipped"]);
    applier.pass().unwrap();
    assert!(told().is_empty(), "there was nothing");
    // Behind a replay it is another.
    applier.store().replay(2).unwrap();
    applier.pass().unwrap_err();
    assert_eq!(told(), [halts]);
}

#[test]
fn what_a_database_rolled_back_by_itself_is_not_applied() {
    struct RolledBack;
    impl Apply<SqliteStore> for RolledBack {
        fn apply(
            &mut self,
            _: &ControlEvent,
            _: Option<&Artifact>,
            transaction: &mut Transaction<'_>,
        ) -> Result<(), ApplyError> {
            let one = "INSERT OR ROLLBACK INTO once VALUES (1)";
            transaction.execute(one, ()).unwrap();
            // It does not look at what comes of it.
            drop(transaction.execute(one, ()));
            Ok(())
        }
    }
    let kit = Kit::new();
    kit.put(vec![event("a", 1)]);
    let table = "CREATE TABLE once (n INTEGER PRIMARY KEY)";
    Connection::open(kit.path()).unwrap().execute(table, ()).unwrap();
    let store = SqliteStore::open(&kit.path(), "fleet").unwrap();
    let (source, clock) = (Box::new(Source(kit.feed.clone())), Arc::new(SystemClock));
    let (options, lines) = (ApplierOptions::default(), kit.lines.clone());
    let mut applier =
        Applier::new(source, store, Box::new(RolledBack), None, options, clock, lines);
    let halt = applier.pass().unwrap_err().to_string();
    assert!(halt.contains("the transaction ended before all of it was applied"), "{halt}");
    assert_eq!(applier.store().cursor().unwrap(), 0);
    assert!(!applier.store().is_applied("a").unwrap());
}

#[test]
fn a_source_that_is_broken_is_opened_again() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1)]);
    kit.feed.lock().unwrap().broken = true;
    let mut applier = kit.applier();
    assert!(matches!(applier.pass(), Err(Halt::Source(_))));
    assert_eq!(applier.pass().unwrap(), applied(1, 0));
}

#[test]
fn versions_that_can_t_be_are_not_applied_and_old_ones_are_passed_over() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1), event("b", 2)]);
    kit.feed.lock().unwrap().repeats = true;
    let mut applier = kit.applier();
    assert_eq!(applier.pass().unwrap(), applied(2, 0));
    assert_eq!(applier.pass().unwrap(), applied(0, 0));
    assert_eq!(kit.changes(), ["a", "b"]);
    kit.put(vec![event("c", u64::MAX)]);
    let halt = applier.pass().unwrap_err().to_string();
    assert!(halt.contains("the control version 18446744073709551615"), "{halt}");
    assert_eq!(applier.store().cursor().unwrap(), 2);
}

#[test]
fn a_cursor_that_is_none_is_an_error_and_not_the_beginning() {
    let kit = Kit::new();
    drop(kit.applier());
    let connection = Connection::open(kit.path()).unwrap();
    connection
        .execute("INSERT INTO feed_cursors (feed, control_version) VALUES ('fleet', -1)", ())
        .unwrap();
    let halt = kit.applier().pass().unwrap_err();
    assert!(matches!(halt, Halt::Store(_)), "{halt}");
    assert_eq!(halt.to_string(), "the database: a control version is below 0");
}

#[test]
fn without_a_store_of_artifacts_an_event_that_needs_one_says_so() {
    let kit = Kit::new();
    let needs = ControlEvent::builder("a", ControlType::TenantCreated)
        .artifact("x", [1; 32])
        .control_version(1)
        .build()
        .unwrap();
    kit.put(vec![needs]);
    let mut applier = Applier::new(
        Box::new(Source(kit.feed.clone())),
        SqliteStore::open(&kit.path(), "fleet").unwrap(),
        Box::new(Writes(kit.reloads.clone())),
        None,
        ApplierOptions::default(),
        Arc::new(SystemClock),
        kit.lines.clone(),
    );
    let halt = applier.pass().unwrap_err().to_string();
    assert!(halt.ends_with("and no store of artifacts is configured"), "{halt}");
}
