//! Another configuration for a chassis at work.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use serde::Serialize;

use crate::chassis::{Chassis, INTERRUPT_GRACE};
use crate::config::{Config, PluginName, SinkConfig};
use crate::delivery::Charge;
use crate::error::SinkProblem;
use crate::logger::{Level, Line};
use crate::plugin::{OpenRequest, Plugin};
use crate::sink::{OpenedPlugin, Sink, lanes, start_sink};
use crate::start;
use crate::swap::{Site, SwapError};

/// What a new configuration has changed, by the names of sinks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Reloaded {
    /// Those that were not there.
    pub added: Vec<String>,
    /// Those that are not there any more. What they have not dealt with is kept until its room is
    /// needed, in case they come back.
    pub removed: Vec<String>,
    /// Those that go on with other settings, where they were, or that did not open before and do now.
    pub changed: Vec<String>,
    /// Those that have not been touched.
    pub kept: Vec<String>,
}

/// Why a new configuration was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// These can't be changed in a running process. Nothing was changed.
    #[error("these are only read at the start: {}; nothing was changed", .0.join(", "))]
    NeedsRestart(Vec<String>),
    /// Sinks would not open with it. Nothing was changed.
    #[error("nothing was changed: {}", lines(.0))]
    Sinks(Vec<SinkProblem>),
    /// Something is under way for a plugin that it is about. Nothing was changed.
    #[error("nothing was changed: {0}")]
    Busy(SwapError),
    /// The system gave no thread, or no place in the journal.
    #[error("{0}")]
    System(#[source] std::io::Error),
    /// Some sinks did not end, or did not open when it came to it. They are as they were; the rest of
    /// the configuration is in force.
    #[error("all but these are as the configuration says: {}", .0.join("; "))]
    Partly(Vec<String>),
    /// The chassis is closed, or closes.
    #[error("this process is about to end")]
    Closed,
}

