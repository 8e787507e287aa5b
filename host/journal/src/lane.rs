//! What became of a stream's records at one sink: the cursor, the counts, and the file of both.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checked;
use crate::dead::{DeadLetter, DeadLetters};
use crate::fate::{Fate, Fates};
use crate::frame::MAX_POSITION;
use crate::names::Names;
use crate::reserve::Reserve;
use crate::segment::Accepted;
use crate::storage::Storage;
use crate::tenants::Whose;
use crate::versions::{self, Arrival, Takeover, Told, Version, Versions};

mod keep;
mod mend;

use keep::Keep;

/// A longer file is no lane's.
const MAX_FILE: u64 = 256 << 20;

const EXTENSION: &str = ".lane";

/// The name of a sink's file.
pub(crate) fn file_name(sink: &str) -> String {
    format!("{sink}{EXTENSION}")
}

/// The sink whose file this is; `None` for the name of another file.
pub(crate) fn sink(name: &str) -> Option<&str> {
    name.strip_suffix(EXTENSION).filter(|sink| !sink.is_empty())
}

/// All that is known of a lane.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneState {
    /// Where it began: the first position that the sink gets.
    pub origin: u64,
    /// Something has become of all records before this position.
    pub cursor: u64,
    /// Something has also become of these, behind the cursor: in order, apart from each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub done: Vec<(u64, u64)>,
    /// What became of the records since the origin.
    #[serde(default)]
    pub fates: Fates,
    /// The same by tenant; records of nobody's are not in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Fates>,
    /// What the stream had accepted before the origin, by tenant.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub before: Accepted,
    /// A call that handed records over and was not seen to end well: nobody knows whether the
    /// receiver has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<Doubt>,
    /// How much of the file of dead letters is accounted for, in bytes.
    #[serde(default)]
    pub(crate) dead: u64,
    /// What has become of dead letters since they were: by what they were, and by what they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revived: Option<Box<(Fates, Fates)>>,
    /// The version of the plugin that took over last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<Box<Takeover>>,
}

/// Records that may have reached the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Doubt {
    /// The first record's position.
    pub from: u64,
    /// The position behind the last record.
    pub to: u64,
    /// When they were handed over first, in nanoseconds since 1970.
    pub since: i64,
}

