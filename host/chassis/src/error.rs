//! Why a chassis does not open.

use std::io;
use std::path::{Path, PathBuf};

use wasink_record::Stream;

use crate::config::{ConfigErrors, PluginConfig};
use crate::plugin::PluginError;
use crate::secret::SecretError;

/// Why a chassis did not open. The message names everything that is wrong, a line each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(ConfigErrors),
    /// Sinks did not open.
    #[error("{}", lines(.0))]
    Sinks(Vec<SinkProblem>),
    /// The journal of a stream does not open.
    #[error("journal `{}`: {source}", .directory.display())]
    Journal {
        /// Where it is.
        directory: PathBuf,
        /// Why.
        source: wasink_journal::OpenError,
    },
    /// The system did not give a thread or random bytes.
    #[error("the system refuses what the chassis needs to start")]
    System(#[source] io::Error),
}

/// Why one sink, or one end of a feed, did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkProblem {
    /// Its plugin could not be loaded or opened.
    #[error("{place}: {source}")]
    Plugin {
        /// Whose: "sink `billing`".
        place: String,
        /// What is wrong with the plugin.
        source: PluginError,
    },
    /// Its plugin does not take a stream that it is configured for.
    #[error("{place}: plugin `{plugin}` does not take the stream `{stream}`; it takes {takes}")]
    Stream {
        /// Whose: "sink `billing`".
        place: String,
        /// Name of the plugin.
        plugin: String,
        /// The stream.
        stream: Stream,
        /// The streams that it takes, for people.
        takes: String,
    },
    /// It did not open in an empty directory.
    #[error("{place}: {reason}")]
    Refused {
        /// Whose: "sink `billing`".
        place: String,
        /// Why.
        reason: String,
    },
    /// Its settings do not fit its plugin, it is not granted what its plugin needs, or there is no
    /// such plugin.
    #[error(transparent)]
    Settings(ConfigErrors),
    /// A secret that it is granted can't be read.
    #[error("{place}: {source}")]
    Secret {
        /// Whose: "sink `billing`".
        place: String,
        /// Which, and why.
        source: SecretError,
    },
    /// What became of its records can't be read or written.
    #[error("{place}: can't open its place in the journal: {source}")]
    Lane {
        /// Whose: "sink `billing`".
        place: String,
        /// What the file system says.
        source: io::Error,
    },
    /// Its data directory could not be made or opened.
    #[error("{place}: can't open its directory `{path}`: {source}")]
    Directory {
        /// Whose: "sink `billing`".
        place: String,
        /// The directory.
        path: String,
        /// What the file system says.
        source: io::Error,
    },
}

impl SinkProblem {
    pub(crate) fn plugin(of: &PluginConfig, source: PluginError) -> Self {
        Self::Plugin { place: of.called(), source }
    }

    pub(crate) fn stream(of: &PluginConfig, stream: Stream, takes: &[Stream]) -> Self {
        let takes = takes.iter().map(|stream| format!("`{stream}`")).collect::<Vec<_>>();
        let takes = if takes.is_empty() { "none".to_owned() } else { takes.join(", ") };
        Self::Stream { place: of.called(), plugin: of.plugin.to_string(), stream, takes }
    }

    pub(crate) fn directory(of: &PluginConfig, path: &Path, source: io::Error) -> Self {
        Self::Directory { place: of.called(), path: path.display().to_string(), source }
    }
}

/// Why something could not be mended in a running chassis.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MendError {
    /// There is no such sink.
    #[error("no sink is named `{sink}`; there are: {}", known.join(", "))]
    Unknown {
        /// The name.
        sink: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The sink does not take the stream.
    #[error("sink `{sink}` does not take the stream `{stream}`")]
    NoStream {
        /// Name of the sink.
        sink: String,
        /// The stream.
        stream: Stream,
    },
    /// The journal could not be read or written.
    #[error("the journal: {0}")]
    Journal(#[source] io::Error),
    /// The chassis is closed, or closes.
    #[error("this process is about to end")]
    Closed,
}

fn lines(problems: &[SinkProblem]) -> String {
    let mut text = String::new();
    for (index, problem) in problems.iter().enumerate() {
        let separator = if index > 0 { "\n" } else { "" };
        text.push_str(&format!("{separator}{problem}"));
    }
    text
}
