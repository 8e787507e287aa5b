//! What the chassis asks of plugins, and of whoever finds and runs them.
//!
//! The chassis calls these traits and knows nothing of what is behind them; `wasink-wasm` implements
//! them with WebAssembly components, tests with plain Rust.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cap_std::fs::Dir;
use serde::{Deserialize, Serialize};
use wasink_journal::Batch;
use wasink_record::{RecordId, Stream};

use crate::config::{HttpGrant, PluginName, TcpTarget};
use crate::limits::{LimitCounts, Limits};
use crate::logger::{Logger, printable};
use crate::secret::Secret;

/// A set of plugins that can be opened by name.
pub trait Plugins: Send + Sync {
    /// The names there are, sorted, whether or not their files are any good.
    fn names(&self) -> Vec<PluginName>;

    /// Reads a plugin's bytes, once, and makes them ready to be opened: what is digested, checked
    /// against `demands` and compiled are the same bytes. Blocks for as long as compiling takes.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from being loaded and asked to describe itself.
    fn load(
        &self,
        name: &PluginName,
        from: &Origin,
        demands: &Demands,
    ) -> Result<Arc<dyn Plugin>, PluginError>;

    /// What is to be seen of a plugin's file, and of what vouches for it, without reading them. Two
    /// that are equal, some time apart, are of files that nobody has written to meanwhile. `None`
    /// where there is no file.
    fn sighting(&self, name: &PluginName) -> Option<Sighting> {
        let _ = name;
        None
    }

    /// The digest of what a plugin's directory, or else the program, holds now.
    ///
    /// # Errors
    ///
    /// Where there is no such plugin, it can't be read, or nothing vouches for it that has to.
    fn digest(&self, name: &PluginName) -> Result<String, PluginError>;

    /// Forgets the stored bytes of all versions but these. What is not stored is no error.
    fn retain(&self, digests: &[String]) {
        let _ = digests;
    }

    /// What the plugin tells about itself. It is asked on an instance that has been granted nothing.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from being loaded and asked.
    fn describe(&self, name: &PluginName) -> Result<Arc<Description>, PluginError> {
        Ok(self.load(name, &Origin::Directory, &Demands::default())?.description())
    }

    /// Makes an instance of the plugin that a request names, and opens it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the plugin from being loaded or opened.
    fn open(&self, request: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        self.load(&request.plugin, &Origin::Directory, &Demands::default())?.open(request)
    }
}

/// One version of a plugin, ready to be opened, as often as need be.
pub trait Plugin: Send + Sync {
    /// Which bytes it is.
    fn version(&self) -> PluginVersion;

    /// What it tells about itself.
    fn description(&self) -> Arc<Description>;

    /// Makes an instance and opens it.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from opening; it can be tried again.
    fn open(&self, request: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError>;

    /// Keeps its bytes, so that [`Origin::Stored`] finds them after a restart.
    ///
    /// # Errors
    ///
    /// What the file system says.
    fn store(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where the bytes of a plugin are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The plugin directories, and what comes with the program.
    Directory,
    /// This file.
    File(PathBuf),
    /// What was stored of a version that has been in charge, by its digest.
    Stored(String),
}

/// What a plugin's bytes must be before they are compiled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// Each pinned digest, `sha256:` and hexadecimal digits, and the key of the configuration that
    /// asks for it.
    pub pins: Vec<(String, String)>,
}

impl Demands {
    /// Why bytes with this digest are not what is asked for.
    pub fn refusal(&self, digest: &str) -> Option<String> {
        let (pin, key) = self.pins.iter().find(|(pin, _)| pin != digest)?;
        Some(format!("its digest is {digest}, and `{key}` allows only {pin}"))
    }
}

/// What is to be seen of a file from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Which files they are, and when they were written and changed last, as the system has it.
    pub identity: Vec<i128>,
}

/// An instance of a sink plugin. It is called from one thread at a time.
pub trait SinkPlugin: Send {
    /// Which bytes it runs.
    fn version(&self) -> PluginVersion;

    /// What the plugin told about itself.
    fn description(&self) -> Arc<Description>;

    /// Hands over one batch. Records that the answer does not name are delivered; indexes in it are
    /// within the batch and none comes twice.
    ///
    /// # Errors
    ///
    /// [`CallError::Failed`] is the plugin's own answer. After [`CallError::Stopped`], and after
    /// [`Failure::Broken`], the instance is of no more use until [`reopen`](Self::reopen).
    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError>;

    /// Asks the plugin to make good what it has taken.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    fn flush(&mut self) -> Result<(), CallError>;

    /// Throws the instance away and opens another with the same settings.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from opening; it can be tried again.
    fn reopen(&mut self) -> Result<(), PluginError>;

    /// Ends the instance in an orderly way.
    ///
    /// # Errors
    ///
    /// What the plugin has to say of it, or what stopped it. The instance is gone either way.
    fn close(&mut self) -> Result<(), CallError>;

    /// A way for other threads to end the call that is under way.
    fn interrupter(&self) -> Interrupter;

    /// Bytes of memory that the instance has; `None` where that is not known.
    fn memory(&self) -> Option<u64> {
        None
    }

