//! Does wrong where and how its settings say, and delivers otherwise.
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `on` | | the call: `open`, `write`, `flush` or `close` |
//! | `does` | | what it does there: see [`Fault`] |
//! | `at` | every call | only at this call of that name, counted from 1 |
//! | `remember` | `false` | count on where an earlier instance stopped: in `calls-<call>` in the data directory |
//! | `after_ms` | | what a `retry` asks for |

mod fault;

use std::time::Duration;

use serde::Deserialize;
use wasink_guest::prelude::*;

pub use fault::Fault;
use fault::Verdict;

/// The plugin.
#[derive(Debug)]
pub struct Faulty {
    settings: Settings,
    calls: u64,
}

/// Where and how it does wrong.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The call.
    pub on: Call,
    /// What it does there.
    pub does: Fault,
    /// Only at this call of that name, from 1.
    pub at: Option<u64>,
    /// Count on where an earlier instance stopped.
    #[serde(default)]
    pub remember: bool,
    /// What a `retry` asks for, in milliseconds.
    pub after_ms: Option<u64>,
}

/// A call of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// `open`.
    Open,
    /// `write`.
    Write,
    /// `flush`.
    Flush,
    /// `close`.
    Close,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Write => "write",
            Self::Flush => "flush",
            Self::Close => "close",
        }
    }
}

impl Sink for Faulty {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "does wrong as it is told").all_streams()
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let mut faulty = Self { settings, calls: 0 };
        faulty.call(Call::Open, None)?;
        Ok(faulty)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        self.call(Call::Write, Some(batch))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.call(Call::Flush, None).map(drop)
    }

    fn close(mut self) -> Result<(), Error> {
        self.call(Call::Close, None)?;
        Ok(())
    }
}

impl Faulty {
    fn call(&mut self, call: Call, batch: Option<&Batch>) -> Result<Outcomes, Failure> {
        if call != self.settings.on {
            return Ok(Outcomes::delivered());
        }
        self.calls = if self.settings.remember { count(call)? } else { self.calls + 1 };
        if self.settings.at.is_some_and(|at| at != self.calls) {
            return Ok(Outcomes::delivered());
        }
        let after = self.settings.after_ms.map(Duration::from_millis);
        match fault::commit(self.settings.does, call, batch) {
            Verdict::Outcomes(outcomes) => Ok(outcomes),
            Verdict::Retry => Err(match after {
                Some(after) => Failure::retry_after(after, "told to retry"),
                None => Failure::retry("told to retry"),
            }),
            Verdict::Reject => Err(Failure::rejected("told to reject")),
            Verdict::Broken(reason) => Err(Failure::broken(reason)),
        }
    }
}

/// One more call, as the file in the data directory has it.
fn count(call: Call) -> Result<u64, Failure> {
    let directory = Directory::data()?;
    let name = format!("calls-{}", call.name());
    let before = match directory.read(&name, 20) {
        Ok(text) => str::from_utf8(&text).ok().and_then(|n| n.trim().parse().ok()).unwrap_or(0),
        Err(_) => 0_u64,
    };
    directory.write(&name, (before + 1).to_string().as_bytes())?;
    Ok(before + 1)
}

export_sink!(Faulty);

#[cfg(test)]
mod tests;
