//! Outcomes, retries and broken instances, against a plugin that is a script and waits that pass at
//! once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use proptest::prelude::*;
use wasink_record::{IdSource, RecordId, Stamped, Stream, Timestamp, UsageEvent};

use super::*;
use crate::config::PluginName;
use crate::hooks::NoHooks;
use crate::limits::{LimitCounts, Limits};
use crate::missing::Missing;
use crate::plugin::{
    Demands, Description, Grants, Interrupter, OpenRequest, Outcome, PluginVersion,
};

type Write = Box<dyn FnMut(&Batch) -> Result<Vec<Exception>, CallError> + Send>;
type Flush = Box<dyn FnMut() -> Result<(), CallError> + Send>;
type Reopen = Box<dyn FnMut() -> Result<(), PluginError> + Send>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    /// Positions and ids.
    Write(Vec<(u64, RecordId)>),
    Flush,
    Reopen,
}

struct Fake {
    calls: Arc<Mutex<Vec<Call>>>,
    write: Write,
    flush: Flush,
    reopen: Reopen,
    acknowledges: Acknowledges,
    dedup_window: Option<Duration>,
    acceptance_window: Option<Duration>,
}

impl Fake {
    fn new(
        write: impl FnMut(&Batch) -> Result<Vec<Exception>, CallError> + Send + 'static,
    ) -> Self {
        Self {
            calls: Arc::default(),
            write: Box::new(write),
            flush: Box::new(|| Ok(())),
            reopen: Box::new(|| Ok(())),
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
        }
    }

