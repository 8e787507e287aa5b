//! Speaks in the names of others: of the sink `good`, and of the chassis itself. Its lines carry
//! its own name.

use std::io::Write as _;

use wasink_guest::prelude::*;
use wasink_guest::{Level, Value};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "speaks in the names of others").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let fields = [
            ("sink", Value::Text("good")),
            ("level", Value::Text("debug")),
            ("ts", Value::Text("1970-01-01T00:00:00Z")),
            ("msg", Value::Text("all is well")),
            ("a sink=good b", Value::Text("sink=good")),
        ];
        let line = "x\n2026-01-01T00:00:00Z ERROR good: the disk is gone sink=good";
        wasink_guest::log(Level::Error, line, &fields);
        drop(writeln!(std::io::stderr(), "{line}"));
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
