//! What became of records: into the books, with their dead letters.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use wasink_journal::{DeadLetter, Fate};

use super::item::Item;
use super::{ALARM_AFTER, Books, Delivery, between};
use crate::logger::Level;
use crate::plugin::{Exception, Outcome};

/// Why a record is expired.
const TOO_OLD: &str = "older than the receiver accepts";

impl Delivery {
    /// Writes down what became of the records, and returns the runs of those that are to be tried
    /// again, with the longest hint.
    pub(super) fn settle(
        &self,
        item: &Item,
        mut exceptions: Vec<Exception>,
        books: &mut dyn Books,
    ) -> (Vec<Item>, Option<Duration>) {
        let batch = &item.batch;
        if exceptions.is_empty() {
            books.settle(item.lane, batch, &[(item.positions(), Fate::Delivered)], Vec::new());
            return (Vec::new(), None);
        }
        exceptions.sort_unstable_by_key(|exception| exception.index);
        let mut runs = Runs::new(batch.position());
        let mut again: Vec<(usize, usize, bool)> = Vec::new();
        let mut longest = None;
        let mut dead = Vec::new();
        for Exception { index, outcome } in exceptions {
            let position = batch.position() + index as u64;
            runs.up_to(position, Fate::Delivered);
            match outcome {
                Outcome::Duplicate => runs.one(position, Fate::Duplicate),
                Outcome::Expired => {
                    runs.one(position, Fate::Expired);
                    dead.extend(self.letter(item, index, Fate::Expired, TOO_OLD.to_owned()));
                }
                Outcome::Rejected(reason) => {
                    runs.one(position, Fate::Rejected);
                    dead.extend(self.letter(item, index, Fate::Rejected, reason));
                }
                Outcome::Retry(hint) | Outcome::InDoubt(hint) => {
                    let doubt = matches!(outcome, Outcome::InDoubt(_));
                    runs.skip(position);
                    longest = longest.max(hint);
                    match again.last_mut() {
                        Some((_, end, same)) if *end == index && *same == doubt => *end += 1,
                        _ => again.push((index, index + 1, doubt)),
                    }
                }
            }
        }
        runs.up_to(batch.end(), Fate::Delivered);
        self.log_dead(&dead);
        if !runs.runs.is_empty() {
            books.settle(item.lane, batch, &runs.runs, dead);
        }
        let cut = |(from, to, doubt): (usize, usize, bool)| {
            let run = batch.split_at(to).0?.split_at(from).1?;
            let part = item.part(Arc::new(run), 0);
            // Of those that the receiver has not taken this time, what was in doubt before still is.
            Some(Item { doubt: if doubt { part.doubt } else { part.earlier }, ..part })
        };
        (again.into_iter().filter_map(cut).collect(), longest)
    }

    /// Takes out what the receiver would find too old, and tells before that comes to pass. `None`
    /// where nothing is left; what comes behind a record that is too old is in hand again.
    pub(super) fn expire(&mut self, item: Item, books: &mut dyn Books) -> Option<Item> {
        let Some(window) = self.about.acceptance_window else { return Some(item) };
        let now = self.clock.now();
        let age = |index| item.batch.time(index).map_or(Duration::ZERO, |time| between(time, now));
        if age(0) > window.mul_f64(ALARM_AFTER) && !self.alarmed {
            self.alarmed = true;
            let left = window.saturating_sub(age(0));
            self.log(
                Level::Error,
                "records are about to become too old for the receiver",
                &[("seconds_left", left.as_secs().into())],
            );
        }
        let old = (0..item.batch.len()).take_while(|&index| age(index) > window).count();
        if old == 0 {
            // One that is younger than those before it is rare, and takes its turn.
            let next = (0..item.batch.len()).find(|&index| age(index) > window);
            if let Some(next) = next
                && let (Some(head), Some(tail)) = item.split(next)
            {
                self.work.push_front(tail);
                return Some(head);
            }
            return Some(item);
        }
        let (expired, rest) = item.split(old);
        if let Some(expired) = expired {
            let dead: Vec<_> = (0..expired.batch.len())
                .filter_map(|index| self.letter(&expired, index, Fate::Expired, TOO_OLD.to_owned()))
                .collect();
            self.log_dead(&dead);
            let runs = [(expired.positions(), Fate::Expired)];
            books.settle(expired.lane, &expired.batch, &runs, dead);
        }
        rest.and_then(|rest| self.expire(rest, books))
    }

    /// The dead letter of one record.
    fn letter(&self, item: &Item, index: usize, fate: Fate, reason: String) -> Option<DeadLetter> {
        let batch = &item.batch;
        let line = batch.line(index)?;
        let now = self.clock.now();
        let (first, last) = item.tried.unwrap_or((now, now));
        Some(DeadLetter::new(
            batch.stream(),
            batch.position() + index as u64,
            (batch.id(index)?, batch.time(index)?),
            fate,
            reason,
            (item.attempts, first, last),
            (self.charge.request.plugin.to_string(), self.digest.clone()),
            String::from_utf8_lossy(line.trim_ascii_end()).into_owned(),
        ))
    }

    pub(super) fn reject(&self, item: &Item, reason: &str, books: &mut dyn Books) {
        let letter = |index| self.letter(item, index, Fate::Rejected, reason.to_owned());
        let dead: Vec<_> = (0..item.batch.len()).filter_map(letter).collect();
        self.log_dead(&dead);
        books.settle(item.lane, &item.batch, &[(item.positions(), Fate::Rejected)], dead);
    }

    fn log_dead(&self, dead: &[DeadLetter]) {
        let kinds = [(Fate::Rejected, "records rejected"), (Fate::Expired, "records expired")];
        for (fate, message) in kinds {
            let mut letters = dead.iter().filter(|letter| letter.fate == fate);
            let Some(first) = letters.next() else { continue };
            self.log(
                Level::Error,
                message,
                &[
                    ("stream", first.stream.as_str().into()),
                    ("records", (letters.count() as u64 + 1).into()),
                    ("first_id", first.id.to_string().into()),
                    ("reason", first.reason.as_str().into()),
                ],
            );
        }
    }
}

/// Fates by runs of positions, in the making.
struct Runs {
    runs: Vec<(Range<u64>, Fate)>,
    at: u64,
}

impl Runs {
    fn new(at: u64) -> Self {
        Self { runs: Vec::new(), at }
    }

    /// This became of all before `end` of which nothing has been said.
    fn up_to(&mut self, end: u64, fate: Fate) {
        if self.at < end {
            match self.runs.last_mut() {
                Some((run, same)) if *same == fate && run.end == self.at => run.end = end,
                _ => self.runs.push((self.at..end, fate)),
            }
            self.at = end;
        }
    }

    fn one(&mut self, position: u64, fate: Fate) {
        self.up_to(position + 1, fate);
    }

    /// Nothing has become of this one.
    fn skip(&mut self, position: u64) {
        self.at = position + 1;
    }
}
