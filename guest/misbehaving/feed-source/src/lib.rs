//! A source of control events that does wrong where and how its settings say. Its feed has six events,
//! `evt_1` to `evt_6`, each at the version of its number; where it is told nothing else, it gives them as
//! it should.
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `on` | | the call: `open`, `poll`, `ack` or `close` |
//! | `does` | | what it does there: see [`Fault`] and [`Lie`] |
//! | `since` | 0 | only at polls from this version on; what comes before is as it should be |
//!
//! It is asked to describe itself before it has settings: what it does there stands in its own bytes,
//! where tests write it over.

mod fault;
mod lie;

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Deserialize;
use wasink_guest::wasip2::random::random::get_random_u64;
use wasink_guest::{
    Acknowledge, Context, ControlEvent, Description, Error, Failure, FeedSource, Need,
};

pub use fault::Fault;
pub use lie::Lie;

/// How it describes itself. Found in the file by its beginning.
static ORDERS: [u8; 48] = *b"what the source says of itself: all             ";

/// Says what terminals act on.
const HOSTILE: &str =
    "a\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}gpj.exe\u{9b}31m\u{7f}\u{0}\u{2028}z";

/// So many events are in its feed.
const EVENTS: u64 = 6;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving(Settings);

/// Where and how it does wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The call.
    pub on: Call,
    /// What it does there.
    pub does: Wrong,
    /// Only at polls from this version on.
    #[serde(default)]
    pub since: u64,
}

/// A call of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `open`.
    Open,
    /// `poll`.
    Poll,
    /// `ack`.
    Ack,
    /// `close`.
    Close,
}

/// What it does.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Wrong {
    /// It does not answer, or not what it was asked.
    Fault(Fault),
    /// On `poll`: its events are not what they should be.
    Lie(Lie),
}

impl Misbehaving {
    /// Does wrong, if this is the call for it.
    fn call(&self, call: Call) -> Result<(), Failure> {
        match self.0.does {
            Wrong::Fault(fault) if self.0.on == call => fault.commit(),
            _ => Ok(()),
        }
    }
}

impl FeedSource for Misbehaving {
    type Settings = Settings;

    fn describe() -> Description {
        let orders = String::from_utf8_lossy(black_box(&ORDERS)).into_owned();
        let summary = "gives events as it likes";
        let about = Description::new(env!("CARGO_PKG_VERSION"), summary);
        match orders.split_once(':').unwrap_or_default().1.trim() {
            "panic" => panic!("it will not say what it is"),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "garbage" => about.settings_schema("{"),
            "chance" => {
                let (now, chance) = (wasink_guest::now(), get_random_u64());
                Description::new("0.1.0", format!("{now:?} {:?} {chance}", Instant::now()))
            }
            "control" => Description::new(HOSTILE, HOSTILE).can_use(Need::Directory, HOSTILE),
            _ => about,
        }
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let source = Self(settings);
        source.call(Call::Open)?;
        Ok(source)
    }

    fn poll(&mut self, since: u64, max: u32, _: Duration) -> Result<Vec<ControlEvent>, Failure> {
        if self.0.on == Call::Poll && since >= self.0.since {
            self.call(Call::Poll)?;
            if let Wrong::Lie(lie) = self.0.does {
                return Ok(lie.told(self.0.since, since, max));
            }
        }
        // As it should be, and not beyond where it does wrong.
        let end = if since < self.0.since { self.0.since } else { EVENTS };
        let versions =
            (since.saturating_add(1)..=end).take(usize::try_from(max).unwrap_or(usize::MAX));
        Ok(versions.map(event).collect())
    }

    fn close(self) -> Result<(), Error> {
        self.call(Call::Close)?;
        Ok(())
    }
}

impl Acknowledge for Misbehaving {
    fn ack(&mut self, _: &[String]) -> Result<(), Failure> {
        self.call(Call::Ack)
    }
}

/// The event of its feed at this version.
fn event(version: u64) -> ControlEvent {
    ControlEvent {
        event_id: format!("evt_{version}"),
        event_type: "tenant.created".to_owned(),
        tenant_id: Some("acme".to_owned()),
        stack_id: None,
        version: None,
        base_version: None,
        artifact_ref: None,
        checksum: None,
        control_version: version,
        created_at: None,
    }
}

wasink_guest::export_feed_source!(Misbehaving, acks);
