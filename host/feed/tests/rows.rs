//! Artifacts that change tables, those that must not, and the inbox for all other events.

#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Value, json};
use wasink_feed::applier::rows::Rows;
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{Apply as _, ApplyError, Place, Store as _};
use wasink_feed::artifacts::Artifact;
use wasink_record::{ControlEvent, ControlType, SystemClock, Timestamp};

struct Node {
    store: SqliteStore,
    rows: Rows,
    cursor: u64,
}

impl Node {
    /// Whose tables `keys` and `blobs` may be changed, and `inner` may not.
    fn new(tables: &[&str]) -> Self {
        let database = Connection::open_in_memory().unwrap();
        database
            .execute_batch(
                "CREATE TABLE keys (id TEXT PRIMARY KEY, tenant TEXT, uses INTEGER DEFAULT 7);
                 CREATE TABLE blobs (id INTEGER PRIMARY KEY, bytes BLOB, share REAL);
                 CREATE TABLE checked (id TEXT PRIMARY KEY CHECK (length(id) < 3));
                 CREATE TABLE inner (id TEXT PRIMARY KEY);",
            )
            .unwrap();
        Rows::prepare(&database).unwrap();
        let store = SqliteStore::new(database, "control").unwrap();
        let tables = tables.iter().map(|table| (*table).to_owned());
        let rows = Rows::new("runtime", tables, Box::new(SystemClock));
        Self { store, rows, cursor: 0 }
    }

    /// Applies an event of this type whose artifact holds this.
    fn apply(&mut self, kind: ControlType, content: Option<&[u8]>) -> Result<(), String> {
        let version = self.cursor + 1;
        let id = format!("evt_{version}");
        let mut event = ControlEvent::builder(&id, kind);
        if kind == ControlType::StackActivated {
            event = event.tenant_id("acme").stack_id("shop").version(3);
        }
        if content.is_some() {
            event = event.artifact("some/key", [0; 32]);
        }
        let event = event.build().unwrap().with_control_version(version);
        let artifact = content
            .map(|bytes| Artifact { reference: "some/key".to_owned(), bytes: bytes.to_vec() });
        let place = Place { since: self.cursor, version };
        let rows = &mut self.rows;
        let applied =
            self.store.apply(&id, place, Timestamp::from_unix_nanos(0), &mut |transaction| {
                rows.apply(&event, artifact.as_ref(), transaction)
            });
        match applied {
            Ok(_) => {
                self.cursor = version;
                Ok(())
            }
            Err(ApplyError::Refused(why)) => Err(why),
            Err(error) => panic!("{error}"),
        }
    }

    fn change(&mut self, change: &Value) -> Result<(), String> {
        self.apply(ControlType::KeyChanged, Some(change.to_string().as_bytes()))
    }

    /// All rows of a query, each column as SQL writes it.
    fn sees(&self, query: &str) -> Vec<String> {
        let mut query = self.store.connection().prepare(query).unwrap();
        let columns = query.column_count();
        let cell = |value: ValueRef<'_>| match value {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => format!("{number:?}"),
            ValueRef::Text(text) => format!("'{}'", std::str::from_utf8(text).unwrap()),
            ValueRef::Blob(bytes) => format!("{bytes:?}"),
        };
        let text = |row: &rusqlite::Row<'_>| {
            let cells = (0..columns).map(|n| cell(row.get_ref(n).unwrap()));
            Ok(cells.collect::<Vec<_>>().join(" "))
        };
        query.query_map((), text).unwrap().map(Result::unwrap).collect()
    }
}

#[test]
fn rows_are_put_in_whole_and_deleted_by_their_keys() {
    let mut node = Node::new(&["keys"]);
    let rows = json!([{ "id": "a", "tenant": "acme", "uses": 1 }, { "id": "b", "uses": 2.0 }]);
    node.change(&json!({ "db": "runtime", "table": "keys", "op": "upsert", "rows": rows }))
        .unwrap();
    assert_eq!(node.sees("SELECT * FROM keys ORDER BY id"), ["'a' 'acme' 1", "'b' NULL 2"]);
    // What is left out is as in a new row, whatever was there.
    node.change(&json!({ "table": "keys", "op": "upsert", "rows": [{ "id": "a" }] })).unwrap();
    assert_eq!(node.sees("SELECT tenant, uses FROM keys WHERE id = 'a'"), ["NULL 7"]);
    let delete = json!({ "table": "keys", "op": "delete", "pk": ["id"], "rows": [{ "id": "b" }] });
    node.change(&delete).unwrap();
    assert_eq!(node.sees("SELECT id FROM keys"), ["'a'"]);
    // Once more is no mistake: it is not there.
    node.change(&delete).unwrap();
    assert_eq!(node.cursor, 4);
}

#[test]
fn values_are_what_they_are_in_the_database() {
    let mut node = Node::new(&["blobs"]);
    let rows = json!([
        { "id": 1, "bytes": { "$b64": "AAEC/w==" }, "share": 0.5 },
        { "id": 2, "bytes": true, "share": null },
        { "id": i64::MAX, "bytes": "text", "share": 1e300 },
    ]);
    node.change(&json!({ "table": "blobs", "op": "upsert", "rows": rows })).unwrap();
    assert_eq!(
        node.sees("SELECT * FROM blobs ORDER BY id"),
        ["1 [0, 1, 2, 255] 0.5", "2 1 NULL", "9223372036854775807 'text' 1e300"]
    );
}

