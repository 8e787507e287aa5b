//! Makes sockets, as it may that was granted somewhere to connect to, and closes none.
//! `limits.handles` ends it.

use wasink_guest::prelude::*;
use wasink_guest::wasip2::sockets::network::IpAddressFamily;
use wasink_guest::wasip2::sockets::tcp_create_socket::create_tcp_socket;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "makes sockets and closes none").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut sockets = Vec::new();
        loop {
            match create_tcp_socket(IpAddressFamily::Ipv4) {
                Ok(socket) => sockets.push(socket),
                Err(code) => return Err(Failure::rejected(format!("{}: {code:?}", sockets.len()))),
            }
        }
    }
}

export_sink!(Misbehaving);
