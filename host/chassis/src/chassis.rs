//! The whole: opened from a configuration, emitted to, closed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasink_journal::{
    BatchLimits, Directory, Durability, Log, LogOptions, Reader, Recovered, Writer,
};
use wasink_record::{
    Clock, CloudEvent, ControlEvent, Entry, IdSource, Record, Stream, SystemClock, Timestamp,
    UsageEvent,
};

use crate::actor::{Actor, Lane, Request};
use crate::config::{Config, ConfigErrors, OnOpenFailure, Order, SinkConfig, check_settings};
use crate::delivery::{Delivery, DeliveryParts};
use crate::directory::open_private;
use crate::error::{OpenError, SinkProblem};
use crate::intake::{self, Intake};
use crate::ledger::{LaneLedger, balance};
use crate::logger::{Level, Line, Logger, TracingLogger};
use crate::plugin::{Captured, Grants, OpenRequest, PluginVersion, Plugins, SinkPlugin};
use crate::recorder::Recorder;
use crate::status::{SinkState, SinkStatus, StateCell, Status};

/// Takes records in and delivers them to the sinks of its configuration.
///
/// Dropping a chassis closes it with a deadline of [`DROP_DEADLINE`].
pub struct Chassis {
    epoch: String,
    doors: BTreeMap<Stream, Door>,
    sinks: Vec<Sink>,
    logger: Arc<dyn Logger>,
    closed: AtomicBool,
}

/// How long a chassis that is dropped without [`Chassis::close`] tries to deliver what it has.
pub const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// How long an interrupted call may take to end. One that does not is left behind with its thread:
/// better than a program that can't end.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// How often a closing chassis looks whether what was accepted is in the journal.
const MOVER_POLL: Duration = Duration::from_millis(1);

/// Stands for deadlines that are too far away to be told.
const LONGEST_DEADLINE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A stream that some sink takes.
struct Door {
    intake: Arc<Intake>,
    mover: Mutex<Option<JoinHandle<()>>>,
}

/// The journal of a stream, opened.
struct Opening {
    log: Log,
    writer: Writer,
    beginning: u64,
}

/// A sink of the configuration.
struct Sink {
    name: String,
    plugin: String,
    version: Option<PluginVersion>,
    state: Arc<StateCell>,
    lanes: Vec<KnownLane>,
    /// Absent where the sink did not open.
    actor: Option<Actor>,
    /// Its readers, where nobody reads: they keep its place.
    #[expect(dead_code, reason = "they are kept for their place")]
    idle: Vec<Reader>,
}

/// What is known of a lane from outside.
struct KnownLane {
    log: Log,
    beginning: u64,
    retries: Arc<AtomicU64>,
}

/// What a chassis is joined with, besides its configuration.
#[derive(Clone)]
pub struct Parts {
    /// Where plugins come from.
    pub plugins: Arc<dyn Plugins>,
    /// Where log lines go.
    pub logger: Arc<dyn Logger>,
    /// What the time is.
    pub clock: Arc<dyn Clock>,
}

