//! An outbox in SQLite.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, Transaction, params};
use wasink_record::{ControlEvent, Timestamp};

use super::{
    AppendError, Dead, Failed, Order, Outbox, OutboxError, OutboxState, Row, Waiting, check, cut,
    latest, signed, text_of,
};

/// Rows that are inserted by one statement.
const AT_ONCE: usize = 60;

/// Rows that are pruned at a time.
const PRUNED: usize = 10_000;

/// How long another writer may hold the database before that is an error.
const BUSY: Duration = Duration::from_secs(10);

/// The table, as it was first; what came later is added where it is missing.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS control_events_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    tenant_id TEXT,
    stack_id TEXT,
    version INTEGER,
    base_version INTEGER,
    artifact_ref TEXT,
    checksum TEXT,
    payload_json BLOB NOT NULL,
    created_at TEXT NOT NULL,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    last_attempt_at TEXT,
    published_control_version INTEGER,
    published_at TEXT
);
CREATE INDEX IF NOT EXISTS control_events_outbox_pending
    ON control_events_outbox (id) WHERE published_control_version IS NULL;
CREATE INDEX IF NOT EXISTS control_events_outbox_published
    ON control_events_outbox (published_at) WHERE published_control_version IS NOT NULL;
";

/// Columns that came later.
const LATER: [(&str, &str); 3] = [
    ("next_attempt_at", "TEXT"),
    ("refused_count", "INTEGER NOT NULL DEFAULT 0"),
    ("dead_at", "TEXT"),
];

/// An outbox in a database of SQLite.
#[derive(Debug)]
pub struct SqliteOutbox(Connection);

impl SqliteOutbox {
    /// Opens the database, and makes the table where it is not there yet.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        Self::new(Connection::open(path).map_err(error)?)
    }

    /// Takes over a connection, and makes the table where it is not there yet.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn new(connection: Connection) -> Result<Self, OutboxError> {
        connection.busy_timeout(BUSY).map_err(error)?;
        prepare(&connection).map_err(error)?;
        Ok(Self(connection))
    }
}

