//! Stands where a plugin should be that could not be loaded or opened.

use std::sync::Arc;

use wasink_journal::Batch;
use wasink_record::Stream;

use crate::config::PluginName;
use crate::plugin::{
    Acknowledges, CallError, Captured, Description, Exception, Failure, Interrupter, OpenRequest,
    Plugin, PluginError, PluginVersion, SinkPlugin,
};

/// A plugin that does nothing but say why it is not there.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    name: PluginName,
    reason: String,
}

impl Missing {
    pub(crate) fn new(name: &PluginName, reason: String) -> Self {
        Self { name: name.clone(), reason }
    }

    fn error(&self) -> PluginError {
        PluginError::Unusable {
            name: self.name.clone(),
            origin: "the sink did not open".to_owned(),
            reason: self.reason.clone(),
        }
    }

    fn failure(&self) -> CallError {
        Failure::Broken(self.reason.clone()).into()
    }

    fn no_version() -> PluginVersion {
        PluginVersion { digest: String::new(), version: String::new(), path: None }
    }

    fn nothing() -> Arc<Description> {
        Arc::new(Description {
            version: String::new(),
            summary: String::new(),
            streams: Stream::ALL.to_vec(),
            settings_schema: None,
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks: Vec::new(),
        })
    }
}

impl Plugin for Missing {
    fn version(&self) -> PluginVersion {
        Self::no_version()
    }

    fn description(&self) -> Arc<Description> {
        Self::nothing()
    }

    fn open(&self, _: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        Err(self.error())
    }
}

impl SinkPlugin for Missing {
    fn version(&self) -> PluginVersion {
        Self::no_version()
    }

    fn description(&self) -> Arc<Description> {
        Self::nothing()
    }

    fn write(&mut self, _: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        Err(self.failure())
    }

    fn flush(&mut self) -> Result<(), CallError> {
        Err(self.failure())
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        Err(self.error())
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        Interrupter::new(|| ())
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        Err(self.failure())
    }

    fn reset_captured(&mut self) -> Result<bool, CallError> {
        Err(self.failure())
    }
}
