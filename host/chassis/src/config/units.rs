//! Sizes and durations as people write them: `64MiB`, `200ms`.

use std::{fmt, num::NonZeroU64, str::FromStr, time::Duration};

use jiff::SignedDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `format` of a size in the schema.
pub(super) const SIZE_FORMAT: &str = "wasink-size";
/// `format` of a duration in the schema.
pub(super) const DURATION_FORMAT: &str = "wasink-duration";
/// `format` of a duration that can't be zero in the schema.
pub(super) const TIMEOUT_FORMAT: &str = "wasink-timeout";

const SIZE_PATTERN: &str = "^[0-9]+ ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)?$";
const DURATION_PATTERN: &str = "^[0-9]+ ?(ms|s|m|h)( ?[0-9]+ ?(ms|s|m|h))*$";

/// From the largest binary unit down, then the decimal ones: the order in which a size is written.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes above zero: an integer, or a string such as `64MiB`. Whole numbers only, so
/// that none is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) NonZeroU64);

/// The longest duration. Whoever waits longer than a day waits for ever, and a point in time that
/// far ahead can always be had.
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

/// A duration such as `200ms` or `1m 30s`; zero is allowed, and a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period(pub(super) Duration);

/// A [`Period`] above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeout(pub(super) Duration);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
        let unit = unit.strip_prefix(' ').unwrap_or(unit);
        let factor = match unit {
            "" => Some(1),
            _ => UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
        };
        let bytes = number.parse::<u64>().ok().zip(factor).and_then(|(n, f)| n.checked_mul(f));
        bytes.and_then(NonZeroU64::new).map(Self).ok_or_else(|| format!("`{text}` is not a size"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get();
        match UNITS.iter().find(|(_, factor)| bytes.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", bytes / factor),
            None => write!(f, "{bytes}B"),
        }
    }
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration");
        let known = |c: char| c.is_ascii_digit() || "hms ".contains(c);
        if !text.chars().all(known) {
            return Err(wrong());
        }
        let duration = text.parse::<SignedDuration>().map_err(|_| wrong())?;
        let duration = Duration::try_from(duration).map_err(|_| wrong())?;
        if duration <= MAX_DURATION { Ok(Self(duration)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(duration) => write!(f, "{duration:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

impl FromStr for Timeout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<Period>()? {
            Period(Duration::ZERO) => Err(format!("`{text}` is no time at all")),
            Period(duration) => Ok(Self(duration)),
        }
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Period(self.0).fmt(f)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Both ways to write a size.
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                NonZeroU64::new(bytes).map(Size).ok_or_else(|| E::custom("zero is not a size"))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// A type that is a string in the configuration.
macro_rules! as_string {
    ($($name:ident),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
as_string!(Period, Timeout);

/// Written as it is displayed.
macro_rules! serialize_by_display {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
serialize_by_display!(Size, Period, Timeout);

/// Its place in the schema. `x-expected` is what an error says was expected.
macro_rules! schema {
    ($name:ident, $($schema:tt)*) => {
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)*)
            }
        }
    };
}
schema!(Size, {
    "type": ["integer", "string"],
    "minimum": 1,
    "pattern": SIZE_PATTERN,
    "format": SIZE_FORMAT,
    "x-expected": "a size above 0, in bytes or as in `64MiB`",
});
schema!(Period, {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "format": DURATION_FORMAT,
    "x-expected": "a duration up to 24h, as in `200ms`, `30s` or `1m 30s`",
});
schema!(Timeout, {
    "type": "string",
    "pattern": DURATION_PATTERN,
    "format": TIMEOUT_FORMAT,
    "x-expected": "a duration above 0, up to 24h, as in `200ms`, `30s` or `1m 30s`",
});

/// A duration as the configuration writes it: `200ms`, `30s`, `1m 30s`; `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    text.parse::<Period>().ok().map(|period| period.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_exact_and_comes_back_as_it_is_written() {
        for (text, bytes) in [
            ("1", 1),
            ("64MiB", 64 << 20),
            ("256 KiB", 256 << 10),
            ("5kB", 5_000),
            ("3TB", 3_000_000_000_000),
            ("18446744073709551615B", u64::MAX),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0.get(), bytes, "{text}");
            assert_eq!(size.to_string().parse::<Size>().unwrap(), size, "{text}");
        }
        assert_eq!("65536".parse::<Size>().unwrap().to_string(), "64KiB");
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "0", "0MiB", "-1", "1.5MiB", "MiB", "1  MiB", "1mb", "99999999999TiB", "é"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_comes_back_as_it_is_written() {
        for (text, millis) in [
            ("200ms", 200),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h 30m", 5_400_000),
            ("1m30s", 90_000),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!(period.0.as_millis(), millis, "{text}");
            assert_eq!(period.to_string().parse::<Period>().unwrap(), period, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in
            ["", "5", "-5s", "5d", "1.5s", "30s 1h", "PT5S", "99999999999999999999h", "25h", "5S"]
        {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
        assert!("0s".parse::<Period>().is_ok());
        assert!("0s".parse::<Timeout>().is_err());
    }
}
