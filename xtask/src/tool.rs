//! Calls of cargo and its kin, in the project's root and without what the outer cargo has set.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Set by a cargo, clippy or build script around us for itself. A nested cargo that inherits them
/// builds for the wrong target, runs the wrong compiler, or builds everything anew.
const OUTER: [&str; 7] = [
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_MAKEFLAGS",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "MAKEFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
];

/// Set by `cargo run` to describe the crate that it runs, which is this one.
const OUTER_PREFIXES: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CFG_", "CARGO_FEATURE_"];

/// Flags for the host's compiler: a linker of the host's, say, or coverage. None of them is meant
/// for a guest.
const HOST_FLAGS: [&str; 2] = ["RUSTFLAGS", "RUSTDOCFLAGS"];

/// The project's root.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// A command to run in the project's root. Standard input is closed: no chore asks anything.
pub(crate) struct Tool {
    command: Command,
    shown: String,
}

impl Tool {
    /// The cargo that started us, so that the toolchain is the same.
    pub(crate) fn cargo() -> Self {
        Self::new("cargo", std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    pub(crate) fn named(program: &'static str) -> Self {
        Self::new(program, program)
    }

    fn new(shown: &str, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_outer) {
                command.env_remove(name);
            }
        }
        Self { command, shown: shown.to_owned() }
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        for argument in arguments {
            self.shown.push(' ');
            self.shown.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// For guests: without the flags that are meant for the host's code.
    pub(crate) fn without_host_flags(mut self) -> Self {
        for name in HOST_FLAGS {
            self.command.env_remove(name);
        }
        self
    }

    /// Runs it, its output being ours.
    pub(crate) fn run(mut self) -> Result<()> {
        eprintln!("$ {}", self.shown);
        let status = self.command.status().with_context(|| self.not_started())?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.shown);
        }
        Ok(())
    }

    /// Runs it and returns what it printed.
    pub(crate) fn output(mut self) -> Result<String> {
        let output =
            self.command.stderr(Stdio::inherit()).output().with_context(|| self.not_started())?;
        if !output.status.success() {
            bail!("`{}` failed: {}", self.shown, output.status);
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed something that is not UTF-8", self.shown))
    }

    fn not_started(&self) -> String {
        format!("cannot start `{}`", self.shown)
    }
}

/// Where cargo puts what it builds of the host's workspace.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let metadata =
        Tool::cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let directory = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    Ok(directory.context("cargo names no target directory")?.into())
}

fn is_outer(name: &str) -> bool {
    OUTER.contains(&name) || OUTER_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::is_outer;

    #[test]
    fn what_cargo_sets_for_one_crate_is_kept_from_the_next() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "RUSTC_WORKSPACE_WRAPPER"] {
            assert!(is_outer(name), "{name}");
        }
    }

    #[test]
    fn what_the_user_sets_is_passed_on() {
        for name in ["CARGO_HOME", "CARGO_TARGET_DIR", "RUSTFLAGS", "RUSTC_WRAPPER", "PATH"] {
            assert!(!is_outer(name), "{name}");
        }
    }
}
