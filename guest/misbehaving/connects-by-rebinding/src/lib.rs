//! Uses names that it was granted and that lead to another address the second time: one inside. It
//! gets nowhere.

use std::net::{TcpStream, ToSocketAddrs as _};

use serde::Deserialize;
use wasink_guest::http::{Client, Request, Url};
use wasink_guest::prelude::*;

/// What it is told.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// A receiver whose name it was granted.
    pub url: String,
    /// A host whose name it was granted.
    pub name: String,
    /// The port of both.
    pub port: u16,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Settings);

impl Sink for Misbehaving {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(
            env!("CARGO_PKG_VERSION"),
            "uses a name that leads elsewhere the second time",
        )
        .all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut reached = Vec::new();
        for _ in 0..3 {
            let url =
                self.0.url.parse::<Url>().map_err(|error| Failure::rejected(error.to_string()))?;
            if Client::default().send(&Request::post(url)).is_ok() {
                reached.push("over HTTP");
            }
            let found = (&*self.0.name, self.0.port).to_socket_addrs();
            if found.is_ok_and(|mut found| found.any(|address| address.ip().is_loopback())) {
                reached.push("an address inside");
            }
        }
        if TcpStream::connect(("127.0.0.1", self.0.port)).is_ok() {
            reached.push("over TCP");
        }
        Err(Failure::rejected(format!("reached {reached:?}")))
    }
}

export_sink!(Misbehaving);