impl Parts {
    /// These plugins, the system's clock, and log lines to the `tracing` crate.
    pub fn new(plugins: Arc<dyn Plugins>) -> Self {
        Self { plugins, logger: Arc::new(TracingLogger), clock: Arc::new(SystemClock) }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// A sink whose plugin has been opened.
struct Opened<'a> {
    config: &'a SinkConfig,
    result: Result<Box<dyn SinkPlugin>, SinkProblem>,
}

impl Chassis {
    /// Opens every sink of `config` and starts to take records.
    ///
    /// A sink that does not open, and whose configuration says `degrade`, is left out: a line in the
    /// log and its state say so.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration and with the other sinks, together; nothing is left
    /// running then.
    pub fn open(config: &Config, parts: &Parts) -> Result<Self, OpenError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| OpenError::System(error.into()))?;
        let (seed, epoch) = random.split_at(8);
        let seed = seed.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        let ids = Arc::new(IdSource::new(seed));
        let epoch = self::epoch(&ids, parts.clock.now(), epoch);
        check_names(config, parts)?;
        // Before the sinks: two processes must not have one data directory.
        let journals = open_journals(config, parts)?;
        let opened = open_sinks(config, parts, &epoch)?;
        start(config, parts, epoch, &ids, journals, opened)
    }

    /// Records the endpoints of billable intervals.
    pub fn metering(&self) -> Recorder<Entry> {
        Recorder::new(self.intake(Stream::Metering))
    }

    /// Records finished units of work.
    pub fn usage(&self) -> Recorder<UsageEvent> {
        Recorder::new(self.intake(Stream::Usage))
    }

    /// Records control events.
    pub fn control(&self) -> Recorder<ControlEvent> {
        Recorder::new(self.intake(Stream::Control))
    }

    /// Records CloudEvents.
    pub fn events(&self) -> Recorder<CloudEvent> {
        Recorder::new(self.intake(Stream::Events))
    }

    /// Records of `stream`, for doors that learn the stream while running. A record of another stream
    /// is dropped and counted.
    pub fn recorder(&self, stream: Stream) -> Recorder<Record> {
        Recorder::new(self.intake(stream))
    }

    /// How everything is doing, at this moment.
    pub fn status(&self) -> Status {
        let mut sinks: Vec<_> = self.sinks.iter().map(Sink::status).collect();
        let mut streams: Vec<_> = self.doors.values().map(|door| door.intake.ledger()).collect();
        for stream in &mut streams {
            let lanes = sinks.iter_mut().flat_map(|sink| &mut sink.lanes);
            let mut lanes: Vec<_> = lanes.filter(|lane| lane.stream == stream.stream).collect();
            balance(stream, &mut lanes);
        }
        Status { epoch: self.epoch.clone(), streams, sinks }
    }

    /// What the named sink has kept, where its plugin is one that keeps records for tests.
    ///
    /// Waits until the sink is between two batches. `None` where there is no such sink, its plugin
    /// keeps nothing, it does not answer, or it is closed.
    pub fn captured(&self, sink: &str) -> Option<Vec<Captured>> {
        self.actor(sink)?.ask(Request::Captured)?.ok()?
    }

    /// Makes such a sink forget; false where [`captured`](Self::captured) would give `None`.
    pub fn reset_captured(&self, sink: &str) -> bool {
        let answer = || self.actor(sink)?.ask(Request::ResetCaptured)?.ok();
        answer().unwrap_or(false)
    }

    /// Takes nothing more, delivers what there is, flushes and closes every sink, and returns how it
    /// all ended. What could not be delivered within `deadline` shows as pending.
    ///
    /// Blocks. A call of a plugin that is under way at the deadline is ended. Closing again changes
    /// nothing, and does not wait for a close that is under way.
    pub fn close(&self, deadline: Duration) -> Status {
        if self.closed.swap(true, Ordering::SeqCst) {
            return self.status();
        }
        let now = Instant::now();
        let deadline = now.checked_add(deadline).unwrap_or(now + LONGEST_DEADLINE);
        self.doors.values().for_each(|door| door.intake.close());
        let actors = || self.sinks.iter().filter_map(|sink| sink.actor.as_ref());
        actors().for_each(|actor| actor.close_by(deadline));
        let late: Vec<_> = actors().filter(|actor| !actor.join(deadline)).collect();
        late.iter().for_each(|actor| actor.interrupt());
        for actor in late {
            actor.join(deadline + INTERRUPT_GRACE);
        }
        for door in self.doors.values() {
            let mut mover = door.mover.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(mover) = mover.take() else { continue };
            while !mover.is_finished() && Instant::now() < deadline {
                std::thread::park_timeout(MOVER_POLL);
            }
            // With nobody left to read, a mover that waits for room would wait for ever.
            door.intake.abandon();
            // A panic in the thread has been printed; there is nothing to add.
            drop(mover.join());
        }
        let status = self.status();
        self.log_pending(&status);
        status
    }

    fn intake(&self, stream: Stream) -> Option<Arc<Intake>> {
        self.doors.get(&stream).map(|door| door.intake.clone())
    }

    fn actor(&self, sink: &str) -> Option<&Actor> {
        self.sinks.iter().find(|candidate| candidate.name == sink)?.actor.as_ref()
    }

    /// Says in the log which records were left.
    fn log_pending(&self, status: &Status) {
        for sink in &status.sinks {
            for lane in sink.lanes.iter().filter(|lane| lane.pending > 0) {
                self.logger.log(&Line {
                    level: Level::Error,
                    sink: Some(&sink.name),
                    message: "closed with records that are not delivered yet",
                    fields: &[
                        ("stream".to_owned(), lane.stream.as_str().into()),
                        ("records".to_owned(), lane.pending.into()),
                    ],
                });
            }
        }
    }
}

