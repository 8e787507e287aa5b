//! What no compiler looks at: the layout, its names and arrows, the habits of the source files, and
//! whether the prose speaks of things that exist.

mod arrows;
mod crates;
mod promises;
mod prose;
mod source;
mod tree;

use anyhow::{Result, bail};

use crate::tool;
use tree::Tree;

/// Looks at everything and reports all that it finds.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::load(tool::root())?;
    let mut findings = Vec::new();
    let manifests = crates::manifests(&tree, &mut findings);
    crates::check(&manifests, &mut findings);
    arrows::check(&manifests, &mut findings);
    source::check(&tree, &mut findings);
    prose::check(&tree, &manifests, &mut findings);
    promises::check(&tree, &mut findings);
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => bail!("tidy found one thing"),
        count => bail!("tidy found {count} things"),
    }
}
