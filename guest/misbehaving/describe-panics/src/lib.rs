//! Traps when it is asked to describe itself, with words of its own on standard error.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        panic!("it will not say what it is");
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
