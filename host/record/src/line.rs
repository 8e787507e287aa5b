//! Reads records from text, one a line, and says what is wrong with a line in words that help.
//!
//! serde reads each line into a form with its stream's fields and nothing else, in one pass. Only a
//! line that fails is gone through again, key by key, to say where and why.

mod explain;
mod fields;

use serde::de::DeserializeOwned;

use crate::control::RawControlEvent;
use crate::event::RawCloudEvent;
use crate::json::InObject;
use crate::metering::RawEntry;
use crate::usage::RawUsageEvent;
use crate::{InvalidRecord, Record, Stream, Timestamp};

/// Why a line is not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineError {
    /// The byte at fault, counted from 1.
    pub column: usize,
    /// The path of the field at fault, such as `shape.cpu`.
    pub field: Option<String>,
    /// What is wrong, and the way out.
    pub message: String,
}

impl LineError {
    pub(crate) fn new(column: usize, message: impl Into<String>) -> Self {
        Self { column, field: None, message: message.into() }
    }

    pub(crate) fn at(column: usize, invalid: &InvalidRecord) -> Self {
        let field = invalid.field().map(str::to_owned);
        Self { column, field, message: invalid.to_string() }
    }
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { column, field, message } = self;
        match field {
            None => write!(f, "column {column}: {message}"),
            Some(field) => write!(f, "column {column}, field `{field}`: {message}"),
        }
    }
}

impl std::error::Error for LineError {}

/// Reads one record of a stream from its wire format; `now` becomes its time where it has none.
///
/// More is read than is written: keys in any order, space between tokens (a line's end, too), and an
/// optional field that is `null`, empty or 0 where the wire leaves it out. Nothing else is let pass:
/// unknown and repeated keys, numbers with a fraction or an exponent, and numbers above
/// [`MAX_QUANTITY`](crate::MAX_QUANTITY) are errors.
///
/// # Errors
///
/// Says where the line goes wrong, in which field, and what to do about it.
pub fn parse_line(stream: Stream, line: &[u8], now: Timestamp) -> Result<Record, LineError> {
    let mut record = match stream {
        Stream::Metering => read(stream, line, RawEntry::check)?.into(),
        Stream::Usage => read(stream, line, RawUsageEvent::check)?.into(),
        Stream::Control => read(stream, line, RawControlEvent::check)?.into(),
        Stream::Events => read(stream, line, RawCloudEvent::check)?.into(),
    };
    Record::stamp_time(&mut record, now);
    Ok(record)
}

fn read<Raw: DeserializeOwned, T>(
    stream: Stream,
    line: &[u8],
    check: fn(Raw) -> Result<T, InvalidRecord>,
) -> Result<T, LineError> {
    match serde_json::from_slice(line) {
        Ok(InObject(raw)) => check(raw).map_err(|invalid| explain::invalid(line, &invalid)),
        Err(error) => Err(explain::unreadable(stream, line, &error)),
    }
}

pub(crate) use explain::{not_json, text_of};

#[cfg(test)]
mod tests;
