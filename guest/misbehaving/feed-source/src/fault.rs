//! Calls without an answer, and answers that they failed.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::wasip2::clocks::monotonic_clock::subscribe_duration;
use wasink_guest::{Failure, Level, Value, log};

use crate::HOSTILE;

/// A way to do wrong in any call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Traps.
    Panic,
    /// Computes and never comes back.
    Spin,
    /// Waits for an hour, whatever it was told to.
    Sleep,
    /// Allocates until there is no more.
    Allocate,
    /// Takes a thing of the host's, never gives it back, and answers.
    Leak,
    /// Can't go on, with a megabyte of reason.
    Broken,
    /// Rejects the call, with a megabyte of reason.
    Rejected,
    /// Is to be asked again in half a billion years, with a megabyte of reason.
    Retry,
    /// Does not know, with a megabyte of reason.
    InDoubt,
    /// Can't go on, for a reason that terminals act on.
    ControlCharacters,
    /// Speaks in the names of others, and then answers.
    Impostor,
}

impl Fault {
    pub(crate) fn commit(self) -> Result<(), Failure> {
        let endless = |word: &str| word.repeat((1 << 20) / word.len());
        match self {
            Self::Panic => panic!("told to panic"),
            Self::Spin => loop {
                std::hint::spin_loop();
            },
            Self::Sleep => std::thread::sleep(Duration::from_secs(3_600)),
            Self::Allocate => loop {
                std::mem::forget(black_box(vec![1_u8; 1 << 20]));
            },
            Self::Leak => std::mem::forget(subscribe_duration(u64::MAX)),
            Self::Broken => return Err(Failure::broken(endless("broken "))),
            Self::Rejected => return Err(Failure::rejected(endless("rejected "))),
            Self::Retry => {
                return Err(Failure::retry_after(
                    Duration::from_millis(u64::MAX),
                    endless("again "),
                ));
            }
            Self::InDoubt => return Err(Failure::in_doubt(endless("doubt "))),
            Self::ControlCharacters => return Err(Failure::broken(HOSTILE)),
            Self::Impostor => {
                let line = "x\n2026-01-01T00:00:00Z ERROR good: the disk is gone sink=good";
                log(Level::Error, line, &[("sink", Value::Text("good"))]);
                drop(writeln!(std::io::stderr(), "{line}"));
            }
        }
        Ok(())
    }
}
