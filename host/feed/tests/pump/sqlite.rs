//! What is in SQLite alone.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;
use wasink_feed::outbox::sqlite::{SqliteOutbox, append, append_all};
use wasink_feed::outbox::{AppendError, Order, Outbox};
use wasink_record::{ControlEvent, Timestamp};

use super::kit::{Base, Kit, START, always, counts, once};

struct Sqlite(TempDir);

impl Sqlite {
    fn path(&self) -> PathBuf {
        self.0.path().join("db")
    }
}

impl Base for Sqlite {
    fn outbox(&self) -> Box<dyn Outbox> {
        Box::new(SqliteOutbox::open(&self.path()).unwrap())
    }

    fn append(
        &self,
        events: &[ControlEvent],
        now: Timestamp,
        keep: bool,
    ) -> Result<(), AppendError> {
        let mut connection = Connection::open(self.path()).unwrap();
        let transaction = connection.transaction().unwrap();
        match events {
            [event] => append(&transaction, event, now)?,
            events => append_all(&transaction, events, now)?,
        }
        if keep {
            transaction.commit().unwrap();
        }
        Ok(())
    }

    fn execute(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    fn texts(&self, columns: &str, rest: &str) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let sql = format!("SELECT {columns} FROM control_events_outbox {rest}");
        let mut statement = connection.prepare(&sql).unwrap();
        let texts = statement.query_map([], |row| {
            let value = |index| match row.get_ref(index) {
                Ok(ValueRef::Null) => Some("-".to_owned()),
                Ok(ValueRef::Integer(number)) => Some(number.to_string()),
                Ok(ValueRef::Text(text) | ValueRef::Blob(text)) => {
                    Some(String::from_utf8_lossy(text).into_owned())
                }
                _ => None,
            };
            Ok((0..).map_while(value).collect::<Vec<_>>().join("|"))
        });
        texts.unwrap().map(Result::unwrap).collect()
    }

    fn name(&self) -> String {
        self.path().display().to_string()
    }

    fn another(&self) -> Box<dyn Base> {
        Box::new(Self(tempfile::tempdir().unwrap()))
    }
}

/// Always there.
pub(crate) fn kit() -> Option<Kit> {
    Some(Kit::new(Box::new(Sqlite(tempfile::tempdir().unwrap()))))
}

#[test]
fn a_table_of_old_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("db");
    old_table(&path);
    let mut outbox = SqliteOutbox::open(&path).unwrap();
    let now = Timestamp::from_unix_nanos(START);
    let rows = outbox.due(10, Order::Held, now).unwrap();
    assert_eq!((rows[0].event_id.as_str(), rows[0].attempts, rows[0].refusals), ("a", 4, 0));
    // Twice is once.
    drop(outbox);
    SqliteOutbox::open(&path).unwrap();
}

#[test]
fn a_payload_that_is_neither_text_nor_bytes_is_a_dead_letter() {
    let directory = tempfile::tempdir().unwrap();
    let base = Sqlite(directory);
    old_table(&base.path());
    base.execute("DELETE FROM control_events_outbox");
    let kit = Kit::new(Box::new(base));
    for (id, payload) in [("none", "NULL"), ("number", "7"), ("empty", "''")] {
        kit.base.execute(&format!(
            "INSERT INTO control_events_outbox \
             (event_id, event_type, payload_json, created_at, attempt_count) \
             VALUES ('{id}', 'tenant.created', {payload}, '2026-01-01T00:00:00.000Z', NULL)"
        ));
    }
    kit.produce(&["good"]);
    let mut publisher = kit.publisher(once(), always());
    for _ in 0..4 {
        publisher.pass().unwrap();
    }
    assert_eq!(counts(&mut publisher), (0, 3));
    for dead in publisher.outbox().dead(3).unwrap() {
        let error = "its payload is empty, or neither text nor bytes";
        assert_eq!((dead.attempts, dead.error.as_str()), (1, error), "{}", dead.event_id);
    }
}

/// The table as it was before rows had a time for the next attempt.
fn old_table(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE control_events_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, \
             event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL, tenant_id TEXT, stack_id TEXT, \
             version INTEGER, base_version INTEGER, artifact_ref TEXT, checksum TEXT, \
             payload_json BLOB, created_at TEXT NOT NULL, attempt_count INTEGER DEFAULT 0, \
             last_error TEXT, last_attempt_at TEXT, published_control_version INTEGER, \
             published_at TEXT);
             INSERT INTO control_events_outbox (event_id, event_type, payload_json, created_at, \
             attempt_count) VALUES ('a', 'tenant.created', '{}', '2026-01-01T00:00:00.000Z', 4);",
        )
        .unwrap();
}
