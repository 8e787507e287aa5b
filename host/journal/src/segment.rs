//! Segments: the files that hold a journal's frames.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};

use wasink_record::Stream;

use crate::frame::{Encoded, MAX_POSITION, crc, put, u32_at, u64_at};
use crate::storage::{Storage, StorageFile};

const MAGIC: [u8; 8] = *b"wasinkJ\n";

/// The version of the format that is written.
pub(crate) const VERSION: u32 = 1;

/// Length of a segment's header, in bytes: the first frame begins behind it.
pub(crate) const HEADER: usize = 64;

const EXTENSION: &str = ".segment";

/// What was accepted by tenant. Records of nobody's are not in it.
pub(crate) type Accepted = BTreeMap<String, u64>;

/// The name of the segment that begins at this position.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}{EXTENSION}")
}

/// Where the segment of this name begins; `None` for the name of another file.
pub(crate) fn first(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|&first| plain && first <= MAX_POSITION)
}

/// What a segment's header says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// A segment of this stream that can be read.
    Good,
    /// Bytes that are no header.
    Damaged,
    /// The header of a later format.
    Newer(u32),
    /// A segment of another stream.
    Foreign,
}

/// Looks at the header.
pub(crate) fn head(file: &dyn StorageFile, stream: Stream) -> io::Result<Head> {
    let mut bytes = [0; HEADER];
    let read = file.read_full_at(&mut bytes, 0)?;
    let whole =
        read == HEADER && bytes.starts_with(&MAGIC) && u32_at(&bytes, 12) == own_crc(&bytes);
    Ok(match u32_at(&bytes, 8) {
        Some(VERSION) if whole && named(&bytes) == Some(stream.as_str().as_bytes()) => Head::Good,
        Some(VERSION) if whole => Head::Foreign,
        Some(version) if whole && version > VERSION => Head::Newer(version),
        _ => Head::Damaged,
    })
}

/// Where the segment says that it begins.
pub(crate) fn header(stream: Stream, first: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    put(&mut bytes, 0, &MAGIC);
    put(&mut bytes, 8, &VERSION.to_le_bytes());
    put(&mut bytes, 16, &first.to_le_bytes());
    put(&mut bytes, 24, stream.as_str().as_bytes());
    let crc = own_crc(&bytes).unwrap_or_default();
    put(&mut bytes, 12, &crc.to_le_bytes());
    bytes
}

fn own_crc(header: &[u8]) -> Option<u32> {
    Some(crc(&[header.get(..12)?, header.get(16..HEADER)?]))
}

fn named(header: &[u8]) -> Option<&[u8]> {
    let name = header.get(24..HEADER)?;
    u64_at(header, 16)?;
    name.split(|&byte| byte == 0).next()
}

/// Makes a segment with its header and its base, under a name that says it is not ready, and gives
/// it its own name once it is whole. Where `durable`, it is so once this returns.
pub(crate) fn create(
    storage: &dyn Storage,
    stream: Stream,
    first: u64,
    base: &Accepted,
    durable: bool,
) -> io::Result<(Box<dyn StorageFile>, u64)> {
    const UNREADY: &str = "segment.tmp";
    match storage.remove(UNREADY) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(UNREADY)?;
    let header = header(stream, first);
    let base = serde_json::to_vec(base).unwrap_or_default();
    let base = Encoded::base(first, &base);
    let [head, body, tail] = base.slices();
    file.write_all_at(&mut [IoSlice::new(&header), head, body, tail], 0)?;
    if durable {
        file.sync()?;
    }
    storage.rename(UNREADY, &name(first))?;
    if durable {
        storage.sync_directory()?;
    }
    Ok((file, HEADER as u64 + base.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_positions_do_and_nothing_else_is_a_segment() {
        assert_eq!(first(&name(0)), Some(0));
        assert_eq!(first(&name(MAX_POSITION)), Some(MAX_POSITION));
        assert!(name(9) < name(10));
        let far = name(u64::MAX);
        for other in ["segment.tmp", "1.segment", "+0000000000000000001.segment", "lock", &far] {
            assert_eq!(first(other), None, "{other}");
        }
    }
}
