//! For a plugin's own tests: batches, the time, and what was logged. Only natively.
//!
//! Everything here belongs to the thread that uses it, so tests that run side by side do not see
//! each other.

pub mod http;
mod records;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::{Batch, CloudEvent, Context, ControlEvent, Entry, Level, Stream, UsageEvent, Value};

/// A batch of these records, each given as its line of JSON. The first has position 0.
///
/// The typed views are read from the lines.
///
/// # Panics
///
/// Once a typed view is asked for, where a line is not a record of the stream.
pub fn batch(stream: Stream, lines: &[&str]) -> Batch<'static> {
    batch_at(0, stream, lines)
}

/// The same, with the position of the first record.
pub fn batch_at(position: u64, stream: Stream, lines: &[&str]) -> Batch<'static> {
    let lines = lines.iter().map(|line| (*line).to_owned()).collect();
    records::batch(position, stream, lines)
}

/// A batch of lifecycle endpoints.
pub fn metering(entries: &[Entry]) -> Batch<'static> {
    records::batch(0, Stream::Metering, entries.iter().map(wire::from_entry).collect())
}

/// A batch of usage events.
pub fn usage(events: &[UsageEvent]) -> Batch<'static> {
    records::batch(0, Stream::Usage, events.iter().map(wire::from_usage).collect())
}

/// A batch of control events.
pub fn control(events: &[ControlEvent]) -> Batch<'static> {
    records::batch(0, Stream::Control, events.iter().map(wire::from_control).collect())
}

/// A control event with nothing but its id and its type, and no place in a feed yet.
pub fn control_event(event_id: &str, event_type: &str) -> ControlEvent {
    ControlEvent::bare(event_id, event_type)
}

/// A batch of CloudEvents.
pub fn events(events: &[CloudEvent]) -> Batch<'static> {
    records::batch(0, Stream::Events, events.iter().map(wire::from_event).collect())
}

/// What a sink is opened with that has these settings, as JSON text.
pub fn context(settings: &str) -> Context {
    Context {
        name: "test".to_owned(),
        node_id: "node-1".to_owned(),
        epoch: "epoch-1".to_owned(),
        settings: settings.to_owned(),
    }
}

/// A log line. The values are in their text form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// How grave it is.
    pub level: Level,
    /// Its constant message.
    pub message: String,
    /// Its fields, in order.
    pub fields: Vec<(String, LoggedValue)>,
}

/// The value of a field of a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedValue {
    /// Text.
    Text(String),
    /// A signed number.
    Signed(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// Yes or no.
    Boolean(bool),
}

impl Logged {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&LoggedValue> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// What this thread has logged since it was last asked, oldest first, and at most the first
/// 100,000 lines.
pub fn logged() -> Vec<Logged> {
    LOGGED.take()
}

/// Stops the time, for this thread, at this long after 1970-01-01T00:00:00Z.
pub fn set_now(now: Duration) {
    NOW.set(Some(now));
}

/// From now on this thread's appends find the disk full after so many bytes more.
pub fn fill_disk_after(bytes: usize) {
    ROOM.set(Some(bytes));
}

/// There is room on the disk again.
pub fn empty_disk() {
    ROOM.set(None);
}

/// Grants a secret, for this thread.
pub fn set_secret(name: impl Into<String>, secret: impl Into<String>) {
    SECRETS.with_borrow_mut(|secrets| secrets.insert(name.into(), secret.into()));
}

const MOST_LOGGED: usize = 100_000;

thread_local! {
    static LOGGED: RefCell<Vec<Logged>> = const { RefCell::new(Vec::new()) };
    static NOW: Cell<Option<Duration>> = const { Cell::new(None) };
    static ROOM: Cell<Option<usize>> = const { Cell::new(None) };
    static SECRETS: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

pub(crate) fn granted_secret(name: &str) -> Option<String> {
    SECRETS.with_borrow(|secrets| secrets.get(name).cloned())
}

pub(crate) fn set_time() -> Option<Duration> {
    NOW.get()
}

/// How many of the `wanted` bytes the disk takes.
pub(crate) fn room(wanted: usize) -> io::Result<usize> {
    match ROOM.get() {
        None => Ok(wanted),
        Some(0) => Err(io::ErrorKind::StorageFull.into()),
        Some(room) => {
            let taken = room.min(wanted);
            ROOM.set(Some(room - taken));
            Ok(taken)
        }
    }
}

pub(crate) fn collect(level: Level, message: &str, fields: &[(&str, Value<'_>)]) {
    LOGGED.with_borrow_mut(|lines| {
        if lines.len() < MOST_LOGGED {
            let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), owned(value)));
            lines.push(Logged { level, message: message.to_owned(), fields: fields.collect() });
        }
    });
}

fn owned(value: &Value<'_>) -> LoggedValue {
    match *value {
        Value::Text(text) => LoggedValue::Text(text.to_owned()),
        Value::Signed(number) => LoggedValue::Signed(number),
        Value::Unsigned(number) => LoggedValue::Unsigned(number),
        Value::Boolean(yes) => LoggedValue::Boolean(yes),
    }
}
