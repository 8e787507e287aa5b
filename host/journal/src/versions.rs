//! Which version of a plugin settled what: the versions that took over at a sink, one after another,
//! and the file of those.
//!
//! A version that takes over is a line in the lane's own file, in order with the lines of what was
//! settled before and after it. Before that file is written anew, and loses those lines, they go into
//! `<sink>.versions` with what the lane knew at each: lines are only ever added to it. What a version
//! settled is what lies between it and the next. A line with a number makes those before it with that
//! number or a higher one void: they are of a lane whose end a crash has taken back.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checked::{self, Appender};
use crate::fate::Fates;
use crate::frame::MAX_POSITION;
use crate::lane::LaneState;
use crate::storage::{Storage, StorageFile};

const EXTENSION: &str = ".versions";

/// The name of a sink's file.
pub(crate) fn file_name(sink: &str) -> String {
    format!("{sink}{EXTENSION}")
}

/// The sink whose file this is; `None` for the name of another file.
pub(crate) fn sink(name: &str) -> Option<&str> {
    name.strip_suffix(EXTENSION).filter(|sink| !sink.is_empty())
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The digest of its bytes: what it is known by.
    pub digest: String,
    /// What it calls itself.
    pub version: String,
}

/// What one version of a plugin settled at a sink, from when it took over until the next did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stretch {
    /// The digest of the plugin's bytes. Empty where nobody knows: before the first version was told
    /// of, and where the lines that told of it are damaged.
    pub digest: String,
    /// What the plugin calls itself.
    pub version: String,
    /// When it took over, in nanoseconds since 1970; 0 where nobody knows.
    pub since: i64,
    /// The positions of the records, in order.
    pub ranges: Vec<Range<u64>>,
    /// What became of them then: not what became of dead letters since.
    pub fates: Fates,
}

/// A line of a lane's file: a version takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arrival {
    /// Its number, from 1 on.
    number: u64,
    digest: String,
    version: String,
    since: i64,
}

impl Arrival {
    pub(crate) fn new(number: u64, version: &Version, since: i64) -> Self {
        let Version { digest, version } = version.clone();
        Self { number, digest, version, since }
    }

    /// Whether a journal can have written this.
    pub(crate) fn is_possible(&self) -> bool {
        self.number <= MAX_POSITION
    }

    /// A version of which nothing but its number is known.
    pub(crate) fn unknown(number: u64) -> Self {
        Self { number, digest: String::new(), version: String::new(), since: 0 }
    }
}

/// A version that took over, and what was settled before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Takeover {
    pub(crate) number: u64,
    /// The number of the version before it: what was settled between is that one's, for sure.
    after: u64,
    digest: String,
    version: String,
    since: i64,
    cursor: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    done: Vec<(u64, u64)>,
    fates: Fates,
}

impl Takeover {
    pub(crate) fn new(arrival: Arrival, before: &LaneState) -> Self {
        let Arrival { number, digest, version, since } = arrival;
        Self {
            number,
            after: before.version_number(),
            digest,
            version,
            since,
            cursor: before.cursor,
            done: before.done.clone(),
            fates: before.first_fates(),
        }
    }

    /// Whether a journal can have written this.
    pub(crate) fn is_possible(&self) -> bool {
        self.number <= MAX_POSITION && is_possible(self.cursor, &self.done)
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    fn ranges(&self, origin: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        ranges(origin, self.cursor, &self.done)
    }
}

/// Whether something can have become of all before the cursor and of these behind it.
pub(crate) fn is_possible(cursor: u64, done: &[(u64, u64)]) -> bool {
    let mut end = cursor;
    for &(from, to) in done {
        if from < end || to <= from {
            return false;
        }
        end = to;
    }
    end <= MAX_POSITION
}

fn ranges(origin: u64, cursor: u64, done: &[(u64, u64)]) -> impl Iterator<Item = Range<u64>> + '_ {
    let in_order = std::iter::once(origin..cursor);
    in_order.chain(done.iter().map(|&(from, to)| from..to)).filter(|range| !range.is_empty())
}

/// The versions that took over, as a lane tells of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Those with lower numbers are in their file alone, and none where this is 0.
    base: u64,
    /// The others, in order.
    pub(crate) known: Vec<Takeover>,
}

impl Told {
    /// What a lane's state tells, without the lines behind it.
    pub(crate) fn of(state: &LaneState) -> Self {
        let known = state.version.as_deref().cloned();
        Self { base: state.version_number(), known: known.into_iter().collect() }
    }

    /// What each version settled, of all that is settled as the lane says, with what their file tells.
    pub(crate) fn stretches(self, state: &LaneState, file: Vec<Takeover>) -> Vec<Stretch> {
        let mut takeovers = file;
        takeovers.retain(|takeover| takeover.number < self.base);
        takeovers.extend(self.known);
        let end = Takeover::new(Arrival::unknown(u64::MAX), state);
        stretches(state.origin, &end, takeovers)
    }
}

