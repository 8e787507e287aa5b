//! The end: of a chassis, and of calls that do not end by themselves.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::{Chassis, SinkState};

use super::kit::{
    Bench, Call, Fake, Gate, Kit, PATIENCE, adds_up, lane, next_write, one, retry, sink, usage,
};

const SHORT: Duration = Duration::from_millis(50);

#[test]
fn to_close_delivers_everything_then_flushes_and_closes_once() {
    let (fake, calls) = Fake::new();
    let mut bench = one(fake);
    // Longer than the test: nothing is due before the end.
    bench.config.sinks[0].batch.age = Duration::from_secs(3600);
    let chassis = bench.open().unwrap();
    (0..500).for_each(|number| chassis.usage().emit(usage(number.to_string())));
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((lane(&status).delivered, status.pending()), (500, 0));
    assert_eq!(status.sinks[0].state, SinkState::Closed);
    let calls: Vec<_> = calls.try_iter().collect();
    let (writes, last) = calls.split_last_chunk::<2>().unwrap();
    assert_eq!(*last, [Call::Flush, Call::Close]);
    assert!(!writes.is_empty() && writes.iter().all(|call| matches!(call, Call::Write(_))));
    assert_eq!(bench.lines.of(Level::Error), [""; 0]);

    assert_eq!(chassis.close(PATIENCE), status, "again changes nothing");
    drop(chassis);
}

#[test]
fn a_recorder_outlives_the_chassis_and_what_it_emits_is_dropped_and_counted() {
    let (fake, calls) = Fake::new();
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage().clone();
    recorder.emit(usage("before"));
    chassis.close(PATIENCE);
    recorder.emit(usage("after"));
    assert!(recorder.emit_when_room(usage("after")).is_err());
    let status = chassis.status();
    adds_up(&status);
    assert_eq!((status.streams[0].accepted, status.streams[0].dropped_closed), (1, 2));
    drop(chassis);
    recorder.emit(usage("much later"));
    let writes = calls.try_iter().filter(|call| matches!(call, Call::Write(_))).count();
    assert_eq!(writes, 1);
}

#[test]
fn to_drop_a_chassis_closes_it() {
    let (fake, calls) = Fake::new();
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    drop(chassis);
    assert_eq!(calls.try_iter().last(), Some(Call::Close));
}

#[test]
fn a_call_that_hangs_is_interrupted_at_the_deadline_and_its_records_are_pending() {
    let gate = Arc::new(Gate::default());
    let (fake, calls) = Fake::gated(&gate);
    let mut bench = one(fake);
    bench.config.sinks[0].batch.records = 1.try_into().unwrap();
    let chassis = bench.open().unwrap();
    (0..5).for_each(|number| chassis.usage().emit(usage(number.to_string())));
    next_write(&calls);
    assert_eq!(gate.interrupts(), 0);
    let before = Instant::now();
    let status = chassis.close(SHORT);
    assert!(SHORT <= before.elapsed() && before.elapsed() < PATIENCE);
    assert!(gate.interrupts() > 0);
    assert_eq!((status.pending(), status.sinks[0].state.clone()), (5, SinkState::Closed));
    adds_up(&status);
    let errors = bench.lines.of(Level::Error);
    let left = "a: closed with records that are not delivered yet stream=usage records=5";
    assert_eq!(errors, [left]);
}

#[test]
fn a_plugin_that_asks_for_more_time_does_not_hold_up_the_end() {
    let later = Some(Duration::from_secs(3600));
    let (fake, calls) = Fake::writing(move |_| Err(retry(later).into()));
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    next_write(&calls);
    let before = Instant::now();
    assert_eq!(chassis.close(SHORT).pending(), 1);
    assert!(before.elapsed() < PATIENCE);
}

