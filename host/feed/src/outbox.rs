//! Events that are to be published, in the database of whoever made them.
//!
//! The table is `control_events_outbox`. A row is pending until it has a control version, or is a dead
//! letter.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use std::time::Duration;

use wasink_record::{ControlEvent, Timestamp};

/// Name of the table.
pub const TABLE: &str = "control_events_outbox";

/// No row waits for longer until it is tried again.
pub const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Longest text of an error that a row keeps, in bytes.
pub const LONGEST_ERROR: usize = 200;

/// Where a pump finds events, and writes down what became of them.
///
/// Rows that are [due](Self::due) are taken: where several pumps share an outbox, nobody else is given
/// them until it is [settled](Self::settle). After an error of one of these, of
/// [`published`](Self::published) or of [`failed`](Self::failed), no row is taken any more, and nothing
/// has to be left of what was written down since.
pub trait Outbox: Send {
    /// Rows to publish now, in their order, `max` at the most. Where order is [held](Order::Held), none
    /// that comes after one that is not to be tried yet. A row that would wait for longer than
    /// [`LONGEST_WAIT`] waits for no moment that was meant: the clock was set back. Where there are none,
    /// nothing has to be settled.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn due(&mut self, max: usize, order: Order, now: Timestamp) -> Result<Vec<Row>, OutboxError>;

    /// Writes down which rows have got which control versions: all of them or none.
    ///
    /// # Errors
    ///
    /// What the database says; the same rows come again then.
    fn published(&mut self, rows: &[(i64, u64)], now: Timestamp) -> Result<(), OutboxError>;

    /// Writes down that a row was tried and not published.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn failed(&mut self, failed: &Failed, now: Timestamp) -> Result<(), OutboxError>;

    /// Ends what [`due`](Self::due) began: keeps what was written down since, and lets go of the other
    /// rows. To be called after the rows were dealt with, and before anything else is waited for.
    ///
    /// # Errors
    ///
    /// What the database says; rows come again then.
    fn settle(&mut self) -> Result<(), OutboxError> {
        Ok(())
    }

    /// Removes rows that were published so long ago, at most 10,000 of them. Returns how many.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, OutboxError>;

    /// How much is in it.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn state(&mut self) -> Result<OutboxState, OutboxError>;

    /// The dead letters, the oldest first, `max` at the most.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn dead(&mut self, max: usize) -> Result<Vec<Dead>, OutboxError>;

    /// Makes a dead letter pending again, at its old place. Returns whether there was such a one.
    ///
    /// # Errors
    ///
    /// What the database says.
    fn revive(&mut self, row: i64) -> Result<bool, OutboxError>;
}

/// Whether an event may overtake one that could not be published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// No: events get their control versions in the order of their rows. One that can't be published
    /// holds up those after it, until it is published or a dead letter.
    #[default]
    Held,
    /// Yes.
    Relaxed,
}

/// A pending row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place in the order of publishing.
    pub id: i64,
    /// The event's id, as the row has it.
    pub event_id: String,
    /// The event, as JSON.
    pub payload: Vec<u8>,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// How often that was its own fault.
    pub refusals: u32,
}

impl Row {
    /// The event.
    ///
    /// # Errors
    ///
    /// Why it is none: nobody but its producer can mend that.
    pub fn event(&self) -> Result<ControlEvent, String> {
        if self.payload.is_empty() {
            return Err("its payload is empty, or neither text nor bytes".to_owned());
        }
        let event: ControlEvent = serde_json::from_slice(&self.payload)
            .map_err(|error| format!("its payload is no event: {error}"))?;
        if event.event_id() != self.event_id {
            return Err(format!(
                "its payload is the event `{}`, and the row is that of `{}`",
                event.event_id(),
                self.event_id
            ));
        }
        event.validate_texts().map_err(|error| error.to_string())?;
        Ok(event)
    }
}

/// A row that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its id.
    pub row: i64,
    /// Why.
    pub error: String,
    /// Whether that is its own fault, not that of a feed that can't be reached.
    pub own: bool,
    /// When it is tried again; `None`: never, it is a dead letter.
    pub again: Option<Timestamp>,
}

/// A row that is not tried any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Its id.
    pub row: i64,
    /// The event's id.
    pub event_id: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was not published, the last time.
    pub error: String,
    /// When it was given up.
    pub since: String,
}

/// How much is in an outbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows to be published.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// The first of the rows that were tried in vain and are tried again.
    pub waiting: Option<Waiting>,
}

/// A row that was tried in vain and is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its id.
    pub row: i64,
    /// The event's id.
    pub event_id: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it was not published, the last time.
    pub error: String,
}

/// What a database says.
#[derive(Debug, thiserror::Error)]
#[error("the outbox: {0}")]
pub struct OutboxError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why an event can't go into an outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A field that every row has is empty.
    #[error("{}its `{field}` is empty", place(.row))]
    Empty {
        /// Which of several events, from 0.
        row: Option<usize>,
        /// The field.
        field: &'static str,
    },
    /// It is no event that a feed would take.
    #[error("{}{source}", place(.row))]
    Invalid {
        /// Which of several events, from 0.
        row: Option<usize>,
        /// What is wrong with it.
        source: wasink_record::InvalidRecord,
    },
    /// What the database says; where the event's id is there already, too. The transaction is to be
    /// given up.
    #[error("the outbox: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Looks at an event before it goes into an outbox: what would never be taken out of a feed must not
/// get into it.
pub(crate) fn check(event: &ControlEvent, row: Option<usize>) -> Result<(), AppendError> {
    if event.event_id().is_empty() {
        return Err(AppendError::Empty { row, field: "event_id" });
    }
    event.validate_texts().map_err(|source| AppendError::Invalid { row, source })
}

/// A control version as databases have it.
pub(crate) fn signed(version: u64) -> Result<i64, OutboxError> {
    i64::try_from(version)
        .map_err(|_| OutboxError(format!("{version} is no control version").into()))
}

fn place(row: &Option<usize>) -> String {
    row.map_or(String::new(), |row| format!("event {row}: "))
}

/// A time as rows have it: in UTC, with milliseconds.
pub(crate) fn text_of(time: Timestamp) -> String {
    let millis = time.unix_nanos().div_euclid(1_000_000);
    let whole = Timestamp::from_unix_nanos(millis.div_euclid(1_000) * 1_000_000_000).to_string();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), millis.rem_euclid(1_000))
}

/// A row that waits for a moment after this one waits for none that was meant.
pub(crate) fn latest(now: Timestamp) -> Timestamp {
    let longest = i64::try_from(LONGEST_WAIT.as_nanos()).unwrap_or(i64::MAX);
    Timestamp::from_unix_nanos(now.unix_nanos().saturating_add(longest))
}

/// An error as a row keeps it: cut between characters.
pub(crate) fn cut(error: &str) -> &str {
    let end = (0..=LONGEST_ERROR.min(error.len())).rev().find(|&end| error.is_char_boundary(end));
    error.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_sort_as_text() {
        let text = |nanos| text_of(Timestamp::from_unix_nanos(nanos));
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_779_238_923_001_999_999), "2026-05-20T01:02:03.001Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999Z");
        assert!(text(999_000_000) < text(1_000_000_000));
    }

    #[test]
    fn errors_are_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "ä".repeat(150);
        assert_eq!(cut(&long).len(), LONGEST_ERROR);
        assert_eq!(cut(&format!("x{long}")).len(), LONGEST_ERROR - 1);
    }
}
