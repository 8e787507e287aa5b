//! Answers with a million outcomes to a batch that has fewer records. It is no answer.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "answers with a million outcomes").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut outcomes = Outcomes::delivered();
        for index in 0..1_000_000 {
            outcomes.duplicate(index);
        }
        Ok(outcomes)
    }
}

export_sink!(Misbehaving);
