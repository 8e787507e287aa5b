//! The log of the state, `rollup.state`: entries of JSON Lines, each with what changed since the one
//! before it.
//!
//! An entry is a line `entry`, then for each window a line `window` and an array for each cell, and
//! a seal. Cells are in it as they are, not by how much they have grown, so an entry that is read
//! twice, or over a newer file, does no harm. An entry is synced before the next is appended: only
//! the last can be torn.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize, Serializer};
use wasink_guest::serde_json;

use crate::counted::Counted;
use crate::counters::{Counters, NUMBERS};
use crate::seal;
use crate::window::{Changed, Key, Window};

pub(crate) const FILE: &str = "rollup.state";

const VERSION: u32 = 1;

const NEXT_ENTRY: &[u8] = b"\n{\"entry\":";

/// Everything but the cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// Number of the entry.
    pub(crate) sequence: u64,
    /// The epoch in which the counting began.
    pub(crate) epoch: String,
    /// When that was.
    pub(crate) began: String,
    pub(crate) counted: Counted,
    /// When a record was counted last, in milliseconds since 1970.
    pub(crate) counted_at: u64,
}

/// What the log says.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) root: Root,
    pub(crate) windows: BTreeMap<Key, Held>,
}

/// Cells of a window.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) since: String,
    pub(crate) has_file: bool,
    pub(crate) cells: BTreeMap<String, Counters>,
}

/// Why the log can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Damaged,
    /// A later version wrote it.
    Later,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Entry {
        version: u32,
        sequence: u64,
        epoch: String,
        began: String,
        end: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holes: Vec<(u64, u64)>,
        counted_at: u64,
    },
    Window {
        start: i64,
        seconds: u32,
        since: String,
        has_file: bool,
    },
}

/// What every version's entries say.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum AnyVersion {
    Entry { version: u32 },
}

/// Most numbers are small, and those are written faster.
struct Number(u128);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(self.0) {
            Ok(number) => serializer.serialize_u64(number),
            Err(_) => serializer.serialize_u128(self.0),
        }
    }
}

/// The text of an entry.
pub(crate) fn encode(
    root: &Root,
    windows: &BTreeMap<Key, Window>,
    which: Changed,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let entry = Line::Entry {
        version: VERSION,
        sequence: root.sequence,
        epoch: root.epoch.clone(),
        began: root.began.clone(),
        end: root.counted.end(),
        holes: root.counted.holes().to_vec(),
        counted_at: root.counted_at,
    };
    seal::line(&mut text, &entry)?;
    for (key, window) in windows {
        let mut changed = window.changed(which).peekable();
        if changed.peek().is_none() {
            continue;
        }
        let Key { start, seconds } = *key;
        let since = window.since.clone();
        seal::line(&mut text, &Line::Window { start, seconds, since, has_file: window.has_file })?;
        for (tenant, counters) in changed {
            seal::line(&mut text, &(tenant, counters.numbers().map(Number)))?;
        }
    }
    seal::seal(&mut text);
    Ok(text)
}

/// What the log says, but for a torn last entry.
pub(crate) fn decode(text: &[u8]) -> Result<State, Unreadable> {
    let mut state = None;
    let mut rest = text;
    while let Some((entry, after)) = split_entry(rest) {
        match read(entry, &mut state) {
            Ok(()) => rest = after,
            Err(Unreadable::Later) => return Err(Unreadable::Later),
            Err(Unreadable::Damaged) => break,
        }
    }
    // Once there is another entry, the one before it was whole.
    if rest.windows(NEXT_ENTRY.len()).any(|bytes| bytes == NEXT_ENTRY) {
        return Err(Unreadable::Damaged);
    }
    // The first entry had its seal before the file had its name.
    state.ok_or(Unreadable::Damaged)
}

fn split_entry(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        length += line.len();
        if seal::is_seal(line) {
            return text.split_at_checked(length);
        }
    }
    None
}

/// Adds an entry to the state, or leaves it as it was.
fn read(entry: &[u8], state: &mut Option<State>) -> Result<(), Unreadable> {
    let body = seal::unseal(entry).ok_or(Unreadable::Damaged)?;
    let first = body.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice(first) {
        Ok(AnyVersion::Entry { version }) if version > VERSION => return Err(Unreadable::Later),
        _ => {}
    }
    let (root, windows) = parse(body).ok_or(Unreadable::Damaged)?;
    match state {
        None => *state = Some(State { root, windows }),
        Some(state) => {
            let before = &state.root;
            if root.sequence != before.sequence + 1
                || (&root.epoch, &root.began) != (&before.epoch, &before.began)
            {
                return Err(Unreadable::Damaged);
            }
            state.root = root;
            for (key, held) in windows {
                let known = state.windows.entry(key).or_default();
                known.since = held.since;
                known.has_file = held.has_file;
                known.cells.extend(held.cells);
            }
        }
    }
    Ok(())
}

fn parse(body: &[u8]) -> Option<(Root, BTreeMap<Key, Held>)> {
    let mut lines = body.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let Line::Entry { sequence, epoch, began, end, holes, counted_at, .. } =
        serde_json::from_slice(lines.next()?).ok()?
    else {
        return None;
    };
    let root = Root { sequence, epoch, began, counted: Counted::of(end, holes)?, counted_at };
    let mut windows = BTreeMap::new();
    let mut window: Option<&mut Held> = None;
    for line in lines {
        if line.starts_with(b"[") {
            let (tenant, numbers): (String, [u128; NUMBERS]) = serde_json::from_slice(line).ok()?;
            window.as_mut()?.cells.insert(tenant, numbers.into());
        } else {
            let Line::Window { start, seconds, since, has_file } =
                serde_json::from_slice(line).ok()?
            else {
                return None;
            };
            let held: &mut Held = windows.entry(Key { start, seconds }).or_default();
            held.since = since;
            held.has_file = has_file;
            window = Some(held);
        }
    }
    Some((root, windows))
}

#[cfg(test)]
mod tests;
