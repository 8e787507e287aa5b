//! What becomes of each record of a batch.

use std::time::Duration;

use wasink_guest::Outcomes;

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Delivered,
    Duplicate,
    Retry(Option<Duration>),
    InDoubt(Option<Duration>),
    Rejected(String),
    Expired,
}

/// What became of all. One that nothing was said of comes again.
#[derive(Debug)]
pub(crate) struct Fates(Vec<Option<Fate>>);

impl Fates {
    pub(crate) fn new(records: usize) -> Self {
        Self(vec![None; records])
    }

    pub(crate) fn set(&mut self, record: usize, fate: Fate) {
        if let Some(slot) = self.0.get_mut(record) {
            *slot = Some(fate);
        }
    }

    /// Whether nothing more has to be done for at least one.
    pub(crate) fn any_final(&self) -> bool {
        self.0.iter().flatten().any(|fate| !matches!(fate, Fate::Retry(_) | Fate::InDoubt(_)))
    }

    /// Of how many it is not known whether the receiver has them.
    pub(crate) fn in_doubt(&self) -> usize {
        self.0.iter().flatten().filter(|fate| matches!(fate, Fate::InDoubt(_))).count()
    }

    /// Whether at least one was said to come again.
    pub(crate) fn any_retry(&self) -> bool {
        self.0.iter().flatten().any(|fate| matches!(fate, Fate::Retry(_) | Fate::InDoubt(_)))
    }

    /// The answer to the host. Those of which nothing was said come again `after` so long.
    pub(crate) fn outcomes(self, after: Option<Duration>) -> Outcomes {
        let mut outcomes = Outcomes::delivered();
        for (index, fate) in self.0.into_iter().enumerate() {
            match fate.unwrap_or(Fate::Retry(after)) {
                Fate::Delivered => {}
                Fate::Duplicate => drop(outcomes.duplicate(index)),
                Fate::Retry(after) => drop(outcomes.retry(index, after)),
                Fate::InDoubt(after) => drop(outcomes.in_doubt(index, after)),
                Fate::Rejected(reason) => drop(outcomes.rejected(index, reason)),
                Fate::Expired => drop(outcomes.expired(index)),
            }
        }
        outcomes
    }
}
