//! Any record, and what a chassis adds to it.

use std::io;

use serde::{Serialize, Serializer};

use crate::json::{Listener, Object, encode, key};
use crate::{CloudEvent, ControlEvent, Entry, RecordId, Stream, Timestamp, UsageEvent};

/// One thing that was emitted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Record {
    /// Of the stream `metering`.
    Metering(Entry),
    /// Of the stream `usage`.
    Usage(UsageEvent),
    /// Of the stream `control`.
    Control(ControlEvent),
    /// Of the stream `events`.
    Event(CloudEvent),
}

impl Record {
    /// The stream that it belongs to.
    pub fn stream(&self) -> Stream {
        match self {
            Self::Metering(_) => Stream::Metering,
            Self::Usage(_) => Stream::Usage,
            Self::Control(_) => Stream::Control,
            Self::Event(_) => Stream::Events,
        }
    }

    /// Who it is accounted to, where it says so: nobody for metering entries and events, and for an
    /// empty tenant.
    pub fn tenant(&self) -> Option<&str> {
        match self {
            Self::Usage(event) => Some(event.tenant()).filter(|tenant| !tenant.is_empty()),
            Self::Control(event) => event.tenant_id(),
            Self::Metering(_) | Self::Event(_) => None,
        }
    }

    /// Sets the time of a metering entry or a usage event that has none. Called once, when the
    /// record is taken. Control events and CloudEvents stay as their producers made them.
    pub fn stamp_time(&mut self, now: Timestamp) {
        match self {
            Self::Metering(Entry { emitted_at, .. })
            | Self::Usage(UsageEvent { emitted_at, .. }) => {
                emitted_at.get_or_insert(now);
            }
            Self::Control(_) | Self::Event(_) => {}
        }
    }

    /// Appends its wire format: one compact JSON object, without a line's end and with none inside.
    /// A record without a time that has not been [stamped](Self::stamp_time) lacks `emitted_at`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Metering(entry) => encode(entry, out),
            Self::Usage(event) => encode(event, out),
            Self::Control(event) => encode(event, out),
            Self::Event(event) => encode(event, out),
        }
    }

    /// Writes its wire format and a `\n` in exactly one call of `write`, so that the lines of
    /// processes which append to one file stay whole. Returns what that call returned: how many
    /// bytes went out, which may be fewer, or its error.
    pub fn write_to(&self, to: &mut dyn io::Write) -> io::Result<usize> {
        let mut line = Vec::with_capacity(512);
        self.encode(&mut line);
        line.push(b'\n');
        to.write(&line)
    }

    /// What an envelope names as its subject.
    fn subject(&self) -> Option<&str> {
        match self {
            Self::Metering(entry) => entry.vm_id().or(entry.snapshot_id()),
            Self::Usage(_) | Self::Control(_) => self.tenant(),
            Self::Event(event) => event.subject(),
        }
    }
}

impl From<Entry> for Record {
    fn from(entry: Entry) -> Self {
        Self::Metering(entry)
    }
}

impl From<UsageEvent> for Record {
    fn from(event: UsageEvent) -> Self {
        Self::Usage(event)
    }
}

impl From<ControlEvent> for Record {
    fn from(event: ControlEvent) -> Self {
        Self::Control(event)
    }
}

impl From<CloudEvent> for Record {
    fn from(event: CloudEvent) -> Self {
        Self::Event(event)
    }
}

/// As the record inside: which stream it is of is known by other means.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Metering(entry) => entry.serialize(serializer),
            Self::Usage(event) => event.serialize(serializer),
            Self::Control(event) => event.serialize(serializer),
            Self::Event(event) => event.serialize(serializer),
        }
    }
}

/// A record with the identity and the time that it was given when it was taken, once and for all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Stamped {
    /// Its id, the same on every delivery.
    pub id: RecordId,
    /// When it was taken.
    pub time: Timestamp,
    /// The record.
    pub record: Record,
}

impl Stamped {
    /// The record with its id, taken at `time`, which becomes its own time if it has none.
    #[must_use]
    pub fn new(id: RecordId, time: Timestamp, mut record: Record) -> Self {
        record.stamp_time(time);
        Self { id, time, record }
    }

    /// Appends a CloudEvents 1.0 envelope in structured JSON, with the record as its data: `type` is
    /// `wasink.metering`, `wasink.usage` or `wasink.control`, `subject` the VM, the snapshot or the
    /// tenant where there is one. An event is its own envelope and stays as it is.
    pub fn encode_cloudevent(&self, source: &str, out: &mut Vec<u8>) {
        let event_type = match &self.record {
            Record::Metering(_) => "wasink.metering",
            Record::Usage(_) => "wasink.usage",
            Record::Control(_) => "wasink.control",
            Record::Event(event) => return encode(event, out),
        };
        let mut envelope = Object::begin(out);
        let Ok(()) = self.id.with_text(|id| {
            envelope.text(key!("specversion"), "1.0")?;
            envelope.text(key!("id"), id)?;
            envelope.text(key!("source"), source)?;
            envelope.text(key!("type"), event_type)?;
            envelope.optional_text(key!("subject"), self.record.subject())?;
            envelope.time(key!("time"), self.time)?;
            envelope.text(key!("datacontenttype"), "application/json")
        });
        self.record.encode(envelope.value(key!("data")));
        envelope.end();
    }
}

#[cfg(test)]
mod tests;
