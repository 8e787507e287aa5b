//! One file a command.

use clap::CommandFactory as _;
use wasink::config::Config;

use crate::exit::{Exit, Failure};
use crate::flags::{Command, Flags, Global};

mod check;
mod config;
mod plugins;
mod run;

pub(crate) use run::News;

/// Does what the command line says.
pub(crate) fn run(flags: &Flags) -> Result<Exit, Failure> {
    match &flags.command {
        Command::Run(run) => run::run(&load(&flags.global)?, run),
        Command::Check { json } => check::run(load(&flags.global), json.json),
        Command::Config { schema, json } => config::run(&flags.global, *schema, json.json),
        Command::Plugins { command } => plugins::run(&load(&flags.global)?, command),
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Flags::command(),
                "wasink",
                &mut std::io::stdout().lock(),
            );
            Ok(Exit::Success)
        }
        Command::Man => {
            clap_mangen::Man::new(Flags::command()).render(&mut std::io::stdout().lock())?;
            Ok(Exit::Success)
        }
    }
}

fn load(global: &Global) -> Result<Config, Failure> {
    Ok(Config::load(&global.sources())?)
}
