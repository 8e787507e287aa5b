//! Allocates until there is no more. `limits.memory` ends it.

use std::hint::black_box;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "allocates until there is no more")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        loop {
            std::mem::forget(black_box(vec![1_u8; 1 << 20]));
        }
    }
}

export_sink!(Misbehaving);
