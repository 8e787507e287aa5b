//! A server from its start to its end.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wasink_chassis::logger::{Level, Line, Logger, TracingLogger};
use wasink_record::{Clock, SystemClock};

use crate::connections::{Admits, Listener};
use crate::door::Door;
use crate::guard::Guard;
use crate::life::Life;
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
    life: Life,
    http: Option<SocketAddr>,
    socket: Option<socket::Name>,
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
        let (life, alive) = Life::begin("wasink-http", WORKERS, parts.logger.clone())?;
        let mut server = Self { life, http: None, socket: None };
        let mut listeners = Vec::new();
        {
            let _within = server.life.handle().enter();
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
            let router = routes(app.clone(), guard, server.life.under_way());
            server.life.serve(listener, Admits::All, router, limits.clone());
        }
        server.tell(&*parts.logger);
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
    pub fn stop(self, deadline: Duration) -> usize {
        self.life.end(deadline)
    }

    fn tell(&self, logger: &dyn Logger) {
        let address = self.http.map(|address| format!("http://{address}"));
        let socket = self.socket().map(|path| path.display().to_string());
        for place in address.into_iter().chain(socket) {
            logger.log(&Line {
                level: Level::Info,
                sink: None,
                message: "listening",
                fields: &[("address".to_owned(), place.into())],
            });
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
