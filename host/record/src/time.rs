//! Instants as the wire writes them: RFC 3339 with up to nine digits of fraction.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::names::Parsed;

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// An instant in nanoseconds since 1970-01-01T00:00:00Z, from the year 1678 to 2262, and the offset
/// from UTC in which it is written.
///
/// It is compared, ordered and hashed by the instant alone. Its text drops the trailing zeros of the
/// fraction, and writes `Z` for an offset of zero.
#[derive(Clone, Copy)]
pub struct Timestamp {
    unix_nanos: i64,
    offset_minutes: i16,
}

/// A text that is not an instant which a [`Timestamp`] can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTimestamp {
    /// It is not in RFC 3339's form.
    #[error("`{text}` is not a time: {reason}, such as `2026-05-20T01:02:03.5Z`")]
    Form {
        /// The text.
        text: String,
        /// What was expected.
        reason: &'static str,
    },
    /// It is in the form, but there is no such day or hour.
    #[error("`{text}` is not a time: {reason}")]
    Value {
        /// The text.
        text: String,
        /// What there is not.
        reason: &'static str,
    },
    /// It is in the year 1: what a zero value of the producer's time type looks like.
    #[error("`{text}` is a zero time: its producer never set it; set it, or leave the key out")]
    NeverSet {
        /// The text.
        text: String,
    },
    /// It is further from 1970 than 64 bits of nanoseconds reach.
    #[error("`{text}` is out of range: times reach from the year 1678 to 2262")]
    Range {
        /// The text.
        text: String,
    },
}

impl Timestamp {
    /// The earliest: 1677-09-21T00:12:43.145224192Z.
    pub const MIN: Self = Self::from_unix_nanos(i64::MIN);
    /// The latest: 2262-04-11T23:47:16.854775807Z.
    pub const MAX: Self = Self::from_unix_nanos(i64::MAX);

    /// The instant so many nanoseconds after 1970-01-01T00:00:00Z, written in UTC.
    pub const fn from_unix_nanos(unix_nanos: i64) -> Self {
        Self { unix_nanos, offset_minutes: 0 }
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z, negative before it.
    pub const fn unix_nanos(self) -> i64 {
        self.unix_nanos
    }

    /// Minutes east of UTC of the clock that it is written by.
    pub const fn offset_minutes(self) -> i16 {
        self.offset_minutes
    }

    /// The same instant, written by a clock so many minutes east of UTC. Clocks that are a day or
    /// more away from UTC can't be written: those are held at 23 hours and 59 minutes.
    #[must_use]
    pub fn with_offset_minutes(self, offset_minutes: i16) -> Self {
        Self { offset_minutes: offset_minutes.clamp(-1439, 1439), ..self }
    }

    /// Appends its text.
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        let nanos = self.unix_nanos.rem_euclid(NANOS);
        let seconds = self.unix_nanos.div_euclid(NANOS) + i64::from(self.offset_minutes) * 60;
        let (year, month, day) = civil_from_days(seconds.div_euclid(DAY));
        let second = seconds.rem_euclid(DAY);
        let [y1, y2] = two(year / 100);
        let [y3, y4] = two(year);
        let [m1, m2] = two(month);
        let [d1, d2] = two(day);
        let [h1, h2] = two(second / 3600);
        let [n1, n2] = two(second / 60 % 60);
        let [s1, s2] = two(second % 60);
        out.extend_from_slice(&[
            y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2,
        ]);
        if nanos != 0 {
            let [a, b] = two(nanos / 10_000_000);
            let [c, d] = two(nanos / 100_000);
            let [e, f] = two(nanos / 1000);
            let [g, h] = two(nanos / 10);
            let [_, i] = two(nanos);
            let digits = [b'.', a, b, c, d, e, f, g, h, i];
            let kept = digits.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
            out.extend(digits.iter().take(kept));
        }
        if self.offset_minutes == 0 {
            out.push(b'Z');
        } else {
            let sign = if self.offset_minutes < 0 { b'-' } else { b'+' };
            let minutes = i64::from(self.offset_minutes.unsigned_abs());
            let [h1, h2] = two(minutes / 60);
            let [m1, m2] = two(minutes % 60);
            out.extend_from_slice(&[sign, h1, h2, b':', m1, m2]);
        }
    }

