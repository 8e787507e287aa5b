//! CloudEvents 1.0 in structured JSON.
//!
//! An event is one JSON object: `specversion`, `id`, `source`, `type`, `subject`, `time`,
//! `datacontenttype`, `dataschema`, the extension attributes in the producer's order, then `data` or
//! `data_base64`. The first four are always there, the rest where it is set. JSON data is carried
//! as the producer wrote it, byte by byte; only bare line breaks between its tokens become spaces,
//! since a record is one line.

mod builder;
mod raw;

pub use builder::CloudEventBuilder;
pub(crate) use raw::RawCloudEvent;

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{Fields, JsonText, Listener, encode_text, key, serde_by_fields};
use crate::{InvalidRecord, LineError, RecordId, Timestamp};

/// How many extension attributes an event may have: each is compared with all the others.
pub const MAX_EXTENSIONS: usize = 128;

/// The value of an extension attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ExtensionValue {
    /// A string.
    Text(Box<str>),
    /// A boolean.
    Flag(bool),
    /// An integer; CloudEvents gives it 32 bits.
    Integer(i32),
}

impl ExtensionValue {
    /// Appends it as JSON.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => encode_text(text, out),
            Self::Flag(true) => out.extend_from_slice(b"true"),
            Self::Flag(false) => out.extend_from_slice(b"false"),
            Self::Integer(number) => {
                out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            }
        }
    }
}

impl From<&str> for ExtensionValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for ExtensionValue {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<bool> for ExtensionValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i32> for ExtensionValue {
    fn from(number: i32) -> Self {
        Self::Integer(number)
    }
}

impl Serialize for ExtensionValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Integer(number) => serializer.serialize_i32(*number),
        }
    }
}

/// The data of an event, as its envelope holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventData<'a> {
    /// `data`: JSON text, as the producer wrote it.
    Json(&'a str),
    /// `data_base64`: bytes.
    Binary(&'a [u8]),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Data {
    Json(JsonText),
    Binary(Box<[u8]>),
}

/// A CloudEvents 1.0 event.
///
/// Two events whose JSON data means the same but is written otherwise are different.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CloudEvent {
    id: Box<str>,
    source: Box<str>,
    event_type: Box<str>,
    subject: Option<Box<str>>,
    time: Option<Timestamp>,
    data_content_type: Option<Box<str>>,
    data_schema: Option<Box<str>>,
    extensions: Vec<(Box<str>, ExtensionValue)>,
    data: Option<Data>,
}

impl CloudEvent {
    /// Wraps any JSON object: it becomes the data, byte by byte.
    ///
    /// # Errors
    ///
    /// When `line` is not one JSON object, or nested deeper than [`MAX_DEPTH`](crate::MAX_DEPTH),
    /// or when `source` or `event_type` is empty.
    pub fn wrap_json(
        line: &[u8],
        source: &str,
        event_type: &str,
        id: RecordId,
        time: Timestamp,
    ) -> Result<Self, LineError> {
        let text = crate::line::text_of(line)?;
        let raw = serde_json::from_str::<Box<RawValue>>(text)
            .map_err(|error| crate::line::not_json(text, &error))?;
        let data = JsonText::try_from(raw)
            .map_err(|invalid| LineError { field: None, ..LineError::at(1, &invalid) })?;
        CloudEventBuilder::new(id.to_string(), source, event_type)
            .time(time)
            .data_text("application/json", data)
            .build()
            .map_err(|invalid| LineError::at(1, &invalid))
    }

    /// The event's id: with the source, its identity.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it happened.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What happened.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// What it happened to, in the source.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// When it happened.
    pub fn time(&self) -> Option<Timestamp> {
        self.time
    }

    /// The media type of the data; JSON where it is absent.
    pub fn data_content_type(&self) -> Option<&str> {
        self.data_content_type.as_deref()
    }

