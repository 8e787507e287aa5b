//! What must hold: which records were acknowledged, and what became of them at each sink.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use wasink_journal::{Doubt, Fate, Fates, LaneState, Stretch};
use wasink_record::RecordId;

use crate::simulated::disk::Crash;
use crate::simulated::records::Known;

/// What a settled record's fate survives. In order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kept {
    /// Nothing for sure: whoever settled it was told of an error.
    Unsure,
    /// The end of the process.
    Written,
    /// The loss of power.
    Synced,
}

/// All that a history has done so far.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Every record that was ever handed to the journal.
    attempted: HashMap<RecordId, Known>,
    /// The records that are in the journal, as far as anybody has seen them.
    pub(crate) there: BTreeMap<u64, Known>,
    /// Those of them that were acknowledged.
    acknowledged: BTreeSet<u64>,
    /// Where the records are.
    places: HashMap<RecordId, u64>,
    /// A sync has failed, or a read while the journal was opened: what was recovered without having
    /// been acknowledged may be gone again.
    pub(crate) unsteady: bool,
}

impl Model {
    pub(crate) fn attempt(&mut self, records: &[Known]) {
        self.attempted.extend(records.iter().map(|known| (known.id, known.clone())));
    }

    /// Records were acknowledged at these positions.
    pub(crate) fn acknowledge(&mut self, positions: Range<u64>, records: Vec<Known>) {
        assert_eq!(positions.end - positions.start, records.len() as u64, "positions got");
        for (position, known) in positions.zip(records) {
            assert!(!self.acknowledged.contains(&position), "position {position} is given again");
            assert!(
                self.unsteady || !self.there.contains_key(&position),
                "position {position} is of a record that was recovered"
            );
            self.put(position, known);
            self.acknowledged.insert(position);
        }
    }

    fn put(&mut self, position: u64, known: Known) {
        let before = self.places.insert(known.id, position);
        assert!(
            self.unsteady || before.is_none_or(|before| before == position),
            "{known:?} is at {before:?} and at {position}"
        );
        self.there.insert(position, known);
    }

    /// A record was given to a sink. `recovering` where it may be one that was never acknowledged.
    pub(crate) fn given(&mut self, position: u64, id: RecordId, line: &[u8], recovering: bool) {
        let seen = self.there.get(&position);
        if let Some(known) = seen
            && (known.id == id || self.acknowledged.contains(&position) || !self.unsteady)
        {
            assert_eq!((known.id, known.line.as_slice()), (id, line), "record at {position}");
            return;
        }
        assert!(recovering, "the record at {position} was never acknowledged");
        let known = self.attempted.get(&id).cloned();
        let known = known.unwrap_or_else(|| panic!("nobody appended what is at {position}"));
        assert_eq!(known.line, line, "record at {position}");
        self.put(position, known);
    }

    /// The records at these positions are said not to be readable.
    pub(crate) fn damaged(&mut self, range: &Range<u64>, lane: &LaneModel) {
        for (position, known) in self.there.range(range.clone()) {
            let lost = self.acknowledged.contains(position) || !self.unsteady;
            let settled = lane.fates.contains_key(position);
            assert!(!lost || settled, "{known:?} at {position} is lost");
        }
    }

    /// The records that a lane has to get still.
    pub(crate) fn pending<'a>(&'a self, lane: &'a LaneModel) -> impl Iterator<Item = u64> + 'a {
        let from = self.there.range(lane.origin..).map(|(&position, _)| position);
        from.filter(|position| !lane.fates.contains_key(position))
    }

    pub(crate) fn is_acknowledged(&self, position: u64) -> bool {
        self.acknowledged.contains(&position)
    }

    /// How many records there are of each tenant.
    pub(crate) fn by_tenant(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for tenant in self.there.values().filter_map(|known| known.tenant) {
            *sums.entry(tenant.to_owned()).or_default() += 1;
        }
        sums
    }
}

/// What a history knows of a sink.
#[derive(Debug, Default)]
pub(crate) struct LaneModel {
    pub(crate) origin: u64,
    pub(crate) fates: BTreeMap<u64, (Fate, Kept)>,
    /// Whether records may be given up for the sink.
    pub(crate) may_drop: bool,
    /// Records whose letters were resolved, and now count as delivered: for sure, or perhaps.
    pub(crate) resolved: BTreeMap<u64, bool>,
    /// Records whose letters were resolved or purged: they are gone for sure, or perhaps.
    pub(crate) gone: BTreeMap<u64, bool>,
    /// The version that is there, and whose doing each record's fate is.
    pub(crate) version: String,
    pub(crate) by: BTreeMap<u64, String>,
    /// What was handed over and must be known to have been, as long as nothing became of it.
    pub(crate) doubts: Vec<Range<u64>>,
}

impl LaneModel {
    /// Everything that was settled is known to be kept that well now.
    pub(crate) fn kept(&mut self, kept: Kept) {
        self.fates.values_mut().for_each(|(_, known)| *known = kept.max(*known));
    }

