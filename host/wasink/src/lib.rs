//! Carries usage and lifecycle records durably to plugins: WebAssembly components, loaded by name
//! from a directory, each in its own sandbox.
//!
//! A service opens a [`Chassis`], takes [`Recorder`]s from it and emits. Which plugins get the
//! records, and how they are set up, stands in the [`Config`].
//!
//! ```
//! use std::time::Duration;
//! use wasink::record::UsageEvent;
//! use wasink::{Chassis, Config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let data_dir = directory.path().to_str().ok_or("the path is not UTF-8")?;
//! let config = Config::from_toml(&format!("data_dir = '{data_dir}'\n[usage]\nsink = 'file'"))?;
//! let chassis = Chassis::open(&config)?;
//! let usage = chassis.usage();
//!
//! // Wherever a request ends; never blocks, never fails:
//! usage.emit(UsageEvent::builder("req-1", "acme", "http", "shop").duration_ms(12).build());
//!
//! let status = chassis.close(Duration::from_secs(5));
//! assert_eq!(status.pending(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! The feature `bundled` (on by default) builds the plugins that come with wasink into the program;
//! without it, plugins are found in the configuration's `plugin_dirs` alone.

#[cfg(feature = "feed")]
pub mod feeds;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use wasink_chassis::Parts;
use wasink_chassis::logger::{Logger, TracingLogger};
use wasink_wasm::{EngineError, Options};

/// The kinds of records, and their wire formats.
pub use wasink_record as record;

/// What a plugin is to the chassis, and what can go wrong with it.
pub use wasink_chassis::plugin;

/// The configuration in detail: origins, schema, errors.
pub use wasink_chassis::config;

/// Where log lines go.
pub use wasink_chassis::logger;

/// The parts of feeds, for programs that put them together themselves.
#[cfg(feature = "feed")]
pub use wasink_feed as feed;

pub use wasink_chassis::config::Config;
pub use wasink_chassis::{
    Admission, AppendError, Closed, DROP_DEADLINE, Event, LaneLedger, MendError, OpenError,
    Operation, PluginState, Recorder, ReloadError, Reloaded, Replayed, SinkProblem, SinkState,
    SinkStatus, Stage, Status, StreamLedger, SwapError, Swapped, Tally, Target, Trial, TrialKind,
    TrialReport,
};

/// What an embedder may want to be told at once.
pub use wasink_chassis::hooks;

/// How much plugins may use, and how often they came up against it.
pub use wasink_chassis::limits;
pub use wasink_wasm::{
    CONTRACT_VERSION, Inspection, Limits, PluginFile, PluginReport, PluginSource, WasmPlugins,
    World,
};

/// Takes records in and delivers them to the sinks of its configuration: the chassis of
/// [`wasink_chassis::Chassis`], joined with plugins that are WebAssembly components.
#[derive(Debug)]
pub struct Chassis {
    chassis: wasink_chassis::Chassis,
    plugins: Arc<WasmPlugins>,
}

impl Chassis {
    /// Opens every sink of `config` and starts to take records. Log lines go to the `tracing` crate.
    ///
    /// # Errors
    ///
    /// All that is wrong with the configuration and the plugins, together.
    pub fn open(config: &Config) -> Result<Self, Error> {
        Self::open_with(config, Arc::new(TracingLogger))
    }

    /// As [`open`](Self::open), with log lines going to `logger`.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_with(config: &Config, logger: Arc<dyn Logger>) -> Result<Self, Error> {
        Self::open_hooked(config, logger, Arc::new(hooks::NoHooks))
    }

    /// As [`open_with`](Self::open_with), with `hooks` being told as things happen.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_hooked(
        config: &Config,
        logger: Arc<dyn Logger>,
        hooks: Arc<dyn hooks::Hooks>,
    ) -> Result<Self, Error> {
        let plugins = Arc::new(hooked_plugins(config, logger.clone(), hooks.clone())?);
        let parts = Parts { logger, hooks, ..Parts::new(plugins.clone()) };
        Ok(Self { chassis: wasink_chassis::Chassis::open(config, &parts)?, plugins })
    }

    /// Where this chassis finds plugins: what else needs some need not make an engine of its own.
    pub fn plugin_source(&self) -> Arc<WasmPlugins> {
        self.plugins.clone()
    }
}

impl Deref for Chassis {
    type Target = wasink_chassis::Chassis;

    fn deref(&self) -> &Self::Target {
        &self.chassis
    }
}

#[cfg(feature = "bundled")]
const BUNDLED: &[wasink_wasm::Bundled] = wasink_bundled::PLUGINS;
#[cfg(not(feature = "bundled"))]
const BUNDLED: &[wasink_wasm::Bundled] = &[];
#[cfg(feature = "bundled")]
const FEED_SOURCES: &[wasink_wasm::Bundled] = wasink_bundled::FEED_SOURCES;
#[cfg(not(feature = "bundled"))]
const FEED_SOURCES: &[wasink_wasm::Bundled] = &[];
#[cfg(feature = "bundled")]
const FEED_SINKS: &[wasink_wasm::Bundled] = wasink_bundled::FEED_SINKS;
#[cfg(not(feature = "bundled"))]
const FEED_SINKS: &[wasink_wasm::Bundled] = &[];