#[test]
fn what_can_t_be_applied_changes_nothing_and_says_where_it_is_wrong() {
    let mut node = Node::new(&["keys", "checked"]);
    let upsert = |rows: Value| json!({ "table": "keys", "op": "upsert", "rows": rows });
    let delete =
        |pk: Value, row: Value| json!({ "table": "keys", "op": "delete", "pk": pk, "rows": [row] });
    node.change(&upsert(json!([{ "id": "nosuch", "tenant": "acme" }]))).unwrap();
    for (change, why) in [
        (
            json!({ "table": "inner", "op": "upsert", "rows": [{ "id": "x" }] }),
            "`inner`, which is not",
        ),
        (
            json!({ "table": "sqlite_master", "op": "delete", "pk": ["name"], "rows": [] }),
            "which is not",
        ),
        (json!({ "table": "keys", "op": "drop", "rows": [] }), "unknown variant `drop`"),
        (json!([]), "it holds no rows"),
        (upsert(json!([{ "id": "x" }, {}])), "rows[1]: it has no column"),
        (upsert(json!([{ "id": "x", "nosuch": 1 }])), "rows[0]: the database: "),
        (upsert(json!([{ "id": "x", "tenant": ["a"] }])), "`tenant` holds a list"),
        (upsert(json!([{ "id": "x", "tenant": { "$b64": "AA==", "more": 1 } }])), "an object"),
        (upsert(json!([{ "id": "x", "tenant": { "$b64": "!" } }])), "not in Base64"),
        (upsert(json!([{ "id": "x", "uses": u64::MAX }])), "larger than a database can hold"),
        (delete(json!([]), json!({ "id": "a" })), "`pk` has to name"),
        (delete(json!(["id"]), json!({ "tenant": "acme" })), "it lacks `id`"),
        (delete(json!(["id"]), json!({ "id": null })), "it lacks `id`"),
        // A name that is no column is not a text that equals itself.
        (delete(json!(["nosuch"]), json!({ "nosuch": "nosuch" })), "no such column"),
        (
            json!({ "table": "checked", "op": "upsert", "rows": [{ "id": "x" }, { "id": "long" }] }),
            "rows[1]: the database: CHECK constraint failed",
        ),
    ] {
        let refused = node.change(&change).unwrap_err();
        assert!(refused.starts_with("the artifact `some/key`: "), "{refused}");
        assert!(refused.contains(why), "{change}: {refused}");
    }
    assert_eq!(node.sees("SELECT count(*) FROM keys"), ["1"]);
    assert_eq!(node.sees("SELECT count(*) FROM checked"), ["0"]);
    assert_eq!(node.sees("SELECT count(*) FROM applied_events"), ["1"]);
}

#[test]
fn a_name_is_a_name_whatever_is_in_it() {
    let mut node = Node::new(&["keys"]);
    let column = "id\") VALUES ('x'); DROP TABLE keys; --";
    let change = json!({ "table": "keys", "op": "upsert", "rows": [{ column: "x" }] });
    assert!(node.change(&change).unwrap_err().contains("has no column named"), "{change}");
    assert_eq!(node.sees("SELECT count(*) FROM keys"), ["0"]);
}

#[test]
fn a_row_that_is_put_in_the_place_of_another_takes_nothing_with_it() {
    let mut node = Node::new(&["keys"]);
    let uses = "CREATE TABLE uses (key TEXT REFERENCES keys (id) ON DELETE CASCADE)";
    node.store.connection().execute_batch(uses).unwrap();
    let change = json!({ "table": "keys", "op": "upsert", "rows": [{ "id": "a", "uses": 1 }] });
    node.change(&change).unwrap();
    node.store.connection().execute("INSERT INTO uses VALUES ('a')", ()).unwrap();
    node.change(&change).unwrap();
    assert_eq!(node.sees("SELECT key FROM uses"), ["'a'"]);
}

#[test]
fn what_is_for_another_database_is_passed_over() {
    let mut node = Node::new(&["keys"]);
    let change = json!({ "db": "auth", "table": "users", "op": "upsert", "rows": [{ "id": "x" }] });
    node.change(&change).unwrap();
    assert_eq!(node.sees("SELECT count(*) FROM control_events_inbox"), ["0"]);
    assert_eq!(node.cursor, 1);
}

#[test]
fn what_changes_no_table_is_in_the_inbox_with_its_bytes() {
    let mut node = Node::new(&["keys"]);
    node.apply(ControlType::TenantCreated, None).unwrap();
    node.apply(ControlType::StackActivated, Some(b"any \0 bytes")).unwrap();
    node.apply(ControlType::SystemOpstackUpdated, Some(b"{}")).unwrap();
    let inbox = "SELECT control_version, event_id, event_type, artifact FROM control_events_inbox";
    assert_eq!(
        node.sees(inbox),
        [
            "1 'evt_1' 'tenant.created' NULL",
            "2 'evt_2' 'stack.activated' [97, 110, 121, 32, 0, 32, 98, 121, 116, 101, 115]",
            "3 'evt_3' 'system.opstack.updated' [123, 125]",
        ]
    );
    let stack = "SELECT tenant_id, stack_id, version, artifact_ref FROM control_events_inbox \
                 WHERE event_type = 'stack.activated'";
    assert_eq!(node.sees(stack), ["'acme' 'shop' 3 'some/key'"]);
}

#[test]
fn without_tables_everything_is_in_the_inbox() {
    let mut node = Node::new(&[]);
    let change = json!({ "table": "keys", "op": "upsert", "rows": [{ "id": "a" }] });
    node.change(&change).unwrap();
    assert_eq!(node.sees("SELECT count(*) FROM keys"), ["0"]);
    assert_eq!(node.sees("SELECT event_type FROM control_events_inbox"), ["'key.changed'"]);
}