impl Sink {
    /// How it is doing; what is pending is filled in later.
    fn status(&self) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            plugin: self.plugin.clone(),
            version: self.version.clone(),
            state: self.state.get(),
            lanes: self.lanes.iter().filter_map(|lane| lane.ledger(&self.name)).collect(),
        }
    }
}

impl KnownLane {
    fn ledger(&self, sink: &str) -> Option<LaneLedger> {
        let lane = self.log.lane(sink)?;
        let retries = self.retries.load(Ordering::Relaxed);
        Some(LaneLedger::new(self.log.stream(), &lane, self.beginning, retries))
    }
}

impl Drop for Chassis {
    fn drop(&mut self) {
        self.close(DROP_DEADLINE);
    }
}

impl std::fmt::Debug for Chassis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chassis").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Finds everything that would keep [`Chassis::open`] from opening, short of opening a sink: plugins
/// are loaded and asked to describe themselves, settings are checked, nothing is made on disk.
///
/// # Errors
///
/// All that is wrong, together. A sink that may be left out when it does not open counts as well.
pub fn check(config: &Config, parts: &Parts) -> Result<(), OpenError> {
    check_names(config, parts)?;
    let check = |sink| check_sink(sink, parts).err();
    let problems: Vec<_> = config.sinks.iter().filter_map(check).collect();
    if problems.is_empty() { Ok(()) } else { Err(OpenError::Sinks(problems)) }
}

/// Whether there are the plugins that are named. Where not, the sinks of the others are checked all
/// the same, so that all that is wrong is told together.
fn check_names(config: &Config, parts: &Parts) -> Result<(), OpenError> {
    let known = parts.plugins.names();
    let names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let Err(errors) = ConfigErrors::check(config.check_plugins(&names)) else { return Ok(()) };
    let named = config.sinks.iter().filter(|sink| known.contains(&sink.plugin));
    let problems: Vec<_> = named.filter_map(|sink| check_sink(sink, parts).err()).collect();
    if problems.is_empty() {
        return Err(OpenError::Config(errors));
    }
    let names = [SinkProblem::Settings(errors)];
    Err(OpenError::Sinks(names.into_iter().chain(problems).collect()))
}

/// Whether the sink's plugin is there, takes its streams and accepts its settings.
fn check_sink(sink: &SinkConfig, parts: &Parts) -> Result<(), SinkProblem> {
    let description =
        parts.plugins.describe(&sink.plugin).map_err(|e| SinkProblem::plugin(sink, e))?;
    for stream in &sink.streams {
        if !description.streams.contains(stream) {
            return Err(SinkProblem::stream(sink, *stream, &description.streams));
        }
    }
    if let Some(schema) = &description.settings_schema {
        check_settings(schema, sink).or_else(ConfigErrors::check).map_err(SinkProblem::Settings)?;
    }
    Ok(())
}

/// Opens all sinks, so that all that is wrong is told together.
fn open_sinks<'a>(
    config: &'a Config,
    parts: &Parts,
    epoch: &str,
) -> Result<Vec<Opened<'a>>, OpenError> {
    let mut opened = Vec::new();
    let mut problems = Vec::new();
    for sink in &config.sinks {
        match (open_sink(config, sink, parts, epoch), sink.on_open_failure) {
            (Err(problem), OnOpenFailure::Refuse) => problems.push(problem),
            (result, _) => opened.push(Opened { config: sink, result }),
        }
    }
    if problems.is_empty() { Ok(opened) } else { Err(OpenError::Sinks(problems)) }
}

/// The name of a start: no other has the same.
pub(crate) fn epoch(ids: &IdSource, now: Timestamp, random: &[u8]) -> String {
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{random}", ids.next(now))
}

