//! Frames: what a segment is made of. The format is told in the crate's own documentation.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use crc32fast::Hasher;
use wasink_record::{RecordId, Stream, Timestamp};

use crate::chunk::{Chunk, Stored};
use crate::storage::StorageFile;
use crate::tenants::{NOBODY, Tenants};

const MAGIC: [u8; 4] = *b"wskF";
const TRAILER_MAGIC: [u8; 4] = *b"wskT";

/// Length of a frame's header, in bytes, and of its trailer, which says the same again: so that of a
/// damaged frame it is known which records were in it.
pub(crate) const HEADER: usize = 40;

/// Frames begin at multiples of it, counted from the file's beginning.
pub(crate) const ALIGN: u64 = 8;

/// No position is higher, and no version's number: no journal comes so far. What says so was not
/// written by one, and there is room behind it to count on.
pub(crate) const MAX_POSITION: u64 = 1 << 62;

/// No payload is longer; what says so is not a frame.
pub(crate) const MAX_PAYLOAD: u32 = 64 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Records.
    Records,
    /// What was accepted before the segment, by tenant.
    Base,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// Position of the first record, or, of a base, of the segment.
    pub(crate) position: u64,
    pub(crate) records: u32,
    /// Length of the payload, in bytes, without the zeros that fill it up to [`ALIGN`].
    pub(crate) payload: u32,
    crc: u32,
}

impl Header {
    fn encode(&self, magic: [u8; 4]) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let kind = match self.kind {
            Kind::Records => 1,
            Kind::Base => 2,
        };
        let fields: [&[u8]; 7] = [
            &magic,
            &[0; 4],
            &self.payload.to_le_bytes(),
            &self.crc.to_le_bytes(),
            &self.position.to_le_bytes(),
            &self.records.to_le_bytes(),
            &[kind],
        ];
        put(&mut bytes, 0, &fields.concat());
        let crc = crc(&[bytes.get(8..).unwrap_or_default()]);
        put(&mut bytes, 4, &crc.to_le_bytes());
        bytes
    }

    /// The header that these bytes begin with, where they do.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode_as(MAGIC, bytes)
    }

    fn decode_as(magic: [u8; 4], bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER)?;
        if bytes.get(..4)? != magic || u32_at(bytes, 4)? != crc(&[bytes.get(8..)?]) {
            return None;
        }
        let kind = match bytes.get(28)? {
            1 => Kind::Records,
            2 => Kind::Base,
            _ => return None,
        };
        let header = Self {
            kind,
            payload: u32_at(bytes, 8)?,
            crc: u32_at(bytes, 12)?,
            position: u64_at(bytes, 16)?,
            records: u32_at(bytes, 24)?,
        };
        let fits = header.payload <= MAX_PAYLOAD
            && header
                .position
                .checked_add(u64::from(header.records))
                .is_some_and(|end| end <= MAX_POSITION);
        fits.then_some(header)
    }

    /// The position behind the last record.
    pub(crate) fn end(&self) -> u64 {
        self.position + u64::from(self.records)
    }

    /// Bytes from the beginning of this frame to that of the next.
    pub(crate) fn stride(&self) -> u64 {
        align(HEADER as u64 + u64::from(self.payload)) + HEADER as u64
    }

    /// Whether `payload` is what was written.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        payload.len() == self.payload as usize && crc(&[payload]) == self.crc
    }
}

/// A frame ready to be written.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// Header and columns.
    head: Vec<u8>,
    /// Lines.
    body: Bytes,
    /// Zeros, and the trailer.
    tail: Vec<u8>,
}

impl Encoded {
    /// The frame of a chunk.
    pub(crate) fn of(chunk: &Chunk) -> Self {
        let mut columns = Vec::with_capacity(HEADER + chunk.len() * 28 + 64);
        columns.resize(HEADER, 0);
        chunk.ids().iter().for_each(|id| columns.extend_from_slice(id.as_bytes()));
        for time in chunk.times() {
            columns.extend_from_slice(&time.unix_nanos().to_le_bytes());
        }
        chunk.ends().iter().for_each(|end| columns.extend_from_slice(&end.to_le_bytes()));
        put_tenants(&mut columns, chunk.tenants());
        Self::new(Kind::Records, chunk.position(), chunk.len(), columns, chunk.all_lines().clone())
    }

    /// The frame that opens a segment.
    pub(crate) fn base(position: u64, base: &[u8]) -> Self {
        Self::new(Kind::Base, position, 0, vec![0; HEADER], Bytes::copy_from_slice(base))
    }

