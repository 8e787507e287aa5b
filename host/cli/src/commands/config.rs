//! `wasink config`.

use wasink::config::{Config, schema};

use crate::exit::{Exit, Failure};
use crate::flags::Global;
use crate::out;
use crate::show;

pub(super) fn run(global: &Global, print_schema: bool, json: bool) -> Result<Exit, Failure> {
    if print_schema {
        out::print(&format!("{:#}", schema()))?;
        return Ok(Exit::Success);
    }
    let config = Config::load(&global.sources())?;
    let text = if json { show::json(&config.explain_json()) } else { config.explain_toml() };
    out::print(&text)?;
    Ok(Exit::Success)
}
