//! Outboxes that are published and feeds that are applied, as a configuration has them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wasink_chassis::config::{
    Config, DatabaseConfig, FeedConfig, Order, OutboxConfig, PluginConfig, SecretConfig,
};
use wasink_chassis::hooks::{Hooks, NoHooks};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::{Ends, OpenError, Secret, SinkProblem};
use wasink_feed::applier::rows::Rows;
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{
    Applier, ApplierOptions, Follower, FollowerState, Store as _, StoreError,
};
use wasink_feed::artifacts::{ArtifactStore, Artifacts, StoreOptions};
use wasink_feed::outbox::postgres::PostgresOutbox;
use wasink_feed::outbox::sqlite::SqliteOutbox;
use wasink_feed::outbox::{self, Outbox, OutboxError};
use wasink_feed::pump::{Publisher, Pump, PumpOptions, PumpState};
use wasink_record::{SystemClock, Timestamp};
use wasink_wasm::WasmPlugins;

use crate::Error;

/// What keeps the feeds of a configuration going: a thread for each outbox, and one for each feed.
#[derive(Debug)]
pub struct Feeds {
    pumps: Vec<(OutboxConfig, Pump)>,
    followers: Vec<(FeedConfig, Follower)>,
}

impl Feeds {
    /// Checks all that can be checked without reaching a feed, and starts the threads. A database or a
    /// feed that can't be reached yet is tried again for as long as it takes.
    ///
    /// # Errors
    ///
    /// All that is wrong with the plugins, their settings and grants, together.
    pub fn open(
        config: &Config,
        plugins: Arc<WasmPlugins>,
        logger: Arc<dyn Logger>,
    ) -> Result<Self, Error> {
        Self::open_hooked(config, plugins, logger, Arc::new(NoHooks))
    }

    /// As [`open`](Self::open), with `hooks` being told as things happen.
    ///
    /// # Errors
    ///
    /// As for [`open`](Self::open).
    pub fn open_hooked(
        config: &Config,
        plugins: Arc<WasmPlugins>,
        logger: Arc<dyn Logger>,
        hooks: Arc<dyn Hooks>,
    ) -> Result<Self, Error> {
        let ends = Ends::new(config, plugins, logger.clone(), hooks.clone())?;
        check_all(config, &ends)?;
        let mut feeds = Self { pumps: Vec::new(), followers: Vec::new() };
        for outbox in &config.outboxes {
            let pump = start_pump(outbox, &ends, &logger, &hooks).map_err(OpenError::System)?;
            feeds.pumps.push((outbox.clone(), pump));
        }
        for feed in &config.feeds {
            let follower =
                start_follower(feed, &ends, &logger, &hooks).map_err(OpenError::System)?;
            feeds.followers.push((feed.clone(), follower));
        }
        Ok(feeds)
    }

    /// How they are doing.
    pub fn status(&self) -> FeedsStatus {
        FeedsStatus {
            outboxes: self.pumps.iter().map(|(of, pump)| outbox_status(of, pump.state())).collect(),
            feeds: self.followers.iter().map(|(of, one)| feed_status(of, one.state())).collect(),
        }
    }

    /// Ends the threads: waits for the calls under way for at most `grace` each, then ends those too.
    /// What is not published or applied by then is after the next start.
    pub fn stop(&self, grace: Duration) {
        std::thread::scope(|scope| {
            self.pumps.iter().for_each(|(_, pump)| drop(scope.spawn(move || pump.stop(grace))));
            let followers = self.followers.iter();
            followers.for_each(|(_, one)| drop(scope.spawn(move || one.stop(grace))));
        });
    }
}

/// Finds everything that would keep [`Feeds::open`] from opening.
///
/// # Errors
///
/// All that is wrong, together.
pub(crate) fn check(
    config: &Config,
    plugins: Arc<WasmPlugins>,
    logger: Arc<dyn Logger>,
) -> Result<(), Error> {
    if config.outboxes.is_empty() && config.feeds.is_empty() {
        return Ok(());
    }
    let ends = Ends::new(config, plugins, logger, Arc::new(NoHooks))?;
    check_all(config, &ends)
}

