//! Programs that builds need: where they are, and whether they will do.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use semver::Version;

use crate::AuthorError;

/// A command of a build, run in the project's folder. What it prints goes to standard error.
#[derive(Debug)]
pub(crate) struct Tool {
    command: Command,
    /// As it is told: variables, then words.
    variables: Vec<String>,
    words: Vec<String>,
}

impl Tool {
    pub(crate) fn new(program: &Path, root: &Path) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root).stdin(Stdio::null()).stdout(std::io::stderr());
        // What cargo tells the program that it runs does not hold for another project's build.
        for (name, _) in env::vars_os() {
            let of_cargo =
                |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
            if name.to_str().is_some_and(of_cargo) {
                command.env_remove(name);
            }
        }
        // One of the PATH is found again by its name.
        let name = || program.file_name().map_or(program, Path::new);
        let within = program.strip_prefix(root).unwrap_or_else(|_| name());
        Self { command, variables: Vec::new(), words: vec![within.display().to_string()] }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        for arg in args {
            self.words.push(arg.as_ref().to_string_lossy().into_owned());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push(format!("{name}={value}"));
        self.command.env(name, value);
        self
    }

    /// What it prints goes into a file.
    pub(crate) fn into_file(mut self, path: &Path) -> Result<Self, AuthorError> {
        self.command.stdout(File::create(path).map_err(AuthorError::file(path))?);
        Ok(self)
    }

    /// As it can be typed in the project's folder.
    pub(crate) fn shown(&self) -> String {
        let quoted = |word: &String| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@".contains(c);
            if !word.is_empty() && word.chars().all(plain) {
                word.clone()
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        };
        let words: Vec<_> = self.variables.iter().chain(&self.words).map(quoted).collect();
        words.join(" ")
    }

    pub(crate) fn run(mut self, told: &mut dyn FnMut(&str)) -> Result<(), AuthorError> {
        let command = self.shown();
        told(&command);
        let status =
            self.command.status().map_err(AuthorError::file(self.command.get_program()))?;
        if status.success() { Ok(()) } else { Err(AuthorError::Failed { command, status }) }
    }
}

/// The program of this name: in one of these folders of the project, else on the PATH.
pub(crate) fn find(root: &Path, folders: &[&str], name: &str) -> Option<PathBuf> {
    let own = folders.iter().map(|folder| root.join(folder));
    let path = env::var_os("PATH").unwrap_or_default();
    let all: Vec<_> = own.chain(env::split_paths(&path)).collect();
    all.into_iter().map(|folder| folder.join(name)).find(|file| is_program(file))
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(file)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file() || file.with_extension("exe").is_file()
}

/// What a program prints; `None` where it can't be run or fails.
pub(crate) fn says(program: &Path, root: &Path, args: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(args).current_dir(root).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first version in what a program says of itself, as in `v20.20.2` or `go1.27.3`.
pub(crate) fn version(said: &str) -> Option<Version> {
    said.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
        let mut numbers = word.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Version::new(major, minor, numbers.next().flatten().unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_whatever_a_program_says() {
        for (said, expected) in [
            ("v20.20.2\n", Some((20, 20, 2))),
            ("go version go1.27.3 linux/amd64", Some((1, 27, 3))),
            ("Debian clang version 19.1.7 (3)", Some((19, 1, 7))),
            ("0.17", Some((0, 17, 0))),
            ("no number", None),
            ("7", None),
        ] {
            let expected = expected.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(version(said), expected, "{said}");
        }
    }

    #[test]
    fn a_command_is_shown_as_it_can_be_typed() {
        let root = Path::new("project");
        let tool = Tool::new(&root.join(".venv/bin/python"), root);
        let tool = tool.args(["-m", "it's", "a b"]).env("GOOS", "wasip1");
        assert_eq!(tool.shown(), r"GOOS=wasip1 .venv/bin/python -m 'it'\''s' 'a b'");
    }

    #[test]
    fn a_program_of_the_project_goes_before_one_of_the_path() {
        let project = tempfile::tempdir().unwrap();
        assert_eq!(find(project.path(), &["bin"], "no-such-program"), None);
        let on_path = find(project.path(), &["bin"], "sh").unwrap();
        let own = project.path().join("bin/sh");
        std::fs::create_dir(project.path().join("bin")).unwrap();
        std::fs::copy(on_path, &own).unwrap();
        assert_eq!(find(project.path(), &["bin"], "sh"), Some(own));
    }
}
