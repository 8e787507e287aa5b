//! Follows a redirect of a receiver that it was granted to one that it was not. It gets no further
//! than the first.

use serde::Deserialize;
use wasink_guest::http::{Client, Request, Url};
use wasink_guest::prelude::*;

/// What it is told.
#[derive(Debug, Deserialize)]
pub struct Settings {
    /// The receiver that it was granted.
    pub url: String,
}

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Settings);

impl Sink for Misbehaving {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "follows a redirect to where it may not go")
            .all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self(settings))
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        let reached = || -> Result<Option<u16>, Box<dyn std::error::Error>> {
            let first = Client::default().send(&Request::post(self.0.url.parse::<Url>()?))?;
            let next = first.header("location").ok_or("no redirect")?.parse::<Url>()?;
            Ok(Client::default().send(&Request::post(next)).ok().map(|answer| answer.status))
        };
        match reached() {
            Ok(reached) => Err(Failure::rejected(format!("reached {:?}", Vec::from_iter(reached)))),
            Err(error) => Err(Failure::rejected(format!("did not come so far: {error}"))),
        }
    }
}

export_sink!(Misbehaving);
