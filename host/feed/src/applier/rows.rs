//! Events that change tables, and an inbox for all others.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, Transaction, params, params_from_iter};
use serde::Deserialize;
use serde_json::{Map, Value};
use wasink_record::{Clock, ControlEvent, ControlType};

use super::sqlite::SqliteStore;
use super::{Apply, ApplyError, StoreError};
use crate::artifacts::Artifact;
use crate::outbox::text_of;

/// Name of the table of events that change no table by themselves.
pub const INBOX: &str = "control_events_inbox";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS control_events_inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    control_version INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    tenant_id TEXT,
    stack_id TEXT,
    version INTEGER,
    base_version INTEGER,
    artifact_ref TEXT,
    checksum TEXT,
    artifact BLOB,
    applied_at TEXT NOT NULL
);
";

/// The only key of an object that stands for bytes.
const BYTES: &str = "$b64";

/// The largest number that a float holds exactly, as all below it: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Applies events to tables.
///
/// An artifact that holds rows changes the table that it names, if that is one of those that may be
/// changed. `stack.activated` and `system.opstack.updated`, events without an artifact, and all events
/// where no table is listed, become rows of the [inbox](INBOX), in the order in which they were applied and with the bytes of
/// their artifacts: other programs of the node take them from there, and delete them.
///
/// An artifact of rows is an object: `db`, `table`, `op` (`upsert` or `delete`), `rows` (a list of
/// objects, by columns) and, to delete, `pk` (the columns that say which). `upsert` puts a row in the
/// place of the one that has its key, whole: what a column is afterwards does not depend on what it
/// was. Bytes are written as `{"$b64": "…"}`. What is for another `db` than this one is passed over.
pub struct Rows {
    db: String,
    tables: BTreeSet<String>,
    clock: Box<dyn Clock>,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("db", &self.db).field("tables", &self.tables).finish()
    }
}

impl Rows {
    /// For the database that artifacts call `db`, of which these tables may be changed.
    pub fn new(
        db: impl Into<String>,
        tables: impl IntoIterator<Item = String>,
        clock: Box<dyn Clock>,
    ) -> Self {
        Self { db: db.into(), tables: tables.into_iter().collect(), clock }
    }

    /// Makes the inbox where it is not there yet, and sees to it that a row which is put in the place of
    /// another takes nothing with it: foreign keys are not enforced on this connection.
    ///
    /// # Errors
    ///
    /// What the database says.
    pub fn prepare(connection: &Connection) -> Result<(), StoreError> {
        let off = connection.pragma_update(None, "foreign_keys", false);
        off.and_then(|()| connection.execute_batch(SCHEMA))
            .map_err(|error| StoreError(error.into()))
    }

    fn is_for_tables(&self, event: &ControlEvent) -> bool {
        let of_stacks = [ControlType::StackActivated, ControlType::SystemOpstackUpdated];
        !self.tables.is_empty() && !of_stacks.contains(&event.event_type())
    }

    fn change(&self, artifact: &Artifact, transaction: &Transaction<'_>) -> Result<(), ApplyError> {
        let refused = |why: String| {
            ApplyError::Refused(format!("the artifact `{}`: {why}", artifact.reference))
        };
        let change: Change = serde_json::from_slice(&artifact.bytes)
            .map_err(|error| refused(format!("it holds no rows: {error}")))?;
        if change.db.as_deref().is_some_and(|db| db != self.db) {
            return Ok(());
        }
        if !self.tables.contains(&change.table) {
            let table = change.table.escape_debug();
            return Err(refused(format!(
                "it changes the table `{table}`, which is not among the tables that may be changed"
            )));
        }
        for (index, row) in change.rows.iter().enumerate() {
            let at = |why: String| refused(format!("rows[{index}]: {why}"));
            let (sql, values) = match change.op {
                Op::Upsert => upsert(&change.table, row).map_err(at)?,
                Op::Delete => delete(&change.table, &change.pk, row).map_err(at)?,
            };
            let done = transaction
                .prepare_cached(&sql)
                .and_then(|mut statement| statement.execute(params_from_iter(values)));
            done.map_err(|error| match error.sqlite_error_code() {
                // Not for this event: the next attempt may fare better.
                Some(code) if passes(code) => ApplyError::Store(StoreError(error.into())),
                _ => at(format!("the database: {error}")),
            })?;
        }
        Ok(())
    }
}

