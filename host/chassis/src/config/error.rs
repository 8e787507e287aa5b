//! What is wrong with a configuration: every mistake, with its place and the way out.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use crate::logger::printable;

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "from", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The configuration file.
    File {
        /// As it was given; `configuration` for a text that comes from no file.
        path: PathBuf,
        /// From 1; none where the whole file is meant.
        line: Option<usize>,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// An option of the command line.
    Flag {
        /// As it is written there, with its dashes.
        name: String,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, name) = match self {
            Self::File { path, .. } => ("", path.to_string_lossy()),
            Self::Environment { variable } => ("environment ", variable.into()),
            Self::Flag { name } => ("flag ", name.into()),
            Self::Default => ("", "default".into()),
        };
        // A name may have anything in it, and an error stays on one line.
        write!(f, "{before}{}", printable(&name))?;
        match self {
            Self::File { line: Some(line), .. } => write!(f, ":{line}"),
            _ => Ok(()),
        }
    }
}

/// One mistake: `wasink.toml:12: queue.records: expected a whole number above 0, got "ten"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct ConfigError {
    /// Where the value comes from.
    pub origin: Origin,
    /// Column in that line, from 1; known only of a mistake in the file's syntax.
    pub column: Option<usize>,
    /// The path of the key; empty where the mistake is not in a value.
    pub key: String,
    /// What is wrong, and the way out. One line, with nothing in it that a terminal acts on.
    pub message: String,
}

impl ConfigError {
    /// Key and message may repeat what is written there, which may be anything.
    pub(super) fn new(origin: Origin, key: impl fmt::Display, message: impl AsRef<str>) -> Self {
        let (key, message) = (printable(&key.to_string()), printable(message.as_ref()));
        Self { origin, column: None, key, message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origin)?;
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Every mistake that was found, one at least. `Display` writes one a line, those of the file first,
/// by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Nothing where there is no mistake.
    ///
    /// # Errors
    ///
    /// The mistakes, sorted, each once.
    pub fn check(mut errors: Vec<ConfigError>) -> Result<(), Self> {
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort();
        errors.dedup();
        Err(Self(errors))
    }

    /// The mistakes.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl IntoIterator for ConfigErrors {
    type Item = ConfigError;
    type IntoIter = std::vec::IntoIter<ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
