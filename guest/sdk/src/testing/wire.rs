//! Between records and their lines of JSON, well enough for a test.

use serde_json::{Map, Value, json};

use crate::{
    CloudEvent, ControlEvent, Entry, Kind, Reason, Shape, Status, Timestamp, UsageEvent, Utc,
};

type Read<T> = Result<T, String>;

/// Keys in the order of the wire format; what is absent or, for a number, 0 is left out by the
/// caller's choice of method.
#[derive(Default)]
struct Line(String);

impl Line {
    fn put(&mut self, key: &str, value: impl Into<Value>) -> &mut Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&format!("{}:{}", json!(key), value.into()));
        self
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) -> &mut Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }

    fn above_zero(&mut self, key: &str, value: u64) -> &mut Self {
        self.some(key, Some(value).filter(|value| *value > 0))
    }

    fn end(&mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        std::mem::take(&mut self.0)
    }
}

pub(super) fn from_entry(entry: &Entry) -> String {
    let shape = Line::default()
        .above_zero("cpu", entry.shape.cpu)
        .above_zero("mem_bytes", entry.shape.mem_bytes)
        .above_zero("storage_bytes", entry.shape.storage_bytes)
        .end();
    let shape: Value = serde_json::from_str(&shape).unwrap_or_default();
    Line::default()
        .put("kind", entry.kind.as_str())
        .some("vm_id", entry.vm_id.as_deref())
        .some("snapshot_id", entry.snapshot_id.as_deref())
        .some("source_snapshot_id", entry.source_snapshot_id.as_deref())
        .some("reason", entry.reason.as_ref().map(Reason::as_str))
        .some("hypervisor", entry.hypervisor.as_deref())
        .put("shape", shape)
        .put("emitted_at", time(entry.emitted_at))
        .end()
}

pub(super) fn from_usage(event: &UsageEvent) -> String {
    let reason = event.admission_denied.as_deref();
    Line::default()
        .put("rid", event.rid.as_str())
        .put("tenant", event.tenant.as_str())
        .put("src", event.src.as_str())
        .put("stack", event.stack.as_str())
        .put("duration_ms", event.duration_ms)
        .put("status", event.status.as_str())
        .put("bytes_in", event.bytes_in)
        .put("bytes_out", event.bytes_out)
        .above_zero("mem_bytes", event.mem_bytes)
        .above_zero("fuel", event.fuel)
        .some("admission_denied", reason.map(|_| true))
        .some("admission_reason", reason.filter(|reason| !reason.is_empty()))
        .some("billable", Some(false).filter(|_| !event.billable))
        .put("emitted_at", time(event.emitted_at))
        .end()
}

pub(super) fn from_control(event: &ControlEvent) -> String {
    Line::default()
        .put("id", 0)
        .put("event_id", event.event_id.as_str())
        .put("type", event.event_type.as_str())
        .some("tenant_id", event.tenant_id.as_deref())
        .some("stack_id", event.stack_id.as_deref())
        .some("version", event.version)
        .some("base_version", event.base_version)
        .some("artifact_ref", event.artifact_ref.as_deref())
        .some("checksum", event.checksum.as_deref())
        .put("control_version", event.control_version)
        .some("created_at", event.created_at.as_deref())
        .end()
}

pub(super) fn from_event(event: &CloudEvent) -> String {
    let mut line = Line::default();
    line.put("specversion", "1.0")
        .put("id", event.id.as_str())
        .put("source", event.source.as_str())
        .put("type", event.type_.as_str())
        .some("subject", event.subject.as_deref())
        .some("time", event.time.map(time))
        .some("datacontenttype", event.data_content_type.as_deref())
        .some("dataschema", event.data_schema.as_deref());
    for (name, value) in &event.extensions {
        line.put(name, serde_json::from_str::<Value>(value).unwrap_or_default());
    }
    let data = event.data.as_deref().map(|data| {
        serde_json::from_slice::<Value>(data)
            .unwrap_or_else(|_| String::from_utf8_lossy(data).into_owned().into())
    });
    line.some("data", data).end()
}

