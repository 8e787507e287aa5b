//! Makes the host allocate more for one call than it may. `limits.host_call` ends it.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "makes the host allocate").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let long = "long ".repeat((4 << 20) / 5);
        wasink_guest::info!(&long);
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
