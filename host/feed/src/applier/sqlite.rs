//! Applying events in SQLite.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use wasink_record::Timestamp;

use super::{
    ApplyError, FeedStatus, Halted, PRUNED_AT_ONCE, Place, ReplayError, SkipError, Store,
    StoreError,
};
use crate::outbox::text_of;

/// How long another writer may hold the database before that is an error.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS applied_events (
    event_id TEXT NOT NULL,
    feed TEXT NOT NULL,
    control_version INTEGER NOT NULL,
    applied_at TEXT NOT NULL,
    PRIMARY KEY (event_id, feed)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS applied_events_at ON applied_events (feed, applied_at);
CREATE TABLE IF NOT EXISTS feed_cursors (
    feed TEXT PRIMARY KEY,
    control_version INTEGER NOT NULL,
    halted_event_id TEXT,
    halted_version INTEGER,
    halted_reason TEXT,
    halted_since TEXT,
    skip_version INTEGER,
    skip_reason TEXT,
    forgotten_version INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
";

/// A database of SQLite: the caller's own tables, and beside them `applied_events` and `feed_cursors`.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    feed: String,
}

impl SqliteStore {
    /// Opens the database for the feed of this name, and makes the tables where they are not there yet.
    /// A database that is not there, or an empty file, becomes one with a write-ahead log.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn open(path: &Path, feed: impl Into<String>) -> Result<Self, StoreError> {
        let is_new = path.metadata().map_or(true, |file| file.len() == 0);
        let connection = Connection::open(path).map_err(error)?;
        if is_new {
            connection.pragma_update(None, "journal_mode", "WAL").map_err(error)?;
        }
        Self::new(connection, feed)
    }

    /// Takes over a connection.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn new(connection: Connection, feed: impl Into<String>) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY).map_err(error)?;
        let mode: String =
            connection.query_row("PRAGMA journal_mode", (), |row| row.get(0)).map_err(error)?;
        if mode == "wal" {
            // A loss of power takes the last transactions back, each whole: the place in the feed as
            // well, so their events come again.
            connection.pragma_update(None, "synchronous", "NORMAL").map_err(error)?;
        }
        connection.execute_batch(SCHEMA).map_err(error)?;
        Ok(Self { connection, feed: feed.into() })
    }

    /// The connection, to read from.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

fn error(error: rusqlite::Error) -> StoreError {
    StoreError(error.into())
}

fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn unsigned(version: i64) -> Result<u64, StoreError> {
    u64::try_from(version).map_err(|_| StoreError("a control version is below 0".into()))
}

/// Moves the cursor on, if it is where it is believed to be. What halted the feed is past.
fn advance(connection: &Connection, feed: &str, place: Place) -> Result<(), ApplyError> {
    let (since, version) = (number(place.since), number(place.version));
    if place.since == 0 {
        let begin = "INSERT OR IGNORE INTO feed_cursors (feed, control_version) VALUES (?, 0)";
        let begun = connection.prepare_cached(begin).and_then(|mut begin| begin.execute([feed]));
        begun.map_err(error)?;
    }
    let sql = "UPDATE feed_cursors SET control_version = ?3, halted_event_id = NULL, \
                   halted_version = NULL, halted_reason = NULL, halted_since = NULL, \
                   skip_version = NULL, skip_reason = NULL \
               WHERE feed = ?1 AND control_version = ?2";
    let moved = connection
        .prepare_cached(sql)
        .and_then(|mut update| update.execute(params![feed, since, version]))
        .map_err(error)?;
    if moved == 0 { Err(ApplyError::Moved) } else { Ok(()) }
}

impl Store for SqliteStore {
    type Transaction<'a> = Transaction<'a>;

    fn cursor(&mut self) -> Result<u64, StoreError> {
        let sql = "SELECT control_version FROM feed_cursors WHERE feed = ?";
        let mut statement = self.connection.prepare_cached(sql).map_err(error)?;
        let found: Option<i64> =
            statement.query_row([&self.feed], |row| row.get(0)).optional().map_err(error)?;
        found.map_or(Ok(0), unsigned)
    }

