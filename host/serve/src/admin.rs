//! The door for operators: what a running process is asked and told by `wasink status` and others,
//! as HTTP on a Unix socket of its own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use wasink_chassis::logger::{Level, Line, Logger};

use crate::connections::{Admits, Listener};
use crate::life::Life;
use crate::linger::linger;
use crate::problem::{Kind, Problem};
use crate::{Limits, ServeError, socket};

use self::operator::Operator;
use self::routes::{App, routes};

mod bodies;
pub(crate) mod operator;
mod routes;

/// Commands are few; what they do blocks on threads of its own.
const WORKERS: usize = 1;

/// People and their scripts; further connections wait.
const CONNECTIONS: usize = 32;

/// Bodies of all requests together: several of the largest, decompressed.
const BYTES_UNDER_WAY: usize = 32 << 20;

/// The most bytes that a body may have.
pub(crate) const BODY_BYTES: usize = 64 << 10;

/// The most bytes that a body may have which names dead letters.
pub(crate) const POSITIONS_BYTES: usize = 2 << 20;

/// The most dead letters that one request may name.
pub(crate) const POSITIONS: usize = 100_000;

/// A server for operators, with a runtime of its own.
///
/// It answers processes of the user that it runs as, and of root; all others get a 403. What it
/// takes and answers is described by the OpenAPI document that it serves as `/openapi.json`.
///
/// Dropped without [`stop`](Self::stop) it ends at once. An operation that has begun goes on then,
/// and also where its client goes away.
pub struct AdminServer {
    life: Life,
    socket: socket::Name,
}

impl AdminServer {
    /// Starts to listen on a new socket with the mode 0600; returns when clients can connect. A
    /// socket that a process left behind is taken over.
    ///
    /// # Errors
    ///
    /// When somebody else listens there, something that is no socket has the name, or the system
    /// refuses it. Nothing is left listening then.
    pub fn start(
        path: &Path,
        operator: Arc<dyn Operator>,
        logger: Arc<dyn Logger>,
    ) -> Result<Self, ServeError> {
        Self::start_for(path, is_operator, operator, logger)
    }

    fn start_for(
        path: &Path,
        admits: fn(u32) -> bool,
        operator: Arc<dyn Operator>,
        logger: Arc<dyn Logger>,
    ) -> Result<Self, ServeError> {
        let limits = Limits {
            connections: CONNECTIONS,
            body_bytes: BODY_BYTES,
            decoded_bytes: BODY_BYTES,
            bytes_under_way: BYTES_UNDER_WAY,
            ..Limits::default()
        };
        let (life, alive) = Life::begin("wasink-admin", WORKERS, logger.clone())?;
        let (listener, name) = {
            let _within = life.handle().enter();
            socket::listen(path)?
        };
        let app = App::new(operator, limits.clone(), alive);
        let strangers = Router::new()
            .fallback(stranger)
            .layer(middleware::from_fn_with_state(life.under_way(), linger));
        let admits = Admits::Users(admits, strangers);
        life.serve(Listener::Unix(listener), admits, routes(app, life.under_way()), limits);
        logger.log(&Line {
            level: Level::Info,
            sink: None,
            message: "listening for commands",
            fields: &[("address".to_owned(), path.display().to_string().into())],
        });
        Ok(Self { life, socket: name })
    }

    /// The socket that it listens on.
    pub fn socket(&self) -> &Path {
        self.socket.path()
    }

    /// Accepts no more connections and no more requests, and ends when the operations that are under
    /// way have ended or `deadline` is over; those go on then, unwatched. Returns the number of
    /// requests that got no answer. Blocks.
    pub fn stop(self, deadline: Duration) -> usize {
        self.life.end(deadline)
    }
}

impl fmt::Debug for AdminServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminServer").field("socket", &self.socket()).finish_non_exhaustive()
    }
}

/// Whether a process of this user may ask and change what this process does.
fn is_operator(user: u32) -> bool {
    let own = rustix::process::geteuid();
    user == own.as_raw() || user == rustix::process::Uid::ROOT.as_raw()
}

async fn stranger() -> Problem {
    let detail = "only the user that this process runs as, and root, may ask here";
    Problem::new(Kind::Stranger, detail).hang_up()
}

#[cfg(test)]
mod tests;