impl LaneState {
    /// Takes note of what became of records; `whose` tells who they are accounted to. Returns what was
    /// new of it: runs of positions, and how much became of whose records.
    fn settle<'a>(
        &mut self,
        runs: &[(Range<u64>, Fate)],
        whose: &Whose<'a>,
    ) -> (Vec<Run>, Vec<(&'a str, Fates)>) {
        let mut settled = Vec::new();
        let mut counted: Vec<(&str, Fate, u64)> = Vec::new();
        for (range, fate) in runs {
            for (from, to) in self.missing(range.clone()) {
                self.fates.add(*fate, to - from);
                settled.push((from, to, *fate));
                whose.count(&(from..to), |tenant, records| counted.push((tenant, *fate, records)));
                self.mark(from, to);
            }
        }
        counted.sort_unstable_by_key(|&(tenant, ..)| tenant);
        let mut tenants: Vec<(&str, Fates)> = Vec::with_capacity(counted.len());
        for (tenant, fate, records) in counted {
            match tenants.last_mut() {
                Some((same, fates)) if *same == tenant => fates.add(fate, records),
                _ => {
                    let mut fates = Fates::default();
                    fates.add(fate, records);
                    tenants.push((tenant, fates));
                }
            }
        }
        for (tenant, fates) in &tenants {
            match self.tenants.get_mut(*tenant) {
                Some(known) => known.merge(fates),
                None => drop(self.tenants.insert((*tenant).to_owned(), *fates)),
            }
        }
        self.end_settled_doubt();
        (settled, tenants)
    }

    /// There is no doubt about what something has become of.
    fn end_settled_doubt(&mut self) {
        if self.doubt.is_some_and(|doubt| self.missing(doubt.from..doubt.to).is_empty()) {
            self.doubt = None;
        }
    }

    /// Whether something has become of the record at `position`.
    pub(crate) fn is_done(&self, position: u64) -> bool {
        let behind = self.done.partition_point(|&(from, _)| from <= position);
        let before = behind.checked_sub(1).and_then(|before| self.done.get(before));
        position < self.cursor || before.is_some_and(|&(_, to)| position < to)
    }

    /// The parts of `range` of which nothing has become yet.
    pub(crate) fn missing(&self, range: Range<u64>) -> Vec<(u64, u64)> {
        let mut from = range.start.max(self.cursor);
        let mut missing = Vec::new();
        for &(done_from, done_to) in &self.done {
            if done_from >= range.end {
                break;
            }
            if from < done_from {
                missing.push((from, done_from));
            }
            from = from.max(done_to);
        }
        if from < range.end {
            missing.push((from, range.end));
        }
        missing
    }

    /// Notes that something has become of these, of which nothing had.
    fn mark(&mut self, from: u64, to: u64) {
        let at = self.done.partition_point(|&(start, _)| start < from);
        self.done.insert(at, (from, to));
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(self.done.len());
        for &(from, to) in &self.done {
            match joined.last_mut() {
                Some((_, end)) if *end == from => *end = to,
                _ if from == self.cursor => self.cursor = to,
                _ => joined.push((from, to)),
            }
        }
        self.done = joined;
        // What was joined to the cursor may now touch the first that is behind it.
        while let Some(&(from, to)) = self.done.first()
            && from == self.cursor
        {
            self.cursor = to;
            self.done.remove(0);
        }
    }

    /// The number of the version that took over last; 0 before the first.
    pub(crate) fn version_number(&self) -> u64 {
        self.version.as_ref().map_or(0, |version| version.number)
    }

    /// What became of the records at first, whatever has become of dead letters since.
    pub(crate) fn first_fates(&self) -> Fates {
        let mut fates = self.fates;
        if let Some((from, to)) = self.revived.as_deref() {
            fates.merge(from);
            fates = fates.without(to).unwrap_or_default();
        }
        fates
    }

    /// A version takes over.
    fn take_over(&mut self, arrival: Arrival) -> Takeover {
        let takeover = Takeover::new(arrival, self);
        self.version = Some(Box::new(takeover.clone()));
        takeover
    }

    /// Does again what a line of the file says, and tells of a version that took over with it.
    fn replay(&mut self, entry: Entry) -> Option<Takeover> {
        let mut takeover = None;
        match entry {
            Entry::State(state) => *self = *state,
            Entry::Version(arrival) => takeover = Some(self.take_over(arrival)),
            Entry::Change(change) => {
                if change.by > self.version_number() {
                    // The line in which it took over is lost: nobody knows what it was.
                    takeover = Some(self.take_over(Arrival::unknown(change.by)));
                }
                for (from, to, fate) in change.settled {
                    for (from, to) in self.missing(from..to) {
                        self.fates.add(fate, to - from);
                        self.mark(from, to);
                    }
                }
                for (tenant, fates) in change.tenants {
                    self.tenants.entry(tenant).or_default().merge(&fates);
                }
                for (tenant, fate) in change.revived {
                    self.revive(tenant.as_deref(), fate.from, fate.to);
                }
                self.dead = change.dead.unwrap_or(self.dead);
                self.end_settled_doubt();
            }
            Entry::Doubt(doubt) => self.doubt = Some(doubt).filter(|doubt| doubt.from < doubt.to),
        }
        takeover
    }

    /// Something else has become of a dead letter.
    fn revive(&mut self, tenant: Option<&str>, from: Fate, to: Fate) {
        let change = |fates: &mut Fates| {
            if fates.get(from) > 0 {
                fates.take(from);
                fates.add(to, 1);
            }
        };
        if self.fates.get(from) > 0 {
            let (was, is) = &mut **self.revived.get_or_insert_default();
            was.add(from, 1);
            is.add(to, 1);
        }
        change(&mut self.fates);
        if let Some(fates) = tenant.and_then(|tenant| self.tenants.get_mut(tenant)) {
            change(fates);
        }
    }
}

/// A line of a lane's file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    /// All that was known when the file was written anew. It stands there twice, so that no one
    /// fault takes both.
    State(Box<LaneState>),
    /// What came since.
    Change(Change),
    /// Records are about to be handed over to a receiver that recognises them only for a time.
    Doubt(Doubt),
    /// Another version of the plugin takes over.
    Version(Arrival),
}

impl Entry {
    /// Whether a journal can have written this. What comes of it is counted on, and not checked.
    fn is_possible(&self) -> bool {
        match self {
            Self::State(state) => {
                state.origin <= state.cursor
                    && versions::is_possible(state.cursor, &state.done)
                    && state.doubt.is_none_or(|doubt| doubt.to <= MAX_POSITION)
                    && state.version.as_ref().is_none_or(|version| version.is_possible())
            }
            Self::Change(change) => {
                change.by <= MAX_POSITION
                    && change.settled.iter().all(|&(from, to, _)| from < to && to <= MAX_POSITION)
            }
            Self::Doubt(doubt) => doubt.to <= MAX_POSITION,
            Self::Version(arrival) => arrival.is_possible(),
        }
    }
}

/// What became of a run: the first position, the one behind the last, and the fate.
type Run = (u64, u64, Fate);