pub(crate) fn open_sink(
    config: &Config,
    sink: &SinkConfig,
    parts: &Parts,
    epoch: &str,
) -> Result<Box<dyn SinkPlugin>, SinkProblem> {
    check_sink(sink, parts)?;
    let directory = open_private(&sink.directory).map_err(|e| SinkProblem::directory(sink, e))?;
    let request = OpenRequest {
        plugin: sink.plugin.clone(),
        name: sink.name.clone(),
        node_id: config.node_id.clone(),
        epoch: epoch.to_owned(),
        settings: serde_json::Value::Object(sink.settings.clone()).to_string(),
        timeout: sink.timeout,
        grants: Grants { directory: Some(Arc::new(directory)), stderr: sink.stderr() },
        logger: parts.logger.clone(),
    };
    parts.plugins.open(request).map_err(|e| SinkProblem::plugin(sink, e))
}

/// Opens the journals of the streams that somebody takes.
fn open_journals(config: &Config, parts: &Parts) -> Result<BTreeMap<Stream, Opening>, OpenError> {
    let source: Arc<str> = format!("wasink/{}", config.node_id).into();
    let mut journals = BTreeMap::new();
    for stream in Stream::ALL {
        let taken = config.sinks.iter().any(|sink| sink.streams.contains(&stream));
        let Some(journal) = config.journal(stream).filter(|_| taken) else { continue };
        let options = LogOptions {
            stream,
            source: source.clone(),
            durability: journal.durability,
            bytes: journal.bytes.get(),
            segment_bytes: journal.segment.get(),
            memory: config.queue.bytes.get(),
        };
        if journal.durability == Durability::Memory {
            // Positions only ever grow, also from one start to the next: plugins rely on it.
            let beginning = u64::try_from(parts.clock.now().unix_nanos() / 1000).unwrap_or(0);
            let options = LogOptions { bytes: config.queue.bytes.get(), ..options };
            let (log, writer) = Log::in_memory(options, beginning);
            journals.insert(stream, Opening { log, writer, beginning });
            continue;
        }
        let problem = |source| OpenError::Journal { directory: journal.directory.clone(), source };
        let directory = open_private(&journal.directory).map_err(|error| problem(error.into()))?;
        let storage = Arc::new(Directory::new(directory));
        let (log, writer, recovered) = Log::open(storage, options).map_err(problem)?;
        tell_recovered(stream, &recovered, parts);
        journals.insert(stream, Opening { log, writer, beginning: 0 });
    }
    Ok(journals)
}

/// Says what a journal was found to hold, where there is something to say.
fn tell_recovered(stream: Stream, recovered: &Recovered, parts: &Parts) {
    let say = |level, message, fields: &[(&str, u64)]| {
        let name = ("stream".to_owned(), stream.as_str().into());
        let fields = fields.iter().map(|(key, count)| ((*key).to_owned(), (*count).into()));
        let fields: Vec<_> = std::iter::once(name).chain(fields).collect();
        parts.logger.log(&Line { level, sink: None, message, fields: &fields });
    };
    for (sink, pending) in recovered.pending.iter().filter(|(_, pending)| *pending > 0) {
        parts.logger.log(&Line {
            level: Level::Info,
            sink: Some(sink),
            message: "going on with records from before",
            fields: &[
                ("stream".to_owned(), stream.as_str().into()),
                ("records".to_owned(), (*pending).into()),
            ],
        });
    }
    if recovered.unfinished {
        let message = "the last write was not finished; nobody was told that it was";
        say(Level::Info, message, &[]);
    }
    if recovered.damaged_bytes > 0 {
        let message = "the journal's end is damaged; what is left of it is beside it, in files \
                       named `quarantine-`";
        say(Level::Error, message, &[("bytes", recovered.damaged_bytes)]);
    }
    if recovered.damaged_lines > 0 {
        let message = "notes of what became of records are damaged: those records come again";
        say(Level::Error, message, &[("notes", recovered.damaged_lines)]);
    }
}

