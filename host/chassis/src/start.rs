//! From a configuration to a chassis at work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use wasink_journal::{Directory, Durability, Log, LogOptions, Recovered, Writer};
use wasink_record::{IdSource, Stream, Timestamp};

use crate::chassis::{Chassis, Door, KnownLog, Parts};
use crate::config::{
    Config, ConfigErrors, Credential, GrantsConfig, OnOpenFailure, PluginConfig, PluginName,
    SecretConfig, SinkConfig, check_asks, check_settings,
};
use crate::delivery::Charge;
use crate::directory::open_private;
use crate::error::{OpenError, SinkProblem};
use crate::hooks::Hooks;
use crate::intake::{self, Intake};
use crate::limits::LimitCounts;
use crate::logger::{Level, Line, Logger};
use crate::plugin::{
    Demands, Description, Grants, OpenRequest, Origin, Plugin, PluginError, SinkPlugin,
};
use crate::secret::Secret;
use crate::sink::{OpenedPlugin, Sink, lanes, start_sink};
use crate::swap::{Reports, Swaps, Versions};

/// The journal of a stream, opened.
struct Opening {
    log: Log,
    writer: Writer,
    beginning: u64,
}

/// A sink whose plugin has been opened, or could not be.
struct Opened<'a> {
    config: &'a SinkConfig,
    request: OpenRequest,
    result: OpenedPlugin,
}

/// All sinks, and what was decided about their plugins.
struct OpenedSinks<'a> {
    sinks: Vec<Opened<'a>>,
    charges: BTreeMap<PluginName, Option<Arc<dyn Plugin>>>,
    /// What the plugin directories had.
    seen: BTreeMap<PluginName, String>,
}

/// See [`Chassis::open`].
pub(crate) fn open(config: &Config, parts: &Parts) -> Result<Chassis, OpenError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| OpenError::System(error.into()))?;
    let (seed, epoch) = random.split_at(8);
    let seed = seed.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
    let ids = Arc::new(IdSource::new(seed));
    let epoch = self::epoch(&ids, parts.clock.now(), epoch);
    check_names(config, parts)?;
    // Before the sinks: two processes must not have one data directory.
    let journals = open_journals(config, parts)?;
    let versions = open_versions(config, parts);
    let opened = open_sinks(config, parts, &epoch, &versions)?;
    start(config, parts, epoch, &ids, journals, versions, opened)
}

fn open_versions(config: &Config, parts: &Parts) -> Versions {
    let keep = usize::try_from(config.swap.keep).unwrap_or(usize::MAX);
    let (versions, complaints) = Versions::open(&config.versions_dir(), keep);
    for complaint in complaints {
        parts.logger.log(&Line {
            level: Level::Error,
            sink: None,
            message: "the record of plugins' versions is damaged",
            fields: &[("reason".to_owned(), complaint.into())],
        });
    }
    versions
}

/// Finds everything that would keep [`Chassis::open`] from opening, short of opening a sink: plugins
/// are loaded and asked to describe themselves, settings are checked, nothing is made on disk.
///
/// # Errors
///
/// All that is wrong, together. A sink that may be left out when it does not open counts as well.
pub fn check(config: &Config, parts: &Parts) -> Result<(), OpenError> {
    check_names(config, parts)?;
    let check = |sink| check_sink(sink, parts).err();
    let problems: Vec<_> = config.sinks.iter().filter_map(check).collect();
    if problems.is_empty() { Ok(()) } else { Err(OpenError::Sinks(problems)) }
}

/// Whether there are the plugins that are named. Where not, the sinks of the others are checked all
/// the same, so that all that is wrong is told together.
fn check_names(config: &Config, parts: &Parts) -> Result<(), OpenError> {
    let known = parts.plugins.names();
    let names: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    let Err(errors) = ConfigErrors::check(config.check_plugins(&names)) else { return Ok(()) };
    let named = config.sinks.iter().filter(|sink| known.contains(&sink.plugin));
    let problems: Vec<_> = named.filter_map(|sink| check_sink(sink, parts).err()).collect();
    if problems.is_empty() {
        return Err(OpenError::Config(errors));
    }
    let names = [SinkProblem::Settings(errors)];
    Err(OpenError::Sinks(names.into_iter().chain(problems).collect()))
}

/// Whether the sink's plugin is there, takes its streams and accepts its settings.
fn check_sink(sink: &SinkConfig, parts: &Parts) -> Result<(), SinkProblem> {
    let loaded = parts.plugins.load(&sink.plugin, &Origin::Directory, &demands([&**sink]));
    let plugin = loaded.map_err(|error| SinkProblem::plugin(sink, error))?;
    check_description(sink, &plugin.description())?;
    check_secrets(sink)
}