/// What became of some records.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Change {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    settled: Vec<Run>,
    /// The number of the version that settled these.
    #[serde(default, skip_serializing_if = "is_zero")]
    by: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "by_tenant")]
    tenants: Vec<(String, Fates)>,
    /// Dead letters of which something else has become, with their tenants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revived: Vec<(Option<String>, Revived)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead: Option<u64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Revived {
    from: Fate,
    to: Fate,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Counts by tenant: a JSON object.
mod by_tenant {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::fate::Fates;

    pub(super) fn serialize<S: Serializer>(
        counts: &[(String, Fates)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(counts.iter().map(|(tenant, fates)| (tenant, fates)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, Fates)>, D::Error> {
        BTreeMap::deserialize(deserializer).map(|counts| counts.into_iter().collect())
    }
}

/// A lane: its state, and where that is kept.
#[derive(Debug)]
pub(crate) struct Lane {
    state: LaneState,
    keep: Option<Keep>,
    pub(crate) dead: Option<DeadLetters>,
    versions: Versions,
    /// The cursor as it is on disk for sure.
    durable: u64,
    /// Whether what is in doubt is.
    doubt_is_durable: bool,
}

/// What was found in a lane's file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) state: Option<LaneState>,
    /// Lines that are damaged: what they told of will be delivered again.
    pub(crate) damaged: u64,
    /// The versions that took over, as it tells of them.
    pub(crate) takeovers: Told,
    /// Where its last whole line ends, and whether the end itself is missing.
    len: u64,
    unended: bool,
    /// Where the state ends that it begins with.
    head: u64,
}

/// Reads a lane's file, as far as it can be read.
pub(crate) fn read(storage: &dyn Storage, sink: &str) -> io::Result<Found> {
    let bytes = match storage.open(&file_name(sink)) {
        Ok(file) => file.read_all(MAX_FILE)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::default()),
        Err(error) => return Err(error),
    };
    let mut found = Found::default();
    for (line, ended) in checked::lines(&bytes) {
        if ended {
            found.len = line.end as u64 + 1;
        }
        if line.is_empty() {
            continue;
        }
        let end = line.end as u64;
        let entry = checked::parse::<Entry>(bytes.get(line).unwrap_or_default());
        let entry = entry.filter(Entry::is_possible);
        if !ended && entry.is_some() {
            (found.len, found.unended) = (end, true);
        }
        match entry {
            Some(Entry::State(state)) => {
                found.takeovers = Told::of(&state);
                found.head = found.len;
                found.state = Some(*state);
            }
            // Without a state to begin with there is nothing that it could change.
            Some(entry) => match &mut found.state {
                Some(state) => {
                    let dead = state.dead;
                    found.takeovers.known.extend(state.replay(entry));
                    // Behind a line that is lost, nobody knows which letters were accounted for.
                    if found.damaged > 0 {
                        state.dead = dead;
                    }
                }
                None => found.damaged += 1,
            },
            // The last may just not have been finished.
            None => found.damaged += u64::from(ended),
        }
    }
    Ok(found)
}

impl Lane {
    /// A lane that is kept nowhere.
    pub(crate) fn in_memory(origin: u64) -> Self {
        let state = LaneState { origin, cursor: origin, ..LaneState::default() };
        let versions = Versions::in_memory();
        Self { durable: origin, doubt_is_durable: true, state, keep: None, dead: None, versions }
    }

    /// A lane whose file was read, or a new one with the state `new`. A file that is sound is left as
    /// it is; a new one may have its name not for good until `names` are synced.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        sink: &str,
        found: &Found,
        new: LaneState,
        names: &Arc<Names>,
    ) -> io::Result<Self> {
        let mut state = found.state.clone().unwrap_or(new);
        let is_done = |position: u64| state.is_done(position);
        let dead = DeadLetters::open(storage, sink, state.dead, is_done)?;
        let mut versions = Versions::new(storage, sink, found.takeovers.clone());
        // Of a file that has been written anew since, the lane knows nothing.
        let stale = dead.len() < state.dead;
        if stale {
            state.dead = 0;
        }
        let keep = if found.state.is_none() {
            Keep::make(storage, sink, &state, names)?
        } else {
            let mut keep = Keep::open(storage, sink, found, names)?;
            if stale || found.damaged > 0 {
                // The file as it is does as well, until there is room.
                drop(keep.rewrite(&state, &mut versions, &Reserve::default()));
            }
            keep
        };
        // What was read may be what a sync has failed for, and not be on the disk.
        let durable = if keep.is_synced() || found.state.is_none() { state.cursor } else { 0 };
        let doubt_is_durable = keep.is_synced();
        let (keep, dead) = (Some(keep), Some(dead));
        Ok(Self { durable, doubt_is_durable, state, keep, dead, versions })
    }

