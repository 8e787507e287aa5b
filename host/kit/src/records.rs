//! Records to try a sink with.

use std::sync::Arc;

use serde_json::{Value, json};
use wasink_journal::Batch;
use wasink_record::{
    Clock as _, IdSource, MAX_QUANTITY, Stamped, Stream, SystemClock, Timestamp, parse_line,
};

/// Makes batches whose records can be found again in what a sink makes of them.
pub(crate) struct Maker {
    ids: IdSource,
    next: u64,
    /// When all of them are said to have come: receivers do not take old ones.
    now: Timestamp,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self { ids: IdSource::new(1), next: 1, now: SystemClock.now() }
    }

    /// A text that no other record has.
    pub(crate) fn mark(&mut self) -> String {
        self.next += 1;
        format!("kit-{:08}-mark", self.next)
    }

    /// A batch of so many plain records, and their marks.
    pub(crate) fn plain(&mut self, stream: Stream, len: usize) -> (Arc<Batch>, Vec<String>) {
        let marks: Vec<_> = (0..len).map(|_| self.mark()).collect();
        let now = self.now;
        let lines: Vec<_> = marks.iter().map(|mark| plain(stream, mark, now)).collect();
        (self.batch(stream, &lines), marks)
    }

    /// A batch of these lines.
    pub(crate) fn batch(&mut self, stream: Stream, lines: &[Value]) -> Arc<Batch> {
        let now = self.now;
        let position = self.next;
        self.next += lines.len() as u64;
        let stamped = |line: &Value| {
            let record = parse_line(stream, line.to_string().as_bytes(), now);
            record.map(|record| Stamped::new(self.ids.next(now), now, record))
        };
        let records: Result<Vec<_>, _> = lines.iter().map(stamped).collect();
        let batch =
            records.ok().and_then(|records| Batch::of(stream, position, records, "wasink/kit"));
        #[expect(clippy::expect_used, reason = "the kit's own records fit the wire formats")]
        Arc::new(batch.expect("a batch of the kit's own records"))
    }
}

/// A record as most are.
fn plain(stream: Stream, mark: &str, now: Timestamp) -> Value {
    let now = now.to_string();
    match stream {
        Stream::Metering => json!({
            "kind": "vm.compute.start", "vm_id": mark, "reason": "boot", "hypervisor": "kvm",
            "shape": { "cpu": 2, "mem_bytes": 1 << 30 }, "emitted_at": now,
        }),
        Stream::Usage => json!({
            "rid": mark, "tenant": "acme", "src": "http", "stack": "shop", "duration_ms": 12,
            "status": "ok", "bytes_in": 3, "bytes_out": 4, "emitted_at": now,
        }),
        Stream::Control => json!({
            "id": 0, "event_id": mark, "type": "tenant.created", "tenant_id": "acme",
            "control_version": 0,
        }),
        Stream::Events => json!({
            "specversion": "1.0", "id": mark, "source": "/kit", "type": "kit.tried", "time": now,
            "datacontenttype": "application/json", "data": { "n": 1 },
        }),
    }
}

/// Texts that are hard on whoever takes them apart.
const TEXTS: [(&str, &str); 8] = [
    ("quotes and backslashes", "\"q\\uo\\\\te\"'`"),
    ("ends of lines", "a\nb\r\nc\u{85}d\u{2028}e"),
    ("tabs and other control characters", "\t\u{1}\u{1f}\u{7f}"),
    ("Unicode of all lengths", "äß東京🦀\u{10ffff}"),
    ("text from right to left", "\u{202e}gnp.exe\u{202c}"),
    ("what looks like JSON", "{\"a\":[1,2,{}]},"),
    ("what looks like markup", "<script>&amp;--></script>${PATH}%n%s;DROP TABLE"),
    ("blanks", "  leading and trailing  "),
];

