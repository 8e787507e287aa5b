//! Records that were appended together, with the views of them that have been asked for.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use wasink_record::{Record, RecordId, Stamped, Stream, Timestamp, parse_line};

use crate::batch::Encoding;
use crate::columns::UsageColumns;
use crate::tenants::Tenants;

/// Records that were appended in one go, in order, and their lines.
///
/// Lines are made when the chunk is, or read with it; every other view is made when it is first
/// asked for, once, and shared from then on. So are the records of a chunk that was read from disk:
/// a sink that moves bytes never needs them.
#[derive(Debug)]
pub struct Chunk {
    stream: Stream,
    position: u64,
    ids: Box<[RecordId]>,
    times: Box<[Timestamp]>,
    tenants: Tenants,
    lines: Bytes,
    /// Where each record's line ends in `lines`, its `\n` included.
    ends: Box<[u32]>,
    /// When it was appended; `None` where that was before it was read from disk.
    appended: Option<Instant>,
    source: Arc<str>,
    records: OnceLock<Result<Box<[Stamped]>, Unreadable>>,
    views: Views,
}

/// A record that is stored whole and can't be read as one of its stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored record at position {position} can't be read: {reason}")]
pub struct Unreadable {
    /// Its position in its stream.
    pub position: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What a chunk on disk is made of, besides the stream and its source.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) position: u64,
    pub(crate) ids: Box<[RecordId]>,
    pub(crate) times: Box<[Timestamp]>,
    pub(crate) tenants: Tenants,
    pub(crate) lines: Bytes,
    pub(crate) ends: Box<[u32]>,
}

impl Chunk {
    /// Encodes `records` and keeps both, as one chunk. `source` names the producer in CloudEvents
    /// envelopes.
    pub(crate) fn new(
        stream: Stream,
        position: u64,
        records: Vec<Stamped>,
        source: Arc<str>,
    ) -> Self {
        let mut lines = Lines::for_records(records.len());
        records.iter().for_each(|stamped| lines.push(&stamped.record));
        Self::made(stream, position, records, lines, source)
    }

    /// Encodes `records` and gives them to `each` as chunks of at most [`MOST_BYTES`] of lines, or
    /// one record. Leaves out those whose line is longer than `max_record` bytes, and returns how
    /// many.
    pub(crate) fn of_run(
        stream: Stream,
        mut records: Vec<Stamped>,
        max_record: usize,
        source: &Arc<str>,
        mut each: impl FnMut(Self),
    ) -> usize {
        let mut refused = 0;
        while !records.is_empty() {
            let mut lines = Lines::for_records(records.len());
            let mut taken = 0;
            let mut too_large = false;
            for stamped in &records {
                let before = lines.bytes.len();
                lines.push(&stamped.record);
                too_large = lines.bytes.len() - before > max_record.saturating_add(1);
                if too_large || lines.bytes.len() > MOST_BYTES && taken > 0 {
                    lines.pop(before);
                    break;
                }
                taken += 1;
            }
            let mut rest = records.split_off(taken);
            if too_large {
                rest.remove(0);
                refused += 1;
            }
            if taken > 0 {
                each(Self::made(stream, 0, records, lines, source.clone()));
            }
            records = rest;
        }
        refused
    }

    fn made(
        stream: Stream,
        position: u64,
        records: Vec<Stamped>,
        lines: Lines,
        source: Arc<str>,
    ) -> Self {
        let Lines { mut bytes, ends } = lines;
        bytes.shrink_to_fit();
        Self {
            stream,
            position,
            ids: records.iter().map(|stamped| stamped.id).collect(),
            times: records.iter().map(|stamped| stamped.time).collect(),
            tenants: Tenants::of(records.iter().map(|stamped| stamped.record.tenant())),
            lines: bytes.into(),
            ends: ends.into(),
            appended: Some(Instant::now()),
            source,
            records: OnceLock::from(Ok(records.into_boxed_slice())),
            views: Views::default(),
        }
    }

