//! What must hold before a change is taken, except the tests.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::tool::Tool;
use crate::{bindings, fuzz, guests, tidy};

type Step = (&'static str, fn() -> Result<()>);

/// The quick ones first.
const STEPS: [Step; 6] = [
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("deny", deny),
    ("bindings", || bindings::run(true)),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
];

const MANIFESTS: [&str; 3] = ["Cargo.toml", guests::MANIFEST, fuzz::MANIFEST];

const STRICT_DOCS: &str = "-D warnings";

/// Runs all steps, whatever fails before, and names those that failed.
pub(crate) fn all() -> Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        let started = Instant::now();
        let result = step();
        let seconds = started.elapsed().as_secs_f32();
        match result {
            Ok(()) => eprintln!("check: {name} is fine ({seconds:.1} s)"),
            Err(error) => {
                eprintln!("check: {name} failed ({seconds:.1} s): {error:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

pub(crate) fn fmt() -> Result<()> {
    for manifest in MANIFESTS {
        Tool::cargo().args(["fmt", "--all", "--manifest-path", manifest, "--", "--check"]).run()?;
    }
    Ok(())
}

pub(crate) fn deny() -> Result<()> {
    cargo_deny(&["bans", "licenses", "sources"])
}

/// Apart from `deny`, since the list of advisories is not reachable from everywhere, and a new one
/// must not stop an unrelated change.
pub(crate) fn advisories() -> Result<()> {
    cargo_deny(&["advisories"])
}

pub(crate) fn clippy() -> Result<()> {
    // The host builds plugins too.
    guests::ensure_target()?;
    Tool::cargo()
        .args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
        .run()?;
    guests::clippy()
}

pub(crate) fn rustdoc() -> Result<()> {
    guests::ensure_target()?;
    Tool::cargo()
        .args(["doc", "--workspace", "--no-deps", "--locked"])
        .env("RUSTDOCFLAGS", STRICT_DOCS)
        .run()?;
    guests::rustdoc(STRICT_DOCS)
}

fn cargo_deny(checks: &[&str]) -> Result<()> {
    let version = Tool::cargo().args(["deny", "--version"]).output();
    version.context("is it installed? `cargo install --locked cargo-deny`")?;
    for manifest in MANIFESTS {
        // One list for all: what the one needs, the others may not have.
        Tool::cargo()
            .args(["deny", "--workspace", "--locked", "--config", "deny.toml"])
            .args(["--manifest-path", manifest, "check", "--hide-inclusion-graph"])
            .args(["--allow", "unmatched-skip", "--allow", "unnecessary-skip"])
            .args(checks)
            .run()?;
    }
    Ok(())
}
