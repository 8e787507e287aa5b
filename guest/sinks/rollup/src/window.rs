//! A window of time, its cells in memory, and its file.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasink_guest::{Timestamp, Utc, serde_json};

use crate::counters::{Counters, Sums};
use crate::seal;

const FORMAT: &str = "wasink-rollup/1";

const NANOS: i64 = 1_000_000_000;

/// Which window: where it begins, in seconds since 1970, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) start: i64,
    pub(crate) seconds: u32,
}

impl Key {
    /// The window of this length that a record belongs to.
    pub(crate) fn of(emitted_at: Timestamp, seconds: u32) -> Self {
        let length = i64::from(seconds);
        Self { start: emitted_at.div_euclid(length * NANOS) * length, seconds }
    }

    /// The name of its file.
    pub(crate) fn file(self) -> String {
        let Utc { year, month, day, hour, minute, second, .. } = utc(self.start);
        let seconds = self.seconds;
        format!(
            "rollup-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{seconds}s.jsonl"
        )
    }

    fn begins(self) -> String {
        utc(self.start).to_string()
    }

    fn ends(self) -> String {
        utc(self.start + i64::from(self.seconds)).to_string()
    }
}

/// A window that reaches out of what timestamps can say is cut there.
fn utc(seconds: i64) -> Utc {
    Utc::from_timestamp(seconds.saturating_mul(NANOS))
}

/// The cells of a window.
#[derive(Debug)]
pub(crate) struct Window {
    /// When these counters began at zero.
    pub(crate) since: String,
    /// Whether there has been a file of it.
    pub(crate) has_file: bool,
    /// When it was used last, by the count of batches.
    pub(crate) used: u64,
    cells: Vec<Cell>,
    /// Where in `cells` a tenant is.
    tenants: BTreeMap<Arc<str>, usize>,
    unlogged: Vec<usize>,
    unsaved: Vec<usize>,
}

#[derive(Debug)]
struct Cell {
    tenant: Arc<str>,
    counters: Counters,
    /// The log has it as it is.
    logged: bool,
    /// The window's file has it as it is.
    saved: bool,
}

/// Which cells of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Those that are not in the log as they are.
    Unlogged,
    /// Those that are not in the window's file as they are.
    Unsaved,
}

impl Window {
    pub(crate) fn new(since: String) -> Self {
        Self {
            since,
            has_file: false,
            used: 0,
            cells: Vec::new(),
            tenants: BTreeMap::new(),
            unlogged: Vec::new(),
            unsaved: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, tenant: &str, more: &Counters) {
        self.change(tenant, |counters| counters.add(more));
    }

    pub(crate) fn set(&mut self, tenant: &str, to: Counters) {
        self.change(tenant, |counters| *counters = to);
    }

    fn change(&mut self, tenant: &str, change: impl FnOnce(&mut Counters)) {
        let at = match self.tenants.get(tenant) {
            Some(at) => *at,
            None => self.insert(tenant, Counters::default()),
        };
        if let Some(cell) = self.cells.get_mut(at) {
            change(&mut cell.counters);
            if std::mem::take(&mut cell.logged) {
                self.unlogged.push(at);
            }
            if std::mem::take(&mut cell.saved) {
                self.unsaved.push(at);
            }
        }
    }

    /// Adds a tenant, as one that is in log and file, and returns where it is.
    fn insert(&mut self, tenant: &str, counters: Counters) -> usize {
        let tenant: Arc<str> = tenant.into();
        let at = self.cells.len();
        self.tenants.insert(tenant.clone(), at);
        self.cells.push(Cell { tenant, counters, logged: true, saved: true });
        at
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.unsaved.is_empty()
    }

    pub(crate) fn changed(&self, which: Changed) -> impl Iterator<Item = (&str, Counters)> {
        let cells = match which {
            Changed::Unlogged => &self.unlogged,
            Changed::Unsaved => &self.unsaved,
        };
        cells.iter().filter_map(|at| self.cells.get(*at)).map(|cell| (&*cell.tenant, cell.counters))
    }

    /// All changes are in the log.
    pub(crate) fn now_logged(&mut self) {
        for at in self.unlogged.drain(..) {
            if let Some(cell) = self.cells.get_mut(at) {
                cell.logged = true;
            }
        }
    }

    /// All changes are in the window's file.
    pub(crate) fn now_saved(&mut self) {
        self.has_file = true;
        for at in self.unsaved.drain(..) {
            if let Some(cell) = self.cells.get_mut(at) {
                cell.saved = true;
            }
        }
    }
}

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    format: String,
    window_start: String,
    window_end: String,
    /// The epoch in which the counting began.
    pub(crate) epoch: String,
    /// When that was.
    pub(crate) began: String,
    /// When the counters of this file began at zero.
    since: String,
    /// Where the stream was that far counted, when the file was written.
    position: u64,
}

