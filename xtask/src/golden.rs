//! Golden files: rewrites them to what the tests see now.

use anyhow::{Result, bail};

use crate::guests;
use crate::tool::Tool;

/// The test targets that compare with golden files, and what cargo must be told to build them.
const TARGETS: [(&str, &[&str]); 1] = [("contract", &["--package", "wasink"])];

/// Blesses the named test targets, or all.
pub(crate) fn bless(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !TARGETS.iter().any(|(known, _)| known == name))
    {
        let known: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
        bail!("no test target with golden files is called `{unknown}`; there are: {known:?}");
    }
    guests::ensure_target()?;
    for (name, options) in TARGETS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            Tool::cargo()
                .args(["test", "--test", name])
                .args(options)
                .env("WASINK_BLESS", "1")
                .run()?;
        }
    }
    println!("read the difference before it is committed");
    Ok(())
}
