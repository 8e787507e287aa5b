//! Who decides: one table of all plugins in use, and the steps that lead from version to version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wasink_record::Timestamp;

use super::board::{Board, Entry};
use super::stage::{Event, Operation, PluginState, Stage, Step, SwapError, Swapped, Target};
use super::versions::Versions;
use crate::actor::Actor;
use crate::chassis::Parts;
use crate::config::{PluginName, SinkConfig, SwapConfig};
use crate::delivery::Charge;
use crate::directory::open_private;
use crate::error::SinkProblem;
use crate::limits::LimitCounts;
use crate::logger::{Level, Line};
use crate::plugin::{Demands, OpenRequest, Origin, Plugin, PluginError, PluginVersion, Sighting};
use crate::start::{self, check_description};

/// A sink, as far as exchanges concern it.
pub(crate) struct Site {
    pub(crate) config: SinkConfig,
    pub(crate) reached: LimitCounts,
    pub(crate) actor: Arc<Actor>,
    /// What its plugin is opened with; without its grants where those could not be had.
    request: Mutex<(OpenRequest, Granted)>,
}

/// Whether what a sink is granted was there: its directory, its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Granted {
    Yes,
    No,
}

impl Site {
    pub(crate) fn new(
        config: SinkConfig,
        request: OpenRequest,
        granted: Granted,
        actor: Arc<Actor>,
    ) -> Self {
        let reached = request.reached.clone();
        Self { config, reached, actor, request: Mutex::new((request, granted)) }
    }

    /// What its plugin is opened with. Where its grants could not be had before they are looked for
    /// now, which may block.
    pub(crate) fn prepare(&self) -> Result<OpenRequest, SinkProblem> {
        if let Some(request) = self.prepared() {
            return Ok(request);
        }
        let grants = start::grants(&self.config)?;
        let mut place = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        place.0.grants = grants;
        place.1 = Granted::Yes;
        Ok(place.0.clone())
    }

    /// The same as far as is known; `None` where its grants are not.
    pub(crate) fn prepared(&self) -> Option<OpenRequest> {
        let place = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        let (request, granted) = &*place;
        (*granted == Granted::Yes).then(|| request.clone())
    }

