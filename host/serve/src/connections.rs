//! Accepts connections and serves each until its client, a timeout or the end of the server ends it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use wasink_chassis::logger::{Level, Line, Logger};

use crate::Limits;

/// After a failure to accept: until a file descriptor may be free again.
const BREATH: Duration = Duration::from_secs(1);

/// The smallest buffer that hyper works with.
const SMALLEST_HEAD: usize = 8 << 10;

/// Where connections come from.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Who may speak to a listener of this process.
#[derive(Clone)]
pub(crate) enum Admits {
    /// Everybody who can connect.
    All,
    /// Processes of the users that this says; the others get what this answers. Only on a Unix
    /// socket is it known who connects: over TCP nobody is admitted.
    Users(fn(u32) -> bool, Router),
}

/// What all connections of a listener share.
#[derive(Clone)]
pub(crate) struct Connections {
    pub(crate) router: Router,
    pub(crate) admits: Admits,
    pub(crate) limits: Limits,
    pub(crate) logger: Arc<dyn Logger>,
    /// Becomes true when the server ends.
    pub(crate) ending: watch::Receiver<bool>,
}

impl Connections {
    /// Accepts connections until the server ends.
    pub(crate) async fn accept(self, listener: Listener) {
        let places = self.limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places));
        let mut ending = self.ending.clone();
        loop {
            let next = async {
                // Never closed, so there is always one at some time.
                let place = places.clone().acquire_owned().await.ok();
                (place, self.next(&listener).await)
            };
            tokio::select! {
                () = end(&mut ending) => return,
                (place, accepted) = next => if let Err(error) = self.start(accepted, place) {
                    self.logger.log(&Line {
                        level: Level::Warn,
                        sink: None,
                        message: "can't accept a connection",
                        fields: &[("error".to_owned(), error.to_string().into())],
                    });
                    tokio::time::sleep(BREATH).await;
                },
            }
        }
    }

    async fn next(&self, listener: &Listener) -> io::Result<Stream> {
        match listener {
            Listener::Tcp(listener) => Ok(Stream::Tcp(listener.accept().await?.0)),
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }

    fn start(
        &self,
        accepted: io::Result<Stream>,
        place: Option<OwnedSemaphorePermit>,
    ) -> io::Result<()> {
        match accepted {
            Ok(Stream::Tcp(stream)) => {
                // Answers are written in one piece: waiting to fill a packet gains nothing.
                drop(stream.set_nodelay(true));
                tokio::spawn(self.clone().serve(stream, None, place));
                Ok(())
            }
            Ok(Stream::Unix(stream)) => {
                // Who cannot be told is a stranger.
                let user = stream.peer_cred().ok().map(|peer| peer.uid());
                tokio::spawn(self.clone().serve(stream, user, place));
                Ok(())
            }
            Err(error) => match error.kind() {
                // The client was gone before it was its turn.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Serves one connection, of this user where that is known.
    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        user: Option<u32>,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let Self { router, admits, limits, mut ending, .. } = self;
        let router = match admits {
            Admits::Users(admits, strangers) if !user.is_some_and(admits) => strangers,
            _ => router,
        };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(limits.write_timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .max_buf_size(limits.head_bytes.max(SMALLEST_HEAD))
            .max_headers(limits.headers)
            .serve_connection(stream, TowerToHyperService::new(router));
        let mut serving = std::pin::pin!(serving);
        let ended = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = end(&mut ending) => None,
        };
        // What a connection ends with is the client's business: it broke off, was too slow, or sent
        // something that is not HTTP.
        if ended.is_none() {
            serving.as_mut().graceful_shutdown();
            drop(serving.await);
        }
        drop(place);
    }
}

/// Waits for the end of the server.
async fn end(ending: &mut watch::Receiver<bool>) {
    // Where the sender is gone, so is the server.
    drop(ending.wait_for(|ending| *ending).await);
}

/// A connection that was accepted.
enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}
