//! One file a command.

use clap::CommandFactory as _;
use serde_json::Value;
use wasink::config::Config;

use crate::daemon::{Daemon, DaemonError};
use crate::exit::{Exit, Failure};
use crate::flags::{Command, Flags, Global};
use crate::out;
use crate::{show, state};

mod audit;
mod check;
mod config;
mod dead;
mod feed;
mod held;
mod journal;
mod journals;
mod plugins;
mod run;
mod serve;
mod status;
mod trial;

pub(crate) use run::News;

/// Does what the command line says.
pub(crate) fn run(flags: &Flags) -> Result<Exit, Failure> {
    match &flags.command {
        Command::Run(run) => run::run(load(&flags.global)?, run),
        Command::Serve(serve) => {
            serve::run(&load_to_run(&flags.global)?, flags.global.sources(), serve)
        }
        Command::Check { json } => check::run(load_to_run(&flags.global), json.json),
        Command::Config { schema, json } => config::run(&flags.global, *schema, json.json),
        Command::Status { watch, json } => status::run(&load(&flags.global)?, *watch, json.json),
        Command::Reload { json } => {
            let answer = Daemon::of(&load(&flags.global)?)?.post("/v1/reload", None);
            tell(answer, json.json, state::members)
        }
        Command::Plugins { command } => plugins::run(&load(&flags.global)?, command),
        Command::Trial { command } => trial::run(&load(&flags.global)?, command),
        Command::Journal { command } => journal::run(&load(&flags.global)?, command),
        Command::Dead { command } => dead::run(&load(&flags.global)?, command),
        Command::Held { command } => held::run(&load(&flags.global)?, command),
        Command::Feed { command } => feed::run(&load(&flags.global)?, command),
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

/// Tells what a running process answered. A refusal in JSON is for programs, and told to people all
/// the same.
fn tell(
    answer: Result<Value, DaemonError>,
    as_json: bool,
    text: fn(&Value) -> String,
) -> Result<Exit, Failure> {
    match &answer {
        Ok(answer) if as_json => out::print(&show::json(answer))?,
        Ok(answer) => out::print(&text(answer))?,
        Err(DaemonError::Refused(problem)) if as_json => out::print(&show::json(problem))?,
        Err(_) => {}
    }
    answer?;
    Ok(Exit::Success)
}

/// With the plugins that it names. Other commands do without: whoever looks for the right name of a
/// plugin has a wrong one in the configuration.
fn load_to_run(global: &Global) -> Result<Config, Failure> {
    Ok(wasink::load(&global.sources())?)
}

fn load(global: &Global) -> Result<Config, Failure> {
    Ok(Config::load(&global.sources())?)
}