    /// A chunk that was read from disk.
    pub(crate) fn stored(stream: Stream, source: Arc<str>, stored: Stored) -> Self {
        let Stored { position, ids, times, tenants, lines, ends } = stored;
        Self {
            stream,
            position,
            ids,
            times,
            tenants,
            lines,
            ends,
            appended: None,
            source,
            records: OnceLock::new(),
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

    /// The position behind its last record.
    pub fn end(&self) -> u64 {
        self.position + self.ids.len() as u64
    }

    /// How many records.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Gives the chunk another place in its stream, before anybody else has seen it.
    pub(crate) fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    pub(crate) fn ids(&self) -> &[RecordId] {
        &self.ids
    }

    pub(crate) fn times(&self) -> &[Timestamp] {
        &self.times
    }

    pub(crate) fn tenants(&self) -> &Tenants {
        &self.tenants
    }

    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The records, in order.
    ///
    /// # Errors
    ///
    /// Names the first that can't be read.
    pub fn records(&self) -> Result<&[Stamped], Unreadable> {
        let records = self.records.get_or_init(|| self.parse());
        records.as_deref().map_err(Clone::clone)
    }

    /// Reads the records from their lines.
    fn parse(&self) -> Result<Box<[Stamped]>, Unreadable> {
        let parse = |(index, (&id, &time)): (usize, (&RecordId, &Timestamp))| {
            let line = self.lines(index..index + 1);
            let record = parse_line(self.stream, line.trim_ascii_end(), time);
            let record: Record = record.map_err(|error| Unreadable {
                position: self.position + index as u64,
                reason: error.to_string(),
            })?;
            Ok(Stamped { id, time, record })
        };
        self.ids.iter().zip(&self.times).enumerate().map(parse).collect()
    }

    /// When the chunk was appended, unless it was read from disk.
    pub(crate) fn appended(&self) -> Option<Instant> {
        self.appended
    }

    /// Memory that the chunk is taken to hold, in bytes: an estimate, since what a record's strings
    /// hold on the heap is about what its line holds.
    pub(crate) fn weight(&self) -> u64 {
        let records = self.len() * (size_of::<Stamped>() + COLUMNS);
        (records + 2 * self.lines.len()) as u64
    }

    /// Length of the lines of these records, in bytes.
    pub(crate) fn line_bytes(&self, records: Range<usize>) -> usize {
        self.line_end(records.end).saturating_sub(self.line_end(records.start))
    }

    /// The lines of these records, without a copy.
    pub(crate) fn lines(&self, records: Range<usize>) -> Bytes {
        let start = self.line_end(records.start);
        self.lines.slice(start..self.line_end(records.end).max(start))
    }

    pub(crate) fn all_lines(&self) -> &Bytes {
        &self.lines
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
            Some(last) => self.ends.get(last).map_or(self.lines.len(), |&end| end as usize),
        }
    }
}

/// A chunk has no more bytes of lines than this, unless one record alone has: it has to fit a frame,
/// and whoever reads it holds it whole.
const MOST_BYTES: usize = 4 << 20;

/// Lines in the making.
struct Lines {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Lines {
    fn for_records(records: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(records * TYPICAL_LINE),
            ends: Vec::with_capacity(records),
        }
    }

    fn push(&mut self, record: &Record) {
        record.encode(&mut self.bytes);
        self.bytes.push(b'\n');
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    /// Takes the last line away again, which began at `begin`.
    fn pop(&mut self, begin: usize) {
        self.bytes.truncate(begin);
        self.ends.pop();
    }
}

/// Room set aside for a line before its length is known.
const TYPICAL_LINE: usize = 256;

/// What a record takes beside itself and its line: id, time, tenant, end of line.
const COLUMNS: usize = 48;

/// Views of a run of records, each made when it is first asked for.
#[derive(Debug, Default)]
pub(crate) struct Views {
    json_array: OnceLock<Bytes>,
    cloudevents_batch: OnceLock<Result<Bytes, Unreadable>>,
    cloudevents_jsonl: OnceLock<Result<Bytes, Unreadable>>,
    pub(crate) columns: OnceLock<Result<Arc<UsageColumns>, Unreadable>>,
}

impl Views {
    /// The bytes of an encoding other than plain lines, made by `make` the first time.
    pub(crate) fn bytes(
        &self,
        encoding: Encoding,
        make: impl FnOnce() -> Result<Bytes, Unreadable>,
    ) -> Result<Bytes, Unreadable> {
        match encoding {
            Encoding::Jsonl => make(),
            Encoding::JsonArray => match self.json_array.get() {
                Some(bytes) => Ok(bytes.clone()),
                None => make().map(|bytes| self.json_array.get_or_init(|| bytes).clone()),
            },
            Encoding::CloudEventsBatch => self.cloudevents_batch.get_or_init(make).clone(),
            Encoding::CloudEventsJsonl => self.cloudevents_jsonl.get_or_init(make).clone(),
        }
    }
}
