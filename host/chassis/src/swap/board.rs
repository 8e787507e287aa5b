//! Where all plugins in use stand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Site;
use super::stage::{Operation, Stage, Step};
use super::ticket::{Incoming, Ticket};
use super::trials::Tried;
use super::versions::Versions;
use crate::config::{PluginName, SwapConfig};
use crate::delivery::{Charge, Thresholds};
use crate::plugin::{Plugin, PluginVersion};

/// All of it, behind one lock.
pub(super) struct Board {
    pub(super) config: SwapConfig,
    pub(super) versions: Versions,
    pub(super) sites: Vec<Arc<Site>>,
    pub(super) plugins: BTreeMap<PluginName, Entry>,
    pub(super) tickets: u64,
    pub(super) operations: u64,
    pub(super) closed: bool,
}

/// Where one plugin stands.
pub(super) struct Entry {
    pub(super) stage: Stage,
    /// `None` where no sink could open it.
    pub(super) charge: Option<Arc<dyn Plugin>>,
    pub(super) previous: Option<Arc<dyn Plugin>>,
    pub(super) operation: Option<Operation>,
    pub(super) reason: Option<String>,
    /// The sinks whose probation is not over.
    pub(super) probation: BTreeSet<String>,
    /// The exchanges that are under way, by ticket.
    pub(super) round: BTreeMap<u64, Move>,
    pub(super) exchanges: u64,
    pub(super) grace_expiries: u64,
    pub(super) trial: Option<Tried>,
}

/// One exchange at one sink.
pub(super) struct Move {
    pub(super) site: Arc<Site>,
    pub(super) ticket: Arc<Ticket>,
    /// The stall, or why it did not come about.
    pub(super) outcome: Option<Result<Duration, String>>,
}

impl Entry {
    pub(super) fn new(charge: Option<Arc<dyn Plugin>>) -> Self {
        Self {
            stage: Stage::InCharge,
            charge,
            previous: None,
            operation: None,
            reason: None,
            probation: BTreeSet::new(),
            round: BTreeMap::new(),
            exchanges: 0,
            grace_expiries: 0,
            trial: None,
        }
    }

    /// Takes a step that the diagram has.
    pub(super) fn step(&mut self, step: Step) {
        if let Some(stage) = self.stage.after(step) {
            self.stage = stage;
        }
        match (&mut self.operation, self.stage) {
            (_, Stage::InCharge | Stage::Probation | Stage::Shadow | Stage::Canary) => {
                self.operation = None;
            }
            (Some(operation), stage) => operation.stage = stage,
            (None, _) => {}
        }
    }

    pub(super) fn answered(&self) -> bool {
        self.round.values().all(|one| one.outcome.is_some())
    }
}

impl Board {
    pub(super) fn sites_of(&self, name: &PluginName) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.iter().filter(move |site| site.config.plugin == *name)
    }

    pub(super) fn thresholds(&self) -> Option<Thresholds> {
        let SwapConfig { probation, stops, rejected_percent, slower, .. } = self.config;
        (!probation.is_zero()).then_some(Thresholds {
            time: probation,
            stops,
            rejected_percent,
            slower,
        })
    }

    pub(super) fn version(&self, name: &PluginName) -> Option<PluginVersion> {
        Some(self.plugins.get(name)?.charge.as_ref()?.version())
    }

    /// Makes the chosen sinks exchange their instances, and forgets earlier rounds.
    pub(super) fn hand_over(
        &mut self,
        name: &PluginName,
        plugin: &Arc<dyn Plugin>,
        probation: Option<Thresholds>,
        chosen: impl Fn(&str) -> bool,
    ) {
        let sites: Vec<_> =
            self.sites_of(name).filter(|site| chosen(&site.config.name)).cloned().collect();
        let Some(entry) = self.plugins.get_mut(name) else { return };
        entry.round.clear();
        for site in sites {
            // One without its grants stays as it is: degraded.
            let Some(request) = site.prepared() else { continue };
            self.tickets += 1;
            let ticket = Ticket::new(self.tickets);
            let charge = Charge { plugin: plugin.clone(), request };
            let incoming = Incoming { ticket: ticket.clone(), charge, probation };
            let outcome = match site.actor.hand_over(incoming) {
                true => None,
                false => Some(Err("it is closed".to_owned())),
            };
            entry.round.insert(ticket.id, Move { site, ticket, outcome });
        }
    }
}

impl Entry {
    /// The stage of a plugin for which nothing is under way.
    pub(super) fn settled(&self) -> Stage {
        if self.probation.is_empty() { Stage::InCharge } else { Stage::Probation }
    }
}
