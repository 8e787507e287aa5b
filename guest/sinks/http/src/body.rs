//! How records are put into requests.

use std::io::{self, Write as _};
use std::ops::Range;
use std::time::Duration;

use wasink_guest::{Batch, Encoded, Encoding, Failure};

use crate::fate::Fate;
use crate::profiles::{self, Ready};
use crate::settings::{Compress, Format, Settings};

/// How records are written.
#[derive(Debug)]
pub(crate) enum Writing {
    /// As the host writes them.
    Wire(Format),
    /// As a receiver wants them.
    Profile(Ready),
}

/// What is around the records of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) open: &'static str,
    pub(crate) between: &'static str,
    pub(crate) close: &'static str,
    /// The receiver takes no more records in one request.
    pub(crate) most: usize,
    pub(crate) content_type: &'static str,
}

impl Frame {
    /// How many bytes a request with these records has.
    pub(crate) fn length(&self, records: usize, bytes: usize) -> usize {
        self.open.len() + bytes + self.between.len() * records.saturating_sub(1) + self.close.len()
    }
}

pub(crate) const ARRAY: Frame = Frame {
    open: "[",
    between: ",",
    close: "]",
    most: usize::MAX,
    content_type: "application/json",
};

pub(crate) const ALONE: Frame = Frame { open: "", between: "", close: "", most: 1, ..ARRAY };

impl Writing {
    pub(crate) fn new(settings: &Settings) -> Self {
        match settings.profile {
            Some(profile) => Self::Profile(Ready::new(profile, settings)),
            None => Self::Wire(settings.format.unwrap_or(Format::JsonArray)),
        }
    }

    pub(crate) fn frame(&self) -> Frame {
        match self {
            Self::Wire(Format::JsonArray) => ARRAY,
            Self::Wire(Format::Ndjson) => Frame {
                open: "",
                between: "\n",
                close: "\n",
                content_type: "application/x-ndjson",
                ..ARRAY
            },
            Self::Wire(Format::CloudeventsBatch) => {
                Frame { content_type: "application/cloudevents-batch+json", ..ARRAY }
            }
            Self::Wire(Format::CloudeventsStructured) => {
                Frame { content_type: "application/cloudevents+json", ..ALONE }
            }
            Self::Profile(ready) => ready.frame(),
        }
    }

    /// The receiver's path, where it is known.
    pub(crate) fn default_path(&self) -> Option<&'static str> {
        match self {
            Self::Wire(_) => None,
            Self::Profile(ready) => Some(ready.default_path()),
        }
    }

    /// All of a batch as the host writes it, where that is what a request holds.
    pub(crate) fn whole(&self, batch: &Batch) -> Option<Encoded> {
        match self {
            Self::Wire(Format::JsonArray) => Some(batch.encode(Encoding::JsonArray)),
            Self::Wire(Format::Ndjson) => Some(batch.encode(Encoding::Jsonl)),
            Self::Wire(Format::CloudeventsBatch) => Some(batch.encode(Encoding::CloudeventsBatch)),
            Self::Wire(Format::CloudeventsStructured) | Self::Profile(_) => None,
        }
    }

    /// Each record of a batch by itself.
    pub(crate) fn pieces(&self, batch: &Batch, ids: &[String]) -> Result<Pieces, Failure> {
        match self {
            Self::Wire(Format::JsonArray | Format::Ndjson) => {
                Ok(Pieces::of_lines(batch.encode(Encoding::Jsonl)))
            }
            Self::Wire(Format::CloudeventsBatch | Format::CloudeventsStructured) => {
                Ok(Pieces::of_lines(batch.encode(Encoding::CloudeventsJsonl)))
            }
            Self::Profile(ready) => profiles::pieces(ready, batch, ids),
        }
    }
}

/// The records of a batch, each by itself.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    of: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Range<usize>),
    /// Not to be sent.
    Settled(Fate),
}

impl Pieces {
    /// From lines of JSON, in which there is no line end but the last.
    pub(crate) fn of_lines(encoded: Encoded) -> Self {
        let bytes = encoded.into_vec();
        let mut begin = 0;
        let mut of = Vec::new();
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            of.push(Piece::Bytes(begin..at));
            begin = at + 1;
        }
        Self { bytes, of }
    }

    /// Appends a record as `write` writes it.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        self.of.push(Piece::Bytes(begin..self.bytes.len()));
    }

    /// Appends a record that is not to be sent.
    pub(crate) fn push_settled(&mut self, fate: Fate) {
        self.of.push(Piece::Settled(fate));
    }

    /// Takes the `record`th out.
    pub(crate) fn settle(&mut self, record: usize, fate: Fate) {
        if let Some(piece) = self.of.get_mut(record) {
            *piece = Piece::Settled(fate);
        }
    }

    /// The bytes of one record; what has become of it where it is not to be sent.
    pub(crate) fn get(&self, record: usize) -> Result<&[u8], Fate> {
        match self.of.get(record) {
            Some(Piece::Bytes(range)) => {
                self.bytes.get(range.clone()).ok_or(Fate::Retry(None::<Duration>))
            }
            Some(Piece::Settled(fate)) => Err(fate.clone()),
            None => Err(Fate::Retry(None)),
        }
    }

    /// The body of a request with these records.
    pub(crate) fn body(&self, frame: Frame, records: &[usize]) -> Vec<u8> {
        let mut body = frame.open.as_bytes().to_vec();
        for (place, record) in records.iter().enumerate() {
            if place > 0 {
                body.extend_from_slice(frame.between.as_bytes());
            }
            body.extend_from_slice(self.get(*record).unwrap_or_default());
        }
        body.extend_from_slice(frame.close.as_bytes());
        body
    }
}

/// The body as it is sent.
pub(crate) fn compressed(body: Vec<u8>, compress: Compress) -> io::Result<Vec<u8>> {
    if compress == Compress::None {
        return Ok(body);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&body)?;
    encoder.finish()
}
