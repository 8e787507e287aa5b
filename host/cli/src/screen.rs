//! Standard error: log lines, and on a terminal how it goes.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use wasink::Status;
use wasink::config::{LogConfig, LogFormat, LogLevel};
use wasink::logger::{Level, Line, Logger};
use wasink::record::{Clock as _, SystemClock};

use crate::input::Counts;
use crate::show;

/// Standard error, shared by everybody who writes there.
pub(crate) struct Screen {
    level: Level,
    format: LogFormat,
    progress: Mutex<Option<Progress>>,
}

/// Lines that are written over and over.
struct Progress {
    all: MultiProgress,
    total: ProgressBar,
    sinks: Vec<ProgressBar>,
    /// Records and time at the look before, for the rate.
    before: (u64, Duration),
    rate: f64,
}

impl Screen {
    pub(crate) fn new(log: LogConfig) -> Self {
        let level = match log.level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        };
        Self { level, format: log.format, progress: Mutex::default() }
    }

    /// From now on shows how it goes, where standard error is a terminal.
    pub(crate) fn show_progress(&self) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let all = MultiProgress::new();
        let total = all.add(line());
        let before = (0, Duration::ZERO);
        *self.lock() = Some(Progress { all, total, sinks: Vec::new(), before, rate: 0.0 });
    }

    /// Shows how it goes now.
    pub(crate) fn refresh(&self, status: &Status, counts: &Counts, elapsed: Duration) {
        if let Some(progress) = &mut *self.lock() {
            progress.refresh(status, counts, elapsed);
        }
    }

    /// Takes the progress away again.
    pub(crate) fn end_progress(&self) {
        if let Some(progress) = self.lock().take() {
            // A terminal that is gone has nothing to be cleared from.
            drop(progress.all.clear());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Progress>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress {
    fn refresh(&mut self, status: &Status, counts: &Counts, elapsed: Duration) {
        let read = counts.read();
        let (before, at) = self.before;
        let seconds = elapsed.saturating_sub(at).as_secs_f64();
        if seconds >= 0.5 || self.rate == 0.0 {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let lines = (read - before) as f64;
            self.rate = if seconds > 0.0 { lines / seconds } else { 0.0 };
            self.before = (read, elapsed);
        }
        let mut text = show::lines(read);
        text.push_str(&format!("  {:.0}/s", self.rate));
        if counts.refused() > 0 {
            text.push_str(&format!("  {} refused", show::number(counts.refused())));
        }
        self.total.set_message(text);
        while self.sinks.len() < status.sinks.len() {
            self.sinks.push(self.all.add(line()));
        }
        for (bar, sink) in self.sinks.iter().zip(&status.sinks) {
            bar.set_message(show::sink_progress(sink));
        }
    }
}

/// A line of text without a bar.
fn line() -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}");
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

impl Logger for Screen {
    fn log(&self, line: &Line<'_>) {
        if !self.enabled(line.level) {
            return;
        }
        let text = match self.format {
            LogFormat::Text => text(line),
            LogFormat::Json => json_line(line),
        };
        let print = || {
            // There is nowhere to say that standard error can't be written to.
            drop(std::io::stderr().lock().write_all(text.as_bytes()));
        };
        match &*self.lock() {
            Some(progress) => progress.all.suspend(print),
            None => print(),
        }
    }

    fn enabled(&self, level: Level) -> bool {
        level >= self.level
    }
}

/// A line for people.
fn text(line: &Line<'_>) -> String {
    let mut text = format!("{} {:5} ", SystemClock.now(), line.level.as_str());
    if let Some(sink) = line.sink {
        text.push_str(sink);
        text.push_str(": ");
    }
    text.push_str(&show::printable(line.message));
    for (key, value) in line.fields {
        text.push_str(&format!(" {}={}", word(key), word(&value.to_string())));
    }
    text.push('\n');
    text
}

/// A name or a value as one word: in quotes where it could be taken for more.
fn word(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains([' ', '"', '=']);
    show::printable(&if plain { text.to_owned() } else { json!(text).to_string() })
}

/// A line for programs: time, level, message, the sink, then the fields.
fn json_line(line: &Line<'_>) -> String {
    let mut object = Map::new();
    object.insert("ts".to_owned(), json!(SystemClock.now()));
    object.insert("level".to_owned(), json!(line.level));
    object.insert("msg".to_owned(), json!(line.message));
    if let Some(sink) = line.sink {
        object.insert("sink".to_owned(), json!(sink));
    }
    for (key, value) in line.fields {
        // What the chassis itself says of a line is not a field's to change.
        object.entry(key.clone()).or_insert_with(|| json!(value));
    }
    show::json_line(&Value::Object(object))
}
