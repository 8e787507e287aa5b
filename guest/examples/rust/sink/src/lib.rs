//! Appends usage to `usage.jsonl`, and to `tenants.jsonl` how many records each tenant had since the
//! flush before.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use wasink_guest::prelude::*;
use wasink_guest::serde_json::json;

/// The sink: its files, and what has come in since the last flush.
#[derive(Debug)]
pub struct Tally {
    usage: Lines,
    tenants: Lines,
    counts: BTreeMap<String, u64>,
}

impl Sink for Tally {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("1.0.0", "usage as JSON Lines, and how many records each tenant had")
            .streams(&[Stream::Usage])
            .settings_schema(NoSettings::SCHEMA)
            .acknowledges_on_flush()
            .needs(Need::Directory, "keeps its files there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        let tally = Self::in_directory(Path::new("/data"))?;
        wasink_guest::info!("open"; file = "usage.jsonl");
        Ok(tally)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let columns = batch.usage_columns()?;
        self.usage.append(batch.encode(Encoding::Jsonl).as_ref(), false)?;
        for &code in &columns.tenant.codes {
            let Some(tenant) = columns.tenant.values.get(code as usize) else { continue };
            match self.counts.get_mut(tenant) {
                Some(count) => *count += 1,
                None => drop(self.counts.insert(tenant.clone(), 1)),
            }
        }
        Ok(Outcomes::delivered())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.counts.is_empty() {
            return Ok(());
        }
        self.usage.sync()?;
        let mut lines = String::new();
        for (tenant, records) in &self.counts {
            let tenant = json!(tenant);
            lines.push_str(&format!("{{\"tenant\":{tenant},\"records\":{records}}}\n"));
        }
        self.tenants.append(lines.as_bytes(), true)?;
        // Only now: a flush that fails is asked for again.
        self.counts.clear();
        Ok(())
    }
}

impl Tally {
    /// Keeps its files in this directory.
    pub fn in_directory(directory: &Path) -> Result<Self, Error> {
        let open = |name| {
            Lines::open(directory, name).map_err(|error| Error::new(format!("{name}: {error}")))
        };
        let (usage, tenants) = (open("usage.jsonl")?, open("tenants.jsonl")?);
        Ok(Self { usage, tenants, counts: BTreeMap::new() })
    }
}

/// A file of lines that is appended to.
#[derive(Debug)]
struct Lines {
    name: &'static str,
    file: File,
}

impl Lines {
    fn open(directory: &Path, name: &'static str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).read(true).create(true).open(directory.join(name))?;
        // Half a line at the end is of a write that was cut off: it was never acknowledged, and its
        // record comes again.
        let mut whole = file.metadata()?.len();
        let mut byte = [0];
        while whole > 0 {
            file.seek(SeekFrom::Start(whole - 1))?;
            file.read_exact(&mut byte)?;
            if byte == *b"\n" {
                break;
            }
            whole -= 1;
        }
        file.set_len(whole)?;
        Ok(Self { name, file })
    }

    /// Appends all of it or nothing: the batch comes again, and no half line is to stand before it.
    fn append(&mut self, bytes: &[u8], durable: bool) -> Result<(), Failure> {
        // The seek says how long the file is, and has the next write work after one that failed: a
        // stream into a file is closed by an error.
        let length = self.file.seek(SeekFrom::End(0)).map_err(|error| self.retry(&error))?;
        let sync = |file: &File| if durable { file.sync_data() } else { Ok(()) };
        let appended = self.file.write_all(bytes).and_then(|()| sync(&self.file));
        appended.map_err(|error| match self.file.set_len(length) {
            Ok(()) => self.retry(&error),
            // Nothing is to be appended to half a line: the next instance cuts it off as it opens.
            Err(error) => Failure::broken(format!("{}: {error}", self.name)),
        })
    }

    fn sync(&self) -> Result<(), Failure> {
        self.file.sync_data().map_err(|error| self.retry(&error))
    }

    /// It may pass: the same again.
    fn retry(&self, error: &io::Error) -> Failure {
        Failure::retry(format!("{}: {error}", self.name))
    }
}

export_sink!(Tally);

#[cfg(test)]
mod tests;
