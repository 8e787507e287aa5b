//! One file a command.

use clap::CommandFactory as _;
use wasink::config::Config;

use crate::exit::{Exit, Failure};
use crate::flags::{Command, Flags, Global};
use crate::out;

mod audit;
mod check;
mod config;
mod dead;
mod held;
mod journal;
mod journals;
mod plugins;
mod run;
mod serve;

pub(crate) use run::News;

/// Does what the command line says.
pub(crate) fn run(flags: &Flags) -> Result<Exit, Failure> {
    match &flags.command {
        Command::Run(run) => run::run(load(&flags.global)?, run),
        Command::Serve(serve) => serve::run(&load_to_run(&flags.global)?, serve),
        Command::Check { json } => check::run(load_to_run(&flags.global), json.json),
        Command::Config { schema, json } => config::run(&flags.global, *schema, json.json),
        Command::Plugins { command } => plugins::run(&load(&flags.global)?, command),
        Command::Journal { command } => journal::run(&load(&flags.global)?, command),
        Command::Dead { command } => dead::run(&load(&flags.global)?, command),
        Command::Held { command } => held::run(&load(&flags.global)?, command),
        Command::Audit { json } => audit::run(&load(&flags.global)?, json.json),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Flags::command(), "wasink", &mut script);
            out::print(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Success)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(Flags::command()).render(&mut page)?;
            out::print(&String::from_utf8_lossy(&page))?;
            Ok(Exit::Success)
        }
    }
}

/// With the plugins that it names. Other commands do without: whoever looks for the right name of a
/// plugin has a wrong one in the configuration.
fn load_to_run(global: &Global) -> Result<Config, Failure> {
    Ok(wasink::load(&global.sources())?)
}

fn load(global: &Global) -> Result<Config, Failure> {
    Ok(Config::load(&global.sources())?)
}