/// Whether everything that an instance is granted of secrets can be read.
pub(crate) fn check_secrets(of: &PluginConfig) -> Result<(), SinkProblem> {
    credentials(of).map(drop)?;
    secrets(of, &of.grants.secrets).map(drop)
}

/// Whether a plugin that describes itself so takes the sink's streams and accepts its settings.
pub(crate) fn check_description(
    sink: &SinkConfig,
    description: &Description,
) -> Result<(), SinkProblem> {
    for stream in &sink.streams {
        if !description.streams.contains(stream) {
            return Err(SinkProblem::stream(sink, *stream, &description.streams));
        }
    }
    check_described(sink, description)
}

/// Whether a plugin that describes itself so takes the settings, and is granted what it needs.
pub(crate) fn check_described(
    of: &PluginConfig,
    description: &Description,
) -> Result<(), SinkProblem> {
    if let Some(schema) = &description.settings_schema {
        check_settings(schema, of).or_else(ConfigErrors::check).map_err(SinkProblem::Settings)?;
    }
    check_asks(&description.asks, of).or_else(ConfigErrors::check).map_err(SinkProblem::Settings)
}

/// What these sinks ask of the bytes of their plugin.
pub(crate) fn demands<'a>(sinks: impl IntoIterator<Item = &'a PluginConfig>) -> Demands {
    let pin = |sink: &PluginConfig| Some((sink.digest.clone()?, sink.digest_key()));
    Demands { pins: sinks.into_iter().filter_map(pin).collect() }
}

/// Opens all sinks, so that all that is wrong is told together.
fn open_sinks<'a>(
    config: &'a Config,
    parts: &Parts,
    epoch: &str,
    versions: &Versions,
) -> Result<OpenedSinks<'a>, OpenError> {
    let mut opened: BTreeMap<&str, Opened<'a>> = BTreeMap::new();
    let (mut charges, mut seen) = (BTreeMap::new(), BTreeMap::new());
    let names: BTreeSet<&PluginName> = config.sinks.iter().map(|sink| &sink.plugin).collect();
    for name in names {
        let sinks: Vec<_> = config.sinks.iter().filter(|sink| sink.plugin == *name).collect();
        let found = parts.plugins.digest(name).ok();
        let mut last: Option<Vec<_>> = None;
        for origin in origins(name, found.as_deref(), versions) {
            let tried = open_at(config, parts, epoch, &sinks, &origin);
            let good = tried.iter().all(|one| one.result.is_ok());
            if let (true, Origin::Stored(digest), Some(tried)) = (good, &origin, &last) {
                tell_fallen_back(parts, name, digest, tried);
            }
            if good || last.is_none() {
                last = Some(tried);
            }
            if good {
                break;
            }
        }
        let last = last.unwrap_or_default();
        let charge = last.iter().find_map(|one| one.result.as_ref().ok());
        charges.insert(name.clone(), charge.map(|(plugin, _)| plugin.clone()));
        seen.extend(found.map(|found| (name.clone(), found)));
        opened.extend(last.into_iter().map(|one| (one.config.name.as_str(), one)));
    }
    let mut problems = Vec::new();
    let mut sinks = Vec::new();
    for sink in &config.sinks {
        let Some(one) = opened.remove(sink.name.as_str()) else { continue };
        match (one.result, sink.on_open_failure) {
            (Err(problem), OnOpenFailure::Refuse) => problems.push(problem),
            (result, _) => sinks.push(Opened { result, ..one }),
        }
    }
    if problems.is_empty() {
        Ok(OpenedSinks { sinks, charges, seen })
    } else {
        Err(OpenError::Sinks(problems))
    }
}

/// Where the version that is to be in charge is taken from, in order: the version that was in
/// charge, where the plugin directory still has what was decided about; or else what is in the
/// directory, and, where that does not open, the version that was in charge.
fn origins(name: &PluginName, found: Option<&str>, versions: &Versions) -> Vec<Origin> {
    let Some(known) = versions.of(name.as_str()).filter(|known| !known.charge.is_empty()) else {
        return vec![Origin::Directory];
    };
    let stored = Origin::Stored(known.charge.clone());
    if found == Some(known.charge.as_str()) {
        vec![Origin::Directory]
    } else if found.is_some() && found == known.seen.as_deref() {
        vec![stored, Origin::Directory]
    } else {
        vec![Origin::Directory, stored]
    }
}

