//! Reads the records of a body, in whichever form they are.

mod binary;
mod envelope;

use std::fmt;

use axum::http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;
use wasink_record::{LineError, Record, RecordId, Stream, Timestamp, parse_line};

use crate::Limits;
use crate::fault::{Fault, Faults, Places};
use crate::form::Form;
use crate::problem::{Kind, Problem};

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Read {
    /// Which of the request, from 0.
    pub(crate) index: usize,
    /// Its id, where its envelope has one.
    pub(crate) id: Option<RecordId>,
    pub(crate) record: Record,
}

/// What was read of a body. The same body gives the same, but for the time that is given to records
/// which have none.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Read>,
    pub(crate) faults: Faults,
}

/// Reads a body. A body that is no JSON array, though it begins like one, gives no record at all.
pub(crate) fn read(
    form: Form,
    stream: Stream,
    headers: &HeaderMap,
    body: &[u8],
    limits: &Limits,
    now: Timestamp,
) -> Result<Batch, Problem> {
    let places = Places::new(body);
    let mut reading = Reading { form, stream, limits, now, places, batch: Batch::default() };
    let begins_array = body.trim_ascii_start().starts_with(b"[");
    match form {
        Form::Lines => {
            let lines = body.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.trim_ascii().is_empty());
            for (index, line) in lines.enumerate() {
                if index == limits.records {
                    return Err(reading.too_many());
                }
                reading.record(index, line);
            }
        }
        Form::Json | Form::Events if begins_array => reading.array(body)?,
        Form::Events => {
            let message = "a batch is a JSON array of CloudEvents; a single one has the type \
                           `application/cloudevents+json`";
            reading.refuse(1, 1, message.to_owned());
        }
        Form::Event if begins_array => {
            let message = "this type is for one CloudEvent; an array of them has the type \
                           `application/cloudevents-batch+json`";
            reading.refuse(1, 1, message.to_owned());
        }
        Form::Json | Form::Event => reading.record(0, body),
        Form::Binary => binary::read(&mut reading, headers, body)?,
    }
    Ok(reading.batch)
}

struct Reading<'a> {
    form: Form,
    stream: Stream,
    limits: &'a Limits,
    now: Timestamp,
    places: Places<'a>,
    batch: Batch,
}

impl<'a> Reading<'a> {
    /// Reads one record from its text, a part of the body.
    fn record(&mut self, index: usize, text: &'a [u8]) {
        let record = if text.len() > self.limits.record_bytes {
            let most = self.limits.record_bytes;
            Err(error(format!("the record has {} bytes, {most} is the most", text.len())))
        } else if self.form.is_enveloped() && self.stream != Stream::Events {
            envelope::open(self.stream, text, self.now)
        } else {
            let record = parse_line(self.stream, text, self.now).map(|record| (None, record));
            record.map_err(|error| self.way_out(text, error))
        };
        match record {
            Ok((id, record)) => self.batch.records.push(Read { index, id, record }),
            Err(error) => {
                let places = &mut self.places;
                let fault = || places.fault(index, text, error);
                self.batch.faults.add(self.limits.told_errors, fault);
            }
        }
    }

    /// The error of a text that is no event, though it may be fine as the data of one.
    fn way_out(&self, text: &[u8], error: LineError) -> LineError {
        let is_event = self.form.is_enveloped() || envelope::claims_to_be(text);
        if self.stream != Stream::Events || is_event {
            return error;
        }
        LineError {
            column: error.column.min(1),
            field: Some("specversion".to_owned()),
            message: "this is not a CloudEvent, it has no `specversion`: put it into one as its \
                      `data`, or send it by itself with the headers `ce-specversion: 1.0`, \
                      `ce-id`, `ce-source` and `ce-type`"
                .to_owned(),
        }
    }

    fn array(&mut self, body: &'a [u8]) -> Result<(), Problem> {
        let mut texts = Vec::new();
        let mut too_many = false;
        let elements =
            Elements { texts: &mut texts, most: self.limits.records, too_many: &mut too_many };
        let mut json = serde_json::Deserializer::from_slice(body);
        let ended = elements.deserialize(&mut json).and_then(|()| json.end());
        if too_many {
            return Err(self.too_many());
        }
        if let Err(error) = ended {
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let message = text.strip_suffix(&place).unwrap_or(&text);
            let message = format!("the body is not a JSON array: {message}; no record is taken");
            self.batch.faults.add(self.limits.told_errors, || Fault {
                index: texts.len(),
                line: Some(error.line().max(1)),
                column: Some(error.column().max(1)),
                field: None,
                message,
            });
            return Ok(());
        }
        for (index, text) in texts.into_iter().enumerate() {
            self.record(index, text.as_bytes());
        }
        Ok(())
    }

    /// Adds the fault of a body that can't be read at all.
    fn refuse(&mut self, line: usize, column: usize, message: String) {
        let (line, column) = (Some(line), Some(column));
        let fault = || Fault { index: 0, line, column, field: None, message };
        self.batch.faults.add(self.limits.told_errors, fault);
    }

    fn too_many(&self) -> Problem {
        let most = self.limits.records;
        let detail = format!("a request may have {most} records, divide it");
        Problem::new(Kind::TooMany, detail)
    }
}

fn error(message: impl Into<String>) -> LineError {
    LineError { column: 1, field: None, message: message.into() }
}

/// Takes an array apart without reading its elements.
struct Elements<'v, 'a> {
    texts: &'v mut Vec<&'a str>,
    most: usize,
    too_many: &'v mut bool,
}

impl<'a> DeserializeSeed<'a> for Elements<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'a> Visitor<'a> for Elements<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if self.texts.len() == self.most {
                *self.too_many = true;
                return Err(A::Error::custom("too many"));
            }
            self.texts.push(element.get());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