/// What was settled between each and the next. A line that does not fit those around it does not
/// count, and then nobody knows whose doing it was.
fn stretches(origin: u64, end: &Takeover, takeovers: Vec<Takeover>) -> Vec<Stretch> {
    let mut stretches = Vec::with_capacity(takeovers.len() + 1);
    let mut next = end.clone();
    let mut beginning = Takeover::new(Arrival::unknown(0), &LaneState::default());
    beginning.cursor = origin;
    for takeover in std::iter::once(beginning).chain(takeovers).rev() {
        let (Some(fates), Some(ranges)) =
            (next.fates.without(&takeover.fates), between(origin, &takeover, &next))
        else {
            continue;
        };
        let count: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let first = takeover.number == 0;
        if takeover.number >= next.number || !first && count != fates.sum() {
            continue;
        }
        if !first || !ranges.is_empty() {
            let known = takeover.number == next.after || ranges.is_empty();
            let Takeover { digest, version, since, .. } = takeover.clone();
            let named = Stretch { digest, version, since, ..Stretch::default() };
            let nameless = Stretch { since, ..Stretch::default() };
            stretches.push(Stretch { ranges, fates, ..if known { named } else { nameless } });
        }
        next = takeover;
    }
    stretches.reverse();
    stretches
}

/// What was settled at `later` and not at `earlier`; `None` where anything was settled at `earlier`
/// that was not at `later`.
fn between(origin: u64, earlier: &Takeover, later: &Takeover) -> Option<Vec<Range<u64>>> {
    let mut taken = earlier.ranges(origin).peekable();
    let mut left = Vec::new();
    for mut range in later.ranges(origin) {
        while let Some(gone) = taken.next_if(|gone| gone.start < range.end) {
            if gone.start < range.start || gone.end > range.end {
                return None;
            }
            if range.start < gone.start {
                left.push(range.start..gone.start);
            }
            range.start = gone.end;
        }
        if !range.is_empty() {
            left.push(range);
        }
    }
    taken.next().is_none().then_some(left)
}

/// What a file of versions holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) takeovers: Vec<Takeover>,
    /// Lines that are damaged.
    pub(crate) damaged: u64,
    /// The lines that are not, with their ends.
    pub(crate) whole: Vec<u8>,
}

/// Reads the versions of a sink; none where there is no file.
pub(crate) fn read(storage: &dyn Storage, sink: &str) -> io::Result<Found> {
    let file = match storage.open(&file_name(sink)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(error),
    };
    let mut found = Found::default();
    checked::scan(&*file, 0, |line, ended| match checked::parse::<Takeover>(line) {
        Some(takeover) if Takeover::is_possible(&takeover) => {
            let number = takeover.number;
            let void = found.takeovers.partition_point(|earlier| earlier.number < number);
            found.takeovers.truncate(void);
            found.takeovers.push(takeover);
            found.whole.extend_from_slice(line);
            found.whole.push(b'\n');
        }
        Some(_) | None => found.damaged += u64::from(ended && !line.is_empty()),
    })?;
    Ok(found)
}

/// Writes the file anew with these lines alone: where others are damaged.
pub(crate) fn write_anew(storage: &dyn Storage, sink: &str, lines: &[u8]) -> io::Result<()> {
    let unready = format!("{sink}.versions-tmp");
    match storage.remove(&unready) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&unready)?;
    file.write_all_at(&mut [io::IoSlice::new(lines)], 0)?;
    file.sync()?;
    storage.rename(&unready, &file_name(sink))?;
    storage.sync_directory()
}

/// The versions that took over at a sink, and their file.
#[derive(Debug)]
pub(crate) struct Versions {
    told: Told,
    /// How many of those that are told of are in the file.
    flushed: usize,
    file: Option<File>,
}

#[derive(Debug)]
struct File {
    storage: Arc<dyn Storage>,
    sink: String,
    /// The file; `None` as long as nothing is to be written.
    appender: Option<Appender>,
}

impl Versions {
    /// Those of a lane that is kept nowhere.
    pub(crate) fn in_memory() -> Self {
        Self { told: Told::default(), flushed: 0, file: None }
    }

    /// Those of a lane whose file tells of these.
    pub(crate) fn new(storage: &Arc<dyn Storage>, sink: &str, told: Told) -> Self {
        // The one that the lane's state tells of was there before that was written.
        let flushed = usize::from(told.base > 0);
        let file = File { storage: storage.clone(), sink: sink.to_owned(), appender: None };
        Self { told, flushed, file: Some(file) }
    }

    pub(crate) fn told(&self) -> &Told {
        &self.told
    }

    pub(crate) fn add(&mut self, takeover: Takeover) {
        self.told.known.push(takeover);
    }

    /// Brings all to the file, durably: what the lane's own file tells of may be lost then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let new = self.told.known.get(self.flushed..).unwrap_or_default();
        let Some(last) = new.last().cloned() else { return Ok(()) };
        let mut lines = Vec::new();
        new.iter().for_each(|takeover| lines.extend_from_slice(&checked::line(takeover)));
        file.append(&mut lines)?;
        self.told = Told { base: last.number, known: vec![last] };
        self.flushed = 1;
        Ok(())
    }
}

impl File {
    fn append(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        // What is there may have no end, or have lost it to a sync that failed.
        lines.insert(0, b'\n');
        if let Some(appender) = &mut self.appender {
            return appender.append_durably(lines);
        }
        let name = file_name(&self.sink);
        let file: Box<dyn StorageFile> = match self.storage.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.storage.open(&name)?
            }
            file => file?,
        };
        // Perhaps an earlier process has made it, and did not come to this.
        self.storage.sync_directory()?;
        let len = file.len()?;
        let mut appender = Appender::new(file, len);
        appender.append_durably(lines)?;
        self.appender = Some(appender);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
