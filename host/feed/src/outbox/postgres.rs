//! An outbox in PostgreSQL, version 13 or later.
//!
//! **Several pumps** may work on one outbox, in one process or in many. Where order does not matter,
//! each takes rows that no other has taken: they share the work. Where it is held, one publishes at a
//! time, and the others find nothing to do until it has no more or is gone. What a pump has taken is
//! locked until it is written down what became of it, by the transaction that took it, so a pump that
//! dies leaves it to the others. That transaction stays open while the sink is called: for so long
//! nothing that was deleted since can be vacuumed. A limit that the server sets for whole transactions
//! (`transaction_timeout`) has to be longer than a call.
//!
//! **Order** is that of `id`, which a row gets when it is inserted, and not when that is committed. So
//! of producers at work at the same time, one that commits later may have the earlier row; it is
//! published when it is seen, behind what was published by then. A transaction that begins after
//! another has committed comes after it. Who needs more lets producers take turns, by a lock that each
//! holds until it has committed.
//!
//! **Columns** are those of any outbox. `payload_json` is `JSON`, which keeps the text as it is; in a
//! table that others have made it may be `JSONB`, `TEXT` or `BYTEA`. Times are `TIMESTAMPTZ`: whatever
//! zone or language a producer writes them in, they compare as times. A producer in another language
//! needs the right to insert and this, in its own transaction:
//!
//! ```sql
//! INSERT INTO control_events_outbox (event_id, event_type, tenant_id, payload_json)
//! VALUES ('evt_1', 'tenant.created', 'acme',
//!         '{"event_id": "evt_1", "type": "tenant.created", "tenant_id": "acme"}')
//! ```
//!
//! **No call lasts for ever.** A connection has to be there within 10 s an address, or what the URL
//! says; a statement may take 30 s, and wait 10 s for a lock; a server that says nothing at all is
//! given up after 40 s. After any error the connection is given up too, and the next call makes a new
//! one. Passwords are in no error and no `Debug`.
//!
//! Nothing here may be called on a thread that runs asynchronous code, except what is asynchronous
//! itself: an outbox waits, and tokio panics there.

mod session;
mod table;

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row as SqlRow};
use wasink_record::{ControlEvent, Timestamp};

use self::session::{Session, Told};
use self::table::{AT_ONCE, FIND, Insert, LOCKS, Payload, schema, system_time, timestamp};
use super::{
    AppendError, Dead, Failed, Order, Outbox, OutboxError, OutboxState, Row, Waiting, cut, latest,
    signed, text_of,
};

/// Rows that are pruned at a time.
const PRUNED: i64 = 10_000;

/// How long a call of a sink may take, where nothing else is said.
const LONGEST_CALL: Duration = Duration::from_mins(15);

/// The outbox itself may be held up for so long between two statements.
const SHORTEST_CALL: Duration = Duration::from_secs(1);

/// An outbox in a database of PostgreSQL.
pub struct PostgresOutbox(Session);

impl std::fmt::Debug for PostgresOutbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresOutbox").field(&self.0.place()).finish()
    }
}

impl PostgresOutbox {
    /// Connects to a database, and makes the table where it is not there yet. The URL is one of libpq,
    /// as `postgres://user:password@host/database`. Its `sslmode` says whether the connection is
    /// encrypted: `disable`, `prefer` (if the server can; the default) or `require`. Where it is, the
    /// server's certificate has to be for that host, and by an authority that the system trusts or
    /// that is in the file `SSL_CERT_FILE`.
    ///
    /// # Errors
    ///
    /// A URL that is not understood; a database that can't be reached, or what it says.
    pub fn connect(url: &str) -> Result<Self, OutboxError> {
        Self::new(url, None, None)
    }

    /// Connects to a database as [`connect`](Self::connect) does, with a password that does not stand
    /// in the URL.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect).
    pub fn connect_with(url: &str, password: &str) -> Result<Self, OutboxError> {
        Self::new(url, Some(password), None)
    }

    /// Connects to a database as [`connect`](Self::connect) does, and trusts the authorities in this
    /// file, as PEM, and no others.
    ///
    /// # Errors
    ///
    /// As for [`connect`](Self::connect); a file that can't be read or has no certificate in it.
    pub fn connect_trusting(url: &str, authorities: &Path) -> Result<Self, OutboxError> {
        Self::new(url, None, Some(authorities))
    }

