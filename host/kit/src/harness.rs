//! A plugin under an author's own tests.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasink_chassis::feed::{FeedSink, FeedSource};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{Description, SinkPlugin};
use wasink_journal::Batch;
use wasink_record::{Clock, IdSource, Stamped, Stream, SystemClock, Timestamp, parse_line};

use crate::place::Place;
use crate::subject::{Subject, cache, host_with, place_in};
use crate::{KitError, Trial};

/// Runs a component as the daemon runs it, in the process of a test: with a directory that nobody else
/// has, the settings and grants of a [`Trial`], and the time that the test says it is.
///
/// What a plugin is to reach is the test's own, on 127.0.0.1, and granted like anywhere:
/// `wasink_guest::testing::http` has a receiver for HTTP that behaves as badly as it is told. Where the
/// plugin's settings leave open where it sends to, something takes it all. Instances live as long as
/// the harness or longer, files as long as the harness.
///
/// ```no_run
/// use wasink_chassis::plugin::Outcome;
/// use wasink_kit::{Harness, Trial};
/// use wasink_record::Stream;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut trial = Trial::new("tally.wasm");
/// trial.settings.insert("file".to_owned(), "usage.jsonl".into());
/// let mut harness = Harness::new(&trial)?;
/// let batch = harness.batch(Stream::Usage, &[r#"{"rid":"r-1","tenant":"acme","src":"http",
///     "stack":"shop","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3}"#])?;
///
/// let mut sink = harness.sink()?;
/// // What the answer does not name is delivered.
/// assert_eq!(sink.write(&batch)?, []);
/// sink.flush()?;
/// // Killed, and the same again, as after a crash:
/// sink.reopen()?;
/// assert_eq!(sink.write(&batch)?[0].outcome, Outcome::Duplicate);
/// sink.close()?;
/// assert!(harness.directory().join("usage.jsonl").exists());
/// # Ok(())
/// # }
/// ```
pub struct Harness {
    subject: Subject,
    place: Place,
    clock: Arc<Told>,
    log: Arc<Kept>,
    ids: IdSource,
    /// The position of the next record.
    position: u64,
}

impl Harness {
    /// Looks at the component, and has it describe itself. Of the trial, `rounds`, `records` and
    /// `feed_sink` are of no interest here.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or with what it says about itself.
    pub fn new(trial: &Trial) -> Result<Self, KitError> {
        let scratch = tempfile::Builder::new().prefix("wasink-harness-").tempdir()?;
        let cache = cache(scratch.path(), trial);
        let clock = Arc::new(Told::default());
        let plugins = host_with(scratch.path(), trial, &cache, None, Some(clock.clone()))?;
        let report = plugins.report_file(&trial.file);
        let report = report.map_err(|error| KitError::Host(error.to_string()))?;
        let world = report.inspection.world;
        let description = report.description;
        let description =
            description.ok_or_else(|| KitError::Host("it does not describe itself".to_owned()))?;
        place_in(scratch.path(), &trial.file, world)?;
        let log = Arc::new(Kept::default());
        let mut subject = Subject::new(scratch, plugins, world, description, trial);
        subject.log_to(log.clone());
        let place = subject.place()?;
        Ok(Self { subject, place, clock, log, ids: IdSource::new(1), position: 1 })
    }

    /// What the component says about itself.
    pub fn description(&self) -> &Description {
        &self.subject.description
    }

    /// What it has as its data directory, where it asks for one and the trial does not grant another.
    pub fn directory(&self) -> &Path {
        &self.place.directory
    }

    /// From now on it is this time for the plugin, and batches that are made come in then. Nothing moves
    /// it but this. Until then it is the system's time.
    pub fn set_time(&self, now: Timestamp) {
        *locked(&self.clock.0) = Some(now);
    }

    /// The lines that it has logged so far, each as its level and its words: `info open file=usage.jsonl`.
    pub fn log(&self) -> Vec<String> {
        locked(&self.log.0).clone()
    }

    /// A batch of records in the wire format of their stream, behind those of the batches before. Given
    /// to [`SinkPlugin::write`] again, it is the same again: positions and ids are those that it had.
    ///
    /// # Errors
    ///
    /// A line that is no record of the stream, with its number.
    pub fn batch<S: AsRef<str>>(
        &mut self,
        stream: Stream,
        lines: &[S],
    ) -> Result<Arc<Batch>, KitError> {
        let now = self.clock.now();
        let mut records = Vec::with_capacity(lines.len());
        for (line, n) in lines.iter().zip(1..) {
            let record = parse_line(stream, line.as_ref().as_bytes(), now);
            let record = record
                .map_err(|error| KitError::Host(format!("line {n} of the batch: {error}")))?;
            records.push(Stamped::new(self.ids.next(now), now, record));
        }
        let len = records.len() as u64;
        let batch = Batch::of(stream, self.position, records, "wasink/harness");
        let batch = batch.ok_or_else(|| KitError::Host("a batch has records".to_owned()))?;
        self.position += len;
        Ok(Arc::new(batch))
    }

    /// Opens an instance of a sink. [`SinkPlugin::reopen`] throws it away without closing it, as a crash
    /// does, and opens another.
    ///
    /// # Errors
    ///
    /// What keeps it from opening: settings and grants that do not fit, its own words, a trap, or that it
    /// is no sink.
    pub fn sink(&self) -> Result<Box<dyn SinkPlugin>, KitError> {
        Ok(self.subject.open_sink(&self.place)?)
    }

    /// Opens an instance of a source of a feed.
    ///
    /// # Errors
    ///
    /// As for [`sink`](Self::sink).
    pub fn feed_source(&self) -> Result<Box<dyn FeedSource>, KitError> {
        Ok(self.subject.open_source(&self.place)?)
    }

    /// Opens an instance of a sink of a feed.
    ///
    /// # Errors
    ///
    /// As for [`sink`](Self::sink).
    pub fn feed_sink(&self) -> Result<Box<dyn FeedSink>, KitError> {
        Ok(self.subject.open_feed_sink(&self.place)?)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time that was told last.
#[derive(Default)]
struct Told(Mutex<Option<Timestamp>>);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        locked(&self.0).unwrap_or_else(|| SystemClock.now())
    }
}

/// Keeps what is logged.
#[derive(Default)]
struct Kept(Mutex<Vec<String>>);

impl Logger for Kept {
    fn log(&self, line: &Line<'_>) {
        let mut text = format!("{} {}", line.level.as_str(), line.message);
        for (key, value) in line.fields {
            text.push_str(&format!(" {key}={value}"));
        }
        locked(&self.0).push(text);
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

impl std::fmt::Debug for Harness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").field("world", &self.subject.world).finish_non_exhaustive()
    }
}
