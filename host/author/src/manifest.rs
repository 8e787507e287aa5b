//! `wasink-plugin.toml`: what a project is.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::contract::{self, CONTRACT_VERSION};
use crate::{AuthorError, Kind, Language};

/// Name of the file.
pub(crate) const FILE: &str = "wasink-plugin.toml";

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What the plugin is called.
    pub(crate) name: String,
    pub(crate) language: Language,
    pub(crate) kind: Kind,
    pub(crate) contract: Contract,
}

/// The contract that it is built for: the copy in the project's `wit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contract {
    pub(crate) version: String,
    pub(crate) digest: String,
}

impl Manifest {
    pub(crate) fn new(name: &str, language: Language, kind: Kind) -> Self {
        Self { name: name.to_owned(), language, kind, contract: Contract::of_this_program() }
    }

    pub(crate) fn read(root: &Path) -> Result<Self, AuthorError> {
        let path = root.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(AuthorError::NoProject { path: root.to_owned() });
            }
            Err(error) => return Err(AuthorError::file(path)(error)),
        };
        let wrong = |reason: String| AuthorError::Manifest { path: path.clone(), reason };
        let manifest: Self = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        // It becomes the name of a file.
        if !is_name(&manifest.name) {
            let name = &manifest.name;
            return Err(wrong(format!("`name`: `{name}` is no name of a plugin: {NAME}")));
        }
        Ok(manifest)
    }

    pub(crate) fn write(&self, root: &Path) -> Result<(), AuthorError> {
        let path = root.join(FILE);
        let text = toml::to_string(self).map_err(|error| AuthorError::Manifest {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        contract::put(&path, text.as_bytes())
    }
}

impl Contract {
    pub(crate) fn of_this_program() -> Self {
        Self { version: CONTRACT_VERSION.to_owned(), digest: contract::digest() }
    }
}

/// What names are, for people.
pub(crate) const NAME: &str = "expected 1 to 64 of `a`-`z`, `0`-`9` and `-`, a letter first";

/// Whether a plugin's project may be called so: what a host takes as a plugin's name, and a letter
/// first, as the languages' own names of packages have it.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    name.len() <= 64
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let project = tempfile::tempdir().unwrap();
        let manifest = Manifest::new("my-sink", Language::Cpp, Kind::FeedSink);
        manifest.write(project.path()).unwrap();
        assert_eq!(Manifest::read(project.path()).unwrap(), manifest);
    }

    #[test]
    fn what_is_not_right_is_told_with_its_place() {
        let project = tempfile::tempdir().unwrap();
        let error = Manifest::read(project.path()).unwrap_err().to_string();
        assert!(error.contains("no `wasink-plugin.toml`"), "{error}");
        Manifest::new("my-sink", Language::Go, Kind::Sink).write(project.path()).unwrap();
        let file = project.path().join(FILE);
        let good = std::fs::read_to_string(&file).unwrap();
        for (from, to, told) in [
            ("\"go\"", "\"cobol\"", "unknown variant `cobol`"),
            ("name =", "names =", "unknown field `names`"),
            ("\"my-sink\"", "\"../sink\"", "no name of a plugin"),
            ("kind = \"sink\"\n", "", "missing field `kind`"),
        ] {
            std::fs::write(&file, good.replace(from, to)).unwrap();
            let error = Manifest::read(project.path()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
