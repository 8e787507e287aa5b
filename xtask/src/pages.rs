//! Pages of the documentation that are generated from types.

use anyhow::{Context as _, Result, bail};

use crate::tool;

/// A generated page.
struct Page {
    /// Where it is, from the project's root.
    path: &'static str,
    render: fn() -> Result<String>,
}

const PAGES: &[Page] = &[];

/// Writes the pages, or, to `check`, compares them with what is there.
pub(crate) fn run(check: bool) -> Result<()> {
    let mut stale = Vec::new();
    for page in PAGES {
        let text = (page.render)().with_context(|| format!("cannot render `{}`", page.path))?;
        let path = tool::root().join(page.path);
        if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        if check {
            stale.push(page.path);
        } else {
            std::fs::write(&path, text).with_context(|| format!("cannot write `{}`", page.path))?;
        }
    }
    if !stale.is_empty() {
        bail!("`{}` differ from what the types say; run `cargo xtask docs`", stale.join("`, `"));
    }
    Ok(())
}
