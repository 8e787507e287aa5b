//! Records of which it is not known whether the receiver has them, and what is said about them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wasink_chassis::hooks::Hooks;
use wasink_chassis::plugin::{Acknowledges, CallError};
use wasink_chassis::{Chassis, SinkState};
use wasink_journal::Fate;
use wasink_record::Stream;

use super::kit::{
    Bench, Call, Fake, PATIENCE, Ticking, adds_up, hung, lane, next_write, one, usage,
};

/// A minute is what the receiver remembers; the calls that hang take an hour.
const WINDOW: Duration = Duration::from_secs(60);

/// Counts what has come to an end.
#[derive(Default)]
struct Settled(Mutex<BTreeMap<String, u64>>);

impl Hooks for Settled {
    fn settled(&self, _: &str, _: Stream, fate: Fate, records: u64) {
        *self.0.lock().unwrap().entry(format!("{fate:?}")).or_default() += records;
    }
}

/// A chassis with one sink, and what happens at it.
struct Doubtful {
    chassis: Chassis,
    calls: Receiver<Call>,
    settled: Arc<Settled>,
    _bench: Bench,
}

impl Doubtful {
    /// The plugin is made with the clock, which it may move.
    fn open(make: impl FnOnce(Arc<Ticking>) -> (Fake, Receiver<Call>)) -> Self {
        let clock = Arc::new(Ticking::default());
        let (mut fake, calls) = make(clock.clone());
        fake.description.dedup_window = Some(WINDOW);
        let mut bench = one(fake);
        // Two to a batch, whatever comes between them.
        bench.config.sinks[0].batch.records = 2.try_into().unwrap();
        bench.config.sinks[0].batch.age = PATIENCE * 2;
        let settled = Arc::new(Settled::default());
        let mut parts = bench.parts();
        (parts.clock, parts.hooks) = (clock, settled.clone());
        let chassis = Chassis::open(&bench.config, &parts).unwrap();
        Self { chassis, calls, settled, _bench: bench }
    }

    fn emit(&self, rids: Range<u32>) {
        rids.for_each(|rid| self.chassis.usage().emit(usage(rid.to_string())));
    }

    /// Waits until it holds, and returns why.
    #[track_caller]
    fn held(&self) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let state = self.chassis.status().sinks[0].state.clone();
            if let SinkState::Held { reason } = state {
                return reason;
            }
            assert!(Instant::now() < until, "it is {state:?}");
            thread::yield_now();
        }
    }

    /// Delivers all that is left, of which `discarded` were never handed over again; returns the
    /// positions that were, in order.
    #[track_caller]
    fn close(self, records: u64, discarded: u64) -> Vec<u64> {
        let status = self.chassis.close(PATIENCE);
        adds_up(&status);
        assert_eq!((lane(&status).delivered, status.pending()), (records, 0), "{status:?}");
        let settled = self.settled.0.lock().unwrap();
        assert_eq!(*settled, BTreeMap::from([("Delivered".to_owned(), records)]));
        let writes = self.calls.try_iter().filter_map(|call| match call {
            Call::Write(records) => Some(records),
            _ => None,
        });
        let written: Vec<_> = writes.flatten().map(|seen| seen.position).collect();
        assert_eq!(written.len() as u64, records - discarded);
        written
    }
}

/// A plugin that hangs in its first call of `write`.
fn hangs_first(clock: Arc<Ticking>) -> (Fake, Receiver<Call>) {
    let mut first = true;
    Fake::writing(move |_| {
        if !std::mem::take(&mut first) {
            return Ok(Vec::new());
        }
        clock.pass_an_hour();
        Err(hung("write").into())
    })
}

/// One whose first two records are in doubt, with five behind them of which some were there before
/// it held and some came later.
fn holding() -> Doubtful {
    let doubtful = Doubtful::open(hangs_first);
    doubtful.emit(0..2);
    assert_eq!(next_write(&doubtful.calls).len(), 2);
    doubtful.emit(2..4);
    let reason = doubtful.held();
    assert!(reason.contains("the records 0 to 1"), "{reason}");
    doubtful.emit(4..7);
    let status = doubtful.chassis.status();
    adds_up(&status);
    assert_eq!((lane(&status).delivered, status.sinks[0].name.as_str()), (0, "a"));
    doubtful
}

#[test]
fn what_is_discarded_counts_as_delivered_once_and_all_behind_it_is_handed_over() {
    let doubtful = holding();
    let ended = doubtful.chassis.end_doubt("a", Some(Fate::Delivered)).unwrap();
    assert_eq!(ended, [(Stream::Usage, 0..2)]);
    // Of what is handed over meanwhile something has become by the time that anybody is asked.
    assert_eq!(doubtful.chassis.end_doubt("a", Some(Fate::Delivered)).unwrap(), []);
    assert_eq!(doubtful.close(7, 2), [2, 3, 4, 5, 6]);
}

#[test]
fn what_is_resent_is_handed_over_once_more_before_all_that_is_behind_it() {
    let doubtful = holding();
    let ended = doubtful.chassis.end_doubt("a", None).unwrap();
    assert_eq!(ended, [(Stream::Usage, 0..2)]);
    assert_eq!(doubtful.close(7, 0), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_verdict_that_comes_while_nothing_is_in_doubt_changes_nothing() {
    let doubtful = Doubtful::open(|_| Fake::new());
    doubtful.emit(0..2);
    assert_eq!(next_write(&doubtful.calls).len(), 2);
    for fate in [None, Some(Fate::Delivered)] {
        assert_eq!(doubtful.chassis.end_doubt("a", fate).unwrap(), []);
    }
    doubtful.emit(2..4);
    assert_eq!(doubtful.close(4, 2), [2, 3]);
}

/// What `write` has taken, and `flush` may have brought to the receiver or not, is in doubt as well.
fn hangs_in_flush(clock: Arc<Ticking>) -> (Fake, Receiver<Call>) {
    let mut first = true;
    let (mut fake, calls) = Fake::new();
    fake.description.acknowledges = Acknowledges::OnFlush;
    fake.flush = Box::new(move || -> Result<(), CallError> {
        if !std::mem::take(&mut first) {
            return Ok(());
        }
        clock.pass_an_hour();
        Err(hung("flush").into())
    });
    (fake, calls)
}

#[test]
fn what_was_taken_and_then_hung_in_the_flush_is_held_and_settled_once() {
    for fate in [None, Some(Fate::Delivered)] {
        let doubtful = Doubtful::open(hangs_in_flush);
        doubtful.emit(0..2);
        assert_eq!(next_write(&doubtful.calls).len(), 2);
        let reason = doubtful.held();
        assert!(reason.contains("the records 0 to 1"), "{reason}");
        doubtful.emit(2..5);
        let ended = doubtful.chassis.end_doubt("a", fate).unwrap();
        assert_eq!(ended, [(Stream::Usage, 0..2)]);
        let (discarded, first) = if fate.is_some() { (2, 2) } else { (0, 0) };
        assert_eq!(doubtful.close(5, discarded), (first..5).collect::<Vec<_>>());
    }
}
