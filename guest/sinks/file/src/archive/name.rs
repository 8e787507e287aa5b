//! Names of rotated files: `<stem>-<time><extension>`, and what is added to them.

use std::time::Duration;

use wasink_guest::Utc;

/// Ends the name of a compressed file.
pub(super) const COMPRESSED: &str = ".gz";
/// Ends the name of a file that is being compressed into.
const UNFINISHED: &str = ".tmp";

#[derive(Debug)]
pub(super) struct Names {
    /// With its `/`, or empty.
    prefix: String,
    stem: String,
    extension: String,
}

/// A rotated file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Old {
    pub(super) stamp: String,
    pub(super) name: String,
    pub(super) compressed: bool,
}

impl Names {
    pub(super) fn of(path: &str) -> Self {
        let (prefix, name) = match path.rsplit_once('/') {
            Some((folder, name)) => (format!("{folder}/"), name),
            None => (String::new(), path),
        };
        let (stem, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
            _ => (name, String::new()),
        };
        Self { prefix, stem: stem.to_owned(), extension }
    }

    /// The folder that they are in.
    pub(super) fn folder(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    /// The path of a name in the folder.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The path of the file that is rotated at this time.
    pub(super) fn rotated(&self, at: Duration) -> String {
        self.at(&format!("{}-{}{}", self.stem, stamp(at), self.extension))
    }

    /// What the name says, where it is that of a rotated file.
    pub(super) fn old(&self, name: String) -> Option<Old> {
        let (bare, compressed) = match name.strip_suffix(COMPRESSED) {
            Some(bare) => (bare, true),
            None => (name.as_str(), false),
        };
        let stamp = bare.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let stamp = stamp.strip_suffix(&self.extension)?;
        is_stamp(stamp).then(|| stamp.to_owned()).map(|stamp| Old { stamp, name, compressed })
    }

    /// Whether the name is that of a file that was being compressed into.
    pub(super) fn is_unfinished(&self, name: &str) -> bool {
        name.strip_suffix(UNFINISHED)
            .and_then(|name| name.rsplit_once('.'))
            .and_then(|(name, _)| self.old(name.to_owned()))
            .is_some_and(|old| old.compressed)
    }
}

/// The name, unique to the one who compresses, of the file that `rotated` is compressed into.
pub(super) fn unfinished(rotated: &str, token: u128) -> String {
    format!("{rotated}{COMPRESSED}.{token}{UNFINISHED}")
}

/// The time as names have it. Their order is that of the times.
pub(super) fn stamp(at: Duration) -> String {
    let Utc { year, month, day, hour, minute, second, nanos } = Utc::from_duration(at);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{nanos:09}Z")
}

fn is_stamp(text: &str) -> bool {
    let pattern = "00000000T000000.000000000Z";
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            wanted => byte == wanted,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_name_is_recognised_and_no_other() {
        let names = Names::of("logs/ledger.jsonl");
        let rotated = names.rotated(Duration::new(1_700_000_000, 5));
        assert_eq!(rotated, "logs/ledger-20231114T221320.000000005Z.jsonl");
        let name = rotated.strip_prefix("logs/").unwrap().to_owned();
        assert_eq!(names.old(name.clone()).unwrap().stamp, "20231114T221320.000000005Z");
        assert!(names.old(format!("{name}.gz")).unwrap().compressed);
        assert!(names.is_unfinished(unfinished(&name, 7).as_str()));
        for other in ["ledger.jsonl", "ledger-old.jsonl", "x-20231114T221320.000000005Z.jsonl"] {
            assert_eq!(names.old(other.to_owned()), None, "{other}");
            assert!(!names.is_unfinished(other));
        }
    }

    #[test]
    fn a_hidden_file_has_no_extension() {
        let rotated = Names::of(".ledger").rotated(Duration::ZERO);
        assert_eq!(rotated, ".ledger-19700101T000000.000000000Z");
    }
}
