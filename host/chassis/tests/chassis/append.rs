//! Records whose callers are told once they are durable, and full journals.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use wasink_chassis::{Admission, AppendError, Chassis};
use wasink_record::{Record, Stream};

use super::kit::{
    Bench, Fake, Gate, Kit, PATIENCE, adds_up, lane, next_write, one, rids, sink, usage,
};

/// Unparks the thread that waits.
struct Unpark(thread::Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

/// The simplest executor there is: `append` needs no other.
fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let until = Instant::now() + PATIENCE;
    loop {
        let ready = Waker::from(waker.clone());
        if let Poll::Ready(answer) = future.as_mut().poll(&mut Context::from_waker(&ready)) {
            return answer;
        }
        while !waker.1.swap(false, Ordering::SeqCst) {
            assert!(Instant::now() < until, "never answered");
            thread::park_timeout(PATIENCE);
        }
    }
}

#[test]
fn an_append_returns_the_id_that_the_record_is_delivered_with() {
    let (fake, calls) = Fake::new();
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    let id = wait(chassis.usage().append(usage("a"))).unwrap();
    let ids = wait(chassis.usage().append_batch(vec![usage("b"), usage("c")])).unwrap();
    let mut seen = next_write(&calls);
    while seen.len() < 3 {
        seen.extend(next_write(&calls));
    }
    assert_eq!(rids(&seen), ["a", "b", "c"]);
    assert_eq!(seen.iter().map(|seen| seen.id).collect::<Vec<_>>(), [id, ids[0], ids[1]]);
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((status.streams[0].accepted, lane(&status).delivered), (3, 3));
}

#[test]
fn what_can_never_be_appended_is_refused_at_the_door_all_of_it() {
    let bench = Bench::new(
        Kit::default().with("a", Fake::new().0),
        &format!("journal.record = '1kB'\n{}", sink("a", "['usage']")),
    );
    let chassis = bench.open().unwrap();
    let long = vec![usage("short"), usage("x".repeat(1000))];
    let error = wait(chassis.usage().append_batch(long)).unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { index: 1, limit: 1000, .. }), "{error:?}");
    assert!(error.to_string().contains("`journal.record`"), "{error}");
    let event = wasink_record::CloudEvent::builder("e", "test", "t").build().unwrap();
    let recorder = chassis.recorder(Stream::Usage);
    let error = wait(recorder.append(Record::Event(event))).unwrap_err();
    assert_eq!(error, AppendError::Misplaced { index: 0 });
    let event = wasink_record::CloudEvent::builder("e", "test", "t").build().unwrap();
    assert_eq!(wait(chassis.events().append(event)), Err(AppendError::NoSink));

    // What is only emitted is dropped, counted and told.
    chassis.usage().emit(usage("y".repeat(1000)));
    let status = chassis.close(PATIENCE);
    assert_eq!((status.streams[0].accepted, status.streams[0].dropped_too_large), (0, 1));
    assert_eq!(wait(chassis.usage().append(usage("late"))), Err(AppendError::Closed));
}

/// A sink that hangs, with this policy, on a journal of the smallest size.
fn full(when_full: &str) -> (Bench, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let (hanging, _) = Fake::gated(&gate);
    let (good, _) = Fake::new();
    let kit = Kit::default().with("hanging", hanging).with("good", good);
    let config = format!(
        "journal.bytes = '256KiB'\n{}when_full = '{when_full}'\n{}",
        sink("hanging", "['usage']"),
        sink("good", "['usage']")
    );
    (Bench::new(kit, &config), gate)
}

fn try_append(chassis: &Chassis, rid: usize) -> Result<(), AppendError> {
    let record = (None, usage(format!("{rid}-{}", "x".repeat(1000))));
    wait(chassis.usage().try_append_batch(vec![record])).map(|_| ())
}

