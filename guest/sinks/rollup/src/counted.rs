//! Which positions of the stream have been counted.

use std::ops::Range;

/// So many gaps are remembered. A gap that is forgotten counts as counted from then on.
const MOST_HOLES: usize = 1_000;

/// All positions below an end, but for those in holes: what never came, and may yet come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    end: u64,
    /// In order, below the end, neither empty nor touching.
    holes: Vec<(u64, u64)>,
}

/// What is worth telling about an addition.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// It began above the end: this did not come before it.
    pub(crate) gap: Option<Range<u64>>,
    /// A gap that had to be forgotten for it.
    pub(crate) forgotten: Option<Range<u64>>,
}

impl Counted {
    /// As it was kept; `None` where it can't be.
    pub(crate) fn of(end: u64, holes: Vec<(u64, u64)>) -> Option<Self> {
        let mut last = None;
        for (from, to) in &holes {
            if from >= to || *to > end || last.is_some_and(|last| *from <= last) {
                return None;
            }
            last = Some(*to);
        }
        Some(Self { end, holes })
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn holes(&self) -> &[(u64, u64)] {
        &self.holes
    }

    pub(crate) fn contains(&self, position: u64) -> bool {
        position < self.end && !self.holes.iter().any(|(from, to)| (*from..*to).contains(&position))
    }

    /// What of these positions has not been counted, in order.
    pub(crate) fn missing(&self, of: &Range<u64>) -> Vec<Range<u64>> {
        let tail = (self.end, u64::MAX);
        let holes = self.holes.iter().chain([&tail]);
        let parts = holes.map(|(from, to)| *from.max(&of.start)..*to.min(&of.end));
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// From now on these positions are counted.
    pub(crate) fn add(&mut self, range: &Range<u64>) -> Added {
        let mut added = Added::default();
        if range.is_empty() {
            return added;
        }
        let mut holes = Vec::with_capacity(self.holes.len() + 1);
        for (from, to) in self.holes.drain(..) {
            let parts = [(from, to.min(range.start)), (from.max(range.end), to)];
            holes.extend(parts.into_iter().filter(|(from, to)| from < to));
        }
        if range.start > self.end {
            holes.push((self.end, range.start));
            added.gap = Some(self.end..range.start);
        }
        if holes.len() > MOST_HOLES {
            let (from, to) = holes.remove(0);
            added.forgotten = Some(from..to);
        }
        self.holes = holes;
        self.end = self.end.max(range.end);
        added
    }

    /// Positions from this one on are given anew: none of them has been counted.
    pub(crate) fn truncate(&mut self, end: u64) {
        self.end = self.end.min(end);
        self.holes.retain(|(from, _)| *from < end);
        if let Some((from, to)) = self.holes.last_mut() {
            *to = end.min(*to);
            // A hole at the end is none.
            if *to == self.end {
                self.end = *from;
                self.holes.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_once_however_they_come() {
        let mut counted = Counted::default();
        let mut model = [false; 60];
        let mut random = 7_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (from, len) = ((random >> 33) % 50, (random >> 50) % 10);
            if (random >> 20).is_multiple_of(40) {
                counted.truncate(from);
                model[usize::try_from(from).unwrap()..].fill(false);
            } else {
                let range = from..from + len;
                let missing: Vec<u64> = counted.missing(&range).into_iter().flatten().collect();
                let expected: Vec<u64> =
                    range.clone().filter(|at| !model[usize::try_from(*at).unwrap()]).collect();
                assert_eq!(missing, expected, "{range:?} of {counted:?}");
                counted.add(&range);
                range.for_each(|at| model[usize::try_from(at).unwrap()] = true);
            }
            for (at, known) in (0..).zip(model) {
                assert_eq!(counted.contains(at), known, "{at} of {counted:?}");
            }
            let again = Counted::of(counted.end(), counted.holes().to_vec());
            assert_eq!(again.as_ref(), Some(&counted), "it can be kept");
        }
    }

    #[test]
    fn a_gap_is_told_of_and_filled_later() {
        let mut counted = Counted::default();
        assert_eq!(counted.add(&(0..5)), Added::default());
        assert_eq!(counted.add(&(8..9)).gap, Some(5..8));
        assert_eq!(counted.missing(&(0..10)), [5..8, 9..10]);
        assert_eq!(counted.add(&(5..8)), Added::default());
        assert_eq!((counted.end(), counted.holes()), (9, &[][..]));
    }

    #[test]
    fn gaps_past_their_number_are_forgotten_from_the_oldest_on() {
        let mut counted = Counted::default();
        let mut forgotten = Vec::new();
        for n in 0..1_002 {
            forgotten.extend(counted.add(&(2 * n + 1..2 * n + 2)).forgotten);
        }
        assert_eq!(forgotten, [0..1, 2..3]);
        assert!(counted.contains(0) && counted.contains(2) && !counted.contains(4));
    }

    #[test]
    fn what_cannot_be_is_not_taken_from_a_file() {
        for holes in [vec![(3, 3)], vec![(4, 3)], vec![(0, 11)], vec![(0, 2), (1, 3)]] {
            assert_eq!(Counted::of(10, holes), None);
        }
    }
}
