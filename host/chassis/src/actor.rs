//! One sink at work: a thread that reads its streams' logs and delivers to its instance.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use wasink_journal::{Batch, BatchLimits, DeadLetter, Fate, Log, Next, Reader, Version};
use wasink_record::{Stream, Timestamp};

use crate::delivery::{Books, Charge, Delivery, Halt, Patience, Running, Score, Trial};
use crate::hooks::Hooks;
use crate::ledger::add;
use crate::logger::{Level, Line, Logger};
use crate::plugin::{CallError, Captured, PluginVersion};
use crate::status::{SinkState, StateCell};
use crate::swap::{Came, Incoming, Report, Reports};

mod mend;

pub(crate) use mend::Mend;

/// How long a sink may be without work before it is asked to flush.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// How long it goes on without work before it is asked again: what a plugin does in pieces, such as
/// compressing old files, gets on.
const FLUSH_AGAIN: Duration = Duration::from_secs(10);

/// A disk that can't be read is tried again after this, and so often before what it does not give is
/// taken for lost.
const READ_AGAIN: Duration = Duration::from_secs(1);
const READS: u32 = 5;

/// So is one that can't be written.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// One stream of a sink.
pub(crate) struct Lane {
    pub(crate) reader: Reader,
    pub(crate) limits: BatchLimits,
    /// How often a call had to be tried again.
    pub(crate) retries: Arc<AtomicU64>,
    /// Reads in a row that failed.
    pub(crate) unread: u32,
}

/// The lanes of a sink.
struct Lanes {
    lanes: Vec<Lane>,
    sink: String,
    logger: Arc<dyn Logger>,
    hooks: Arc<dyn Hooks>,
    /// Which version settles, for whoever asks from outside.
    version: Arc<Mutex<Option<PluginVersion>>>,
    /// Whether it has been said that the journal can't be written.
    complained: bool,
    /// What could not be written down yet.
    unsettled: VecDeque<Unsettled>,
}

/// What became of a batch's records.
struct Unsettled {
    lane: usize,
    batch: Arc<Batch>,
    runs: Vec<(Range<u64>, Fate)>,
    dead: Vec<DeadLetter>,
}

impl Lanes {
    /// Tells of a journal that can't be written, once, and of its coming back.
    fn complain(&mut self, written: &io::Result<()>) {
        let failed = written.is_err();
        if failed == self.complained {
            return;
        }
        self.complained = failed;
        let (level, message, reason) = match written {
            Ok(()) => (Level::Info, "what became of records is written down again", String::new()),
            Err(error) => (
                Level::Error,
                "can't write down what became of records; after a crash they would come again",
                error.to_string(),
            ),
        };
        let fields = [("reason".to_owned(), reason.into())];
        let fields = if failed { &fields[..] } else { &[] };
        self.logger.log(&Line { level, sink: Some(&self.sink), message, fields });
    }

    /// Writes down what could not be written down before; whether nothing of it is left.
    fn settle_again(&mut self) -> bool {
        while let Some(Unsettled { lane, batch, runs, dead }) = self.unsettled.front() {
            let Some(lane) = self.lanes.get_mut(*lane) else { return true };
            let written = lane.reader.settle(batch, runs, dead.clone());
            self.complain(&written);
            if written.is_err() {
                return false;
            }
            self.unsettled.pop_front();
        }
        true
    }

    /// Brings to the disk what became of records.
    fn sync(&mut self) {
        self.settle_again();
        for lane in 0..self.lanes.len() {
            let synced = self.lanes.get_mut(lane).map_or(Ok(()), |lane| lane.reader.sync());
            self.complain(&synced);
        }
    }
}

impl Books for Lanes {
    fn settle(
        &mut self,
        lane: usize,
        batch: &Arc<Batch>,
        runs: &[(Range<u64>, Fate)],
        dead: Vec<DeadLetter>,
    ) {
        for (range, fate) in runs {
            self.hooks.settled(&self.sink, batch.stream(), *fate, range.end - range.start);
        }
        let (batch, runs) = (batch.clone(), runs.to_vec());
        self.unsettled.push_back(Unsettled { lane, batch, runs, dead });
        self.settle_again();
    }

    fn doubt(&mut self, lane: usize, batch: &Batch, since: Timestamp) -> io::Result<()> {
        let Some(lane) = self.lanes.get_mut(lane) else { return Ok(()) };
        lane.reader.doubt(batch.position()..batch.end(), since.unix_nanos())
    }

