//! Building, by language.

mod c;
mod go;
mod javascript;
mod python;
mod rust;
mod world;
mod zig;

use std::path::PathBuf;

use crate::{AuthorError, Kind, Language, Project};

/// What differs between languages.
pub(crate) trait Toolchain {
    /// The one command that installs what a build needs, to be run in the project's folder.
    fn install(&self) -> Option<&'static str>;

    /// Files that a build makes, as patterns for git.
    fn ignored(&self) -> &'static [&'static str];

    /// Makes what a new project has beside its template and the contract.
    fn complete(&self, _project: &Project) -> Result<(), AuthorError> {
        Ok(())
    }

    /// Makes what there is beside the contract's own files in the project's `wit`.
    fn complete_contract(&self, _project: &Project) -> Result<(), AuthorError> {
        Ok(())
    }

    /// Builds, and says where the component is.
    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError>;
}

pub(crate) fn of(language: Language) -> &'static dyn Toolchain {
    match language {
        Language::Rust => &rust::Rust,
        Language::Python => &python::Python,
        Language::JavaScript => &javascript::Script { typed: false },
        Language::TypeScript => &javascript::Script { typed: true },
        Language::C => &c::Clang { plus_plus: false },
        Language::Cpp => &c::Clang { plus_plus: true },
        Language::Go => &go::Go,
        Language::Zig => &zig::Zig,
    }
}

/// A missing tool, as an error.
fn missing(what: impl Into<String>, install: &str) -> AuthorError {
    AuthorError::Tool { what: what.into(), install: install.to_owned() }
}

/// What its author reads first.
pub(crate) fn readme(project: &Project) -> String {
    let (name, language, kind) = (project.name(), project.language(), project.kind());
    let install = project.install().map_or_else(String::new, |command| {
        format!("Once, for what the build needs:\n\n```console\n$ {command}\n```\n\n")
    });
    let run = match kind {
        Kind::Sink => format!(
            "To run it, put the component into a directory of plugins and name it in `wasink.toml`:\n\n\
             ```toml\n[usage]\nsink = \"{name}\"\ngrants.directory = true\n```\n\n\
             ```console\n$ mkdir -p wasink-data/plugins && cp {name}.wasm wasink-data/plugins/\n\
             $ wasink run --stream usage < usage.jsonl\n```\n"
        ),
        Kind::FeedSource | Kind::FeedSink => format!(
            "To run it, put the component into `wasink-data/plugins/{kind}s` and name it in an \
             `[[{}]]` of `wasink.toml`.\n",
            if kind == Kind::FeedSource { "feed" } else { "outbox" }
        ),
    };
    format!(
        "# {name}\n\n\
         A plugin for wasink (a {kind}), in {language}.\n\n\
         {install}\
         ```console\n$ wasink plugins build\n$ wasink plugins test\n```\n\n\
         `build` makes `{name}.wasm`; `test` tries it against the contract, clause by clause. \
         `wasink plugins bench` says what it costs.\n\n\
         {run}\n\
         The contract is in `wit/`: `wit/plugin.wit` has what a plugin exports and what it is told, \
         `wit/batches.wit` how it gets at records, `wit/records.wit` the records. It is a copy, and \
         `wasink-plugin.toml` has its digest: do not edit it.\n"
    )
}

/// What git is not to keep.
pub(crate) fn ignored(project: &Project) -> String {
    let mut text = String::from("/build/\n/*.wasm\n");
    for pattern in of(project.language()).ignored() {
        text.push_str(pattern);
        text.push('\n');
    }
    text
}
