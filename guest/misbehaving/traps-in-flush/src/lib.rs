//! Takes records and traps when it is asked to make them good. None counts as delivered.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "traps when it is asked to make good")
            .all_streams()
            .acknowledges_on_flush()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        panic!("it will not flush");
    }
}

export_sink!(Misbehaving);
