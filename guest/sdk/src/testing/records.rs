//! Records that are kept as lines of JSON.

use std::sync::Arc;

use serde_json::{Value, json};

use super::wire;
use crate::native::{Bytes, Records, Shared};
use crate::{
    Batch, CloudEvent, ControlEvent, DictionaryColumn, Encoding, Entry, Status, Stream,
    UsageColumns, UsageEvent, WrongStream,
};

#[derive(Debug)]
struct Lines {
    position: u64,
    stream: Stream,
    lines: Vec<String>,
}

pub(super) fn batch(position: u64, stream: Stream, lines: Vec<String>) -> Batch<'static> {
    Shared::Own(Box::new(Lines { position, stream, lines })).into()
}

impl Lines {
    fn typed<T>(
        &self,
        stream: Stream,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<Vec<T>, WrongStream> {
        if self.stream != stream {
            return Err(WrongStream { actual: self.stream });
        }
        Ok(self
            .lines
            .iter()
            .map(|line| {
                serde_json::from_str(line)
                    .map_err(|error| error.to_string())
                    .and_then(|value| read(&value))
                    .unwrap_or_else(|error| panic!("`{line}` is no `{stream}` record: {error}"))
            })
            .collect())
    }

    /// Each record in an envelope, as the host writes them, with a made-up source.
    fn envelopes(&self) -> Vec<String> {
        let ids = self.ids();
        let envelope = |(line, id): (&String, &String)| match self.stream {
            Stream::Events => line.clone(),
            stream => {
                let data: Value = serde_json::from_str(line).unwrap_or(Value::Null);
                json!({
                    "specversion": "1.0", "id": id, "source": "test",
                    "type": format!("wasink.{stream}"), "time": "1970-01-01T00:00:00Z",
                    "datacontenttype": "application/json", "data": data,
                })
                .to_string()
            }
        };
        self.lines.iter().zip(&ids).map(envelope).collect()
    }
}

impl Records for Lines {
    fn of(&self) -> Stream {
        self.stream
    }

    fn len(&self) -> u32 {
        u32::try_from(self.lines.len()).unwrap_or(u32::MAX)
    }

    fn position(&self) -> u64 {
        self.position
    }

    fn ids(&self) -> Vec<String> {
        (self.position..)
            .take(self.lines.len())
            .map(|position| format!("01900000-0000-7000-8000-{position:012x}"))
            .collect()
    }

    fn encode(&self, encoding: Encoding) -> Bytes {
        let lined = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect();
        let array = |lines: &[String]| format!("[{}]", lines.join(","));
        Bytes::new(match encoding {
            Encoding::Jsonl => lined(&self.lines),
            Encoding::JsonArray => array(&self.lines),
            Encoding::CloudeventsBatch => array(&self.envelopes()),
            Encoding::CloudeventsJsonl => lined(&self.envelopes()),
        })
    }

    fn entries(&self) -> Result<Vec<Entry>, WrongStream> {
        self.typed(Stream::Metering, wire::to_entry)
    }

    fn usage(&self) -> Result<Vec<UsageEvent>, WrongStream> {
        self.typed(Stream::Usage, wire::to_usage)
    }

    fn usage_columns(&self) -> Result<Arc<UsageColumns>, WrongStream> {
        let rows = self.usage()?;
        let numbers = |get: fn(&UsageEvent) -> u64| rows.iter().map(get).collect();
        let flags =
            |get: fn(&UsageEvent) -> bool| rows.iter().map(|row| u8::from(get(row))).collect();
        Ok(Arc::new(UsageColumns {
            tenant: dictionary(&rows, |row| &row.tenant),
            src: dictionary(&rows, |row| &row.src),
            stack: dictionary(&rows, |row| &row.stack),
            ok: flags(|row| row.status == Status::Ok),
            billable: flags(|row| row.billable),
            denied: flags(|row| row.admission_denied.is_some()),
            duration_ms: numbers(|row| row.duration_ms),
            bytes_in: numbers(|row| row.bytes_in),
            bytes_out: numbers(|row| row.bytes_out),
            mem_bytes: numbers(|row| row.mem_bytes),
            fuel: numbers(|row| row.fuel),
            emitted_at: rows.iter().map(|row| row.emitted_at).collect(),
        }))
    }

    fn control(&self) -> Result<Vec<ControlEvent>, WrongStream> {
        self.typed(Stream::Control, wire::to_control)
    }

    fn events(&self) -> Result<Vec<CloudEvent>, WrongStream> {
        self.typed(Stream::Events, wire::to_event)
    }
}

fn dictionary(rows: &[UsageEvent], get: impl Fn(&UsageEvent) -> &String) -> DictionaryColumn {
    let mut values: Vec<String> = Vec::new();
    let mut codes = Vec::new();
    for row in rows {
        let value = get(row);
        let code = values.iter().position(|known| known == value).unwrap_or_else(|| {
            values.push(value.clone());
            values.len() - 1
        });
        codes.push(u32::try_from(code).unwrap_or(u32::MAX));
    }
    DictionaryColumn { values, codes }
}
