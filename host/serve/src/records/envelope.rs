//! Records of the other streams, in CloudEvents: the data is the record.

use serde::Deserialize;
use serde_json::value::RawValue;
use wasink_record::{
    CloudEvent, EventData, LineError, Record, RecordId, Stream, Timestamp, parse_line,
};

use super::error;
use crate::form::is_json;

/// Takes a record out of its envelope. Where the envelope's id is one that wasink gave to a record,
/// it stays the record's id: what one wasink sends to another is the same record there.
pub(super) fn open(
    stream: Stream,
    envelope: &[u8],
    now: Timestamp,
) -> Result<(Option<RecordId>, Record), LineError> {
    let event = event_of(envelope, now)?;
    let at = |field: &str, message: String| {
        let column = member(envelope, field).map_or(1, |(offset, _)| offset + 1);
        LineError { column, field: Some(field.to_owned()), message }
    };
    if let Some(other) = event.data_content_type().filter(|media_type| !is_json(media_type)) {
        return Err(at("datacontenttype", not_json(stream, other)));
    }
    let record = match event.data() {
        None => {
            let message = format!("the envelope has no `data`: the `{stream}` record goes there");
            return Err(at("data", message));
        }
        Some(EventData::Json(text)) => parse_line(stream, text.as_bytes(), now).map_err(|error| {
            let offset = member(envelope, "data").map_or(0, |(offset, _)| offset);
            in_data(LineError { column: error.column + offset, ..error })
        }),
        Some(EventData::Binary(bytes)) => parse_line(stream, bytes, now)
            .map_err(|error| at("data_base64", format!("in what it holds, at {error}"))),
    };
    Ok((id_of(&event), record?))
}

/// An event from its structured JSON.
pub(super) fn event_of(envelope: &[u8], now: Timestamp) -> Result<CloudEvent, LineError> {
    match parse_line(Stream::Events, envelope, now)? {
        Record::Event(event) => Ok(event),
        _ => Err(error("this is not a CloudEvent")),
    }
}

/// The id that the record in an envelope keeps.
pub(super) fn id_of(event: &CloudEvent) -> Option<RecordId> {
    event.id().parse().ok()
}

/// Names the field within the envelope.
pub(super) fn in_data(error: LineError) -> LineError {
    let field = match error.field {
        Some(field) => format!("data.{field}"),
        None => "data".to_owned(),
    };
    LineError { field: Some(field), ..error }
}

pub(super) fn not_json(stream: Stream, media_type: &str) -> String {
    format!("a `{stream}` record is JSON, the data's type is `{media_type}`")
}

/// Whether `text` is an object that says to be a CloudEvent, or no object at all.
pub(super) fn claims_to_be(text: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Claim {
        specversion: Option<serde::de::IgnoredAny>,
    }

    serde_json::from_slice::<Claim>(text).map_or(true, |claim| claim.specversion.is_some())
}

/// Where the value of an attribute is in an envelope, and its text.
fn member<'a>(envelope: &'a [u8], name: &str) -> Option<(usize, &'a str)> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        data_base64: Option<&'a RawValue>,
        #[serde(borrow)]
        datacontenttype: Option<&'a RawValue>,
    }

    let members: Members<'a> = serde_json::from_slice(envelope).ok()?;
    let value = match name {
        "data" => members.data,
        "data_base64" => members.data_base64,
        _ => members.datacontenttype,
    };
    let text = value?.get();
    Some((text.as_ptr().addr().saturating_sub(envelope.as_ptr().addr()), text))
}
