//! Names a record that is not there. It is no answer.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "names a record that is not there")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut outcomes = Outcomes::delivered();
        outcomes.duplicate(usize::MAX);
        Ok(outcomes)
    }
}

export_sink!(Misbehaving);