    fn new(kind: Kind, position: u64, records: usize, mut head: Vec<u8>, body: Bytes) -> Self {
        let payload = head.len() - HEADER + body.len();
        let header = Header {
            kind,
            position,
            records: u32::try_from(records).unwrap_or(u32::MAX),
            payload: u32::try_from(payload).unwrap_or(u32::MAX),
            crc: crc(&[head.get(HEADER..).unwrap_or_default(), &body]),
        };
        put(&mut head, 0, &header.encode(MAGIC));
        let unaligned = (HEADER + payload) as u64;
        let mut tail = vec![0; usize::try_from(align(unaligned) - unaligned).unwrap_or(0)];
        tail.extend_from_slice(&header.encode(TRAILER_MAGIC));
        Self { head, body, tail }
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        (self.head.len() + self.body.len() + self.tail.len()) as u64
    }

    /// Its bytes, in order.
    pub(crate) fn slices(&self) -> [IoSlice<'_>; 3] {
        [IoSlice::new(&self.head), IoSlice::new(&self.body), IoSlice::new(&self.tail)]
    }
}

/// Makes the chunk that `payload` holds; `None` where it is not what its header says.
pub(crate) fn chunk(
    header: &Header,
    payload: Bytes,
    stream: Stream,
    source: Arc<str>,
) -> Option<Chunk> {
    let count = header.records as usize;
    let mut rest = Fields(&payload);
    let ids = rest.take(count.checked_mul(16)?)?;
    let ids = ids.chunks_exact(16).map(|id| id.try_into().map(RecordId::from_bytes));
    let ids: Box<[_]> = ids.collect::<Result<_, _>>().ok()?;
    let times = rest.take(count.checked_mul(8)?)?;
    let times = times
        .chunks_exact(8)
        .map(|time| Some(Timestamp::from_unix_nanos(i64::from_le_bytes(time.try_into().ok()?))));
    let times: Box<[_]> = times.collect::<Option<_>>()?;
    let ends: Box<[u32]> = rest.numbers(count)?;
    let tenants = take_tenants(&mut rest, count)?;
    let lines = payload.slice_ref(rest.0);
    let ordered = ends.windows(2).all(|pair| pair.first() < pair.last());
    let last = ends.last().map_or(0, |&end| end as usize);
    if !ordered || last != lines.len() {
        return None;
    }
    let position = header.position;
    let stored = Stored { position, ids, times, tenants, lines, ends };
    Some(Chunk::stored(stream, source, stored))
}

/// The tenants of a frame of records, without the rest of it.
pub(crate) fn tenants(header: &Header, payload: &[u8]) -> Option<Tenants> {
    let count = header.records as usize;
    let mut rest = Fields(payload);
    rest.take(count.checked_mul(16 + 8 + 4)?)?;
    take_tenants(&mut rest, count)
}

fn put_tenants(out: &mut Vec<u8>, tenants: &Tenants) {
    let Tenants { values, codes, .. } = tenants;
    out.extend_from_slice(&u32::try_from(values.len()).unwrap_or(u32::MAX).to_le_bytes());
    if values.is_empty() {
        return;
    }
    codes.iter().for_each(|code| out.extend_from_slice(&code.to_le_bytes()));
    for value in values {
        out.extend_from_slice(&u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(value.as_bytes());
    }
}

fn take_tenants(rest: &mut Fields<'_>, count: usize) -> Option<Tenants> {
    let distinct = rest.number()?;
    if distinct == 0 {
        return Some(Tenants::default());
    }
    let codes = rest.numbers(count)?;
    if codes.iter().any(|&code| code != NOBODY && code >= distinct) {
        return None;
    }
    let value = |_| {
        let len = rest.number()? as usize;
        std::str::from_utf8(rest.take(len)?).ok().map(Box::from)
    };
    let values = (0..distinct).map(value).collect::<Option<_>>()?;
    Some(Tenants::new(values, codes))
}

/// Bytes that are taken from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| u32_at(bytes, 0))
    }

    fn numbers(&mut self, count: usize) -> Option<Box<[u32]>> {
        let bytes = self.take(count.checked_mul(4)?)?;
        bytes.chunks_exact(4).map(|bytes| u32_at(bytes, 0)).collect()
    }
}

/// A run of a segment's bytes, as a scan finds it.
#[derive(Debug)]
pub(crate) enum Found {
    /// A whole frame.
    Frame { offset: u64, header: Header, payload: Bytes },
    /// Bytes that are no frame, up to the next that is one, or to the end.
    Damage(Damage),
}

impl Damage {
    /// The position behind the last record that is known to have been in it.
    pub(crate) fn end(&self) -> Option<u64> {
        self.header.iter().chain(&self.trailer).map(Header::end).max()
    }
}

/// Bytes that should be frames and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// The header that they begin with, where that is whole.
    pub(crate) header: Option<Header>,
    /// The trailer that they end with, where that is whole.
    pub(crate) trailer: Option<Header>,
    /// Whether the file ends where the payload should go on: a write that was never finished.
    pub(crate) unfinished: bool,
}

