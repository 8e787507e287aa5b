//! Records that were appended together, with the views of them that have been asked for.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use wasink_record::{Stamped, Stream};

use crate::batch::Encoding;
use crate::columns::UsageColumns;

/// Records that were appended in one go, in order, and their lines.
///
/// Lines are made when the chunk is; every other view is made when it is first asked for, once, and
/// shared from then on.
#[derive(Debug)]
pub struct Chunk {
    stream: Stream,
    position: u64,
    records: Box<[Stamped]>,
    lines: Bytes,
    /// Where each record's line ends in `lines`, its `\n` included.
    ends: Box<[usize]>,
    appended: Instant,
    source: Arc<str>,
    views: Views,
}

impl Chunk {
    /// Encodes `records` and keeps both. `source` names the producer in CloudEvents envelopes.
    pub(crate) fn new(
        stream: Stream,
        position: u64,
        records: Vec<Stamped>,
        source: Arc<str>,
    ) -> Self {
        let mut lines = Vec::with_capacity(records.len() * TYPICAL_LINE);
        let ends = records
            .iter()
            .map(|stamped| {
                stamped.record.encode(&mut lines);
                lines.push(b'\n');
                lines.len()
            })
            .collect();
        lines.shrink_to_fit();
        Self {
            stream,
            position,
            records: records.into_boxed_slice(),
            lines: lines.into(),
            ends,
            appended: Instant::now(),
            source,
            views: Views::default(),
        }
    }

    /// The stream that all the records are of.
    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// Position of the first record in the stream.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The records, in order.
    pub fn records(&self) -> &[Stamped] {
        &self.records
    }

    /// When the chunk was appended.
    pub(crate) fn appended(&self) -> Instant {
        self.appended
    }

    /// Memory that the chunk is taken to hold, in bytes: an estimate, since what a record's strings
    /// hold on the heap is about what its line holds.
    pub(crate) fn weight(&self) -> u64 {
        let records = self.records.len() * size_of::<Stamped>();
        (records + 2 * self.lines.len()) as u64
    }

    /// The position behind its last record.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.records.len() as u64
    }

    /// Length of the lines of the records `from..to`, in bytes.
    pub(crate) fn line_bytes(&self, from: usize, to: usize) -> usize {
        self.line_end(to) - self.line_end(from)
    }

    /// The lines of the records `from..to`, without a copy.
    pub(crate) fn lines(&self, from: usize, to: usize) -> Bytes {
        self.lines.slice(self.line_end(from)..self.line_end(to))
    }

    /// Name of the producer in envelopes.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    /// Where the first `count` lines end.
    fn line_end(&self, count: usize) -> usize {
        match count.checked_sub(1) {
            None => 0,
            Some(last) => self.ends.get(last).copied().unwrap_or(self.lines.len()),
        }
    }
}

/// Room set aside for a line before its length is known.
const TYPICAL_LINE: usize = 256;

/// Views of a run of records, each made when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Views {
    json_array: OnceLock<Bytes>,
    cloudevents_batch: OnceLock<Bytes>,
    cloudevents_jsonl: OnceLock<Bytes>,
    pub(crate) columns: OnceLock<Arc<UsageColumns>>,
}

impl Views {
    /// The place of an encoding's bytes; `None` for plain lines, which chunks keep themselves.
    pub(crate) fn of(&self, encoding: Encoding) -> Option<&OnceLock<Bytes>> {
        match encoding {
            Encoding::Jsonl => None,
            Encoding::JsonArray => Some(&self.json_array),
            Encoding::CloudEventsBatch => Some(&self.cloudevents_batch),
            Encoding::CloudEventsJsonl => Some(&self.cloudevents_jsonl),
        }
    }
}
