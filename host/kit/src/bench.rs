//! What a plugin costs, side by side with one that does nothing.
//!
//! Machines differ, and the same machine from one second to the next. So the plugin and `nop` take
//! turns, and what is told first is how the one compares with the other.

mod figure;
mod load;
mod text;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use wasink_chassis::plugin::Acknowledges;
use wasink_record::Stream;
use wasink_wasm::{ViewCount, ViewCounts, World};

use crate::place::Place;
use crate::subject::{Subject, host, host_with, place_in};
use crate::{KitError, Trial, feed};

pub use figure::{Compared, Figure};

use load::{Done, Foreman, Kind, Opened};

/// As many records as a call gets.
const SIZES: [usize; 3] = [1, 64, 1_024];
/// As many rounds as the time is parted into, beside the first one, which warms up.
const ROUNDS: u32 = 15;
/// As many records as a turn has at the most: they are made before it.
const MOST_RECORDS: usize = 32_768;
/// As many records as it gets in all: a sink may keep them on a disk.
const ENOUGH_RECORDS: u64 = 2_000_000;
/// As many events as a source is to have.
const EVENTS: usize = 1_024;

/// What is to be measured, and for how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bench {
    /// The plugin, with settings and grants as for a trial.
    pub trial: Trial,
    /// For each kind of plugin the component that does nothing.
    pub nops: Vec<(World, &'static [u8])>,
    /// How long it may take. One call that is under way when it is over is waited for, and everything is
    /// tried once. Default: 10 s.
    pub time: Duration,
}

impl Bench {
    /// Measures what is to be tried, with the defaults.
    pub fn new(trial: Trial, nops: Vec<(World, &'static [u8])>) -> Self {
        Self { trial, nops, time: Duration::from_secs(10) }
    }
}

/// What a plugin costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// The file.
    pub file: String,
    /// `sha256:` and the lowercase hexadecimal digest of the file.
    pub digest: String,
    /// What it can be used as.
    pub world: World,
    /// Its own version.
    pub version: String,
    /// How long it took to measure.
    pub seconds: f64,
    /// What calls cost.
    pub costs: Vec<Cost>,
    /// Which views a sink asked for.
    pub views: Vec<Asked>,
    /// What it takes to have an instance.
    pub start: Vec<Started>,
    /// The memory of an instance.
    pub memory: Memories,
}

/// What calls of one kind cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// The function of the contract.
    pub call: &'static str,
    /// The stream of the records, where there are several.
    pub stream: Option<Stream>,
    /// How many records a call gets, or how many events a poll gives at the most; 0 for a poll that finds
    /// nothing.
    pub size: usize,
    /// How often it was called.
    pub calls: u64,
    /// How many records that were in all.
    pub records: u64,
    /// How many of them were not simply delivered.
    pub exceptions: u64,
    /// At the median; `None` where there are no records, or nothing was measured.
    pub records_per_second: Option<f64>,
    /// Nanoseconds on the wall for each record; for each call where there are no records.
    pub wall: Option<Compared>,
    /// The same of CPU time of the thread on which the plugin runs; `None` where that can't be told.
    pub cpu: Option<Compared>,
    /// Why it was not measured to the end.
    pub failed: Option<String>,
}

/// How a sink got at records of a stream, seen in a run of its own: counting costs time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// The stream.
    pub stream: Stream,
    /// How many batches it was given: of 1, 64 and 1024 records.
    pub batches: u64,
    /// How many records.
    pub records: u64,
    /// The view, how often it was asked for, and what came of it.
    #[serde(flatten)]
    pub count: ViewCount,
}

/// What it takes to have an instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Started {
    /// What: `compile`, `load` from compiled code in the cache, `open` of an instance.
    pub what: &'static str,
    /// Nanoseconds.
    pub wall: Option<Compared>,
}

/// The memory of instances.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memories {
    /// The plugin's.
    pub subject: Memory,
    /// That of `nop`.
    pub nop: Memory,
}

/// The memory of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Bytes once it is open.
    pub opened: u64,
    /// Bytes once it has had some of everything.
    pub warm: u64,
    /// The most that it had.
    pub peak: u64,
    /// What came on top once it was warm.
    pub growth: u64,
}

impl Memory {
    fn see(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes);
        self.growth = self.peak.saturating_sub(self.warm);
    }
}