    /// The same, with grants or without.
    pub(crate) fn request(&self) -> OpenRequest {
        self.request.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// All plugins in use.
pub(crate) struct Swaps {
    pub(super) parts: Parts,
    /// Where plugins are tried.
    pub(super) scratch: PathBuf,
    pub(super) board: Mutex<Board>,
    pub(super) changed: Condvar,
}

impl Swaps {
    pub(crate) fn new(parts: Parts, config: SwapConfig, versions: Versions) -> Arc<Self> {
        let scratch = versions.directory().join("rehearsal");
        let board = Board {
            versions,
            sites: Vec::new(),
            config,
            plugins: BTreeMap::new(),
            tickets: 0,
            operations: 0,
            closed: false,
        };
        Arc::new(Self { parts, scratch, board: Mutex::new(board), changed: Condvar::new() })
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The sinks there are from now on, and the versions in charge of plugins that are new.
    pub(crate) fn set_sites(
        &self,
        sites: Vec<Arc<Site>>,
        charges: BTreeMap<PluginName, Option<Arc<dyn Plugin>>>,
    ) {
        let mut board = self.board();
        board.plugins.retain(|name, _| sites.iter().any(|site| site.config.plugin == *name));
        for (name, charge) in charges {
            board.plugins.entry(name).or_insert_with(|| Entry::new(charge));
        }
        // A sink that was started anew has no version to go back to.
        let before = std::mem::replace(&mut board.sites, sites.clone());
        let same = |sink: &String| {
            let of = |sites: &[Arc<Site>]| {
                sites.iter().find(|site| site.config.name == *sink).map(Arc::as_ptr)
            };
            of(&before).is_some() && of(&before) == of(&sites)
        };
        for entry in board.plugins.values_mut() {
            entry.probation.retain(same);
        }
    }

    pub(crate) fn set_config(&self, config: SwapConfig) {
        self.board().config = config;
    }

    pub(crate) fn grace(&self) -> Duration {
        self.board().config.grace
    }

    /// The version in charge of a plugin.
    pub(crate) fn charge(&self, name: &PluginName) -> Option<Arc<dyn Plugin>> {
        self.board().plugins.get(name)?.charge.clone()
    }

    /// Keeps these plugins from being exchanged while the configuration changes.
    pub(crate) fn begin_reload(&self, names: &[PluginName]) -> Result<(), SwapError> {
        for (index, name) in names.iter().enumerate() {
            match self.ask(name.as_str(), "a new configuration") {
                // One that no sink uses yet.
                Ok(_) | Err(SwapError::Unused { .. }) => {}
                Err(error) => {
                    self.end_reload(names.get(..index).unwrap_or_default());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn end_reload(&self, names: &[PluginName]) {
        let mut board = self.board();
        for name in names {
            let Some(entry) = board.plugins.get_mut(name) else { continue };
            let probation = !entry.probation.is_empty();
            entry.step(Step::Refused { probation });
        }
        self.changed.notify_all();
    }

    /// Takes note of what is in charge at the start.
    pub(crate) fn started(&self, name: &PluginName, seen: Option<&str>) {
        let now = self.now();
        let mut board = self.board();
        let charge = board.plugins.get(name).and_then(|entry| entry.charge.clone());
        if let Some(plugin) = charge {
            let stored = plugin.store();
            let mut take_over = || board.versions.take_over(name.as_str(), &plugin.version(), now);
            self.complain(&stored.and_then(|()| take_over()));
        }
        if let Some(seen) = seen {
            let written = board.versions.see(name.as_str(), seen);
            self.complain(&written);
        }
    }

    /// Nothing more is begun, and whoever waits is told.
    pub(crate) fn close(&self) {
        self.board().closed = true;
        self.changed.notify_all();
    }

    /// The plugins in use.
    pub(crate) fn names(&self) -> Vec<PluginName> {
        self.board().plugins.keys().cloned().collect()
    }

    pub(crate) fn sighting(&self, name: &PluginName) -> Option<Sighting> {
        self.parts.plugins.sighting(name)
    }

    /// Whether the plugin directory has what has not been decided about.
    pub(crate) fn is_news(&self, name: &PluginName) -> Result<bool, PluginError> {
        let digest = self.parts.plugins.digest(name)?;
        let mut board = self.board();
        let charge = board.version(name).map(|version| version.digest);
        if charge.as_ref() == Some(&digest) {
            let written = board.versions.see(name.as_str(), &digest);
            self.complain(&written);
            return Ok(false);
        }
        let seen = board.versions.of(name.as_str()).and_then(|known| known.seen.clone());
        Ok(seen != Some(digest))
    }

    /// How all plugins in use stand.
    pub(crate) fn states(&self) -> Vec<PluginState> {
        let board = self.board();
        let state = |(name, entry): (&PluginName, &Entry)| PluginState {
            name: name.to_string(),
            sinks: board.sites_of(name).map(|site| site.config.name.clone()).collect(),
            stage: entry.stage,
            version: entry.charge.as_ref().map(|plugin| plugin.version()),
            previous: entry.previous.as_ref().map(|plugin| plugin.version()),
            operation: entry.operation.clone(),
            reason: entry.reason.clone(),
            exchanges: entry.exchanges,
            grace_expiries: entry.grace_expiries,
        };
        board.plugins.iter().map(state).collect()
    }

    /// The latest events, the oldest of them first.
    pub(crate) fn events(&self, plugin: Option<&str>, most: usize) -> Vec<Event> {
        self.board().versions.events(plugin, most)
    }

    /// Puts another version in charge, and returns when it is, or it is clear that it will not be.
    pub(crate) fn swap(&self, name: &str, target: &Target) -> Result<Swapped, SwapError> {
        let plugin = self.ask(name, &target.to_string())?;
        self.carry_out(&plugin, target, true)
    }

    /// Puts the version before the present one in charge again.
    pub(crate) fn roll_back(&self, name: &str) -> Result<Swapped, SwapError> {
        let plugin = self.ask(name, "the version before")?;
        let (before, known) = {
            let board = self.board();
            let charge = board.version(&plugin).map(|version| version.digest);
            let entry = board.plugins.get(&plugin);
            let previous = entry.and_then(|entry| entry.previous.as_ref());
            let previous = previous.map(|plugin| plugin.version().digest);
            let known = board.versions.of(name).map(|known| known.versions.clone());
            let mut known = known.unwrap_or_default();
            known.retain(|past| Some(&past.digest) != charge.as_ref());
            let before = previous.or_else(|| known.last().map(|past| past.digest.clone()));
            (before, known)
        };
        let Some(before) = before else {
            let wanted = "before the present one".to_owned();
            self.refused(&plugin, None, "there is none to go back to");
            let known = known.into_iter().map(|past| past.digest).collect();
            return Err(SwapError::NoVersion { name: name.to_owned(), wanted, known });
        };
        self.carry_out(&plugin, &Target::Version(before), false)
    }

    /// The plugin, where some sink uses it.
    pub(super) fn used(
        &self,
        name: &str,
    ) -> Result<(PluginName, MutexGuard<'_, Board>), SwapError> {
        let board = self.board();
        if board.closed {
            return Err(SwapError::Closed);
        }
        let known = PluginName::new(name).ok().filter(|name| board.plugins.contains_key(name));
        let unused = || SwapError::Unused {
            name: name.to_owned(),
            used: board.plugins.keys().map(ToString::to_string).collect(),
        };
        Ok((known.ok_or_else(unused)?, board))
    }

    /// Begins an operation, where nothing else is under way.
    pub(super) fn ask(&self, name: &str, to: &str) -> Result<PluginName, SwapError> {
        let (plugin, mut board) = self.used(name)?;
        board.operations += 1;
        let id = board.operations;
        let Some(entry) = board.plugins.get_mut(&plugin) else { return Err(SwapError::Closed) };
        if entry.stage.after(Step::Asked).is_none() {
            let what = match entry.stage {
                Stage::Shadow | Stage::Canary => "a trial",
                _ => "going back",
            };
            let nothing =
                || Operation { id, to: what.to_owned(), stage: entry.stage, since: self.now() };
            let operation = entry.operation.clone().unwrap_or_else(nothing);
            return Err(SwapError::Busy { name: name.to_owned(), operation });
        }
        let (to, since) = (to.to_owned(), self.now());
        entry.operation = Some(Operation { id, to: to.clone(), stage: Stage::Preparing, since });
        entry.step(Step::Asked);
        self.note(&mut board, &plugin, None, None, format!("asked for {to}"));
        Ok(plugin)
    }

    /// From the question to the new version in charge.
    pub(super) fn carry_out(
        &self,
        plugin: &PluginName,
        target: &Target,
        probation: bool,
    ) -> Result<Swapped, SwapError> {
        // As it is now: what comes while a version is tried is news.
        let found = self.parts.plugins.digest(plugin).ok();
        let prepared = self.prepare(plugin, target);
        let decided = match (&prepared, target) {
            (Ok(prepared), Target::Directory) => Some(prepared.version().digest),
            // That nothing comes of another version says nothing about what is there.
            (Err(_), Target::File(_) | Target::Version(_)) => None,
            _ => found,
        };
        self.see(plugin, decided);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.refused(plugin, None, &error.to_string());
                return Err(error);
            }
        };
        let version = prepared.version();
        let (current, degraded, stage) = {
            let board = self.board();
            let degraded = board.sites_of(plugin).any(|site| site.actor.is_degraded());
            let stage = board.plugins.get(plugin).map_or(Stage::InCharge, |entry| entry.settled());
            (board.version(plugin), degraded, stage)
        };
        if !degraded && current.as_ref().is_some_and(|current| current.digest == version.digest) {
            self.refused(plugin, Some(&version), "");
            return Ok(Swapped { version, previous: current, stall: Duration::ZERO, stage });
        }
        self.exchange(plugin, &prepared, probation && current.is_some())
    }

    fn see(&self, plugin: &PluginName, digest: Option<String>) {
        if let Some(digest) = digest {
            let written = self.board().versions.see(plugin.as_str(), &digest);
            self.complain(&written);
        }
    }

    /// The operation ends before anything was touched. Without a reason there was nothing to do.
    pub(super) fn refused(
        &self,
        plugin: &PluginName,
        version: Option<&PluginVersion>,
        reason: &str,
    ) {
        let mut board = self.board();
        let Some(entry) = board.plugins.get_mut(plugin) else { return };
        let probation = !entry.probation.is_empty();
        entry.step(Step::Refused { probation });
        if reason.is_empty() {
            self.note(&mut board, plugin, None, version, "it is in charge already".to_owned());
        } else {
            entry.reason = Some(reason.to_owned());
            self.note(&mut board, plugin, None, version, format!("refused: {reason}"));
        }
        self.changed.notify_all();
    }

    /// Reads, checks, compiles and tries a version, beside the work.
    pub(super) fn prepare(
        &self,
        name: &PluginName,
        target: &Target,
    ) -> Result<Arc<dyn Plugin>, SwapError> {
        let mut sites: Vec<_> = self.board().sites_of(name).cloned().collect();
        let mut demands = Demands::default();
        for site in &sites {
            let pin = site.config.digest.clone().map(|pin| (pin, site.config.digest_key()));
            demands.pins.extend(pin);
        }
        let refused = |error: String| SwapError::Refused(error);
        // Those that don't get what they are granted stay as they are, and keep no other from changing.
        let mut problem = None;
        sites.retain(|site| match site.prepare() {
            Ok(_) => true,
            Err(found) => {
                problem.get_or_insert(found);
                false
            }
        });
        if let Some(problem) = problem.filter(|_| sites.is_empty()) {
            return Err(refused(problem.to_string()));
        }
        let origin = match target {
            Target::Directory => Origin::Directory,
            Target::File(path) => Origin::File(path.clone()),
            Target::Version(wanted) => match self.find(name, wanted)? {
                Found::InMemory(plugin) => {
                    if let Some(reason) = demands.refusal(&plugin.version().digest) {
                        return Err(refused(reason));
                    }
                    return Ok(plugin);
                }
                Found::Stored(digest) => Origin::Stored(digest),
            },
        };
        let plugin = self.parts.plugins.load(name, &origin, &demands);
        let plugin = plugin.map_err(|error| refused(error.to_string()))?;
        let version = plugin.version();
        let at_work = |site: &Arc<Site>| {
            site.actor.version().is_some_and(|present| present.digest == version.digest)
        };
        // What is at work everywhere need not be tried.
        if sites.iter().all(at_work) {
            return Ok(plugin);
        }
        for site in &sites {
            check_description(&site.config, &plugin.description())
                .map_err(|problem| refused(problem.to_string()))?;
            let request = site.prepare().map_err(|problem| refused(problem.to_string()))?;
            let charge = Charge { plugin: plugin.clone(), request };
            self.rehearse(charge).map_err(refused)?;
        }
        Ok(plugin)
    }

    /// Opens a version once where it can't do harm: in an empty directory, and with no way out.
    pub(crate) fn rehearse(&self, mut charge: Charge) -> Result<(), String> {
        let scratch = self.scratch.join(&charge.request.name);
        let clear = || match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let failed = |error: std::io::Error| {
            format!("can't make the directory to try it in, `{}`: {error}", scratch.display())
        };
        clear().map_err(failed)?;
        let directory = open_private(&scratch).map_err(failed)?;
        charge.request.grants = charge.request.grants.harmless(Arc::new(directory));
        // How it ends there is of no interest.
        let opened = charge.open().map(|mut instance| drop(instance.close()));
        drop(clear());
        opened.map_err(|error| error.to_string())
    }

    /// The version that is meant, of those that there are.
    fn find(&self, name: &PluginName, wanted: &str) -> Result<Found, SwapError> {
        let board = self.board();
        let digits = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        let fits = |digest: &str, version: &str| {
            version == wanted
                || !digits.is_empty()
                    && digest.strip_prefix("sha256:").unwrap_or(digest).starts_with(digits)
        };
        let entry = board.plugins.get(name);
        let loaded = entry.into_iter().flat_map(|entry| [&entry.charge, &entry.previous]);
        let loaded: Vec<_> = loaded.flatten().cloned().collect();
        let past = board.versions.of(name.as_str()).map(|known| known.versions.clone());
        let past = past.unwrap_or_default();
        let mut found: Vec<String> = Vec::new();
        let in_memory = loaded.iter().map(|plugin| plugin.version());
        let stored = past.iter().map(|past| (past.digest.clone(), past.version.clone()));
        for (digest, version) in in_memory.map(|one| (one.digest, one.version)).chain(stored) {
            if fits(&digest, &version) && !found.contains(&digest) {
                found.push(digest);
            }
        }
        let [digest] = found.as_slice() else {
            let known = past.iter().rev().map(|past| format!("{} ({})", past.version, past.digest));
            let (name, wanted) = (name.to_string(), wanted.to_owned());
            return Err(SwapError::NoVersion { name, wanted, known: known.collect() });
        };
        let in_memory = loaded.into_iter().find(|plugin| plugin.version().digest == *digest);
        Ok(in_memory.map_or_else(|| Found::Stored(digest.clone()), Found::InMemory))
    }

    /// Exchanges the instances of all sinks, or of none.
    pub(super) fn exchange(
        &self,
        name: &PluginName,
        plugin: &Arc<dyn Plugin>,
        probation: bool,
    ) -> Result<Swapped, SwapError> {
        let version = plugin.version();
        let mut thresholds = None;
        let before = {
            let mut board = self.board();
            if probation {
                thresholds = board.thresholds();
            }
            let Some(entry) = board.plugins.get_mut(name) else { return Err(SwapError::Closed) };
            entry.step(Step::Prepared);
            entry.probation.clear();
            let before = entry.charge.clone();
            self.note(&mut board, name, None, Some(&version), "prepared; taking over".to_owned());
            board.hand_over(name, plugin, thresholds, |_| true);
            before
        };
        let mut board = self.wait_for_round(name)?;
        let Some(entry) = board.plugins.get_mut(name) else { return Err(SwapError::Closed) };
        let round = std::mem::take(&mut entry.round);
        let failed = round.values().find_map(|one| match &one.outcome {
            Some(Err(reason)) => Some((one.site.config.name.clone(), reason.clone())),
            _ => None,
        });
        if let Some((sink, reason)) = failed {
            let reason = format!("sink `{sink}`: {reason}");
            // Those where it has opened go back.
            let moved: BTreeSet<String> = round
                .into_values()
                .filter(|one| matches!(one.outcome, Some(Ok(_))))
                .map(|one| one.site.config.name.clone())
                .collect();
            if let (Some(before), false) = (&before, moved.is_empty()) {
                board.hand_over(name, before, None, |sink| moved.contains(sink));
                drop(board);
                board = self.wait_for_round(name)?;
            }
            if let Some(entry) = board.plugins.get_mut(name) {
                entry.round.clear();
                entry.step(Step::NotOpened);
                entry.reason = Some(reason.clone());
            }
            self.note(&mut board, name, None, Some(&version), format!("did not open: {reason}"));
            self.changed.notify_all();
            return Err(SwapError::Refused(reason));
        }
        let stall = round.values().filter_map(|one| one.outcome.as_ref()?.as_ref().ok()).max();
        let stall = stall.copied().unwrap_or_default();
        entry.charge = Some(plugin.clone());
        entry.previous.clone_from(&before);
        entry.reason = None;
        entry.exchanges += 1;
        if thresholds.is_some() {
            entry.probation = round.values().map(|one| one.site.config.name.clone()).collect();
        }
        entry.step(Step::Opened { probation: thresholds.is_some() });
        let stage = entry.stage;
        self.remember(&mut board, name, plugin);
        self.note(&mut board, name, None, Some(&version), "took over".to_owned());
        self.changed.notify_all();
        let previous = before.map(|plugin| plugin.version());
        Ok(Swapped { version, previous, stall, stage })
    }

    /// Waits until every sink has answered; calls that take longer than the grace period are ended.
    fn wait_for_round(&self, name: &PluginName) -> Result<MutexGuard<'_, Board>, SwapError> {
        let over = Instant::now() + self.grace();
        let mut expired = false;
        let mut board = self.board();
        loop {
            let Some(entry) = board.plugins.get(name) else { return Err(SwapError::Closed) };
            if entry.answered() {
                return Ok(board);
            }
            if board.closed {
                return Err(SwapError::Closed);
            }
            let left = over.saturating_duration_since(Instant::now());
            if expired {
                board = self.changed.wait(board).unwrap_or_else(PoisonError::into_inner);
            } else if left.is_zero() {
                expired = true;
                let open = entry.round.values().filter(|one| one.outcome.is_none());
                open.for_each(|one| one.ticket.expire(|| one.site.actor.interrupt_call()));
            } else {
                let waited = self.changed.wait_timeout(board, left);
                board = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Writes down which version is in charge; what nobody goes back to any more goes.
    pub(super) fn remember(&self, board: &mut Board, name: &PluginName, plugin: &Arc<dyn Plugin>) {
        let (version, now) = (plugin.version(), self.now());
        let mut take_over = || board.versions.take_over(name.as_str(), &version, now);
        let written = plugin.store().and_then(|()| take_over());
        self.complain(&written);
        let loaded = board.plugins.values().flat_map(|entry| [&entry.charge, &entry.previous]);
        let loaded = loaded.flatten().map(|plugin| plugin.version().digest);
        let wanted: Vec<_> = board.versions.digests().into_iter().chain(loaded).collect();
        if written.is_ok() {
            self.parts.plugins.retain(&wanted);
        }
    }

    pub(super) fn note(
        &self,
        board: &mut Board,
        plugin: &PluginName,
        sink: Option<&str>,
        version: Option<&PluginVersion>,
        reason: String,
    ) {
        let stage = board.plugins.get(plugin).map_or(Stage::InCharge, |entry| entry.stage);
        let event = Event {
            id: 0,
            time: self.now(),
            plugin: plugin.to_string(),
            sink: sink.map(ToOwned::to_owned),
            stage,
            version: version.cloned(),
            reason,
        };
        let (event, written) = board.versions.note(event);
        self.complain(&written);
        let digest = event.version.as_ref().map(|version| version.digest.clone());
        let mut fields = vec![
            ("plugin".to_owned(), event.plugin.as_str().into()),
            ("stage".to_owned(), event.stage.to_string().into()),
            ("what".to_owned(), event.reason.as_str().into()),
        ];
        fields.extend(digest.map(|digest| ("digest".to_owned(), digest.into())));
        let bad =
            ["refused", "failed", "did not open"].iter().any(|bad| event.reason.starts_with(bad));
        self.parts.logger.log(&Line {
            level: if bad { Level::Warn } else { Level::Info },
            sink,
            message: "swap",
            fields: &fields,
        });
        self.parts.hooks.swap(&event);
    }

    fn complain(&self, written: &std::io::Result<()>) {
        if let Err(error) = written {
            self.parts.logger.log(&Line {
                level: Level::Error,
                sink: None,
                message: "can't write down which versions of plugins are in charge",
                fields: &[("reason".to_owned(), error.to_string().into())],
            });
        }
    }
}

/// Where a version is.
enum Found {
    InMemory(Arc<dyn Plugin>),
    Stored(String),
}
