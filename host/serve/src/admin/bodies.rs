//! What requests have in their bodies and their queries, read into what an operator is asked.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Number;
use wasink_record::Stream;

use super::POSITIONS;
use super::operator::{Target, Trial, TrialKind, Verdict};
use crate::problem::{Kind, Problem};

/// The part of the records that a canary gets where nothing is said.
const SHARE: f64 = 0.05;

/// Longer than any path or version.
const LONGEST: usize = 4096;

/// Events of the history where nothing is said.
const EVENTS: usize = 50;

/// The most events of the history that are told at once.
const MOST_EVENTS: usize = 1000;

/// Reads a body. An empty one is an empty object.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let wrong = |what: &dyn std::fmt::Display| {
        Problem::new(Kind::BadBody, format!("the body is not what is expected here: {what}"))
    };
    match body.trim_ascii().first() {
        None => serde_json::from_slice(b"{}").map_err(|error| wrong(&error)),
        Some(b'{') => serde_json::from_slice(body).map_err(|error| wrong(&error)),
        // Otherwise an array with the members in their order would do as well.
        Some(_) => Err(wrong(&"it is no JSON object")),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::Invalid, detail)
}

/// `{"to": …}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Swap {
    #[serde(default)]
    to: Option<String>,
}

impl Swap {
    pub(super) fn target(self) -> Result<Target, Problem> {
        target(self.to)
    }
}

/// A value with a `/` is a file, another a version.
fn target(to: Option<String>) -> Result<Target, Problem> {
    let Some(to) = to else { return Ok(Target::Directory) };
    if to.is_empty() || to.len() > LONGEST || to.contains(char::is_control) {
        return Err(invalid(
            "`to` is the absolute path of a file, a version, the beginning of a digest, or `null` \
             for what the plugin directory has",
        ));
    }
    if !to.contains('/') {
        return Ok(Target::Version(to));
    }
    if !Path::new(&to).is_absolute() {
        return Err(invalid("the path in `to` has to be absolute"));
    }
    Ok(Target::File(PathBuf::from(to)))
}

/// `{"kind": …, "to": …}`, and when it is over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    kind: StartKind,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    share: Option<Number>,
    #[serde(default)]
    records: Option<u64>,
    #[serde(default)]
    failures: Option<u64>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StartKind {
    Shadow,
    Canary,
}

impl Start {
    pub(super) fn trial(self) -> Result<Trial, Problem> {
        let share = self.share.map(|share| share.as_f64().unwrap_or_default());
        let kind = match (self.kind, share) {
            (StartKind::Shadow, None) => TrialKind::Shadow,
            (StartKind::Shadow, Some(_)) => {
                return Err(invalid("a shadow sees all records: leave `share` out"));
            }
            (StartKind::Canary, share) => {
                let share = share.unwrap_or(SHARE);
                if !(share > 0.0 && share < 1.0) {
                    return Err(invalid("the `share` of a canary is above 0 and below 1"));
                }
                TrialKind::Canary { share }
            }
        };
        if self.records == Some(0) || self.failures == Some(0) {
            return Err(invalid("`records` and `failures` are at least 1, or left out"));
        }
        let to = target(self.to)?;
        Ok(Trial { kind, to, records: self.records, failures: self.failures })
    }
}

/// `{"stream": …, "positions": […]}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Letters {
    stream: String,
    positions: Vec<u64>,
}

impl Letters {
    /// The stream, and the positions in their order, each once.
    pub(super) fn chosen(self) -> Result<(Stream, Vec<u64>), Problem> {
        let stream = self.stream.parse().map_err(|_| {
            let names = Stream::ALL.map(|stream| format!("`{stream}`")).join(", ");
            invalid(format!("unknown stream, the streams are {names}"))
        })?;
        let mut positions = self.positions;
        if positions.len() > POSITIONS {
            let detail = format!("a request may name {POSITIONS} positions, divide it");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        positions.sort_unstable();
        positions.dedup();
        Ok((stream, positions))
    }
}

/// `{"verdict": …}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Doubt {
    verdict: Word,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Resend,
    Discard,
}

impl Doubt {
    pub(super) fn verdict(&self) -> Verdict {
        match self.verdict {
            Word::Resend => Verdict::Resend,
            Word::Discard => Verdict::Discard,
        }
    }
}