    /// What a plugin that keeps its records for tests has kept; `None` where this one does not.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError>;

    /// Makes such a plugin forget; false where this one is not of that sort.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    fn reset_captured(&mut self) -> Result<bool, CallError>;
}

/// Everything that an instance is opened with.
#[derive(Clone)]
pub struct OpenRequest {
    /// Which plugin.
    pub plugin: PluginName,
    /// Name of the instance in the configuration.
    pub name: String,
    /// Name of the node, the same across restarts.
    pub node_id: String,
    /// Fresh at every start of the chassis.
    pub epoch: String,
    /// What its bytes must be. Only asked of ends of feeds: sinks are loaded before.
    pub demands: Demands,
    /// The plugin's own settings, one JSON object.
    pub settings: String,
    /// How long each call may take.
    pub timeout: Duration,
    /// What the instance may reach.
    pub grants: Grants,
    /// How much it may use.
    pub limits: Limits,
    /// Where it is counted what it came up against.
    pub reached: LimitCounts,
    /// Where its log lines go.
    pub logger: Arc<dyn Logger>,
}

/// What an instance may reach. The default is nothing.
#[derive(Clone, Default)]
pub struct Grants {
    /// Its data directory, opened; the plugin sees it as `/data`.
    pub directory: Option<Arc<Dir>>,
    /// Whether its standard error is the process's own.
    pub stderr: bool,
    /// Whether its log lines are not limited.
    pub log: bool,
    /// The environment variables that it sees.
    pub environment: Vec<(String, String)>,
    /// The secrets that it may ask for.
    pub secrets: Vec<Secret>,
    /// Secrets that the host puts on its requests for it, and that it can't ask for.
    pub credentials: Vec<Secret>,
    /// Where it may connect to over TCP.
    pub tcp: Vec<TcpTarget>,
    /// Where it may send HTTP requests to.
    pub http: Vec<HttpGrant>,
}

impl Grants {
    /// The same for an instance whose doings must have no effect: with another directory where it had
    /// one, with no way out, and not heard on standard error.
    #[must_use]
    pub fn harmless(&self, directory: Arc<Dir>) -> Self {
        Self {
            directory: self.directory.as_ref().map(|_| directory),
            environment: self.environment.clone(),
            secrets: self.secrets.clone(),
            log: self.log,
            ..Self::default()
        }
    }
}

impl fmt::Debug for OpenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Settings may hold what is nobody's business.
        f.debug_struct("OpenRequest")
            .field("plugin", &self.plugin)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grants")
            .field("directory", &self.directory.is_some())
            .field("stderr", &self.stderr)
            .field("log", &self.log)
            .field("environment", &self.environment.len())
            .field("secrets", &self.secrets)
            .field("tcp", &self.tcp)
            .field("http", &self.http)
            .finish()
    }
}

/// What a plugin tells about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// Semantic version of the plugin's own code.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// The streams that it accepts.
    pub streams: Vec<Stream>,
    /// JSON Schema of its settings.
    pub settings_schema: Option<serde_json::Value>,
    /// When a record counts as delivered.
    pub acknowledges: Acknowledges,
    /// For how long the receiver recognises an id.
    pub dedup_window: Option<Duration>,
    /// How old a record the receiver still takes.
    pub acceptance_window: Option<Duration>,
    /// What it needs beside its settings. Nothing of it is granted by being asked for.
    pub asks: Vec<Ask>,
}

/// A grant that a plugin proposes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ask {
    /// What it needs.
    #[serde(flatten)]
    pub need: Need,
    /// Whether it can do nothing without.
    pub required: bool,
    /// What for, in its words.
    pub reason: String,
}

/// Something outside of a plugin's sandbox. A text that begins with `/` is a JSON Pointer (RFC 6901)
/// into its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "need", content = "which", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// Its data directory.
    Directory,
    /// HTTP requests to the origin of this URL.
    Http(String),
    /// TCP connections to `host:port`.
    Tcp(String),
    /// The secret of this name.
    Secret(String),
    /// The environment variable of this name.
    Environment(String),
    /// The process's own standard error.
    Stderr,
    /// As many log lines as it likes.
    Log,
}

/// When a record counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acknowledges {
    /// Once `write` has returned.
    OnWrite,
    /// Once a later `flush` has returned.
    OnFlush,
}

/// Which bytes an instance runs, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// `sha256:` and the lowercase hexadecimal digest of the component's bytes.
    pub digest: String,
    /// What the plugin calls its version.
    pub version: String,
    /// The file, or `None` for a plugin that comes with the program.
    pub path: Option<PathBuf>,
}

/// What became of a record that was not simply delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver had it already.
    Duplicate,
    /// Not now, and the receiver has not got it; again after this long, where known.
    Retry(Option<Duration>),
    /// It is not known whether the receiver has it; again after this long, where known.
    InDoubt(Option<Duration>),
    /// Never, with the reason.
    Rejected(String),
    /// Too old for the receiver.
    Expired,
}

/// A record of a batch that was not simply delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exception {
    /// Index in the batch.
    pub index: usize,
    /// What became of it.
    pub outcome: Outcome,
}

