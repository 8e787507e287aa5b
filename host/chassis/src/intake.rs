//! The door of a stream: a bounded queue in front of its log.
//!
//! Callers push into the queue and go on; one thread a stream moves what has gathered into the log,
//! in runs, many of which become durable together. While records keep coming that thread only naps
//! between runs, so a caller need not wake it: waking a thread costs a caller more than all the rest
//! of `emit`. Callers that want to know when their records are durable stand in a line of their own.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use futures_channel::oneshot;
use wasink_journal::{CommitError, Log, Writer};
use wasink_record::{Clock, IdSource, Record, RecordId, Stamped, Stream};

use crate::append::{Append, AppendError, Line, RETRY_LATER, RETRY_SOON};
use crate::ledger::{Admission, IntakeCounts, StreamLedger, add};
use crate::logger::{self, Level, Logger};

/// Most records that go into the log as one run. What sinks share is made once a run, so it is as
/// large as the default batch.
const RUN: usize = 1024;

/// How long the mover naps while records keep coming.
const NAP: Duration = Duration::from_micros(500);

/// After so many naps without a record it sleeps until it is woken.
const NAPS_BEFORE_SLEEP: u32 = 20;

/// Most runs that become durable together.
const RUNS: usize = 16;

/// About the most bytes of those who wait that become durable together.
const GROUP_BYTES: u64 = 4 << 20;

/// A commit waits for so small a part of what the last one took for those who were in that.
const WAIT_FOR_OTHERS: u32 = 4;

/// A commit that failed is tried again after the first, and later after the second.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// The chassis is closed: it takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the chassis is closed")]
pub struct Closed;

/// How a door is made.
pub(crate) struct Options {
    /// Records that the queue holds.
    pub(crate) queue: NonZeroU32,
    /// Bytes that may wait to become durable.
    pub(crate) waiting: u64,
    /// The longest record, in bytes.
    pub(crate) record: usize,
    /// How long the first of a group waits for others.
    pub(crate) window: Duration,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logger: Arc<dyn Logger>,
}