    /// Looks at a URL as [`connect`](Self::connect) would, and reaches nothing.
    ///
    /// # Errors
    ///
    /// A URL that is not understood.
    pub fn check(url: &str) -> Result<(), OutboxError> {
        session::config(url).map(drop)
    }

    /// How long a call of the sink may take. What takes longer is not written down, and published
    /// again: the server ends a transaction in which nothing happens for so long, so that a pump that
    /// is held still does not hold up the others for ever. Default: 15 min; a second at least.
    #[must_use]
    pub fn longest_call(mut self, longest: Duration) -> Self {
        self.0.idle = longest.max(SHORTEST_CALL);
        self
    }

    fn new(
        url: &str,
        password: Option<&str>,
        authorities: Option<&Path>,
    ) -> Result<Self, OutboxError> {
        let mut session = Session::new(url, password, authorities, LONGEST_CALL)?;
        session.ask(async |client| make(client).await)?;
        Ok(Self(session))
    }

    fn take(&mut self, max: usize, order: Order, now: Timestamp) -> Result<Vec<Row>, OutboxError> {
        // Nobody else is to publish meanwhile. What another one has written down before it let go of
        // the lock is seen by the next statement, and not yet by this.
        let alone = "SELECT pg_try_advisory_xact_lock( \
                         $1 | 'control_events_outbox'::regclass::oid::int8)";
        if order == Order::Held {
            let lock = async |client: &Client| {
                client.query_typed_one(alone, &[(&LOCKS, Type::INT8)]).await?.try_get(0)
            };
            if !self.0.ask(lock)? {
                return Ok(Vec::new());
            }
        }
        let (now, latest) = (system_time(now), system_time(latest(now)));
        let (max, sql) = (i64::try_from(max).unwrap_or(i64::MAX), due(order));
        let mut params: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&max, Type::INT8)];
        if order == Order::Relaxed {
            params.extend([(&now as _, Type::TIMESTAMPTZ), (&latest as _, Type::TIMESTAMPTZ)]);
        }
        let found = self.0.ask(async |client| {
            let found = client.query_typed(&sql, &params).await?;
            found.iter().map(pending).collect::<Result<Vec<_>, Error>>()
        })?;
        let mut rows = Vec::new();
        for (row, again) in found {
            if again.is_some_and(|again| again > now && again <= latest) {
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// Makes the table, for a producer whose database has none yet. Any number of processes may do so at
/// once; where it is there already, no right to make any is needed. In a transaction of the caller it
/// is part of that.
///
/// # Errors
///
/// What the database says.
pub fn prepare(client: &mut impl postgres::GenericClient) -> Result<(), OutboxError> {
    let made = match client.query_opt(FIND, &[]) {
        Ok(None) => client.batch_execute(&schema()),
        found => found.map(drop),
    };
    made.map_err(|error| Told::new(error).into())
}

/// Makes the table as [`prepare`] does, for producers with `tokio_postgres`.
///
/// # Errors
///
/// What the database says.
pub async fn prepare_async(client: &impl tokio_postgres::GenericClient) -> Result<(), OutboxError> {
    make(client).await.map_err(|error| Told::new(error).into())
}

async fn make(client: &impl tokio_postgres::GenericClient) -> Result<(), Error> {
    match client.query_opt(FIND, &[]).await? {
        Some(_) => Ok(()),
        None => client.batch_execute(&schema()).await,
    }
}

/// Puts an event into the outbox, in the caller's own transaction: with what it tells of, or not at
/// all.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub fn append(
    transaction: &mut postgres::Transaction<'_>,
    event: &ControlEvent,
    now: Timestamp,
) -> Result<(), AppendError> {
    let insert = Insert::of(std::slice::from_ref(event), None, now)?;
    transaction.execute(&insert.sql, &insert.params()).map(drop).map_err(refused)
}

/// Puts several events into the outbox, in this order.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub fn append_all(
    transaction: &mut postgres::Transaction<'_>,
    events: &[ControlEvent],
    now: Timestamp,
) -> Result<(), AppendError> {
    for (chunk, events) in events.chunks(AT_ONCE).enumerate() {
        let insert = Insert::of(events, Some(chunk * AT_ONCE), now)?;
        transaction.execute(&insert.sql, &insert.params()).map_err(refused)?;
    }
    Ok(())
}

