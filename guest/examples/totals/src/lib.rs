//! Sums fuel, bytes and records of usage by tenant, and appends the sums to `totals.jsonl` on every
//! flush: an example of a sink that reads columns, and of one that acknowledges on flush.

use std::collections::BTreeMap;

use wasink_guest::prelude::*;
use wasink_guest::serde_json::Value;

/// The sink: its file, and what has come in since the last flush.
#[derive(Debug)]
pub struct TotalsByTenant {
    file: AppendFile,
    tenants: BTreeMap<String, Totals>,
}

/// Sums over some records. They are wide enough for any number of the largest quantities.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    records: u64,
    fuel: u128,
    bytes: u128,
}

impl Sink for TotalsByTenant {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("1.0.0", "sums of usage by tenant, as JSON Lines")
            .streams(&[Stream::Usage])
            .acknowledges_on_flush()
            .needs(Need::Directory, "keeps its file there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        let file = Directory::data()?.open_append("totals.jsonl")?;
        Ok(Self { file, tenants: BTreeMap::new() })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let columns = batch.usage_columns()?;
        // A tenant is a small number here. Its name is looked up once a batch, not once a record.
        let mut totals = vec![Totals::default(); columns.tenant.values.len()];
        let bytes = columns.bytes_in.iter().zip(&columns.bytes_out);
        let rows = columns.tenant.codes.iter().zip(&columns.fuel).zip(bytes);
        for ((&tenant, &fuel), (&bytes_in, &bytes_out)) in rows {
            if let Some(totals) = totals.get_mut(tenant as usize) {
                totals.records += 1;
                totals.fuel += u128::from(fuel);
                totals.bytes += u128::from(bytes_in) + u128::from(bytes_out);
            }
        }
        for (tenant, more) in columns.tenant.values.iter().zip(totals) {
            match self.tenants.get_mut(tenant) {
                Some(totals) => totals.add(more),
                None => drop(self.tenants.insert(tenant.clone(), more)),
            }
        }
        Ok(Outcomes::delivered())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        // Taken before the append: what is not flushed was not acknowledged, so it comes again.
        let tenants = std::mem::take(&mut self.tenants);
        let mut lines = String::new();
        for (tenant, Totals { records, fuel, bytes }) in tenants {
            let tenant = Value::from(tenant);
            let line = format_args!(
                r#"{{"tenant":{tenant},"records":{records},"fuel":{fuel},"bytes":{bytes}}}"#
            );
            lines.push_str(&format!("{line}\n"));
        }
        if !lines.is_empty() {
            self.file.append_bytes(lines.as_bytes())?;
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, more: Self) {
        self.records += more.records;
        self.fuel += more.fuel;
        self.bytes += more.bytes;
    }
}

export_sink!(TotalsByTenant);
