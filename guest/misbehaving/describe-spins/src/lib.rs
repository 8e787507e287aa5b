//! Never comes back when it is asked to describe itself.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        loop {
            std::hint::spin_loop();
        }
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