    fn not_taken(&mut self, lane: usize, batch: &Batch) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        // Where the disk does not take it, a restart finds them in doubt, which is the careful side.
        drop(lane.reader.not_taken(batch.position()..batch.end()));
    }

    fn retried(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get(lane) {
            add(&lane.retries, 1);
        }
    }

    fn take_over(&mut self, version: &PluginVersion) {
        self.attribute(version);
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.clone());
    }

    fn attribute(&mut self, version: &PluginVersion) {
        let known = Version { digest: version.digest.clone(), version: version.version.clone() };
        for lane in 0..self.lanes.len() {
            let written =
                self.lanes.get_mut(lane).map_or(Ok(()), |lane| lane.reader.take_over(&known));
            self.complain(&written);
        }
    }
}

/// What other threads ask of a sink's thread.
pub(crate) enum Request {
    Captured(SyncSender<Result<Option<Vec<Captured>>, CallError>>),
    ResetCaptured(SyncSender<Result<bool, CallError>>),
    Exchange(Incoming),
    /// Begins a trial; the answer says why it did not begin.
    Try(Charge, Arc<Score>, SyncSender<Result<(), String>>),
    /// Ends it.
    EndTrial(SyncSender<()>),
    /// Something about a stream at this sink.
    Mend(Stream, Mend),
    /// Ends the thread between two batches.
    Stop,
}

/// A sink's thread, from outside.
pub(crate) struct Actor {
    thread: Mutex<Option<JoinHandle<()>>>,
    waker: thread::Thread,
    requests: SyncSender<Request>,
    /// Requests that have not been looked at.
    asked: Arc<AtomicUsize>,
    /// When everything must be over; set once the chassis closes.
    deadline: Arc<Mutex<Option<Instant>>>,
    running: Arc<Running>,
    degraded: Arc<AtomicBool>,
    version: Arc<Mutex<Option<PluginVersion>>>,
}

impl Actor {
    /// Starts the thread. It works until the logs of all its lanes have ended; one that is degraded
    /// waits for a version that can be opened.
    pub(crate) fn start(
        delivery: Delivery,
        lanes: Vec<Lane>,
        degraded: bool,
        reports: Reports,
    ) -> io::Result<Self> {
        let (requests, inbox) = sync_channel(REQUESTS);
        let deadline = Arc::new(Mutex::new(None));
        let asked = Arc::new(AtomicUsize::new(0));
        let running = delivery.running();
        let version = (!degraded).then(|| delivery.plugin.version());
        let version = Arc::new(Mutex::new(version));
        let degraded = Arc::new(AtomicBool::new(degraded));
        let lanes = Lanes {
            lanes,
            sink: delivery.sink.clone(),
            logger: delivery.logger(),
            hooks: delivery.hooks(),
            version: version.clone(),
            complained: false,
            unsettled: VecDeque::new(),
        };
        let mut work = Work {
            delivery,
            lanes,
            patience: Watch { deadline: deadline.clone(), asked: asked.clone() },
            inbox,
            running: running.clone(),
            degraded: degraded.clone(),
            reports,
            ticket: 0,
            stopped: false,
        };
        let thread = thread::Builder::new()
            .name(format!("sink-{}", work.delivery.sink))
            .spawn(move || work.run())?;
        let waker = thread.thread().clone();
        let thread = Mutex::new(Some(thread));
        Ok(Self { thread, waker, requests, asked, deadline, running, degraded, version })
    }

