//! The configuration: read from a file, the environment and the command line, checked as a whole,
//! and resolved to what the program runs on.
//!
//! A file is TOML, or JSON of the same shape. Every key has a default, so no file at all is a
//! configuration that works; [`schema`] has all keys. What the command line says goes before what
//! the environment says, that before the file, and that before the defaults.
//!
//! All mistakes are told together, each with its place and the way out. Nothing here reads the
//! environment of the process or knows a plugin: [`Sources`] brings the one, and once the other is
//! known, [`Config::check_plugins`] and [`check_settings`] check the rest.
//!
//! ```
//! use wasink_chassis::config::Config;
//!
//! let config = Config::from_toml("[metering]\nbackend = \"stderr\"")?;
//! assert_eq!(config.sinks[0].plugin.as_str(), "stderr");
//!
//! let errors = Config::from_toml("[metering]\nbachend = \"stderr\"").unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "configuration:2: metering.bachend: unknown key `bachend`; did you mean `backend`?"
//! );
//! # Ok::<(), wasink_chassis::config::ConfigErrors>(())
//! ```

use std::{
    fs::File,
    io::Read,
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64},
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use wasink_journal::{Durability, WhenFull};
use wasink_record::Stream;

mod check;
mod document;
mod error;
mod explain;
mod feed;
mod grants;
mod json_lines;
mod name;
mod nearest;
mod overrides;
mod path;
mod plugins;
mod raw;
mod reference;
mod resolve;
mod schema;
mod schema_cost;
mod units;

#[cfg(test)]
mod tests;

pub use self::{
    error::{ConfigError, ConfigErrors, Origin},
    explain::Setting,
    feed::{ArtifactsConfig, DatabaseConfig, FeedConfig, OutboxConfig},
    grants::{
        Asked, Credential, GrantsConfig, Host, HttpGrant, HttpOrigin, SecretConfig, SecretSource,
        TcpHosts, TcpTarget, asked, check_asks,
    },
    name::{PluginName, PluginNameError},
    overrides::{CONFIG_VARIABLE, Flag},
    plugins::check_settings,
    raw::{LogFormat, LogLevel, OnOpenFailure, Order},
    reference::reference,
    schema::schema,
    units::parse_duration,
};

use crate::limits::Limits;

use self::{
    check::{Checker, Mistake},
    document::{Document, Origins, Parsed},
    path::{KeyPath, Step},
};

/// The largest file that is read, in bytes: far above any configuration, far below what hurts.
const MAX_FILE: u64 = 4 << 20;
/// Stands for the file of a text that comes from none.
const NO_FILE: &str = "configuration";

/// What the program runs on: checked, with every default filled in.
///
/// Two are equal if they do the same, wherever their values come from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Directory of everything that the chassis keeps. A relative path is relative to the working
    /// directory, here as everywhere.
    pub data_dir: PathBuf,
    /// Directories in which plugins are looked for, in this order, before the bundled ones. They
    /// need not be there.
    pub plugin_dirs: Vec<PathBuf>,
    /// Files with the public keys, one of which must have signed a plugin that does not come with
    /// the program. None: no signature is needed.
    pub plugin_keys: Vec<PathBuf>,
    /// Name of this node, the same across restarts.
    pub node_id: String,
    /// The chassis's own log.
    pub log: LogConfig,
    /// The queue that each stream has.
    pub queue: QueueLimits,
    /// Where `wasink serve` takes records.
    pub listen: ListenConfig,
    /// The journal of each stream.
    pub journals: [JournalConfig; 4],
    /// How plugins are exchanged for other versions.
    pub swap: SwapConfig,
    /// How much plugins may use, where a sink has no limits of its own.
    pub limits: Limits,
    /// Every sink. Those of `[metering]` and `[usage]` come first, then those that keep a stream
    /// which no `[[sink]]` takes, then each `[[sink]]` in the file's order.
    pub sinks: Vec<SinkConfig>,
    /// Every outbox whose events are published, in the file's order.
    pub outboxes: Vec<OutboxConfig>,
    /// Every feed whose events are applied, in the file's order.
    pub feeds: Vec<FeedConfig>,
    /// Every secret.
    pub secrets: Vec<SecretConfig>,
    /// All settings in the shape of the file.
    effective: Value,
    /// Tables of settings for plugins that are not chosen: the path, and the plugin's name.
    tables: Vec<(KeyPath, String)>,
    origins: Arc<Origins>,
}

/// The chassis's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// The least grave lines that are written.
    pub level: LogLevel,
    /// How a line is written.
    pub format: LogFormat,
}

