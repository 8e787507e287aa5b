//! What is meant: a registry, a repository in it, a tag or a digest.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::digest::{Digest, DigestError};

/// The longest name of a repository with its registry, and the longest tag, in bytes: as registries
/// have it.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// Something in a registry: `host[:port]/repository[:tag][@digest]`, with a tag or a digest or both.
/// Where there is a digest, it alone says what is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// This names nothing in a registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names nothing in a registry: {reason}")]
#[non_exhaustive]
pub struct ReferenceError {
    /// What was given.
    pub text: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

impl Reference {
    /// The registry's host, and its port where one is given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository in it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one is given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The last part of the repository's name.
    pub fn last_part(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The same with this digest, and no other.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same without a digest.
    #[must_use]
    pub fn without_digest(&self) -> Self {
        Self { digest: None, ..self.clone() }
    }

    /// Whether the registry is on this machine, as its name says.
    pub fn is_loopback(&self) -> bool {
        is_loopback(host(&self.registry))
    }

    /// How the registry's API calls the manifest.
    pub(crate) fn manifest(&self) -> &str {
        let digest = self.digest.as_ref().map(Digest::as_str);
        digest.or(self.tag.as_deref()).unwrap_or_default()
    }

    /// Reads one that may be without tag and digest.
    pub(crate) fn parse(text: &str) -> Result<Self, ReferenceError> {
        let wrong = |reason: &str| ReferenceError {
            text: text.chars().take(400).collect(),
            reason: reason.to_owned(),
        };
        if text.contains("://") {
            return Err(wrong("it begins with the registry's host, not with `http://`"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse();
                (rest, Some(digest.map_err(|error: DigestError| wrong(&error.to_string()))?))
            }
            None => (text, None),
        };
        let (registry, rest) = rest.split_once('/').ok_or_else(|| {
            wrong("expected a registry's host before the first `/`, as in `host:5000/plugins/name:1.0`")
        })?;
        if !is_registry(registry) {
            return Err(wrong(
                "what is before the first `/` is no registry's host: expected a name with a `.`, one \
                 with a port, or `localhost`",
            ));
        }
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !repository.split('/').all(is_part) || registry.len() + repository.len() >= MAX_NAME {
            return Err(wrong(
                "a repository is made of `a`-`z` and `0`-`9`, with single `.`, `_` and `-` between \
                 them, in parts that `/` separates",
            ));
        }
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(
                "a tag is 1 to 128 of letters, digits, `_`, `.` and `-`, and begins with none of the \
                 last two",
            ));
        }
        let (registry, repository) = (registry.to_owned(), repository.to_owned());
        Ok(Self { registry, repository, tag, digest })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = Self::parse(text)?;
        if parsed.tag.is_none() && parsed.digest.is_none() {
            let reason = "add a tag or a digest, as in `:1.0` or `@sha256:…`".to_owned();
            return Err(ReferenceError { text: text.to_owned(), reason });
        }
        Ok(parsed)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

/// Whether nothing that is sent there leaves this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The host of an authority, without its port.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    }
}

/// As with other tools, a first part that is none of these is taken for that of a repository.
fn is_registry(text: &str) -> bool {
    let host = host(text);
    let port = text.strip_prefix(host).and_then(|port| port.strip_prefix(':'));
    let is_name = |host: &str| {
        let label = |label: &str| {
            let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
            !label.is_empty() && label.bytes().all(allowed) && !label.starts_with('-')
        };
        host.split('.').all(label)
    };
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    let is_port = port.is_none_or(|port| {
        port.bytes().all(|c| c.is_ascii_digit()) && port.parse().is_ok_and(|port: u16| port > 0)
    });
    let is_marked =
        port.is_some() || address.is_some() || host.contains('.') || host == "localhost";
    is_host && is_port && is_marked
}

/// A part of a repository's name: letters and digits, and between them `.`, `_`, `__` or any number of
/// `-`.
fn is_part(part: &str) -> bool {
    let mut separator = String::new();
    let mut begun = false;
    for c in part.chars() {
        match c {
            'a'..='z' | '0'..='9' => {
                let between = matches!(separator.as_str(), "" | "." | "_" | "__")
                    || separator.chars().all(|c| c == '-');
                if !between {
                    return false;
                }
                separator.clear();
                begun = true;
            }
            '.' | '_' | '-' if begun => separator.push(c),
            _ => return false,
        }
    }
    begun && separator.is_empty()
}

fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    (1..=MAX_TAG).contains(&tag.len())
        && tag.bytes().all(|c| word(c) || c == b'.' || c == b'-')
        && tag.bytes().next().is_some_and(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_apart_and_put_together_again() {
        let digest = Digest::of(b"");
        for (text, registry, repository, tag, name) in [
            ("r.example/a:1", "r.example", "a", Some("1"), "a"),
            ("localhost/a/b-c:v1.2-x", "localhost", "a/b-c", Some("v1.2-x"), "b-c"),
            ("[::1]:5000/a__b/c.d:_", "[::1]:5000", "a__b/c.d", Some("_"), "c.d"),
            (&format!("10.0.0.1:80/a@{digest}"), "10.0.0.1:80", "a", None, "a"),
            (&format!("host:80/a---b:t@{digest}"), "host:80", "a---b", Some("t"), "a---b"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!((reference.registry(), reference.repository()), (registry, repository));
            assert_eq!((reference.tag(), reference.last_part()), (tag, name));
            assert_eq!(reference.digest().is_some(), text.contains('@'));
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_with_what_was_expected() {
        for (text, reason) in [
            ("", "before the first `/`"),
            ("a:1", "before the first `/`"),
            ("plugins/a:1", "is no registry's host"),
            ("host:0/a:1", "is no registry's host"),
            ("host:99999/a:1", "is no registry's host"),
            ("user@host.example/a:1", "is no digest"),
            ("-h.example/a:1", "is no registry's host"),
            ("[::g]/a:1", "is no registry's host"),
            ("https://r.example/a:1", "not with `http://`"),
            ("r.example/a", "add a tag or a digest"),
            ("r.example/:1", "a repository is"),
            ("r.example/A:1", "a repository is"),
            ("r.example/a/../b:1", "a repository is"),
            ("r.example/a..b:1", "a repository is"),
            ("r.example/a-:1", "a repository is"),
            ("r.example/a?b:1", "a repository is"),
            ("r.example/a:", "a tag is"),
            ("r.example/a:-1", "a tag is"),
            ("r.example/a:b/c", "a tag is"),
            ("r.example/a@sha256:12", "is no digest"),
            ("r.example/a@sha512:12", "is no digest"),
        ] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(format!("r.example/{}:1", "a".repeat(255)).parse::<Reference>().is_err());
        assert!(format!("r.example/a:{}", "a".repeat(129)).parse::<Reference>().is_err());
    }

    #[test]
    fn what_is_on_this_machine_is_known_by_its_name() {
        for (host, is) in [
            ("localhost:5000", true),
            ("127.0.0.1", true),
            ("127.1.2.3:1", true),
            ("[::1]:80", true),
            ("[::1]", true),
            ("localhost.example", false),
            ("10.0.0.1:80", false),
            ("[2001:db8::1]", false),
        ] {
            let reference: Reference = format!("{host}/a:1").parse().unwrap();
            assert_eq!(reference.is_loopback(), is, "{host}");
        }
    }
}
