//! Hostile sources of control events: what a node is handed, and what becomes of its database.

use std::time::Duration;

use serde_json::json;
use wasink_chassis::feed::{FeedSource, Feeds as _};
use wasink_chassis::limits::Limit;
use wasink_chassis::plugin::{CallError, Demands, PluginError};
use wasink_feed::applier::{Halt, Store as _};
use wasink_record::MAX_CONTROL_TEXT;
use wasink_wasm::WasmPlugins;

use self::Expected::{Applies, Event, Failed, Stopped};
use crate::feeds::{
    EVENTS, Good, HOSTILE, Node, PATIENCE, SOUND, Way, check_shown, check_words, guest, host,
    options,
};

/// What is expected of a poll.
#[derive(Debug, Clone, Copy)]
enum Expected {
    /// It is ended, for a reason with these words.
    Stopped(&'static str),
    /// It fails, for a reason with these words.
    Failed(&'static str),
    /// The second event is none, for a reason with these words.
    Event(&'static str),
    /// Nothing is wrong with it.
    Applies,
}

/// What a source does when it is asked for what is behind `SOUND`, what is expected, and which limit it
/// comes up against.
const POLLS: &[(&str, Expected, Option<Limit>)] = &[
    // No answer.
    ("panic", Stopped("trapped in `poll`: "), None),
    ("spin", Stopped("did not return from `poll` within 1s: it was computing"), Some(Limit::Call)),
    ("sleep", Stopped("did not return from `poll` within 1s: it was waiting"), Some(Limit::Call)),
    ("allocate", Stopped("it came up against `limits.memory`"), Some(Limit::Memory)),
    ("million", Stopped("it came up against `limits.host_call`"), Some(Limit::HostCall)),
    // Reasons.
    ("broken", Failed("the plugin can't go on: broken broken "), Some(Limit::Text)),
    ("rejected", Failed("rejected: rejected rejected "), Some(Limit::Text)),
    ("retry", Failed("the plugin asks to try again: again again "), Some(Limit::Text)),
    ("in-doubt", Failed("doubt doubt "), Some(Limit::Text)),
    ("control-characters", Failed("gpj.exe"), None),
    // Answers that are none.
    ("too-many", Failed("the plugin can't go on: it gives "), None),
    ("descending", Failed("it gives the event `evt_4` at 4, which is not above 5"), None),
    ("equal", Failed("it gives the event `evt_5` at 4, which is not above 4"), None),
    ("at-since", Failed("it gives the event `evt_5` at 3, which is not above 3"), None),
    ("below-since", Failed("it gives the event `evt_5` at 2, which is not above 3"), None),
    ("unstamped", Failed("it gives the event `evt_5` at 0, which is none"), None),
    ("unstamped-then-low", Failed("it gives the event `evt_5` at 0, which is none"), None),
    ("beyond-signed", Failed("`evt_5` at 9223372036854775808, which is none"), None),
    ("last", Failed("`evt_5` at 18446744073709551615, which is none"), None),
    // Events that are none.
    ("empty-id", Event("event `` at 5: `event_id` is required"), None),
    ("long-id", Event("`event_id` has 1048576 bytes, and 4096 are the most"), None),
    ("long-fields", Event("unknown type `xxxx"), None),
    ("long-tenant", Event("`tenant_id` has 1048576 bytes, and 4096 are the most"), None),
    ("long-checksum", Event("does not begin with `sha256:`"), None),
    ("control-characters-in-id", Event("\\u{202e}gpj.exe"), None),
    ("unknown-type", Event("event `evt_5` at 5: unknown type `tenant.invented`"), None),
    ("no-activation", Event("every `stack.activated` event has a `stack_id`"), None),
    // Whatever it says in whosever name.
    ("impostor", Applies, None),
];

/// What of that an error is.
fn check_error(error: &CallError, expected: Expected) {
    match (error, expected) {
        (CallError::Stopped(_), Stopped(words)) | (CallError::Failed(_), Failed(words)) => {
            check_words(&error.to_string(), words);
        }
        _ => panic!("{expected:?}, but {error:?}"),
    }
}

fn poll(source: &mut dyn FeedSource, since: u64) -> Result<Vec<u64>, CallError> {
    let events = source.poll(since, 3, Duration::ZERO)?;
    assert!(events.iter().all(|polled| polled.event_id.len() <= MAX_CONTROL_TEXT + '…'.len_utf8()));
    Ok(events.iter().map(|polled| polled.control_version).collect())
}

/// What its caller is handed, and that it can be opened again.
fn check_call(way: &Way, expected: Expected) {
    let mut source = host().open_source(way.request()).unwrap();
    match (poll(&mut *source, SOUND), expected) {
        (Ok(versions), Event(_) | Applies) => assert_eq!(versions, [4, 5, 6]),
        (answer, expected) => check_error(&answer.unwrap_err(), expected),
    }
    source.reopen().unwrap();
    assert_eq!(poll(&mut *source, 0).unwrap(), [1, 2, 3]);
}

#[test]
fn a_node_stays_where_a_hostile_source_begins_and_goes_on_from_there_with_a_good_one() {
    let good = Good::start();
    for (does, expected, limit) in POLLS {
        let way = Way::new(json!({ "on": "poll", "does": does, "since": SOUND }));
        check_call(&way, *expected);
        let node = Node::new();
        let mut applier =
            node.applier(host().open_source(way.request()).unwrap(), way.watch.clone());
        // It is no better the next time.
        for _ in 0..2 {
            match (applier.pass(), expected) {
                (Ok(_), Applies) => node.is_at(EVENTS),
                (Err(Halt::Event { event_id, version: 5, reason }), Event(words)) => {
                    let halted = Halt::Event { event_id, version: 5, reason };
                    check_shown(&halted.to_string(), words);
                    assert_eq!(node.store().status().unwrap().halted.unwrap().version, 5);
                    node.is_at(4);
                }
                (Err(Halt::Source(error)), _) => {
                    check_error(&error, *expected);
                    assert!(!Halt::Source(error).to_string().contains(char::is_control));
                    node.is_at(SOUND);
                }
                (passed, _) => panic!("`{does}`: {passed:?}"),
            }
        }
        way.check(*limit);

        let mended = Way::new(json!({ "on": "close", "does": "panic" }));
        let source = host().open_source(mended.request()).unwrap();
        node.applier(source, mended.watch.clone()).pass().unwrap();
        node.is_at(EVENTS);
        good.goes_on();
    }
    good.end();
}

#[test]
fn an_event_is_applied_once_whatever_a_source_makes_of_its_id() {
    let way = Way::new(json!({ "on": "poll", "does": "same-id", "since": SOUND }));
    let node = Node::new();
    let mut applier = node.applier(host().open_source(way.request()).unwrap(), way.watch.clone());
    let passed = applier.pass().unwrap();
    assert_eq!((passed.applied, passed.known), (5, 1));
    // What was at 5 otherwise is not to be had from this source, and nobody can know of it.
    assert_eq!(node.cursor(), EVENTS);
    assert_eq!(node.applied(), [1, 2, 3, 4, 6].map(|n| format!("evt_{n} of acme")));
}

#[test]
fn whatever_becomes_of_an_acknowledgement_what_is_applied_is_applied() {
    let good = Good::start();
    for (does, words, limit) in [
        ("panic", "trapped in `ack`: ", None),
        ("spin", "did not return from `ack` within 1s: it was computing", Some(Limit::Call)),
        ("sleep", "did not return from `ack` within 1s: it was waiting", Some(Limit::Call)),
        ("allocate", "it came up against `limits.memory`", Some(Limit::Memory)),
        ("broken", "broken broken ", Some(Limit::Text)),
        ("rejected", "rejected rejected ", Some(Limit::Text)),
        ("control-characters", "gpj.exe", None),
    ] {
        let way = Way::new(json!({ "on": "ack", "does": does }));
        let source = host().open_source(way.request()).unwrap();
        assert!(source.wants_acks());
        let node = Node::new();
        let mut applier = node.applier(source, way.watch.clone());
        assert_eq!(applier.pass().unwrap().applied as u64, EVENTS, "{does}");
        assert_eq!(applier.pass().unwrap().applied, 0, "{does}");
        node.is_at(EVENTS);
        way.watch.lines(|lines| {
            let mut told =
                lines.iter().filter(|line| line.message.contains("not told what is applied"));
            let (_, reason) = &told.next().unwrap().fields[0];
            check_words(reason, words);
        });
        way.check(limit);
        good.goes_on();
    }
    good.end();
}

#[test]
fn a_source_that_does_not_open_or_close_says_why_and_holds_up_nobody() {
    let good = Good::start();
    for (does, opening, closing) in [
        ("panic", "trapped in `open`: ", "trapped in `close`: "),
        ("spin", "did not return from `open` within 1s", "did not return from `close` within 1s"),
        ("sleep", "it was waiting", "it was waiting"),
        ("allocate", "`limits.memory`", "`limits.memory`"),
        ("broken", "refused to open as `hostile`: ", "broken broken "),
    ] {
        let way = Way::new(json!({ "on": "open", "does": does }));
        match host().open_source(way.request()) {
            Ok(_) => panic!("`{does}`: it opened"),
            Err(error) => check_words(&error.to_string(), opening),
        }
        let way = Way::new(json!({ "on": "close", "does": does }));
        let mut source = host().open_source(way.request()).unwrap();
        check_words(&source.close().unwrap_err().to_string(), closing);
        source.reopen().unwrap();
        assert_eq!(poll(&mut *source, 0).unwrap(), [1, 2, 3]);
        good.goes_on();
    }
    good.end();
}

#[test]
fn a_source_that_spins_is_ended_from_outside_and_holds_up_nobody_meanwhile() {
    for does in ["spin", "sleep"] {
        let good = Good::start();
        let way = Way::new(json!({ "on": "poll", "does": does })).with(PATIENCE);
        let mut source = host().open_source(way.request()).unwrap();
        let interrupter = source.interrupter();
        let polling = std::thread::spawn(move || source.poll(0, 1, Duration::ZERO));
        good.goes_on();
        assert!(!polling.is_finished(), "it waits for longer than it may");
        interrupter.interrupt();
        let ended = polling.join().unwrap().unwrap_err();
        assert!(matches!(ended, CallError::Stopped(PluginError::Interrupted { .. })), "{ended:?}");
        good.end();
    }
}

/// The hostile source, which says this of itself.
pub(crate) fn saying(orders: &str) -> Vec<u8> {
    const BEGIN: &[u8] = b"what the source says of itself: ";
    const ROOM: usize = 48 - BEGIN.len();
    let mut bytes = guest("feed-source");
    let at = bytes.windows(BEGIN.len()).position(|window| window == BEGIN).unwrap() + BEGIN.len();
    bytes[at..at + ROOM].copy_from_slice(format!("{orders:ROOM$}").as_bytes());
    bytes
}

#[test]
fn what_a_source_says_of_itself_is_the_same_each_time_or_nothing_is_done_with_it() {
    let name = HOSTILE.parse().unwrap();
    let host = |orders: &str| {
        let mut options = options(saying(orders));
        options.limits.describe_time = Duration::from_secs(1);
        WasmPlugins::new(options).unwrap()
    };
    for (orders, words) in [
        ("panic", "trapped in `describe`: "),
        ("spin", "did not return from `describe` within 1s"),
        ("garbage", "settings schema that it describes itself with is not JSON"),
    ] {
        let host = host(orders);
        check_words(
            &host.describe_source(&name, &Demands::default()).unwrap_err().to_string(),
            words,
        );
        let way = Way::new(json!({ "on": "close", "does": "panic" }));
        let Err(refused) = host.open_source(way.request()) else { panic!("`{orders}`: it opened") };
        check_words(&refused.to_string(), words);
        // The others of this host are there all the same.
        host.describe_source(&"file".parse().unwrap(), &Demands::default()).unwrap();
    }
    let told = || host("chance").describe_source(&name, &Demands::default()).unwrap();
    assert_eq!(told(), told());
}
