//! The ends of feeds that a configuration describes.

use std::sync::Arc;

use wasink_record::{Clock as _, IdSource, SystemClock};

use crate::config::{Config, PluginConfig, Role};
use crate::error::{OpenError, SinkProblem};
use crate::feed::{FeedSink, FeedSource, Feeds};
use crate::hooks::Hooks;
use crate::logger::Logger;
use crate::plugin::OpenRequest;
use crate::start;

/// Opens the ends of feeds that a configuration describes: its outboxes' sinks, and its feeds'
/// sources.
#[derive(Clone)]
pub struct Ends {
    feeds: Arc<dyn Feeds>,
    node_id: String,
    epoch: String,
    logger: Arc<dyn Logger>,
    hooks: Arc<dyn Hooks>,
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Ends {
    /// From these plugins.
    ///
    /// # Errors
    ///
    /// Where the system gives no random bytes.
    pub fn new(
        config: &Config,
        feeds: Arc<dyn Feeds>,
        logger: Arc<dyn Logger>,
        hooks: Arc<dyn Hooks>,
    ) -> Result<Self, OpenError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| OpenError::System(error.into()))?;
        let (seed, random) = random.split_at(8);
        let seed = seed.iter().fold(0, |seed, &byte| seed << 8 | u64::from(byte));
        let epoch = start::epoch(&IdSource::new(seed), SystemClock.now(), random);
        Ok(Self { feeds, node_id: config.node_id.clone(), epoch, logger, hooks })
    }

    /// Finds everything that would keep an end from being opened, short of opening it: its plugin is
    /// loaded and asked to describe itself, settings, grants and secrets are checked.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self, of: &PluginConfig) -> Result<(), SinkProblem> {
        let demands = start::demands([of]);
        let described = match of.role {
            Role::Outbox => self.feeds.describe_sink(&of.plugin, &demands),
            _ => self.feeds.describe_source(&of.plugin, &demands),
        };
        let described = described.map_err(|error| SinkProblem::plugin(of, error))?;
        start::check_described(of, &described)?;
        start::check_secrets(of)
    }

    /// Opens the sink of an outbox.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being opened.
    pub fn sink(&self, of: &PluginConfig) -> Result<Box<dyn FeedSink>, SinkProblem> {
        let opened = self.feeds.open_sink(self.request(of)?);
        opened.map_err(|error| SinkProblem::plugin(of, error))
    }

    /// Opens the source of a feed.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being opened.
    pub fn source(&self, of: &PluginConfig) -> Result<Box<dyn FeedSource>, SinkProblem> {
        let opened = self.feeds.open_source(self.request(of)?);
        opened.map_err(|error| SinkProblem::plugin(of, error))
    }

    /// What an instance is opened with, be it an end of a feed or a sink: its directory is made, its
    /// secrets are read.
    ///
    /// # Errors
    ///
    /// A directory or a secret that can't be had.
    pub fn request(&self, of: &PluginConfig) -> Result<OpenRequest, SinkProblem> {
        let request = start::request(&self.node_id, of, &self.logger, &self.hooks, &self.epoch);
        Ok(OpenRequest { grants: start::grants(of)?, ..request })
    }
}
