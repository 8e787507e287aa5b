//! What holds of a feed, whatever it is kept in.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;
use wasink_chassis::feed::{FeedSink, FeedSource, Feeds as _};
use wasink_chassis::plugin::OpenRequest;
use wasink_record::{ControlEvent, ControlType, MAX_CONTROL_TEXT};

use crate::jetstream;
use crate::kit::{PATIENCE, grant, host, request};
use crate::nats::Nats;

/// Where a feed is kept.
trait Backend: Sync {
    /// Another instance of its sink.
    fn sink(&self) -> Box<dyn FeedSink>;

    /// Another instance of its source, of a node of this name.
    fn source(&self, node: &str) -> Box<dyn FeedSource>;

    /// Puts this event of another program behind the others, as `version`.
    fn put(&self, id: &str, version: u64, event: &str);
}

/// A directory.
struct Directory(TempDir);

impl Directory {
    fn start() -> Option<Self> {
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn asking(&self) -> OpenRequest {
        OpenRequest { grants: grant(self.0.path()), ..request("file", &json!({})) }
    }
}

impl Backend for Directory {
    fn sink(&self) -> Box<dyn FeedSink> {
        host().open_sink(self.asking()).unwrap()
    }

    fn source(&self, _: &str) -> Box<dyn FeedSource> {
        host().open_source(self.asking()).unwrap()
    }

    fn put(&self, id: &str, _: u64, event: &str) {
        std::fs::write(self.0.path().join(format!("{id}.json")), event).unwrap();
    }
}

impl Backend for Nats {
    fn sink(&self) -> Box<dyn FeedSink> {
        jetstream::sink(self)
    }

    fn source(&self, node: &str) -> Box<dyn FeedSource> {
        let asking = jetstream::asking(self, json!({ "consumer": node, "create": {} }));
        host().open_source(asking).unwrap()
    }

