//! Wall time, which a test can set, and its parts.

use std::fmt;
use std::time::Duration;

use crate::Timestamp;

/// Time since 1970-01-01T00:00:00Z, by the chassis's clock.
pub fn now() -> Duration {
    #[cfg(not(target_family = "wasm"))]
    if let Some(set) = crate::testing::set_time() {
        return set;
    }
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default()
}

/// A date and time of day in UTC. Its text is RFC 3339 with the zeros at the end of the fraction
/// left out, as records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc {
    /// The year.
    pub year: i64,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// The hour, from 0.
    pub hour: u8,
    /// The minute.
    pub minute: u8,
    /// The second.
    pub second: u8,
    /// What is left, in nanoseconds.
    pub nanos: u32,
}

impl Utc {
    /// The parts of a record's timestamp.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        let seconds = timestamp.div_euclid(1_000_000_000);
        let of_day = seconds.rem_euclid(86_400);
        // Days are counted from the 1st of March of the year 0, so that a leap day ends its year.
        let days = seconds.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month: small(month),
            day: small(day),
            hour: small(of_day / 3_600),
            minute: small(of_day / 60 % 60),
            second: small(of_day % 60),
            nanos: u32::try_from(timestamp.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }
    }

    /// The parts of what [`now`] gives.
    pub fn from_duration(since_1970: Duration) -> Self {
        Self::from_timestamp(Timestamp::try_from(since_1970.as_nanos()).unwrap_or(Timestamp::MAX))
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, nanos } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if *nanos != 0 {
            let fraction = format!("{nanos:09}");
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

fn small(number: i64) -> u8 {
    u8::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_timestamp_are_those_of_the_calendar() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_500_000_000, "2024-02-29T23:59:59.5Z"),
            (-1, "1969-12-31T23:59:59.999999999Z"),
            (4_107_542_400_000_000_001, "2100-03-01T00:00:00.000000001Z"),
            (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
            (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(Utc::from_timestamp(nanos).to_string(), text);
        }
    }
}
