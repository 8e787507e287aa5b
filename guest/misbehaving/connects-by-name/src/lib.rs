//! Looks up and connects to names that it was not granted, while it was granted another. It gets
//! nowhere.

use std::net::{TcpStream, ToSocketAddrs as _};

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
        Description::new(env!("CARGO_PKG_VERSION"), "connects to names that it was not granted")
            .all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        for name in [
            "localhost",
            "inside.example",
            "LOCALHOST.",
            "granted.example.inside.example",
            "ip6-localhost",
        ] {
            if (name, self.0.port).to_socket_addrs().is_ok_and(|mut found| found.next().is_some())
                || TcpStream::connect((name, self.0.port)).is_ok()
            {
                reached.push(name);
            }
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
