//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use wasink::config::Flag;
use wasink::record::Stream;

use crate::exit;

/// Carries usage and lifecycle records to plugins.
///
/// Records come in as JSON Lines and go to sinks: WebAssembly components, found by name in a
/// directory. Without a configuration, every stream has a working sink: see `wasink config`.
#[derive(Debug, Parser)]
#[command(name = "wasink", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Read the configuration from FILE (TOML, or JSON where it ends in `.json`) [default:
    /// wasink.toml where it is there]
    #[arg(long, global = true, value_name = "FILE", env = "WASINK_CONFIG")]
    config: Option<PathBuf>,
    /// Keep everything in DIR
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Look for plugins in DIR, before the bundled ones; may be given more than once
    #[arg(long, global = true, value_name = "DIR")]
    plugin_dir: Vec<String>,
    /// Write log lines of this level and above
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["debug", "info", "warn", "error"])]
    log_level: Option<String>,
    /// Write log lines in this format
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
}

impl Global {
    /// Where the configuration comes from.
    pub(crate) fn sources(&self) -> wasink::config::Sources {
        const DEFAULT: &str = "wasink.toml";
        let default = || PathBuf::from(DEFAULT).exists().then(|| DEFAULT.into());
        let mut flags = Vec::new();
        let mut text = |key: &str, value: &Option<String>, name: &str| {
            flags.extend(value.iter().map(|value| Flag::new(key, value.as_str(), name)));
        };
        text("data_dir", &self.data_dir, "--data-dir");
        text("log.level", &self.log_level, "--log-level");
        text("log.format", &self.log_format, "--log-format");
        if !self.plugin_dir.is_empty() {
            flags.push(Flag::new("plugin_dirs", self.plugin_dir.clone(), "--plugin-dir"));
        }
        wasink::config::Sources {
            file: self.config.clone().or_else(default),
            env: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
                })
                .collect(),
            flags,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Deliver the records that come in on standard input, as JSON Lines, until it ends
    Run(Run),
    /// Check the configuration and every plugin that it names, without starting anything
    Check {
        #[command(flatten)]
        json: Json,
    },
    /// Print the configuration as it takes effect, with where each value comes from
    Config {
        /// Print the JSON Schema of the configuration file instead
        #[arg(long)]
        schema: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Look at plugins
    Plugins {
        #[command(subcommand)]
        command: Plugins,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, in roff
    Man,
}

#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// What kind of records the lines are
    #[arg(long, value_enum, default_value = "metering")]
    pub(crate) stream: StreamName,
    /// With `--stream events`: lines are CloudEvents already, not data to be put into one
    #[arg(long)]
    pub(crate) structured: bool,
    /// With `--stream events`: the `source` of the events that are made [default: wasink/<node_id>]
    #[arg(long, value_name = "URI", conflicts_with = "structured")]
    pub(crate) event_source: Option<String>,
    /// With `--stream events`: the `type` of the events that are made
    #[arg(long, value_name = "TYPE", default_value = "wasink.line", conflicts_with = "structured")]
    pub(crate) event_type: String,
    /// How long to try to deliver what is left once the input has ended
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) close_timeout: Duration,
    /// Print neither progress nor summary; warnings and errors are still printed
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print the summary as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StreamName {
    /// Endpoints of billable intervals
    Metering,
    /// Finished units of work
    Usage,
    /// Control events
    Control,
    /// Any JSON object, as the data of a CloudEvent
    Events,
}

impl From<StreamName> for Stream {
    fn from(name: StreamName) -> Self {
        match name {
            StreamName::Metering => Self::Metering,
            StreamName::Usage => Self::Usage,
            StreamName::Control => Self::Control,
            StreamName::Events => Self::Events,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugins {
    /// List the plugins that can be named, with what is wrong with any
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show all that a plugin tells about itself
    Inspect {
        /// Its name
        name: String,
        #[command(flatten)]
        json: Json,
    },
}

/// A duration as in the configuration: `500ms`, `30s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    wasink::config::parse_duration(text)
        .ok_or_else(|| format!("`{text}` is not a duration; write one such as `500ms` or `30s`"))
}
