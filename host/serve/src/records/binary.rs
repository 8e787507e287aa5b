//! CloudEvents in binary mode: the attributes are headers, the body is the data.

use std::borrow::Cow;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wasink_record::{LineError, Record, RecordId, Stream, Timestamp, parse_line};

use super::{Read, Reading, envelope};
use crate::fault::Fault;
use crate::form::{TAKEN, is_json, one};
use crate::problem::{Kind, Problem};

/// Why there is no record.
enum Wrong {
    /// The body is at fault.
    Body(LineError),
    /// A header is: its attribute, and the message.
    Header(Option<String>, String),
}

pub(super) fn read<'a>(
    reading: &mut Reading<'a>,
    headers: &HeaderMap,
    body: &'a [u8],
) -> Result<(), Problem> {
    let media_type =
        one(headers, &CONTENT_TYPE).map_err(|problem| Problem::new(Kind::MediaType, problem))?;
    let Some(media_type) = media_type.or_else(|| body.is_empty().then_some("")) else {
        let detail = format!("there is a body, and no `Content-Type` of it; send {TAKEN}");
        return Err(Problem::new(Kind::MediaType, detail));
    };
    let most = reading.limits.record_bytes;
    let event = Event { stream: reading.stream, media_type, now: reading.now, body };
    let record = if body.len() > most {
        let message = format!("the data has {} bytes, {most} is the most", body.len());
        Err(Wrong::Body(super::error(message)))
    } else {
        event.record(headers)
    };
    match record {
        Ok((id, record)) => reading.batch.records.push(Read { index: 0, id, record }),
        Err(Wrong::Body(error)) => {
            let fault = reading.places.fault(0, body, error);
            reading.batch.faults.add(reading.limits.told_errors, || fault);
        }
        Err(Wrong::Header(field, message)) => {
            let fault = || Fault { index: 0, line: None, column: None, field, message };
            reading.batch.faults.add(reading.limits.told_errors, fault);
        }
    }
    Ok(())
}

struct Event<'a> {
    stream: Stream,
    /// Empty where there is no body.
    media_type: &'a str,
    now: Timestamp,
    body: &'a [u8],
}

impl Event<'_> {
    fn record(&self, headers: &HeaderMap) -> Result<(Option<RecordId>, Record), Wrong> {
        let mut attributes = attributes(headers)?;
        if !self.media_type.is_empty() {
            attributes.insert("datacontenttype".to_owned(), self.media_type.into());
        }
        if self.stream == Stream::Events {
            return Ok((None, Record::Event(self.event(attributes)?)));
        }
        let event = self.parse(attributes, None)?;
        if !is_json(self.media_type) {
            let message = envelope::not_json(self.stream, self.media_type);
            return Err(Wrong::Header(Some("datacontenttype".to_owned()), message));
        }
        let record = parse_line(self.stream, self.body, self.now)
            .map_err(|error| Wrong::Body(envelope::in_data(error)))?;
        Ok((envelope::id_of(&event), record))
    }

    fn event(&self, attributes: Map<String, Value>) -> Result<wasink_record::CloudEvent, Wrong> {
        if self.body.is_empty() {
            return self.parse(attributes, None);
        }
        if is_json(self.media_type) {
            // Whether it is one value, so that it can't add anything to the envelope around it.
            let data: &RawValue = serde_json::from_slice(self.body).map_err(|error| {
                let before = self.body.split_inclusive(|byte| *byte == b'\n');
                let before: usize =
                    before.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
                Wrong::Body(LineError {
                    column: before + error.column().max(1),
                    field: Some("data".to_owned()),
                    message: format!("the type of the data is JSON, and it is not: {error}"),
                })
            })?;
            return self.parse(attributes, Some(data));
        }
        let event = self.parse(attributes, None)?;
        let mut builder =
            wasink_record::CloudEvent::builder(event.id(), event.source(), event.event_type())
                .subject(event.subject().unwrap_or_default())
                .data_schema(event.data_schema().unwrap_or_default())
                .binary(self.media_type, self.body);
        if let Some(time) = event.time() {
            builder = builder.time(time);
        }
        for (name, value) in event.extensions() {
            builder = builder.extension(name, value.clone());
        }
        builder.build().map_err(|invalid| {
            Wrong::Header(invalid.field().map(str::to_owned), invalid.to_string())
        })
    }

    /// The event that the attributes make, read as every other event is.
    fn parse(
        &self,
        attributes: Map<String, Value>,
        data: Option<&RawValue>,
    ) -> Result<wasink_record::CloudEvent, Wrong> {
        let mut text = Value::Object(attributes).to_string();
        if let Some(data) = data {
            text.pop();
            text.push_str(",\"data\":");
            text.push_str(data.get());
            text.push('}');
        }
        envelope::event_of(text.as_bytes(), self.now)
            .map_err(|error| Wrong::Header(error.field, error.message))
    }
}

/// The attributes that the headers hold, all of them text.
fn attributes(headers: &HeaderMap) -> Result<Map<String, Value>, Wrong> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
        let wrong = |message: String| Err(Wrong::Header(Some(attribute.to_owned()), message));
        if matches!(attribute, "data" | "data_base64" | "datacontenttype") {
            let message = "in binary mode the data is the body, and its type the `Content-Type`";
            return wrong(message.to_owned());
        }
        let Some(text) = text_of(value) else {
            return wrong(format!("the header `{name}` is not percent-encoded UTF-8"));
        };
        if attributes.insert(attribute.to_owned(), text.into()).is_some() {
            return wrong(format!("the header `{name}` is given twice"));
        }
    }
    Ok(attributes)
}

/// What a header says, as the CloudEvents binding for HTTP has it: unquoted, then percent-decoded.
fn text_of(value: &HeaderValue) -> Option<String> {
    let value = unquoted(value.as_bytes().trim_ascii());
    let decoded: Cow<'_, [u8]> = percent_decode(&value).into();
    String::from_utf8(decoded.into_owned()).ok()
}

fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return Cow::Borrowed(value);
    };
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, bytes.as_slice().first()) {
            (b'\\', Some(&escaped)) => {
                out.push(escaped);
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}