/// The door of one stream.
pub(crate) struct Intake {
    stream: Stream,
    queue: ArrayQueue<Stamped>,
    line: Line,
    log: Log,
    options: Options,
    counts: IntakeCounts,
    /// Why nothing is taken, and until when nothing is tried.
    admission: Mutex<Option<(Admission, Instant)>>,
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
    /// A door for the writer's log, and the thread that moves records from one to the other.
    pub(crate) fn open(
        writer: Writer,
        beginning: u64,
        options: Options,
    ) -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let log = writer.log().clone();
        let intake = Arc::new(Self {
            stream: log.stream(),
            queue: ArrayQueue::new(usize::try_from(options.queue.get()).unwrap_or(usize::MAX)),
            line: Line::default(),
            counts: IntakeCounts::new(log.end() - beginning),
            log,
            options,
            admission: Mutex::default(),
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
            .name(format!("wasink-{}", intake.stream))
            .spawn(move || moved.move_records(writer))?;
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

    /// Takes records, and tells when they are durable. All of them are taken, or none. `patient`
    /// callers wait for room in the log as well.
    pub(crate) async fn append(
        &self,
        records: Vec<(Option<RecordId>, Record)>,
        patient: bool,
    ) -> Result<Vec<RecordId>, AppendError> {
        let (ids, done) = self.stand_in_line(records, patient)?;
        // Nobody is there to answer where the mover has ended: the chassis is closed.
        done.await.unwrap_or(Err(AppendError::Closed))?;
        Ok(ids)
    }

    #[expect(clippy::type_complexity, reason = "ids, and where the answer comes")]
    fn stand_in_line(
        &self,
        records: Vec<(Option<RecordId>, Record)>,
        patient: bool,
    ) -> Result<(Vec<RecordId>, oneshot::Receiver<Result<(), AppendError>>), AppendError> {
        let pushing = self.begin().map_err(|Closed| AppendError::Closed)?;
        let mut bytes = 0;
        let mut line = Vec::new();
        for (index, (_, record)) in records.iter().enumerate() {
            if record.stream() != self.stream {
                return Err(AppendError::Misplaced { index });
            }
            line.clear();
            record.encode(&mut line);
            let limit = self.options.record;
            if line.len() > limit {
                return Err(AppendError::TooLarge { index, bytes: line.len(), limit });
            }
            bytes += line.len() as u64 + 1;
        }
        if let Some(error) = self.turned_away(patient) {
            return Err(error);
        }
        let stamp = |(id, record)| match id {
            None => self.stamp(record),
            Some(id) => Stamped { id, ..self.stamp(record) },
        };
        let records: Vec<_> = records.into_iter().map(stamp).collect();
        let ids = records.iter().map(|stamped| stamped.id).collect();
        let (done, receiver) = oneshot::channel();
        if records.is_empty() {
            drop(done.send(Ok(())));
            return Ok((ids, receiver));
        }
        self.line.push(Append { records, bytes, patient, done }, self.options.waiting)?;
        drop(pushing);
        // It may only nap, but somebody waits.
        if let Some(mover) = self.mover.get() {
            mover.unpark();
        }
        Ok((ids, receiver))
    }

    /// Why a caller is turned away at once, where it is.
    fn turned_away(&self, patient: bool) -> Option<AppendError> {
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let (admission, until) = admission.as_ref()?;
        // From time to time somebody has to try.
        if *until <= Instant::now() { None } else { admission.error(patient) }
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
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let admission = admission.as_ref().map_or(Admission::Open, |(known, _)| known.clone());
        self.counts.ledger(self.stream, admission)
    }

    /// Id and time are given here and never again.
    fn stamp(&self, record: Record) -> Stamped {
        // What is read from disk knows no offset, and is to be the same to the byte.
        let time = self.options.clock.now().with_offset_minutes(0);
        Stamped::new(self.options.ids.next(time), time, record)
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
    fn move_records(&self, mut writer: Writer) {
        let _moving = Moving(self);
        let mut idle = 0;
        let mut committed: Option<Instant> = None;
        // Of the last commit: how many waited for it, and how long it took.
        let (mut company, mut took) = (0, Duration::ZERO);
        loop {
            // Read before the queue is: nothing is pushed after both are true.
            let last =
                self.closing.load(Ordering::SeqCst) && self.pushing.load(Ordering::SeqCst) == 0;
            let mut group = Group::default();
            let more = self.gather(&mut writer, &mut group);
            if group.owners.is_empty() {
                if last && self.queue.is_empty() && self.line.is_empty() {
                    break;
                }
                idle += 1;
                self.rest(idle);
                continue;
            }
            idle = 0;
            let busy = committed.map(|at| self.options.window.saturating_sub(at.elapsed()));
            if let Some(wait) = busy.filter(|wait| !more && !last && !wait.is_zero()) {
                // Others may come meanwhile, and share the sync.
                thread::sleep(wait);
                self.gather(&mut writer, &mut group);
            }
            self.await_others(&mut writer, &mut group, company, took / WAIT_FOR_OTHERS);
            company = group.acks.len();
            self.open_gate();
            let begun = Instant::now();
            if !self.commit(&mut writer, group) {
                break;
            }
            took = begun.elapsed();
            committed = Some(Instant::now());
            if !more && self.line.is_empty() {
                thread::park_timeout(NAP);
            }
        }
    }

    /// Gives those who waited for the last commit, and are just being told, a moment to come again:
    /// else the first of them would have a sync for itself, and the others wait for two.
    fn await_others(
        &self,
        writer: &mut Writer,
        group: &mut Group,
        company: usize,
        patience: Duration,
    ) {
        if group.acks.is_empty() {
            return;
        }
        let until = Instant::now() + patience;
        while group.acks.len() < company && Instant::now() < until {
            thread::yield_now();
            self.gather(writer, group);
        }
    }

    /// Stages what has come in; whether there is more.
    fn gather(&self, writer: &mut Writer, group: &mut Group) -> bool {
        let mut more = true;
        while more && group.owners.len() < RUNS {
            let mut run = Vec::new();
            while run.len() < RUN
                && let Some(stamped) = self.queue.pop()
            {
                run.push(stamped);
            }
            more = run.len() == RUN;
            let records = run.len();
            let (chunks, refused) = writer.stage(run, self.options.record);
            group.emitted += records - refused;
            group.owners.extend(std::iter::repeat_n(Owner::Emitted, chunks));
            if refused > 0 {
                self.counts.take_back_too_large(refused);
                self.log_too_large(refused);
            }
        }
        let mut runs = [Vec::new(), Vec::new()];
        for Append { records, patient, done, .. } in self.line.take(GROUP_BYTES) {
            group.acks.push(Ack { records: records.len(), patient, done });
            if let Some(run) = runs.get_mut(usize::from(patient)) {
                run.extend(records);
            }
        }
        for (run, owner) in runs.into_iter().zip([Owner::Impatient, Owner::Patient]) {
            // Looked at before they stood in line: none is too large.
            let (chunks, _) = writer.stage(run, usize::MAX);
            group.owners.extend(std::iter::repeat_n(owner, chunks));
        }
        more
    }

    fn log_too_large(&self, records: usize) {
        let limit = ("limit".to_owned(), (self.options.record as u64).into());
        let fields = [
            ("stream".to_owned(), self.stream.as_str().into()),
            ("records".to_owned(), (records as u64).into()),
            limit,
        ];
        let message = "records dropped that are longer than `journal.record`";
        let line = logger::Line { level: Level::Error, sink: None, message, fields: &fields };
        self.options.logger.log(&line);
    }

    /// Makes a group durable, however long that takes; false once the log is closed.
    fn commit(&self, writer: &mut Writer, mut group: Group) -> bool {
        let mut wait = FIRST_RETRY;
        loop {
            let error = match writer.commit() {
                Ok(_) => {
                    self.admit(Admission::Open, Duration::ZERO);
                    for Ack { records, done, .. } in group.acks {
                        add(&self.counts.accepted, records);
                        drop(done.send(Ok(())));
                    }
                    return true;
                }
                Err(CommitError::Closed) => {
                    // Abandoned: these are in nobody's journal.
                    self.counts.take_back_closed(group.emitted);
                    return false;
                }
                Err(error) => error,
            };
            let admission = Admission::of(&error);
            self.admit(admission.clone(), wait.max(RETRY_SOON));
            // Who waits is told where waiting does not help; what nobody waits for is kept.
            for patient in [false, true] {
                let Some(answer) = admission.error(patient) else { continue };
                let gone = if patient { Owner::Patient } else { Owner::Impatient };
                writer.retain(|place| group.owners.get(place) != Some(&gone));
                group.owners.retain(|owner| *owner != gone);
                let (told, kept) = group.acks.into_iter().partition(|ack| ack.patient == patient);
                group.acks = kept;
                let told: Vec<Ack> = told;
                told.into_iter().for_each(|ack| drop(ack.done.send(Err(answer.clone()))));
            }
            self.line.answer(|append| admission.error(append.patient));
            if group.owners.is_empty() {
                return true;
            }
            match error {
                CommitError::Full { .. } => self.log.wait_for_room(wait),
                _ => thread::park_timeout(wait),
            }
            wait = (wait * 2).min(LONGEST_RETRY);
        }
    }

    /// Takes note whether records are taken, and tells when that changes. Nothing is tried for
    /// `pause`.
    fn admit(&self, admission: Admission, pause: Duration) {
        let mut known = self.admission.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.take();
        if admission != Admission::Open {
            *known = Some((admission.clone(), Instant::now() + pause));
        }
        drop(known);
        let same_kind = |(before, _): &(Admission, Instant)| before.same_kind(&admission);
        if before.as_ref().map_or(admission == Admission::Open, same_kind) {
            return;
        }
        let (level, message, reason) = match &admission {
            Admission::Open => (Level::Info, "records are taken again", String::new()),
            Admission::Full { reason, .. } => {
                (Level::Warn, "the journal is full: no more records are taken", reason.clone())
            }
            Admission::Unavailable { reason } => {
                (Level::Error, "the disk refuses: no more records are taken", reason.clone())
            }
        };
        let mut fields = vec![("stream".to_owned(), self.stream.as_str().into())];
        if !reason.is_empty() {
            fields.push(("reason".to_owned(), reason.into()));
        }
        self.options.logger.log(&logger::Line { level, sink: None, message, fields: &fields });
    }

    fn rest(&self, idle: u32) {
        if idle < NAPS_BEFORE_SLEEP || self.closing.load(Ordering::SeqCst) {
            thread::park_timeout(NAP);
            return;
        }
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        let nothing = self.queue.is_empty() && self.line.is_empty();
        if nothing && !self.closing.load(Ordering::SeqCst) {
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
        self.0.line.close();
        while self.0.queue.pop().is_some() {
            self.0.counts.take_back_closed(1);
        }
        self.0.open_gate();
    }
}

/// What becomes durable together.
#[derive(Default)]
struct Group {
    /// Whose each staged chunk is.
    owners: Vec<Owner>,
    acks: Vec<Ack>,
    /// Records that nobody waits for.
    emitted: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Nobody waits for it.
    Emitted,
    /// Somebody waits, and not for room.
    Impatient,
    /// Somebody waits, however long it takes.
    Patient,
}

/// Somebody who waits.
struct Ack {
    records: usize,
    patient: bool,
    done: oneshot::Sender<Result<(), AppendError>>,
}

impl Admission {
    fn of(error: &CommitError) -> Self {
        match error {
            CommitError::Full { reject, .. } => {
                Self::Full { reason: error.to_string(), reject: *reject }
            }
            _ => Self::Unavailable { reason: error.to_string() },
        }
    }

    /// What a caller is told who does not get in, and does not wait.
    fn error(&self, patient: bool) -> Option<AppendError> {
        match self {
            Self::Open => None,
            Self::Full { reject: false, .. } if patient => None,
            Self::Full { reject, .. } => {
                let retry_after = if *reject { RETRY_LATER } else { RETRY_SOON };
                Some(AppendError::Full { retry_after })
            }
            Self::Unavailable { reason } => {
                Some(AppendError::Unavailable { reason: reason.clone(), retry_after: RETRY_LATER })
            }
        }
    }

    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
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
