//! A last line that tells whether the lines before it are whole: `{"crc32":"89abcdef"}`.

use std::io;

use flate2::Crc;
use serde::Serialize;
use wasink_guest::serde_json;

const BEGIN: &[u8] = b"{\"crc32\":\"";
const END: &[u8] = b"\"}\n";

/// Adds a line.
pub(crate) fn line(text: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *text, value)?;
    text.push(b'\n');
    Ok(())
}

/// Adds the last line.
pub(crate) fn seal(text: &mut Vec<u8>) {
    let seal = seal_of(text);
    text.extend_from_slice(&seal);
}

/// Whether the line is a last one.
pub(crate) fn is_seal(line: &[u8]) -> bool {
    line.starts_with(BEGIN) && line.ends_with(END)
}

/// The lines without the last one, if that fits them.
pub(crate) fn unseal(text: &[u8]) -> Option<&[u8]> {
    let at = text.len().checked_sub(BEGIN.len() + 8 + END.len())?;
    let (body, seal) = text.split_at_checked(at)?;
    (seal == seal_of(body)).then_some(body)
}

fn seal_of(text: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(text);
    [BEGIN, format!("{:08x}", crc.sum()).as_bytes(), END].concat()
}
