//! Whether a version that has just taken over does at least as well as the one before it.

use std::time::{Duration, Instant};

use super::Charge;
use crate::plugin::{Exception, Outcome};

/// Fewer records say nothing about how many are rejected, or how long they take.
const TELLING: u64 = 1000;

/// What takes less than this for a record is fast enough, whatever came before.
const FAST_ENOUGH: Duration = Duration::from_micros(10);

/// When a new version has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Thresholds {
    /// For how long it is watched.
    pub(crate) time: Duration,
    /// So many calls that cost its instance are too many. One that does not return is.
    pub(crate) stops: u32,
    /// More rejected records of a hundred are too many.
    pub(crate) rejected_percent: u32,
    /// It may take so many times as long for a record as the version before. Zero: however long.
    pub(crate) slower: u32,
}

/// How long records take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    records: u64,
    time: Duration,
}

impl Pace {
    pub(crate) fn add(&mut self, records: usize, time: Duration) {
        self.records += records as u64;
        self.time = self.time.saturating_add(time);
    }

    /// For one record, where enough have been seen.
    fn each(&self) -> Option<Duration> {
        let nanos = self.time.as_nanos().checked_div(u128::from(self.records))?;
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        (self.records >= TELLING).then(|| Duration::from_nanos(nanos))
    }
}

/// A version that has yet to prove itself, and the one that it has taken over from.
pub(crate) struct Probation {
    previous: Charge,
    thresholds: Thresholds,
    until: Instant,
    before: Pace,
    stops: u32,
    records: u64,
    rejected: u64,
    failure: Option<String>,
}

impl Probation {
    pub(crate) fn new(previous: Charge, thresholds: Thresholds, before: Pace) -> Self {
        let until = Instant::now() + thresholds.time;
        let (stops, records, rejected) = (0, 0, 0);
        Self { previous, thresholds, until, before, stops, records, rejected, failure: None }
    }

    pub(crate) fn until(&self) -> Instant {
        self.until
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The reason, and the version to go back to.
    pub(super) fn into_failure(self) -> Option<(String, Charge)> {
        Some((self.failure?, self.previous))
    }

    fn fail(&mut self, reason: String) {
        self.failure.get_or_insert(reason);
    }

    /// A call has cost the instance.
    pub(super) fn stopped(&mut self, reason: &str, hung: bool) {
        self.stops += 1;
        if hung {
            self.fail(reason.to_owned());
        } else if self.stops >= self.thresholds.stops {
            let times = self.stops;
            self.fail(match times {
                1 => reason.to_owned(),
                _ => format!("it stopped {times} times, at last: {reason}"),
            });
        }
    }

    /// A call has been answered.
    pub(super) fn answered(&mut self, records: usize, exceptions: &[Exception], pace: &Pace) {
        let rejected = |exception: &&Exception| matches!(exception.outcome, Outcome::Rejected(_));
        self.rejected(records, exceptions.iter().filter(rejected).count());
        let slower = self.thresholds.slower;
        if let Some((now, before)) = pace.each().zip(self.before.each())
            && slower > 0
            && now > FAST_ENOUGH.max(before.saturating_mul(slower))
        {
            self.fail(format!(
                "it takes {now:?} for a record, and the version before took {before:?}; {slower} \
                 times that is allowed"
            ));
        }
    }

    /// So many of these records were rejected.
    pub(super) fn rejected(&mut self, records: usize, rejected: usize) {
        self.records += records as u64;
        self.rejected += rejected as u64;
        let percent = self.thresholds.rejected_percent;
        let (rejected, seen) = (self.rejected, self.records);
        let enough = seen >= TELLING;
        if enough && u128::from(rejected) * 100 > u128::from(seen) * u128::from(percent) {
            self.fail(format!(
                "it rejects {rejected} of {seen} records, and {percent} of a hundred are allowed"
            ));
        }
    }
}
