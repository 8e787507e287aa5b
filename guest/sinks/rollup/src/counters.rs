//! What is counted.

use serde::{Deserialize, Serialize};
use wasink_guest::UsageColumns;

/// How many numbers [`Counters`] are.
pub(crate) const NUMBERS: usize = 14;

/// Sums over some records. Nothing overflows: a quantity is below 2^64 and so is the number of
/// records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) records: u128,
    pub(crate) duration_ms: u128,
    pub(crate) bytes_in: u128,
    pub(crate) bytes_out: u128,
    pub(crate) fuel: u128,
}

/// All that is known of a tenant's usage in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) all: Sums,
    pub(crate) billable: Sums,
    pub(crate) ok: u128,
    pub(crate) failed: u128,
    pub(crate) denied: u128,
    pub(crate) mem_bytes_max: u128,
}

impl Sums {
    fn add(&mut self, more: &Self) {
        self.records += more.records;
        self.duration_ms += more.duration_ms;
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
        self.fuel += more.fuel;
    }
}

impl Counters {
    /// Those of one record. A row that is not there counts nothing; columns have all their rows.
    pub(crate) fn of_row(columns: &UsageColumns, row: usize) -> Self {
        let number = |column: &[u64]| column.get(row).copied().map(u128::from).unwrap_or_default();
        let flag = |column: &[u8]| column.get(row).is_some_and(|flag| *flag != 0);
        let all = Sums {
            records: 1,
            duration_ms: number(&columns.duration_ms),
            bytes_in: number(&columns.bytes_in),
            bytes_out: number(&columns.bytes_out),
            fuel: number(&columns.fuel),
        };
        let ok = flag(&columns.ok);
        Self {
            all,
            billable: if flag(&columns.billable) { all } else { Sums::default() },
            ok: ok.into(),
            failed: (!ok).into(),
            denied: flag(&columns.denied).into(),
            mem_bytes_max: number(&columns.mem_bytes),
        }
    }

    pub(crate) fn add(&mut self, more: &Self) {
        self.all.add(&more.all);
        self.billable.add(&more.billable);
        self.ok += more.ok;
        self.failed += more.failed;
        self.denied += more.denied;
        self.mem_bytes_max = self.mem_bytes_max.max(more.mem_bytes_max);
    }

    /// The short form, without names.
    pub(crate) fn numbers(&self) -> [u128; NUMBERS] {
        let Self { all, billable, ok, failed, denied, mem_bytes_max } = *self;
        let Sums { records, duration_ms, bytes_in, bytes_out, fuel } = all;
        [
            records,
            duration_ms,
            bytes_in,
            bytes_out,
            fuel,
            billable.records,
            billable.duration_ms,
            billable.bytes_in,
            billable.bytes_out,
            billable.fuel,
            ok,
            failed,
            denied,
            mem_bytes_max,
        ]
    }
}

impl From<[u128; NUMBERS]> for Counters {
    fn from(numbers: [u128; NUMBERS]) -> Self {
        let sums = |[records, duration_ms, bytes_in, bytes_out, fuel]: [u128; 5]| Sums {
            records,
            duration_ms,
            bytes_in,
            bytes_out,
            fuel,
        };
        let [a, b, c, d, e, f, g, h, i, j, ok, failed, denied, mem_bytes_max] = numbers;
        Self {
            all: sums([a, b, c, d, e]),
            billable: sums([f, g, h, i, j]),
            ok,
            failed,
            denied,
            mem_bytes_max,
        }
    }
}
