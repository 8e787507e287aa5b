//! JavaScript and TypeScript: ComponentizeJS, which brings its own engine, on Node.js.

use std::path::PathBuf;

use super::{Toolchain, missing, world};
use crate::tool::{Tool, find, says, version};
use crate::{AuthorError, Project};

pub(crate) struct Script {
    pub(crate) typed: bool,
}

/// npm keeps a lock with what one platform has; the versions that count are in `package.json`.
const INSTALL: &str = "npm install --no-package-lock";
const NODE: &str = "apt-get install nodejs npm";
const OLDEST_NODE: u64 = 20;
/// The project's folder of npm's programs.
const PROGRAMS: &str = "node_modules/.bin";

impl Toolchain for Script {
    fn install(&self) -> Option<&'static str> {
        Some(INSTALL)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/node_modules/", "/package-lock.json"]
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let node = find(root, &[], "node").ok_or_else(|| missing("Node.js is missing", NODE))?;
        let said = says(&node, root, &["--version"]).unwrap_or_default();
        if version(&said).is_none_or(|version| version.major < OLDEST_NODE) {
            let what = format!("Node.js {OLDEST_NODE} is needed, and `{}` is there", said.trim());
            return Err(missing(what, NODE));
        }
        let program = |name: &str| {
            let path = root.join(PROGRAMS).join(name);
            if path.exists() {
                Ok(path)
            } else {
                Err(missing(format!("{name} is missing"), INSTALL))
            }
        };
        let componentize = program("componentize-js")?;
        world::put(project)?;
        let name = project.kind().name();
        let source = if self.typed {
            Tool::new(&program("jco")?, root)
                .args(["guest-types", "build/wit", "-n", "plugin", "-o", "build/types", "--quiet"])
                .run(told)?;
            Tool::new(&program("tsc")?, root).args(["--project", "."]).run(told)?;
            format!("build/js/{name}.js")
        } else {
            format!("{name}.js")
        };
        Tool::new(&componentize, root)
            .args([&source, "--wit", "build/wit", "-n", "plugin", "-o", "build/component.wasm"])
            // Nobody grants them to a plugin that does not ask.
            .args(["--disable", "http", "random", "fetch-event"])
            .run(told)?;
        Ok(root.join("build/component.wasm"))
    }
}