/// Puts an event into the outbox as [`append`] does, for producers with `tokio_postgres`. Where it is
/// cancelled, the transaction is to be given up.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub async fn append_async(
    transaction: &tokio_postgres::Transaction<'_>,
    event: &ControlEvent,
    now: Timestamp,
) -> Result<(), AppendError> {
    let insert = Insert::of(std::slice::from_ref(event), None, now)?;
    transaction.execute(&insert.sql, &insert.params()).await.map(drop).map_err(refused)
}

/// Puts several events into the outbox as [`append_all`] does, for producers with `tokio_postgres`.
/// Where it is cancelled, the transaction is to be given up.
///
/// # Errors
///
/// See [`AppendError`]; the transaction is to be given up.
pub async fn append_all_async(
    transaction: &tokio_postgres::Transaction<'_>,
    events: &[ControlEvent],
    now: Timestamp,
) -> Result<(), AppendError> {
    for (chunk, events) in events.chunks(AT_ONCE).enumerate() {
        let insert = Insert::of(events, Some(chunk * AT_ONCE), now)?;
        transaction.execute(&insert.sql, &insert.params()).await.map_err(refused)?;
    }
    Ok(())
}

fn refused(error: Error) -> AppendError {
    AppendError::Database(Told::new(error).into())
}

/// Rows to publish. Where order is held, a row that somebody else has locked is waited for: none gets
/// by.
fn due(order: Order) -> String {
    let (due, skip) = match order {
        Order::Held => ("", ""),
        Order::Relaxed => (
            "AND (next_attempt_at IS NULL OR next_attempt_at <= $2 OR next_attempt_at > $3)",
            "SKIP LOCKED",
        ),
    };
    format!(
        "SELECT id, event_id, payload_json, COALESCE(attempt_count, 0)::int8, refused_count::int8, \
                next_attempt_at \
         FROM control_events_outbox \
         WHERE published_control_version IS NULL AND dead_at IS NULL {due} \
         ORDER BY id LIMIT $1 FOR UPDATE {skip}"
    )
}

fn pending(row: &SqlRow) -> Result<(Row, Option<SystemTime>), Error> {
    // Of a payload that is not there no event comes, which is told then.
    let payload: Option<Payload> = row.try_get(2)?;
    let found = Row {
        id: row.try_get(0)?,
        event_id: row.try_get(1)?,
        payload: payload.map_or_else(Vec::new, |Payload(bytes)| bytes),
        attempts: count(row.try_get(3)?),
        refusals: count(row.try_get(4)?),
    };
    Ok((found, row.try_get(5)?))
}

fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

impl Outbox for PostgresOutbox {
    fn due(&mut self, max: usize, order: Order, now: Timestamp) -> Result<Vec<Row>, OutboxError> {
        self.0.begin()?;
        let rows = self.take(max, order, now)?;
        if rows.is_empty() {
            self.0.commit()?;
        }
        Ok(rows)
    }

    fn published(&mut self, rows: &[(i64, u64)], now: Timestamp) -> Result<(), OutboxError> {
        let sql = "UPDATE control_events_outbox \
                   SET published_control_version = given.version, published_at = $3, \
                       last_error = NULL, next_attempt_at = NULL \
                   FROM unnest($1, $2) AS given (id, version) \
                   WHERE control_events_outbox.id = given.id";
        let ids: Vec<_> = rows.iter().map(|(id, _)| *id).collect();
        let versions = rows.iter().map(|(_, version)| signed(*version));
        let versions = versions.collect::<Result<Vec<_>, _>>()?;
        let now = system_time(now);
        self.0.ask(async |client| {
            let params: [(&(dyn ToSql + Sync), Type); 3] = [
                (&ids, Type::INT8_ARRAY),
                (&versions, Type::INT8_ARRAY),
                (&now, Type::TIMESTAMPTZ),
            ];
            client.execute_typed(sql, &params).await.map(drop)
        })
    }

    fn failed(&mut self, failed: &Failed, now: Timestamp) -> Result<(), OutboxError> {
        let sql = "UPDATE control_events_outbox \
                   SET attempt_count = COALESCE(attempt_count, 0) + 1, last_error = $2, last_attempt_at = $3, \
                       next_attempt_at = $4, dead_at = $5, refused_count = refused_count + $6 \
                   WHERE id = $1 AND published_control_version IS NULL";
        let (now, again) = (system_time(now), failed.again.map(system_time));
        let dead_at = failed.again.is_none().then_some(now);
        let own = i32::from(failed.own);
        let error = storable(cut(&failed.error), self.0.unicode());
        self.0.ask(async |client| {
            let params: [(&(dyn ToSql + Sync), Type); 6] = [
                (&failed.row, Type::INT8),
                (&error, Type::TEXT),
                (&now, Type::TIMESTAMPTZ),
                (&again, Type::TIMESTAMPTZ),
                (&dead_at, Type::TIMESTAMPTZ),
                (&own, Type::INT4),
            ];
            client.execute_typed(sql, &params).await.map(drop)
        })
    }