/// Measures a plugin. Blocks for about as long as it may.
///
/// # Errors
///
/// What keeps it from being measured: it is no plugin, or it does not open.
pub fn measure(bench: &Bench) -> Result<BenchReport, KitError> {
    let begun = Instant::now();
    let trial = &bench.trial;
    let subject = Side::new(trial)?;
    let world = subject.subject.world;
    let nop = bench.nops.iter().find(|(of, _)| *of == world);
    let nop = nop.ok_or_else(|| KitError::Host(format!("there is no {world} to compare with")))?;
    let folder = tempfile::Builder::new().prefix("wasink-kit-").tempdir()?;
    let file = folder.path().join("nop.wasm");
    std::fs::write(&file, nop.1)?;
    let mut idle = Trial::new(file);
    (idle.limits, idle.timeout) = (trial.limits, trial.timeout);
    let nop = Side::new(&idle)?;
    let report = BenchReport {
        file: trial.file.display().to_string(),
        digest: subject.digest.clone(),
        world,
        version: subject.subject.description.version.clone(),
        seconds: 0.0,
        costs: Vec::new(),
        views: Vec::new(),
        start: Vec::new(),
        memory: Memories::default(),
    };
    let mut pair = Pair { subject, nop, foreman: Foreman::new(), report };
    pair.starts(bench.time)?;
    pair.views(trial)?;
    // Compiling may have taken longer than there is time for, and is none of the calls' business.
    pair.calls(trial, Instant::now() + bench.time)?;
    pair.report.seconds = begun.elapsed().as_secs_f64();
    Ok(pair.report)
}

/// One of the two that take turns.
struct Side {
    subject: Subject,
    place: Place,
    trial: Trial,
    digest: String,
}

/// Both of them, and what is known so far.
struct Pair {
    subject: Side,
    nop: Side,
    foreman: Foreman,
    report: BenchReport,
}

impl Side {
    fn new(trial: &Trial) -> Result<Self, KitError> {
        let failed = |error: &dyn std::fmt::Display| KitError::Host(error.to_string());
        std::fs::metadata(&trial.file)?;
        let scratch = tempfile::Builder::new().prefix("wasink-kit-").tempdir()?;
        let plugins = host(scratch.path(), trial)?;
        let report = plugins.report_file(&trial.file).map_err(|error| failed(&error))?;
        let description = report.description.ok_or_else(|| failed(&"it describes nothing"))?;
        let world = report.inspection.world;
        place_in(scratch.path(), &trial.file, world)?;
        let mut subject = Subject::new(scratch, plugins, world, description, trial);
        let place = subject.place()?;
        Ok(Self { subject, place, trial: trial.clone(), digest: report.digest })
    }

    fn open(&self) -> Result<Opened, KitError> {
        Ok(Opened::new(&self.subject, &self.place)?)
    }

    /// How long it takes to compile and describe it with compiled code in `cache`, by a host that has not
    /// seen it before.
    fn load(&self, cache: &Path) -> Result<f64, KitError> {
        let plugins = host_with(self.subject.scratch(), &self.trial, cache, None, None)?;
        let begun = Instant::now();
        self.subject.load(&plugins)?;
        Ok(nanoseconds(begun.elapsed()))
    }

    fn cold_and_warm(&self, round: usize) -> Result<(f64, f64), KitError> {
        let cache = self.subject.scratch().join(format!("cold-{round}"));
        let times = (self.load(&cache)?, self.load(&cache)?);
        // The cache's own thread may still write there; what is left goes with all the rest.
        drop(std::fs::remove_dir_all(&cache));
        Ok(times)
    }
}

