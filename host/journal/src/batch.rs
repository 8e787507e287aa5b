//! What a plugin is given at a time: a run of records cut out of one or more chunks.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use wasink_record::{RecordId, Stamped, Stream, Timestamp};

use crate::chunk::{Chunk, Unreadable, Views};
use crate::columns::UsageColumns;
use crate::tenants::Whose;

/// Ways to write a whole batch as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encoding {
    /// JSON Lines: each record in its wire format, with `\n` at the end of every line.
    Jsonl,
    /// One JSON array of the same objects.
    JsonArray,
    /// One JSON array of CloudEvents 1.0 envelopes.
    CloudEventsBatch,
    /// JSON Lines of CloudEvents 1.0 envelopes.
    CloudEventsJsonl,
}

/// A run of records of one stream, without a gap, in the order in which they were accepted.
///
/// Cheap to make and to share: it refers to the chunks that hold the records. A batch that is the
/// whole of one chunk shares that chunk's views with every other reader.
#[derive(Debug)]
pub struct Batch {
    parts: Vec<Part>,
    len: usize,
    views: Views,
}

#[derive(Debug, Clone)]
struct Part {
    chunk: Arc<Chunk>,
    range: Range<usize>,
}

impl Part {
    fn records(&self) -> Result<&[Stamped], Unreadable> {
        Ok(self.chunk.records()?.get(self.range.clone()).unwrap_or_default())
    }

    fn ids(&self) -> &[RecordId] {
        self.chunk.ids().get(self.range.clone()).unwrap_or_default()
    }

    fn lines(&self) -> Bytes {
        self.chunk.lines(self.range.clone())
    }
}

impl Batch {
    /// A batch of all the records of one run, outside any log: for tests and benches.
    ///
    /// `source` names the producer in CloudEvents envelopes. `None` where there are no records: a
    /// batch is never empty.
    pub fn of(
        stream: Stream,
        position: u64,
        records: Vec<Stamped>,
        source: impl Into<Arc<str>>,
    ) -> Option<Self> {
        let chunk = Arc::new(Chunk::new(stream, position, records, source.into()));
        let range = 0..chunk.len();
        Self::new([(chunk, range)])
    }