    fn settle(&mut self) -> Result<(), OutboxError> {
        self.0.commit()
    }

    fn prune(&mut self, age: Duration, now: Timestamp) -> Result<usize, OutboxError> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let before = Timestamp::from_unix_nanos(now.unix_nanos().saturating_sub(age));
        let before = system_time(before);
        // What another pump removes just now is not waited for.
        let sql = "DELETE FROM control_events_outbox WHERE id = ANY (ARRAY( \
                       SELECT id FROM control_events_outbox \
                       WHERE published_control_version IS NOT NULL AND published_at < $1 \
                       ORDER BY published_at LIMIT $2 FOR UPDATE SKIP LOCKED))";
        let removed = self.0.ask(async |client| {
            let params: [(&(dyn ToSql + Sync), Type); 2] =
                [(&before, Type::TIMESTAMPTZ), (&PRUNED, Type::INT8)];
            client.execute_typed(sql, &params).await
        })?;
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    }

    fn state(&mut self) -> Result<OutboxState, OutboxError> {
        let counts = "SELECT (SELECT count(*) FROM control_events_outbox \
                              WHERE published_control_version IS NULL AND dead_at IS NULL), \
                             (SELECT count(*) FROM control_events_outbox \
                              WHERE published_control_version IS NULL AND dead_at IS NOT NULL)";
        let first = "SELECT id, event_id, COALESCE(attempt_count, 0)::int8, last_error \
                     FROM control_events_outbox \
                     WHERE published_control_version IS NULL AND dead_at IS NULL \
                       AND last_error IS NOT NULL \
                     ORDER BY id LIMIT 1";
        self.0.ask(async |client| {
            let counts = client.query_typed_one(counts, &[]).await?;
            let (pending, dead): (i64, i64) = (counts.try_get(0)?, counts.try_get(1)?);
            let waiting = match client.query_typed_opt(first, &[]).await? {
                Some(row) => Some(Waiting {
                    row: row.try_get(0)?,
                    event_id: row.try_get(1)?,
                    attempts: count(row.try_get(2)?),
                    error: row.try_get(3)?,
                }),
                None => None,
            };
            Ok(OutboxState { pending: pending.unsigned_abs(), dead: dead.unsigned_abs(), waiting })
        })
    }

    fn dead(&mut self, max: usize) -> Result<Vec<Dead>, OutboxError> {
        let sql = "SELECT id, event_id, COALESCE(attempt_count, 0)::int8, last_error, dead_at \
                   FROM control_events_outbox \
                   WHERE published_control_version IS NULL AND dead_at IS NOT NULL \
                   ORDER BY id LIMIT $1";
        let dead = |row: &SqlRow| {
            Ok(Dead {
                row: row.try_get(0)?,
                event_id: row.try_get(1)?,
                attempts: count(row.try_get(2)?),
                error: row.try_get::<_, Option<String>>(3)?.unwrap_or_default(),
                since: text_of(timestamp(row.try_get(4)?)),
            })
        };
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        self.0.ask(async |client| {
            let found = client.query_typed(sql, &[(&max, Type::INT8)]).await?;
            found.iter().map(dead).collect()
        })
    }

    fn revive(&mut self, row: i64) -> Result<bool, OutboxError> {
        let sql = "UPDATE control_events_outbox \
                   SET dead_at = NULL, next_attempt_at = NULL, refused_count = 0 \
                   WHERE id = $1 AND published_control_version IS NULL AND dead_at IS NOT NULL";
        let revived =
            self.0.ask(async |client| client.execute_typed(sql, &[(&row, Type::INT8)]).await)?;
        Ok(revived > 0)
    }
}

/// An error as a database can keep it: none keeps the character 0, and some only what their encoding
/// has. Otherwise a sink could say what can't be written down.
fn storable(error: &str, unicode: bool) -> String {
    let kept = |character: char| character != '\0' && (unicode || character.is_ascii());
    error.chars().map(|character| if kept(character) { character } else { '?' }).collect()
}
