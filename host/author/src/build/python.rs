//! Python: componentize-py, which brings its own interpreter.

use std::path::PathBuf;

use super::{Toolchain, missing, world};
use crate::tool::{Tool, find, says, version};
use crate::{AuthorError, Project};

pub(crate) struct Python;

/// The version that the templates were written for: its generated modules differ from one to the next.
const MINOR: u64 = 25;
const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1";

impl Toolchain for Python {
    fn install(&self) -> Option<&'static str> {
        Some(INSTALL)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/.venv/", "__pycache__/"]
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let tool = find(root, &[".venv/bin"], "componentize-py");
        let tool = tool.ok_or_else(|| missing("componentize-py is missing", INSTALL))?;
        let said = says(&tool, root, &["--version"]).unwrap_or_default();
        if version(&said).is_none_or(|version| version.major != 0 || version.minor != MINOR) {
            let what =
                format!("componentize-py 0.{MINOR} is needed, and `{}` is there", said.trim());
            return Err(missing(what, INSTALL));
        }
        world::put(project)?;
        let made = root.join("build").join("component.wasm");
        Tool::new(&tool, root)
            .args(["-d", "build/wit", "-w", "plugin", "componentize", "-p", "."])
            .args(["-o", "build/component.wasm", &project.kind().name().replace('-', "_")])
            .run(told)?;
        Ok(made)
    }
}
