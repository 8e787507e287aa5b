//! What holds whatever database the outbox is in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasink_chassis::config::PluginName;
use wasink_chassis::hooks::Hooks;
use wasink_chassis::plugin::{CallError, Failure, PluginError};
use wasink_feed::outbox::{Order, OutboxState};
use wasink_feed::pump::{Pass, Pump, PumpOptions};
use wasink_record::{Clock as _, ControlEvent, MAX_CONTROL_TEXT};

use super::kit::{
    Answer, Kit, PATIENCE, START, Silent, always, counts, event, interrupted, once, retry, trap,
};

pub(crate) fn events_are_published_in_order_and_their_versions_written_down(kit: &Kit) {
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

pub(crate) fn rows_have_the_columns_that_their_producers_know(kit: &Kit) {
    let full = ControlEvent::stack_activated("full", "acme", "shop", 7)
        .base_version(6)
        .artifact("stacks/shop/7", [0xab; 32])
        .control_version(9)
        .build()
        .unwrap();
    kit.base.append(&[full, event("bare")], kit.clock.now(), true).unwrap();
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

pub(crate) fn what_is_rolled_back_is_not_in_the_outbox_and_an_id_is_there_once(kit: &Kit) {
    let events: Vec<_> = (0..200).map(|n| event(&format!("e{n}"))).collect();
    kit.base.append(&events, kit.clock.now(), false).unwrap();
    assert_eq!(kit.outbox().state().unwrap().pending, 0);
    kit.base.append(&events, kit.clock.now(), true).unwrap();
    for twice in [vec![event("e7")], vec![event("new"), event("e7")]] {
        let error = kit.base.append(&twice, kit.clock.now(), true).unwrap_err().to_string();
        assert!(error.to_lowercase().contains("unique constraint"), "{error}");
    }
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap().published, 200);
    let sent: Vec<String> = kit.calls().into_iter().flatten().collect();
    let expected: Vec<_> = (0..200).map(|n| format!("e{n}")).collect();
    assert_eq!(sent, expected);
}

pub(crate) fn a_feed_that_can_t_be_reached_holds_up_what_comes_after_and_nothing_dies_of_it(
    kit: &Kit,
) {
    kit.produce(&["a", "b"]);
    let down = Arc::new(AtomicBool::new(true));
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

pub(crate) fn where_order_does_not_matter_others_get_by(kit: &Kit) {
    kit.produce(&["a", "b", "c"]);
    let answer: Answer = Box::new(|id| (id == "a").then(|| Err(retry("busy").into())));
    let mut options = PumpOptions::default();
    (options.order, options.batch) = (Order::Relaxed, 1);
    let mut publisher = kit.publisher(options, answer);
    assert_eq!(publisher.pass().unwrap(), Pass { published: 2, failed: 1 });
    assert_eq!(kit.calls(), [["a"], ["b"], ["c"]]);
}

pub(crate) fn an_event_that_is_refused_is_a_dead_letter_in_the_end_and_can_come_back(kit: &Kit) {
    kit.produce(&["good", "bad", "behind"]);
    let refuses = Arc::new(AtomicBool::new(true));
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

pub(crate) fn hooks_are_told_what_is_published_and_what_is_given_up(kit: &Kit) {
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);
    impl Hooks for Told {
        fn outbox_passed(&self, outbox: &str, published: u64, failed: u64) {
            let told = format!("{outbox}: {published} published, {failed} failed");
            self.0.lock().unwrap().push(told);
        }
        fn outbox_gave_up(&self, outbox: &str, event_id: &str, reason: &str) {
            self.0.lock().unwrap().push(format!("{outbox} gives `{event_id}` up: {reason}"));
        }
    }
    kit.produce(&["a", "b", "c"]);
    let answer: Answer =
        Box::new(|id| (id == "b").then(|| Err(Failure::Rejected("too odd".to_owned()).into())));
    let hooks = Arc::new(Told::default());
    let mut options = PumpOptions::default();
    options.attempts = 2;
    let mut publisher = kit.publisher(options, answer).hooked("admin", hooks.clone());
    let told = || std::mem::take(&mut *hooks.0.lock().unwrap());
    publisher.pass().unwrap();
    assert_eq!(told(), ["admin: 1 published, 1 failed"]);
    // It is not tried before its time.
    publisher.pass().unwrap();
    assert!(told().is_empty());
    kit.clock.go_on(options.backoff.longest);
    publisher.pass().unwrap();
    assert_eq!(
        told(),
        [
            "admin: 0 published, 1 failed",
            "admin gives `b` up: too odd",
            "admin: 1 published, 0 failed"
        ]
    );
}

pub(crate) fn rows_that_no_event_comes_of_are_told_and_given_up(kit: &Kit) {
    kit.produce(&["nonsense", "other", "good"]);
    let payload = kit.row("good", "payload_json");
    for (id, payload) in [("nonsense", r#"{"event_id":7}"#), ("other", &payload)] {
        let set = format!("SET payload_json = '{payload}' WHERE event_id = '{id}'");
        kit.base.execute(&format!("UPDATE control_events_outbox {set}"));
    }
    let mut publisher = kit.publisher(once(), always());
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

pub(crate) fn what_no_consumer_would_take_does_not_get_into_a_feed(kit: &Kit) {
    let long = "x".repeat(MAX_CONTROL_TEXT + 1);
    let refused = kit.base.append(&[event(&long)], kit.clock.now(), true).unwrap_err();
    let refused = refused.to_string();
    assert!(
        refused.ends_with("`event_id` has 4097 bytes, and 4096 are the most in a feed"),
        "{refused}"
    );

    // One that its producer wrote by itself.
    kit.produce(&["a"]);
    let payload = kit.row("a", "payload_json").replacen("acme", &long, 1);
    assert!(payload.contains(&long), "{payload}");
    kit.base.execute(&format!("UPDATE control_events_outbox SET payload_json = '{payload}'"));
    let mut publisher = kit.publisher(once(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 0, failed: 1 });
    let dead = publisher.outbox().dead(1).unwrap();
    assert!(dead[0].error.contains("`tenant_id` has 4097 bytes"), "{dead:?}");

    let row = dead[0].row;
    let refused = kit.outbox().published(&[(row, u64::MAX)], kit.clock.now()).unwrap_err();
    assert_eq!(refused.to_string(), "the outbox: 18446744073709551615 is no control version");
    assert_eq!(kit.row("a", "published_control_version"), "-");
}

pub(crate) fn a_feed_that_gives_no_version_has_not_published(kit: &Kit) {
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

pub(crate) fn an_event_that_stops_the_sink_is_found_among_others_and_given_up(kit: &Kit) {
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

pub(crate) fn a_call_that_was_ended_from_outside_is_nobodys_fault(kit: &Kit) {
    kit.produce(&["a"]);
    let answer: Answer = Box::new(move |_| Some(Err(interrupted("append").into())));
    let mut publisher = kit.publisher(PumpOptions::default(), answer);
    assert_eq!(publisher.pass().unwrap(), Pass::default());
    assert_eq!(kit.row("a", "attempt_count, last_error"), "0|-");
    // Nor is it that of the event when the sink is just being opened again.
    kit.feed.lock().unwrap().is_ending = true;
    assert_eq!(publisher.pass().unwrap(), Pass::default());
    assert_eq!(kit.feed.lock().unwrap().reopened, 1);
    assert_eq!(kit.row("a", "attempt_count, last_error"), "0|-");
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
}

pub(crate) fn a_sink_that_waits_for_too_long_has_nothing_against_the_event(kit: &Kit) {
    let timed_out = |computing: bool| -> CallError {
        let (plugin, after) = ("fake".parse::<PluginName>().unwrap(), PATIENCE);
        let last_words = String::new();
        PluginError::TimedOut { plugin, call: "append", after, computing, last_words }.into()
    };
    for (computing, dead) in [(true, 1), (false, 0)] {
        let kit = kit.another();
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

pub(crate) fn a_pump_that_is_to_stop_hands_nothing_more_over(kit: &Kit) {
    kit.produce_many(100);
    let (begun, has_begun) = sync_channel(1);
    let (let_go, held) = sync_channel(1);
    let answer: Answer = Box::new(move |id| {
        if id == "e001" {
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
    assert_eq!(kit.calls(), [["e000"], ["e001"]]);
}

pub(crate) fn where_order_does_not_matter_a_feed_that_is_gone_is_not_asked_for_every_row(
    kit: &Kit,
) {
    kit.produce_many(100);
    let mut options = PumpOptions::default();
    (options.order, options.batch) = (Order::Relaxed, 10);
    let answer: Answer = Box::new(|_| Some(Err(retry("no route").into())));
    let mut publisher = kit.publisher(options, answer);
    publisher.pass().unwrap();
    assert_eq!(kit.calls().len(), 3);
}

pub(crate) fn a_clock_that_was_set_back_holds_nothing_up(kit: &Kit) {
    kit.produce(&["a"]);
    let answer: Answer = Box::new(|_| Some(Err(retry("no route").into())));
    kit.clock.go_on(Duration::from_hours(48));
    kit.publisher(PumpOptions::default(), answer).pass().unwrap();
    kit.clock.0.store(START, Ordering::SeqCst);
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 1, failed: 0 });
}

pub(crate) fn a_version_that_was_not_written_down_is_got_again(kit: &Kit) {
    kit.produce(&["a", "b"]);
    // It was published, and then the process was gone.
    let mut lost = kit.publisher(PumpOptions::default(), always());
    lost.pass().unwrap();
    kit.base.execute("UPDATE control_events_outbox SET published_control_version = NULL");
    kit.produce(&["c"]);
    let mut publisher = kit.publisher(PumpOptions::default(), always());
    assert_eq!(publisher.pass().unwrap(), Pass { published: 3, failed: 0 });
    for (id, version) in [("a", "1|0"), ("b", "2|0"), ("c", "3|0")] {
        assert_eq!(kit.row(id, "published_control_version, attempt_count"), version);
    }
}

pub(crate) fn rows_go_some_time_after_they_were_published_and_no_others(kit: &Kit) {
    kit.produce(&["old"]);
    let mut options = PumpOptions::default();
    options.keep = Duration::from_secs(60);
    let answer: Answer = Box::new(|id| (id == "late").then(|| Err(retry("later").into())));
    let mut publisher = kit.publisher(options, answer);
    kit.publisher(options, always()).pass().unwrap();
    kit.clock.go_on(Duration::from_secs(61));
    kit.produce(&["new", "late"]);
    publisher.pass().unwrap();
    let left = kit.base.texts("event_id", "ORDER BY id");
    assert_eq!(left, ["new", "late"]);
}

pub(crate) fn a_pump_publishes_at_once_and_whenever_it_is_woken(kit: &Kit) {
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
