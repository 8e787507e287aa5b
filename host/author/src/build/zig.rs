//! Zig: its own compiler, over the bindings for C.

use std::path::{Path, PathBuf};

use super::{Toolchain, c, missing};
use crate::tool::{find, says, version};
use crate::{AuthorError, Project};

pub(crate) struct Zig;

/// The version that the templates were written for: its library differs from one to the next.
const MINOR: u64 = 17;
const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.0";

impl Toolchain for Zig {
    fn install(&self) -> Option<&'static str> {
        Some(INSTALL)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/bindings/", "/.venv/", "/.zig-cache/"]
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let zig =
            command(root).ok_or_else(|| missing(format!("zig 0.{MINOR} is missing"), INSTALL))?;
        c::generate(project)?;
        let _ = (zig, told);
        c::encoded(project)
    }
}

/// Zig as a command: the one of the project's environment for Python, else that of the PATH; `None`
/// where there is none of the right version.
pub(super) fn command(root: &Path) -> Option<Vec<PathBuf>> {
    let module = |python: PathBuf| vec![python, "-m".into(), "ziglang".into()];
    let own = Some(root.join(".venv/bin/python")).filter(|python| python.exists()).map(module);
    let on_path = find(root, &[], "zig").map(|zig| vec![zig]);
    own.into_iter().chain(on_path).find(|words| is_right(words, root))
}

fn is_right(words: &[PathBuf], root: &Path) -> bool {
    let version = || {
        let (first, rest) = words.split_first()?;
        let mut args: Vec<_> = rest.iter().filter_map(|word| word.to_str()).collect();
        args.push("version");
        let version = version(&says(first, root, &args)?)?;
        Some(version)
    };
    version().is_some_and(|version| version.major == 0 && version.minor == MINOR)
}
