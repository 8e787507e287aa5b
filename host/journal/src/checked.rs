//! Files of checked lines: a checksum, a space, one JSON object.
//!
//! Small things that are appended one by one are kept this way: what became of records, and dead
//! letters. Anybody can read such a file, and a line that was torn or damaged is known by itself.

use std::io::{self, IoSlice};
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::crc;
use crate::storage::StorageFile;

/// So much of a file is read at a time.
pub(crate) const PIECE: usize = 256 << 10;

/// The bytes of one line.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut line = format!("{:08x} ", crc(&[&json])).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// What a line holds, given without its end; `None` where it is damaged.
pub(crate) fn parse<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = sum.strip_suffix(b" ").and_then(|sum| std::str::from_utf8(sum).ok())?;
    let sum = u32::from_str_radix(sum, 16).ok()?;
    if sum != crc(&[json]) { None } else { serde_json::from_slice(json).ok() }
}

/// Walks over the lines of `bytes`: where each is, without its end, and whether it has one.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, bool)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = at..at + end.unwrap_or(rest.len());
        at = line.end + 1;
        Some((line, end.is_some()))
    })
}

/// Gives every line from `offset` on to `each`, with whether it has an end.
pub(crate) fn scan(
    file: &dyn StorageFile,
    offset: u64,
    mut each: impl FnMut(&[u8], bool),
) -> io::Result<()> {
    let mut at = offset;
    let mut rest: Vec<u8> = Vec::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read_full_at(&mut piece, at)?;
        at += read as u64;
        rest.extend_from_slice(piece.get(..read).unwrap_or_default());
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for (line, ended) in lines(rest.get(..whole).unwrap_or_default()) {
            each(rest.get(line).unwrap_or_default(), ended);
        }
        rest.drain(..whole);
        if read < PIECE {
            break;
        }
    }
    if !rest.is_empty() {
        each(&rest, false);
    }
    Ok(())
}

/// Writes a part of a file over with itself, to be synced: what a sync has failed for may be seen and
/// not be on the disk, and would not be brought there by another sync alone.
pub(crate) fn write_over(file: &dyn StorageFile, part: Range<u64>) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let mut piece = vec![0; usize::try_from(part.end - at).unwrap_or(PIECE).min(PIECE)];
        let read = file.read_full_at(&mut piece, at)?;
        piece.truncate(read);
        file.write_all_at(&mut [IoSlice::new(&piece)], at)?;
        at += piece.len().max(1) as u64;
    }
    Ok(())
}

/// Appends to a file at a place that it keeps itself, so that what was written in part is written
/// over the next time.
#[derive(Debug)]
pub(crate) struct Appender {
    file: Box<dyn StorageFile>,
    len: u64,
    synced: bool,
}

impl Appender {
    pub(crate) fn new(file: Box<dyn StorageFile>, len: u64) -> Self {
        Self { file, len, synced: true }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.synced = false;
        self.file.write_all_at(&mut [IoSlice::new(bytes)], self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Appends so that it is durable: all of it, or nothing.
    pub(crate) fn append_durably(&mut self, bytes: &[u8]) -> io::Result<()> {
        let before = self.len;
        let done = self.append(bytes).and_then(|()| self.sync());
        if done.is_err() {
            // A sync that failed may have dropped what was written: nothing must come behind it.
            self.len = before;
            drop(self.file.set_len(before));
        }
        done
    }

    /// Writes all of the file over with itself.
    pub(crate) fn write_over(&mut self) -> io::Result<()> {
        self.synced = false;
        write_over(&*self.file, 0..self.len)
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.synced
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync()?;
            self.synced = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_any_byte_changed_is_damaged() {
        let whole = line(&vec!["a", "b"]);
        let (end, line) = whole.split_last().unwrap();
        assert_eq!(*end, b'\n');
        assert_eq!(parse::<Vec<String>>(line), Some(vec!["a".into(), "b".into()]));
        for at in 0..line.len() {
            let mut damaged = line.to_vec();
            damaged[at] ^= 1;
            assert_eq!(parse::<Vec<String>>(&damaged), None, "byte {at}");
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_told_apart() {
        let found: Vec<_> = lines(b"ab\n\nc").collect();
        assert_eq!(found, [(0..2, true), (3..3, true), (4..5, false)]);
    }
}