/// Records whose values are hard to take, with what is so about each.
pub(crate) fn hard(maker: &mut Maker, stream: Stream) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let at = maker.now;
    let now = at.to_string();
    let mut add = |what: &str, change: &dyn Fn(&mut Value, &str)| {
        let mark = maker.mark();
        let mut record = plain(stream, &mark, at);
        change(&mut record, &mark);
        all.push((what.to_owned(), record));
    };
    for (what, text) in TEXTS {
        add(what, &|record, mark| {
            for key in texts(stream) {
                record[key] = json!(format!("{mark}{text}"));
            }
        });
    }
    add("long texts", &|record, mark| {
        for key in texts(stream) {
            record[key] = json!(format!("{mark}{}", "x".repeat(3_000)));
        }
    });
    let most = MAX_QUANTITY;
    match stream {
        Stream::Metering => {
            for kind in ["vm.compute.stop", "vm.storage.start", "vm.storage.stop"] {
                add(kind, &|record, _| record["kind"] = json!(kind));
            }
            for (kind, reason) in
                [("snap.storage.start", None), ("snap.storage.stop", Some("snap-rm"))]
            {
                add(kind, &|record, mark| {
                    *record = json!({
                        "kind": kind, "snapshot_id": mark, "shape": { "storage_bytes": 5 },
                        "emitted_at": now,
                    });
                    if let Some(reason) = reason {
                        record["reason"] = json!(reason);
                    }
                });
            }
            add("every field there may be", &|record, mark| {
                record["source_snapshot_id"] = json!(mark);
                record["reason"] = json!("clone");
                record["shape"] = json!({ "cpu": 1, "mem_bytes": 2, "storage_bytes": 3 });
            });
            add("nothing that may be absent", &|record, mark| {
                *record = json!({
                    "kind": "vm.compute.start", "vm_id": mark, "reason": "boot", "shape": {},
                    "emitted_at": now,
                });
            });
            add("the largest numbers", &|record, _| {
                record["shape"] = json!({ "cpu": most, "mem_bytes": most, "storage_bytes": most });
            });
        }
        Stream::Usage => {
            add("every field there may be", &|record, _| {
                record["mem_bytes"] = json!(5);
                record["fuel"] = json!(6);
                record["billable"] = json!(false);
            });
            add("denied admission", &|record, _| {
                record["status"] = json!("error");
                record["admission_denied"] = json!(true);
                record["admission_reason"] = json!("quota");
            });
            add("denied admission without a reason", &|record, _| {
                record["admission_denied"] = json!(true);
            });
            add("empty texts", &|record, _| {
                for key in ["tenant", "src", "stack"] {
                    record[key] = json!("");
                }
            });
            add("zeros", &|record, _| {
                for key in ["duration_ms", "bytes_in", "bytes_out"] {
                    record[key] = json!(0);
                }
            });
            add("the largest numbers", &|record, _| {
                for key in ["duration_ms", "bytes_in", "bytes_out", "mem_bytes", "fuel"] {
                    record[key] = json!(most);
                }
            });
        }
        Stream::Control => {
            add("every field there may be", &|record, mark| {
                record["type"] = json!("stack.activated");
                record["stack_id"] = json!("shop");
                record["version"] = json!(7);
                record["base_version"] = json!(6);
                record["artifact_ref"] = json!(format!("stacks/{mark}"));
                record["checksum"] = json!(format!("sha256:{}", "ab".repeat(32)));
                record["created_at"] = json!("2026-05-20T01:02:03.000000001+14:00");
            });
            add("nothing that may be absent", &|record, mark| {
                *record = json!({
                    "id": 0, "event_id": mark, "type": "key.changed", "control_version": 0,
                });
            });
            add("the largest control version", &|record, _| {
                record["control_version"] = json!(most);
            });
        }
        Stream::Events => {
            add("no data", &|record, _| {
                for key in ["data", "datacontenttype"] {
                    record.as_object_mut().map(|record| record.remove(key));
                }
            });
            add("data that are no object", &|record, _| record["data"] = json!([null, 1.5, "x"]));
            add("data that are text", &|record, _| {
                record["datacontenttype"] = json!("text/plain");
                record["data"] = json!("line\nline");
            });
            add("data that are bytes", &|record, _| {
                record.as_object_mut().map(|record| record.remove("data"));
                record["datacontenttype"] = json!("application/octet-stream");
                record["data_base64"] = json!("AAECAwQF/w==");
            });
            add("every field there may be", &|record, mark| {
                record["subject"] = json!(mark);
                record["dataschema"] = json!("https://example.com/schema");
                record["text"] = json!("ü\n\"");
                record["number"] = json!(-2_147_483_648);
                record["flag"] = json!(true);
            });
            add("large data", &|record, _| record["data"] = json!("y".repeat(200_000)));
        }
    }
    if stream != Stream::Control {
        let time = if stream == Stream::Events { "time" } else { "emitted_at" };
        for at in
            ["1700-01-01T00:00:00Z", "2261-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.5Z"]
        {
            add(&format!("the time {at}"), &|record, _| record[time] = json!(at));
        }
    }
    all
}

/// Fields that hold any text, with the one that has the mark.
fn texts(stream: Stream) -> &'static [&'static str] {
    match stream {
        Stream::Metering => &["vm_id", "hypervisor"],
        Stream::Usage => &["rid", "tenant", "src", "stack"],
        Stream::Control => &["event_id", "tenant_id"],
        Stream::Events => &["id", "type", "subject"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_records_are_records_of_their_streams() {
        let mut maker = Maker::new();
        for stream in Stream::ALL {
            let records = hard(&mut maker, stream);
            assert!(records.len() > 10);
            for (what, record) in records {
                let parsed = parse_line(stream, record.to_string().as_bytes(), maker.now);
                assert!(parsed.is_ok(), "{stream}, {what}: {record}: {parsed:?}");
                maker.batch(stream, &[record]);
            }
        }
    }
}