/// Both in turns, who goes first alternating.
fn in_turns<T, E>(
    round: usize,
    subject: impl FnOnce() -> Result<T, E>,
    nop: impl FnOnce() -> Result<T, E>,
) -> Result<(T, T), E> {
    if round.is_multiple_of(2) {
        let subject = subject()?;
        Ok((subject, nop()?))
    } else {
        let nop = nop()?;
        Ok((subject()?, nop))
    }
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

fn reopened(opened: &mut Opened) -> Result<f64, KitError> {
    opened.close().map_err(KitError::Host)?;
    let begun = Instant::now();
    opened.reopen().map_err(KitError::Host)?;
    Ok(nanoseconds(begun.elapsed()))
}

impl Pair {
    /// What it takes to have an instance: no more than half of the time, and each at least once.
    fn starts(&mut self, time: Duration) -> Result<(), KitError> {
        let (mut cold, mut warm, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        let begun = Instant::now();
        for round in 0..7 {
            let (subject, nop) = in_turns(
                round,
                || self.subject.cold_and_warm(round),
                || self.nop.cold_and_warm(round),
            )?;
            cold.push((subject.0, nop.0));
            warm.push((subject.1, nop.1));
            if begun.elapsed() > time / 3 {
                break;
            }
        }
        let (mut subject, mut nop) = (self.subject.open()?, self.nop.open()?);
        let begun = Instant::now();
        for round in 0..50 {
            let times = in_turns(round, || reopened(&mut subject), || reopened(&mut nop))?;
            opened.push(times);
            if begun.elapsed() > time / 10 {
                break;
            }
        }
        self.report.memory.subject.opened = subject.memory();
        self.report.memory.nop.opened = nop.memory();
        subject.close().and_then(|()| nop.close()).map_err(KitError::Host)?;
        let started = [("compile", cold), ("load", warm), ("open", opened)];
        let started = started.map(|(what, pairs)| Started { what, wall: Compared::of(&pairs) });
        self.report.start = started.into();
        Ok(())
    }

    /// Which views it asks for, by a host that counts.
    fn views(&mut self, trial: &Trial) -> Result<(), KitError> {
        if self.report.world != World::Sink {
            return Ok(());
        }
        let counts = ViewCounts::default();
        let scratch = self.subject.subject.scratch().to_owned();
        let counting =
            host_with(&scratch, trial, &scratch.join("cache"), Some(counts.clone()), None)?;
        let subject = &mut self.subject.subject;
        let place = subject.place()?;
        let plain = subject.exchange(counting);
        let opened = Opened::new(subject, &place);
        subject.exchange(plain);
        let mut opened = opened?;
        let description = subject.description.clone();
        counts.take();
        for stream in description.streams.iter().copied() {
            let (mut batches, mut records) = (0, 0);
            for size in SIZES {
                let work = self.foreman.work(Kind::Write(stream), size, 1);
                let work = work.map_err(KitError::Host)?;
                // What fails is told where it is measured.
                match opened.spend(&work, description.acknowledges) {
                    Ok(done) => (batches, records) = (batches + 1, records + done.records),
                    Err(_) => {
                        if opened.reopen().is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            let asked = |count| Asked { stream, batches, records, count };
            self.report.views.extend(counts.take().into_iter().map(asked));
        }
        drop(opened.close());
        Ok(())
    }

    /// What calls cost, measured until then.
    fn calls(&mut self, trial: &Trial, until: Instant) -> Result<(), KitError> {
        let mut rows = self.rows(trial)?;
        let acknowledges = self.subject.subject.description.acknowledges;
        let mut open = (self.subject.open()?, self.nop.open()?);
        let mut records = 0;
        for round in 0.. {
            for index in 0..rows.len() {
                let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
                let Some(row) = rows.get_mut(index).filter(|row| row.failed.is_none()) else {
                    continue;
                };
                let left = until.saturating_duration_since(Instant::now());
                if round > 0 && (left.is_zero() || records > ENOUGH_RECORDS) {
                    break;
                }
                if round == 1 {
                    // The first of the rounds that count finds out how long a turn may be.
                    row.calls_a_turn = row.most_calls(left / (count * ROUNDS));
                }
                match row.turn(round, &mut self.foreman, &mut open, acknowledges) {
                    Ok(done) => records += done.records,
                    Err(reason) => {
                        row.failed = Some(reason);
                        // It may be gone.
                        open.0 = self.subject.open()?;
                    }
                }
                self.subject.place.forget();
                self.nop.place.forget();
                let Memories { subject, nop } = &mut self.report.memory;
                if round == 0 {
                    (subject.warm, nop.warm) = (open.0.memory(), open.1.memory());
                }
                subject.see(open.0.memory());
                nop.see(open.1.memory());
            }
            let is_over = Instant::now() >= until || records > ENOUGH_RECORDS;
            if is_over || rows.iter().all(|row| row.failed.is_some()) {
                break;
            }
        }
        self.report.costs = rows.into_iter().map(Row::cost).collect();
        Ok(())
    }

    /// All that is called.
    fn rows(&self, trial: &Trial) -> Result<Vec<Row>, KitError> {
        let subject = &self.subject.subject;
        let streams = &subject.description.streams;
        Ok(match subject.world {
            World::Sink => {
                let of = |stream: &Stream| SIZES.map(|size| Row::new(Kind::Write(*stream), size));
                streams.iter().flat_map(of).collect()
            }
            World::FeedSink => SIZES.map(|size| Row::new(Kind::Append, size)).into(),
            World::FeedSource => {
                let filled = feed::fill(subject, &self.subject.place, trial, EVENTS);
                let filled = filled.map_err(KitError::Host)?;
                let last = filled.last().map_or(0, |(_, version)| *version);
                let mut rows = vec![Row { is_empty: true, ..Row::new(Kind::Poll(last), 1) }];
                if last > 0 {
                    rows.extend(SIZES.map(|size| Row::new(Kind::Poll(0), size)));
                }
                rows
            }
        })
    }
}

/// Calls of one kind, round by round.
struct Row {
    kind: Kind,
    size: usize,
    /// A poll that is to find nothing.
    is_empty: bool,
    calls_a_turn: usize,
    /// What one call took of both, with all that is made ready for it.
    one: Duration,
    calls: u64,
    records: u64,
    exceptions: u64,
    wall: Vec<(f64, f64)>,
    cpu: Vec<(f64, f64)>,
    failed: Option<String>,
}

impl Row {
    fn new(kind: Kind, size: usize) -> Self {
        Self {
            kind,
            size,
            is_empty: false,
            calls_a_turn: 8_usize.div_ceil(size),
            one: Duration::ZERO,
            calls: 0,
            records: 0,
            exceptions: 0,
            wall: Vec::new(),
            cpu: Vec::new(),
            failed: None,
        }
    }

    /// As many calls as fit into a slot of time.
    fn most_calls(&self, slot: Duration) -> usize {
        let fitting = slot.as_nanos() / self.one.as_nanos().max(1);
        let most = (MOST_RECORDS / self.size).max(1);
        usize::try_from(fitting).unwrap_or(most).clamp(1, most)
    }

    /// A turn of both. The first warms up.
    fn turn(
        &mut self,
        round: usize,
        foreman: &mut Foreman,
        open: &mut (Opened, Opened),
        acknowledges: Acknowledges,
    ) -> Result<Done, String> {
        let begun = Instant::now();
        let calls = self.calls_a_turn;
        let work = foreman.work(self.kind, self.size, calls)?;
        let (subject, nop) =
            in_turns(round, || open.0.spend(&work, acknowledges), || open.1.spend_often(&work))?;
        self.one = begun.elapsed() / u32::try_from(calls).unwrap_or(u32::MAX).max(1);
        if self.is_empty && subject.records > 0 {
            return Err("there were events where there was to be none".to_owned());
        }
        if round == 1 {
            // The one that warmed up stands only where there is no other.
            (self.calls, self.records, self.exceptions) = (0, 0, 0);
            self.wall.clear();
            self.cpu.clear();
        }
        self.calls += calls as u64;
        self.records += subject.records;
        self.exceptions += subject.exceptions;
        #[expect(clippy::cast_precision_loss, reason = "a turn has not that many")]
        let each = if subject.records > 0 { subject.records as f64 } else { calls as f64 };
        self.wall.push((nanoseconds(subject.wall) / each, nanoseconds(nop.wall) / each));
        if let (Some(subject), Some(nop)) = (subject.cpu, nop.cpu) {
            self.cpu.push((nanoseconds(subject) / each, nanoseconds(nop) / each));
        }
        Ok(subject)
    }

    fn cost(self) -> Cost {
        let wall = Compared::of(&self.wall);
        let rate = wall.filter(|wall| self.records > 0 && wall.subject.median > 0.0);
        let stream = match self.kind {
            Kind::Write(stream) => Some(stream),
            Kind::Append | Kind::Poll(_) => None,
        };
        Cost {
            call: self.kind.call(),
            stream,
            size: if self.is_empty { 0 } else { self.size },
            calls: self.calls,
            records: self.records,
            exceptions: self.exceptions,
            records_per_second: rate.map(|wall| 1e9 / wall.subject.median),
            wall,
            cpu: Compared::of(&self.cpu),
            failed: self.failed,
        }
    }
}
