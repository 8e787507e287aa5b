//! The command line.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use wasink::World;
use wasink::config::Flag;
use wasink::record::Stream;
use wasink_author::Language;

use crate::exit;

mod registry;

pub(crate) use registry::{Access, PASSWORD_VARIABLE, Pull, Push};

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
                .filter(|(name, _)| name != PASSWORD_VARIABLE)
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
    /// Take records over HTTP and deliver them, until a signal comes
    Serve(Serve),
    /// Show how a running `wasink serve` is doing
    Status {
        /// Show it anew each second, until Ctrl-C
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        json: Json,
    },
    /// Have a running `wasink serve` read its configuration again
    Reload {
        #[command(flatten)]
        json: Json,
    },
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
    /// Look at plugins, and exchange them while wasink runs
    Plugins {
        #[command(subcommand)]
        command: Plugins,
    },
    /// Try another version of a plugin beside the one in charge, while wasink runs
    Trial {
        #[command(subcommand)]
        command: Trial,
    },
    /// Look at the journals, and mend them
    Journal {
        #[command(subcommand)]
        command: Journal,
    },
    /// Look at dead letters, try them again, purge them
    Dead {
        #[command(subcommand)]
        command: Dead,
    },
    /// Settle records that may have reached their receiver
    Held {
        #[command(subcommand)]
        command: Held,
    },
    /// Look at outboxes and feeds of control events, and mend them
    Feed {
        #[command(subcommand)]
        command: Feed,
    },
    /// Count from the files what became of all records, and print any difference
    Audit {
        #[command(flatten)]
        json: Json,
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

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// How long to try to deliver what is there once a signal has come; the rest is kept
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) close_timeout: Duration,
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
pub(crate) enum Journal {
    /// Show segments, lanes and what was put aside
    Inspect {
        /// Only the journal of this stream
        #[arg(long, value_enum)]
        stream: Option<StreamName>,
        #[command(flatten)]
        json: Json,
    },
    /// Read every byte and check every sum; exits with 1 where something is damaged
    Verify {
        /// Only the journal of this stream
        #[arg(long, value_enum)]
        stream: Option<StreamName>,
        #[command(flatten)]
        json: Json,
    },
    /// Print records as JSON Lines, as they are stored
    Export {
        /// The stream
        #[arg(long, value_enum)]
        stream: StreamName,
        /// From this position on
        #[arg(long, value_name = "POSITION", default_value_t = 0)]
        from: u64,
        /// Up to this position, which is not among them
        #[arg(long, value_name = "POSITION", default_value_t = u64::MAX)]
        to: u64,
        /// Print each record in an object with its position, id and time
        #[arg(long)]
        long: bool,
    },
    /// Take damaged bytes out; they are put aside, and a receipt says what was changed
    Repair {
        /// Only the journal of this stream
        #[arg(long, value_enum)]
        stream: Option<StreamName>,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Dead {
    /// List dead letters, a line each
    List {
        #[command(flatten)]
        filter: DeadFilter,
        #[command(flatten)]
        json: Json,
    },
    /// Show all that is known of dead letters
    Show {
        #[command(flatten)]
        filter: DeadFilter,
        #[command(flatten)]
        json: Json,
    },
    /// Hand dead letters to the plugin that their sink has now, with the ids that they have had
    ///
    /// Where `wasink serve` has the journal open, it hands them over, between other records.
    Replay {
        #[command(flatten)]
        filter: DeadFilter,
        #[command(flatten)]
        json: Json,
    },
    /// Remove dead letters; the ledger goes on counting them as rejected or expired
    ///
    /// Where `wasink serve` has the journal open, it removes them.
    Purge {
        #[command(flatten)]
        filter: DeadFilter,
        /// All of them, where there is no filter
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        json: Json,
    },
}

/// Which dead letters are meant: those that fit everything that is given.
#[derive(Debug, Args)]
pub(crate) struct DeadFilter {
    /// Of this sink
    #[arg(long)]
    pub(crate) sink: Option<String>,
    /// Of this stream
    #[arg(long, value_enum)]
    pub(crate) stream: Option<StreamName>,
    /// Of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// With this text in their reason
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// With this id
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// At this position of their stream
    #[arg(long)]
    pub(crate) position: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub(crate) most: Option<usize>,
}

impl DeadFilter {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { sink, stream, tenant, reason, id, position, most } = self;
        sink.is_none()
            && stream.is_none()
            && tenant.is_none()
            && reason.is_none()
            && id.is_none()
            && position.is_none()
            && most.is_none()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Held {
    /// List what is in doubt
    ///
    /// What is just being handed over to a receiver that recognises records only for a time is
    /// listed as well. Where `wasink status` does not say that the sink is held, there is nothing
    /// to decide.
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Hand it over again: the receiver does not have it
    ///
    /// Where `wasink serve` has the journal open, it does so at once; else the next start does.
    Resend {
        /// The sink
        sink: String,
    },
    /// Count it as delivered: the receiver has it
    ///
    /// Where `wasink serve` has the journal open, it goes on at once behind it; else the next start
    /// does.
    Discard {
        /// The sink
        sink: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Feed {
    /// Show how far outboxes are published and feeds applied, and what is in the way
    ///
    /// Read from their databases, whoever uses them: `wasink serve` need not run.
    Status {
        /// Only the outbox or the feed of this name
        name: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// Have the event skipped that halts a feed
    ///
    /// An event that can be applied by then is applied all the same. This node differs from the
    /// others afterwards, in what the event would have changed.
    Skip {
        /// The feed
        feed: String,
        /// The event's control version; what halts the feed now where it is left out
        #[arg(long, value_name = "VERSION")]
        version: Option<u64>,
        /// Why; it goes to the log when the event is skipped
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Go over a feed again
    ///
    /// Events that were applied are known by their ids and are not applied again; those that were
    /// skipped are.
    Replay {
        /// The feed
        feed: String,
        /// Begin behind this control version; 0: at the beginning
        #[arg(long, value_name = "VERSION")]
        from: u64,
    },
    /// List the events of an outbox that are not tried any more
    Dead {
        /// The outbox
        outbox: String,
        #[command(flatten)]
        json: Json,
    },
    /// Have events published that were given up, at their old places
    Revive {
        /// The outbox
        outbox: String,
        /// Their rows, as `wasink feed dead` lists them
        #[arg(required = true, value_name = "ROW")]
        rows: Vec<i64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Plugins {
    /// Make the project of a plugin, in a language that there is a template for
    ///
    /// It builds, tests and runs as it stands: a sink writes usage as JSON Lines and counts by
    /// tenant; the ends of feeds keep a feed in a file.
    New(New),
    /// Build the component of the project in this folder
    ///
    /// The language's own tools do it, and have to be there: where one is missing the error says how
    /// to install it. Each command is shown before it runs.
    Build(Build),
    /// List the plugins that can be named, with what is wrong with any
    List {
        #[command(flatten)]
        json: Json,
    },
    /// Show all that a plugin tells about itself
    Inspect {
        /// Its name, or a component, whether or not it is in a plugin directory
        #[arg(value_name = "NAME|FILE")]
        name: String,
        /// The one of this kind, where several have the name [default: the first kind that has it]
        #[arg(long)]
        kind: Option<PluginKind>,
        #[command(flatten)]
        json: Json,
    },
    /// Try a plugin against the contract
    ///
    /// Each clause is tried by itself: it is kept, broken, or could not be tried. What is broken is told
    /// with what the plugin was given, what came of it, and where the contract says so. The exit status
    /// is 1 where any is.
    Test {
        #[command(flatten)]
        subject: PluginSubject,
        /// How many records it is given in a row
        #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
        records: usize,
        /// How often it is opened and closed in a row
        #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
        rounds: usize,
        /// Write the report as JUnit XML to this file, too
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        #[command(flatten)]
        json: Json,
    },
    /// Measure what a plugin costs, beside one that does nothing
    ///
    /// For batches of 1, 64 and 1024 records of each stream: time on the wall and of the CPU, as a
    /// multiple of what `nop` takes in turns with it. And which views of the records it asks for, how
    /// long a start takes, how much memory an instance has. A figure that is too noisy is marked.
    Bench {
        #[command(flatten)]
        subject: PluginSubject,
        /// How long calls are measured, in seconds; compiling comes on top
        #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
        seconds: u64,
        #[command(flatten)]
        json: Json,
    },
    /// Fetch a plugin from a registry into the first plugin directory
    ///
    /// Every byte is checked by its digest, and the plugin as for a swap, before it takes the place of
    /// one of the same name. What was fetched stands in `wasink.lock` beside it.
    Pull(Pull),
    /// Put a plugin into a registry, with its signature
    Push(Push),
    /// Put another version in charge, while wasink runs
    Swap {
        /// The plugin
        #[arg(value_parser = plugin_name)]
        name: String,
        /// A file, or what had this version or digest before [default: what the plugin directory has]
        #[arg(value_name = "FILE|VERSION")]
        to: Option<String>,
        #[command(flatten)]
        json: Json,
    },
    /// Put the version before in charge again, while wasink runs
    Rollback {
        /// The plugin
        #[arg(value_parser = plugin_name)]
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Show what happened to plugins, the newest last
    History {
        /// Only to this one
        #[arg(value_parser = plugin_name)]
        name: Option<String>,
        /// At most so much
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the plugin is called
    #[arg(value_parser = plugin_name)]
    pub(crate) name: String,
    /// The language that it is written in
    #[arg(long, value_parser = language())]
    pub(crate) language: Language,
    /// What it is
    #[arg(long, value_enum, default_value = "sink")]
    pub(crate) kind: PluginKind,
    /// Make it in DIR [default: a folder of the plugin's name]
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The folder of the project
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) directory: PathBuf,
    /// Put the contract of this wasink into the project first
    #[arg(long)]
    pub(crate) update_contract: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

fn language() -> impl TypedValueParser<Value = Language> {
    let names = Language::ALL.map(Language::name);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Language>())
}

/// A plugin that is tried or measured, and what it is given.
#[derive(Debug, Args)]
pub(crate) struct PluginSubject {
    /// Its name, or a component, whether or not it is in a plugin directory [default: what the
    /// project in this folder builds]
    #[arg(value_name = "NAME|FILE")]
    pub(crate) name: Option<String>,
    /// The one of this kind, where several have the name [default: the first kind that has it]
    #[arg(long)]
    pub(crate) kind: Option<PluginKind>,
    /// Its settings, an object [default: the first example in its schema]
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) settings: Option<JsonObject>,
    /// Grants, an object as in a `[[sink]]`, beside what the plugin asks for and the kit can give
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub(crate) grants: Option<JsonObject>,
    /// For a source of a feed: a component that appends events where it reads them
    #[arg(long, value_name = "FILE")]
    pub(crate) feed_sink: Option<PathBuf>,
}

/// What a plugin can be used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PluginKind {
    /// Takes records somewhere
    Sink,
    /// Reads control events from a feed
    FeedSource,
    /// Appends control events to a feed
    FeedSink,
}

impl From<PluginKind> for World {
    fn from(kind: PluginKind) -> Self {
        match kind {
            PluginKind::Sink => Self::Sink,
            PluginKind::FeedSource => Self::FeedSource,
            PluginKind::FeedSink => Self::FeedSink,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Trial {
    /// Begin one
    Start(TrialStart),
    /// Show how it goes, or went
    Report {
        /// The plugin
        #[arg(value_parser = plugin_name)]
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// Put the version on trial in charge
    Promote {
        /// The plugin
        #[arg(value_parser = plugin_name)]
        name: String,
        #[command(flatten)]
        json: Json,
    },
    /// End it; the version in charge goes on
    Abort {
        /// The plugin
        #[arg(value_parser = plugin_name)]
        name: String,
        #[command(flatten)]
        json: Json,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TrialStart {
    /// The plugin
    #[arg(value_parser = plugin_name)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) kind: TrialKind,
    /// Try this file, or what had this version or digest before [default: what the plugin directory
    /// has]
    #[arg(long, value_name = "FILE|VERSION")]
    pub(crate) to: Option<String>,
    /// End it after so many records
    #[arg(long, value_name = "COUNT")]
    pub(crate) records: Option<NonZeroU64>,
    /// End it after so many failures
    #[arg(long, value_name = "COUNT")]
    pub(crate) failures: Option<NonZeroU64>,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// How a version is tried: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TrialKind {
    /// Show it copies of the records; what it does with them does not count
    #[arg(long)]
    pub(crate) shadow: bool,
    /// Give it this part of the records for real, as in `0.05`
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) canary: Option<f64>,
}

/// A part of the records.
fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0);
    share.ok_or_else(|| "a share is a number above 0 and below 1, as in `0.05`".to_owned())
}

/// The name of a plugin.
/// An object of JSON, as a flag has it.
pub(crate) type JsonObject = serde_json::Map<String, serde_json::Value>;

fn json_object(text: &str) -> Result<JsonObject, String> {
    serde_json::from_str(text).map_err(|error| format!("expected an object of JSON: {error}"))
}

fn plugin_name(text: &str) -> Result<String, String> {
    let name = wasink::config::PluginName::new(text).map_err(|error| error.to_string())?;
    Ok(name.to_string())
}

/// A duration as in the configuration: `500ms`, `30s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    wasink::config::parse_duration(text)
        .ok_or_else(|| format!("`{text}` is not a duration; write one such as `500ms` or `30s`"))
}