/// Bounds of a queue in memory. What does not fit is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// The most records in it.
    pub records: NonZeroU32,
    /// The most bytes in it, as the wire format counts them.
    pub bytes: NonZeroU64,
}

/// Where records are taken from other processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenConfig {
    /// Over HTTP.
    pub http: Option<SocketAddr>,
    /// Over HTTP on a Unix socket.
    pub socket: Option<PathBuf>,
    /// For whoever asks or changes a running process, on a Unix socket.
    pub admin: Option<PathBuf>,
    /// The file with the token that requests over TCP must carry.
    pub token_file: Option<PathBuf>,
}

/// How plugins are exchanged for other versions while records flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwapConfig {
    /// How often plugin directories are looked at for new versions; zero: never.
    pub watch: Duration,
    /// How long the batch that is under way may take before the new version takes over.
    pub grace: Duration,
    /// For how long the version before is ready to come back by itself; zero: it is not.
    pub probation: Duration,
    /// So many calls that cost the new version's instance bring it back.
    pub stops: u32,
    /// So do more rejected records of a hundred.
    pub rejected_percent: u32,
    /// So do records that take so many times as long; zero: however long.
    pub slower: u32,
    /// So many versions of each plugin are kept.
    pub keep: u32,
}

/// The journal of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalConfig {
    /// The stream.
    pub stream: Stream,
    /// Where it is kept.
    pub directory: PathBuf,
    /// What an accepted record survives.
    pub durability: Durability,
    /// The most that it may hold, in bytes of its files.
    pub bytes: NonZeroU64,
    /// The length of its files, in bytes.
    pub segment: NonZeroU64,
    /// The longest record, in bytes of its wire format.
    pub record: NonZeroU64,
    /// How long it waits for more records before it syncs again.
    pub window: Duration,
}

/// When a batch is full: at the first of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// So many records.
    pub records: NonZeroU32,
    /// So many bytes of the wire format. A record that is larger goes alone.
    pub bytes: NonZeroU64,
    /// The first of its records has waited for so long; zero: a batch is what is there.
    pub age: Duration,
}

/// An instance of a plugin: what it is opened with.
///
/// Two are equal if they do the same, wherever their values come from.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginConfig {
    /// What it is for.
    pub role: Role,
    /// Its own among all of its role: 1 to 64 of `a`-`z`, `0`-`9` and `-`.
    pub name: String,
    /// The plugin.
    pub plugin: PluginName,
    /// The plugin's own settings; [`check_settings`] checks them.
    pub settings: Map<String, Value>,
    /// What it may reach outside of its sandbox.
    pub grants: GrantsConfig,
    /// How much it may use.
    pub limits: Limits,
    /// How long one call may take; above zero.
    pub timeout: Duration,
    /// The only digest that the plugin may have, where one is given.
    pub digest: Option<String>,
    /// The key of the settings, for messages: `metering.file`, `sink[0].settings`.
    pub path_in_config: String,
    plugin_key: KeyPath,
    settings_key: KeyPath,
    origins: Arc<Origins>,
}

/// What an instance of a plugin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// It takes records.
    Sink,
    /// It takes the events of an outbox.
    Outbox,
    /// It gives the events of a feed.
    Feed,
}

impl Role {
    /// The word for it, as in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::Outbox => "outbox",
            Self::Feed => "feed",
        }
    }
}

impl PluginConfig {
    /// What messages call it: "sink `billing`".
    pub fn called(&self) -> String {
        format!("{} `{}`", self.role.as_str(), self.name)
    }

    /// The key of the pinned digest, for messages.
    pub fn digest_key(&self) -> String {
        self.section().key("digest").to_string()
    }

    /// The key of its grants.
    fn grants_key(&self) -> KeyPath {
        self.section().key("grants")
    }

    /// Where it is described.
    fn section(&self) -> KeyPath {
        self.plugin_key.parent().unwrap_or_else(|| self.plugin_key.clone())
    }
}

/// One sink. What its plugin is opened with are fields of its own, too: see [`PluginConfig`].
/// `metering`, `usage`, `control` and `events` are the names of those that no `[[sink]]` describes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SinkConfig {
    /// What its plugin is opened with.
    pub instance: PluginConfig,
    /// The streams that it takes, one at least, each once.
    pub streams: Vec<Stream>,
    /// When a batch for it is full.
    pub batch: BatchLimits,
    /// What happens when it has not dealt with as much as the journal can hold, or as it may leave.
    pub when_full: WhenFull,
    /// The most bytes that it may leave in a stream's journal.
    pub max_pending: NonZeroU64,
    /// Whether later records wait for those that are to be tried again.
    pub order: Order,
    /// What to do when it can't be opened at the start.
    pub on_open_failure: OnOpenFailure,
}

