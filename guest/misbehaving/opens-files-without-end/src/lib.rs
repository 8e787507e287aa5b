//! Opens the same file again and again, and closes none. `limits.handles` ends it.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "opens files and closes none").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let directory = Directory::data()?;
        let mut files = Vec::new();
        loop {
            match directory.open_append("one") {
                Ok(file) => files.push(file),
                Err(error) => return Err(Failure::rejected(format!("{}: {error}", files.len()))),
            }
        }
    }
}

export_sink!(Misbehaving);
