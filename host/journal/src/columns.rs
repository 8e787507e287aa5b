//! Usage events by column.

use std::collections::HashMap;

use wasink_record::{Record, Stamped, Status, UsageEvent};

/// A column with few distinct values over many rows: row `r` holds `values[codes[r]]`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DictionaryColumn {
    /// The distinct values, in order of first appearance.
    pub values: Vec<String>,
    /// For each row, the index of its value.
    pub codes: Vec<u32>,
}

/// Usage events by column; all columns have a row for each record. Flags are 0 or 1, absent
/// quantities are 0, sizes are in bytes, times in nanoseconds since 1970.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each column is the field of the same name of a usage event")]
pub struct UsageColumns {
    pub tenant: DictionaryColumn,
    pub src: DictionaryColumn,
    pub stack: DictionaryColumn,
    pub ok: Vec<u8>,
    pub billable: Vec<u8>,
    pub denied: Vec<u8>,
    pub duration_ms: Vec<u64>,
    pub bytes_in: Vec<u64>,
    pub bytes_out: Vec<u64>,
    pub mem_bytes: Vec<u64>,
    pub fuel: Vec<u64>,
    pub emitted_at: Vec<i64>,
}

impl UsageColumns {
    /// The usage events among `records`; `rows` is how many there are about to be.
    pub(crate) fn new<'a>(rows: usize, records: impl Iterator<Item = &'a Stamped>) -> Self {
        let mut columns = Self::with_capacity(rows);
        let mut tenants = Dictionary::default();
        let mut sources = Dictionary::default();
        let mut stacks = Dictionary::default();
        for stamped in records {
            if let Record::Usage(event) = &stamped.record {
                columns.tenant.codes.push(tenants.code(event.tenant()));
                columns.src.codes.push(sources.code(event.src()));
                columns.stack.codes.push(stacks.code(event.stack()));
                columns.push_numbers(stamped, event);
            }
        }
        columns.tenant.values = tenants.into_values();
        columns.src.values = sources.into_values();
        columns.stack.values = stacks.into_values();
        columns
    }

    fn with_capacity(rows: usize) -> Self {
        let dictionary =
            || DictionaryColumn { values: Vec::new(), codes: Vec::with_capacity(rows) };
        Self {
            tenant: dictionary(),
            src: dictionary(),
            stack: dictionary(),
            ok: Vec::with_capacity(rows),
            billable: Vec::with_capacity(rows),
            denied: Vec::with_capacity(rows),
            duration_ms: Vec::with_capacity(rows),
            bytes_in: Vec::with_capacity(rows),
            bytes_out: Vec::with_capacity(rows),
            mem_bytes: Vec::with_capacity(rows),
            fuel: Vec::with_capacity(rows),
            emitted_at: Vec::with_capacity(rows),
        }
    }

    fn push_numbers(&mut self, stamped: &Stamped, event: &UsageEvent) {
        self.ok.push(u8::from(event.status() == Status::Ok));
        self.billable.push(u8::from(event.billable()));
        self.denied.push(u8::from(event.denied().is_some()));
        self.duration_ms.push(event.duration_ms());
        self.bytes_in.push(event.bytes_in());
        self.bytes_out.push(event.bytes_out());
        self.mem_bytes.push(event.mem_bytes());
        self.fuel.push(event.fuel());
        let time = event.emitted_at().unwrap_or(stamped.time);
        self.emitted_at.push(time.unix_nanos());
    }
}

/// Gives each distinct text a number, in order of first appearance.
#[derive(Default)]
struct Dictionary<'a> {
    codes: HashMap<&'a str, u32>,
    /// The text of the row before and its number: runs of one value are common, and comparing with
    /// it is cheaper than a look-up.
    last: Option<(&'a str, u32)>,
}

impl<'a> Dictionary<'a> {
    fn code(&mut self, text: &'a str) -> u32 {
        match self.last {
            Some((last, code)) if last == text => code,
            _ => {
                let next = u32::try_from(self.codes.len()).unwrap_or(u32::MAX);
                let code = *self.codes.entry(text).or_insert(next);
                self.last = Some((text, code));
                code
            }
        }
    }

    fn into_values(self) -> Vec<String> {
        let mut values: Vec<_> = self.codes.into_iter().collect();
        values.sort_unstable_by_key(|&(_, code)| code);
        values.into_iter().map(|(text, _)| text.to_owned()).collect()
    }
}
