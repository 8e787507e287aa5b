//! Golden files: rewrites them to what the tests see now.

use anyhow::{Result, bail};

use crate::guests;
use crate::tool::Tool;

/// The tests that compare with golden files or generated pages, and how cargo is told to run them.
const TARGETS: [(&str, &[&str]); 3] = [
    ("contract", &["--package", "wasink", "--test", "contract"]),
    ("command", &["--package", "wasink", "--test", "command"]),
    ("configuration", &["--package", "wasink-chassis", "--lib", "config::tests::schema"]),
];

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
            Tool::cargo().args(["test"]).args(options).env("WASINK_BLESS", "1").run()?;
        }
    }
    println!("read the difference before it is committed");
    Ok(())
}