fn check_all(config: &Config, ends: &Ends) -> Result<(), Error> {
    let instances = config.outboxes.iter().map(|outbox| &outbox.instance);
    let instances = instances.chain(config.feeds.iter().map(|feed| &feed.instance));
    let mut problems: Vec<SinkProblem> =
        instances.filter_map(|instance| ends.check(instance).err()).collect();
    problems.extend(config.outboxes.iter().filter_map(|outbox| check_database(outbox).err()));
    for feed in &config.feeds {
        problems.extend(artifacts(feed).err());
        let secrets = feed.artifacts.iter().flat_map(|store| &store.secrets);
        problems.extend(secrets.filter_map(|(_, secret)| read(&feed.instance, secret).err()));
    }
    if problems.is_empty() { Ok(()) } else { Err(OpenError::Sinks(problems).into()) }
}

/// What can be said of an outbox's database without reaching it.
fn check_database(of: &OutboxConfig) -> Result<(), SinkProblem> {
    let DatabaseConfig::Postgres { url, password } = &of.database else { return Ok(()) };
    PostgresOutbox::check(url).map_err(|error| refused(&of.instance, error.0.to_string()))?;
    password.as_ref().map_or(Ok(()), |password| read(&of.instance, password))
}

/// Whether a secret can be read.
fn read(of: &PluginConfig, secret: &SecretConfig) -> Result<(), SinkProblem> {
    let read = Secret::new(secret.clone()).get();
    read.map(drop).map_err(|source| SinkProblem::Secret { place: of.called(), source })
}

fn refused(of: &PluginConfig, reason: String) -> SinkProblem {
    SinkProblem::Refused { place: of.called(), reason }
}

/// How the feeds of a configuration are doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedsStatus {
    /// Outboxes that are published.
    pub outboxes: Vec<OutboxStatus>,
    /// Feeds that are applied.
    pub feeds: Vec<FeedStatus>,
}

/// How an outbox is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Its name.
    pub name: String,
    /// The feed sink.
    pub plugin: String,
    /// Events that were published since the start.
    pub published: u64,
    /// Attempts in vain since the start.
    pub failed: u64,
    /// Events to be published.
    pub pending: u64,
    /// Events that are not tried any more.
    pub dead: u64,
    /// What is in the way, if anything is.
    pub problem: Option<String>,
}

/// How a feed is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FeedStatus {
    /// Its name.
    pub name: String,
    /// The feed source.
    pub plugin: String,
    /// The control version up to which everything was applied.
    pub cursor: u64,
    /// Events that were applied since the start.
    pub applied: u64,
    /// Events that had been applied before, at another place.
    pub known: u64,
    /// Events that were skipped.
    pub skipped: u64,
    /// What halts it, if anything does.
    pub halted: Option<HaltedStatus>,
    /// What is in the way, if anything is.
    pub problem: Option<String>,
}

/// The event that halts a feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HaltedStatus {
    /// Its id.
    pub event_id: String,
    /// Its control version.
    pub version: u64,
    /// Why it can't be applied.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Why it is to be skipped, where somebody has asked for that.
    pub skip: Option<String>,
}

fn outbox_status(of: &OutboxConfig, state: PumpState) -> OutboxStatus {
    OutboxStatus {
        name: of.instance.name.clone(),
        plugin: of.instance.plugin.to_string(),
        published: state.published,
        failed: state.failed,
        pending: state.outbox.pending,
        dead: state.outbox.dead,
        problem: state.problem,
    }
}

