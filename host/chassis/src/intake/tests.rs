//! The door under many short lives, where races would show.

use std::num::NonZeroU64;
use std::sync::Barrier;
use std::time::Instant;

use wasink_journal::{BatchLimits, Durability, Fate, LogOptions, Next, Reader, WhenFull};
use wasink_record::{SystemClock, UsageEvent};

use super::*;
use crate::logger::TracingLogger;

fn open(records: u32, bytes: u64) -> (Arc<Intake>, JoinHandle<()>, Reader) {
    let options = LogOptions {
        stream: Stream::Usage,
        source: "test".into(),
        durability: Durability::Memory,
        bytes,
        segment_bytes: 0,
        memory: bytes,
    };
    let (log, writer) = Log::in_memory(options, 0);
    let reader = log.reader("test", WhenFull::Block, u64::MAX).unwrap();
    let options = Options {
        queue: NonZeroU32::new(records).unwrap(),
        waiting: 1 << 20,
        record: 1 << 20,
        window: Duration::ZERO,
        ids: Arc::new(IdSource::new(1)),
        clock: Arc::new(SystemClock),
        logger: Arc::new(TracingLogger),
    };
    let (intake, mover) = Intake::open(writer, 0, options).unwrap();
    (intake, mover, reader)
}

fn record() -> Record {
    UsageEvent::builder("r", "acme", "http", "shop").build().into()
}

/// Reads until the log ends, and returns how many records came.
fn drain(mut reader: Reader) -> u64 {
    let limits =
        BatchLimits { records: NonZeroU32::MAX, bytes: NonZeroU64::MAX, age: Duration::ZERO };
    reader.log().wake_this_thread();
    loop {
        match reader.next(&limits) {
            Next::Batch(batch) => {
                let all = batch.position()..batch.end();
                reader.settle(&batch, &[(all, Fate::Delivered)], Vec::new()).unwrap();
            }
            Next::Wait(_) | Next::Empty => thread::park(),
            Next::End => return reader.position(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_accepted_while_the_door_closes_reaches_the_log_in_each_of_many_rounds() {
    const CALLERS: u64 = 3;
    let until = Instant::now() + Duration::from_secs(4);
    let mut rounds = 0_u64;
    while rounds < 3000 && Instant::now() < until {
        // A queue and a log that are full at once, so that every wait is exercised.
        let (intake, mover, reader) = open(1 + u32::try_from(rounds % 3).unwrap(), 1);
        let drained = thread::spawn(move || drain(reader));
        let start = Barrier::new(usize::try_from(CALLERS).unwrap() + 1);
        let offered: u64 = thread::scope(|scope| {
            let callers: Vec<_> = (0..CALLERS)
                .map(|caller| {
                    let (intake, start) = (&intake, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut offered = 0;
                        for _ in 0..20 {
                            offered += 1;
                            if caller == 0 {
                                intake.emit(record());
                            } else if intake.emit_when_room(record()).is_err() {
                                break;
                            }
                        }
                        offered
                    })
                })
                .collect();
            start.wait();
            for _ in 0..rounds % 50 {
                std::hint::spin_loop();
            }
            if rounds.is_multiple_of(2) {
                thread::yield_now();
            }
            intake.close();
            callers.into_iter().map(|caller| caller.join().unwrap()).sum()
        });
        mover.join().unwrap();
        let ledger = intake.ledger();
        assert_eq!(ledger.accepted, drained.join().unwrap(), "round {rounds}");
        assert_eq!(offered, ledger.accepted + ledger.dropped_full + ledger.dropped_closed);
        rounds += 1;
    }
    assert!(rounds > 100, "only {rounds} rounds: this tells nothing");
}

#[test]
fn a_record_that_comes_while_the_mover_falls_asleep_is_not_left_behind() {
    let (intake, mover, reader) = open(16, 1 << 20);
    let log = reader.log().clone();
    for sent in 1..=300_u64 {
        // Around the moment at which the mover stops to nap and goes to sleep.
        let naps = NAP * NAPS_BEFORE_SLEEP;
        let after = naps.mul_f64(0.5 + f64::from(u32::try_from(sent % 16).unwrap()) / 16.0);
        let until = Instant::now() + if sent % 4 == 0 { after } else { Duration::ZERO };
        while Instant::now() < until {
            thread::yield_now();
        }
        intake.emit(record());
        let patience = Instant::now() + Duration::from_secs(10);
        while log.end() < sent {
            assert!(Instant::now() < patience, "record {sent} was left in the queue");
            thread::yield_now();
        }
    }
    intake.close();
    mover.join().unwrap();
    assert_eq!(drain(reader), 300);
}

#[test]
fn to_abandon_a_full_door_sends_those_that_wait_away_and_counts_them() {
    let (intake, mover, reader) = open(1, 1);
    // One record fills the log, one is in the mover's hands, one in the queue: the fourth waits.
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let intake = intake.clone();
            thread::spawn(move || intake.emit_when_room(record()))
        })
        .collect();
    while intake.waiting.load(Ordering::SeqCst) < 5 {
        thread::yield_now();
    }
    intake.abandon();
    let results: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
    mover.join().unwrap();
    let ledger = intake.ledger();
    let refused = results.iter().filter(|result| result.is_err()).count() as u64;
    // Also dropped is what was let in and never came as far as the log.
    assert_eq!(ledger.dropped_closed + ledger.accepted, 8);
    assert!(ledger.dropped_closed >= refused && refused >= 4, "{refused}");
    assert!(reader.log().end() - reader.position() <= ledger.accepted);
}