/// The `limit` of a query, which has nothing else.
pub(super) fn limit(query: Option<&str>) -> Result<usize, Problem> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(EVENTS) };
    let limit = query.strip_prefix("limit=").and_then(|limit| limit.parse().ok());
    limit.filter(|limit| (1..=MOST_EVENTS).contains(limit)).ok_or_else(|| {
        let detail = format!("the query may be `limit=` and a number from 1 to {MOST_EVENTS}");
        Problem::new(Kind::BadQuery, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, Letters, POSITIONS, Start, Swap, Target, TrialKind, limit, read};

    fn refusal<T>(result: Result<T, super::Problem>) -> (Kind, String) {
        let problem = result.map(drop).unwrap_err();
        (problem.kind(), problem.detail().to_owned())
    }

    #[test]
    fn a_target_with_a_slash_is_a_file_and_its_path_is_absolute() {
        let target = |to: &str| read::<Swap>(to.as_bytes()).and_then(Swap::target);
        assert_eq!(target("").unwrap(), Target::Directory);
        assert_eq!(target(r#"{"to":null}"#).unwrap(), Target::Directory);
        assert_eq!(target(r#"{"to":"/a/b.wasm"}"#).unwrap(), Target::File("/a/b.wasm".into()));
        assert_eq!(target(r#"{"to":"1.2.0"}"#).unwrap(), Target::Version("1.2.0".to_owned()));
        for unfit in ["./b.wasm", "a/b", "", "\\u001b[2J", "/a\\nb"] {
            let (kind, detail) = refusal(target(&format!(r#"{{"to":"{unfit}"}}"#)));
            assert_eq!(kind, Kind::Invalid, "{unfit}: {detail}");
        }
        for unread in ["[]", "{", r#"{"to":1}"#, r#"{"from":"1"}"#] {
            assert_eq!(refusal(target(unread)).0, Kind::BadBody, "{unread}");
        }
    }

    #[test]
    fn a_canary_has_a_share_and_a_shadow_has_none() {
        let trial = |body: &str| read::<Start>(body.as_bytes()).and_then(Start::trial);
        let share = |body: &str| match trial(body).unwrap().kind {
            TrialKind::Canary { share } => share,
            TrialKind::Shadow => 1.0,
        };
        assert!((share(r#"{"kind":"canary"}"#) - 0.05).abs() < 1e-9);
        assert!((share(r#"{"kind":"canary","share":0.5}"#) - 0.5).abs() < 1e-9);
        assert!((share(r#"{"kind":"shadow"}"#) - 1.0).abs() < 1e-9);
        for unfit in [
            r#"{"kind":"shadow","share":0.5}"#,
            r#"{"kind":"canary","share":0}"#,
            r#"{"kind":"canary","share":1}"#,
            r#"{"kind":"canary","share":-0.1}"#,
            r#"{"kind":"canary","share":1e300}"#,
            r#"{"kind":"shadow","records":0}"#,
            r#"{"kind":"shadow","failures":0}"#,
            r#"{"kind":"shadow","to":"a/b"}"#,
        ] {
            assert_eq!(refusal(trial(unfit)).0, Kind::Invalid, "{unfit}");
        }
        for unread in ["{}", r#"{"kind":"walk"}"#, r#"{"kind":"shadow","records":-1}"#] {
            assert_eq!(refusal(trial(unread)).0, Kind::BadBody, "{unread}");
        }
    }

    #[test]
    fn positions_are_sorted_and_named_once_and_there_are_only_so_many() {
        let chosen = |body: &str| read::<Letters>(body.as_bytes()).and_then(Letters::chosen);
        let (_, positions) = chosen(r#"{"stream":"usage","positions":[3,1,3]}"#).unwrap();
        assert_eq!(positions, [1, 3]);
        let body = |count| {
            let positions: Vec<_> = (0..count).collect();
            format!(r#"{{"stream":"usage","positions":{positions:?}}}"#)
        };
        assert_eq!(chosen(&body(POSITIONS)).unwrap().1.len(), POSITIONS);
        assert_eq!(refusal(chosen(&body(POSITIONS + 1))).0, Kind::TooLarge);
        let (kind, detail) = refusal(chosen(r#"{"stream":"sounds","positions":[]}"#));
        assert_eq!(kind, Kind::Invalid);
        assert!(detail.contains("`metering`, `usage`"), "{detail}");
    }

    #[test]
    fn a_limit_is_a_number_within_bounds() {
        for (query, expected) in
            [(None, 50), (Some(""), 50), (Some("limit=1"), 1), (Some("limit=1000"), 1000)]
        {
            assert_eq!(limit(query).unwrap(), expected, "{query:?}");
        }
        for query in ["limit=0", "limit=1001", "limit=", "limit=x", "most=3", "limit=1&limit=2"] {
            assert_eq!(refusal(limit(Some(query))).0, Kind::BadQuery, "{query}");
        }
    }
}
