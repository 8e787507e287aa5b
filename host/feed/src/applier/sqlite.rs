//! Applying events in SQLite.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use wasink_record::Timestamp;

use super::{ApplyError, PRUNED_AT_ONCE, Store, StoreError};
use crate::outbox::text_of;

/// How long another writer may hold the database before that is an error.
const BUSY: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS applied_events (
    event_id TEXT PRIMARY KEY,
    control_version INTEGER NOT NULL,
    applied_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS applied_events_version ON applied_events (control_version);
CREATE TABLE IF NOT EXISTS feed_cursors (
    feed TEXT PRIMARY KEY,
    control_version INTEGER NOT NULL
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
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn open(path: &Path, feed: impl Into<String>) -> Result<Self, StoreError> {
        Self::new(Connection::open(path).map_err(error)?, feed)
    }

    /// Takes over a connection.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn new(connection: Connection, feed: impl Into<String>) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY).map_err(error)?;
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

fn advance(connection: &Connection, feed: &str, version: u64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO feed_cursors (feed, control_version) VALUES (?1, ?2) \
               ON CONFLICT (feed) DO UPDATE SET control_version = excluded.control_version";
    connection.prepare_cached(sql)?.execute(params![feed, number(version)]).map(drop)
}

impl Store for SqliteStore {
    type Transaction<'a> = Transaction<'a>;

    fn cursor(&mut self) -> Result<u64, StoreError> {
        let sql = "SELECT control_version FROM feed_cursors WHERE feed = ?";
        let mut statement = self.connection.prepare_cached(sql).map_err(error)?;
        let found: Option<i64> =
            statement.query_row([&self.feed], |row| row.get(0)).optional().map_err(error)?;
        let negative = |_| StoreError("its cursor is below 0".into());
        found.map_or(Ok(0), |version| u64::try_from(version).map_err(negative))
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
        version: u64,
        now: Timestamp,
        with: &mut dyn FnMut(&mut Transaction<'_>) -> Result<(), ApplyError>,
    ) -> Result<(), ApplyError> {
        // Immediate: one that finds out later that another writes can only be given up.
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let mut transaction = begun.map_err(error)?;
        with(&mut transaction)?;
        let insert = "INSERT OR IGNORE INTO applied_events (event_id, control_version, applied_at) \
                      VALUES (?, ?, ?)";
        transaction
            .prepare_cached(insert)
            .and_then(|mut insert| insert.execute(params![event_id, number(version), text_of(now)]))
            .map_err(error)?;
        advance(&transaction, &self.feed, version).map_err(error)?;
        transaction.commit().map_err(error)?;
        Ok(())
    }

    fn set_cursor(&mut self, version: u64) -> Result<(), StoreError> {
        advance(&self.connection, &self.feed, version).map_err(error)
    }

    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, StoreError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let before = Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(age));
        let cursor = self.cursor()?;
        let sql = "DELETE FROM applied_events WHERE event_id IN ( \
                       SELECT event_id FROM applied_events \
                       WHERE control_version <= ?1 AND applied_at < ?2 \
                       ORDER BY control_version LIMIT ?3)";
        let most = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
        self.connection.execute(sql, params![number(cursor), text_of(before), most]).map_err(error)
    }
}
