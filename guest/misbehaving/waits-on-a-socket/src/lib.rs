//! Connects to where it may, and waits for an answer that never comes. It is ended at its deadline.

use std::io::Read as _;
use std::net::TcpStream;

use serde::Deserialize;
use wasink_guest::prelude::*;

/// What it is told.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// Where nobody answers: `host:port`.
    pub to: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Settings);

impl Sink for Misbehaving {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "waits for an answer that never comes")
            .all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let mut answer = Vec::new();
        match TcpStream::connect(&self.0.to).and_then(|mut stream| stream.read_to_end(&mut answer))
        {
            Ok(_) => Err(Failure::rejected("somebody answered")),
            Err(error) => Err(Failure::rejected(error.to_string())),
        }
    }
}

export_sink!(Misbehaving);