    /// The given runs of chunks as one batch; `None` where they hold no record.
    pub(crate) fn new(parts: impl IntoIterator<Item = (Arc<Chunk>, Range<usize>)>) -> Option<Self> {
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, range)| !range.is_empty())
            .map(|(chunk, range)| Part { chunk, range })
            .collect();
        let len = parts.iter().map(|part| part.range.len()).sum();
        (len > 0).then(|| Self { parts, len, views: Views::default() })
    }

    /// The stream that all the records are of.
    pub fn stream(&self) -> Stream {
        self.first().chunk.stream()
    }

    /// How many records; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Position in the stream of the first record.
    pub fn position(&self) -> u64 {
        let part = self.first();
        part.chunk.position() + part.range.start as u64
    }

    /// Position behind the last record.
    pub fn end(&self) -> u64 {
        self.position() + self.len as u64
    }

    /// The id of each record, in order.
    pub fn ids(&self) -> impl Iterator<Item = RecordId> + '_ {
        self.parts.iter().flat_map(Part::ids).copied()
    }

    /// The records, in order. Those of a chunk that was read from disk are parsed by the first who
    /// asks.
    ///
    /// # Errors
    ///
    /// Names a record that can't be read, perhaps one beside the batch that was stored with it.
    pub fn records(&self) -> Result<impl Iterator<Item = &Stamped>, Unreadable> {
        let parts: Result<Vec<_>, _> = self.parts.iter().map(Part::records).collect();
        Ok(parts?.into_iter().flatten())
    }

    /// The id of the record at `index`.
    pub fn id(&self, index: usize) -> Option<RecordId> {
        let (part, at) = self.place(index)?;
        part.chunk.ids().get(at).copied()
    }

    /// When the record at `index` was taken.
    pub fn time(&self, index: usize) -> Option<Timestamp> {
        let (part, at) = self.place(index)?;
        part.chunk.times().get(at).copied()
    }

    /// The line of the record at `index`, its `\n` included.
    pub fn line(&self, index: usize) -> Option<Bytes> {
        let (part, at) = self.place(index)?;
        Some(part.chunk.lines(at..at + 1))
    }

    /// Who the record at `index` is accounted to.
    pub(crate) fn tenant(&self, index: usize) -> Option<&str> {
        let (part, at) = self.place(index)?;
        part.chunk.tenants().get(at)
    }

    /// Who its records are accounted to.
    pub(crate) fn whose(&self) -> Whose<'_> {
        let mut whose = Whose::default();
        for Part { chunk, .. } in &self.parts {
            whose.add(chunk.position(), chunk.tenants());
        }
        whose
    }

    /// The part that holds the record at `index`, and where.
    fn place(&self, mut index: usize) -> Option<(&Part, usize)> {
        for part in &self.parts {
            if index < part.range.len() {
                return Some((part, part.range.start + index));
            }
            index -= part.range.len();
        }
        None
    }

    /// Length of the batch as JSON Lines, in bytes.
    pub fn line_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.chunk.line_bytes(part.range.clone())).sum()
    }

    /// The batch as bytes. Each encoding is made once; asking again costs nothing.
    ///
    /// # Errors
    ///
    /// Envelopes need the records: see [`records`](Self::records). Lines and the array never fail.
    pub fn encode(&self, encoding: Encoding) -> Result<Bytes, Unreadable> {
        if encoding == Encoding::Jsonl {
            return Ok(self.lines());
        }
        let views = self.shared_views().unwrap_or(&self.views);
        views.bytes(encoding, || self.encode_anew(encoding))
    }

    /// The records of a `usage` batch by column, made once; `None` for a batch of another stream.
    ///
    /// # Errors
    ///
    /// As for [`records`](Self::records).
    pub fn usage_columns(&self) -> Result<Option<Arc<UsageColumns>>, Unreadable> {
        if self.stream() != Stream::Usage {
            return Ok(None);
        }
        let views = self.shared_views().unwrap_or(&self.views);
        let columns = || Ok(Arc::new(UsageColumns::new(self.len, self.records()?)));
        views.columns.get_or_init(columns).clone().map(Some)
    }

    /// The first `count` records and the rest, as batches of their own; a side that would be empty
    /// is `None`.
    pub fn split_at(&self, count: usize) -> (Option<Self>, Option<Self>) {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let mut left = count;
        for Part { chunk, range } in &self.parts {
            let cut = range.start + left.min(range.len());
            left -= cut - range.start;
            head.push((chunk.clone(), range.start..cut));
            tail.push((chunk.clone(), cut..range.end));
        }
        (Self::new(head), Self::new(tail))
    }

    #[expect(clippy::indexing_slicing, reason = "a batch is never empty, so it has a first part")]
    fn first(&self) -> &Part {
        &self.parts[0]
    }

    /// The views of the chunk, where the batch is all of it.
    fn shared_views(&self) -> Option<&Views> {
        match self.parts.as_slice() {
            [part] if part.range.len() == part.chunk.len() => Some(part.chunk.views()),
            _ => None,
        }
    }

    fn lines(&self) -> Bytes {
        match self.parts.as_slice() {
            [part] => part.lines(),
            parts => {
                let mut lines = BytesMut::with_capacity(self.line_bytes());
                for part in parts {
                    lines.put(part.lines());
                }
                lines.freeze()
            }
        }
    }

    fn encode_anew(&self, encoding: Encoding) -> Result<Bytes, Unreadable> {
        match encoding {
            Encoding::Jsonl => Ok(self.lines()),
            Encoding::JsonArray => Ok(self.array()),
            Encoding::CloudEventsBatch => self.envelopes(b"[", b",", b"]"),
            Encoding::CloudEventsJsonl => self.envelopes(b"", b"\n", b"\n"),
        }
    }

    /// The lines as one array. A line has no line's end inside, so the ends are what is between
    /// records.
    fn array(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.line_bytes() + 2);
        out.push(b'[');
        for part in &self.parts {
            let start = out.len();
            out.extend_from_slice(&part.lines());
            let lines = out.get_mut(start..).unwrap_or_default();
            lines.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b',');
        }
        out.pop();
        out.push(b']');
        out.into()
    }

    fn envelopes(&self, open: &[u8], separator: &[u8], close: &[u8]) -> Result<Bytes, Unreadable> {
        let mut out = Vec::with_capacity(self.line_bytes() + self.len * ENVELOPE);
        out.extend_from_slice(open);
        let source = self.first().chunk.source();
        for (index, stamped) in self.records()?.enumerate() {
            if index > 0 {
                out.extend_from_slice(separator);
            }
            stamped.encode_cloudevent(source, &mut out);
        }
        out.extend_from_slice(close);
        Ok(out.into())
    }
}

/// Room set aside for what an envelope adds to a record.
const ENVELOPE: usize = 192;