    /// The position behind the last of which anything is known.
    pub(crate) fn floor(&self) -> u64 {
        let done = self.state.done.last().map_or(0, |&(_, to)| to);
        let doubt = self.state.doubt.map_or(0, |doubt| doubt.to);
        let dead = self.dead.as_ref().map_or(0, DeadLetters::floor);
        self.state.cursor.max(done).max(doubt).max(dead)
    }

    pub(crate) fn state(&self) -> &LaneState {
        &self.state
    }

    /// The cursor as it is on disk for sure: what is before it is of no more use to this lane.
    pub(crate) fn durable(&self) -> u64 {
        if self.keep.is_some() { self.durable } else { self.state.cursor }
    }

    /// Takes note of what became of records, with the letters of those that are dead, and writes it
    /// down. What can't be written down now is kept, and written with what comes next; until then the
    /// answer says why. Where it is a letter that can't be written, nothing has become of anything.
    pub(crate) fn settle(
        &mut self,
        runs: &[(Range<u64>, Fate)],
        letters: &[DeadLetter],
        whose: &Whose<'_>,
        reserve: &Reserve,
    ) -> io::Result<()> {
        let mut change = Change { by: self.state.version_number(), ..Change::default() };
        if let Some(dead) = &mut self.dead {
            // Of what something has become before, nothing else does: such as what was given up
            // meanwhile.
            let state = &self.state;
            dead.add(letters.iter().filter(|letter| !state.is_done(letter.position)), reserve)?;
            dead.withdraw(runs, reserve)?;
            change.dead = Some(dead.account(runs));
        }
        let (settled, tenants) = self.state.settle(runs, whose);
        self.state.dead = change.dead.unwrap_or(self.state.dead);
        if settled.is_empty() || self.keep.is_none() {
            return Ok(());
        }
        change.settled = settled;
        change.tenants =
            tenants.into_iter().map(|(tenant, fates)| (tenant.to_owned(), fates)).collect();
        self.write(&Entry::Change(change), reserve)
    }

    /// Takes note that these are about to be handed over; durable when this returns. What is in doubt
    /// already and not among these stays so, and all of it since the earlier time.
    pub(crate) fn doubt(&mut self, mut doubt: Doubt, reserve: &Reserve) -> io::Result<()> {
        if let Some(known) = self.state.doubt {
            // What is not among these stays in doubt.
            if known.from < doubt.from || doubt.to < known.to {
                doubt.from = doubt.from.min(known.from);
                doubt.to = doubt.to.max(known.to);
                doubt.since = doubt.since.min(known.since);
            }
            if doubt == known && self.doubt_is_durable {
                return Ok(());
            }
        }
        self.doubt_is_durable = false;
        self.state.doubt = Some(doubt);
        self.write(&Entry::Doubt(doubt), reserve)?;
        self.sync(reserve)
    }

    /// A version of the plugin takes over, unless it is there already: what is settled from now on is
    /// its doing.
    pub(crate) fn take_over(
        &mut self,
        version: &Version,
        since: i64,
        reserve: &Reserve,
    ) -> io::Result<()> {
        if self.state.version.as_ref().is_some_and(|known| known.digest() == version.digest) {
            // What could not be written the last time.
            return self.keep.as_mut().map_or(Ok(()), |keep| keep.write_out(reserve));
        }
        let arrival = Arrival::new(self.state.version_number() + 1, version, since);
        let takeover = self.state.take_over(arrival.clone());
        self.versions.add(takeover);
        self.write(&Entry::Version(arrival), reserve)
    }

    /// The versions that took over, of which not all may be in their file.
    pub(crate) fn versions(&self) -> &Told {
        self.versions.told()
    }

    /// Makes the cursor durable.
    pub(crate) fn sync(&mut self, reserve: &Reserve) -> io::Result<()> {
        let Some(keep) = &mut self.keep else { return Ok(()) };
        keep.sync(&self.state, &mut self.versions, reserve)?;
        self.durable = self.state.cursor;
        self.doubt_is_durable = true;
        Ok(())
    }

    /// Writes the file anew, durably.
    pub(crate) fn rewrite(&mut self, reserve: &Reserve) -> io::Result<()> {
        let Some(keep) = &mut self.keep else { return Ok(()) };
        keep.rewrite(&self.state, &mut self.versions, reserve)?;
        self.durable = self.state.cursor;
        self.doubt_is_durable = true;
        Ok(())
    }

    /// Whether there is nothing that [`sync`](Self::sync) would do.
    pub(crate) fn is_synced(&self) -> bool {
        self.keep.as_ref().is_none_or(Keep::is_synced)
    }

    fn write(&mut self, entry: &Entry, reserve: &Reserve) -> io::Result<()> {
        let Some(keep) = &mut self.keep else { return Ok(()) };
        if keep.write(entry, &self.state, &mut self.versions, reserve)? {
            self.durable = self.state.cursor;
            self.doubt_is_durable = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
