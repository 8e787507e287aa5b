//! The counting itself: what is in memory, what is in the files, and in which order it gets there.
//!
//! What has been counted is lasting once it is in the log (`rollup.state`): that is when a flush
//! returns. The files of windows are written afterwards, from what is in the log by then, so each
//! can be written again, or be lost to a crash half way, and nothing changes. A new log takes the
//! old one's place once the files are lasting, with those cells in it that no file has yet.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use wasink_guest::{Batch, Error, Failure, UsageColumns, Utc, now};

use crate::counted::Counted;
use crate::counters::Counters;
use crate::state::{self, Held, Root, State, Unreadable};
use crate::storage::{Storage, length};
use crate::window::{self, Changed, Key, Window};

/// Bounds of what a call does and of what is kept in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Once the log has grown by so many bytes, or by as many as were written into files the last
    /// time if those were more, the files are written and it begins anew.
    pub(crate) log_bytes: u64,
    /// A call writes files until it has written so many bytes: it must come to an end in time.
    pub(crate) saved_bytes: u64,
    /// Windows beyond so many cells leave memory, those first that were not used for longest.
    pub(crate) cells: usize,
    /// A window stays for so many batches after the last that it was used for.
    pub(crate) batches: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { log_bytes: 4 << 20, saved_bytes: 16 << 20, cells: 1 << 17, batches: 64 }
    }
}

pub(crate) struct Book<S: Storage> {
    storage: S,
    seconds: u32,
    refresh: Duration,
    limits: Limits,
    root: Root,
    /// The positions below were counted before this instance was opened.
    inherited: u64,
    windows: BTreeMap<Key, Window>,
    /// The log that is appended to. After whatever failed there is none, and the next one is made
    /// anew: what became of the old one's end is not known.
    log: Option<Log<S::File>>,
    /// All that is counted is in a log that lasts.
    lasting: bool,
    refreshed: Duration,
    /// Bytes that the last refresh wrote.
    saved: u64,
    batches: u64,
}

struct Log<F> {
    file: F,
    size: u64,
    size_when_new: u64,
}

impl<S: Storage> Book<S> {
    /// Reads what was counted before. Nothing is written yet.
    pub(crate) fn open(
        storage: S,
        seconds: u32,
        refresh: Duration,
        limits: Limits,
        epoch: &str,
    ) -> Result<Self, Error> {
        let state = match storage.read(state::FILE)?.map(|text| state::decode(&text)) {
            None => None,
            Some(Ok(state)) => Some(state),
            Some(Err(Unreadable::Later)) => {
                return Err(Error::new(format!(
                    "`{}` was written by a later version of this plugin",
                    state::FILE
                )));
            }
            Some(Err(Unreadable::Damaged)) => {
                let aside = storage.set_aside(state::FILE, "damaged")?;
                wasink_guest::error!(
                    "the state is damaged and was set aside, counting begins anew";
                    set_aside = aside
                );
                None
            }
        };
        let known = state.is_some();
        let State { root, windows } = state.unwrap_or_else(|| State {
            root: Root {
                sequence: 0,
                epoch: epoch.to_owned(),
                began: Utc::from_duration(now()).to_string(),
                counted: Counted::default(),
                counted_at: 0,
            },
            windows: BTreeMap::new(),
        });
        let mut book = Self {
            storage,
            seconds,
            refresh,
            limits,
            inherited: root.counted.end(),
            root,
            windows: BTreeMap::new(),
            log: None,
            // It may have been read from the system's memory, and not be on the disk yet.
            lasting: !known,
            refreshed: Duration::ZERO,
            saved: 0,
            batches: 0,
        };
        for (key, held) in windows {
            book.take_over(key, held)?;
        }
        Ok(book)
    }

    /// Puts cells from the log over those of the window's file.
    fn take_over(&mut self, key: Key, held: Held) -> Result<(), Error> {
        let mut window = match self.read_window(key)? {
            Some(window) => window,
            None => {
                if held.has_file {
                    wasink_guest::error!(
                        "a window's file is gone while it was counted in; what was not in the \
                         state begins at zero";
                        file = key.file()
                    );
                }
                Window::new(held.since)
            }
        };
        for (tenant, counters) in held.cells {
            window.set(&tenant, counters);
        }
        self.windows.insert(key, window);
        Ok(())
    }