pub(super) fn to_entry(value: &Value) -> Read<Entry> {
    let shape = value.get("shape").cloned().unwrap_or_default();
    Ok(Entry {
        kind: match text(value, "kind")?.as_str() {
            "vm.compute.start" => Kind::VmComputeStart,
            "vm.compute.stop" => Kind::VmComputeStop,
            "vm.storage.start" => Kind::VmStorageStart,
            "vm.storage.stop" => Kind::VmStorageStop,
            "snap.storage.start" => Kind::SnapStorageStart,
            "snap.storage.stop" => Kind::SnapStorageStop,
            other => Kind::Other(other.to_owned()),
        },
        vm_id: optional(value, "vm_id"),
        snapshot_id: optional(value, "snapshot_id"),
        source_snapshot_id: optional(value, "source_snapshot_id"),
        reason: optional(value, "reason").map(|name| match name.as_str() {
            "boot" => Reason::Boot,
            "restart" => Reason::Restart,
            "clone" => Reason::Clone,
            "restore" => Reason::Restore,
            "hibernate-wake" => Reason::HibernateWake,
            "stop-user" => Reason::StopUser,
            "stop-crash" => Reason::StopCrash,
            "vm-rm" => Reason::VmRm,
            "snap-rm" => Reason::SnapRm,
            _ => Reason::Other(name),
        }),
        hypervisor: optional(value, "hypervisor"),
        shape: Shape {
            cpu: number(&shape, "cpu"),
            mem_bytes: number(&shape, "mem_bytes"),
            storage_bytes: number(&shape, "storage_bytes"),
        },
        emitted_at: instant(value, "emitted_at")?.unwrap_or_default(),
    })
}

pub(super) fn to_usage(value: &Value) -> Read<UsageEvent> {
    let denied = value.get("admission_denied").and_then(Value::as_bool).unwrap_or_default();
    Ok(UsageEvent {
        rid: optional(value, "rid").unwrap_or_default(),
        tenant: optional(value, "tenant").unwrap_or_default(),
        src: optional(value, "src").unwrap_or_default(),
        stack: optional(value, "stack").unwrap_or_default(),
        duration_ms: number(value, "duration_ms"),
        status: match optional(value, "status").as_deref() {
            None | Some("ok") => Status::Ok,
            Some("error") => Status::Error,
            Some(other) => return Err(format!("there is no status `{other}`")),
        },
        bytes_in: number(value, "bytes_in"),
        bytes_out: number(value, "bytes_out"),
        mem_bytes: number(value, "mem_bytes"),
        fuel: number(value, "fuel"),
        admission_denied: denied.then(|| optional(value, "admission_reason").unwrap_or_default()),
        billable: value.get("billable").and_then(Value::as_bool).unwrap_or(true),
        emitted_at: instant(value, "emitted_at")?.unwrap_or_default(),
    })
}

pub(super) fn to_control(value: &Value) -> Read<ControlEvent> {
    Ok(ControlEvent {
        event_id: text(value, "event_id")?,
        event_type: text(value, "type")?,
        tenant_id: optional(value, "tenant_id"),
        stack_id: optional(value, "stack_id"),
        version: value.get("version").and_then(Value::as_i64),
        base_version: value.get("base_version").and_then(Value::as_i64),
        artifact_ref: optional(value, "artifact_ref"),
        checksum: optional(value, "checksum"),
        control_version: number(value, "control_version"),
        created_at: optional(value, "created_at"),
    })
}

pub(super) fn to_event(value: &Value) -> Read<CloudEvent> {
    const OWN: [&str; 9] = [
        "specversion",
        "id",
        "source",
        "type",
        "subject",
        "time",
        "datacontenttype",
        "dataschema",
        "data",
    ];
    let attributes = value.as_object().map(Map::iter).into_iter().flatten();
    Ok(CloudEvent {
        id: text(value, "id")?,
        source: text(value, "source")?,
        type_: text(value, "type")?,
        subject: optional(value, "subject"),
        time: instant(value, "time")?,
        data_content_type: optional(value, "datacontenttype"),
        data_schema: optional(value, "dataschema"),
        data: value.get("data").map(|data| data.to_string().into_bytes()),
        extensions: attributes
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
    })
}

fn optional(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn text(value: &Value, key: &str) -> Read<String> {
    optional(value, key).ok_or_else(|| format!("`{key}` is missing"))
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

fn time(timestamp: Timestamp) -> String {
    Utc::from_timestamp(timestamp).to_string()
}

/// RFC 3339, as `2026-05-20T01:02:03.5Z` or with an offset.
fn instant(value: &Value, key: &str) -> Read<Option<Timestamp>> {
    match optional(value, key) {
        None => Ok(None),
        Some(text) => parse(&text).map(Some).ok_or_else(|| format!("`{key}` is no time: `{text}`")),
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at_checked(zone_at)?;
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) => format!("{digits:0<9}").get(..9)?.parse::<i64>().ok()?,
        None => 0,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let minutes =
                zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    // Counted from March, so that a leap day ends its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset * 60;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}
