//! Where damaged bytes go: beside the segments, each run with a receipt that says what it is.

use std::io::{self, IoSlice};
use std::ops::Range;

use serde_json::json;

use crate::frame::Damage;
use crate::segment;
use crate::storage::{Storage, StorageFile};

/// So much is copied at a time.
const PIECE: usize = 256 << 10;

const PREFIX: &str = "quarantine-";

/// Whether a file of this name is one of those.
pub(crate) fn is(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// Copies the damaged bytes of a segment to a file of their own, with a receipt, once however often
/// they are found. The segment keeps them, too, for as long as it is there.
pub(crate) fn keep(
    storage: &dyn Storage,
    segment: u64,
    file: &dyn StorageFile,
    damage: &Damage,
) -> io::Result<()> {
    let name = format!("{PREFIX}{segment:020}-{}", damage.offset);
    let receipt = format!("{name}.json");
    match storage.open(&receipt) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let bytes = format!("{name}.bin");
    let copy = match storage.create(&bytes) {
        // There from a time that did not come as far as the receipt.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&bytes)?,
        made => made?,
    };
    let unreadable = pour(file, damage.offset..damage.offset + damage.len, &*copy)?;
    copy.sync()?;
    let position = damage.header.or(damage.trailer).map(|header| header.position);
    let known = position.map(|first| json!({ "first_position": first, "end": damage.end() }));
    let text = json!({
        "segment": segment::name(segment),
        "offset": damage.offset,
        "bytes": damage.len,
        "unreadable_bytes": unreadable,
        "positions": known,
        "copy": bytes,
        "what": "bytes that are not a whole frame; the records in them could not be delivered",
    });
    // It has its name once it is whole: where it is, nothing is left to do.
    let unready = format!("{name}.tmp");
    let file = match storage.create(&unready) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => storage.open(&unready)?,
        made => made?,
    };
    file.set_len(0)?;
    file.write_all_at(&mut [IoSlice::new(format!("{text:#}\n").as_bytes())], 0)?;
    file.sync()?;
    storage.rename(&unready, &receipt)?;
    storage.sync_directory()
}

/// Copies a file that is about to be written anew.
pub(crate) fn copy(storage: &dyn Storage, names: &[String], name: &str) -> io::Result<()> {
    let other = |number: u32| format!("{PREFIX}{name}-{number}");
    let free = (0..).map(other).find(|other| !names.contains(other));
    let from = storage.open(name)?;
    let to = storage.create(&free.unwrap_or_default())?;
    pour(&*from, 0..from.len()?, &*to)?;
    to.sync()?;
    storage.sync_directory()
}

/// Copies a part of a file to the beginning of another, with zeros for what can't be read. Returns how
/// many those are.
fn pour(from: &dyn StorageFile, part: Range<u64>, to: &dyn StorageFile) -> io::Result<u64> {
    let mut piece = vec![0; usize::try_from(part.end - part.start).unwrap_or(PIECE).min(PIECE)];
    let mut at = part.start;
    let mut all_unreadable = 0;
    while at < part.end {
        let want = usize::try_from(part.end - at).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..want).unwrap_or_default();
        let (read, unreadable) = from.read_around_at(room, at)?;
        if read == 0 {
            break;
        }
        let bytes = room.get(..read).unwrap_or_default();
        to.write_all_at(&mut [IoSlice::new(bytes)], at - part.start)?;
        at += read as u64;
        all_unreadable += unreadable;
    }
    Ok(all_unreadable)
}