fn lines(problems: &[SinkProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Chassis {
    /// Goes over to another configuration with records flowing: sinks are added, removed, or go on
    /// where they were with other settings; what has not changed is not touched. Everything is
    /// checked and tried first, and where anything is wrong, nothing is changed.
    ///
    /// Blocks: for compiling, for the batches that are under way at the sinks that change, at the
    /// most for the grace period, and for their opening.
    ///
    /// # Errors
    ///
    /// See [`ReloadError`].
    pub fn reload(&self, config: &Config) -> Result<Reloaded, ReloadError> {
        let mut present = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if self.closed.load(Ordering::SeqCst) {
            return Err(ReloadError::Closed);
        }
        let fixed = fixed(&present, config);
        if !fixed.is_empty() {
            return Err(ReloadError::NeedsRestart(fixed));
        }
        let plan = Plan::new(&present, config, |name| self.is_degraded(name));
        let untaken = plan.new.iter().flat_map(|sink| &sink.streams);
        let untaken: Vec<_> = untaken
            .filter(|stream| !self.doors.contains_key(stream))
            .map(|stream| format!("a sink for the stream `{stream}`, which had none"))
            .collect();
        if !untaken.is_empty() {
            return Err(ReloadError::NeedsRestart(untaken));
        }
        let plugins = plan.plugins(&present);
        self.swaps.begin_reload(&plugins).map_err(ReloadError::Busy)?;
        let reloaded = self.carry_out(&plan, config);
        self.swaps.end_reload(&plugins);
        let (reloaded, failed) = reloaded?;
        self.swaps.set_config(config.swap);
        if present.swap.watch != config.swap.watch && self.is_watching() {
            self.watch(config).map_err(ReloadError::System)?;
        }
        let mut taken = config.clone();
        if !failed.is_empty() {
            // What has not changed has to be found changed the next time.
            taken.sinks.retain(|sink| !failed.iter().any(|(name, _)| *name == sink.name));
            let old = present.sinks.iter();
            taken.sinks.extend(
                old.filter(|sink| failed.iter().any(|(name, _)| *name == sink.name)).cloned(),
            );
        }
        *present = taken;
        self.tell(&reloaded);
        if failed.is_empty() {
            return Ok(reloaded);
        }
        let failed = failed.into_iter().map(|(name, reason)| format!("sink `{name}`: {reason}"));
        Err(ReloadError::Partly(failed.collect()))
    }

    /// Checks and tries all that is new, and then changes what has to change. Returns what did not.
    /// A sink that is configured as it was, but did not open, is tried once more; where it still does
    /// not, it stays as it is.
    fn carry_out(
        &self,
        plan: &Plan<'_>,
        config: &Config,
    ) -> Result<(Reloaded, Vec<(String, String)>), ReloadError> {
        let mut prepared: BTreeMap<&str, (&SinkConfig, Charge)> = BTreeMap::new();
        let mut problems = Vec::new();
        let mut charges: BTreeMap<PluginName, Arc<dyn Plugin>> = BTreeMap::new();
        let mut kept = plan.kept.clone();
        for sink in plan.new.iter().chain(&plan.again) {
            let present = charges.get(&sink.plugin).cloned();
            let present = present.or_else(|| self.swaps.charge(&sink.plugin));
            let ready = start::prepare(config, sink, &self.parts, &self.epoch, present);
            let tried = ready.and_then(|ready| {
                let refused = |reason| SinkProblem::Refused { place: sink.called(), reason };
                self.swaps.rehearse(ready.clone()).map_err(refused)?;
                Ok(ready)
            });
            match tried {
                Ok(ready) => {
                    charges.insert(sink.plugin.clone(), ready.plugin.clone());
                    prepared.insert(&sink.name, (sink, ready));
                }
                Err(problem) if plan.again.contains(sink) => {
                    kept.push(&sink.name);
                    self.tell_still_degraded(sink, &problem);
                }
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(ReloadError::Sinks(problems));
        }
        let (mut failed, mut reloaded) = (Vec::new(), Reloaded::default());
        let mut next: BTreeMap<String, Arc<Sink>> = BTreeMap::new();
        for old in self.sinks() {
            let name = old.name.clone();
            let ready = prepared.remove(name.as_str());
            if kept.contains(&name.as_str()) {
                reloaded.kept.push(name.clone());
                next.insert(name, old);
            } else if !self.stop(&old) {
                failed.push((name.clone(), "it does not end what it is doing".to_owned()));
                next.insert(name, old);
            } else if let Some((sink, ready)) = ready {
                match self.start_again(sink, ready) {
                    Ok(new) => {
                        reloaded.changed.push(name.clone());
                        next.insert(name, new);
                    }
                    Err(reason) => {
                        failed.push((name.clone(), reason));
                        next.extend(self.take_back(&old, &mut failed).map(|old| (name, old)));
                    }
                }
            } else {
                reloaded.removed.push(name);
            }
        }
        for (name, (sink, ready)) in prepared {
            match self.start_again(sink, ready) {
                Ok(new) => {
                    reloaded.added.push(name.to_owned());
                    next.insert(name.to_owned(), new);
                }
                Err(reason) => failed.push((name.to_owned(), reason)),
            }
        }
        // In the order of the configuration.
        let configured = config.sinks.iter().filter_map(|sink| next.remove(&sink.name));
        let mut sinks: Vec<_> = configured.collect();
        sinks.extend(next.into_values());
        let sites: Vec<Arc<Site>> = sinks.iter().map(|sink| sink.site.clone()).collect();
        self.swaps
            .set_sites(sites, charges.into_iter().map(|(name, one)| (name, Some(one))).collect());
        *self.sinks.write().unwrap_or_else(PoisonError::into_inner) = sinks;
        Ok((reloaded, failed))
    }

    /// Starts a sink at its place in the journal.
    fn start_again(&self, sink: &SinkConfig, ready: Charge) -> Result<Arc<Sink>, String> {
        let opened = ready.open().map_err(|error| error.to_string())?;
        self.start(sink, &ready.request, Ok((ready.plugin, opened)))
    }

    /// The same with what came of opening it.
    fn start(
        &self,
        sink: &SinkConfig,
        request: &OpenRequest,
        opened: OpenedPlugin,
    ) -> Result<Arc<Sink>, String> {
        let lanes = lanes(sink, &self.logs).map_err(|problem| problem.to_string())?;
        let started = start_sink(sink, request, opened, lanes, &self.parts, &self.reports);
        started.map(Arc::new).map_err(|error| error.to_string())
    }

    /// Starts a sink again as it was; one that does not open now waits until it does.
    fn take_back(&self, old: &Sink, failed: &mut Vec<(String, String)>) -> Option<Arc<Sink>> {
        let config = &old.site.config;
        let open = || -> OpenedPlugin {
            let request = old.site.prepare()?;
            let gone = || SinkProblem::Refused {
                place: config.called(),
                reason: "its plugin is gone".to_owned(),
            };
            let plugin = self.swaps.charge(&config.plugin).ok_or_else(gone)?;
            let charge = Charge { plugin, request };
            let opened = charge.open().map_err(|error| SinkProblem::plugin(config, error))?;
            Ok((charge.plugin, opened))
        };
        let opened = open();
        let and_then = |reason: String| (old.name.clone(), format!("and then: {reason}"));
        failed.extend(opened.as_ref().err().map(|problem| and_then(problem.to_string())));
        let started = self.start(config, &old.site.request(), opened);
        started.map_err(|reason| failed.push(and_then(reason))).ok()
    }

    /// Ends a sink between two batches, and leaves its place in the journal; whether it has ended.
    fn stop(&self, sink: &Sink) -> bool {
        let actor = &sink.site.actor;
        actor.stop();
        if actor.join(Instant::now() + self.swaps.grace()) {
            return true;
        }
        actor.interrupt();
        actor.join(Instant::now() + INTERRUPT_GRACE)
    }

    fn is_degraded(&self, name: &str) -> bool {
        self.sinks().iter().any(|sink| sink.name == *name && sink.site.actor.is_degraded())
    }

    fn tell_still_degraded(&self, sink: &SinkConfig, problem: &SinkProblem) {
        self.logger.log(&Line {
            level: Level::Warn,
            sink: Some(&sink.name),
            message: "sink does still not open; its records are kept for it",
            fields: &[("reason".to_owned(), problem.to_string().into())],
        });
    }

    fn tell(&self, reloaded: &Reloaded) {
        let list = |names: &[String]| names.join(", ");
        self.logger.log(&Line {
            level: Level::Info,
            sink: None,
            message: "went over to a new configuration",
            fields: &[
                ("added".to_owned(), list(&reloaded.added).into()),
                ("removed".to_owned(), list(&reloaded.removed).into()),
                ("changed".to_owned(), list(&reloaded.changed).into()),
            ],
        });
    }
}

/// What has to be done.
struct Plan<'a> {
    /// Sinks that are to be started.
    new: Vec<&'a SinkConfig>,
    /// Sinks that are configured as they were, and did not open.
    again: Vec<&'a SinkConfig>,
    kept: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    fn new(present: &Config, config: &'a Config, degraded: impl Fn(&str) -> bool) -> Self {
        let same = |sink: &&SinkConfig| present.sinks.iter().any(|known| known == *sink);
        let (unchanged, new): (Vec<_>, _) = config.sinks.iter().partition(same);
        let (again, kept): (_, Vec<_>) =
            unchanged.into_iter().partition(|sink| degraded(&sink.name));
        Self { new, again, kept: kept.into_iter().map(|sink| sink.name.as_str()).collect() }
    }

    /// The plugins of sinks that are started or ended.
    fn plugins(&self, present: &Config) -> Vec<PluginName> {
        let ended = present.sinks.iter().filter(|sink| !self.kept.contains(&sink.name.as_str()));
        let mut plugins: Vec<_> =
            ended.chain(self.new.iter().copied()).map(|sink| sink.plugin.clone()).collect();
        plugins.sort();
        plugins.dedup();
        plugins
    }
}

/// What differs of that which is only read at the start.
fn fixed(present: &Config, config: &Config) -> Vec<String> {
    let differs = [
        ("data_dir", present.data_dir != config.data_dir),
        ("plugin_dirs", present.plugin_dirs != config.plugin_dirs),
        ("plugin_keys", present.plugin_keys != config.plugin_keys),
        ("node_id", present.node_id != config.node_id),
        ("log", present.log != config.log),
        ("queue", present.queue != config.queue),
        ("listen", present.listen != config.listen),
        ("journal", present.journals != config.journals),
        ("limits.component", present.limits.component_bytes != config.limits.component_bytes),
        ("limits.compile", present.limits.compile_time != config.limits.compile_time),
        ("limits.describe", present.limits.describe_time != config.limits.describe_time),
        ("swap.keep", present.swap.keep != config.swap.keep),
        ("outbox", present.outboxes != config.outboxes),
        ("feed", present.feeds != config.feeds),
    ];
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    differs.map(|(key, _)| format!("`{key}`")).collect()
}
