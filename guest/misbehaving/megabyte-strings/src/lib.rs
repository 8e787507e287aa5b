//! Says everything in a megabyte: its version, its summary, what its settings are, why it rejects a
//! record, and at every other record why it can't go on. `limits.text` of each is kept.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        let schema = format!(r#"{{"description":"{}"}}"#, megabyte("schema"));
        Description::new(megabyte("version"), megabyte("summary"))
            .all_streams()
            .settings_schema(schema)
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        match batch.position() % 2 {
            0 => Err(Failure::rejected(megabyte("rejected"))),
            _ => Err(Failure::broken(megabyte("broken"))),
        }
    }
}

fn megabyte(word: &str) -> String {
    format!("{word} ").repeat((1 << 20) / word.len())
}

export_sink!(Misbehaving);
