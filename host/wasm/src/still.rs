//! Surroundings in which nothing ever differs: what a plugin tells of itself there comes of its bytes
//! alone, so it can't tell one thing today and another tomorrow.

use std::time::Duration;

use wasmtime_wasi::random::Deterministic;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtxBuilder};

/// 2026-01-01T00:00:00Z: late enough that no language's runtime takes it for a mistake.
const NOW: Duration = Duration::from_secs(1_767_225_600);

/// Not 0: runtimes such as Go's take that for a clock that is broken, and end.
const RUNNING_FOR: u64 = 1_000_000_000;

/// A clock that stands.
struct Standing;

impl HostWallClock for Standing {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        NOW
    }
}

impl HostMonotonicClock for Standing {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        RUNNING_FOR
    }
}

/// Stops the clocks, and makes chance give the same each time.
pub(crate) fn still(wasi: &mut WasiCtxBuilder) {
    let bytes = || Deterministic::new((0..=u8::MAX).rev().collect());
    wasi.wall_clock(Standing)
        .monotonic_clock(Standing)
        .secure_random(bytes())
        .insecure_random(bytes())
        .insecure_random_seed(0);
}
