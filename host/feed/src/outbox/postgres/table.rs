//! The table and its rows.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use wasink_record::{ControlEvent, Timestamp};

use super::super::{AppendError, check};

/// Rows that are inserted by one statement.
pub(super) const AT_ONCE: usize = 60;

/// Half of the keys of the locks that are taken; the other is the table that they are about.
pub(super) const LOCKS: i64 = 0x7761_736B << 32;

/// Finds nothing where the table is to be made, or lacks a column.
pub(super) const FIND: &str = "
SELECT 1 FROM pg_attribute
WHERE attrelid = to_regclass('control_events_outbox') AND NOT attisdropped
  AND attname IN ('next_attempt_at', 'refused_count', 'dead_at')
HAVING count(*) = 3
";

/// Makes what is missing, in one transaction. Where several do so at once, only a lock keeps them from
/// failing. An identity needs no right of its own, as a sequence would. Text of JSON stays as it was
/// written, and whoever looks can read it.
pub(super) fn schema() -> String {
    format!(
        "SELECT pg_advisory_xact_lock({LOCKS});
CREATE TABLE IF NOT EXISTS control_events_outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id TEXT NOT NULL UNIQUE,
    event_type TEXT NOT NULL,
    tenant_id TEXT,
    stack_id TEXT,
    version BIGINT,
    base_version BIGINT,
    artifact_ref TEXT,
    checksum TEXT,
    payload_json JSON NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    attempt_count INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    last_attempt_at TIMESTAMPTZ,
    published_control_version BIGINT,
    published_at TIMESTAMPTZ
);
ALTER TABLE control_events_outbox
    ADD COLUMN IF NOT EXISTS next_attempt_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS refused_count INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS dead_at TIMESTAMPTZ;
CREATE INDEX IF NOT EXISTS control_events_outbox_pending ON control_events_outbox (id)
    WHERE published_control_version IS NULL AND dead_at IS NULL;
CREATE INDEX IF NOT EXISTS control_events_outbox_dead ON control_events_outbox (id)
    WHERE published_control_version IS NULL AND dead_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS control_events_outbox_published ON control_events_outbox (published_at)
    WHERE published_control_version IS NOT NULL;"
    )
}

/// A parameter of a statement.
type Param<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// A statement that inserts events.
pub(super) struct Insert<'a> {
    pub(super) sql: String,
    params: Vec<Param<'a>>,
}

impl<'a> Insert<'a> {
    /// `first` is the place of the first among those of the caller, where there are several.
    pub(super) fn of(
        events: &'a [ControlEvent],
        first: Option<usize>,
        now: Timestamp,
    ) -> Result<Self, AppendError> {
        let created_at = system_time(now);
        let mut params: Vec<Param<'a>> = Vec::new();
        let mut rows = Vec::new();
        for (index, event) in events.iter().enumerate() {
            let row = first.map(|first| first + index);
            check(event, row)?;
            // A feed gives it its place: what the producer has there is of another feed.
            let payload = serde_json::to_vec(&event.clone().with_control_version(0))
                .map_err(|error| AppendError::Database(error.into()))?;
            let next = params.len() + 1;
            let columns: [Param<'a>; 10] = [
                Box::new(event.event_id()),
                Box::new(event.event_type().as_str()),
                Box::new(event.tenant_id()),
                Box::new(event.stack_id()),
                Box::new(event.version()),
                Box::new(event.base_version()),
                Box::new(event.artifact_ref()),
                Box::new(event.checksum()),
                Box::new(Payload(payload)),
                Box::new(created_at),
            ];
            let places: Vec<_> = (next..next + columns.len()).map(|n| format!("${n}")).collect();
            rows.push(format!("({})", places.join(", ")));
            params.extend(columns);
        }
        let sql = format!(
            "INSERT INTO control_events_outbox (event_id, event_type, tenant_id, stack_id, version, \
             base_version, artifact_ref, checksum, payload_json, created_at) VALUES {}",
            rows.join(", ")
        );
        Ok(Self { sql, params })
    }

    pub(super) fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|param| &**param as &(dyn ToSql + Sync)).collect()
    }
}

/// An event as JSON, in a column of whatever type that can have it: tables that others have made are as
/// good.
#[derive(Debug)]
pub(super) struct Payload(pub(super) Vec<u8>);

/// What precedes the text in the binary form of JSONB.
const JSONB: u8 = 1;

fn takes(kind: &Type) -> bool {
    [Type::JSON, Type::JSONB, Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::BYTEA].contains(kind)
}

impl<'a> FromSql<'a> for Payload {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        match raw.split_first() {
            _ if *kind != Type::JSONB => Ok(Self(raw.to_vec())),
            Some((&JSONB, text)) => Ok(Self(text.to_vec())),
            _ => Err("a form of JSONB that is not known".into()),
        }
    }

    fn accepts(kind: &Type) -> bool {
        takes(kind)
    }
}

impl ToSql for Payload {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if *kind == Type::JSONB {
            out.extend_from_slice(&[JSONB]);
        }
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        takes(kind)
    }

    to_sql_checked!();
}

/// A time as the database has it: in microseconds, whatever its zone.
pub(super) fn system_time(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(time.unix_nanos().unsigned_abs());
    let moved = if time.unix_nanos() < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(nanos)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(nanos)
    };
    moved.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time of the database; the nearest where it is further away than 292 years.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let nanos = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
    };
    Timestamp::from_unix_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_were() {
        for nanos in [0, 1, -1, 1_779_238_923_001_999_999, i64::MAX, i64::MIN + 1] {
            let time = Timestamp::from_unix_nanos(nanos);
            assert_eq!(timestamp(system_time(time)), time);
        }
    }
}
