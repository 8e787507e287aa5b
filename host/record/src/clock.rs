//! Where the time comes from.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::Timestamp;

/// Tells the time. A test gives its own.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The operating system's wall clock, in UTC. It may jump when the system's time is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let now = SystemTime::now();
        let nanos = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        };
        Timestamp::from_unix_nanos(nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, SystemClock};
    use crate::Timestamp;

    #[test]
    fn the_system_clock_tells_a_time_of_this_century_in_utc() {
        let now = SystemClock.now();
        let since: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let until: Timestamp = "2200-01-01T00:00:00Z".parse().unwrap();
        assert!(since < now && now < until, "{now}");
        assert_eq!(now.offset_minutes(), 0);
        assert!(SystemClock.now() >= now);
    }
}
