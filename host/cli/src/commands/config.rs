//! `wasink config`.

use wasink::config::{Config, schema};

use crate::exit::{Exit, Failure};
use crate::flags::Global;

pub(super) fn run(global: &Global, print_schema: bool, json: bool) -> Result<Exit, Failure> {
    if print_schema {
        println!("{:#}", schema());
        return Ok(Exit::Success);
    }
    let config = Config::load(&global.sources())?;
    if json {
        println!("{:#}", config.explain_json());
    } else {
        print!("{}", config.explain_toml());
    }
    Ok(Exit::Success)
}