    fn is_applied(&mut self, event_id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM applied_events WHERE event_id = ?";
        self.connection
            .prepare_cached(sql)
            .and_then(|mut one| one.exists([event_id]))
            .map_err(error)
    }

    fn apply(
        &mut self,
        event_id: &str,
        place: Place,
        now: Timestamp,
        with: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), ApplyError>,
    ) -> Result<bool, ApplyError> {
        // Immediate: one that finds out later that another writes can only be given up.
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut transaction = begun.map_err(error)?;
        // First, so that nothing is applied by two who both believe that they are next.
        advance(&transaction, &self.feed, place)?;
        // Somebody may have applied it since it was looked up: by a feed of another name.
        let known = transaction
            .prepare_cached("SELECT 1 FROM applied_events WHERE event_id = ?")
            .and_then(|mut one| one.exists([event_id]))
            .map_err(error)?;
        // One that comes again is remembered from then on, at its last place.
        let insert = "INSERT INTO applied_events (event_id, feed, control_version, applied_at) \
                      VALUES (?1, ?4, ?2, ?3) \
                      ON CONFLICT (event_id, feed) DO UPDATE SET \
                          control_version = max(control_version, ?2), applied_at = ?3";
        let version = number(place.version);
        transaction
            .prepare_cached(insert)
            .and_then(|mut insert| {
                insert.execute(params![event_id, version, text_of(now), self.feed])
            })
            .map_err(error)?;
        if !known {
            with(&mut transaction)?;
        }
        if transaction.is_autocommit() {
            // A trigger or a conflict rolled it back; whatever came after that stands by itself.
            let why = "the transaction ended before all of it was applied";
            return Err(ApplyError::Refused(why.to_owned()));
        }
        transaction.commit().map_err(error)?;
        Ok(!known)
    }

    fn pass_over(&mut self, place: Place) -> Result<Option<String>, ApplyError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(error)?;
        let sql = "SELECT skip_reason FROM feed_cursors WHERE feed = ? AND skip_version = ?";
        let asked: Option<String> = transaction
            .query_row(sql, params![self.feed, number(place.version)], |row| row.get(0))
            .optional()
            .map_err(error)?;
        if asked.is_some() {
            advance(&transaction, &self.feed, place)?;
            transaction.commit().map_err(error)?;
        }
        Ok(asked)
    }

    fn halt(&mut self, halted: &Halted, place: Place) -> Result<(), StoreError> {
        let sql = "INSERT INTO feed_cursors (feed, control_version, halted_event_id, \
                       halted_version, halted_reason, halted_since) VALUES (?1, 0, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (feed) DO UPDATE SET \
                       halted_event_id = ?2, halted_version = ?3, halted_reason = ?4, \
                       halted_since = CASE WHEN halted_version = ?3 THEN halted_since ELSE ?5 END \
                   WHERE control_version = ?6";
        let Halted { event_id, version, reason, since } = halted;
        self.connection
            .prepare_cached(sql)
            .and_then(|mut upsert| {
                let since = text_of(*since);
                let at = number(place.since);
                upsert.execute(params![self.feed, event_id, number(*version), reason, since, at])
            })
            .map(drop)
            .map_err(error)
    }

    fn status(&mut self) -> Result<FeedStatus, StoreError> {
        let sql = "SELECT control_version, halted_event_id, halted_version, halted_reason, \
                       halted_since, skip_version, skip_reason FROM feed_cursors WHERE feed = ?";
        type Columns = (
            i64,
            Option<String>,
            Option<i64>,
            Option<String>,
            Option<String>,
            Option<i64>,
            Option<String>,
        );
        let found: Option<Columns> = self
            .connection
            .query_row(sql, [&self.feed], |row| row.try_into())
            .optional()
            .map_err(error)?;
        let Some((cursor, event_id, version, reason, since, skip, why)) = found else {
            return Ok(FeedStatus::default());
        };
        let halted = match (event_id, version, reason, since) {
            (Some(event_id), Some(version), Some(reason), Some(since)) => {
                let since = since.parse().map_err(|error| {
                    StoreError(format!("`halted_since` is no time: {error}").into())
                })?;
                Some(Halted { event_id, version: unsigned(version)?, reason, since })
            }
            _ => None,
        };
        let skip = match skip.zip(why) {
            Some((version, why)) => Some((unsigned(version)?, why)),
            None => None,
        };
        Ok(FeedStatus { cursor: unsigned(cursor)?, halted, skip })
    }

    fn skip(&mut self, version: u64, reason: &str) -> Result<(), SkipError> {
        if reason.trim().is_empty() {
            return Err(SkipError::NoReason);
        }
        let sql = "UPDATE feed_cursors SET skip_version = ?2, skip_reason = ?3 \
                   WHERE feed = ?1 AND halted_version = ?2";
        let asked = self.connection.execute(sql, params![self.feed, number(version), reason]);
        if asked.map_err(error)? == 1 {
            return Ok(());
        }
        let FeedStatus { cursor, halted, .. } = self.status()?;
        Err(match halted {
            Some(Halted { event_id, version, .. }) => SkipError::Other { event_id, version },
            None => SkipError::NotHalted { cursor },
        })
    }

    fn replay(&mut self, version: u64) -> Result<(), ReplayError> {
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(error)?;
        let sql = "SELECT forgotten_version FROM feed_cursors WHERE feed = ?";
        let forgotten: Option<i64> =
            transaction.query_row(sql, [&self.feed], |row| row.get(0)).optional().map_err(error)?;
        let forgotten = forgotten.map_or(Ok(0), unsigned)?;
        if version < forgotten {
            return Err(ReplayError::Forgotten { forgotten });
        }
        let sql = "INSERT INTO feed_cursors (feed, control_version) VALUES (?1, ?2) \
                   ON CONFLICT (feed) DO UPDATE SET control_version = ?2, halted_event_id = NULL, \
                       halted_version = NULL, halted_reason = NULL, halted_since = NULL, \
                       skip_version = NULL, skip_reason = NULL";
        transaction.execute(sql, params![self.feed, number(version)]).map_err(error)?;
        transaction.commit().map_err(error)?;
        Ok(())
    }

    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, StoreError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let before = text_of(Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(age)));
        // Most of the time there is nothing, and nobody has to wait for that.
        let some = "SELECT 1 FROM applied_events WHERE feed = ? AND applied_at < ? LIMIT 1";
        if !self
            .connection
            .prepare_cached(some)
            .and_then(|mut some| some.exists([&self.feed, &before]))
            .map_err(error)?
        {
            return Ok(0);
        }
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(error)?;
        let sql = "SELECT control_version FROM feed_cursors WHERE feed = ?";
        let cursor: i64 = transaction
            .query_row(sql, [&self.feed], |row| row.get(0))
            .optional()
            .map_err(error)?
            .unwrap_or(0);
        let most = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
        let highest = "SELECT max(control_version), count(*) FROM ( \
                           SELECT control_version FROM applied_events \
                           WHERE feed = ?4 AND control_version <= ?1 AND applied_at < ?2 \
                           ORDER BY applied_at LIMIT ?3)";
        let (highest, found): (Option<i64>, i64) = transaction
            .query_row(highest, params![cursor, before, most, self.feed], |row| row.try_into())
            .map_err(error)?;
        let delete = "DELETE FROM applied_events WHERE feed = ?4 AND event_id IN ( \
                          SELECT event_id FROM applied_events \
                          WHERE feed = ?4 AND control_version <= ?1 AND applied_at < ?2 \
                          ORDER BY applied_at LIMIT ?3)";
        transaction.execute(delete, params![cursor, before, most, self.feed]).map_err(error)?;
        let forgotten = "UPDATE feed_cursors SET forgotten_version = max(forgotten_version, ?2) \
                         WHERE feed = ?1";
        transaction.execute(forgotten, params![self.feed, highest.unwrap_or(0)]).map_err(error)?;
        transaction.commit().map_err(error)?;
        Ok(usize::try_from(found).unwrap_or(0))
    }
}
