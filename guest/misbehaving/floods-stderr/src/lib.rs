//! Writes 16 MiB to standard error that end no line, and then 100,000 lines. Little of it is kept,
//! and `limits.log_rate` of the lines are logged.

use std::io::Write as _;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "writes to standard error without measure")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut stderr = std::io::stderr().lock();
        for _ in 0..256 {
            drop(stderr.write_all(&[b'.'; 1 << 16]));
        }
        for line in 0..100_000_u32 {
            drop(writeln!(stderr, "a flood, line {line}"));
        }
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
