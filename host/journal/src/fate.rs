//! What can become of a record at a sink, and how much became of what.

use serde::{Deserialize, Serialize};

/// What became of a record at a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fate {
    /// Delivered.
    Delivered,
    /// Recognised by the receiver as had before.
    Duplicate,
    /// Refused for good: a dead letter.
    Rejected,
    /// Too old for the receiver: a dead letter.
    Expired,
    /// Given up to make room for newer ones, as the sink's policy says.
    Dropped,
    /// Accepted, and not readable in the journal any more.
    Damaged,
}

impl Fate {
    /// All there are.
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::Duplicate,
        Self::Rejected,
        Self::Expired,
        Self::Dropped,
        Self::Damaged,
    ];
}

/// Records by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "each is the fate of the same name")]
pub struct Fates {
    #[serde(skip_serializing_if = "is_zero")]
    pub delivered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicate: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub expired: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub damaged: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Fates {
    /// All of them, whatever became of them.
    pub fn sum(&self) -> u64 {
        Fate::ALL.iter().fold(0, |sum, &fate| sum.saturating_add(self.get(fate)))
    }

    /// Those with this fate.
    pub fn get(&self, fate: Fate) -> u64 {
        let mut copy = *self;
        *copy.place(fate)
    }

    /// Counts more records with this fate.
    pub fn add(&mut self, fate: Fate, records: u64) {
        // What a file says may be any number.
        let place = self.place(fate);
        *place = place.saturating_add(records);
    }

    /// Counts one record less with this fate, where there is one.
    pub(crate) fn take(&mut self, fate: Fate) {
        let place = self.place(fate);
        *place = place.saturating_sub(1);
    }

    /// Counts all that the other counts.
    pub fn merge(&mut self, other: &Self) {
        Fate::ALL.iter().for_each(|&fate| self.add(fate, other.get(fate)));
    }

    /// What is left of these without those of `other`; `None` where that counts more of any.
    pub(crate) fn without(&self, other: &Self) -> Option<Self> {
        let mut left = *self;
        for fate in Fate::ALL {
            *left.place(fate) = self.get(fate).checked_sub(other.get(fate))?;
        }
        Some(left)
    }

    fn place(&mut self, fate: Fate) -> &mut u64 {
        match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Duplicate => &mut self.duplicate,
            Fate::Rejected => &mut self.rejected,
            Fate::Expired => &mut self.expired,
            Fate::Dropped => &mut self.dropped,
            Fate::Damaged => &mut self.damaged,
        }
    }
}
