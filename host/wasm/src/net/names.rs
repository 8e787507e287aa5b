//! Looking names up.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Looks up the addresses of hosts. Called for names that were granted, on the thread of a sink or of
/// its connections; must not block.
pub trait Resolve: Send + Sync {
    /// All addresses of the host of this name.
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>>;
}

/// Asks the system: its hosts file, its name servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            let mut addresses: Vec<_> = found.map(|address| address.ip().to_canonical()).collect();
            addresses.dedup();
            Ok(addresses)
        })
    }
}
