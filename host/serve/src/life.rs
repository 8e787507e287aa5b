//! What servers have in common: a runtime of their own, and an orderly end.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use axum::Router;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};
use wasink_chassis::logger::{Level, Line, Logger};

use crate::connections::{Admits, Connections, Listener};
use crate::linger::UnderWay;
use crate::{Limits, ServeError};

/// A runtime and all that runs on it. Dropped without [`end`](Self::end), it ends at once.
pub(crate) struct Life {
    logger: Arc<dyn Logger>,
    ending: watch::Sender<bool>,
    /// Ends when all that is under way has ended.
    ended: Option<mpsc::Receiver<()>>,
    under_way: Arc<UnderWay>,
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Life {
    /// With it comes what every request holds on to until it has ended.
    pub(crate) fn begin(
        name: &str,
        workers: usize,
        logger: Arc<dyn Logger>,
    ) -> Result<(Self, mpsc::Sender<()>), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name(name)
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServeError::System)?;
        let (alive, ended) = mpsc::channel(1);
        let life = Self {
            logger,
            ending: watch::channel(false).0,
            ended: Some(ended),
            under_way: Arc::default(),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        };
        Ok((life, alive))
    }

    /// Where listeners are made.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The requests that are under way.
    pub(crate) fn under_way(&self) -> Arc<UnderWay> {
        self.under_way.clone()
    }

    /// Serves whoever connects and is admitted, until the end.
    pub(crate) fn serve(&self, listener: Listener, admits: Admits, router: Router, limits: Limits) {
        let connections = Connections {
            router,
            admits,
            limits,
            logger: self.logger.clone(),
            ending: self.ending.subscribe(),
        };
        self.handle.spawn(connections.accept(listener));
    }

    /// Accepts nothing more, waits until what is under way has ended, or for as long as this, and
    /// returns the number of requests that got no answer.
    pub(crate) fn end(mut self, deadline: Duration) -> usize {
        self.ending.send_replace(true);
        let (Some(runtime), Some(mut ended)) = (self.runtime.take(), self.ended.take()) else {
            return 0;
        };
        let (tell, told) = sync_channel(1);
        runtime.spawn(async move {
            // Nothing is ever sent; it ends when the last sender is gone.
            ended.recv().await;
            let _told_in_time = tell.try_send(());
        });
        let in_time = told.recv_timeout(deadline).is_ok();
        let cut = if in_time { 0 } else { self.under_way.count() };
        runtime.shutdown_background();
        if cut > 0 {
            self.logger.log(&Line {
                level: Level::Warn,
                sink: None,
                message: "stopped with requests that have no answer",
                fields: &[("requests".to_owned(), u64::try_from(cut).unwrap_or(u64::MAX).into())],
            });
        }
        cut
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
