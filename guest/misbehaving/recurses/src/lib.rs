//! Calls itself without end. It is its own stack that ends, not that of the host.

use std::hint::black_box;

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "calls itself without end").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        black_box(deeper(black_box(0)));
        Ok(Outcomes::delivered())
    }
}

#[expect(unconditional_recursion, reason = "that is what it does")]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    deeper(black_box(depth + 1)) + room.iter().sum::<u64>()
}

export_sink!(Misbehaving);
