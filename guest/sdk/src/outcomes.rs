//! What became of the records of one batch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Exception, Outcome};

/// The answer to `write`: every record is delivered that is not named here by its index in the
/// batch. A second word on the same record replaces the first.
///
/// ```
/// use wasink_guest::Outcomes;
///
/// let mut outcomes = Outcomes::delivered();
/// outcomes.duplicate(0).rejected(7, "no such tenant");
/// assert_eq!(outcomes.exceptions().len(), 2);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes(BTreeMap<u32, Outcome>);

impl Outcomes {
    /// All are delivered.
    pub fn delivered() -> Self {
        Self::default()
    }

    /// The receiver had this one already: as good as delivered.
    pub fn duplicate(&mut self, index: usize) -> &mut Self {
        self.set(index, Outcome::Duplicate)
    }

    /// Not this one now: again, not `after` so long where that is known.
    pub fn retry(&mut self, index: usize, after: Option<Duration>) -> &mut Self {
        self.set(index, Outcome::Retry(after.map(millis)))
    }

    /// It can't be told whether the receiver has this one: again, not `after` so long where that is
    /// known, and only as long as the receiver would recognise it.
    pub fn in_doubt(&mut self, index: usize, after: Option<Duration>) -> &mut Self {
        self.set(index, Outcome::InDoubt(after.map(millis)))
    }

    /// Never this one, with the reason.
    pub fn rejected(&mut self, index: usize, reason: impl Into<String>) -> &mut Self {
        self.set(index, Outcome::Rejected(reason.into()))
    }

    /// This one is too old for the receiver.
    pub fn expired(&mut self, index: usize) -> &mut Self {
        self.set(index, Outcome::Expired)
    }

    /// The records that are not simply delivered, by index.
    pub fn exceptions(&self) -> Vec<Exception> {
        self.clone().into()
    }

    fn set(&mut self, index: usize, outcome: Outcome) -> &mut Self {
        // No batch is so long; the host refuses an index that its batch does not have.
        self.0.insert(u32::try_from(index).unwrap_or(u32::MAX), outcome);
        self
    }
}

impl From<Outcomes> for Vec<Exception> {
    fn from(outcomes: Outcomes) -> Self {
        outcomes.0.into_iter().map(|(index, outcome)| Exception { index, outcome }).collect()
    }
}

pub(crate) fn millis(after: Duration) -> u64 {
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}
