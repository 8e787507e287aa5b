//! Connections to addresses that were checked.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::TcpStream;
use tower_service::Service;
use wasink_chassis::config::{Host, HttpOrigin};
use wasmtime_wasi_http::Error;

use super::address::is_allowed;
use super::names::Lookups;

/// Connects to one host, whatever it is asked for: the client that it belongs to has one origin.
#[derive(Clone)]
pub(super) struct Connector {
    host: Host,
    port: u16,
    /// `None`: the operator named the host, and it may be anywhere.
    networks: Option<Arc<[IpNet]>>,
    lookups: Lookups,
    patience: Duration,
}

impl Connector {
    /// To an origin whose name may lead to public addresses and to these networks.
    pub(super) fn to_origin(
        origin: &HttpOrigin,
        networks: &[IpNet],
        lookups: Lookups,
        patience: Duration,
    ) -> Self {
        let (host, networks) = (origin.host.clone(), Some(networks.into()));
        Self { host, port: origin.port, networks, lookups, patience }
    }

    /// To a proxy.
    pub(super) fn to_proxy(proxy: &HttpOrigin, lookups: Lookups, patience: Duration) -> Self {
        Self { host: proxy.host.clone(), port: proxy.port, networks: None, lookups, patience }
    }

    async fn connect(self) -> Result<TokioIo<TcpStream>, ConnectError> {
        let connect = async {
            let addresses = self.addresses().await?;
            let mut last = ConnectError(Error::DestinationNotFound);
            for address in addresses {
                match TcpStream::connect(SocketAddr::new(address, self.port)).await {
                    Ok(stream) => {
                        // Requests are written whole, so waiting for more to send gains nothing.
                        drop(stream.set_nodelay(true));
                        return Ok(TokioIo::new(stream));
                    }
                    Err(error) => last = ConnectError::connecting(&error),
                }
            }
            Err(last)
        };
        let late = |_| Err(ConnectError(Error::ConnectionTimeout));
        tokio::time::timeout(self.patience, connect).await.unwrap_or_else(late)
    }

    /// The addresses that may be connected to, one at least.
    async fn addresses(&self) -> Result<Vec<IpAddr>, ConnectError> {
        let name = match &self.host {
            Host::Address(address) => return Ok(vec![*address]),
            Host::Name(name) => name.clone(),
        };
        let found = self.lookups.resolve(name).await.map_err(|error| {
            ConnectError(Error::DnsError { rcode: Some(error.to_string()), info_code: None })
        })?;
        let allowed = |address: &IpAddr| match &self.networks {
            Some(networks) => is_allowed(*address, networks),
            None => true,
        };
        let known = !found.is_empty();
        let addresses: Vec<_> = found.into_iter().filter(allowed).collect();
        match (addresses.is_empty(), known) {
            (false, _) => Ok(addresses),
            (true, true) => Err(ConnectError(Error::DestinationIpProhibited)),
            (true, false) => Err(ConnectError(Error::DestinationNotFound)),
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

/// Why there is no connection, in words that a guest understands.
#[derive(Debug)]
pub(super) struct ConnectError(pub(super) Error);

impl ConnectError {
    fn connecting(error: &io::Error) -> Self {
        Self(match error.kind() {
            io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            io::ErrorKind::TimedOut => Error::ConnectionTimeout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                Error::DestinationUnavailable
            }
            _ => Error::ConnectionTerminated,
        })
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ConnectError {}
