//! Which fields a record of each stream has, and what each of them takes.

use std::fmt;

use crate::invalid::shorten;
use crate::{ControlType, Kind, MAX_QUANTITY, Reason, Status, Timestamp};

/// What a field takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Takes {
    Text,
    Kind,
    Reason,
    Status,
    ControlType,
    Time,
    Flag,
    /// A size or count: 0 to [`MAX_QUANTITY`].
    Quantity,
    /// A number that may be negative.
    Signed,
    /// A number up to the largest of 64 bits.
    Unsigned,
    /// A string, a boolean, or an integer of 32 bits.
    Extension,
    AnyJson,
    Object(&'static [Field]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) required: bool,
}

const fn required(name: &'static str, takes: Takes) -> Field {
    Field { name, takes, required: true }
}

const fn optional(name: &'static str, takes: Takes) -> Field {
    Field { name, takes, required: false }
}

pub(super) const METERING: &[Field] = &[
    required("kind", Takes::Kind),
    optional("vm_id", Takes::Text),
    optional("snapshot_id", Takes::Text),
    optional("source_snapshot_id", Takes::Text),
    optional("reason", Takes::Reason),
    optional("hypervisor", Takes::Text),
    optional("shape", Takes::Object(SHAPE)),
    optional("emitted_at", Takes::Time),
];

const SHAPE: &[Field] = &[
    optional("cpu", Takes::Quantity),
    optional("mem_bytes", Takes::Quantity),
    optional("storage_bytes", Takes::Quantity),
];

pub(super) const USAGE: &[Field] = &[
    required("rid", Takes::Text),
    required("tenant", Takes::Text),
    required("src", Takes::Text),
    required("stack", Takes::Text),
    required("duration_ms", Takes::Quantity),
    required("status", Takes::Status),
    required("bytes_in", Takes::Quantity),
    required("bytes_out", Takes::Quantity),
    optional("mem_bytes", Takes::Quantity),
    optional("fuel", Takes::Quantity),
    optional("admission_denied", Takes::Flag),
    optional("admission_reason", Takes::Text),
    optional("billable", Takes::Flag),
    optional("emitted_at", Takes::Time),
];

// What is required here is checked with the other rules, in their order.
pub(super) const CONTROL: &[Field] = &[
    optional("id", Takes::Signed),
    optional("event_id", Takes::Text),
    optional("type", Takes::ControlType),
    optional("tenant_id", Takes::Text),
    optional("stack_id", Takes::Text),
    optional("version", Takes::Signed),
    optional("base_version", Takes::Signed),
    optional("artifact_ref", Takes::Text),
    optional("checksum", Takes::Text),
    optional("control_version", Takes::Unsigned),
    optional("created_at", Takes::Text),
];

pub(super) const EVENTS: &[Field] = &[
    optional("specversion", Takes::Text),
    optional("id", Takes::Text),
    optional("source", Takes::Text),
    optional("type", Takes::Text),
    optional("subject", Takes::Text),
    optional("time", Takes::Time),
    optional("datacontenttype", Takes::Text),
    optional("dataschema", Takes::Text),
    optional("data", Takes::AnyJson),
    optional("data_base64", Takes::Text),
    optional(EXTENSION, Takes::Extension),
];

/// Stands for every other name; no key of the wire is spelt so.
pub(super) const EXTENSION: &str = "*";

impl Field {
    /// What is wrong with a value, if anything is.
    pub(super) fn mistake(&self, json: &str) -> Option<String> {
        if json == "null" && !self.required {
            return None;
        }
        let expected = |what: &str| Some(format!("expected {what}, found {}", describe(json)));
        let text: Option<String> = serde_json::from_str(json).ok();
        let name = |what: &str, check: fn(&str) -> Option<String>| match &text {
            None => expected(what),
            Some(text) => check(text),
        };
        match self.takes {
            Takes::AnyJson => None,
            Takes::Text if text.is_some() => None,
            Takes::Text => expected("a string"),
            Takes::Kind => name("a kind as a string", |text| message(text.parse::<Kind>())),
            Takes::Status => name("a status as a string", |text| message(text.parse::<Status>())),
            Takes::Reason => name("a reason as a string", |text| {
                if text.is_empty() { None } else { message(text.parse::<Reason>()) }
            }),
            Takes::ControlType => name("a type as a string", |text| {
                if text.is_empty() { None } else { message(text.parse::<ControlType>()) }
            }),
            Takes::Time => name("a time as a string", |text| message(text.parse::<Timestamp>())),
            Takes::Flag if matches!(json, "true" | "false") => None,
            Takes::Flag => expected("`true` or `false`"),
            Takes::Quantity => integer(json, 0, i128::from(MAX_QUANTITY)),
            Takes::Unsigned => integer(json, 0, i128::from(u64::MAX)),
            Takes::Signed => integer(json, i128::from(i64::MIN), i128::from(i64::MAX)),
            Takes::Extension if text.is_some() || matches!(json, "true" | "false") => None,
            Takes::Extension if json.starts_with(['{', '[']) => {
                expected("a string, a boolean or an integer in an extension attribute")
            }
            Takes::Extension => integer(json, i128::from(i32::MIN), i128::from(i32::MAX)),
            Takes::Object(_) => expected("an object"),
        }
    }
}

fn message<T, E: fmt::Display>(parsed: Result<T, E>) -> Option<String> {
    parsed.err().map(|error| error.to_string())
}

/// What keeps a value from being an integer within bounds, if anything does.
fn integer(json: &str, least: i128, most: i128) -> Option<String> {
    if json.starts_with('"') {
        return Some(format!(
            "expected an integer, found {}, write it without quotes",
            describe(json)
        ));
    }
    if !json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Some(format!("expected an integer, found {}", describe(json)));
    }
    let shown = shorten(json);
    if json.contains(['.', 'e', 'E']) {
        return Some(format!(
            "`{shown}` is not an integer, write it without fraction and exponent"
        ));
    }
    if json.starts_with('-') && least == 0 {
        return Some(format!("`{shown}` is negative, it has to be 0 or more"));
    }
    match json.parse::<i128>() {
        // JSON has a negative zero, and serde reads it as a float.
        Ok(0) if json.starts_with('-') => Some("`-0` is not an integer, write `0`".to_owned()),
        Ok(number) if number < least => Some(format!("`{shown}` is less than {least}")),
        Ok(number) if number <= most => None,
        _ if json.starts_with('-') => Some(format!("`{shown}` is less than {least}")),
        _ => Some(format!("`{shown}` is too large, the most it can hold is {most}")),
    }
}

/// A value in a message.
pub(super) fn describe(json: &str) -> String {
    match json.bytes().next() {
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'"') => match serde_json::from_str::<String>(json.trim_end()) {
            Ok(text) => format!("the string `{}`", shorten(&text)),
            Err(_) => "a string".to_owned(),
        },
        Some(b'-' | b'0'..=b'9') => format!("the number `{}`", shorten(json.trim_end())),
        _ => format!("`{}`", shorten(json.trim_end())),
    }
}
