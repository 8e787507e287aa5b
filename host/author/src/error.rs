//! Why a project can't be made or built.

use std::path::PathBuf;
use std::process::ExitStatus;

use crate::{Kind, Language};

/// Why a project can't be made or built: each says what its author can do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorError {
    /// A file or a folder.
    #[error("`{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// There is something where the project is to be.
    #[error("`{}` is there already and not empty; give the project another name or folder", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// This is not a plugin's project.
    #[error(
        "`{}` is no project of a plugin: it has no `wasink-plugin.toml`; `wasink plugins new` makes one",
        path.display()
    )]
    NoProject {
        /// The folder.
        path: PathBuf,
    },
    /// `wasink-plugin.toml` is not right.
    #[error("`{}`: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// A copy of the contract is not what it was.
    #[error(
        "`{}` is not the contract that `wasink-plugin.toml` names: {reason}; \
         `wasink plugins build --update-contract` puts that of this wasink in its place", path.display()
    )]
    Contract {
        /// The folder of the copy.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A tool of the language is missing, or too old.
    #[error("{what}; install it by `{install}`")]
    Tool {
        /// What is missing, and what was found in its place.
        what: String,
        /// The one command that installs it, to be run in the project's folder.
        install: String,
    },
    /// A tool of the language did not do it; what it said about it is on standard error.
    #[error("`{command}` ended with {status}")]
    Failed {
        /// The command, as it can be run again in the project's folder.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// What the compiler made is no plugin of the kind that the project is of.
    #[error("what `{language}` made of it is no {kind}: {reason}")]
    Component {
        /// The language of the project.
        language: Language,
        /// Its kind.
        kind: Kind,
        /// What is wrong with it.
        reason: String,
    },
}

impl AuthorError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}
