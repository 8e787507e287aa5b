//! Ids of records: UUIDs of version 7, in order.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::{Uuid, Variant};

use crate::Timestamp;
use crate::names::Parsed;

/// The identity of a record, the same on every delivery: a UUID of version 7 (RFC 9562). Ids of one
/// [`IdSource`] sort in the order in which they were made, as bytes and as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(Uuid);

/// A text that is not the id of a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUID of version 7, such as `01890a5d-ac96-774b-bcce-b302099a8057`")]
pub struct InvalidRecordId {
    text: String,
}

impl RecordId {
    /// The id with these bytes, which [`as_bytes`](Self::as_bytes) gave once. They are not checked.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Its bytes, the most significant first.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Its text, with `with` done to it.
    pub(crate) fn with_text<T>(self, with: impl FnOnce(&str) -> T) -> T {
        with(self.0.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
    }
}

impl FromStr for RecordId {
    type Err = InvalidRecordId;

    fn from_str(text: &str) -> Result<Self, InvalidRecordId> {
        match Uuid::try_parse(text) {
            // Other spellings (braces, no hyphens, `urn:uuid:`) would not compare as text.
            Ok(id)
                if text.len() == 36
                    && id.get_version_num() == 7
                    && id.get_variant() == Variant::RFC4122 =>
            {
                Ok(Self(id))
            }
            _ => Err(InvalidRecordId { text: crate::invalid::shorten(text) }),
        }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for RecordId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Parsed::<Self>::new("record id"))
    }
}

/// Makes ids. Each is greater than all that the source made before it, whatever thread asks and
/// however the clock jumps.
///
/// Counts in one word: the milliseconds since 1970 above 22 bits of counter, which starts anew each
/// millisecond. More ids than that in a millisecond, or a clock that goes back,
/// make the ids run ahead of the clock. The milliseconds last until the year 2109.
#[derive(Debug)]
pub struct IdSource {
    last: AtomicU64,
    random: u64,
}

const COUNTER_BITS: u32 = 22;
const RANDOM_BITS: u32 = 52;
const MAX_MILLIS: u64 = u64::MAX >> COUNTER_BITS;

impl IdSource {
    /// A source with the low 52 bits of `random` in every id. They keep its ids apart from those of
    /// other sources at the same time, so take them from the operating system.
    pub const fn new(random: u64) -> Self {
        Self { last: AtomicU64::new(0), random: random & ((1 << RANDOM_BITS) - 1) }
    }

    /// The next id. Never waits.
    pub fn next(&self, now: Timestamp) -> RecordId {
        let millis = u64::try_from(now.unix_nanos() / 1_000_000).unwrap_or(0).min(MAX_MILLIS);
        let earliest = millis << COUNTER_BITS;
        // Nothing else is published with the number, so the atomic alone has to be consistent.
        let previous = self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(last.saturating_add(1).max(earliest))
            })
            .unwrap_or_default();
        self.build(previous.saturating_add(1).max(earliest))
    }

    /// A new `event_id` for a control event: `evt_` and the text of the next id, so that they sort
    /// by time.
    pub fn event_id(&self, now: Timestamp) -> String {
        self.next(now).with_text(|text| format!("evt_{text}"))
    }

    fn build(&self, count: u64) -> RecordId {
        let millis = u128::from(count >> COUNTER_BITS);
        let counter = u128::from(count & ((1 << COUNTER_BITS) - 1));
        let id = millis << 80
            | 0b0111 << 76
            | (counter >> 10) << 64
            | 0b10 << 62
            | (counter & 0x3ff) << RANDOM_BITS
            | u128::from(self.random);
        RecordId(Uuid::from_u128(id))
    }
}

#[cfg(test)]
mod tests;
