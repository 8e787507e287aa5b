//! What a person has done to a lane: dead letters that are delivered after all or taken away, and
//! doubt that is ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use wasink_record::Timestamp;

use super::{Change, Doubt, Entry, Lane, Revived};
use crate::dead::DeadLetter;
use crate::fate::Fate;
use crate::reserve::Reserve;
use crate::tenants::Whose;

impl Lane {
    /// Takes note that something else has become of dead letters, durably. Those that are not there,
    /// or of records that are to come again, are left out.
    pub(crate) fn resolve(
        &mut self,
        resolved: &[(DeadLetter, Fate)],
        now: Timestamp,
        reserve: &Reserve,
    ) -> io::Result<()> {
        let Some(dead) = &mut self.dead else { return Ok(()) };
        let fates: BTreeMap<u64, Fate> =
            resolved.iter().map(|(letter, fate)| (letter.position, *fate)).collect();
        let state = &self.state;
        let there = dead.letters(|letter| {
            fates.contains_key(&letter.position) && state.is_done(letter.position)
        })?;
        let with_fate = there.into_iter().filter_map(|letter| {
            let fate = *fates.get(&letter.position)?;
            Some((letter, fate))
        });
        let there: Vec<_> = with_fate.collect();
        if there.is_empty() {
            return Ok(());
        }
        // Of the letters first: one that is resolved and counts as dead still looks as if it had been
        // purged, and the other way round it would be handed over once more.
        dead.resolve(&there, now, reserve)?;
        let mut change = Change::default();
        for (letter, to) in there {
            let DeadLetter { tenant, fate: from, .. } = letter;
            self.state.revive(tenant.as_deref(), from, to);
            change.revived.push((tenant, Revived { from, to }));
        }
        self.write(&Entry::Change(change), reserve)?;
        self.sync(reserve)
    }

    /// Takes dead letters away that `chosen` chooses, durably, but none of a record that is to come
    /// again; returns how many.
    pub(crate) fn purge(
        &mut self,
        mut chosen: impl FnMut(&DeadLetter) -> bool,
        reserve: &Reserve,
    ) -> io::Result<u64> {
        let Some(dead) = &self.dead else { return Ok(0) };
        let state = &self.state;
        let mut chosen = |letter: &DeadLetter| state.is_done(letter.position) && chosen(letter);
        let gone: BTreeSet<u64> =
            dead.letters(&mut chosen)?.iter().map(|letter| letter.position).collect();
        if gone.is_empty() {
            return Ok(0);
        }
        // Offsets in the file are about to mean something else: until that is known, all of it is
        // looked at.
        self.account(0, reserve)?;
        self.sync(reserve)?;
        let Some(dead) = &mut self.dead else { return Ok(0) };
        dead.purge(&gone, reserve)?;
        let accounted = dead.account(&[]);
        self.account(accounted, reserve)?;
        Ok(gone.len() as u64)
    }

    /// Takes note of how much of the file of dead letters is accounted for.
    fn account(&mut self, accounted: u64, reserve: &Reserve) -> io::Result<()> {
        self.state.dead = accounted;
        let change = Change { dead: Some(accounted), ..Change::default() };
        self.write(&Entry::Change(change), reserve)
    }

    /// The receiver has not got these: where no others are in doubt, nothing is.
    pub(crate) fn not_taken(&mut self, range: &Range<u64>, reserve: &Reserve) -> io::Result<()> {
        let within = |doubt: Doubt| range.start <= doubt.from && doubt.to <= range.end;
        if !self.state.doubt.is_some_and(within) {
            return Ok(());
        }
        self.forget_doubt(reserve)
    }

    fn forget_doubt(&mut self, reserve: &Reserve) -> io::Result<()> {
        let cursor = self.state.cursor;
        self.state.doubt = None;
        let nothing = Doubt { from: cursor, to: cursor, since: 0 };
        self.write(&Entry::Doubt(nothing), reserve)
    }

    /// Settles what is in doubt, durably: `None` to hand it over again, or what has become of it.
    /// Returns the positions; `None` where nothing is in doubt.
    pub(crate) fn end_doubt(
        &mut self,
        fate: Option<Fate>,
        whose: &Whose<'_>,
        reserve: &Reserve,
    ) -> io::Result<Option<Range<u64>>> {
        let Some(doubt) = self.state.doubt else { return Ok(None) };
        let range = doubt.from..doubt.to;
        match fate {
            Some(fate) => self.settle(&[(range.clone(), fate)], &[], whose, reserve)?,
            None => self.forget_doubt(reserve)?,
        }
        self.sync(reserve)?;
        Ok(Some(range))
    }
}
