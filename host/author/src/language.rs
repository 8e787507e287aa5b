//! The languages that there are templates for, and the kinds of plugins.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::files;

/// A language that plugins can be made in by a template. Others work as well, from the contract alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Language {
    /// Rust, with the SDK.
    Rust,
    /// Python, by componentize-py.
    Python,
    /// JavaScript, by ComponentizeJS.
    JavaScript,
    /// TypeScript, checked by tsc and built as JavaScript is.
    TypeScript,
    /// C, by clang or zig.
    C,
    /// C++, by clang or zig.
    Cpp,
    /// Go, by its stock compiler.
    Go,
    /// Zig.
    Zig,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rust,
        Self::Python,
        Self::JavaScript,
        Self::TypeScript,
        Self::C,
        Self::Cpp,
        Self::Go,
        Self::Zig,
    ];

    /// Its name on the command line and in `wasink-plugin.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Go => "go",
            Self::Zig => "zig",
        }
    }

    /// The files of its template for a kind, by their paths in the project.
    pub(crate) fn template(
        self,
        kind: Kind,
    ) -> impl Iterator<Item = (&'static str, &'static [u8])> {
        let all = match self {
            Self::Rust => files::RUST,
            Self::Python => files::PYTHON,
            Self::JavaScript => files::JAVASCRIPT,
            Self::TypeScript => files::TYPESCRIPT,
            Self::C => files::C,
            Self::Cpp => files::CPP,
            Self::Go => files::GO,
            Self::Zig => files::ZIG,
        };
        all.iter().filter_map(move |(path, bytes)| {
            Some((path.strip_prefix(kind.name())?.strip_prefix('/')?, *bytes))
        })
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|language| language.name() == name);
        found.ok_or_else(|| format!("there is no template for `{name}`"))
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a plugin is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Takes records somewhere.
    Sink,
    /// Reads control events from a feed.
    FeedSource,
    /// Appends control events to a feed.
    FeedSink,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sink, Self::FeedSource, Self::FeedSink];

    /// Its name on the command line and in `wasink-plugin.toml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::FeedSource => "feed-source",
            Self::FeedSink => "feed-sink",
        }
    }

    /// The contract's world of such a plugin.
    pub(crate) fn world(self) -> String {
        format!("{}-plugin", self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_a_template_for_each_kind() {
        for language in Language::ALL {
            assert_eq!(language.name().parse(), Ok(language));
            for kind in Kind::ALL {
                assert!(language.template(kind).count() > 0, "{language} has no {kind}");
            }
        }
    }
}
