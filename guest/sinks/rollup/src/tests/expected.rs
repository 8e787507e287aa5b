//! Records, their sums reckoned in the plainest way, and the sums that are in files.

use std::collections::BTreeMap;

use serde::Deserialize;
use wasink_guest::{Batch, Stream, Utc, serde_json, testing};

use super::random::Random;

/// The largest quantity that a record can hold.
pub(crate) const MAX_QUANTITY: u64 = i64::MAX.unsigned_abs();

/// By window and tenant: the numbers in the order of a line.
pub(crate) type Sums = BTreeMap<(String, String), [u128; 14]>;

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) tenant: String,
    pub(crate) at: i64,
    /// Duration, bytes in, bytes out, fuel, memory.
    pub(crate) quantities: [u64; 5],
    pub(crate) ok: bool,
    pub(crate) denied: bool,
    pub(crate) billable: bool,
}

impl Record {
    pub(crate) fn random(random: &mut Random, tenants: u64, windows: u64) -> Self {
        let mut quantity = || match random.below(5) {
            0 => 0,
            1 => MAX_QUANTITY,
            _ => random.below(1_000_000),
        };
        let quantities = [quantity(), quantity(), quantity(), quantity(), quantity()];
        let tenant = match random.below(tenants) {
            0 => String::new(),
            1 => "_sys".to_owned(),
            2 => "a \"b\"\n{\"entry\":".to_owned(),
            n => format!("tenant-{n}"),
        };
        let window = random.below(windows).cast_signed() - 1;
        let within = random.below(60_000_000_000).cast_signed();
        Self {
            tenant,
            at: window * 60_000_000_000 + within,
            quantities,
            ok: random.one_in(2),
            denied: random.one_in(3),
            billable: random.one_in(2),
        }
    }

    fn line(&self) -> String {
        let [duration_ms, bytes_in, bytes_out, fuel, mem_bytes] = self.quantities;
        serde_json::json!({
            "rid": "r", "tenant": self.tenant, "src": "http", "stack": "s",
            "duration_ms": duration_ms, "status": if self.ok { "ok" } else { "error" },
            "bytes_in": bytes_in, "bytes_out": bytes_out, "mem_bytes": mem_bytes, "fuel": fuel,
            "admission_denied": self.denied, "billable": self.billable,
            "emitted_at": Utc::from_timestamp(self.at).to_string(),
        })
        .to_string()
    }
}

pub(crate) fn batch(position: u64, records: &[Record]) -> Batch<'static> {
    let lines: Vec<_> = records.iter().map(Record::line).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    testing::batch_at(position, Stream::Usage, &lines)
}

pub(crate) fn expected<'a>(records: impl IntoIterator<Item = &'a Record>, seconds: i64) -> Sums {
    let mut sums = Sums::new();
    for record in records {
        let start = record.at.div_euclid(seconds * 1_000_000_000) * seconds * 1_000_000_000;
        let window = Utc::from_timestamp(start).to_string();
        let sum = sums.entry((window, record.tenant.clone())).or_insert([0; 14]);
        let [duration, bytes_in, bytes_out, fuel, mem] = record.quantities.map(u128::from);
        let charged = u128::from(record.billable);
        let all = [1, duration, bytes_in, bytes_out, fuel];
        for (n, more) in all.into_iter().enumerate() {
            sum[n] += more;
            sum[n + 5] += charged * more;
        }
        sum[10] += u128::from(record.ok);
        sum[11] += u128::from(!record.ok);
        sum[12] += u128::from(record.denied);
        sum[13] = sum[13].max(mem);
    }
    sums
}

#[derive(Deserialize)]
struct Five {
    records: u128,
    duration_ms: u128,
    bytes_in: u128,
    bytes_out: u128,
    fuel: u128,
}

#[derive(Deserialize)]
struct Row {
    tenant: String,
    all: Five,
    billable: Five,
    ok: u128,
    failed: u128,
    denied: u128,
    mem_bytes_max: u128,
}

/// What the files of windows say, read as somebody else would.
pub(crate) fn read(files: &BTreeMap<String, Vec<u8>>) -> Sums {
    let mut sums = Sums::new();
    for (name, text) in files {
        if !name.ends_with(".jsonl") {
            continue;
        }
        let mut lines: Vec<_> = std::str::from_utf8(text).unwrap().lines().collect();
        assert!(lines.pop().unwrap().starts_with("{\"crc32\":\""), "{name} is whole");
        let header: serde_json::Value = serde_json::from_str(lines.remove(0)).unwrap();
        let window = header["window_start"].as_str().unwrap().to_owned();
        for line in lines {
            let row: Row = serde_json::from_str(line).unwrap();
            let five = |sums: Five| {
                [sums.records, sums.duration_ms, sums.bytes_in, sums.bytes_out, sums.fuel]
            };
            let ([a, b, c, d, e], [f, g, h, i, j]) = (five(row.all), five(row.billable));
            let numbers =
                [a, b, c, d, e, f, g, h, i, j, row.ok, row.failed, row.denied, row.mem_bytes_max];
            let before = sums.insert((window.clone(), row.tenant), numbers);
            assert_eq!(before, None, "one line a tenant and window");
        }
    }
    sums
}