fn tell_fallen_back(parts: &Parts, name: &PluginName, digest: &str, tried: &[Opened<'_>]) {
    let problem = tried.iter().find_map(|one| one.result.as_ref().err());
    let reason = problem.map(ToString::to_string).unwrap_or_default();
    parts.logger.log(&Line {
        level: Level::Error,
        sink: None,
        message: "what the plugin directory has does not open; the version that was in charge \
                  before goes on",
        fields: &[
            ("plugin".to_owned(), name.as_str().into()),
            ("digest".to_owned(), digest.into()),
            ("reason".to_owned(), reason.into()),
        ],
    });
}

/// Opens the sinks of one plugin with one version of it.
fn open_at<'a>(
    config: &Config,
    parts: &Parts,
    epoch: &str,
    sinks: &[&'a SinkConfig],
    origin: &Origin,
) -> Vec<Opened<'a>> {
    // Read and digested once for all of them.
    let mut loaded: Option<Arc<dyn Plugin>> = None;
    let open = |sink: &&'a SinkConfig| {
        let mut request = request(&config.node_id, sink, &parts.logger, &parts.hooks, epoch);
        let result = grants(sink).and_then(|grants| {
            request.grants = grants;
            let plugin = match &loaded {
                Some(plugin) => plugin.clone(),
                None => {
                    let demands = demands(sinks.iter().map(|sink| &sink.instance));
                    let plugin = parts.plugins.load(&sink.plugin, origin, &demands);
                    plugin.map_err(|error| SinkProblem::plugin(sink, error))?
                }
            };
            loaded = Some(plugin.clone());
            check_description(sink, &plugin.description())?;
            let charge = Charge { plugin: plugin.clone(), request: request.clone() };
            let opened = charge.open().map_err(|error| SinkProblem::plugin(sink, error))?;
            Ok((plugin, opened))
        });
        Opened { config: sink, request, result }
    };
    sinks.iter().map(open).collect()
}

/// What a sink's plugin may reach, opened and read.
pub(crate) fn grants(sink: &PluginConfig) -> Result<Grants, SinkProblem> {
    let GrantsConfig { directory, stderr, log, environment, tcp, http, .. } = &sink.grants;
    let directory = directory.as_ref().map(|path| {
        let problem = |error| SinkProblem::directory(sink, path, error);
        open_private(path).map(Arc::new).map_err(problem)
    });
    let variable = |name: &String| Some((name.clone(), std::env::var(name).ok()?));
    Ok(Grants {
        directory: directory.transpose()?,
        stderr: *stderr,
        log: *log,
        environment: environment.iter().filter_map(variable).collect(),
        secrets: secrets(sink, &sink.grants.secrets)?,
        credentials: credentials(sink)?,
        tcp: tcp.clone(),
        http: http.clone(),
    })
}

/// Secrets of a sink, each read once, so that one that can't be read is told of at once.
fn secrets<'a>(
    sink: &PluginConfig,
    secrets: impl IntoIterator<Item = &'a SecretConfig>,
) -> Result<Vec<Secret>, SinkProblem> {
    let problem = |source| SinkProblem::Secret { place: sink.called(), source };
    let secrets = secrets.into_iter().map(|config| {
        let secret = Secret::new(config.clone());
        secret.get().map_err(problem)?;
        Ok(secret)
    });
    secrets.collect()
}

/// The secrets that are put on a sink's requests.
fn credentials(sink: &PluginConfig) -> Result<Vec<Secret>, SinkProblem> {
    let named = sink.grants.http.iter().flat_map(|grant| {
        let credential = grant.credential.as_ref().map(Credential::secret);
        credential.into_iter().chain(&grant.signature)
    });
    secrets(sink, named)
}

/// What an instance is opened with, but for what it is granted.
pub(crate) fn request(
    node_id: &str,
    of: &PluginConfig,
    logger: &Arc<dyn Logger>,
    hooks: &Arc<dyn Hooks>,
    epoch: &str,
) -> OpenRequest {
    OpenRequest {
        plugin: of.plugin.clone(),
        name: of.name.clone(),
        node_id: node_id.to_owned(),
        epoch: epoch.to_owned(),
        demands: demands([of]),
        settings: serde_json::Value::Object(of.settings.clone()).to_string(),
        timeout: of.timeout,
        grants: Grants::default(),
        limits: of.limits,
        reached: LimitCounts::new(&of.name, hooks.clone()),
        logger: logger.clone(),
    }
}

/// The name of a start: no other has the same.
pub(crate) fn epoch(ids: &IdSource, now: Timestamp, random: &[u8]) -> String {
    let random: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{random}", ids.next(now))
}