    /// A sync has failed: even what was seen to be written may be gone.
    pub(crate) fn dropped(&mut self) {
        let written = self.fates.values_mut().filter(|(_, kept)| *kept == Kept::Written);
        written.for_each(|(_, kept)| *kept = Kept::Unsure);
    }

    pub(crate) fn settled(&mut self, position: u64, fate: Fate, kept: Kept) {
        self.fates.insert(position, (fate, kept));
        self.by.insert(position, self.version.clone());
    }

    /// Checks that what is settled is each in one stretch, and in that of the version whose doing it
    /// is. Where less was kept than a crash has taken, nobody may know.
    pub(crate) fn provenance(&mut self, stretches: &[Stretch], crash: Option<Crash>) {
        let mut positions = BTreeSet::new();
        for stretch in stretches {
            let mut counts = Fates::default();
            for position in stretch.ranges.iter().cloned().flatten() {
                assert!(positions.insert(position), "{position} is in two of {stretches:?}");
                let (fate, kept) = self.fates[&position];
                counts.add(fate, 1);
                let by = self.by.insert(position, stretch.digest.clone()).unwrap();
                let unsure = crash.is_some_and(|crash| kept < enough(crash));
                let right = stretch.digest == by || stretch.digest.is_empty() && unsure;
                assert!(right, "{position}, {kept:?}, is of {by} and not as in {stretches:?}");
            }
            assert_eq!(stretch.fates, counts, "{stretch:?}");
        }
        let settled: Vec<_> = self.fates.keys().collect();
        assert_eq!(positions.iter().collect::<Vec<_>>(), settled, "{stretches:?}");
        self.version = stretches.last().map(|last| last.digest.clone()).unwrap_or_default();
    }

    /// Takes over what the journal says has become of records, after a crash; what must have been
    /// kept is there.
    pub(crate) fn recover(&mut self, state: &LaneState, crash: Crash) {
        let enough = enough(crash);
        self.fates.retain(|position, (fate, kept)| {
            let done = is_done(state, *position);
            assert!(done || *kept < enough, "{fate:?} at {position} was {kept:?} and is forgotten");
            done
        });
        self.resolved.retain(|position, _| self.fates.contains_key(position));
        self.gone.retain(|position, _| self.fates.contains_key(position));
        for range in &self.doubts {
            let open = range.clone().any(|position| !is_done(state, position));
            let known = |doubt: Doubt| doubt.from <= range.start && range.end <= doubt.to;
            assert!(!open || state.doubt.is_some_and(known), "the doubt of {range:?} is forgotten");
        }
        self.learn(state);
    }

    /// Learns of records that were given up, and checks that all of the state fits.
    pub(crate) fn learn(&mut self, state: &LaneState) {
        assert_eq!(state.origin, self.origin, "origin");
        let in_order = std::iter::once(state.origin..state.cursor);
        let done = in_order.chain(state.done.iter().map(|&(from, to)| from..to));
        let mut behind = state.origin;
        for range in done {
            assert!(range.start >= behind && range.start <= range.end, "{state:?} is not in order");
            behind = range.end + 1;
            for position in range {
                if !self.fates.contains_key(&position) {
                    assert!(self.may_drop, "nothing was told of {position}, which counts as done");
                    self.settled(position, Fate::Dropped, Kept::Unsure);
                }
            }
        }
        let mut counts = Fates::default();
        self.fates.values().for_each(|(fate, _)| counts.add(*fate, 1));
        // Of those that were perhaps resolved, as many count as delivered as are missing elsewhere.
        for from in [Fate::Rejected, Fate::Expired] {
            let (mut sure, mut perhaps) = (0, 0);
            for (position, is_sure) in &self.resolved {
                if self.fates[position].0 == from {
                    *(if *is_sure { &mut sure } else { &mut perhaps }) += 1;
                }
            }
            let moved = counts.get(from) - state.fates.get(from);
            assert!(sure <= moved && moved <= sure + perhaps, "{moved} of {sure} and {perhaps}");
            *(if from == Fate::Rejected { &mut counts.rejected } else { &mut counts.expired }) -=
                moved;
            counts.delivered += moved;
        }
        assert_eq!(state.fates, counts, "fates of {state:?}");
    }

    /// The letter of the record at `position`, if there is one: whether it may be there, and whether
    /// it may not.
    pub(crate) fn letter(&self, position: u64) -> (bool, bool) {
        let is_dead = self
            .fates
            .get(&position)
            .is_some_and(|(fate, _)| matches!(fate, Fate::Rejected | Fate::Expired));
        let gone = self.gone.get(&position);
        (is_dead && gone != Some(&true), !is_dead || gone.is_some())
    }
}

/// What survives this.
fn enough(crash: Crash) -> Kept {
    match crash {
        Crash::Kill => Kept::Written,
        Crash::Power => Kept::Synced,
    }
}

pub(crate) fn is_done(state: &LaneState, position: u64) -> bool {
    let in_order = position < state.cursor;
    in_order || state.done.iter().any(|&(from, to)| from <= position && position < to)
}
