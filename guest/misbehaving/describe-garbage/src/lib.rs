//! Describes itself with a version that is none, a summary of two lines, a stream twice and a schema that is
//! not JSON.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new("latest", "one line\nand another")
            .streams(&[Stream::Usage, Stream::Usage])
            .settings_schema("{ not json")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