    fn call(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

fn positions(batch: &Batch) -> Vec<u64> {
    (batch.position()..batch.end()).collect()
}

impl SinkPlugin for Fake {
    fn version(&self) -> PluginVersion {
        PluginVersion { digest: String::new(), version: String::new(), path: None }
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(Description {
            version: String::new(),
            summary: String::new(),
            streams: Stream::ALL.to_vec(),
            settings_schema: None,
            acknowledges: self.acknowledges,
            dedup_window: self.dedup_window,
            acceptance_window: self.acceptance_window,
            asks: Vec::new(),
        })
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        let ids = batch.ids();
        self.call(Call::Write(positions(batch).into_iter().zip(ids).collect()));
        (self.write)(batch)
    }

    fn flush(&mut self) -> Result<(), CallError> {
        self.call(Call::Flush);
        (self.flush)()
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.call(Call::Reopen);
        (self.reopen)()
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Interrupter::new(|| ())
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        Err(trap().into())
    }

    fn reset_captured(&mut self) -> Result<bool, CallError> {
        Ok(false)
    }
}

/// Waits for nothing, and remembers for how long it was to.
#[derive(Default)]
struct Hurry {
    waits: Vec<Duration>,
    most: Option<usize>,
}

impl Patience for Hurry {
    fn wait(&mut self, until: Instant) -> Result<(), Halt> {
        if self.most == Some(self.waits.len()) {
            return Err(Halt::OutOfTime);
        }
        self.waits.push(until.saturating_duration_since(Instant::now()));
        Ok(())
    }

    fn look(&mut self) -> Result<(), Halt> {
        Ok(())
    }
}

#[derive(Default)]
struct Lines(Mutex<Vec<(Level, String)>>);

impl Logger for Lines {
    fn log(&self, line: &Line<'_>) {
        self.0.lock().unwrap().push((line.level, line.message.to_owned()));
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

fn batch(position: u64, records: u64) -> Batch {
    let ids = IdSource::new(1);
    let now = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
    let stamped = |n: u64| {
        let event = UsageEvent::builder(n.to_string(), "acme", "http", "shop").build();
        Stamped::new(ids.next(now), now, event.into())
    };
    Batch::of(Stream::Usage, position, (0..records).map(stamped).collect(), "test").unwrap()
}

fn trap() -> PluginError {
    PluginError::Trapped {
        plugin: name(),
        call: "write",
        reason: "unreachable".to_owned(),
        last_words: String::new(),
    }
}

fn timed_out(computing: bool) -> PluginError {
    PluginError::TimedOut {
        plugin: name(),
        call: "write",
        after: Duration::from_secs(1),
        computing,
        last_words: String::new(),
    }
}

fn name() -> PluginName {
    PluginName::new("fake").unwrap()
}

/// What came of one delivery.
struct Came {
    calls: Vec<Call>,
    lines: Vec<(Level, String)>,
    waits: Vec<Duration>,
    /// Delivered, duplicate, rejected, expired.
    counts: [u64; 4],
    dead: Vec<DeadLetter>,
    state: SinkState,
    finished: bool,
}

impl Came {
    fn written(&self) -> Vec<Vec<u64>> {
        let positions = |call: &Call| match call {
            Call::Write(records) => Some(records.iter().map(|(position, _)| *position).collect()),
            Call::Flush | Call::Reopen => None,
        };
        self.calls.iter().filter_map(positions).collect()
    }

    fn lines(&self, level: Level) -> Vec<&str> {
        let of = self.lines.iter().filter(|(of, _)| *of == level);
        of.map(|(_, message)| message.as_str()).collect()
    }
}

fn deliver(fake: Fake, batch: Batch) -> Came {
    deliver_for(fake, batch, Hurry::default())
}

fn deliver_for(fake: Fake, batch: Batch, mut patience: Hurry) -> Came {
    let calls = fake.calls.clone();
    let lines = Arc::new(Lines::default());
    let state = Arc::new(StateCell::new(SinkState::Working));
    let mut delivery = delivery(fake, &state, lines.clone(), true);
    let mut books = Counts::default();
    let finished = delivery.deliver(0, batch, None, &mut books, &mut patience).is_ok()
        && delivery.settle_up(&mut books, &mut patience).is_ok();
    let calls = calls.lock().unwrap().clone();
    let lines = lines.0.lock().unwrap().clone();
    let counts = [Fate::Delivered, Fate::Duplicate, Fate::Rejected, Fate::Expired];
    let counts = counts.map(|fate| books.of(fate));
    let Counts { dead, .. } = books;
    Came { calls, lines, waits: patience.waits, counts, dead, state: state.get(), finished }
}

fn delivery(
    fake: Fake,
    state: &Arc<StateCell>,
    logger: Arc<dyn Logger>,
    ordered: bool,
) -> Delivery {
    Delivery::new(DeliveryParts {
        sink: "sink".to_owned(),
        charge: Charge {
            plugin: Arc::new(Missing::new(&name(), "opened once only".to_owned())),
            request: OpenRequest {
                plugin: name(),
                name: "sink".to_owned(),
                node_id: String::new(),
                epoch: String::new(),
                demands: Demands::default(),
                settings: String::new(),
                timeout: Duration::from_secs(1),
                grants: Grants::default(),
                limits: Limits::default(),
                reached: LimitCounts::default(),
                logger: Arc::new(Lines::default()),
            },
        },
        plugin: Box::new(fake),
        state: state.clone(),
        logger,
        hooks: Arc::new(NoHooks),
        clock: Arc::new(Late),
        ordered,
        degraded: false,
    })
}

/// A moment after the records were taken.
struct Late;

impl Clock for Late {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(1_700_000_001_000_000_000)
    }
}

/// Books that hold each position once.
#[derive(Default)]
struct Counts {
    fates: BTreeMap<u64, Fate>,
    dead: Vec<DeadLetter>,
    retries: usize,
    /// What a restart would find in doubt.
    doubt: Option<Range<u64>>,
}

impl Counts {
    fn of(&self, fate: Fate) -> u64 {
        self.fates.values().filter(|known| **known == fate).count() as u64
    }
}

impl Books for Counts {
    fn settle(
        &mut self,
        _: usize,
        batch: &Arc<Batch>,
        runs: &[(Range<u64>, Fate)],
        dead: Vec<DeadLetter>,
    ) {
        for (range, fate) in runs {
            for position in range.clone() {
                assert!(positions(batch).contains(&position));
                assert_eq!(self.fates.insert(position, *fate), None, "{position} comes twice");
            }
        }
        self.dead.extend(dead);
    }

    fn not_taken(&mut self, _: usize, batch: &Batch) {
        assert_eq!(self.doubt.take(), Some(batch.position()..batch.end()));
    }

    fn doubt(&mut self, _: usize, batch: &Batch, _: Timestamp) -> std::io::Result<()> {
        self.doubt = Some(batch.position()..batch.end());
        Ok(())
    }

    fn retried(&mut self, _: usize) {
        self.retries += 1;
    }

    fn take_over(&mut self, _: &PluginVersion) {}

    fn attribute(&mut self, _: &PluginVersion) {}
}

/// Gives each of the answers once, and then delivers everything.
fn answers(list: Vec<Result<Vec<Exception>, CallError>>) -> Fake {
    let mut list = list.into_iter();
    Fake::new(move |_| list.next().unwrap_or(Ok(Vec::new())))
}

fn exception(index: usize, outcome: Outcome) -> Exception {
    Exception { index, outcome }
}

const SOON: Option<Duration> = Some(Duration::from_secs(7));

fn retry(after: Option<Duration>) -> Failure {
    Failure::Retry { after, reason: "busy".to_owned() }
}

fn in_doubt(after: Option<Duration>) -> Failure {
    Failure::InDoubt { after, reason: "reset".to_owned() }
}

#[test]
fn each_outcome_is_counted_once_and_only_what_is_to_be_retried_comes_again() {
    let first = vec![
        exception(7, Outcome::Retry(None)),
        exception(1, Outcome::Duplicate),
        exception(2, Outcome::Retry(SOON)),
        exception(3, Outcome::Retry(Some(Duration::from_secs(3)))),
        exception(4, Outcome::Expired),
        exception(5, Outcome::Rejected("no".to_owned())),
    ];
    let came = deliver(answers(vec![Ok(first)]), batch(100, 9));
    let expected = [(100..109).collect::<Vec<u64>>(), vec![102, 103], vec![107]];
    assert_eq!(came.written(), expected);
    assert_eq!(came.counts, [6, 1, 1, 1]);
    let [wait] = came.waits[..] else { panic!("one wait, not {:?}", came.waits) };
    assert!(Duration::from_secs(6) < wait && wait <= Duration::from_secs(7), "{wait:?}");
    assert_eq!(came.state, SinkState::Working);
    let Call::Write(all) = &came.calls[0] else { panic!() };
    assert_eq!(came.calls[1], Call::Write(all[2..4].to_vec()), "ids are the same");
    assert_eq!(came.lines(Level::Error), ["records rejected", "records expired"]);
    let dead = |letter: &DeadLetter| (letter.position, letter.fate, letter.attempts);
    let dead: Vec<_> = came.dead.iter().map(dead).collect();
    assert_eq!(dead, [(104, Fate::Expired, 1), (105, Fate::Rejected, 1)]);
    assert_eq!(came.dead[1].reason, "no");
    assert!(came.dead[1].line.starts_with(r#"{"rid":"5","#), "{}", came.dead[1].line);
}

#[test]
fn a_plugin_that_asks_to_try_again_gets_the_same_batch_and_is_complained_of_once() {
    let again = || Err(retry(None).into());
    let came = deliver(answers((0..40).map(|_| again()).collect()), batch(5, 3));
    assert_eq!(came.calls.len(), 41);
    assert!(came.calls.iter().all(|call| *call == came.calls[0]), "same positions, same ids");
    assert_eq!(came.lines(Level::Warn), ["can't deliver, trying again"]);
    assert_eq!(came.lines(Level::Info), ["delivering again"]);
    assert_eq!(came.counts, [3, 0, 0, 0]);
    for (attempt, wait) in came.waits.iter().enumerate() {
        let longest = FIRST_BACKOFF.saturating_mul(1 << attempt.min(16)).min(LONGEST_BACKOFF);
        assert!(*wait <= longest, "attempt {attempt}: {wait:?}");
    }
    // Thirty waits drawn from up to 30 s: all below 5 s come once in 10^23 runs.
    assert!(came.waits.iter().max().unwrap() > &Duration::from_secs(5), "{:?}", came.waits);
}

#[test]
fn a_hint_is_waited_for_and_one_of_zero_does_not_keep_the_thread_spinning() {
    let hinted = |hint| deliver(answers(vec![Err(retry(Some(hint)).into())]), batch(0, 1));
    let wait = hinted(Duration::from_secs(90)).waits[0];
    assert!(Duration::from_secs(89) < wait && wait <= Duration::from_secs(90), "{wait:?}");
    assert!(hinted(Duration::MAX).waits[0] <= LONGEST_HINT);

    let at_once = || Err(retry(Some(Duration::ZERO)).into());
    let came = deliver(answers((0..40).map(|_| at_once()).collect()), batch(0, 1));
    assert!(came.waits.iter().max().unwrap() > &Duration::from_secs(5), "{:?}", came.waits);
}

#[test]
fn a_rejected_call_rejects_all_of_its_records_and_is_not_tried_again() {
    let came = deliver(answers(vec![Err(Failure::Rejected("no".to_owned()).into())]), batch(0, 4));
    assert_eq!((came.calls.len(), came.counts), (1, [0, 0, 4, 0]));
    assert_eq!((came.waits.len(), came.lines(Level::Error)), (0, vec!["records rejected"]));
}

#[test]
fn a_broken_instance_is_opened_anew_until_that_works_and_no_record_is_blamed() {
    let mut fake = answers((0..3).map(|_| Err(Failure::Broken("x".to_owned()).into())).collect());
    let mut failing = 0;
    fake.reopen = Box::new(move || {
        failing += 1;
        if failing <= 4 { Err(trap()) } else { Ok(()) }
    });
    let came = deliver(fake, batch(0, 1));
    let reopened = came.calls.iter().filter(|call| **call == Call::Reopen).count();
    assert_eq!((reopened, came.written().len()), (7, 4));
    assert_eq!(came.counts, [1, 0, 0, 0]);
    assert_eq!(came.lines(Level::Warn).len(), 1);
}

#[test]
fn what_waits_for_the_outside_world_is_tried_again_for_ever_and_never_rejected() {
    let slow = || Err(timed_out(false).into());
    let came = deliver(answers((0..50).map(|_| slow()).collect()), batch(0, 8));
    assert_eq!(came.counts, [8, 0, 0, 0]);
    assert!(came.written().iter().all(|records| records.len() == 8), "never cut");
}

#[test]
fn a_record_that_computes_for_ever_twice_is_rejected() {
    let came = deliver(Fake::new(|_| Err(timed_out(true).into())), batch(0, 1));
    assert_eq!((came.counts, came.written().len()), ([0, 0, 1, 0], 2));
}

#[test]
fn a_plugin_that_acknowledges_on_flush_is_flushed_before_anything_counts() {
    let mut fake = answers(vec![Ok(vec![exception(0, Outcome::Duplicate)])]);
    fake.acknowledges = Acknowledges::OnFlush;
    let mut failures = vec![Err(retry(None).into()), Err(trap().into())].into_iter();
    fake.flush = Box::new(move || failures.next().unwrap_or(Ok(())));
    let came = deliver(fake, batch(0, 2));
    let write = came.calls[0].clone();
    let expected =
        [write.clone(), Call::Flush, write.clone(), Call::Flush, Call::Reopen, write, Call::Flush];
    assert_eq!(came.calls, expected);
    assert_eq!(came.counts, [2, 0, 0, 0], "only the answer that was flushed counts");
}

#[test]
fn when_time_is_over_what_is_settled_counts_and_the_rest_does_not() {
    let first = vec![exception(1, Outcome::Retry(None)), exception(2, Outcome::Expired)];
    let fake = answers(vec![Ok(first), Err(retry(None).into())]);
    let came = deliver_for(fake, batch(0, 3), Hurry { most: Some(1), ..Hurry::default() });
    assert!(!came.finished);
    assert_eq!(came.counts, [1, 0, 0, 1]);
    let reason = "busy".to_owned();
    assert_eq!(came.state, SinkState::Retrying { failures: 2, reason });
}

#[test]
fn an_interrupted_call_is_the_end_and_no_strike() {
    let interrupted = PluginError::Interrupted { plugin: name(), call: "write" };
    let came = deliver(answers(vec![Err(interrupted.into())]), batch(0, 1));
    assert!(!came.finished);
    assert_eq!((came.counts, came.calls.len()), ([0; 4], 1));
}

#[test]
fn a_panic_in_what_runs_a_plugin_is_no_more_than_a_trap() {
    let fake = Fake::new(|batch| match positions(batch).contains(&2) {
        true => panic!("at the disco"),
        false => Ok(Vec::new()),
    });
    let came = deliver(fake, batch(0, 4));
    assert!(came.finished);
    assert_eq!(came.counts, [3, 0, 1, 0]);

    let mut fake = answers(vec![Err(trap().into())]);
    let mut panics = true;
    fake.reopen = Box::new(move || match std::mem::take(&mut panics) {
        true => panic!("not yet"),
        false => Ok(()),
    });
    assert_eq!(deliver(fake, batch(0, 1)).counts, [1, 0, 0, 0]);
}

#[test]
fn a_logger_that_panics_does_not_end_a_delivery() {
    struct Panics;
    impl Logger for Panics {
        fn log(&self, _: &Line<'_>) {
            panic!("no space left");
        }
        fn enabled(&self, _: Level) -> bool {
            true
        }
    }
    let state = Arc::new(StateCell::new(SinkState::Working));
    let fake = answers(vec![Err(trap().into()), Err(retry(None).into())]);
    let mut delivery = delivery(fake, &state, Arc::new(Panics), true);
    let (mut books, mut patience) = (Counts::default(), Hurry::default());
    assert!(delivery.deliver(0, batch(0, 2), None, &mut books, &mut patience).is_ok());
    assert_eq!(books.of(Fate::Delivered), 2);
}

#[test]
fn a_trap_outside_of_delivery_costs_a_new_instance_and_no_strike() {
    let fake = Fake::new(|_| Ok(Vec::new()));
    let calls = fake.calls.clone();
    let state = Arc::new(StateCell::new(SinkState::Working));
    let logger = Arc::new(Lines::default());
    let mut delivery = delivery(fake, &state, logger, true);
    assert!(delivery.captured().is_err());
    let (mut books, mut patience) = (Counts::default(), Hurry::default());
    assert!(delivery.deliver(0, batch(0, 1), None, &mut books, &mut patience).is_ok());
    let calls = calls.lock().unwrap();
    assert!(matches!(calls[..], [Call::Reopen, Call::Write(_)]), "{calls:?}");
}

/// A second is how late it is by [`Late`].
#[test]
fn what_is_too_old_for_the_receiver_becomes_a_dead_letter_without_a_call() {
    let mut fake = answers(Vec::new());
    fake.acceptance_window = Some(Duration::from_millis(999));
    let came = deliver(fake, batch(3, 2));
    assert_eq!((came.calls.len(), came.counts), (0, [0, 0, 0, 2]));
    assert_eq!(came.lines(Level::Error)[1..], ["records expired"]);
    assert_eq!(came.dead.len(), 2);

    let mut fake = answers(Vec::new());
    fake.acceptance_window = Some(Duration::from_millis(1200));
    let came = deliver(fake, batch(3, 2));
    assert_eq!(came.counts, [2, 0, 0, 0]);
    let alarm = "records are about to become too old for the receiver";
    assert_eq!(came.lines(Level::Error), [alarm], "told in time");
}

#[test]
fn a_batch_in_doubt_is_held_once_the_receiver_would_not_recognise_it() {
    let hold = |window, doubt| {
        let mut fake = answers(Vec::new());
        fake.dedup_window = Some(window);
        let state = Arc::new(StateCell::new(SinkState::Working));
        let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
        let mut patience = Hurry { most: Some(0), ..Hurry::default() };
        let mut books = Counts::default();
        let doubt = Some(Timestamp::from_unix_nanos(doubt));
        let done = delivery.deliver(0, batch(7, 1), doubt, &mut books, &mut patience).is_ok();
        (done, books.of(Fate::Delivered), state.get())
    };
    // Handed over when it was taken: a second ago.
    let taken = 1_700_000_000_000_000_000;
    let (done, delivered, state) = hold(Duration::from_millis(900), taken);
    assert!(!done && delivered == 0);
    let SinkState::Held { reason } = state else { panic!("{state:?}") };
    assert!(reason.contains("records 7 to 7") && reason.contains("wasink held resend sink"));
    let (done, delivered, state) = hold(Duration::from_millis(1100), taken);
    assert_eq!((done, delivered, state), (true, 1, SinkState::Working));
}

/// What a plugin answers to the first calls, and whether the batch is held once the time in which the
/// receiver recognises ids is over.
fn is_held_after(given: Vec<Result<Vec<Exception>, CallError>>) -> bool {
    is_held_within(Duration::from_nanos(1), given)
}

fn is_held_within(window: Duration, given: Vec<Result<Vec<Exception>, CallError>>) -> bool {
    let calls = given.len();
    let mut fake = answers(given);
    fake.dedup_window = Some(window);
    let state = Arc::new(StateCell::new(SinkState::Working));
    let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
    let clock = Arc::new(Ticking::default());
    delivery.clock = clock;
    let mut patience = Hurry { most: Some(8 + calls), ..Hurry::default() };
    let mut books = Counts::default();
    let stopped = delivery.deliver(0, batch(7, 2), None, &mut books, &mut patience).is_err();
    stopped && matches!(state.get(), SinkState::Held { .. })
}

/// Each look finds it a second later.
#[derive(Default)]
struct Ticking(std::sync::atomic::AtomicI64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        let seconds = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Timestamp::from_unix_nanos((1_700_000_000 + seconds) * 1_000_000_000)
    }
}

#[test]
fn only_what_a_receiver_may_have_is_held() {
    let retry = || Err(retry(None).into());
    let doubt = || Err(in_doubt(None).into());
    let one = |outcome| Ok(vec![exception(1, outcome)]);
    for (answers, held) in [
        (vec![retry(), retry()], false),
        (vec![doubt()], true),
        (vec![Err(trap().into())], true),
        // That it was not taken now says nothing about the call before.
        (vec![doubt(), retry()], true),
        (vec![retry(), doubt()], true),
        (vec![one(Outcome::Retry(None))], false),
        (vec![one(Outcome::InDoubt(None))], true),
        (vec![one(Outcome::Duplicate)], false),
    ] {
        let said = format!("{answers:?}");
        assert_eq!(is_held_after(answers), held, "{said}");
    }
}

#[test]
fn what_is_in_doubt_is_so_since_it_was_handed_over_first() {
    let doubt = || Err(in_doubt(None).into());
    let window = Duration::from_secs(20);
    assert!(!is_held_within(window, (0..2).map(|_| doubt()).collect()));
    assert!(is_held_within(window, (0..30).map(|_| doubt()).collect()));
}

#[test]
fn what_the_receiver_has_not_got_is_not_in_doubt_after_a_restart_either() {
    let one = |outcome| Ok(vec![exception(1, outcome)]);
    let (again, doubt) = (|| Err(retry(None).into()), || Err(in_doubt(None).into()));
    for (given, in_doubt) in [
        (vec![again()], false),
        (vec![doubt()], true),
        (vec![Err(trap().into())], true),
        (vec![one(Outcome::InDoubt(None))], true),
        // It has not got it now, and may have it from before.
        (vec![doubt(), again()], true),
        (vec![again(), again()], false),
    ] {
        let said = format!("{given:?}");
        let waits = given.len() - 1;
        let mut fake = answers(given);
        fake.dedup_window = Some(Duration::from_secs(60));
        let state = Arc::new(StateCell::new(SinkState::Working));
        let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
        let mut patience = Hurry { most: Some(waits), ..Hurry::default() };
        let mut books = Counts::default();
        assert!(delivery.deliver(0, batch(7, 2), None, &mut books, &mut patience).is_err());
        assert_eq!(books.doubt.is_some(), in_doubt, "{said}");
    }
}

#[test]
fn what_was_never_handed_over_is_not_held_however_long_no_instance_opens() {
    let mut fake = answers(Vec::new());
    fake.dedup_window = Some(Duration::from_nanos(1));
    fake.reopen = Box::new(|| Err(trap()));
    let state = Arc::new(StateCell::new(SinkState::Working));
    let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
    delivery.clock = Arc::new(Ticking::default());
    // It costs the instance, and there is not another one.
    assert!(delivery.captured().is_err());
    let mut patience = Hurry { most: Some(8), ..Hurry::default() };
    let mut books = Counts::default();
    assert!(delivery.deliver(0, batch(7, 2), None, &mut books, &mut patience).is_err());
    assert!(!matches!(state.get(), SinkState::Held { .. }), "{:?}", state.get());
    assert_eq!(books.doubt, None);
}

#[test]
fn after_many_failures_a_few_records_are_tried_until_they_get_through() {
    let again = || Err(retry(None).into());
    let came = deliver(answers((0..6).map(|_| again()).collect()), batch(0, 100));
    let sizes: Vec<_> = came.written().iter().map(Vec::len).collect();
    assert_eq!(sizes, [100, 100, 100, 100, 100, PROBE, PROBE, 100 - PROBE]);
    assert_eq!((came.counts, came.state), ([100, 0, 0, 0], SinkState::Working));
}

#[test]
fn where_order_does_not_matter_later_records_go_before_those_that_are_tried_again() {
    let first = vec![exception(0, Outcome::Retry(None))];
    let fake = answers(vec![Ok(first)]);
    let calls = fake.calls.clone();
    let state = Arc::new(StateCell::new(SinkState::Working));
    let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), false);
    let (mut books, mut patience) = (Counts::default(), Hurry::default());
    for position in [0, 2] {
        let batch = batch(position, 2);
        assert!(delivery.deliver(0, batch, None, &mut books, &mut patience).is_ok());
    }
    assert_eq!((patience.waits.len(), books.of(Fate::Delivered)), (0, 3));
    let due = delivery.deferred_until().unwrap();
    while Instant::now() < due {
        std::thread::yield_now();
    }
    assert!(matches!(delivery.deliver_deferred(&mut books, &mut patience), Ok(true)));
    assert_eq!((delivery.deferred_until(), books.of(Fate::Delivered)), (None, 4));
    let written: Vec<_> = calls.lock().unwrap().iter().map(written_positions).collect();
    assert_eq!(written, [vec![0, 1], vec![2, 3], vec![0]]);
}

fn written_positions(call: &Call) -> Vec<u64> {
    match call {
        Call::Write(records) => records.iter().map(|(position, _)| *position).collect(),
        Call::Flush | Call::Reopen => Vec::new(),
    }
}

#[test]
fn a_plugin_that_acknowledges_on_flush_gets_many_batches_before_it_and_none_counts_earlier() {
    let mut fake = answers(Vec::new());
    fake.acknowledges = Acknowledges::OnFlush;
    let mut failures = vec![Err(trap().into())].into_iter();
    fake.flush = Box::new(move || failures.next().unwrap_or(Ok(())));
    let calls = fake.calls.clone();
    let state = Arc::new(StateCell::new(SinkState::Working));
    let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
    let (mut books, mut patience) = (Counts::default(), Hurry::default());
    for position in 0..3 {
        let batch = batch(position, 1);
        assert!(delivery.deliver(0, batch, None, &mut books, &mut patience).is_ok());
    }
    assert_eq!(books.of(Fate::Delivered), 0);
    // The flush traps: all come again, one flush each, in order.
    assert!(delivery.settle_up(&mut books, &mut patience).is_ok());
    assert_eq!(books.of(Fate::Delivered), 3);
    let written: Vec<_> = calls.lock().unwrap().iter().flat_map(written_positions).collect();
    assert_eq!(written, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn of_what_the_receiver_has_refused_in_a_flush_nothing_is_in_doubt() {
    let again = || Err(retry(None).into());
    let doubt = || Err(in_doubt(None).into());
    for (answer, held) in [(again as fn() -> Result<(), CallError>, false), (doubt, true)] {
        let mut fake = answers(Vec::new());
        fake.acknowledges = Acknowledges::OnFlush;
        fake.dedup_window = Some(Duration::from_nanos(1));
        let mut first = Some(answer());
        fake.flush = Box::new(move || first.take().unwrap_or(Ok(())));
        let state = Arc::new(StateCell::new(SinkState::Working));
        let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
        delivery.clock = Arc::new(Ticking::default());
        let mut patience = Hurry { most: Some(8), ..Hurry::default() };
        let mut books = Counts::default();
        for position in 0..2 {
            let batch = batch(position, 1);
            assert!(delivery.deliver(0, batch, None, &mut books, &mut patience).is_ok());
        }
        let settled = delivery.settle_up(&mut books, &mut patience).is_ok();
        assert_eq!((settled, matches!(state.get(), SinkState::Held { .. })), (!held, held));
    }
}

#[test]
fn what_an_instance_had_taken_comes_again_where_another_call_ends_it_before_the_flush() {
    for more in [false, true] {
        let mut fake = answers(Vec::new());
        fake.acknowledges = Acknowledges::OnFlush;
        let calls = fake.calls.clone();
        let state = Arc::new(StateCell::new(SinkState::Working));
        let mut delivery = delivery(fake, &state, Arc::new(Lines::default()), true);
        let (mut books, mut patience) = (Counts::default(), Hurry::default());
        assert!(delivery.deliver(0, batch(0, 1), None, &mut books, &mut patience).is_ok());
        assert!(delivery.captured().is_err(), "it traps");
        if more {
            let next = batch(1, 1);
            assert!(delivery.deliver(0, next, None, &mut books, &mut patience).is_ok());
        }
        assert!(delivery.settle_up(&mut books, &mut patience).is_ok());
        let written: Vec<_> = calls.lock().unwrap().iter().flat_map(written_positions).collect();
        assert_eq!(written, if more { vec![0, 0, 1] } else { vec![0, 0] });
        assert_eq!(books.of(Fate::Delivered), written.len() as u64 - 1);
    }
}

/// What a plugin answers to one call.
#[derive(Debug, Clone)]
enum Action {
    /// An outcome for each record, over and over: 0 delivered, 1 duplicate, 2 retry, 3 retry with a
    /// hint, 4 rejected, 5 expired.
    Outcomes(Vec<u8>),
    Retry,
    Reject,
    Break,
    Trap,
    Panic,
    Spin,
    Wait,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => prop::collection::vec(0..6_u8, 1..9).prop_map(Action::Outcomes),
        1 => Just(Action::Retry),
        1 => Just(Action::Reject),
        1 => Just(Action::Break),
        3 => Just(Action::Trap),
        1 => Just(Action::Panic),
        1 => Just(Action::Spin),
        1 => Just(Action::Wait),
    ];
    prop::collection::vec(action, 0..24)
}

/// What must have become of each record, by what the plugin has answered.
#[derive(Default)]
struct Model {
    settled: BTreeMap<u64, u8>,
    /// How often each record has stopped the plugin while it was alone.
    stopped_alone: BTreeMap<u64, u32>,
}

impl Model {
    fn settle(&mut self, position: u64, outcome: u8) {
        assert_eq!(self.settled.insert(position, outcome), None, "{position} came again");
    }

    fn answer(&mut self, action: Action, batch: &Batch) -> Result<Vec<Exception>, CallError> {
        let positions = positions(batch);
        let stopped = |model: &mut Self| {
            if let [alone] = positions[..] {
                *model.stopped_alone.entry(alone).or_default() += 1;
            }
        };
        match action {
            Action::Outcomes(outcomes) => {
                let mut exceptions = Vec::new();
                for (index, &position) in positions.iter().enumerate() {
                    let outcome = outcomes[index % outcomes.len()];
                    let told = match outcome {
                        0 => None,
                        1 => Some(Outcome::Duplicate),
                        2 => Some(Outcome::Retry(None)),
                        3 => Some(Outcome::Retry(SOON)),
                        4 => Some(Outcome::Rejected("no".to_owned())),
                        _ => Some(Outcome::Expired),
                    };
                    if !matches!(outcome, 2 | 3) {
                        self.settle(position, outcome);
                    }
                    exceptions.extend(told.map(|outcome| Exception { index, outcome }));
                }
                Ok(exceptions)
            }
            Action::Retry => Err(retry(None).into()),
            Action::Reject => {
                positions.iter().for_each(|&position| self.settle(position, 4));
                Err(Failure::Rejected("no".to_owned()).into())
            }
            Action::Break => Err(Failure::Broken("x".to_owned()).into()),
            Action::Trap | Action::Panic => {
                stopped(self);
                Err(trap().into())
            }
            Action::Spin => {
                stopped(self);
                Err(timed_out(true).into())
            }
            Action::Wait => Err(timed_out(false).into()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_a_plugin_answers_each_record_ends_in_one_count(
        records in 1..40_u64,
        script in actions(),
    ) {
        let model = Arc::new(Mutex::new(Model::default()));
        let shared = model.clone();
        let mut script = script.into_iter();
        let fake = Fake::new(move |batch| {
            let action = script.next().unwrap_or(Action::Outcomes(vec![0]));
            let panics = matches!(action, Action::Panic);
            let mut model = shared.lock().unwrap();
            let answer = model.answer(action, batch);
            drop(model);
            assert!(!panics, "as scripted");
            answer
        });
        let came = deliver(fake, batch(1000, records));
        prop_assert!(came.finished);
        let model = model.lock().unwrap();
        let mut expected = [0; 4];
        for position in 1000..1000 + records {
            let count = match model.settled.get(&position) {
                Some(0) => 0,
                Some(1) => 1,
                Some(5) => 3,
                Some(_) => 2,
                None => {
                    let stops = model.stopped_alone.get(&position).copied();
                    prop_assert!(stops >= Some(STRIKES), "{} is lost: {:?}", position, stops);
                    2
                }
            };
            expected[count] += 1;
        }
        prop_assert_eq!(came.counts, expected);
        for written in came.written() {
            prop_assert!(written.windows(2).all(|two| two[0] + 1 == two[1]), "{:?}", written);
        }
    }

    #[test]
    fn records_that_stop_the_plugin_are_found_and_all_others_are_delivered_once_in_order(
        records in 1..600_u64,
        poison in prop::collection::btree_set(0..600_u64, 0..4),
    ) {
        let poison: BTreeSet<_> = poison.into_iter().filter(|at| *at < records).collect();
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let (shared, deadly) = (delivered.clone(), poison.clone());
        let fake = Fake::new(move |batch| {
            let positions = positions(batch);
            if positions.iter().any(|position| deadly.contains(position)) {
                return Err(trap().into());
            }
            shared.lock().unwrap().extend(positions);
            Ok(Vec::new())
        });
        let came = deliver(fake, batch(0, records));
        let rejected = poison.len() as u64;
        prop_assert_eq!(came.counts, [records - rejected, 0, rejected, 0]);
        let expected: Vec<_> = (0..records).filter(|at| !poison.contains(at)).collect();
        prop_assert_eq!(&*delivered.lock().unwrap(), &expected);
        prop_assert_eq!(came.lines(Level::Error).len(), poison.len());
        // The others must not wait long for the search, wherever the record is.
        prop_assert!(came.waits.iter().all(|wait| *wait <= FIRST_BACKOFF * 2), "{:?}", came.waits);
    }
}
