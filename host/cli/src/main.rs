//! The `wasink` command.

use std::process::ExitCode;

use clap::Parser as _;

mod commands;
mod daemon;
mod exit;
mod flags;
mod input;
mod out;
mod process;
mod screen;
mod show;
mod signals;
mod state;

fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    match commands::run(&flags) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out::complain(&failure.to_string());
            failure.exit.into()
        }
    }
}