    /// Its text, with `with` done to it.
    fn with_text<T>(self, with: impl FnOnce(&str) -> T) -> T {
        let mut text = Vec::with_capacity(35);
        self.encode(&mut text);
        with(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let form = |reason| InvalidTimestamp::Form { text: crate::invalid::shorten(text), reason };
        let value =
            |reason| InvalidTimestamp::Value { text: crate::invalid::shorten(text), reason };

        let mut rest = Scanner(text.as_bytes());
        let date = "it starts with a date as year-month-day";
        let year = rest.digits(4).ok_or_else(|| form(date))?;
        let month = rest.after(b'-').and_then(|r| r.digits(2)).ok_or_else(|| form(date))?;
        let day = rest.after(b'-').and_then(|r| r.digits(2)).ok_or_else(|| form(date))?;
        rest.after(b'T').ok_or_else(|| form("a `T` parts date and time"))?;
        let clock = "the time is hours:minutes:seconds";
        let hour = rest.digits(2).ok_or_else(|| form(clock))?;
        let minute = rest.after(b':').and_then(|r| r.digits(2)).ok_or_else(|| form(clock))?;
        let second = rest.after(b':').and_then(|r| r.digits(2)).ok_or_else(|| form(clock))?;
        let nanos = match rest.after(b'.') {
            None => 0,
            Some(rest) => rest.fraction().ok_or_else(|| form("a fraction has 1 to 9 digits"))?,
        };
        let zone = "it ends with `Z` or an offset from UTC";
        let offset = match rest.next() {
            Some(b'Z') => 0,
            Some(sign @ (b'+' | b'-')) => {
                let hours = rest.digits(2).ok_or_else(|| form(zone))?;
                let minutes =
                    rest.after(b':').and_then(|r| r.digits(2)).ok_or_else(|| form(zone))?;
                if hours > 23 || minutes > 59 {
                    return Err(value("an offset is less than a day"));
                }
                let offset = hours * 60 + minutes;
                if sign == b'-' { -offset } else { offset }
            }
            _ => return Err(form(zone)),
        };
        if !rest.0.is_empty() {
            return Err(form("nothing follows the offset"));
        }

        if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return Err(value("there is no such day"));
        }
        if second == 60 {
            return Err(value("leap seconds can't be held, write second 59"));
        }
        if hour > 23 || minute > 59 || second > 59 {
            return Err(value("there is no such time of day"));
        }
        if year == 1 {
            return Err(InvalidTimestamp::NeverSet { text: text.to_owned() });
        }
        let local = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        let unix_nanos = i128::from(local - offset * 60) * i128::from(NANOS) + i128::from(nanos);
        match (i64::try_from(unix_nanos), i16::try_from(offset)) {
            (Ok(unix_nanos), Ok(offset_minutes)) => Ok(Self { unix_nanos, offset_minutes }),
            _ => Err(InvalidTimestamp::Range { text: text.to_owned() }),
        }
    }
}

/// The bytes that are still to be read.
struct Scanner<'a>(&'a [u8]);

impl Scanner<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// Itself, past `byte`, if that comes next.
    fn after(&mut self, byte: u8) -> Option<&mut Self> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(self)
    }

    fn digit(&mut self) -> Option<i64> {
        let (&first, rest) = self.0.split_first()?;
        if !first.is_ascii_digit() {
            return None;
        }
        self.0 = rest;
        Some(i64::from(first - b'0'))
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        (0..count).try_fold(0, |value, _| Some(value * 10 + self.digit()?))
    }

    /// One to nine digits, as nanoseconds.
    fn fraction(&mut self) -> Option<i64> {
        let mut nanos = self.digit()?;
        for _ in 0..8 {
            nanos = nanos * 10 + self.digit().unwrap_or(0);
        }
        self.digit().is_none().then_some(nanos)
    }
}

/// The last two decimal digits of a number that is not negative.
#[expect(clippy::cast_sign_loss, reason = "every caller gives a number that is not negative")]
fn two(number: i64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// Year, month and day, so many days after 1970-01-01.
///
/// Counts in eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.unix_nanos == other.unix_nanos
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.unix_nanos.cmp(&other.unix_nanos)
    }
}

impl Hash for Timestamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.unix_nanos.hash(state);
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Parsed::<Self>::new("time"))
    }
}

#[cfg(test)]
mod tests;