    /// Counts what of the batch has not been counted yet. After an error nothing of it has been.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), Failure> {
        let columns = batch.usage_columns()?;
        let positions = batch.position()..batch.position().saturating_add(batch.len().into());
        self.notice_new_positions(batch, &positions);
        let missing = self.root.counted.missing(&positions);
        if missing.is_empty() {
            return Ok(());
        }
        self.batches += 1;
        let rows = rows(&columns, &positions, &missing, self.seconds);
        for run in rows.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some((key, _)) = run.first() {
                self.load(*key)?;
            }
        }
        let mut sums = vec![None; columns.tenant.values.len()];
        for run in rows.chunk_by(|(one, _), (other, _)| one == other) {
            let window = run.first().and_then(|(key, _)| self.windows.get_mut(key));
            if let Some(window) = window {
                add(window, &columns, run, &mut sums);
            }
        }
        self.counted(&positions);
        Ok(())
    }

    /// A stream whose log is gone, or in memory, gives its positions anew. A record at a position
    /// that was counted is another one if its id was made after that.
    fn notice_new_positions(&mut self, batch: &Batch, positions: &Range<u64>) {
        if positions.start >= self.inherited.min(self.root.counted.end()) {
            return;
        }
        let counted_at = self.root.counted_at;
        let is_new = |(position, id): &(u64, String)| {
            *position < self.inherited
                && self.root.counted.contains(*position)
                && made_at(id).is_some_and(|made_at| made_at > counted_at)
        };
        if let Some((position, _)) = positions.clone().zip(batch.ids()).find(is_new) {
            wasink_guest::warn!(
                "the stream's positions begin anew, counting goes on";
                position = position, counted_to = self.root.counted.end()
            );
            self.root.counted.truncate(position);
            self.inherited = self.inherited.min(position);
        }
    }

    fn counted(&mut self, positions: &Range<u64>) {
        let first = self.root.counted == Counted::default();
        let added = self.root.counted.add(positions);
        if let Some(gap) = added.gap.filter(|_| !first) {
            wasink_guest::warn!("records did not come"; from = gap.start, to = gap.end);
        }
        if let Some(gap) = added.forgotten {
            wasink_guest::error!(
                "too many gaps: should these records yet come, they will not be counted";
                from = gap.start, to = gap.end
            );
        }
        let at = u64::try_from(now().as_millis()).unwrap_or(u64::MAX);
        self.root.counted_at = self.root.counted_at.max(at);
        self.lasting = false;
    }

    fn load(&mut self, key: Key) -> Result<(), Failure> {
        if !self.windows.contains_key(&key) {
            let window = self.read_window(key)?;
            let since = || Utc::from_duration(now()).to_string();
            self.windows.insert(key, window.unwrap_or_else(|| Window::new(since())));
        }
        if let Some(window) = self.windows.get_mut(&key) {
            window.used = self.batches;
        }
        Ok(())
    }

    /// The window's file, if there is one that goes on being counted in.
    fn read_window(&self, key: Key) -> std::io::Result<Option<Window>> {
        let file = key.file();
        let Some(text) = self.storage.read(&file)? else { return Ok(None) };
        match window::decode(key, &text) {
            Some((header, window))
                if (&header.epoch, &header.began) == (&self.root.epoch, &self.root.began) =>
            {
                return Ok(Some(window));
            }
            Some(_) => {
                let aside = self.storage.set_aside(&file, "earlier")?;
                wasink_guest::warn!(
                    "a window's file is of an earlier counting and was set aside, its counters \
                     begin at zero";
                    file = file, set_aside = aside
                );
            }
            None => {
                let aside = self.storage.set_aside(&file, "damaged")?;
                wasink_guest::error!(
                    "a window's file is damaged and was set aside, its counters begin at zero";
                    file = file, set_aside = aside
                );
            }
        }
        Ok(None)
    }

    /// Makes lasting what has been counted, and refreshes the windows' files if it is time.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.make_lasting()?;
        let at = now();
        let grown = self.log.as_ref().map_or(0, |log| log.size - log.size_when_new);
        let old = at < self.refreshed || at >= self.refreshed.saturating_add(self.refresh);
        let crowded = || {
            let mut windows = self.windows.values();
            self.cells() > self.limits.cells
                && windows.any(|one| !one.is_saved() && self.may_go(one))
        };
        if old || grown > self.limits.log_bytes.max(self.saved) || crowded() {
            // Nothing is lost that way: all of it is in the log.
            match self.save(self.limits.saved_bytes) {
                Ok(true) => self.refreshed = at,
                Ok(false) => {}
                Err(error) => {
                    wasink_guest::warn!(
                        "cannot write the windows' files"; error = error.to_string()
                    );
                }
            }
        }
        self.forget();
        Ok(())
    }

    /// The last flush: all files are as fresh as they can be.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.make_lasting()?;
        self.save(u64::MAX)?;
        Ok(())
    }

    fn make_lasting(&mut self) -> Result<(), Failure> {
        if self.lasting {
            return Ok(());
        }
        let Some(mut log) = self.log.take() else {
            self.begin_log()?;
            return Ok(());
        };
        if !self.storage.has_name(&log.file, state::FILE)? {
            return Err(Failure::broken(format!(
                "`{}` was removed or replaced by somebody else; a directory is for one sink alone",
                state::FILE
            )));
        }
        self.root.sequence += 1;
        let entry = state::encode(&self.root, &self.windows, Changed::Unlogged)?;
        self.storage.write(&log.file, &entry, log.size)?;
        self.storage.sync(&log.file)?;
        log.size += length(&entry);
        self.log = Some(log);
        self.now_lasting();
        Ok(())
    }

    /// Puts a log in place of the old one that says as much, in one entry.
    fn begin_log(&mut self) -> std::io::Result<()> {
        self.log = None;
        self.root.sequence = 0;
        let entry = state::encode(&self.root, &self.windows, Changed::Unsaved)?;
        let file = self.storage.replace(state::FILE, &entry)?;
        self.storage.sync_directory()?;
        let size = length(&entry);
        self.log = Some(Log { file, size, size_when_new: size });
        self.now_lasting();
        Ok(())
    }

    fn now_lasting(&mut self) {
        self.lasting = true;
        self.windows.values_mut().for_each(Window::now_logged);
    }

    /// Writes the files of windows that have changed, about so many bytes of them, and begins a new
    /// log then; whether it has come to its end. What it writes must be in the log.
    fn save(&mut self, bytes: u64) -> std::io::Result<bool> {
        let mut keys: Vec<_> =
            self.windows.iter().filter(|(_, window)| !window.is_saved()).collect();
        if keys.is_empty() {
            return Ok(true);
        }
        keys.sort_by_key(|(key, window)| (window.used, **key));
        let (mut written, mut saved) = (0, Vec::new());
        for (key, window) in &keys {
            if written >= bytes {
                break;
            }
            let Root { epoch, began, counted, .. } = &self.root;
            let text = window::encode(**key, window, epoch, began, counted.end())?;
            self.storage.replace(&key.file(), &text)?;
            written += length(&text);
            saved.push(**key);
        }
        let all = saved.len() == keys.len();
        self.storage.sync_directory()?;
        self.saved = written;
        for key in saved {
            if let Some(window) = self.windows.get_mut(&key) {
                window.now_saved();
            }
        }
        self.begin_log()?;
        Ok(all)
    }

    fn cells(&self) -> usize {
        self.windows.values().map(Window::len).sum()
    }

    fn may_go(&self, window: &Window) -> bool {
        window.used.saturating_add(self.limits.batches) <= self.batches
    }

    /// Lets windows go that have not been used for long, where there are too many.
    fn forget(&mut self) {
        let mut cells = self.cells();
        if cells <= self.limits.cells {
            return;
        }
        let mut old: Vec<_> = self
            .windows
            .iter()
            .filter(|(_, window)| window.is_saved() && self.may_go(window))
            .map(|(key, window)| (window.used, *key, window.len()))
            .collect();
        old.sort_unstable();
        for (_, key, len) in old {
            if cells <= self.limits.cells {
                break;
            }
            self.windows.remove(&key);
            cells -= len;
        }
    }
}

