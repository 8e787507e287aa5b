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

#[cfg(test)]
mod tests {
    use std::io;

    use wasink_chassis::limits::{LimitCounts, Limits};

    use super::*;
    use crate::net::Resolve;
    use crate::net::told::MOST;
    use crate::words::testing::{Heard, words};

    /// Every name leads to all of these.
    struct Leads(Vec<IpAddr>);

    impl Resolve for Leads {
        fn resolve(
            &self,
            _: String,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(addresses) })
        }
    }

    fn tcp(targets: &[&str], leads: &[&str]) -> (Arc<Tcp>, Arc<Heard>) {
        let (words, heard) = words(Limits::default(), &LimitCounts::default());
        let targets = targets.iter().map(|target| TcpTarget::parse(target).unwrap()).collect();
        let leads = leads.iter().map(|address| address.parse().unwrap()).collect();
        (Tcp::new(targets, Lookups::new(Arc::new(Leads(leads))), words), heard)
    }

    fn found(tcp: &Arc<Tcp>, name: &str) -> Option<Vec<IpAddr>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(tcp.clone().look_up(name.to_owned())).ok()
    }

    #[test]
    fn a_name_grants_its_public_addresses_at_its_own_ports() {
        let (tcp, _) = tcp(&["db.example:1", "db.example:2", "other.example:3"], &["8.8.8.8"]);
        assert!(!tcp.may_connect("8.8.8.8:1".parse().unwrap()), "before it is looked up");
        assert_eq!(found(&tcp, "DB.example").unwrap().len(), 1);
        for (address, allowed) in [
            ("8.8.8.8:1", true),
            ("8.8.8.8:2", true),
            ("[::ffff:8.8.8.8]:1", true),
            ("8.8.8.8:3", false),
            ("8.8.4.4:1", false),
        ] {
            assert_eq!(tcp.may_connect(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn a_private_address_is_granted_at_the_ports_of_its_network_alone() {
        let (tcp, _) = tcp(&["db.example:1", "db.example:2", "10.0.0.0/8:1"], &["10.1.2.3"]);
        assert_eq!(found(&tcp, "db.example").unwrap().len(), 1);
        for (address, allowed) in
            [("10.1.2.3:1", true), ("[::ffff:10.1.2.3]:1", true), ("10.1.2.3:2", false)]
        {
            assert_eq!(tcp.may_connect(address.parse().unwrap()), allowed, "{address}");
        }
    }

    #[test]
    fn sockets_are_for_connecting_and_for_nothing_else() {
        let (tcp, _) = tcp(&["0.0.0.0/0:1"], &[]);
        let check =
            |address: &str, used| pollster::block_on(tcp.check(address.parse().unwrap(), used));
        assert!(check("8.8.8.8:1", SocketAddrUse::TcpConnect));
        assert!(check("0.0.0.0:0", SocketAddrUse::TcpBind));
        assert!(!check("0.0.0.0:1", SocketAddrUse::TcpBind));
        assert!(!check("127.0.0.1:0", SocketAddrUse::TcpBind));
        for used in [SocketAddrUse::TcpListen, SocketAddrUse::TcpAccept, SocketAddrUse::UdpSend] {
            assert!(!check("8.8.8.8:1", used), "{used:?}");
            assert!(!check("0.0.0.0:0", used), "{used:?}");
        }
    }

    #[test]
    fn neither_what_is_remembered_nor_what_is_told_grows_without_an_end() {
        let many: Vec<_> = (0..2_000).map(|n| format!("8.8.{}.{}", n / 250, n % 250)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let (tcp, heard) = tcp(&["many.example:1"], &many);
        for _ in 0..2 {
            assert_eq!(found(&tcp, "many.example").unwrap().len(), 2_000);
        }
        // Those of one name are all of use, and those of the next take their place.
        let leads = Leads(vec!["9.9.9.9".parse().unwrap()]);
        let targets = tcp.targets.clone();
        let next = Tcp {
            targets,
            found: Mutex::new(std::mem::take(&mut *tcp.found.lock().unwrap())),
            lookups: Lookups::new(Arc::new(leads)),
            words: tcp.words.clone(),
            told: Told::default(),
        };
        let next = Arc::new(next);
        assert_eq!(found(&next, "many.example").unwrap().len(), 1);
        assert_eq!(next.found.lock().unwrap().len(), 1);
        for port in 1..1_000 {
            assert!(!tcp.may_connect(SocketAddr::new("9.9.9.9".parse().unwrap(), port)));
            let refused = tcp.check(([9, 9, 9, 9], port).into(), SocketAddrUse::TcpConnect);
            assert!(!pollster::block_on(refused));
        }
        assert_eq!(heard.lines(), MOST);
    }
}