fn feed_status(of: &FeedConfig, state: FollowerState) -> FeedStatus {
    let FollowerState { applied, known, skipped, feed, problem } = state;
    let skip = feed.skip;
    let halted = feed.halted.map(|halted| HaltedStatus {
        skip: skip.filter(|(version, _)| *version == halted.version).map(|(_, reason)| reason),
        event_id: halted.event_id,
        version: halted.version,
        reason: halted.reason,
        since: halted.since,
    });
    FeedStatus {
        name: of.instance.name.clone(),
        plugin: of.instance.plugin.to_string(),
        cursor: feed.cursor,
        applied,
        known,
        skipped,
        halted,
        problem,
    }
}

/// The state of a feed as its database has it, whoever applies it; `None` where there is no database
/// yet.
///
/// # Errors
///
/// What the database says.
pub fn read_feed(of: &FeedConfig) -> Result<Option<FeedStatus>, StoreError> {
    let Some(mut store) = open_store(of)? else { return Ok(None) };
    let feed = store.status()?;
    Ok(Some(feed_status(of, FollowerState { feed, ..FollowerState::default() })))
}

/// The database of a feed, to ask and to mend; `None` where there is none yet.
///
/// # Errors
///
/// What the database says.
pub fn open_store(of: &FeedConfig) -> Result<Option<SqliteStore>, StoreError> {
    if !of.database.exists() {
        return Ok(None);
    }
    SqliteStore::open(&of.database, &of.instance.name).map(Some)
}

/// The state of an outbox as its database has it, whoever publishes it; `None` where there is no
/// database yet.
///
/// # Errors
///
/// What the database says.
pub fn read_outbox(of: &OutboxConfig) -> Result<Option<OutboxStatus>, OutboxError> {
    let Some(mut outbox) = open_outbox(of)? else { return Ok(None) };
    let outbox = outbox.state()?;
    let problem = outbox
        .waiting
        .as_ref()
        .map(|waiting| format!("event `{}` is not published: {}", waiting.event_id, waiting.error));
    Ok(Some(outbox_status(of, PumpState { outbox, problem, ..PumpState::default() })))
}

/// The database of an outbox, to look at dead letters and to revive them; `None` where there is none
/// yet.
///
/// # Errors
///
/// What the database says.
pub fn open_outbox(of: &OutboxConfig) -> Result<Option<Box<dyn Outbox>>, OutboxError> {
    match &of.database {
        DatabaseConfig::Sqlite(path) if !path.exists() => Ok(None),
        _ => connect(of).map(Some),
    }
}

fn connect(of: &OutboxConfig) -> Result<Box<dyn Outbox>, OutboxError> {
    match &of.database {
        DatabaseConfig::Sqlite(path) => {
            // Its producer makes it, with rights of its own; and a name that is wrong is not an
            // outbox with nothing in it.
            if !path.exists() {
                let missing = format!("there is no database `{}` yet", path.display());
                return Err(OutboxError(missing.into()));
            }
            Ok(Box::new(SqliteOutbox::open(path)?))
        }
        DatabaseConfig::Postgres { url, password: None } => {
            Ok(Box::new(PostgresOutbox::connect(url)?))
        }
        DatabaseConfig::Postgres { url, password: Some(password) } => {
            let password = Secret::new(password.clone()).get();
            let password = password.map_err(|error| OutboxError(error.into()))?;
            Ok(Box::new(PostgresOutbox::connect_with(url, password.expose())?))
        }
        _ => Err(OutboxError("this kind of database is not known here".into())),
    }
}

