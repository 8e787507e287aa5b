//! The thread.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rusqlite::Transaction;
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{
    Applier, ApplierOptions, Apply, ApplyError, Follower, FollowerState, Store as _,
};
use wasink_feed::artifacts::Artifact;
use wasink_record::{ControlEvent, SystemClock};

use crate::kit::{Kit, Source, event, of};

/// Waits until a follower is so.
#[track_caller]
fn until(follower: &Follower, is_so: impl Fn(&FollowerState) -> bool) -> FollowerState {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let state = follower.state();
        if is_so(&state) {
            return state;
        }
        assert!(Instant::now() < patience, "{state:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_follower_applies_what_comes_and_tells_what_is_in_the_way() {
    let kit = Arc::new(Kit::new());
    kit.put(vec![event("a", 1)]);
    let opening = kit.clone();
    let mut refusals = 2;
    let open = move || match refusals {
        0 => Ok(opening.applier()),
        _ => {
            refusals -= 1;
            Err("the server is not there yet".to_owned())
        }
    };
    let period = Duration::from_millis(10);
    let follower = Follower::start_with(open, period, kit.lines.clone()).unwrap();
    let state = until(&follower, |state| state.applied == 1);
    assert_eq!((state.feed.cursor, state.problem), (1, None));
    let told = |word: &str| {
        let lines = kit.lines.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(word)).count()
    };
    // The log comes after the state.
    until(&follower, |_| told("applying again") > 0);
    assert_eq!((told("not there yet"), told("applying again")), (1, 1), "each is told once");

    kit.put(vec![of("refused", "b", 2), event("c", 3)]);
    let halted = until(&follower, |state| state.feed.halted.is_some());
    assert_eq!(halted.problem.as_deref(), Some("event `b` at 2: I can't"));
    SqliteStore::open(&kit.path(), "fleet").unwrap().skip(2, "ticket 9").unwrap();
    let state = until(&follower, |state| state.applied == 2 && state.problem.is_none());
    assert_eq!((state.skipped, state.feed.cursor, state.feed.halted), (1, 3, None));
    until(&follower, |_| told("applying again") > 1);
    assert_eq!(told("the feed is halted"), 1);

    follower.stop(Duration::from_secs(60));
    kit.put(vec![event("d", 4)]);
    follower.wake();
    assert_eq!(kit.changes(), ["a", "c"]);
    // Another start goes on there.
    let again = Follower::start(kit.applier(), period, kit.lines.clone()).unwrap();
    until(&again, |state| state.applied == 1);
    assert_eq!(kit.changes(), ["a", "c", "d"]);
}

/// Does what it is told with each event.
struct Does<F>(F);

impl<F: FnMut(&ControlEvent) + Send> Apply<SqliteStore> for Does<F> {
    fn apply(
        &mut self,
        event: &ControlEvent,
        _: Option<&Artifact>,
        _: &mut Transaction<'_>,
    ) -> Result<(), ApplyError> {
        (self.0)(event);
        Ok(())
    }
}

/// An applier that does so.
fn does(kit: &Kit, what: impl FnMut(&ControlEvent) + Send + 'static) -> Applier<SqliteStore> {
    Applier::new(
        Box::new(Source(kit.feed.clone())),
        SqliteStore::open(&kit.path(), "fleet").unwrap(),
        Box::new(Does(what)),
        None,
        ApplierOptions::default(),
        Arc::new(SystemClock),
        kit.lines.clone(),
    )
}

#[test]
fn a_follower_that_is_stopped_in_a_batch_leaves_the_rest_of_it() {
    let kit = Kit::new();
    kit.put((1..=100).map(|version| event(&format!("e{version}"), version)).collect());
    let (begun, has_begun) = sync_channel(1);
    let (go_on, may_go_on) = sync_channel(1);
    let (interrupted, told_to_stop) = sync_channel(1);
    kit.feed.lock().unwrap().interrupted = Some(interrupted);
    let applier = does(&kit, move |event| {
        if event.event_id() == "e2" {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
        }
    });
    let period = Duration::from_millis(10);
    let follower = Follower::start(applier, period, kit.lines.clone()).unwrap();
    has_begun.recv().unwrap();
    let acks = std::thread::scope(|scope| {
        scope.spawn(|| follower.stop(Duration::ZERO));
        told_to_stop.recv().unwrap();
        go_on.send(()).unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            let acks = kit.acks();
            if !acks.is_empty() || Instant::now() > patience {
                return acks;
            }
            std::thread::yield_now();
        }
    });
    assert_eq!(acks, [["e1", "e2"]], "the event under way is finished, and no other begun");
    assert_eq!(SqliteStore::open(&kit.path(), "fleet").unwrap().cursor().unwrap(), 2);
}

#[test]
fn a_follower_whose_thread_panicked_says_so() {
    let kit = Kit::new();
    kit.put(vec![event("a", 1)]);
    let applier = does(&kit, |_| panic!("a panic that a test asks for"));
    let period = Duration::from_millis(10);
    let follower = Follower::start(applier, period, kit.lines.clone()).unwrap();
    let state = until(&follower, |state| state.problem.is_some());
    let problem = state.problem.unwrap();
    assert!(problem.starts_with("its thread has panicked"), "{problem}");
    // Nothing of the event is there; another start tries it again.
    assert_eq!(SqliteStore::open(&kit.path(), "fleet").unwrap().cursor().unwrap(), 0);
    follower.stop(Duration::from_secs(60));
    let again = Follower::start(does(&kit, |_| {}), period, kit.lines.clone()).unwrap();
    assert_eq!(until(&again, |state| state.applied == 1).problem, None);
}
