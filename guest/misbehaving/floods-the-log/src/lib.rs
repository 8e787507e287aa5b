//! Writes 100,000 lines to the log for each batch. `limits.log_rate` of them are written; the
//! others are counted.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "writes to the log without measure")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        for line in 0..100_000_u32 {
            wasink_guest::error!("a flood"; line = line);
        }
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