/// Opens the doors of the streams that somebody takes, and starts the sinks.
fn start(
    config: &Config,
    parts: &Parts,
    epoch: String,
    ids: &Arc<IdSource>,
    mut journals: BTreeMap<Stream, Opening>,
    opened: Vec<Opened<'_>>,
) -> Result<Chassis, OpenError> {
    let mut chassis = Chassis {
        epoch,
        doors: BTreeMap::new(),
        sinks: Vec::new(),
        logger: parts.logger.clone(),
        closed: AtomicBool::new(false),
    };
    // Every lane is there before the first record is.
    let mut places = Vec::new();
    for Opened { config: sink, result } in opened {
        let mut lanes = Vec::new();
        let mut known = Vec::new();
        for stream in &sink.streams {
            let Some(Opening { log, beginning, .. }) = journals.get(stream) else { continue };
            let problem = |source| SinkProblem::Lane { sink: sink.name.clone(), source };
            let reader = log
                .reader(&sink.name, sink.when_full, sink.max_pending.get())
                .map_err(|error| OpenError::Sinks(vec![problem(error)]))?;
            let limits = BatchLimits {
                records: sink.batch.records,
                bytes: sink.batch.bytes,
                age: sink.batch.age,
            };
            let retries = Arc::new(AtomicU64::new(0));
            let beginning = *beginning;
            known.push(KnownLane { log: log.clone(), beginning, retries: retries.clone() });
            lanes.push(Lane { reader, limits, retries, unread: 0 });
        }
        places.push((sink, result, lanes, known));
    }
    for (stream, Opening { log, writer, beginning }) in std::mem::take(&mut journals) {
        tell_orphans(stream, &log, parts);
        let Some(journal) = config.journal(stream) else { continue };
        let options = intake::Options {
            queue: config.queue.records,
            waiting: config.queue.bytes.get(),
            record: usize::try_from(journal.record.get()).unwrap_or(usize::MAX),
            window: journal.window,
            ids: ids.clone(),
            clock: parts.clock.clone(),
            logger: parts.logger.clone(),
        };
        let (intake, mover) =
            Intake::open(writer, beginning, options).map_err(OpenError::System)?;
        let mover = Mutex::new(Some(mover));
        chassis.doors.insert(stream, Door { intake, mover });
    }
    for (sink, result, lanes, known) in places {
        chassis.sinks.push(start_sink(sink, result, lanes, known, parts)?);
    }
    Ok(chassis)
}

/// Says which records nobody is there for any more.
fn tell_orphans(stream: Stream, log: &Log, parts: &Parts) {
    for (sink, records) in log.orphans().into_iter().filter(|(_, records)| *records > 0) {
        parts.logger.log(&Line {
            level: Level::Warn,
            sink: Some(&sink),
            message: "this sink is not configured any more, and has records that are not \
                      delivered; they are kept until their room is needed",
            fields: &[
                ("stream".to_owned(), stream.as_str().into()),
                ("records".to_owned(), records.into()),
            ],
        });
    }
}

fn start_sink(
    config: &SinkConfig,
    result: Result<Box<dyn SinkPlugin>, SinkProblem>,
    lanes: Vec<Lane>,
    known: Vec<KnownLane>,
    parts: &Parts,
) -> Result<Sink, OpenError> {
    let name = config.name.clone();
    let (version, state, actor, idle) = match result {
        Ok(plugin) => {
            let version = plugin.version();
            let state = Arc::new(StateCell::new(SinkState::Working));
            let delivery = Delivery::new(DeliveryParts {
                sink: name.clone(),
                name: config.plugin.clone(),
                plugin,
                state: state.clone(),
                logger: parts.logger.clone(),
                clock: parts.clock.clone(),
                ordered: config.order == Order::Held,
            });
            let actor = Actor::start(delivery, lanes).map_err(OpenError::System)?;
            (Some(version), state, Some(actor), Vec::new())
        }
        Err(problem) => {
            let reason = problem.to_string();
            parts.logger.log(&Line {
                level: Level::Warn,
                sink: Some(&name),
                message: "sink did not open, going on without it; its records are kept for it",
                fields: &[("reason".to_owned(), reason.clone().into())],
            });
            let idle = lanes.into_iter().map(|lane| lane.reader).collect();
            (None, Arc::new(StateCell::new(SinkState::Degraded { reason })), None, idle)
        }
    };
    Ok(Sink { name, plugin: config.plugin.to_string(), version, state, lanes: known, actor, idle })
}