/// Whether an error of the database has nothing to do with what it was asked for.
fn passes(code: rusqlite::ErrorCode) -> bool {
    use rusqlite::ErrorCode;
    matches!(
        code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
    )
}

impl Apply<SqliteStore> for Rows {
    fn apply(
        &mut self,
        event: &ControlEvent,
        artifact: Option<&Artifact>,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), ApplyError> {
        match artifact {
            Some(artifact) if self.is_for_tables(event) => self.change(artifact, transaction),
            _ => {
                let sql = "INSERT INTO control_events_inbox VALUES \
                           (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
                let version = i64::try_from(event.control_version()).unwrap_or(i64::MAX);
                let row = params![
                    version,
                    event.event_id(),
                    event.event_type().as_str(),
                    event.tenant_id(),
                    event.stack_id(),
                    event.version(),
                    event.base_version(),
                    event.artifact_ref(),
                    event.checksum(),
                    artifact.map(|artifact| &artifact.bytes),
                    text_of(self.clock.now()),
                ];
                transaction
                    .prepare_cached(sql)
                    .and_then(|mut insert| insert.execute(row))
                    .map(drop)
                    .map_err(|error| ApplyError::Store(StoreError(error.into())))
            }
        }
    }
}

/// What an artifact of rows holds.
#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    db: Option<String>,
    table: String,
    op: Op,
    #[serde(default)]
    pk: Vec<String>,
    rows: Vec<Map<String, Value>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Upsert,
    Delete,
}

fn upsert(table: &str, row: &Map<String, Value>) -> Result<(String, Vec<SqlValue>), String> {
    if row.is_empty() {
        return Err("it has no column".to_owned());
    }
    // The same statement for the same columns, in whatever order they come.
    let mut columns: Vec<_> = row.iter().collect();
    columns.sort_by_key(|(name, _)| *name);
    let names: Vec<_> = columns.iter().map(|(name, _)| quoted(name)).collect();
    let marks = vec!["?"; names.len()].join(", ");
    let (table, names) = (quoted(table), names.join(", "));
    let sql = format!("INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})");
    let values = columns.into_iter().map(|(name, value)| coerced(name, value));
    Ok((sql, values.collect::<Result<_, _>>()?))
}

fn delete(
    table: &str,
    pk: &[String],
    row: &Map<String, Value>,
) -> Result<(String, Vec<SqlValue>), String> {
    if pk.is_empty() {
        return Err("`pk` has to name the columns that say which row to delete".to_owned());
    }
    let mut values = Vec::new();
    for name in pk {
        let value = row.get(name).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| format!("it lacks `{}`", name.escape_debug()))?;
        values.push(coerced(name, value)?);
    }
    // With the table's name: SQLite takes a name in quotes that is no column for a text.
    let table = quoted(table);
    let equals = |name: &String| format!("{table}.{} = ?", quoted(name));
    let which = pk.iter().map(equals).collect::<Vec<_>>().join(" AND ");
    Ok((format!("DELETE FROM {table} WHERE {which}"), values))
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQLite has it.
fn coerced(column: &str, value: &Value) -> Result<SqlValue, String> {
    let wrong = |what: &str| format!("`{}` holds {what}", column.escape_debug());
    Ok(match value {
        Value::Null => SqlValue::Null,
        Value::Bool(value) => SqlValue::Integer((*value).into()),
        Value::String(text) => SqlValue::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => SqlValue::Integer(number),
            (None, _) if number.is_u64() => {
                return Err(wrong("a number that is larger than a database can hold"));
            }
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and below 2^53")]
            (None, Some(number)) if number.fract() == 0.0 && number.abs() <= EXACT => {
                SqlValue::Integer(number as i64)
            }
            (None, Some(number)) => SqlValue::Real(number),
            (None, None) => return Err(wrong("a number that is none")),
        },
        Value::Object(object) if object.len() == 1 => {
            let bytes = object.get(BYTES).and_then(Value::as_str);
            let bytes = bytes.ok_or_else(|| wrong("an object"))?;
            let bytes = BASE64_STANDARD.decode(bytes);
            SqlValue::Blob(bytes.map_err(|_| wrong("bytes that are not in Base64"))?)
        }
        Value::Object(_) => return Err(wrong("an object")),
        Value::Array(_) => return Err(wrong("a list")),
    })
}
