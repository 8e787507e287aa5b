//! Sink `log`: writes each record as a line of the chassis's log.
//!
//! A `usage` record is a line with the message `usage` and these fields, in this order: `rid`,
//! `tenant`, `src`, `stack`, `duration_ms`, `status`, `bytes_in`, `bytes_out`; then `mem_bytes` and
//! `fuel` where they are above 0, `admission_denied` where it is true and `admission_reason` where
//! there is one, and `billable` where it is false. Numbers are signed. The level is `debug` for the
//! tenant `_sys` and `info` for all others.
//!
//! A record of another stream is a line at `info` with the stream's name as its message and one
//! field `record`, the record as JSON. There is nothing to set.

use wasink_guest::{Batch, Context, Description, Encoding, Error, Failure, Level, NoSettings};
use wasink_guest::{Need, Outcomes, Sink, Stream, UsageEvent, Value, info, log};

/// The service's own tenant.
const SYSTEM: &str = "_sys";

/// The sink.
#[derive(Debug)]
pub struct Log;

impl Sink for Log {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "writes records as lines of the log")
            .all_streams()
            .settings_schema(NoSettings::SCHEMA)
            .needs(Need::Log, "writes a line for each record")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        match batch.stream() {
            Stream::Usage => batch.usage()?.iter().for_each(log_usage),
            stream => {
                for line in batch.encode(Encoding::Jsonl).split(|byte| *byte == b'\n') {
                    if !line.is_empty() {
                        info!(stream.as_str(); record = &*String::from_utf8_lossy(line));
                    }
                }
            }
        }
        Ok(Outcomes::delivered())
    }
}

fn log_usage(event: &UsageEvent) {
    let mut fields = Vec::with_capacity(13);
    fields.extend([
        ("rid", Value::Text(&event.rid)),
        ("tenant", Value::Text(&event.tenant)),
        ("src", Value::Text(&event.src)),
        ("stack", Value::Text(&event.stack)),
        ("duration_ms", signed(event.duration_ms)),
        ("status", Value::Text(event.status.as_str())),
        ("bytes_in", signed(event.bytes_in)),
        ("bytes_out", signed(event.bytes_out)),
    ]);
    if event.mem_bytes > 0 {
        fields.push(("mem_bytes", signed(event.mem_bytes)));
    }
    if event.fuel > 0 {
        fields.push(("fuel", signed(event.fuel)));
    }
    if let Some(reason) = &event.admission_denied {
        fields.push(("admission_denied", Value::Boolean(true)));
        if !reason.is_empty() {
            fields.push(("admission_reason", Value::Text(reason)));
        }
    }
    if !event.billable {
        fields.push(("billable", Value::Boolean(false)));
    }
    let level = if event.tenant == SYSTEM { Level::Debug } else { Level::Info };
    log(level, "usage", &fields);
}

/// As signed as those who read the log expect; one that is too large stays the largest.
fn signed(number: u64) -> Value<'static> {
    Value::Signed(i64::try_from(number).unwrap_or(i64::MAX))
}

wasink_guest::export_sink!(Log);

#[cfg(test)]
mod tests;
