//! A receiver of control events that does wrong where and how its settings say. The event `evt_7` has
//! the version 7 whenever it is appended, so that what is appended again has the version that it had.
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `on` | | the call: `open`, `append` or `close` |
//! | `does` | | what it does there: see [`Wrong`] |
//! | `behind` | 0 | only where an event beyond this number is appended |
//!
//! It answers without the SDK's help, which would put some of its answers right.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::bindings::host::wasink::plugin::lifecycle::{Again, Failure};
use wasink_guest::{Context, ControlEvent, Level, Value, log, serde_json};

/// Says what terminals act on.
const HOSTILE: &str =
    "a\u{1b}[2J\u{1b}]0;title\u{7}\r\n\u{202e}gpj.exe\u{9b}31m\u{7f}\u{0}\u{2028}z";

/// The plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misbehaving {
    /// The call.
    pub on: Call,
    /// What it does there.
    pub does: Wrong,
    /// Only where an event beyond this number is appended.
    #[serde(default)]
    pub behind: u64,
}

/// A call of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `open`.
    Open,
    /// `append`.
    Append,
    /// `close`.
    Close,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// Traps.
    Panic,
    /// Computes and never comes back.
    Spin,
    /// Waits for an hour.
    Sleep,
    /// Allocates until there is no more.
    Allocate,
    /// Can't go on, with a megabyte of reason.
    Broken,
    /// Rejects the call, with a megabyte of reason.
    Rejected,
    /// Rejects each event, for a reason that terminals act on.
    RejectsEach,
    /// Each event is to come again in half a billion years, with a megabyte of reason.
    RetriesEach,
    /// Speaks in the names of others, and then appends.
    Impostor,
    /// No result for the last event.
    TooFew,
    /// A million results.
    TooMany,
    /// No versions.
    Unstamped,
    /// No version for the first event, and versions for those behind it.
    UnstampedThenStamped,
    /// One version for all.
    Repeated,
    /// The version of the first event that is appended, for all that come later: by themselves, too.
    Stuck,
    /// Versions that go down.
    Descending,
    /// The first version that no signed number has.
    BeyondSigned,
    /// The last version that there can be.
    Last,
    /// The first event is not appended, and those behind it are.
    ErrorThenVersions,
}

/// What becomes of an event.
pub type Appended = Result<u64, Failure>;

impl Misbehaving {
    /// The contract's `open`.
    pub fn open(context: &Context) -> Result<Self, String> {
        let sink: Self =
            serde_json::from_str(&context.settings).map_err(|error| error.to_string())?;
        match sink.on {
            Call::Open => sink.wrong(&[]).map(|_| sink).map_err(|failure| format!("{failure:?}")),
            _ => Ok(sink),
        }
    }

    /// The contract's `append`.
    pub fn append(&self, events: &[ControlEvent]) -> Result<Vec<Appended>, Failure> {
        let numbers: Vec<_> = events.iter().map(number).collect();
        if self.on == Call::Append && numbers.iter().any(|number| *number > self.behind) {
            return self.wrong(&numbers);
        }
        Ok(numbers.into_iter().map(Ok).collect())
    }

    /// The contract's `close`.
    pub fn close(&self) -> Result<(), String> {
        match self.on {
            Call::Close => self.wrong(&[]).map(drop).map_err(|failure| format!("{failure:?}")),
            _ => Ok(()),
        }
    }

    fn wrong(&self, numbers: &[u64]) -> Result<Vec<Appended>, Failure> {
        let endless = |word: &str| word.repeat((1 << 20) / word.len());
        let but_first = |first: Appended| {
            let behind = numbers.iter().skip(1).copied().map(Ok);
            Ok(std::iter::once(first).chain(behind).collect())
        };
        let all = |version: u64| Ok(vec![Ok(version); numbers.len()]);
        match self.does {
            Wrong::Panic => panic!("told to panic"),
            Wrong::Spin => loop {
                std::hint::spin_loop();
            },
            Wrong::Sleep => std::thread::sleep(Duration::from_secs(3_600)),
            Wrong::Allocate => loop {
                std::mem::forget(black_box(vec![1_u8; 1 << 20]));
            },
            Wrong::Broken => return Err(Failure::Broken(endless("broken "))),
            Wrong::Rejected => return Err(Failure::Rejected(endless("rejected "))),
            Wrong::RejectsEach => {
                return Ok(vec![Err(Failure::Rejected(HOSTILE.to_owned())); numbers.len()]);
            }
            Wrong::RetriesEach => {
                let again = Again { after: Some(u64::MAX), reason: endless("again ") };
                return Ok(vec![Err(Failure::Retry(again)); numbers.len()]);
            }
            Wrong::Impostor => {
                let line = "x\n2026-01-01T00:00:00Z ERROR good: the disk is gone sink=good";
                log(Level::Error, line, &[("sink", Value::Text("good"))]);
                drop(writeln!(std::io::stderr(), "{line}"));
            }
            Wrong::TooFew => return Ok(numbers.iter().skip(1).copied().map(Ok).collect()),
            Wrong::TooMany => return Ok((1..=1_000_000).map(Ok).collect()),
            Wrong::Unstamped => return all(0),
            Wrong::UnstampedThenStamped => return but_first(Ok(0)),
            Wrong::Repeated => return all(numbers.first().copied().unwrap_or_default()),
            Wrong::Stuck => return all(self.behind),
            Wrong::Descending => {
                return Ok(numbers.iter().rev().copied().map(Ok).collect());
            }
            Wrong::BeyondSigned => return but_first(Ok(i64::MAX.unsigned_abs() + 1)),
            Wrong::Last => return all(u64::MAX),
            Wrong::ErrorThenVersions => {
                let again = Again { after: None, reason: "not this one".to_owned() };
                return but_first(Err(Failure::Retry(again)));
            }
        }
        Ok(numbers.iter().copied().map(Ok).collect())
    }
}

/// The number in an event's id.
fn number(event: &ControlEvent) -> u64 {
    event.event_id.rsplit('_').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(target_family = "wasm")]
mod component {
    use std::cell::RefCell;

    use wasink_guest::Description;
    use wasink_guest::bindings::about::exports::wasink::plugin::about;
    use wasink_guest::bindings::feed_sink::exports::wasink::plugin::feed_sink;

    use super::{Appended, Context, ControlEvent, Failure, Misbehaving};

    struct Component;

    thread_local! {
        static SINK: RefCell<Option<Misbehaving>> = const { RefCell::new(None) };
    }

    impl about::Guest for Component {
        fn describe() -> Description {
            Description::new(env!("CARGO_PKG_VERSION"), "appends events as it likes")
        }
    }

    impl feed_sink::Guest for Component {
        fn open(context: Context) -> Result<(), String> {
            let sink = Misbehaving::open(&context)?;
            SINK.with(|place| *place.borrow_mut() = Some(sink));
            Ok(())
        }

        fn append(events: Vec<ControlEvent>) -> Result<Vec<Appended>, Failure> {
            SINK.with(|sink| match &*sink.borrow() {
                Some(sink) => sink.append(&events),
                None => Err(Failure::Broken("it is not open".to_owned())),
            })
        }

        fn close() -> Result<(), String> {
            SINK.with(|sink| sink.borrow().as_ref().map_or(Ok(()), Misbehaving::close))
        }
    }

    wasink_guest::bindings::about::export!(Component with_types_in wasink_guest::bindings::about);
    wasink_guest::bindings::feed_sink::export!(
        Component with_types_in wasink_guest::bindings::feed_sink
    );
}
