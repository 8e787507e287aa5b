//! Takes pollables and streams, and gives none back. `limits.handles` ends it.

use wasink_guest::prelude::*;
use wasink_guest::wasip2::cli::stderr::get_stderr;
use wasink_guest::wasip2::clocks::monotonic_clock::subscribe_duration;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "takes things of the host and gives none back")
            .all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let (mut pollables, mut streams) = (Vec::new(), Vec::new());
        loop {
            pollables.push(subscribe_duration(u64::MAX));
            streams.push(get_stderr());
        }
    }
}

export_sink!(Misbehaving);
