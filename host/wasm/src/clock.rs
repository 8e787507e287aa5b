//! A wall clock that is not the system's.

use std::sync::Arc;
use std::time::Duration;

use wasink_record::Clock;
use wasmtime_wasi::HostWallClock;

/// Shows plugins what a clock of the host's tells. They have no time before 1970.
pub(crate) struct Shown(pub(crate) Arc<dyn Clock>);

impl HostWallClock for Shown {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.now().unix_nanos()).unwrap_or_default())
    }
}
