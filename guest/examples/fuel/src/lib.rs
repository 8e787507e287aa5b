//! Appends `tenant,fuel` to `fuel.csv` for every record of usage.

use wasink_guest::prelude::*;

/// The sink: the file that it appends to.
#[derive(Debug)]
pub struct FuelCsv(AppendFile);

impl Sink for FuelCsv {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("1.0.0", "fuel by tenant, as CSV")
            .streams(&[Stream::Usage])
            .needs(Need::Directory, "keeps its file there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self(Directory::data()?.open_append("fuel.csv")?))
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let events = batch.usage()?;
        let rows: String = events.iter().map(|e| format!("{},{}\n", e.tenant, e.fuel)).collect();
        self.0.append_bytes(rows.as_bytes())?;
        Ok(Outcomes::delivered())
    }
}

export_sink!(FuelCsv);
