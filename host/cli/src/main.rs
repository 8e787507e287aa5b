//! The `wasink` command.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks on its terminal")]

use std::process::ExitCode;

use clap::Parser as _;

mod commands;
mod exit;
mod flags;
mod input;
mod screen;
mod show;
mod signals;

fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    match commands::run(&flags) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("wasink: {:#}", failure.error);
            failure.exit.into()
        }
    }
}