/// Walks over the frames of a file.
#[derive(Debug)]
pub(crate) struct Scan {
    file: Arc<dyn StorageFile>,
    /// Where the next frame should begin.
    offset: u64,
    /// What has been read ahead: bytes of the file from `ahead_at` on.
    ahead: Bytes,
    ahead_at: u64,
    /// Whether what can't be read is taken for zeros.
    tolerant: bool,
    /// How many bytes were.
    unreadable: u64,
}

/// So much is read at a time.
const READ_AHEAD: usize = 256 << 10;

impl Scan {
    /// Begins at `offset`.
    pub(crate) fn new(file: Arc<dyn StorageFile>, offset: u64) -> Self {
        Self { file, offset, ahead: Bytes::new(), ahead_at: 0, tolerant: false, unreadable: 0 }
    }

    /// Takes what can't be read for zeros from now on: no frame, and so damaged.
    pub(crate) fn tolerate(&mut self) {
        self.tolerant = true;
    }

    /// Whether anything could not be read.
    pub(crate) fn has_unreadable(&self) -> bool {
        self.unreadable > 0
    }

    /// Goes on at `offset` once more.
    pub(crate) fn go_back(&mut self, offset: u64) {
        self.offset = offset;
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// What is next before `end`, an offset in the file; `None` there.
    ///
    /// # Errors
    ///
    /// What the file system says; the same again can be tried.
    pub(crate) fn next(&mut self, end: u64) -> io::Result<Option<Found>> {
        if self.offset >= end {
            return Ok(None);
        }
        if let Some((header, payload)) = self.frame(self.offset, end)? {
            let offset = self.offset;
            self.offset += header.stride();
            return Ok(Some(Found::Frame { offset, header, payload }));
        }
        let offset = self.offset;
        let header = self.header(offset, end)?;
        let unfinished = match header {
            Some(header) => offset + header.stride() > end,
            None => offset + HEADER as u64 > end,
        };
        // Where the next whole frame is, nobody knows: what lies in between may have any length.
        let mut at = offset + ALIGN;
        while at < end && self.frame(at, end)?.is_none() {
            at += ALIGN;
        }
        let at = at.min(end);
        self.offset = at;
        let trailer = match at.checked_sub(HEADER as u64).filter(|&trailer| trailer >= offset) {
            Some(trailer) => Header::decode_as(TRAILER_MAGIC, &self.bytes(trailer, HEADER, end)?),
            None => None,
        };
        Ok(Some(Found::Damage(Damage { offset, len: at - offset, header, trailer, unfinished })))
    }

    /// The header at `offset`, where there is one.
    fn header(&mut self, offset: u64, end: u64) -> io::Result<Option<Header>> {
        Ok(Header::decode(&self.bytes(offset, HEADER, end)?))
    }

    /// The frame at `offset`, where there is a whole one.
    fn frame(&mut self, offset: u64, end: u64) -> io::Result<Option<(Header, Bytes)>> {
        let Some(header) = self.header(offset, end)? else { return Ok(None) };
        let payload = self.bytes(offset + HEADER as u64, header.payload as usize, end)?;
        Ok(header.fits(&payload).then_some((header, payload)))
    }

    /// Up to `len` bytes from `offset` on: fewer before `end` or the file's end.
    fn bytes(&mut self, offset: u64, len: usize, end: u64) -> io::Result<Bytes> {
        let len = len.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX));
        let begin = offset.checked_sub(self.ahead_at).and_then(|at| usize::try_from(at).ok());
        if let Some(begin) = begin
            && begin + len <= self.ahead.len()
        {
            return Ok(self.ahead.slice(begin..begin + len));
        }
        let most = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut ahead = vec![0; len.max(READ_AHEAD.min(most))];
        let read = match self.file.read_full_at(&mut ahead, offset) {
            Err(_) if self.tolerant => {
                let (read, unreadable) = self.file.read_around_at(&mut ahead, offset)?;
                self.unreadable += unreadable;
                read
            }
            // What can't be read may only be near.
            Err(_) if ahead.len() > len => {
                ahead.truncate(len);
                self.file.read_full_at(&mut ahead, offset)?
            }
            read => read?,
        };
        ahead.truncate(read);
        self.ahead = ahead.into();
        self.ahead_at = offset;
        Ok(self.ahead.slice(..len.min(read)))
    }
}

pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

pub(crate) fn align(offset: u64) -> u64 {
    offset.next_multiple_of(ALIGN)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// Copies `from` into `to` at `at`, where it fits.
pub(crate) fn put(to: &mut [u8], at: usize, from: &[u8]) {
    if let Some(to) = to.get_mut(at..at + from.len()) {
        to.copy_from_slice(from);
    }
}
