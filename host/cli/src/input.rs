//! JSON Lines from standard input.

use std::io::{self, BufRead, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasink::logger::{Level, Line, Logger as _, Value};
use wasink::record::{
    Clock as _, CloudEvent, IdSource, LineError, Record, Stream, SystemClock, parse_line,
};
use wasink::{Chassis, Recorder};

use crate::screen::Screen;

/// The longest line, in bytes, its end not counted.
pub(crate) const LONGEST_LINE: usize = 1 << 20;

/// So many refused lines are told one by one; the rest is only counted.
const REFUSALS_TOLD: u64 = 20;

/// How many lines there were, and how many of them were refused.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    read: AtomicU64,
    refused: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What the lines are.
pub(crate) struct Lines {
    pub(crate) stream: Stream,
    pub(crate) structured: bool,
    pub(crate) event_source: String,
    pub(crate) event_type: String,
}

/// Reads lines and emits what they hold.
pub(crate) struct Input {
    lines: Lines,
    recorder: Recorder<Record>,
    ids: IdSource,
    counts: Arc<Counts>,
    screen: Arc<Screen>,
}

impl Input {
    pub(crate) fn new(
        lines: Lines,
        chassis: &Chassis,
        counts: Arc<Counts>,
        screen: Arc<Screen>,
    ) -> Self {
        let recorder = chassis.recorder(lines.stream);
        let ids = IdSource::new(std::hash::BuildHasher::hash_one(
            &std::hash::RandomState::new(),
            std::process::id(),
        ));
        Self { lines, recorder, ids, counts, screen }
    }

    /// Reads to the end of `input`, or until the chassis closes. Waits while the queue is full, so
    /// that whoever writes to the pipe waits as well.
    pub(crate) fn read(&self, input: &mut impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = LONGEST_LINE as u64 + 2;
            if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let number = self.counts.read.fetch_add(1, Ordering::Relaxed) + 1;
            let whole = line.strip_suffix(b"\n");
            let text = whole.unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if text.len() > LONGEST_LINE {
                if whole.is_none() {
                    skip_line(input)?;
                }
                let message = format!("longer than {LONGEST_LINE} bytes");
                self.refuse(number, &LineError { column: LONGEST_LINE + 1, field: None, message });
                continue;
            }
            match self.parse(text) {
                Ok(record) => {
                    if self.recorder.emit_when_room(record).is_err() {
                        break;
                    }
                }
                Err(error) => self.refuse(number, &error),
            }
        }
        let silent = self.counts.refused().saturating_sub(REFUSALS_TOLD);
        if silent > 0 {
            self.warn("more lines refused", &[("lines", silent.into())]);
        }
        Ok(())
    }

    fn parse(&self, line: &[u8]) -> Result<Record, LineError> {
        let Lines { stream, structured, event_source, event_type } = &self.lines;
        let now = SystemClock.now();
        if *stream == Stream::Events && !structured {
            let id = self.ids.next(now);
            let event = CloudEvent::wrap_json(line, event_source, event_type, id, now)?;
            return Ok(event.into());
        }
        parse_line(*stream, line, now)
    }

    fn refuse(&self, number: u64, error: &LineError) {
        if self.counts.refused.fetch_add(1, Ordering::Relaxed) >= REFUSALS_TOLD {
            return;
        }
        let mut fields = vec![("line", number.into()), ("column", (error.column as u64).into())];
        fields.extend(error.field.iter().map(|field| ("field", field.as_str().into())));
        fields.push(("reason", error.message.as_str().into()));
        self.warn("line refused", &fields);
    }

    fn warn(&self, message: &str, fields: &[(&str, Value)]) {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        self.screen.log(&Line { level: Level::Warn, sink: None, message, fields: &fields });
    }
}

/// Reads to the end of a line without keeping it.
fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        let (used, ended) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(index) => (index + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(used);
        if ended {
            return Ok(());
        }
    }
}
