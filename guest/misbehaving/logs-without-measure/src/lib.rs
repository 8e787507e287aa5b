//! Logs a line with 100,000 fields, and one whose message, name and value are 4 MiB each. Both are
//! cut.

use wasink_guest::prelude::*;
use wasink_guest::{Level, Value};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "logs fields and messages without measure")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let fields = vec![("field", Value::Unsigned(1)); 100_000];
        wasink_guest::log(Level::Warn, "many fields", &fields);
        let long = "long ".repeat((4 << 20) / 5);
        wasink_guest::log(Level::Warn, &long, &[(&*long, Value::Text(&long))]);
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