    /// Says when everything must be over.
    pub(crate) fn close_by(&self, deadline: Instant) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        self.waker.unpark();
    }

    /// Waits for the thread to end, until `until` at the most; whether it has ended.
    pub(crate) fn join(&self, until: Instant) -> bool {
        let mut place = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = place.take() else { return true };
        while !thread.is_finished() {
            if Instant::now() >= until {
                *place = Some(thread);
                return false;
            }
            thread::park_timeout(JOIN_POLL);
        }
        // A panic in the thread has been printed; there is nothing to add.
        drop(thread.join());
        true
    }

    /// Ends the call that the thread is in, and every call after it.
    pub(crate) fn interrupt(&self) {
        self.running.end();
        self.waker.unpark();
    }

    /// Ends the call that the present instance is in.
    pub(crate) fn interrupt_call(&self) {
        self.running.interrupt();
        self.waker.unpark();
    }

    /// Whether it has no version that can be opened.
    pub(crate) fn is_degraded(&self) -> bool {
        self.degraded.load(Ordering::SeqCst)
    }

    /// The version that delivers.
    pub(crate) fn version(&self) -> Option<PluginVersion> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks something of the thread and waits for the answer; `None` once it has ended.
    pub(crate) fn ask<T>(&self, request: impl FnOnce(SyncSender<T>) -> Request) -> Option<T> {
        let (answer, answered) = sync_channel(1);
        self.asked.fetch_add(1, Ordering::SeqCst);
        let sent = self.requests.send(request(answer));
        self.waker.unpark();
        sent.ok()?;
        answered.recv().ok()
    }

    /// Ends the thread between two batches, whatever it has not dealt with yet.
    pub(crate) fn stop(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        // Where it has ended already there is nobody who could.
        drop(self.requests.send(Request::Stop));
        self.waker.unpark();
    }

    /// Gives the thread another version to deliver with, and never waits. What comes of it is
    /// reported; false where it has ended, or has more to do than it has room for.
    pub(crate) fn hand_over(&self, incoming: Incoming) -> bool {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let sent = self.requests.try_send(Request::Exchange(incoming)).is_ok();
        if !sent {
            self.asked.fetch_sub(1, Ordering::SeqCst);
        }
        self.waker.unpark();
        sent
    }
}

/// Requests that may wait while a sink's thread is busy; whoever asks for more waits as well.
const REQUESTS: usize = 64;

/// How often a closing chassis looks whether a sink's thread has ended.
const JOIN_POLL: Duration = Duration::from_millis(1);

/// What a sink's thread owns.
struct Work {
    delivery: Delivery,
    lanes: Lanes,
    patience: Watch,
    inbox: Receiver<Request>,
    running: Arc<Running>,
    degraded: Arc<AtomicBool>,
    reports: Reports,
    /// The exchange that the present version came by.
    ticket: u64,
    /// It is to end, with records left.
    stopped: bool,
}

/// Tells for how long there is time, and whether somebody wants something.
struct Watch {
    deadline: Arc<Mutex<Option<Instant>>>,
    asked: Arc<AtomicUsize>,
}

impl Watch {
    fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks the thread until `until`, the deadline, or less. Without `until`, until it is unparked.
    fn park(&mut self, until: Option<Instant>) -> Result<(), Halt> {
        let now = Instant::now();
        let deadline = self.deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Halt::OutOfTime);
        }
        self.look()?;
        match until.into_iter().chain(deadline).min() {
            Some(until) => thread::park_timeout(until.saturating_duration_since(now)),
            None => thread::park(),
        }
        Ok(())
    }
}

impl Patience for Watch {
    fn wait(&mut self, until: Instant) -> Result<(), Halt> {
        loop {
            self.park(Some(until))?;
            if until <= Instant::now() {
                return Ok(());
            }
        }
    }

    fn look(&mut self) -> Result<(), Halt> {
        if self.asked.load(Ordering::SeqCst) > 0 { Err(Halt::Asked) } else { Ok(()) }
    }
}

/// What a look at all the lanes came to.
enum Round {
    Delivered,
    Nothing { due: Option<Instant> },
    Over,
}

impl Work {
    fn run(&mut self) {
        let _ended = Ended(self.delivery.state.clone());
        // On this thread, so that appends wake it.
        let logs = self.lanes.lanes.iter().map(|lane| lane.reader.log());
        logs.for_each(Log::wake_this_thread);
        if let Some(version) = self.version() {
            self.lanes.take_over(&version);
        }
        let outcome = self.work();
        self.end(outcome);
        self.lanes.lanes.iter().for_each(|lane| lane.reader.log().forget_this_thread());
    }