    fn put(&self, _: &str, version: u64, event: &str) {
        self.publish("wasink.control", event);
        assert_eq!(self.ask("STREAM.INFO.WASINK_CONTROL", "")["state"]["last_seq"], version);
    }
}

/// The tests, over each.
macro_rules! over_each {
    ($($test:ident)*) => {
        /// Over files in a directory.
        mod in_files {
            $(#[test]
            fn $test() {
                super::Directory::start().iter().for_each(|it| super::$test(it));
            })*
        }

        /// Over NATS JetStream.
        mod in_jetstream {
            $(#[test]
            fn $test() {
                crate::nats::Nats::start().iter().for_each(|it| super::$test(it));
            })*
        }
    };
}

over_each! {
    events_are_read_as_they_were_appended
    a_poll_gives_what_is_behind_its_cursor_in_order_and_no_more_than_asked_for
    an_id_has_its_version_for_ever
    other_instances_go_on_where_these_were
    nodes_read_each_at_its_own_place
    what_was_acknowledged_and_what_was_not_is_there_for_who_asks
    many_writers_make_one_order_that_a_reader_follows
    who_waits_gets_an_event_when_there_is_one_and_nothing_where_there_is_none
    what_can_t_be_applied_is_told_at_its_place_and_nothing_is_passed_over
    an_event_that_nobody_could_read_is_refused_and_nothing_after_it_is_appended
}

fn event(id: &str) -> ControlEvent {
    ControlEvent::builder(id, ControlType::TenantCreated).tenant_id("acme").build().unwrap()
}

fn numbered(ids: impl IntoIterator<Item = u64>) -> Vec<ControlEvent> {
    ids.into_iter().map(|n| event(&format!("evt_{n}"))).collect()
}

/// Versions and ids of what is behind `since`.
fn poll(source: &mut dyn FeedSource, since: u64, max: u32) -> Vec<(u64, String)> {
    let events = source.poll(since, max, Duration::ZERO).unwrap();
    let seen = events.into_iter().map(|polled| {
        let event = polled.event.unwrap();
        assert_eq!(
            (event.event_id(), event.control_version()),
            (&*polled.event_id, polled.control_version)
        );
        (polled.control_version, polled.event_id)
    });
    seen.collect()
}

/// `evt_1` at 1 and so on.
fn seen(versions: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    versions.into_iter().map(|n| (n, format!("evt_{n}"))).collect()
}

fn events_are_read_as_they_were_appended(feed: &dyn Backend) {
    let long = "ü\"\\\n\u{2028}".repeat(100);
    let events = [
        ControlEvent::stack_activated("evt_1", "acme", "shop", 7)
            .base_version(6)
            .artifact("stacks/shop/7", [0xab; 32])
            .build()
            .unwrap(),
        ControlEvent::builder("../evt 2/*>.\0", ControlType::KeyChanged).build().unwrap(),
        ControlEvent::builder("evt_3", ControlType::TenantCreated)
            .tenant_id(&long)
            .build()
            .unwrap(),
    ];
    let (mut sink, mut source) = (feed.sink(), feed.source("node"));
    assert_eq!(source.poll(0, 10, Duration::ZERO).unwrap(), []);
    assert_eq!(sink.append(&events).unwrap(), [Ok(1), Ok(2), Ok(3)]);
    let read = source.poll(0, 10, Duration::ZERO).unwrap().into_iter();
    let stamped = (1..).zip(events).map(|(version, event)| event.with_control_version(version));
    assert_eq!(
        read.map(|polled| polled.event.unwrap()).collect::<Vec<_>>(),
        stamped.collect::<Vec<_>>()
    );
}

fn a_poll_gives_what_is_behind_its_cursor_in_order_and_no_more_than_asked_for(feed: &dyn Backend) {
    let (mut sink, mut source) = (feed.sink(), feed.source("node"));
    sink.append(&numbered(1..=40)).unwrap();
    for (since, max, found) in [
        (0, 100, 1..=40),
        (0, 3, 1..=3),
        (3, 1, 4..=4),
        (39, 100, 40..=40),
        (12, 5, 13..=17),
        (1, 2, 2..=3),
    ] {
        assert_eq!(poll(&mut *source, since, max), seen(found), "{max} behind {since}");
    }
    assert_eq!(poll(&mut *source, 40, 1), []);
    sink.append(&numbered([41])).unwrap();
    assert_eq!(poll(&mut *source, 40, 1), seen([41]));
}

fn an_id_has_its_version_for_ever(feed: &dyn Backend) {
    let mut sink = feed.sink();
    // Twice in one call, in the next, and by an instance that has not seen it.
    let twice = numbered([1, 2, 1, 3]);
    assert_eq!(sink.append(&twice).unwrap(), [Ok(1), Ok(2), Ok(1), Ok(3)]);
    assert_eq!(sink.append(&twice).unwrap(), [Ok(1), Ok(2), Ok(1), Ok(3)]);
    // Whatever else it says by then.
    let other = ControlEvent::builder("evt_2", ControlType::KeyChanged).build().unwrap();
    assert_eq!(feed.sink().append(&[other]).unwrap(), [Ok(2)]);
    sink.reopen().unwrap();
    assert_eq!(sink.append(&numbered([3, 4, 2])).unwrap(), [Ok(3), Ok(4), Ok(2)]);
    let mut source = feed.source("node");
    assert_eq!(poll(&mut *source, 0, 10), seen(1..=4));
    let first = source.poll(1, 1, Duration::ZERO).unwrap().remove(0).event.unwrap();
    assert_eq!(first, numbered([2]).remove(0).with_control_version(2), "it is the one of then");
}

fn other_instances_go_on_where_these_were(feed: &dyn Backend) {
    for n in 1..=4 {
        let (mut sink, mut source) = (feed.sink(), feed.source("node"));
        assert_eq!(sink.append(&numbered([n])).unwrap(), [Ok(n)]);
        assert_eq!(poll(&mut *source, n - 1, 10), seen([n]));
        if n % 2 == 0 {
            sink.close().unwrap();
            source.close().unwrap();
        }
    }
    assert_eq!(poll(&mut *feed.source("node"), 0, 10), seen(1..=4));
}

fn nodes_read_each_at_its_own_place(feed: &dyn Backend) {
    feed.sink().append(&numbered(1..=6)).unwrap();
    let (mut one, mut other) = (feed.source("one"), feed.source("other"));
    assert_eq!(poll(&mut *one, 0, 4), seen(1..=4));
    assert_eq!(poll(&mut *other, 0, 1), seen([1]));
    assert_eq!(poll(&mut *one, 4, 4), seen(5..=6));
    assert_eq!(poll(&mut *other, 1, 9), seen(2..=6));
}

fn what_was_acknowledged_and_what_was_not_is_there_for_who_asks(feed: &dyn Backend) {
    feed.sink().append(&numbered(1..=5)).unwrap();
    let mut source = feed.source("node");
    let ack = |source: &mut dyn FeedSource, ids: &[&str]| {
        if source.wants_acks() {
            source.ack(&ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()).unwrap();
        }
    };
    assert_eq!(poll(&mut *source, 0, 3), seen(1..=3));
    ack(&mut *source, &["evt_1", "evt_2"]);
    // The node has lost what it did with the second; then it goes on, and begins again.
    assert_eq!(poll(&mut *source, 1, 9), seen(2..=5));
    ack(&mut *source, &["evt_2", "evt_3", "evt_4", "evt_5"]);
    assert_eq!(poll(&mut *source, 5, 9), []);
    assert_eq!(poll(&mut *source, 0, 9), seen(1..=5));
    assert_eq!(poll(&mut *feed.source("node"), 2, 9), seen(3..=5));
}

fn many_writers_make_one_order_that_a_reader_follows(feed: &dyn Backend) {
    const WRITERS: usize = 3;
    const EACH: usize = 40;
    let mut source = feed.source("node");
    let (versions, read) = std::thread::scope(|scope| {
        let writers = [(); WRITERS].map(|()| feed.sink());
        let writers: Vec<_> = writers
            .into_iter()
            .enumerate()
            .map(|(writer, mut sink)| {
                scope.spawn(move || {
                    let ids: Vec<_> = (0..EACH).map(|n| format!("w{writer}-{n}")).collect();
                    let append = |ids: &[String]| {
                        let events: Vec<_> = ids.iter().map(|id| event(id)).collect();
                        sink.append(&events).unwrap().into_iter().map(Result::unwrap).collect()
                    };
                    let versions: Vec<Vec<u64>> = ids.chunks(7).map(append).collect();
                    versions.concat().into_iter().zip(ids).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut read: Vec<(u64, String)> = Vec::new();
        let patience = Instant::now() + PATIENCE;
        while read.len() < WRITERS * EACH {
            assert!(Instant::now() < patience, "only {read:?}");
            let since = read.last().map_or(0, |(version, _)| *version);
            read.extend(poll(&mut *source, since, 10));
        }
        let versions = writers.into_iter().map(|writer| writer.join().unwrap());
        (versions.collect::<Vec<_>>(), read)
    });
    for own in &versions {
        assert!(own.is_sorted(), "each writer's are in its order: {own:?}");
    }
    let appended: BTreeSet<_> = versions.into_iter().flatten().collect();
    assert_eq!(read, appended.into_iter().collect::<Vec<_>>());
}

fn who_waits_gets_an_event_when_there_is_one_and_nothing_where_there_is_none(feed: &dyn Backend) {
    let (mut sink, mut source) = (feed.sink(), feed.source("node"));
    assert_eq!(source.poll(0, 10, Duration::from_millis(20)).unwrap(), []);
    let polled = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| source.poll(0, 10, Duration::from_secs(20)).unwrap());
        sink.append(&numbered([1])).unwrap();
        waiting.join().unwrap()
    });
    assert_eq!(polled.len(), 1);
    assert_eq!(polled[0].event_id, "evt_1");
}

fn what_can_t_be_applied_is_told_at_its_place_and_nothing_is_passed_over(feed: &dyn Backend) {
    let mut source = feed.source("node");
    let put = |n: u64, kind: &str| {
        let id = format!("evt_{n}");
        let event = json!({ "id": 0, "event_id": id, "type": kind, "control_version": n });
        feed.put(&id, n, &event.to_string());
    };
    assert_eq!(source.poll(0, 10, Duration::ZERO).unwrap(), []);
    put(1, "tenant.created");
    put(2, "tenant.invented");
    put(3, "stack.activated");
    assert_eq!(feed.sink().append(&numbered([4])).unwrap(), [Ok(4)]);
    let polled = source.poll(0, 10, Duration::ZERO).unwrap();
    let shown = polled
        .iter()
        .map(|polled| (polled.control_version, &*polled.event_id, polled.event.is_ok()))
        .collect::<Vec<_>>();
    assert_eq!(
        shown,
        [(1, "evt_1", true), (2, "evt_2", false), (3, "evt_3", false), (4, "evt_4", true)]
    );
    let reason = |n: usize| polled[n].event.as_ref().unwrap_err().to_string();
    assert!(reason(1).contains("`tenant.invented`"), "{}", reason(1));
    assert!(reason(2).contains("`tenant_id`"), "{}", reason(2));
}

fn an_event_that_nobody_could_read_is_refused_and_nothing_after_it_is_appended(feed: &dyn Backend) {
    let long = event(&"x".repeat(MAX_CONTROL_TEXT + 1));
    let events = [event("evt_1"), long, event("evt_2")];
    let mut sink = feed.sink();
    let results = sink.append(&events).unwrap();
    assert_eq!((results.len(), results[0].clone()), (3, Ok(1)));
    let told = format!("{:?}", results[1].as_ref().unwrap_err());
    assert!(told.starts_with("Rejected") && told.contains("4097 bytes"), "{told}");
    assert!(results[2].is_err());
    assert_eq!(poll(&mut *feed.source("node"), 0, 10), seen([1]));
    assert_eq!(sink.append(&events[2..]).unwrap(), [Ok(2)]);
}
