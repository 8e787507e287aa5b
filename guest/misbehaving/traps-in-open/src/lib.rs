//! Traps when it is opened. It is left out, with its last words as the reason.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "traps when it is opened").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        panic!("it will not open");
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
