//! How long to wait before something is tried again.

use std::time::Duration;

/// Waits that double with each failure, up to a longest, each shortened by chance so that many who
/// failed together do not come back together.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", 2015, the variant "full jitter", with half of
/// the wait kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure, at the most. Default: 1 s.
    pub first: Duration,
    /// The longest. Default: 5 min.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_mins(5) }
    }
}

impl Backoff {
    /// The wait after so many failures in a row: between half of what it may be and all of it.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let most = self.first.saturating_mul(doubled).min(self.longest);
        most.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(10) };
        for (failures, most) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (40, 10), (u32::MAX, 10)]
        {
            let most = Duration::from_secs(most);
            for _ in 0..100 {
                let wait = backoff.after(failures);
                assert!(wait >= most / 2 && wait <= most, "{failures}: {wait:?}");
            }
        }
    }
}
