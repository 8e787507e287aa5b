//! Connects to addresses that it was not granted, while it was granted another; listens, and sends
//! datagrams. It gets nowhere.

use std::net::{TcpListener, TcpStream, UdpSocket};

use serde::Deserialize;
use wasink_guest::prelude::*;

/// What it is told.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// Where somebody listens.
    pub port: u16,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Settings);

impl Sink for Misbehaving {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "connects to addresses that it was not granted")
            .all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        for host in
            ["127.0.0.1", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]", "127.1.2.3", "169.254.169.254"]
        {
            let address = format!("{host}:{}", self.0.port);
            if TcpStream::connect(&address).is_ok() {
                reached.push(address.clone());
            }
            if UdpSocket::bind("0.0.0.0:0")
                .and_then(|socket| socket.send_to(b"x", &address))
                .is_ok()
            {
                reached.push(format!("{address}/udp"));
            }
        }
        if TcpListener::bind("127.0.0.1:0").is_ok() || TcpListener::bind("0.0.0.0:0").is_ok() {
            reached.push("a port of its own".to_owned());
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