    fn version(&self) -> Option<PluginVersion> {
        self.lanes.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn closing(&self) -> bool {
        self.running.is_ending()
    }

    /// Works, and does what is asked in between, until all is over or there is no more time.
    fn work(&mut self) -> Result<(), Halt> {
        let mut unflushed = None;
        loop {
            self.answer();
            if self.stopped {
                self.delivery.make_good_what_there_is(&mut self.lanes);
                return Ok(());
            }
            self.judge();
            let done = match self.degraded.load(Ordering::SeqCst) {
                true => self.wait_for_a_version(),
                false => self.deliver(&mut unflushed),
            };
            match done {
                Ok(true) => return Ok(()),
                Ok(false) | Err(Halt::Asked) => {}
                // The grace period of an exchange was over: that is what is asked.
                Err(Halt::Interrupted) if !self.closing() => {}
                Err(halt) => return Err(halt),
            }
        }
    }

    /// There is nothing that could deliver: its records stay where they are.
    fn wait_for_a_version(&mut self) -> Result<bool, Halt> {
        if self.patience.deadline().is_some() {
            return Ok(true);
        }
        self.patience.park(None)?;
        Ok(false)
    }

    /// One round, and what follows from it; whether all is over.
    fn deliver(&mut self, unflushed: &mut Option<Instant>) -> Result<bool, Halt> {
        match self.round()? {
            Round::Delivered => *unflushed = Some(Instant::now() + FLUSH_AFTER),
            Round::Over => return Ok(true),
            Round::Nothing { due } => {
                self.delivery.settle_up(&mut self.lanes, &mut self.patience)?;
                let now = Instant::now();
                if unflushed.is_some_and(|flush| flush <= now) {
                    *unflushed = Some(now + FLUSH_AGAIN);
                    self.flush();
                    self.lanes.sync();
                    return Ok(false);
                }
                let deferred = self.delivery.deferred_until();
                let probation = self.delivery.probation_until();
                let soonest = [due, *unflushed, deferred, probation].into_iter().flatten().min();
                self.patience.park(soonest)?;
            }
        }
        Ok(false)
    }

    /// Ends a probation, one way or the other.
    fn judge(&mut self) {
        if let Some((reason, previous)) = self.delivery.failed_probation() {
            let exchanged = self.delivery.exchange(previous, None, true, &mut self.lanes, || ());
            self.exchanged(exchanged.stall);
            self.report(Came::Returned(match exchanged.refused {
                None => reason,
                Some(refused) => format!(
                    "{reason}; and the version before does not open now, which is tried again: \
                     {refused}"
                ),
            }));
        } else if self.delivery.passed_probation() {
            self.report(Came::Proven);
        }
    }

    fn exchange(&mut self, incoming: Incoming) {
        let Incoming { ticket, charge, probation } = incoming;
        self.ticket = ticket.id;
        let old = self.version();
        let degraded = self.degraded.load(Ordering::SeqCst);
        let gone = || ticket.old_is_gone();
        let exchanged = self.delivery.exchange(charge, probation, false, &mut self.lanes, gone);
        if exchanged.cut
            && let Some(old) = &old
        {
            self.lanes.hooks.grace_expired(&self.lanes.sink, old);
            self.report(Came::GraceExpired);
        }
        match exchanged.refused {
            None => {
                self.degraded.store(false, Ordering::SeqCst);
                self.exchanged(exchanged.stall);
                self.report(Came::TakenOver { stall: exchanged.stall });
            }
            Some(reason) => {
                if degraded {
                    self.delivery.state.set(SinkState::Degraded { reason: reason.clone() });
                }
                self.report(Came::Refused(reason));
            }
        }
    }

    /// Another instance is at work.
    fn exchanged(&self, stall: Duration) {
        if let Some(version) = self.version() {
            self.lanes.hooks.exchanged(&self.lanes.sink, &version, stall);
        }
    }

    fn report(&self, came: Came) {
        (self.reports)(Report { sink: self.lanes.sink.clone(), ticket: self.ticket, came });
    }

    /// Delivers one batch of each lane that has one due.
    fn round(&mut self) -> Result<Round, Halt> {
        let mut round = Round::Over;
        if !self.lanes.settle_again() {
            // What becomes of more could not be written down either.
            return Ok(Round::Nothing { due: Some(Instant::now() + WRITE_AGAIN) });
        }
        self.delivery.work_off(&mut self.lanes, &mut self.patience)?;
        if self.delivery.deliver_deferred(&mut self.lanes, &mut self.patience)? {
            round = Round::Delivered;
        } else if let Some(due) = self.delivery.deferred_until() {
            round = Round::Nothing { due: Some(due) };
        }
        for index in 0..self.lanes.lanes.len() {
            let Some(lane) = self.lanes.lanes.get_mut(index) else { break };
            match (lane.reader.next(&lane.limits), &mut round) {
                (Next::Batch(batch), _) => {
                    lane.unread = 0;
                    lane.reader.pass(batch.end());
                    let doubt = lane.reader.doubtful(&batch).map(Timestamp::from_unix_nanos);
                    let (books, patience) = (&mut self.lanes, &mut self.patience);
                    self.delivery.deliver(index, batch, doubt, books, patience)?;
                    round = Round::Delivered;
                }
                (Next::Damaged(range), _) => {
                    self.give_up(index, range);
                    round = Round::Delivered;
                }
                (Next::Failed(error), _) => {
                    self.unreadable(index, &error)?;
                    round = Round::Delivered;
                }
                (Next::End, _) | (_, Round::Delivered) => {}
                (Next::Empty, Round::Over) => round = Round::Nothing { due: None },
                (Next::Empty, Round::Nothing { .. }) => {}
                (Next::Wait(until), Round::Nothing { due: Some(due) }) => *due = until.min(*due),
                (Next::Wait(until), _) => round = Round::Nothing { due: Some(until) },
            }
        }
        if matches!(round, Round::Over) {
            self.delivery.settle_up(&mut self.lanes, &mut self.patience)?;
        }
        Ok(round)
    }

    /// Goes on behind records that the journal does not hold any more.
    fn give_up(&mut self, lane: usize, range: Range<u64>) {
        let Some(lane) = self.lanes.lanes.get_mut(lane) else { return };
        self.delivery.log(
            Level::Error,
            "records are damaged in the journal and can't be delivered; what is left of them is \
             beside it, in files named `quarantine-`",
            &[
                ("stream", lane.reader.log().stream().as_str().into()),
                ("first_position", range.start.into()),
                ("records", (range.end - range.start).into()),
            ],
        );
        let written = lane.reader.give_up(range);
        self.lanes.complain(&written);
    }

    /// The disk could not be read: waits, and after some times takes it for what it is.
    fn unreadable(&mut self, lane: usize, error: &io::Error) -> Result<(), Halt> {
        let Some(lane) = self.lanes.lanes.get_mut(lane) else { return Ok(()) };
        lane.unread += 1;
        let reason = format!("can't read the journal: {error}");
        if lane.unread == 1 {
            self.delivery.log(Level::Error, "can't read", &[("reason", reason.as_str().into())]);
        }
        let failures = lane.unread;
        if failures >= READS {
            lane.unread = 0;
            lane.reader.skip_unreadable();
            return Ok(());
        }
        self.delivery.state.set(SinkState::Retrying { failures, reason });
        self.patience.wait(Instant::now() + READ_AGAIN)
    }

    /// Does what is asked.
    fn answer(&mut self) {
        loop {
            let request = match self.inbox.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            };
            self.patience.asked.fetch_sub(1, Ordering::SeqCst);
            // Whoever asked may have gone; that is theirs to know.
            match request {
                Request::Captured(answer) => drop(answer.send(self.delivery.captured())),
                Request::ResetCaptured(answer) => drop(answer.send(self.delivery.reset_captured())),
                Request::Exchange(incoming) => self.exchange(incoming),
                Request::Mend(stream, mend) => self.mend(stream, mend),
                Request::Try(charge, score, answer) => {
                    let begun = Trial::begin(charge, score);
                    drop(answer.send(begun.map(|trial| self.delivery.trial = Some(trial))));
                }
                Request::EndTrial(answer) => {
                    self.delivery.trial = None;
                    answer.send(()).unwrap_or_default();
                }
                Request::Stop => self.stopped = true,
            }
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.delivery.flush() {
            let reason = error.to_string();
            self.delivery.log(Level::Warn, "flush failed", &[("reason", reason.into())]);
            self.delivery.broke(&error);
        }
    }

    fn end(&mut self, outcome: Result<(), Halt>) {
        self.lanes.sync();
        if outcome.is_ok() {
            self.flush();
            if let Err(error) = self.delivery.close() {
                let reason = error.to_string();
                self.delivery.log(Level::Warn, "close failed", &[("reason", reason.into())]);
            }
        }
    }
}

/// Says that the sink is closed when its thread ends, however that comes.
struct Ended(Arc<StateCell>);

impl Drop for Ended {
    fn drop(&mut self) {
        if !matches!(self.0.get(), SinkState::Degraded { .. }) {
            self.0.set(SinkState::Closed);
        }
    }
}