/// A line of a file.
#[derive(Serialize, Deserialize)]
struct Row<'a> {
    tenant: std::borrow::Cow<'a, str>,
    all: Sums,
    billable: Sums,
    ok: u128,
    failed: u128,
    denied: u128,
    mem_bytes_max: u128,
}

/// The text of the window's file.
pub(crate) fn encode(
    key: Key,
    window: &Window,
    epoch: &str,
    began: &str,
    position: u64,
) -> io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(1024 + 256 * window.len());
    let header = Header {
        format: FORMAT.to_owned(),
        window_start: key.begins(),
        window_end: key.ends(),
        epoch: epoch.to_owned(),
        began: began.to_owned(),
        since: window.since.clone(),
        position,
    };
    seal::line(&mut text, &header)?;
    for cell in window.tenants.values().filter_map(|at| window.cells.get(*at)) {
        let Counters { all, billable, ok, failed, denied, mem_bytes_max } = cell.counters;
        let tenant = (&*cell.tenant).into();
        let row = Row { tenant, all, billable, ok, failed, denied, mem_bytes_max };
        seal::line(&mut text, &row)?;
    }
    seal::seal(&mut text);
    Ok(text)
}

/// What the text of the window's file says; `None` where it is damaged.
pub(crate) fn decode(key: Key, text: &[u8]) -> Option<(Header, Window)> {
    let body = seal::unseal(text)?;
    let mut lines = body.strip_suffix(b"\n")?.split(|byte| *byte == b'\n');
    let header: Header = serde_json::from_slice(lines.next()?).ok()?;
    let of_key = header.window_start == key.begins() && header.window_end == key.ends();
    if header.format != FORMAT || !of_key {
        return None;
    }
    let mut window = Window::new(header.since.clone());
    window.has_file = true;
    for line in lines {
        let row: Row<'_> = serde_json::from_slice(line).ok()?;
        let Row { tenant, all, billable, ok, failed, denied, mem_bytes_max } = row;
        let counters = Counters { all, billable, ok, failed, denied, mem_bytes_max };
        if window.tenants.contains_key(&*tenant) {
            return None;
        }
        window.insert(&tenant, counters);
    }
    Some((header, window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_follow_one_another_from_1970_on_in_both_directions() {
        for (at, seconds, start) in [
            (0, 3_600, 0),
            (3_599_999_999_999, 3_600, 0),
            (3_600_000_000_000, 3_600, 3_600),
            (-1, 60, -60),
            (-60_000_000_000, 60, -60),
            (1_779_238_923_000_000_000, 86_400, 1_779_235_200),
        ] {
            assert_eq!(Key::of(at, seconds), Key { start, seconds });
        }
        for at in [i64::MIN, i64::MAX] {
            let key = Key::of(at, 2_678_400);
            assert!(key.file().ends_with("Z-2678400s.jsonl"), "{}", key.file());
        }
        let key = Key::of(1_779_238_923_000_000_000, 3_600);
        assert_eq!(key.file(), "rollup-20260520T010000Z-3600s.jsonl");
        assert_eq!(
            (&*key.begins(), &*key.ends()),
            ("2026-05-20T01:00:00Z", "2026-05-20T02:00:00Z")
        );
    }

    #[test]
    fn a_file_with_any_byte_changed_or_missing_is_damaged() {
        let key = Key { start: 0, seconds: 60 };
        let mut window = Window::new("now".to_owned());
        window.add("a\n\"b", &Counters::from([u128::from(u64::MAX) << 40; 14]));
        window.add("", &Counters::default());
        let text = encode(key, &window, "e", "b", 9).unwrap();
        let (header, again) = decode(key, &text).unwrap();
        assert_eq!((&*header.epoch, &*header.began, header.position), ("e", "b", 9));
        assert_eq!(encode(key, &again, "e", "b", 9).unwrap(), text);
        for at in 0..text.len() {
            let mut flipped = text.clone();
            flipped[at] ^= 4;
            assert!(decode(key, &flipped).is_none(), "byte {at}");
            assert!(decode(key, &text[..at]).is_none(), "cut at {at}");
        }
        assert!(decode(Key { start: 60, seconds: 60 }, &text).is_none(), "another window's");
    }
}
