//! What a plugin is given at a time: a run of records cut out of one or more chunks.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use wasink_record::{Stamped, Stream};

use crate::chunk::{Chunk, Views};
use crate::columns::UsageColumns;

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
    fn records(&self) -> &[Stamped] {
        self.chunk.records().get(self.range.clone()).unwrap_or_default()
    }

    fn lines(&self) -> Bytes {
        self.chunk.lines(self.range.start, self.range.end)
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
        let range = 0..chunk.records().len();
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

    /// The records, in order.
    pub fn records(&self) -> impl Iterator<Item = &Stamped> {
        self.parts.iter().flat_map(Part::records)
    }

    /// Length of the batch as JSON Lines, in bytes.
    pub fn line_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.chunk.line_bytes(part.range.start, part.range.end)).sum()
    }

    /// The batch as bytes. Each encoding is made once; asking again costs nothing.
    pub fn encode(&self, encoding: Encoding) -> Bytes {
        let views = self.shared_views().unwrap_or(&self.views);
        match views.of(encoding) {
            None => self.lines(),
            Some(view) => view.get_or_init(|| self.encode_anew(encoding)).clone(),
        }
    }

    /// The records of a `usage` batch by column, made once; `None` for a batch of another stream.
    pub fn usage_columns(&self) -> Option<Arc<UsageColumns>> {
        if self.stream() != Stream::Usage {
            return None;
        }
        let views = self.shared_views().unwrap_or(&self.views);
        let columns = || Arc::new(UsageColumns::new(self.len, self.records()));
        Some(views.columns.get_or_init(columns).clone())
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
            [part] if part.range.len() == part.chunk.records().len() => Some(part.chunk.views()),
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

    fn encode_anew(&self, encoding: Encoding) -> Bytes {
        let mut out = Vec::with_capacity(self.line_bytes() + self.len * ENVELOPE);
        let (open, separator, close): (&[u8], &[u8], &[u8]) = match encoding {
            Encoding::JsonArray | Encoding::CloudEventsBatch => (b"[", b",", b"]"),
            Encoding::Jsonl | Encoding::CloudEventsJsonl => (b"", b"\n", b"\n"),
        };
        out.extend_from_slice(open);
        let source = self.first().chunk.source();
        for (index, stamped) in self.records().enumerate() {
            if index > 0 {
                out.extend_from_slice(separator);
            }
            match encoding {
                Encoding::Jsonl | Encoding::JsonArray => stamped.record.encode(&mut out),
                Encoding::CloudEventsBatch | Encoding::CloudEventsJsonl => {
                    stamped.encode_cloudevent(source, &mut out);
                }
            }
        }
        out.extend_from_slice(close);
        out.into()
    }
}

/// Room set aside for what an envelope adds to a record.
const ENVELOPE: usize = 192;