/// Makes the table, for a producer whose database has none yet.
///
/// # Errors
///
/// What the database says.
pub fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SCHEMA)?;
    for (column, kind) in LATER {
        let found = "SELECT 1 FROM pragma_table_info('control_events_outbox') WHERE name = ?";
        if !connection.prepare(found)?.exists([column])? {
            let add = format!("ALTER TABLE control_events_outbox ADD COLUMN {column} {kind}");
            match connection.execute_batch(&add) {
                // Somebody else was faster.
                Err(error) if !connection.prepare(found)?.exists([column])? => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Puts an event into the outbox, in the caller's own transaction: with what it tells of, or not at
/// all.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub fn append(
    transaction: &Transaction<'_>,
    event: &ControlEvent,
    now: Timestamp,
) -> Result<(), AppendError> {
    insert(transaction, std::slice::from_ref(event), None, now)
}

/// Puts several events into the outbox, in this order.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub fn append_all(
    transaction: &Transaction<'_>,
    events: &[ControlEvent],
    now: Timestamp,
) -> Result<(), AppendError> {
    for (chunk, events) in events.chunks(AT_ONCE).enumerate() {
        insert(transaction, events, Some(chunk * AT_ONCE), now)?;
    }
    Ok(())
}

fn insert(
    transaction: &Transaction<'_>,
    events: &[ControlEvent],
    first: Option<usize>,
    now: Timestamp,
) -> Result<(), AppendError> {
    let database = |error: rusqlite::Error| AppendError::Database(error.into());
    let created_at = text_of(now);
    let mut statement = transaction
        .prepare_cached(
            "INSERT INTO control_events_outbox (event_id, event_type, tenant_id, stack_id, version, \
             base_version, artifact_ref, checksum, payload_json, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .map_err(database)?;
    for (index, event) in events.iter().enumerate() {
        let row = first.map(|first| first + index);
        check(event, row)?;
        // A feed gives it its place: what the producer has there is of another feed.
        let event = event.clone().with_control_version(0);
        let payload =
            serde_json::to_vec(&event).map_err(|error| AppendError::Database(error.into()))?;
        let row = params![
            event.event_id(),
            event.event_type().as_str(),
            event.tenant_id(),
            event.stack_id(),
            event.version(),
            event.base_version(),
            event.artifact_ref(),
            event.checksum(),
            payload,
            created_at,
        ];
        statement.execute(row).map_err(database)?;
    }
    Ok(())
}

fn error(error: rusqlite::Error) -> OutboxError {
    OutboxError(error.into())
}

fn pending(row: &SqlRow<'_>) -> rusqlite::Result<(Row, Option<String>)> {
    let found = Row {
        id: row.get(0)?,
        event_id: row.get(1)?,
        // Text or bytes, as its producer likes; of anything else no event comes, which is told then.
        payload: row.get_ref(2)?.as_bytes().unwrap_or_default().to_vec(),
        attempts: row.get(3)?,
        refusals: row.get(4)?,
    };
    Ok((found, row.get(5)?))
}

impl Outbox for SqliteOutbox {
    fn due(&mut self, max: usize, order: Order, now: Timestamp) -> Result<Vec<Row>, OutboxError> {
        let (now, latest) = (text_of(now), text_of(latest(now)));
        let due = match order {
            Order::Held => "",
            Order::Relaxed => {
                "AND (next_attempt_at IS NULL OR next_attempt_at <= ?2 OR next_attempt_at > ?3)"
            }
        };
        let sql = format!(
            "SELECT id, event_id, payload_json, COALESCE(attempt_count, 0), refused_count, \
                    next_attempt_at \
             FROM control_events_outbox \
             WHERE published_control_version IS NULL AND dead_at IS NULL \
               AND ?2 IS NOT NULL AND ?3 IS NOT NULL {due} \
             ORDER BY id LIMIT ?1"
        );
        let mut statement = self.0.prepare_cached(&sql).map_err(error)?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let found = statement.query_map(params![max, now, latest], pending).map_err(error)?;
        let mut rows = Vec::new();
        for found in found {
            let (row, again) = found.map_err(error)?;
            if again.is_some_and(|again| again > now && again <= latest) {
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    fn published(&mut self, rows: &[(i64, u64)], now: Timestamp) -> Result<(), OutboxError> {
        let now = text_of(now);
        let transaction = self.0.transaction().map_err(error)?;
        {
            let mut statement = transaction
                .prepare_cached(
                    "UPDATE control_events_outbox \
                     SET published_control_version = ?2, published_at = ?3, last_error = NULL, \
                         next_attempt_at = NULL \
                     WHERE id = ?1",
                )
                .map_err(error)?;
            for (row, version) in rows {
                let version = signed(*version)?;
                statement.execute(params![row, version, now]).map_err(error)?;
            }
        }
        transaction.commit().map_err(error)
    }

    fn failed(&mut self, failed: &Failed, now: Timestamp) -> Result<(), OutboxError> {
        let (now, again) = (text_of(now), failed.again.map(text_of));
        let dead_at = failed.again.is_none().then_some(&now);
        self.0
            .execute(
                "UPDATE control_events_outbox \
                 SET attempt_count = COALESCE(attempt_count, 0) + 1, last_error = ?2, last_attempt_at = ?3, \
                     next_attempt_at = ?4, dead_at = ?5, refused_count = refused_count + ?6 \
                 WHERE id = ?1 AND published_control_version IS NULL",
                params![failed.row, cut(&failed.error), now, again, dead_at, failed.own],
            )
            .map(drop)
            .map_err(error)
    }

    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, OutboxError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let before = text_of(Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(age)));
        // Most of the time there is nothing, and nobody has to wait for that.
        let some = "SELECT 1 FROM control_events_outbox \
                    WHERE published_control_version IS NOT NULL AND published_at < ? LIMIT 1";
        let found = self.0.prepare_cached(some).and_then(|mut some| some.exists([&before]));
        if !found.map_err(error)? {
            return Ok(0);
        }
        self.0
            .execute(
                "DELETE FROM control_events_outbox WHERE id IN ( \
                     SELECT id FROM control_events_outbox \
                     WHERE published_control_version IS NOT NULL AND published_at < ?1 \
                     ORDER BY published_at LIMIT ?2)",
                params![before, i64::try_from(PRUNED).unwrap_or(i64::MAX)],
            )
            .map_err(error)
    }

    fn state(&mut self) -> Result<OutboxState, OutboxError> {
        let sql = "SELECT count(*) - count(dead_at), count(dead_at) FROM control_events_outbox \
                   WHERE published_control_version IS NULL";
        let (pending, dead): (i64, i64) =
            self.0.query_row(sql, [], |row| row.try_into()).map_err(error)?;
        let sql = "SELECT id, event_id, COALESCE(attempt_count, 0), last_error FROM control_events_outbox \
                   WHERE published_control_version IS NULL AND dead_at IS NULL \
                     AND last_error IS NOT NULL \
                   ORDER BY id LIMIT 1";
        let waiting = self.0.query_row(sql, [], |row| {
            let (row, event_id, attempts, error) = row.try_into()?;
            Ok(Waiting { row, event_id, attempts, error })
        });
        Ok(OutboxState {
            pending: pending.unsigned_abs(),
            dead: dead.unsigned_abs(),
            waiting: waiting.optional().map_err(error)?,
        })
    }

    fn dead(&mut self, max: usize) -> Result<Vec<Dead>, OutboxError> {
        let sql = "SELECT id, event_id, COALESCE(attempt_count, 0), last_error, dead_at \
                   FROM control_events_outbox \
                   WHERE published_control_version IS NULL AND dead_at IS NOT NULL \
                   ORDER BY id LIMIT ?";
        let mut statement = self.0.prepare_cached(sql).map_err(error)?;
        let dead = |row: &SqlRow<'_>| {
            Ok(Dead {
                row: row.get(0)?,
                event_id: row.get(1)?,
                attempts: row.get(2)?,
                error: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
                since: row.get(4)?,
            })
        };
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let found = statement.query_map([max], dead).map_err(error)?;
        found.collect::<rusqlite::Result<_>>().map_err(error)
    }

    fn revive(&mut self, row: i64) -> Result<bool, OutboxError> {
        self.0
            .query_row(
                "UPDATE control_events_outbox \
                 SET dead_at = NULL, next_attempt_at = NULL, refused_count = 0 \
                 WHERE id = ? AND published_control_version IS NULL AND dead_at IS NOT NULL \
                 RETURNING id",
                [row],
                |_| Ok(()),
            )
            .optional()
            .map(|found| found.is_some())
            .map_err(error)
    }
}
