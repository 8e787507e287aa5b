//! Versions that are tried beside the one in charge.

use std::sync::Arc;
use std::thread;

use cap_std::fs::Dir;

use super::Swaps;
use super::stage::{Step, SwapError, Swapped, Target, Trial, TrialReport};
use crate::actor::Request;
use crate::config::PluginName;
use crate::delivery::{Charge, Score, TrialKind, WHOLE};
use crate::directory::open_private;
use crate::plugin::Plugin;
use wasink_record::Timestamp;

/// A trial that is under way, or was.
pub(crate) struct Tried {
    plugin: Arc<dyn Plugin>,
    kind: TrialKind,
    score: Arc<Score>,
    since: Timestamp,
    ended: Option<String>,
}

impl Tried {
    fn report(&self, name: &PluginName) -> TrialReport {
        TrialReport {
            plugin: name.to_string(),
            version: self.plugin.version(),
            kind: self.kind,
            since: self.since,
            ended: self.ended.clone(),
            tally: self.score.tally(),
        }
    }
}

impl Swaps {
    /// Begins to try a version at every sink that uses the plugin, or at none.
    pub(crate) fn start_trial(
        self: &Arc<Self>,
        name: &str,
        to: &Target,
        trial: Trial,
    ) -> Result<TrialReport, SwapError> {
        let Trial { kind, records, failures } = trial;
        if matches!(kind, TrialKind::Canary { share } if share == 0 || share > WHOLE) {
            let reason = "the share of a canary is above 0 and at most 1".to_owned();
            return Err(SwapError::Refused(reason));
        }
        let plugin = self.ask(name, &format!("a trial of {to}"))?;
        let tried = self.begin(&plugin, to, kind, records, failures);
        tried.inspect_err(|error| self.refused(&plugin, None, &error.to_string()))
    }

    fn begin(
        self: &Arc<Self>,
        name: &PluginName,
        to: &Target,
        kind: TrialKind,
        records: Option<u64>,
        failures: Option<u64>,
    ) -> Result<TrialReport, SwapError> {
        let plugin = self.prepare(name, to)?;
        let (swaps, decided) = (Arc::downgrade(self), name.clone());
        let over = Box::new(move |passed: bool| {
            // Not on the thread of a sink: a promotion waits for that.
            let end = move || {
                let Some(swaps) = swaps.upgrade() else { return };
                let name = decided.as_str();
                let ended = match passed {
                    true => swaps.promote(name).map(drop),
                    false => swaps.abort(name, "it has failed too often").map(drop),
                };
                // Where somebody else was faster, there is nothing left to do.
                drop(ended);
            };
            drop(thread::Builder::new().name("wasink-trial".to_owned()).spawn(end));
        });
        let score = Score::new(kind, records, failures, over);
        let sites: Vec<_> = self.board().sites_of(name).cloned().collect();
        for site in &sites {
            // One without its grants is degraded, and tries nothing.
            let Some(mut request) = site.prepared() else { continue };
            if kind == TrialKind::Shadow {
                let directory = self.shadows_directory(&request.name)?;
                request.grants = request.grants.harmless(directory);
            }
            let charge = Charge { plugin: plugin.clone(), request };
            let begun = site.actor.ask(|answer| Request::Try(charge, score.clone(), answer));
            let begun = begun.ok_or(SwapError::Closed).and_then(|begun| {
                let sink = &site.config.name;
                begun.map_err(|reason| SwapError::Refused(format!("sink `{sink}`: {reason}")))
            });
            if let Err(error) = begun {
                self.end_trial_at(name);
                return Err(error);
            }
        }
        let since = self.now();
        let version = plugin.version();
        let tried = Tried { plugin, kind, score, since, ended: None };
        let report = tried.report(name);
        let mut board = self.board();
        if let Some(entry) = board.plugins.get_mut(name) {
            entry.trial = Some(tried);
            entry.reason = None;
            entry.step(Step::Tried { canary: matches!(kind, TrialKind::Canary { .. }) });
        }
        self.note(&mut board, name, None, Some(&version), "on trial".to_owned());
        Ok(report)
    }

    /// A data directory of the shadow's own, empty.
    fn shadows_directory(&self, sink: &str) -> Result<Arc<Dir>, SwapError> {
        let path = self.scratch.with_file_name("shadow").join(sink);
        let refused = |error: std::io::Error| {
            let path = path.display();
            SwapError::Refused(format!("can't make the shadow's directory `{path}`: {error}"))
        };
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused(error));
            }
            _ => {}
        }
        open_private(&path).map(Arc::new).map_err(refused)
    }

    fn end_trial_at(&self, name: &PluginName) {
        let sites: Vec<_> = self.board().sites_of(name).cloned().collect();
        for site in sites {
            site.actor.ask(Request::EndTrial);
        }
    }

    /// How the trial of a plugin goes, or how the last one went.
    pub(crate) fn trial(&self, name: &str) -> Result<TrialReport, SwapError> {
        let (plugin, board) = self.used(name)?;
        let tried = board.plugins.get(&plugin).and_then(|entry| entry.trial.as_ref());
        let tried = tried.ok_or_else(|| SwapError::NoTrial(name.to_owned()))?;
        Ok(tried.report(&plugin))
    }

    /// Ends a trial; the version in charge goes on.
    pub(crate) fn abort(&self, name: &str, why: &str) -> Result<TrialReport, SwapError> {
        let (plugin, _) = self.end_trial(name, Step::Aborted, why)?;
        self.trial(plugin.as_str())
    }

    /// Puts the version on trial in charge.
    pub(crate) fn promote(&self, name: &str) -> Result<Swapped, SwapError> {
        let (plugin, tried) = self.end_trial(name, Step::Promoted, "promoted")?;
        self.exchange(&plugin, &tried, true)
    }

    /// Takes the step that ends a trial, and ends it.
    fn end_trial(
        &self,
        name: &str,
        step: Step,
        why: &str,
    ) -> Result<(PluginName, Arc<dyn Plugin>), SwapError> {
        let (plugin, mut board) = self.used(name)?;
        let none = || SwapError::NoTrial(name.to_owned());
        let entry = board.plugins.get_mut(&plugin).ok_or_else(none)?;
        let under_way = entry.stage.after(step).is_some();
        let tried = entry.trial.as_mut().filter(|tried| under_way && tried.ended.is_none());
        let tried = tried.ok_or_else(none)?;
        tried.ended = Some(why.to_owned());
        let version = tried.plugin.clone();
        entry.step(step);
        self.note(
            &mut board,
            &plugin,
            None,
            Some(&version.version()),
            format!("trial over: {why}"),
        );
        drop(board);
        self.end_trial_at(&plugin);
        Ok((plugin, version))
    }
}