/// Makes a file where there is none, and the directory that it is to be in: readable by nobody else,
/// as all that wasink makes. SQLite takes an empty file for a new database, and gives those beside it
/// the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        wasink_chassis::open_private(parent)?;
    }
    let mut new = std::fs::File::options();
    new.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    match new.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn start_pump(
    of: &OutboxConfig,
    ends: &Ends,
    logger: &Arc<dyn Logger>,
    hooks: &Arc<dyn Hooks>,
) -> std::io::Result<Pump> {
    let mut options = PumpOptions::default();
    options.period = of.period;
    options.batch = usize::try_from(of.batch.get()).unwrap_or(usize::MAX);
    options.attempts = of.attempts;
    options.keep = of.keep;
    options.order = match of.order {
        Order::Held => outbox::Order::Held,
        Order::Relaxed => outbox::Order::Relaxed,
    };
    let (of, ends, hooks) = (of.clone(), ends.clone(), hooks.clone());
    let logger = Named::around(logger, &of.instance);
    let open = move || {
        let outbox = connect(&of).map_err(|error| error.to_string())?;
        let sink = ends.sink(&of.instance).map_err(|problem| problem.to_string())?;
        let publisher = Publisher::new(outbox, sink, options, Arc::new(SystemClock));
        Ok(publisher.hooked(&of.instance.name, hooks.clone()))
    };
    Pump::start_with(open, options.period, logger)
}

fn start_follower(
    of: &FeedConfig,
    ends: &Ends,
    logger: &Arc<dyn Logger>,
    hooks: &Arc<dyn Hooks>,
) -> std::io::Result<Follower> {
    let mut options = ApplierOptions::default();
    options.batch = of.batch.get();
    options.wait = of.wait;
    options.keep = of.keep;
    let (of, ends, hooks, period) = (of.clone(), ends.clone(), hooks.clone(), of.period);
    let logger = Named::around(logger, &of.instance);
    let log = logger.clone();
    let open = move || {
        make_private(&of.database).map_err(|error| format!("the database: {error}"))?;
        let store = SqliteStore::open(&of.database, &of.instance.name)
            .map_err(|error| error.to_string())?;
        Rows::prepare(store.connection()).map_err(|error| error.to_string())?;
        let rows = Rows::new(&of.db, of.tables.iter().cloned(), Box::new(SystemClock));
        let artifacts = artifacts(&of).map_err(|problem| problem.to_string())?;
        let source = ends.source(&of.instance).map_err(|problem| problem.to_string())?;
        let clock = Arc::new(SystemClock);
        let rows = Box::new(rows);
        let applier = Applier::new(source, store, rows, artifacts, options, clock, log.clone());
        Ok(applier.hooked(&of.instance.name, hooks.clone()))
    };
    Follower::start_with(open, period, logger)
}

/// The store of a feed's artifacts. Nothing is asked of a server yet.
fn artifacts(of: &FeedConfig) -> Result<Option<Box<dyn Artifacts>>, SinkProblem> {
    let Some(config) = &of.artifacts else { return Ok(None) };
    let mut options = StoreOptions::new(&config.url);
    options.limit = config.size;
    options.timeout = config.timeout;
    options.settings = config.settings.iter().cloned().collect();
    let secrets = config.secrets.iter();
    let secrets = secrets.map(|(name, secret)| (name.clone(), Secret::new(secret.clone())));
    options.secrets = secrets.collect();
    let store = ArtifactStore::open(&options);
    let store = store.map_err(|error| refused(&of.instance, error.to_string()))?;
    Ok(Some(Box::new(store)))
}

/// Says with each line which outbox or feed it is about.
struct Named {
    logger: Arc<dyn Logger>,
    role: &'static str,
    name: String,
}

impl Named {
    fn around(logger: &Arc<dyn Logger>, of: &PluginConfig) -> Arc<dyn Logger> {
        let (role, name) = (of.role.as_str(), of.name.clone());
        Arc::new(Self { logger: logger.clone(), role, name })
    }
}

impl Logger for Named {
    fn log(&self, line: &Line<'_>) {
        let name = (self.role.to_owned(), self.name.as_str().into());
        let fields: Vec<_> = std::iter::once(name).chain(line.fields.iter().cloned()).collect();
        self.logger.log(&Line { fields: &fields, ..*line });
    }

    fn enabled(&self, level: Level) -> bool {
        self.logger.enabled(level)
    }
}
