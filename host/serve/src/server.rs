//! A server from its start to its end.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use wasink_chassis::logger::{Level, Line, Logger, TracingLogger};
use wasink_record::{Clock, SystemClock};

use crate::connections::{Connections, Listener};
use crate::door::Door;
use crate::guard::Guard;
use crate::linger::UnderWay;
use crate::routes::{App, routes};
use crate::{Limits, ServeError, Token, socket};

/// Enough for some hundred thousand records a second; the rest of the machine is for the sinks.
const WORKERS: usize = 2;

/// Where a server listens.
#[derive(Debug, Clone, Default)]
pub struct Listen {
    /// An address for HTTP. Port 0 is any that is free.
    pub http: Option<SocketAddr>,
    /// A Unix socket for HTTP. Its directory has to exist; who may reach the socket is decided by
    /// its mode, 0600.
    pub socket: Option<PathBuf>,
    /// What clients of the address have to show. Required where others than this machine can
    /// reach it.
    pub token: Option<Token>,
}

/// Says whether records are taken, and why not. Called for every probe; must not block for long.
pub type Ready = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What a server is joined with.
#[derive(Clone)]
pub struct Parts {
    /// Where records go.
    pub door: Arc<dyn Door>,
    /// Whether records are taken, for `GET /readyz`.
    pub ready: Ready,
    /// Where log lines go.
    pub logger: Arc<dyn Logger>,
    /// What the time is, for records that have none.
    pub clock: Arc<dyn Clock>,
}

impl Parts {
    /// This door, always ready, log lines to the `tracing` crate, the system's clock.
    pub fn new(door: impl Door) -> Self {
        Self {
            door: Arc::new(door),
            ready: Arc::new(|| Ok(())),
            logger: Arc::new(TracingLogger),
            clock: Arc::new(SystemClock),
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parts")
    }
}

/// A server that takes records in over HTTP, with a runtime of its own.
///
/// Dropped without [`stop`](Self::stop) it ends at once, whatever is under way.
pub struct Server {
    http: Option<SocketAddr>,
    socket: Option<socket::Name>,
    logger: Arc<dyn Logger>,
    ending: watch::Sender<bool>,
    /// Ends when all that is under way has ended.
    ended: Option<mpsc::Receiver<()>>,
    under_way: Arc<UnderWay>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts to listen; returns when clients can connect. Does not block.
    ///
    /// # Errors
    ///
    /// When there is nothing to listen on, an address that others can reach is without a token, or
    /// the system refuses the address or the socket. Nothing is left listening then.
    pub fn start(listen: &Listen, limits: Limits, parts: &Parts) -> Result<Self, ServeError> {
        let guard = guard(listen)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .thread_name("wasink-http")
            .enable_io()
            .enable_time()
            .build()
            .map_err(ServeError::System)?;
        let (ending, watched) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let mut server = Self {
            http: None,
            socket: None,
            logger: parts.logger.clone(),
            ending,
            ended: Some(ended),
            under_way: Arc::default(),
            runtime: None,
        };
        let handle = runtime.handle().clone();
        server.runtime = Some(runtime);
        let mut listeners = Vec::new();
        {
            let _within = handle.enter();
            if let Some(address) = listen.http {
                let (listener, address) =
                    bind(address).map_err(|source| ServeError::Address { address, source })?;
                server.http = Some(address);
                listeners.push((Listener::Tcp(listener), guard));
            }
            if let Some(path) = &listen.socket {
                let (listener, name) = socket::listen(path)?;
                server.socket = Some(name);
                listeners.push((Listener::Unix(listener), Guard::Files));
            }
        }
        let app = App::new(parts, limits.clone(), alive);
        for (listener, guard) in listeners {
            let connections = Connections {
                router: routes(app.clone(), guard, server.under_way.clone()),
                limits: limits.clone(),
                logger: parts.logger.clone(),
                ending: watched.clone(),
            };
            handle.spawn(connections.accept(listener));
        }
        server.tell();
        Ok(server)
    }

    /// The address that it listens on, with the port that it has.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_ref().map(socket::Name::path)
    }

    /// Accepts no more connections and no more requests, lets those that are under way end, and ends
    /// when they have or `deadline` is over. Returns the number of requests that got no answer.
    ///
    /// Blocks. Records of a request without an answer may have been taken all the same.
    pub fn stop(mut self, deadline: Duration) -> usize {
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

    fn tell(&self) {
        let address = self.http.map(|address| format!("http://{address}"));
        let socket = self.socket().map(|path| path.display().to_string());
        for place in address.into_iter().chain(socket) {
            self.logger.log(&Line {
                level: Level::Info,
                sink: None,
                message: "listening",
                fields: &[("address".to_owned(), place.into())],
            });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("http", &self.http)
            .field("socket", &self.socket())
            .finish_non_exhaustive()
    }
}

/// What the address asks of those who come.
fn guard(listen: &Listen) -> Result<Guard, ServeError> {
    if listen.http.is_none() && listen.socket.is_none() {
        return Err(ServeError::Nothing);
    }
    match (&listen.token, listen.http) {
        (Some(token), _) => Ok(Guard::Token(token.clone())),
        (None, Some(address)) if !address.ip().to_canonical().is_loopback() => {
            Err(ServeError::Open { address })
        }
        (None, _) => Ok(Guard::Loopback),
    }
}

fn bind(address: SocketAddr) -> std::io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((tokio::net::TcpListener::from_std(listener)?, address))
}
