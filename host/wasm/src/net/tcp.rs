//! Connections over TCP, and names: to what was granted.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wasink_chassis::config::{TcpHosts, TcpTarget};
use wasink_chassis::logger::Level;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::sockets::SocketAddrUse;

use super::address::is_public;
use super::names::Lookups;
use super::told::Told;
use crate::host::HostState;
use crate::words::Words;

/// How long a name may take to be looked up.
const LOOKUP: Duration = Duration::from_secs(10);

/// So many addresses that names have led to are remembered. Older ones have to be looked up again.
const REMEMBERED: usize = 1_024;

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;

/// Where one instance may connect to.
pub(crate) struct Tcp {
    targets: Vec<TcpTarget>,
    /// Addresses that names have led to, and the ports that were granted with the names.
    found: Mutex<HashMap<IpAddr, HashSet<u16>>>,
    lookups: Lookups,
    words: Words,
    told: Told,
}

impl Tcp {
    pub(crate) fn new(targets: Vec<TcpTarget>, lookups: Lookups, words: Words) -> Arc<Self> {
        let (found, told) = (Mutex::default(), Told::default());
        Arc::new(Self { targets, found, lookups, words, told })
    }

    /// Whether there is anywhere to go.
    pub(crate) fn is_granted(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Whether a socket may be used so.
    pub(crate) fn check(&self, address: SocketAddr, used: SocketAddrUse) -> Answer<bool> {
        let allowed = match used {
            // What the system binds a socket to that is about to connect.
            SocketAddrUse::TcpBind => address.port() == 0 && address.ip().is_unspecified(),
            SocketAddrUse::TcpConnect => self.may_connect(address),
            _ => false,
        };
        if !allowed {
            self.tell(format!("{address}"), "it is not granted, or not in this way");
        }
        Box::pin(async move { allowed })
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_in_network(ip, address.port())
            || found.get(&ip).is_some_and(|ports| ports.contains(&address.port()))
    }

    fn is_in_network(&self, ip: IpAddr, port: u16) -> bool {
        self.targets.iter().any(|target| match &target.hosts {
            TcpHosts::Network(network) => target.port == port && network.contains(&ip),
            TcpHosts::Name(_) => false,
        })
    }

    /// The addresses of a host that was granted by its name.
    async fn look_up(self: Arc<Self>, name: String) -> Result<Vec<IpAddr>, ErrorCode> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            // Nothing is looked up; whether it may be connected to is seen then.
            return Ok(vec![address.to_canonical()]);
        }
        let wanted = name.to_ascii_lowercase();
        let of_name = |target: &&TcpTarget| match &target.hosts {
            TcpHosts::Name(name) => *name == wanted,
            TcpHosts::Network(_) => false,
        };
        let ports: HashSet<u16> =
            self.targets.iter().filter(of_name).map(|target| target.port).collect();
        if ports.is_empty() {
            self.tell(
                name,
                "its name is not granted; where it should be, write it into the sink's \
                             `grants.tcp` as `host:port`",
            );
            return Err(ErrorCode::AccessDenied);
        }
        let found = tokio::time::timeout(LOOKUP, self.lookups.resolve(wanted)).await;
        let found = found.map_err(|_| ErrorCode::TemporaryResolverFailure)?;
        let found = found.map_err(|_| ErrorCode::NameUnresolvable)?;
        let usable =
            |ip: &IpAddr| is_public(*ip) || ports.iter().any(|port| self.is_in_network(*ip, *port));
        let (usable, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(usable);
        if usable.is_empty() && !refused.is_empty() {
            self.tell(
                name,
                "its name leads to an address that is not public; where that is right, \
                             write `address:port` into the sink's `grants.tcp` as well",
            );
            return Err(ErrorCode::AccessDenied);
        }
        let mut remembered = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() > REMEMBERED {
            remembered.clear();
        }
        for ip in usable.iter().filter(|ip| is_public(**ip)) {
            remembered.entry(*ip).or_default().extend(&ports);
        }
        Ok(usable)
    }

    /// Says once what was refused.
    fn tell(&self, mut target: String, reason: &str) {
        crate::words::cut(&mut target, 300);
        if !self.told.is_news(target.clone()) {
            return;
        }
        let fields = [("target".to_owned(), target.into()), ("reason".to_owned(), reason.into())];
        self.words.tell(Level::Warn, "a connection was refused", &fields);
    }
}

/// Addresses that a guest has asked for, one after the other.
struct Addresses(std::vec::IntoIter<IpAddr>);

#[async_trait]
impl Pollable for Addresses {
    async fn ready(&mut self) {}
}

/// Puts our looking up in the place of wasmtime's, which looks up any name or none. To be called
/// after that is there.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut names = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    names.resource(
        "resolve-address-stream",
        ResourceType::host::<Addresses>(),
        |mut store: StoreContextMut<'_, HostState>, handle| {
            store.data_mut().table.delete(Resource::<Addresses>::new_own(handle))?;
            Ok(())
        },
    )?;
    names.func_wrap_async(
        "resolve-addresses",
        |mut store, (network, name): (Resource<Network>, String)| {
            Box::new(async move {
                let state: &mut HostState = store.data_mut();
                state.table.get(&network)?;
                let found = match state.tcp.clone().look_up(name).await {
                    Ok(found) => Ok(state.table.push(Addresses(found.into_iter()))?),
                    Err(code) => Err(code),
                };
                Ok((found,))
            })
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store, (addresses,): (Resource<Addresses>,)| {
            let state: &mut HostState = store.data_mut();
            let next = state.table.get_mut(&addresses)?.0.next().map(IpAddress::from);
            Ok((Ok::<_, ErrorCode>(next),))
        },
    )?;
    names.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store, (addresses,): (Resource<Addresses>,)| {
            let state: &mut HostState = store.data_mut();
            let pollable: Resource<DynPollable> = subscribe(&mut state.table, addresses)?;
            Ok((pollable,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