impl Deref for SinkConfig {
    type Target = PluginConfig;

    fn deref(&self) -> &PluginConfig {
        &self.instance
    }
}

impl DerefMut for SinkConfig {
    fn deref_mut(&mut self) -> &mut PluginConfig {
        &mut self.instance
    }
}

/// Where a configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file: JSON if its extension is `json`, or else TOML. None: only defaults and what is
    /// below. A file that is not there is an error.
    pub file: Option<PathBuf>,
    /// The environment: names and values. Only names that begin with `WASINK_` count, and
    /// [`CONFIG_VARIABLE`] does not.
    pub env: Vec<(String, String)>,
    /// What the command line sets, later over earlier.
    pub flags: Vec<Flag>,
}

/// Gives the names of the plugins in these directories, and of those that are always there.
type PluginNames<'a> = &'a dyn Fn(&[PathBuf]) -> Vec<PluginName>;

impl Config {
    /// The journal of a stream.
    pub fn journal(&self, stream: Stream) -> Option<&JournalConfig> {
        self.journals.iter().find(|journal| journal.stream == stream)
    }

    /// Where the bytes of plugins' versions are kept, and what is known of them.
    pub fn versions_dir(&self) -> PathBuf {
        self.data_dir.join("versions")
    }

    /// Reads the file, puts the environment over it and the flags over that, and checks it all.
    ///
    /// # Errors
    ///
    /// Every mistake that was found. Where the file's syntax is wrong, what can be read of it is
    /// checked all the same.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        Self::load_where(sources, None)
    }

    /// As [`load`](Self::load), and checks the names of plugins as well, so that those mistakes are
    /// told together with all others. `names` gives the names there are, for the directories of
    /// plugins that the configuration has.
    ///
    /// # Errors
    ///
    /// As for [`load`](Self::load), and every plugin that is not there.
    pub fn load_with_plugins(
        sources: &Sources,
        names: &dyn Fn(&[PathBuf]) -> Vec<PluginName>,
    ) -> Result<Self, ConfigErrors> {
        Self::load_where(sources, Some(names))
    }

    fn load_where(sources: &Sources, names: Option<PluginNames<'_>>) -> Result<Self, ConfigErrors> {
        let parsed = match &sources.file {
            None => Parsed { document: Document::empty(), errors: Vec::new() },
            Some(path) => {
                let text = read(path).map_err(|message| {
                    let origin = Origin::File { path: path.clone(), line: None };
                    ConfigErrors::from(ConfigError::new(origin, "", message))
                })?;
                let json = path.extension().is_some_and(|name| name.eq_ignore_ascii_case("json"));
                let parse = if json { document::parse_json } else { document::parse_toml };
                parse(&text, path)
            }
        };
        build(parsed, &sources.env, &sources.flags, names)
    }

    /// Takes a configuration from a text in TOML.
    ///
    /// # Errors
    ///
    /// Every mistake that was found.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        build(document::parse_toml(text, Path::new(NO_FILE)), &[], &[], None)
    }

    /// Takes a configuration from a text in JSON, of the same shape.
    ///
    /// # Errors
    ///
    /// Every mistake that was found.
    pub fn from_json(text: &str) -> Result<Self, ConfigErrors> {
        build(document::parse_json(text, Path::new(NO_FILE)), &[], &[], None)
    }
}

impl Default for Config {
    /// No file, no environment, no flags.
    fn default() -> Self {
        let origins = Arc::new(Origins::default());
        resolve::resolve(raw::Config::default(), origins, &mut Vec::new())
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        let parts = |config: &Self| {
            (config.data_dir.clone(), config.plugin_dirs.clone(), config.node_id.clone())
        };
        parts(self) == parts(other)
            && self.plugin_keys == other.plugin_keys
            && self.swap == other.swap
            && self.log == other.log
            && self.queue == other.queue
            && self.listen == other.listen
            && self.journals == other.journals
            && self.sinks == other.sinks
            && self.outboxes == other.outboxes
            && self.feeds == other.feeds
    }
}

impl PartialEq for PluginConfig {
    fn eq(&self, other: &Self) -> bool {
        self.role == other.role
            && self.name == other.name
            && self.plugin == other.plugin
            && self.settings == other.settings
            && self.grants == other.grants
            && self.limits == other.limits
            && self.timeout == other.timeout
            && self.digest == other.digest
    }
}

