//! Why a server does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a [`Server`](crate::Server) or an [`AdminServer`](crate::AdminServer) did not start. Nothing is left listening then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing to listen on.
    #[error("there is nothing to listen on: name an address, or the path of a socket")]
    Nothing,
    /// Others could connect, and nothing would tell who they are.
    #[error(
        "`{address}` can be reached from other machines, and no token is required there: configure \
         a token file, or listen on a loopback address such as `127.0.0.1:{}`",
        .address.port()
    )]
    Open {
        /// The address.
        address: SocketAddr,
    },
    /// The system does not let it listen on the address.
    #[error("can't listen on `{address}`: {source}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not let it make the socket.
    #[error("can't listen on the socket `{path}`: {source}; its directory has to exist")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system takes only so much of a path for a socket.
    #[error(
        "the path of the socket `{path}` has {} bytes, which is more than the system takes: choose \
         a shorter one, or one that is relative to the working directory",
        .path.as_os_str().len()
    )]
    SocketPath {
        /// The socket.
        path: PathBuf,
    },
    /// Somebody listens there.
    #[error("another process listens on the socket `{path}`: stop it, or choose another path")]
    SocketTaken {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("`{path}` is there and is not a socket: move it away, or choose another path")]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system does not give threads.
    #[error("the system refuses what the server needs to start: {0}")]
    System(#[source] io::Error),
}

/// Why a file does not give a [`Token`](crate::Token).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It can't be read.
    #[error("can't read the token file `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "other users may read the token file `{path}` (its mode is {mode:04o}): `chmod 600 {path}`"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// What it holds can't be a token.
    #[error(
        "the token in `{path}` {problem}; a token is {} to {} printable ASCII characters without \
         spaces, for example of `openssl rand -hex 32`",
        crate::token::SHORTEST,
        crate::token::LONGEST
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
}
