//! The configuration as a whole: what is accepted, what is refused and in which words.

mod accepted;
mod any_text;
mod grants;
mod origins;
mod overridden;
mod plugins;
mod refused;
mod schema;

use super::{Config, Flag, Sources};

/// A configuration from no file.
fn load(env: &[(&str, &str)], flags: &[Flag]) -> Result<Config, super::ConfigErrors> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(&Sources { file: None, env, flags: flags.to_vec() })
}

/// A configuration from a file of this name in a directory of its own, with the path that errors
/// have taken out of them.
fn load_file(
    name: &str,
    text: &str,
    env: &[(&str, &str)],
    flags: &[Flag],
) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    std::fs::write(&file, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { file: Some(file), env, flags: flags.to_vec() };
    let prefix = format!("{}/", directory.path().display());
    Config::load(&sources).map_err(|errors| errors.to_string().replace(&prefix, ""))
}