/// Opens one sink with the version of its plugin that a start would put in charge.
pub(crate) fn open_sink(
    config: &Config,
    sink: &SinkConfig,
    parts: &Parts,
    epoch: &str,
) -> Result<(Charge, Box<dyn SinkPlugin>), SinkProblem> {
    let versions = open_versions(config, parts);
    let found = parts.plugins.digest(&sink.plugin).ok();
    let mut problem = None;
    for origin in origins(&sink.plugin, found.as_deref(), &versions) {
        for one in open_at(config, parts, epoch, &[sink], &origin) {
            match one.result {
                Ok((plugin, opened)) => {
                    return Ok((Charge { plugin, request: one.request }, opened));
                }
                Err(error) => drop(problem.get_or_insert(error)),
            }
        }
    }
    let unknown =
        || PluginError::Unknown { name: sink.plugin.to_string(), known: parts.plugins.names() };
    Err(problem.unwrap_or_else(|| SinkProblem::plugin(sink, unknown())))
}

/// What a sink that is new in a chassis at work would be started with: the version that is in charge
/// of its plugin, where there is one, or that which a start would put in charge. Nothing is opened.
pub(crate) fn prepare(
    config: &Config,
    sink: &SinkConfig,
    parts: &Parts,
    epoch: &str,
    present: Option<Arc<dyn Plugin>>,
) -> Result<Charge, SinkProblem> {
    let demands = demands([&**sink]);
    let plugin = match present {
        Some(plugin) => match demands.refusal(&plugin.version().digest) {
            None => plugin,
            Some(reason) => {
                let (name, origin) = (sink.plugin.clone(), "the version in charge".to_owned());
                let error = PluginError::Unusable { name, origin, reason };
                return Err(SinkProblem::plugin(sink, error));
            }
        },
        None => {
            let versions = open_versions(config, parts);
            let found = parts.plugins.digest(&sink.plugin).ok();
            let mut loaded = origins(&sink.plugin, found.as_deref(), &versions)
                .into_iter()
                .map(|origin| parts.plugins.load(&sink.plugin, &origin, &demands));
            let first = loaded.next().unwrap_or_else(|| {
                let known = parts.plugins.names();
                Err(PluginError::Unknown { name: sink.plugin.to_string(), known })
            });
            let or_else = |error| loaded.find_map(Result::ok).ok_or(error);
            first.or_else(or_else).map_err(|error| SinkProblem::plugin(sink, error))?
        }
    };
    check_description(sink, &plugin.description())?;
    let mut request = request(&config.node_id, sink, &parts.logger, &parts.hooks, epoch);
    request.grants = grants(sink)?;
    Ok(Charge { plugin, request })
}

/// Opens the journals of the streams that somebody takes.
fn open_journals(config: &Config, parts: &Parts) -> Result<BTreeMap<Stream, Opening>, OpenError> {
    let source: Arc<str> = format!("wasink/{}", config.node_id).into();
    let mut journals = BTreeMap::new();
    for stream in Stream::ALL {
        let taken = config.sinks.iter().any(|sink| sink.streams.contains(&stream));
        let Some(journal) = config.journal(stream).filter(|_| taken) else { continue };
        let options = LogOptions {
            stream,
            source: source.clone(),
            durability: journal.durability,
            bytes: journal.bytes.get(),
            segment_bytes: journal.segment.get(),
            memory: config.queue.bytes.get(),
        };
        if journal.durability == Durability::Memory {
            // Positions only ever grow, also from one start to the next: plugins rely on it.
            let beginning = u64::try_from(parts.clock.now().unix_nanos() / 1000).unwrap_or(0);
            let options = LogOptions { bytes: config.queue.bytes.get(), ..options };
            let (log, writer) = Log::in_memory(options, beginning);
            journals.insert(stream, Opening { log, writer, beginning });
            continue;
        }
        let problem = |source| OpenError::Journal { directory: journal.directory.clone(), source };
        let directory = open_private(&journal.directory).map_err(|error| problem(error.into()))?;
        let storage = Arc::new(Directory::new(directory));
        let (log, writer, recovered) = Log::open(storage, options).map_err(problem)?;
        tell_recovered(stream, &recovered, parts);
        journals.insert(stream, Opening { log, writer, beginning: 0 });
    }
    Ok(journals)
}

