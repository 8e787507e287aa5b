//! What the command's exit status says.

use std::fmt;
use std::process::ExitCode;

/// Exit statuses. They are part of the interface: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Success = 0,
    /// Something else went wrong.
    Failure = 1,
    /// The configuration is wrong (clap itself exits with 2 where the command line is).
    Config = 64,
    /// Some records were refused, by the command as lines or by a sink; all others were delivered.
    Input = 65,
    /// A plugin can't be loaded or opened.
    Plugin = 69,
    /// A journal can't be opened: another process has it, or the disk refuses.
    Journal = 73,
    /// The input could not be read to its end.
    Read = 74,
    /// Time ran out before all was delivered, or a sink that was left out has missed records.
    Undelivered = 75,
    /// Ended by Ctrl-C or SIGINT; what was accepted is delivered or kept.
    Interrupted = 130,
    /// Ended by SIGTERM; what was accepted is delivered or kept.
    Terminated = 143,
}

/// For the help text; a test compares it with what the command does.
pub(crate) const HELP: &str = "\
Exit status:
    0    all went well
    1    something went wrong that is none of the below
    2    the command line is wrong
   64    the configuration is wrong
   65    some records were refused; all others were delivered
   69    a plugin can't be loaded or opened
   73    a journal can't be opened: another process has it, or the disk refuses
   74    the input could not be read to its end
   75    some records did not reach a sink: time ran out, or it never opened
  130    ended by Ctrl-C; what was accepted is delivered, or kept for the next start
  143    ended by SIGTERM; what was accepted is delivered, or kept for the next start";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error, and the exit status that it makes.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) error: anyhow::Error,
}

impl Failure {
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let exit = match error.downcast_ref() {
            Some(wasink::Error::Open(wasink::OpenError::Config(_))) => Exit::Config,
            Some(wasink::Error::Open(wasink::OpenError::Journal { .. })) => Exit::Journal,
            _ if error.is::<wasink::journal::OpenError>() => Exit::Journal,
            Some(wasink::Error::Open(wasink::OpenError::Sinks(problems))) => {
                let settings = |problem: &wasink::SinkProblem| {
                    matches!(
                        problem,
                        wasink::SinkProblem::Settings(_) | wasink::SinkProblem::Stream { .. }
                    )
                };
                if problems.iter().all(settings) { Exit::Config } else { Exit::Plugin }
            }
            _ if error.is::<wasink::config::ConfigErrors>() => Exit::Config,
            _ if error.is::<wasink::plugin::PluginError>() => Exit::Plugin,
            _ => Exit::Failure,
        };
        Self { exit, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for cause in self.error.chain().map(ToString::to_string) {
            // Some errors say in their own words what is behind them.
            if !text.contains(&cause) {
                let separator = if text.is_empty() { "" } else { ": " };
                text.push_str(&format!("{separator}{cause}"));
            }
        }
        f.write_str(&text)
    }
}