    /// The schema that the data follows.
    pub fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    /// The extension attributes, in the producer's order.
    pub fn extensions(&self) -> impl ExactSizeIterator<Item = (&str, &ExtensionValue)> {
        self.extensions.iter().map(|(name, value)| (&**name, value))
    }

    /// The data, as the envelope holds it.
    pub fn data(&self) -> Option<EventData<'_>> {
        Some(match self.data.as_ref()? {
            Data::Json(text) => EventData::Json(text.as_str()),
            Data::Binary(bytes) => EventData::Binary(bytes),
        })
    }

    /// The bytes that the data stands for: JSON text where the content type is JSON or absent; of
    /// another type, the text that a JSON string holds; the bytes that base64 holds.
    pub fn data_bytes(&self) -> Option<Cow<'_, [u8]>> {
        Some(match self.data.as_ref()? {
            Data::Binary(bytes) => Cow::Borrowed(&**bytes),
            Data::Json(json) => {
                let json = json.as_str();
                let text = if json.starts_with('"') && !self.has_json_data() {
                    serde_json::from_str::<String>(json).ok()
                } else {
                    None
                };
                match text {
                    Some(text) => Cow::Owned(text.into_bytes()),
                    None => Cow::Borrowed(json.as_bytes()),
                }
            }
        })
    }

    /// Whether the content type says JSON: absent, or a subtype `json` or `…+json`.
    fn has_json_data(&self) -> bool {
        let Some(media_type) = self.data_content_type() else { return true };
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        let subtype = essence.split_once('/').map_or(essence, |(_, subtype)| subtype);
        let suffix = subtype.rsplit('+').next().unwrap_or_default();
        suffix.eq_ignore_ascii_case("json")
    }

    fn checked(self) -> Result<Self, InvalidRecord> {
        for (field, text) in
            [("id", &self.id), ("source", &self.source), ("type", &self.event_type)]
        {
            if text.is_empty() {
                return Err(InvalidRecord::Missing { field });
            }
        }
        for (index, (name, _)) in self.extensions.iter().enumerate() {
            check_extension_name(name)?;
            check_extension_count(index, name)?;
            if self.extensions.iter().take(index).any(|(other, _)| other == name) {
                return Err(InvalidRecord::ExtensionTwice { name: name.to_string() });
            }
        }
        Ok(self)
    }
}

/// The names that no extension attribute may have.
const ATTRIBUTES: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "data",
    "data_base64",
];

pub(crate) fn check_extension_name(name: &str) -> Result<(), InvalidRecord> {
    let fits = (1..=20).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && !ATTRIBUTES.contains(&name);
    if fits {
        return Ok(());
    }
    Err(InvalidRecord::ExtensionName { name: crate::invalid::shorten(name) })
}

/// Checks that there may be one more after `before` others.
pub(crate) fn check_extension_count(before: usize, name: &str) -> Result<(), InvalidRecord> {
    if before < MAX_EXTENSIONS {
        return Ok(());
    }
    Err(InvalidRecord::TooManyExtensions { name: name.to_owned() })
}

impl Fields for CloudEvent {
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error> {
        to.text(key!("specversion"), "1.0")?;
        to.text(key!("id"), &self.id)?;
        to.text(key!("source"), &self.source)?;
        to.text(key!("type"), &self.event_type)?;
        to.optional_text(key!("subject"), self.subject())?;
        if let Some(time) = self.time {
            to.time(key!("time"), time)?;
        }
        to.optional_text(key!("datacontenttype"), self.data_content_type())?;
        to.optional_text(key!("dataschema"), self.data_schema())?;
        for (name, value) in &self.extensions {
            to.extension(name, value)?;
        }
        match &self.data {
            None => Ok(()),
            Some(Data::Json(text)) => to.json(key!("data"), text.as_str()),
            Some(Data::Binary(bytes)) => to.text(key!("data_base64"), &STANDARD.encode(bytes)),
        }
    }
}

serde_by_fields!(CloudEvent, RawCloudEvent);

#[cfg(test)]
mod tests;