/// A plugin's own answer that a call did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The same again later.
    #[error("the plugin asks to try again: {reason}")]
    Retry {
        /// Not before this long has gone by, where known.
        after: Option<Duration>,
        /// Why it did not succeed.
        reason: String,
    },
    /// The same again later, and it is not known whether the receiver has the records.
    #[error("it is not known whether the receiver has the records: {reason}")]
    InDoubt {
        /// Not before this long has gone by, where known.
        after: Option<Duration>,
        /// What came in between.
        reason: String,
    },
    /// Final for every record of the call.
    #[error("rejected: {0}")]
    Rejected(String),
    /// The instance can't go on.
    #[error("the plugin can't go on: {0}")]
    Broken(String),
}

/// Why a call did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The plugin's own answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The plugin gave no answer: it trapped, or was stopped.
    #[error(transparent)]
    Stopped(#[from] PluginError),
}

/// A record that a capturing plugin has kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// The record's id.
    pub id: RecordId,
    /// Its position in its stream.
    pub position: u64,
    /// Its wire format, without the line's end.
    pub line: String,
}

/// Ends the call that an instance is in, from another thread.
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// One that calls `interrupt`, which must not block.
    pub fn new(interrupt: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(interrupt))
    }

    /// Ends the call under way, and every later one, with [`PluginError::Interrupted`].
    pub fn interrupt(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}

/// Why a plugin could not be loaded, opened or called. Each message names the plugin and the way
/// out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// No plugin has this name.
    #[error("no plugin is named `{name}`; there are: {}", list(.known))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are, sorted.
        known: Vec<PluginName>,
    },
    /// Its file is there and can't be used: it is not a component, or one that this chassis can't
    /// run. Another file under the same name can.
    #[error("plugin `{name}` can't be used: {origin}: {reason}")]
    Unusable {
        /// The plugin.
        name: PluginName,
        /// Its file.
        origin: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// It did not open, by its own word.
    #[error("plugin `{plugin}` refused to open as `{name}`: {}", printable(.reason))]
    Refused {
        /// The plugin.
        plugin: PluginName,
        /// Name of the instance.
        name: String,
        /// In the plugin's words.
        reason: String,
    },
    /// What the instance is granted can't be given to it.
    #[error("sink `{name}` can't be given its grants: {reason}")]
    Ungrantable {
        /// The plugin.
        plugin: PluginName,
        /// Name of the instance.
        name: String,
        /// What is wrong with them.
        reason: String,
    },
    /// It trapped: what it was doing is lost, and its instance is gone.
    #[error("plugin `{plugin}` trapped in `{call}`: {reason}{}", words(.last_words))]
    Trapped {
        /// The plugin.
        plugin: PluginName,
        /// The call that it was in.
        call: &'static str,
        /// What the runtime says of it.
        reason: String,
        /// The last that it wrote to its standard error.
        last_words: String,
    },
    /// It did not come back in time, and its instance is gone.
    #[error(
        "plugin `{plugin}` did not return from `{call}` within {after:?}: it was {}{}{}",
        if *.computing { "computing" } else { "waiting" },
        // All other calls have the time that the sink gives them.
        if *.call == "describe" { "; allow it more with `limits.describe`" } else { "" },
        words(.last_words)
    )]
    TimedOut {
        /// The plugin.
        plugin: PluginName,
        /// The call that it was in.
        call: &'static str,
        /// How long it was given.
        after: Duration,
        /// Whether it was running its own code, not waiting for something outside.
        computing: bool,
        /// The last that it wrote to its standard error.
        last_words: String,
    },
    /// The call was ended from outside.
    #[error("plugin `{plugin}` was interrupted in `{call}`")]
    Interrupted {
        /// The plugin.
        plugin: PluginName,
        /// The call that it was in.
        call: &'static str,
    },
}

fn list(names: &[PluginName]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn words(last_words: &str) -> String {
    if last_words.is_empty() {
        String::new()
    } else {
        format!("; its last words: {}", printable(last_words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TcpTarget;

    #[test]
    fn what_is_to_have_no_effect_has_another_directory_where_it_had_one_and_no_way_out() {
        let open = || {
            let place = tempfile::tempdir().unwrap();
            Arc::new(Dir::open_ambient_dir(place.path(), cap_std::ambient_authority()).unwrap())
        };
        let (own, other) = (open(), open());
        let granted = Grants {
            directory: Some(own),
            stderr: true,
            log: true,
            environment: vec![("TZ".to_owned(), "UTC".to_owned())],
            tcp: vec![TcpTarget::parse("a.example:1").unwrap()],
            ..Grants::default()
        };
        let harmless = granted.harmless(other.clone());
        assert!(Arc::ptr_eq(harmless.directory.as_ref().unwrap(), &other));
        assert_eq!((harmless.stderr, harmless.log), (false, true));
        assert_eq!(harmless.environment, granted.environment);
        assert!(harmless.tcp.is_empty() && harmless.http.is_empty());
        assert!(harmless.credentials.is_empty());
        assert!(Grants::default().harmless(other).directory.is_none(), "it had none");
    }
}