#[cfg(test)]
impl<S: Storage> Book<S> {
    /// How many windows are in memory.
    pub(crate) fn windows(&self) -> usize {
        self.windows.len()
    }
}

impl<S: Storage> fmt::Debug for Book<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book")
            .field("root", &self.root)
            .field("windows", &self.windows.len())
            .finish_non_exhaustive()
    }
}

/// The rows at the missing positions, each with its window, by window.
fn rows(
    columns: &UsageColumns,
    positions: &Range<u64>,
    missing: &[Range<u64>],
    seconds: u32,
) -> Vec<(Key, usize)> {
    let row = |position: u64| usize::try_from(position - positions.start).unwrap_or(usize::MAX);
    let mut rows = Vec::with_capacity(columns.emitted_at.len());
    for range in missing {
        let (from, to) = (row(range.start), row(range.end));
        let times = columns.emitted_at.get(from..to).unwrap_or_default();
        rows.extend(times.iter().zip(from..).map(|(at, row)| (Key::of(*at, seconds), row)));
    }
    rows.sort_by_key(|(key, _)| *key);
    rows
}

/// Adds rows of one window to it. `sums` has a place for each tenant of the batch, empty before and
/// after: a tenant is looked up once, not once a row.
fn add(
    window: &mut Window,
    columns: &Arc<UsageColumns>,
    rows: &[(Key, usize)],
    sums: &mut [Option<Counters>],
) {
    let code =
        |row: usize| columns.tenant.codes.get(row).and_then(|code| usize::try_from(*code).ok());
    for (_, row) in rows {
        if let Some(sum) = code(*row).and_then(|code| sums.get_mut(code)) {
            sum.get_or_insert_default().add(&Counters::of_row(columns, *row));
        }
    }
    for (_, row) in rows {
        let Some(code) = code(*row) else { continue };
        let sum = sums.get_mut(code).and_then(Option::take);
        if let (Some(sum), Some(tenant)) = (sum, columns.tenant.values.get(code)) {
            window.add(tenant, &sum);
        }
    }
}

/// When a UUID of version 7 was made, in milliseconds since 1970.
fn made_at(id: &str) -> Option<u64> {
    let (high, low) = (id.get(..8)?, id.get(9..13)?);
    Some(u64::from_str_radix(high, 16).ok()? << 16 | u64::from_str_radix(low, 16).ok()?)
}