/// Reads the file, or says what is wrong with it.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("can't open it: {error}"))?;
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|error| format!("can't read it: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes, so it is no configuration"));
    }
    Ok(text)
}

fn build(
    parsed: Parsed,
    env: &[(String, String)],
    flags: &[Flag],
    names: Option<PluginNames<'_>>,
) -> Result<Config, ConfigErrors> {
    let Parsed { mut document, mut errors } = parsed;
    let syntax = errors.iter().filter(|error| error.column.is_some());
    let unreadable: Vec<Origin> = syntax.map(|error| error.origin.clone()).collect();
    let schema = schema();
    overrides::apply_environment(&mut document, env, &schema, &mut errors);
    overrides::apply_flags(&mut document, flags, &schema, &mut errors);

    let Document { mut value, origins } = document;
    let internal =
        |message: String| ConfigErrors::from(ConfigError::new(Origin::Default, "", message));
    let mistakes = Checker::new(&schema).map_err(internal)?.mistakes(&value);
    for Mistake { path, message, missing } in &mistakes {
        let origin = origins.around(path);
        // What can't be read is not missing, and what stands on its line may be a part of it.
        let doubtful = !unreadable.is_empty() && (*missing || unreadable.contains(&origin));
        if !doubtful {
            errors.push(ConfigError::new(origin, path, message.as_str()));
        }
    }
    for mistake in &mistakes {
        repair(&mut value, &mistake.path);
    }

    match serde_path_to_error::deserialize::<_, raw::Config>(value) {
        Ok(raw) => {
            let config = resolve::resolve(raw, Arc::new(origins), &mut errors);
            if let Some(names) = names {
                let names = names(&config.plugin_dirs);
                let names: Vec<&str> = names.iter().map(PluginName::as_str).collect();
                let unknown = config.check_plugins(&names).into_iter();
                // What is no name at all has been told, and stands here as something else.
                let told: Vec<String> = errors.iter().map(|error| error.key.clone()).collect();
                errors.extend(unknown.filter(|error| !told.contains(&error.key)));
            }
            ConfigErrors::check(errors).map(|()| config)
        }
        Err(error) => {
            if errors.is_empty() {
                let path = KeyPath::of_serde(error.path());
                let message = error.into_inner().to_string();
                errors.push(ConfigError::new(origins.around(&path), path, message));
            }
            ConfigErrors::check(errors)?;
            Err(internal("the configuration could not be read".to_owned()))
        }
    }
}

/// Puts something harmless in the place of a wrong value, so that the rest can be checked as well.
/// What comes of it is never run on.
fn repair(root: &mut Value, path: &KeyPath) {
    let placeholder = |key: &str, index: usize| match key {
        "name" => Some(Value::from(format!("-{index}"))),
        "plugin" => Some("nop".into()),
        "streams" => Some(Stream::ALL.map(Stream::as_str).to_vec().into()),
        "database" => Some("-".into()),
        _ => None,
    };
    if let [Step::Key(list), Step::Index(index), rest @ ..] = path.steps()
        && let Some(required) = required(list)
        && let Some(item) = root.get_mut(list).and_then(|items| items.get_mut(*index))
    {
        let Some(Step::Key(key)) = rest.first() else {
            let keys = required.iter();
            let keys = keys.filter_map(|key| Some(((*key).to_owned(), placeholder(key, *index)?)));
            *item = Value::Object(keys.collect());
            return;
        };
        match (placeholder(key, *index).filter(|_| required.contains(&key.as_str())), item) {
            (Some(value), Value::Object(table)) => {
                table.insert(key.clone(), value);
            }
            (_, item) => remove(item, rest),
        }
        return;
    }
    if path.steps().is_empty() {
        *root = Value::Object(Map::new());
    }
    remove(root, path.steps());
}

/// What each table of a list must have.
fn required(list: &str) -> Option<&'static [&'static str]> {
    match list {
        "sink" => Some(&["name", "plugin", "streams"]),
        "outbox" | "feed" => Some(&["name", "plugin", "database"]),
        _ => None,
    }
}

/// Takes out the value, or the list that it stands in.
fn remove(root: &mut Value, steps: &[Step]) {
    let keys: Vec<&String> = steps
        .iter()
        .map_while(|step| match step {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        })
        .collect();
    let Some((last, tables)) = keys.split_last() else { return };
    let table = tables.iter().try_fold(root, |at, key| at.get_mut(key.as_str()));
    if let Some(table) = table.and_then(Value::as_object_mut) {
        table.remove(last.as_str());
    }
}