#[test]
fn a_call_that_can_not_be_interrupted_is_left_behind() {
    let (release, released) = sync_channel::<()>(1);
    let (entered, inside) = sync_channel(1);
    let (fake, _) = Fake::writing(move |_| {
        entered.send(()).unwrap();
        // Nothing is ever sent: the end of the test is what releases it.
        assert!(released.recv().is_err());
        Ok(Vec::new())
    });
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    inside.recv_timeout(PATIENCE).unwrap();
    let before = Instant::now();
    let status = chassis.close(SHORT);
    assert!(before.elapsed() < PATIENCE);
    assert_eq!(status.pending(), 1);
    drop(release);
}

/// The one that has nothing to do waits for a log that the other one keeps from ending.
#[test]
fn an_idle_sink_does_not_wait_for_ever_for_one_that_hangs_with_the_log_full() {
    let gate = Arc::new(Gate::default());
    let (hanging, hung) = Fake::gated(&gate);
    let (idle, calls) = Fake::new();
    let kit = Kit::default().with("idle", idle).with("hanging", hanging);
    let config = format!(
        "queue.records = 4\nqueue.bytes = 1\n{}{}",
        sink("idle", "['usage']"),
        sink("hanging", "['usage']")
    );
    let bench = Bench::new(kit, &config);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("first"));
    next_write(&hung);
    next_write(&calls);
    // Idle for so long that it has flushed, and waits for nothing but the next record.
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Flush));
    (0..4).for_each(|_| chassis.usage().emit(usage("more")));
    let (done, closed) = sync_channel(1);
    thread::spawn(move || done.send(chassis.close(SHORT)).unwrap());
    let status = closed.recv_timeout(PATIENCE).expect("close returns");
    adds_up(&status);
    assert_eq!(status.sinks[1].lanes[0].pending, status.streams[0].accepted);
}

#[test]
fn nothing_is_lost_between_threads_that_emit_and_one_that_closes() {
    let until = Instant::now() + Duration::from_secs(5);
    let mut rounds = 0;
    while rounds < 400 && Instant::now() < until {
        let (fake, _) = Fake::new();
        let mut bench = one(fake);
        bench.config.queue.records = 8.try_into().unwrap();
        let chassis = bench.open().unwrap();
        let recorder = chassis.usage();
        let (status, offered) = thread::scope(|scope| {
            let callers: Vec<_> = (0..3)
                .map(|caller| {
                    let recorder = recorder.clone();
                    scope.spawn(move || {
                        let mut offered = 0_u64;
                        loop {
                            offered += 1;
                            if caller == 0 && offered < 100 {
                                recorder.emit(usage("r"));
                            } else if recorder.emit_when_room(usage("r")).is_err() {
                                return offered;
                            }
                        }
                    })
                })
                .collect();
            while chassis.status().streams[0].accepted < rounds % 7 {
                thread::yield_now();
            }
            chassis.close(PATIENCE);
            let offered: u64 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
            (chassis.status(), offered)
        });
        adds_up(&status);
        let stream = &status.streams[0];
        assert_eq!(offered, stream.accepted + stream.dropped_full + stream.dropped_closed);
        assert_eq!((status.pending(), lane(&status).delivered), (0, stream.accepted));
        rounds += 1;
    }
    assert!(rounds > 20, "only {rounds} rounds: this tells nothing");
}

#[test]
fn a_logger_that_panics_on_a_sinks_thread_costs_no_record() {
    struct Panics(thread::ThreadId);
    impl Logger for Panics {
        fn log(&self, _: &Line<'_>) {
            assert!(thread::current().id() == self.0, "as scripted");
        }
        fn enabled(&self, _: Level) -> bool {
            true
        }
    }
    let mut answers = vec![Err(retry(None).into())].into_iter();
    let (fake, calls) = Fake::writing(move |_| answers.next().unwrap_or(Ok(Vec::new())));
    let bench = one(fake);
    let mut parts = bench.parts();
    parts.logger = Arc::new(Panics(thread::current().id()));
    let chassis = Chassis::open(&bench.config, &parts).unwrap();
    chassis.usage().emit(usage("r"));
    next_write(&calls);
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.pending()), (1, 0));
}
