//! Sleeps and never comes back. It is ended at its deadline, and its records wait: what waits is
//! not stopped by what is in a record.

use std::time::Duration;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "sleeps and never comes back").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        loop {
            std::thread::sleep(Duration::from_secs(1 << 32));
        }
    }
}

export_sink!(Misbehaving);
