//! In which form a request has its records: what its headers say of its body.

use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Kind, Problem};

/// All that is taken, for whoever sends something else.
pub(crate) const TAKEN: &str = "`application/x-ndjson` (or `application/jsonl`) for one record a \
    line, `application/json` for one record or an array of them, `application/cloudevents+json` \
    for a CloudEvent, `application/cloudevents-batch+json` for an array of them; or any type with \
    the `ce-` headers of a CloudEvent in binary mode";

/// Says which encodings are taken.
const ENCODINGS: HeaderValue = HeaderValue::from_static("gzip, zstd");

/// In which form a body has records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One a line.
    Lines,
    /// One, or an array.
    Json,
    /// One CloudEvent.
    Event,
    /// An array of CloudEvents.
    Events,
    /// The data of a CloudEvent whose attributes are headers.
    Binary,
}

impl Form {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let refuse = |what: String| Problem::new(Kind::MediaType, format!("{what}; send {TAKEN}"));
        let binary = headers.keys().any(|name| name.as_str().starts_with("ce-"));
        let text = match one(headers, &CONTENT_TYPE) {
            Ok(Some(text)) => text,
            // An event may be without data.
            Ok(None) if binary => return Ok(Self::Binary),
            Ok(None) => return Err(refuse("there is no `Content-Type`".to_owned())),
            Err(problem) => return Err(refuse(problem)),
        };
        let form = match essence(text).as_str() {
            "application/cloudevents+json" => Self::Event,
            "application/cloudevents-batch+json" => Self::Events,
            other if other.starts_with("application/cloudevents") => {
                return Err(refuse(format!("`{other}` is not taken")));
            }
            // The type is that of the event's data, whatever it is.
            _ if binary => return Ok(Self::Binary),
            "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => Self::Lines,
            "application/json" => Self::Json,
            other => {
                let other: String = other.chars().take(100).collect();
                return Err(refuse(format!("`{other}` is not taken")));
            }
        };
        if !is_utf8(text) {
            return Err(refuse("JSON is always UTF-8, leave out the `charset`".to_owned()));
        }
        Ok(form)
    }

    /// Whether each of its records is in an envelope.
    pub(crate) fn is_enveloped(self) -> bool {
        matches!(self, Self::Event | Self::Events | Self::Binary)
    }
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = one(headers, &CONTENT_ENCODING);
        match text.map(|text| text.unwrap_or_default().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Ok(Self::Identity),
            Ok("gzip" | "x-gzip") => Ok(Self::Gzip),
            Ok("zstd") => Ok(Self::Zstd),
            _ => Err(Problem::new(
                Kind::Encoding,
                "a body may be compressed once, with `gzip` or `zstd`, or not at all",
            )
            .with_header(ACCEPT_ENCODING, ENCODINGS)),
        }
    }
}

/// The value of a header that may come once.
pub(crate) fn one<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, String> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(format!("the header `{name}` is not ASCII text")),
        },
        (Some(_), Some(_)) => Err(format!("the header `{name}` is given twice")),
    }
}

/// Whether the data of an event with this content type is JSON.
pub(crate) fn is_json(media_type: &str) -> bool {
    let essence = essence(media_type);
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

/// A media type without its parameters, in lower case.
fn essence(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn is_utf8(media_type: &str) -> bool {
    let charset = media_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    charset.is_none_or(|name| {
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}