/// Says what a journal was found to hold, where there is something to say.
fn tell_recovered(stream: Stream, recovered: &Recovered, parts: &Parts) {
    let say = |level, message, fields: &[(&str, u64)]| {
        let name = ("stream".to_owned(), stream.as_str().into());
        let fields = fields.iter().map(|(key, count)| ((*key).to_owned(), (*count).into()));
        let fields: Vec<_> = std::iter::once(name).chain(fields).collect();
        parts.logger.log(&Line { level, sink: None, message, fields: &fields });
    };
    for (sink, pending) in recovered.pending.iter().filter(|(_, pending)| *pending > 0) {
        parts.logger.log(&Line {
            level: Level::Info,
            sink: Some(sink),
            message: "going on with records from before",
            fields: &[
                ("stream".to_owned(), stream.as_str().into()),
                ("records".to_owned(), (*pending).into()),
            ],
        });
    }
    if recovered.unfinished {
        let message = "the last write was not finished; nobody was told that it was";
        say(Level::Info, message, &[]);
    }
    if recovered.damaged_bytes > 0 {
        let message = "the journal's end is damaged; what is left of it is beside it, in files \
                       named `quarantine-`";
        say(Level::Error, message, &[("bytes", recovered.damaged_bytes)]);
    }
    if recovered.damaged_lines > 0 {
        let message = "notes of what became of records are damaged: those records come again";
        say(Level::Error, message, &[("notes", recovered.damaged_lines)]);
    }
}

/// Opens the doors of the streams that somebody takes, and starts the sinks.
fn start(
    config: &Config,
    parts: &Parts,
    epoch: String,
    ids: &Arc<IdSource>,
    mut journals: BTreeMap<Stream, Opening>,
    versions: Versions,
    opened: OpenedSinks<'_>,
) -> Result<Chassis, OpenError> {
    let OpenedSinks { sinks: opened, charges, seen } = opened;
    let used: Vec<_> = charges.keys().cloned().collect();
    let swaps = Swaps::new(parts.clone(), config.swap, versions);
    let told = Arc::downgrade(&swaps);
    let reports: Reports = Arc::new(move |report| {
        if let Some(swaps) = told.upgrade() {
            swaps.report(report);
        }
    });
    let mut chassis = Chassis {
        epoch,
        doors: BTreeMap::new(),
        logs: BTreeMap::new(),
        sinks: RwLock::new(Vec::new()),
        config: Mutex::new(config.clone()),
        parts: parts.clone(),
        reports,
        swaps: swaps.clone(),
        watcher: Mutex::new(None),
        watching: AtomicBool::new(false),
        logger: parts.logger.clone(),
        closed: AtomicBool::new(false),
    };
    let log = |(stream, opening): (&Stream, &Opening)| {
        (*stream, KnownLog { log: opening.log.clone(), beginning: opening.beginning })
    };
    let logs: BTreeMap<_, _> = journals.iter().map(log).collect();
    // Every lane is there before the first record is.
    let mut places = Vec::new();
    for Opened { config: sink, request, result } in opened {
        let lanes = lanes(sink, &logs).map_err(|problem| OpenError::Sinks(vec![problem]))?;
        places.push((sink, request, result, lanes));
    }
    chassis.logs = logs;
    for (stream, Opening { log, writer, beginning }) in std::mem::take(&mut journals) {
        tell_orphans(stream, &log, parts);
        let Some(journal) = config.journal(stream) else { continue };
        let options = intake::Options {
            queue: config.queue.records,
            waiting: config.queue.bytes.get(),
            record: usize::try_from(journal.record.get()).unwrap_or(usize::MAX),
            window: journal.window,
            ids: ids.clone(),
            clock: parts.clock.clone(),
            logger: parts.logger.clone(),
        };
        let (intake, mover) =
            Intake::open(writer, beginning, options).map_err(OpenError::System)?;
        let mover = Mutex::new(Some(mover));
        chassis.doors.insert(stream, Door { intake, mover });
    }
    let mut sinks = Vec::new();
    for (sink, request, result, lanes) in places {
        let started = start_sink(sink, &request, result, lanes, parts, &chassis.reports);
        sinks.push(Arc::new(started.map_err(OpenError::System)?));
    }
    swaps.set_sites(sinks.iter().map(|sink: &Arc<Sink>| sink.site.clone()).collect(), charges);
    chassis.sinks = RwLock::new(sinks);
    for name in &used {
        swaps.started(name, seen.get(name).map(String::as_str));
    }
    Ok(chassis)
}

/// Says which records nobody is there for any more.
fn tell_orphans(stream: Stream, log: &Log, parts: &Parts) {
    for (sink, records) in log.orphans().into_iter().filter(|(_, records)| *records > 0) {
        parts.logger.log(&Line {
            level: Level::Warn,
            sink: Some(&sink),
            message: "this sink is not configured any more, and has records that are not \
                      delivered; they are kept until their room is needed",
            fields: &[
                ("stream".to_owned(), stream.as_str().into()),
                ("records".to_owned(), records.into()),
            ],
        });
    }
}
