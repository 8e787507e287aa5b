//! One sink of a chassis, and how it is started.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasink_journal::{BatchLimits, Log};
use wasink_record::Stream;

use crate::actor::{Actor, Lane};
use crate::chassis::{KnownLog, Parts};
use crate::config::{Order, SinkConfig};
use crate::delivery::{Charge, Delivery, DeliveryParts};
use crate::error::SinkProblem;
use crate::ledger::LaneLedger;
use crate::logger::{Level, Line};
use crate::missing::Missing;
use crate::plugin::{OpenRequest, Plugin, SinkPlugin};
use crate::status::{SinkState, SinkStatus, StateCell};
use crate::swap::{Granted, Reports, Site};

/// A version of a plugin and an instance of it.
pub(crate) type OpenedPlugin = Result<(Arc<dyn Plugin>, Box<dyn SinkPlugin>), SinkProblem>;

/// A sink of the configuration.
pub(crate) struct Sink {
    pub(crate) name: String,
    pub(crate) state: Arc<StateCell>,
    pub(crate) lanes: Vec<KnownLane>,
    pub(crate) site: Arc<Site>,
}

/// What is known of a lane from outside.
pub(crate) struct KnownLane {
    pub(crate) log: Log,
    pub(crate) beginning: u64,
    pub(crate) retries: Arc<AtomicU64>,
}

impl Sink {
    /// How it is doing; what is pending is filled in later.
    pub(crate) fn status(&self) -> SinkStatus {
        SinkStatus {
            name: self.name.clone(),
            plugin: self.site.config.plugin.to_string(),
            version: self.site.actor.version(),
            state: self.state.get(),
            lanes: self.lanes.iter().filter_map(|lane| lane.ledger(&self.name)).collect(),
            limits: self.site.reached.nonzero(),
        }
    }
}

impl KnownLane {
    fn ledger(&self, sink: &str) -> Option<LaneLedger> {
        let lane = self.log.lane(sink)?;
        let retries = self.retries.load(Ordering::Relaxed);
        Some(LaneLedger::new(self.log.stream(), &lane, self.beginning, retries))
    }
}

/// The places of a sink in the journals of its streams, to read from and to look at.
pub(crate) fn lanes(
    sink: &SinkConfig,
    logs: &BTreeMap<Stream, KnownLog>,
) -> Result<Vec<(Lane, KnownLane)>, SinkProblem> {
    let lane = |KnownLog { log, beginning }: &KnownLog| {
        let problem = |source| SinkProblem::Lane { place: sink.called(), source };
        let reader =
            log.reader(&sink.name, sink.when_full, sink.max_pending.get()).map_err(problem)?;
        let limits = BatchLimits {
            records: sink.batch.records,
            bytes: sink.batch.bytes,
            age: sink.batch.age,
        };
        let retries = Arc::new(AtomicU64::new(0));
        let known = KnownLane { log: log.clone(), beginning: *beginning, retries: retries.clone() };
        Ok((Lane { reader, limits, retries, unread: 0 }, known))
    };
    sink.streams.iter().filter_map(|stream| logs.get(stream)).map(lane).collect()
}

/// Starts a sink; one that could not be opened waits for a version that can.
pub(crate) fn start_sink(
    config: &SinkConfig,
    request: &OpenRequest,
    result: OpenedPlugin,
    lanes: Vec<(Lane, KnownLane)>,
    parts: &Parts,
    reports: &Reports,
) -> io::Result<Sink> {
    let name = config.name.clone();
    let degraded = result.is_err();
    let granted = match &result {
        Err(SinkProblem::Secret { .. } | SinkProblem::Directory { .. }) => Granted::No,
        _ => Granted::Yes,
    };
    let (version, plugin, state): (Arc<dyn Plugin>, Box<dyn SinkPlugin>, _) = match result {
        Ok((version, plugin)) => (version, plugin, SinkState::Working),
        Err(problem) => {
            let reason = problem.to_string();
            parts.logger.log(&Line {
                level: Level::Warn,
                sink: Some(&name),
                message: "sink did not open, going on without it; its records are kept for it",
                fields: &[("reason".to_owned(), reason.clone().into())],
            });
            let missing = Missing::new(&config.plugin, reason.clone());
            (Arc::new(missing.clone()), Box::new(missing), SinkState::Degraded { reason })
        }
    };
    let state = Arc::new(StateCell::new(state));
    let delivery = Delivery::new(DeliveryParts {
        sink: name.clone(),
        charge: Charge { plugin: version, request: request.clone() },
        plugin,
        state: state.clone(),
        logger: parts.logger.clone(),
        hooks: parts.hooks.clone(),
        clock: parts.clock.clone(),
        ordered: config.order == Order::Held,
        degraded,
    });
    let (lanes, known) = lanes.into_iter().unzip();
    let actor = Arc::new(Actor::start(delivery, lanes, degraded, reports.clone())?);
    let site = Arc::new(Site::new(config.clone(), request.clone(), granted, actor));
    Ok(Sink { name, state, lanes: known, site })
}
