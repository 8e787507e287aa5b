//! Zig: its own compiler, over the bindings for C.

use std::path::PathBuf;

use super::c::{OBJECT, ZIG_MINOR, encoded, generate, zig, zig_command};
use super::{Toolchain, missing};
use crate::{AuthorError, Project};

pub(crate) struct Zig;

const INSTALL: &str = "python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.0";

/// The bindings, as Zig imports them.
const BINDINGS: &str = "bindings/plugin.zig";

impl Toolchain for Zig {
    fn install(&self) -> Option<&'static str> {
        Some(INSTALL)
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/bindings/", "/.venv/", "/.zig-cache/"]
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let words = zig_command(root)
            .ok_or_else(|| missing(format!("zig 0.{ZIG_MINOR} is missing"), INSTALL))?;
        generate(project)?;
        zig(&words, root)
            .args(["translate-c", "-target", "wasm32-wasi", "-lc", "bindings/plugin.h"])
            .into_file(&root.join(BINDINGS))?
            .run(told)?;
        let source = format!("{}.zig", project.kind().name().replace('-', "_"));
        zig(&words, root)
            .args(["build-exe", "-target", "wasm32-wasi", "-mexec-model=reactor", "-fno-entry"])
            .args(["-O", "ReleaseSafe", "-fstrip", "-lc", "--stack", "1048576"])
            .args([&source, "bindings/plugin.c", OBJECT, "-femit-bin=build/core.wasm"])
            .run(told)?;
        encoded(project)
    }
}
