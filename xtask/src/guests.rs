//! The guest workspace: its target, its builds and its checks.

use std::path::Path;

use anyhow::{Result, bail};

use crate::tool::{self, Tool};

/// What plugins are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// The manifest of the guest workspace, from the project's root.
pub(crate) const MANIFEST: &str = "guest/Cargo.toml";

/// Builds every plugin into `<target>/guests`.
pub(crate) fn build() -> Result<()> {
    ensure_target()?;
    cargo(&["build", "--workspace", "--release", "--target", TARGET])?.run()?;
    let folder = tool::target_directory()?.join("guests").join(TARGET).join("release");
    println!("the plugins are in {}", folder.display());
    Ok(())
}

/// Lints them as what they are, and natively with their tests.
pub(crate) fn clippy() -> Result<()> {
    ensure_target()?;
    let strict = ["--", "-D", "warnings"];
    cargo(&["clippy", "--workspace", "--locked", "--all-targets"])?.args(strict).run()?;
    cargo(&["clippy", "--workspace", "--locked", "--target", TARGET])?.args(strict).run()
}

/// Runs those of their tests that need no host.
pub(crate) fn test() -> Result<()> {
    cargo(&["test", "--workspace"])?.run()
}

/// Builds their documentation with these flags.
pub(crate) fn rustdoc(flags: &str) -> Result<()> {
    cargo(&["doc", "--workspace", "--no-deps", "--locked"])?.env("RUSTDOCFLAGS", flags).run()
}

/// Adds the target to the toolchain where it is missing: rustup may have been told not to do that
/// by itself.
pub(crate) fn ensure_target() -> Result<()> {
    let library =
        Tool::named("rustc").args(["--print", "target-libdir", "--target", TARGET]).output()?;
    if Path::new(library.trim_end()).is_dir() {
        return Ok(());
    }
    if Tool::named("rustup").args(["target", "add", TARGET]).run().is_err() {
        bail!("the toolchain lacks the target `{TARGET}` and rustup could not add it");
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<Tool> {
    let target = tool::target_directory()?.join("guests");
    Ok(Tool::cargo()
        .args(arguments)
        .args(["--manifest-path", MANIFEST, "--target-dir"])
        .args([target])
        .without_host_flags())
}
