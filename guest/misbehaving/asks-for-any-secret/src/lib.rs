//! Asks for secrets by any name: none, a path, another's, its own in other letters, a megabyte. It
//! gets none but the one that it was granted.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "asks for secrets by any name").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let long = "own".repeat(1 << 20);
        let names = [
            "",
            " ",
            "own ",
            "OWN",
            "own\0",
            "own\n",
            "../own",
            "/etc/passwd",
            "other",
            "*",
            ".*",
            "own\u{301}",
            "${other}",
            &long,
        ];
        let given: Vec<_> =
            names.iter().filter(|name| wasink_guest::secret(name).is_some()).collect();
        if wasink_guest::secret("own").as_deref() != Some("its own") {
            return Err(Failure::rejected("it does not get its own"));
        }
        Err(Failure::rejected(format!("reached {given:?}")))
    }
}

export_sink!(Misbehaving);
