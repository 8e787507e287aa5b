//! The door of a stream: a bounded queue in front of its log.
//!
//! Callers push into the queue and go on; one thread a stream moves what has gathered into the log,
//! in runs. While records keep coming that thread only naps between runs, so a caller need not wake
//! it: waking a thread costs a caller more than all the rest of `emit`.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use wasink_journal::{Closed, MemoryLog};
use wasink_record::{Clock, IdSource, Record, Stamped, Stream};

use crate::ledger::{IntakeCounts, StreamLedger, add};

/// Most records that go into the log as one run. What sinks share is made once a run, so it is as
/// large as the default batch.
const RUN: usize = 1024;

/// How long the mover naps while records keep coming.
const NAP: Duration = Duration::from_micros(500);

/// After so many naps without a record it sleeps until it is woken.
const NAPS_BEFORE_SLEEP: u32 = 20;

/// The door of one stream.
pub(crate) struct Intake {
    stream: Stream,
    queue: ArrayQueue<Stamped>,
    log: MemoryLog,
    ids: Arc<IdSource>,
    clock: Arc<dyn Clock>,
    counts: IntakeCounts,
    /// Set while the mover sleeps and must be woken.
    asleep: AtomicBool,
    mover: OnceLock<Thread>,
    closing: AtomicBool,
    /// Callers in the middle of a push: the mover ends only when there is none.
    pushing: AtomicUsize,
    /// Callers that wait for room, and where they wait.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    room: Condvar,
}

impl Intake {
    /// A door for `log`, and the thread that moves records from one to the other.
    pub(crate) fn open(
        stream: Stream,
        capacity: NonZeroU32,
        log: MemoryLog,
        ids: Arc<IdSource>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let capacity = usize::try_from(capacity.get()).unwrap_or(usize::MAX);
        let intake = Arc::new(Self {
            stream,
            queue: ArrayQueue::new(capacity),
            log,
            ids,
            clock,
            counts: IntakeCounts::default(),
            asleep: AtomicBool::new(false),
            mover: OnceLock::new(),
            closing: AtomicBool::new(false),
            pushing: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            gate: Mutex::new(()),
            room: Condvar::new(),
        });
        let moved = intake.clone();
        let thread = thread::Builder::new()
            .name(format!("wasink-{stream}"))
            .spawn(move || moved.move_records())?;
        // Nobody pushes before `open` returns, so nobody misses the thread.
        drop(intake.mover.set(thread.thread().clone()));
        Ok((intake, thread))
    }

    /// Takes a record if there is room, and never waits. What is turned away is counted.
    pub(crate) fn emit(&self, record: Record) {
        if record.stream() != self.stream {
            return add(&self.counts.dropped_misplaced, 1);
        }
        let _pushing = match self.begin() {
            Ok(pushing) => pushing,
            Err(Closed) => return add(&self.counts.dropped_closed, 1),
        };
        let stamped = self.stamp(record);
        match self.queue.push(stamped) {
            Ok(()) => {
                add(&self.counts.accepted, 1);
                self.wake();
            }
            Err(_) => add(&self.counts.dropped_full, 1),
        }
    }

    /// Takes a record, waiting for room.
    pub(crate) fn emit_when_room(&self, record: Record) -> Result<(), Closed> {
        if record.stream() != self.stream {
            add(&self.counts.dropped_misplaced, 1);
            return Ok(());
        }
        let pushing = self.begin().inspect_err(|_| add(&self.counts.dropped_closed, 1))?;
        let mut stamped = self.stamp(record);
        while let Err(back) = self.queue.push(stamped) {
            stamped = back;
            self.wait_for_room();
            if self.log.is_closed() {
                add(&self.counts.dropped_closed, 1);
                return Err(Closed);
            }
        }
        add(&self.counts.accepted, 1);
        drop(pushing);
        self.wake();
        Ok(())
    }

    /// Takes nothing more; what is in the queue still goes into the log, which is closed then.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        if let Some(mover) = self.mover.get() {
            mover.unpark();
        }
    }

    /// Gives up what is in the queue and whoever waits for room.
    pub(crate) fn abandon(&self) {
        self.close();
        self.log.close();
        self.open_gate();
    }

    pub(crate) fn ledger(&self) -> StreamLedger {
        self.counts.ledger(self.stream)
    }

    pub(crate) fn log(&self) -> &MemoryLog {
        &self.log
    }

    /// Id and time are given here and never again.
    fn stamp(&self, record: Record) -> Stamped {
        let time = self.clock.now();
        Stamped::new(self.ids.next(time), time, record)
    }

    /// Announces a push, so that the mover does not end in the middle of it.
    fn begin(&self) -> Result<Pushing<'_>, Closed> {
        let pushing = Pushing::new(&self.pushing);
        if self.closing.load(Ordering::SeqCst) { Err(Closed) } else { Ok(pushing) }
    }

    fn wake(&self) {
        // Either the mover sees what was pushed, or this sees that the mover sleeps.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Some(mover) = self.mover.get()
        {
            mover.unpark();
        }
    }

    fn wait_for_room(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.wake();
        let full = |_: &mut ()| self.queue.is_full() && !self.log.is_closed();
        drop(self.room.wait_while(gate, full).unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn open_gate(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.room.notify_all();
        }
    }

    /// The mover's whole life.
    fn move_records(&self) {
        let _moving = Moving(self);
        let mut idle = 0;
        loop {
            // Read before the queue is: nothing is pushed after both are true.
            let last =
                self.closing.load(Ordering::SeqCst) && self.pushing.load(Ordering::SeqCst) == 0;
            let mut run = Vec::new();
            while run.len() < RUN
                && let Some(stamped) = self.queue.pop()
            {
                run.push(stamped);
            }
            if run.is_empty() {
                if last {
                    break;
                }
                idle += 1;
                self.rest(idle);
                continue;
            }
            idle = 0;
            let more = run.len() == RUN;
            self.open_gate();
            if self.log.append(run).is_err() {
                // Abandoned: what was accepted and not delivered shows as pending.
                break;
            }
            if !more {
                thread::park_timeout(NAP);
            }
        }
    }

    fn rest(&self, idle: u32) {
        if idle < NAPS_BEFORE_SLEEP || self.closing.load(Ordering::SeqCst) {
            thread::park_timeout(NAP);
            return;
        }
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() && !self.closing.load(Ordering::SeqCst) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// Ends the log when its mover ends, however that comes: else sinks and callers would wait for ever.
struct Moving<'a>(&'a Intake);

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.log.close();
        self.0.open_gate();
    }
}

/// Counts a caller for as long as it lives.
struct Pushing<'a>(&'a AtomicUsize);

impl<'a> Pushing<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Pushing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