/// Reads a configuration as [`Config::load`] does, and finds plugins that are not there as well, so
/// that all mistakes are told together.
///
/// # Errors
///
/// Every mistake that was found.
pub fn load(sources: &config::Sources) -> Result<Config, config::ConfigErrors> {
    let names = |directories: &[PathBuf]| wasink_wasm::plugin_names(directories, BUNDLED);
    Config::load_with_plugins(sources, &names)
}

/// The plugins that `config` can name: those in its `plugin_dirs`, then the bundled ones. Compiled
/// code is kept in `cache` in its data directory.
///
/// # Errors
///
/// Where that directory can't be used, or wasmtime does not run on this machine.
pub fn plugins(config: &Config, logger: Arc<dyn Logger>) -> Result<WasmPlugins, Error> {
    hooked_plugins(config, logger, Arc::new(hooks::NoHooks))
}

fn hooked_plugins(
    config: &Config,
    logger: Arc<dyn Logger>,
    hooks: Arc<dyn hooks::Hooks>,
) -> Result<WasmPlugins, Error> {
    Ok(WasmPlugins::new(Options {
        directories: config.plugin_dirs.clone(),
        bundled: BUNDLED.to_vec(),
        bundled_feed_sources: FEED_SOURCES.to_vec(),
        bundled_feed_sinks: FEED_SINKS.to_vec(),
        cache: Some(config.data_dir.join("cache")),
        store: Some(config.versions_dir()),
        keys: config.plugin_keys.clone(),
        limits: config.limits,
        logger: Some(logger),
        hooks: Some(hooks),
        ..Options::default()
    })?)
}

/// Finds everything that would keep [`Chassis::open_with`] from opening, without opening a sink:
/// plugins are loaded and asked to describe themselves, and settings are checked.
///
/// # Errors
///
/// All that is wrong, together.
pub fn check(config: &Config, logger: Arc<dyn Logger>) -> Result<(), Error> {
    let plugins = Arc::new(plugins(config, logger.clone())?);
    let parts = Parts { logger: logger.clone(), ..Parts::new(plugins.clone()) };
    let sinks = wasink_chassis::check(config, &parts).map_err(Error::from);
    #[cfg(feature = "feed")]
    let feeds = feeds::check(config, plugins, logger);
    #[cfg(not(feature = "feed"))]
    let feeds = Ok(());
    match (sinks, feeds) {
        (
            Err(Error::Open(OpenError::Sinks(mut problems))),
            Err(Error::Open(OpenError::Sinks(more))),
        ) => {
            problems.extend(more);
            Err(OpenError::Sinks(problems).into())
        }
        (sinks, feeds) => sinks.and(feeds),
    }
}

/// Journals, looked at and mended while nobody has them open.
pub use wasink_journal as journal;

/// The journal of a stream, to be looked at or mended; `None` where there is none yet.
///
/// # Errors
///
/// Where its directory can't be opened.
pub fn open_journal(
    config: &Config,
    stream: record::Stream,
) -> std::io::Result<Option<journal::Offline>> {
    let Some(config) = config.journal(stream) else { return Ok(None) };
    let authority = cap_std::ambient_authority();
    match cap_std::fs::Dir::open_ambient_dir(&config.directory, authority) {
        Ok(dir) => {
            let storage = Arc::new(journal::Directory::new(dir));
            Ok(Some(journal::Offline::new(storage, stream)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Hands dead letters of a sink to the plugin that it has now. See [`wasink_chassis::replay`].
///
/// # Errors
///
/// Whatever keeps the sink from opening.
pub fn replay(
    config: &Config,
    logger: Arc<dyn Logger>,
    sink: &config::SinkConfig,
    letters: Vec<journal::DeadLetter>,
) -> Result<Replayed, Error> {
    let plugins = plugins(config, logger.clone())?;
    let parts = Parts { logger, ..Parts::new(Arc::new(plugins)) };
    Ok(wasink_chassis::replay(config, &parts, sink, letters)?)
}

/// Why there is no chassis.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration or a sink is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Plugins can't be run at all.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// One chassis for a whole process, opened by whoever needs it first.
///
/// ```
/// use wasink::{Config, Shared};
///
/// static CHASSIS: Shared = Shared::new();
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let data_dir = directory.path().to_str().unwrap();
/// # let text = format!("data_dir = '{data_dir}'");
/// let chassis = CHASSIS.open(|| Config::from_toml(&text).unwrap()).unwrap();
/// let again = CHASSIS.open(Config::default).unwrap();
/// assert!(std::ptr::eq(chassis, again), "the first configuration counts");
/// ```
#[derive(Debug, Default)]
pub struct Shared {
    cell: OnceLock<Result<Chassis, Error>>,
}

impl Shared {
    /// Nothing is opened yet.
    pub const fn new() -> Self {
        Self { cell: OnceLock::new() }
    }

    /// The chassis. The first caller's configuration opens it, while all others wait; every later
    /// call gets the same chassis, whatever configuration it would have.
    ///
    /// # Errors
    ///
    /// Why it did not open, now and at every later call.
    pub fn open(&self, config: impl FnOnce() -> Config) -> Result<&Chassis, &Error> {
        self.cell.get_or_init(|| Chassis::open(&config())).as_ref()
    }

    /// The chassis, where it has been opened.
    pub fn get(&self) -> Option<&Chassis> {
        self.cell.get()?.as_ref().ok()
    }
}