/// Appends until it is full; how many got in.
fn fill(chassis: &Chassis) -> usize {
    let refused = (0..2000).find_map(|rid| Some((rid, try_append(chassis, rid).err()?)));
    let Some((taken, error)) = refused else { panic!("it never fills") };
    assert!(matches!(error, AppendError::Full { .. }), "{error:?}");
    taken
}

#[test]
fn where_a_sink_says_block_an_append_waits_for_room_and_who_does_not_wait_is_told() {
    let (bench, gate) = full("block");
    let chassis = bench.open().unwrap();
    let taken = fill(&chassis);
    let admission = chassis.status().streams[0].admission.clone();
    let Admission::Full { reason, reject: false } = admission else { panic!("{admission:?}") };
    assert!(reason.contains("sink `hanging`"), "{reason}");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(chassis.usage().append(usage("patient"))));
        assert!(matches!(try_append(&chassis, 0), Err(AppendError::Full { .. })));
        gate.open();
        waiting.join().unwrap()
    });
    waiting.unwrap();
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    let delivered: Vec<_> = status.sinks.iter().map(|sink| sink.lanes[0].delivered).collect();
    // Between the look and the opening of the gate one more may have got in.
    assert!(delivered.iter().all(|count| *count > taken as u64), "{delivered:?}");
    assert_eq!((status.pending(), status.dropped()), (0, 0));
}

#[test]
fn where_a_sink_says_reject_nobody_waits() {
    let (bench, gate) = full("reject");
    let chassis = bench.open().unwrap();
    fill(&chassis);
    let error = wait(chassis.usage().append(usage("patient"))).unwrap_err();
    assert!(matches!(error, AppendError::Full { .. }), "{error:?}");
    gate.open();
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((status.pending(), status.dropped()), (0, 0));
}

#[test]
fn where_a_sink_says_drop_oldest_it_loses_its_own_and_no_other_does() {
    let (bench, gate) = full("drop-oldest");
    let chassis = bench.open().unwrap();
    (0..1500).for_each(|rid| try_append(&chassis, rid).unwrap());
    gate.open();
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    let [hanging, good] = &status.sinks[..] else { panic!("{status:?}") };
    assert_eq!((good.lanes[0].delivered, good.lanes[0].dropped), (1500, 0));
    assert!(hanging.lanes[0].dropped > 0, "{hanging:?}");
    assert_eq!(hanging.lanes[0].delivered + hanging.lanes[0].dropped, 1500);
}

#[test]
fn what_is_not_delivered_when_it_closes_is_delivered_after_the_next_start_with_the_same_ids() {
    let gate = Arc::new(Gate::default());
    let (hanging, _) = Fake::gated(&gate);
    let bench = one(hanging);
    let chassis = bench.open().unwrap();
    let ids: Vec<_> =
        (0..5).map(|n| wait(chassis.usage().append(usage(n.to_string()))).unwrap()).collect();
    let status = chassis.close(std::time::Duration::ZERO);
    assert_eq!(status.pending(), 5);
    drop(chassis);

    let (fake, calls) = Fake::new();
    let bench = Bench { kit: Arc::new(Kit::default().with("a", fake)), ..bench };
    let chassis = bench.open().unwrap();
    let lines = bench.lines.of(wasink_chassis::logger::Level::Info);
    let resumed = "a: going on with records from before stream=usage records=5";
    assert!(lines.iter().any(|line| line == resumed), "{lines:?}");
    let seen = next_write(&calls);
    assert_eq!(seen.iter().map(|seen| (seen.id, seen.position)).collect::<Vec<_>>(), {
        ids.into_iter().zip(0..).collect::<Vec<_>>()
    });
    assert_eq!(chassis.close(PATIENCE).pending(), 0);
}

#[test]
fn two_chassis_do_not_share_a_journal() {
    let bench = one(Fake::new().0);
    let _first = bench.open().unwrap();
    let error = bench.open().unwrap_err().to_string();
    assert!(error.contains("open in another process"), "{error}");
    assert!(error.contains("journal/usage"), "{error}");
}
