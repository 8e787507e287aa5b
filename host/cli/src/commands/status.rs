//! `wasink status`.

use std::io::IsTerminal as _;
use std::thread;
use std::time::{Duration, Instant};

use wasink::config::Config;

use crate::daemon::Daemon;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::{show, state};

/// How often a status that is watched is asked for.
const REFRESH: Duration = Duration::from_secs(1);

/// Puts what follows at the top of an empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(config: &Config, watch: bool, as_json: bool) -> Result<Exit, Failure> {
    let daemon = Daemon::of(config)?;
    if !watch {
        let status = daemon.get("/v1/status")?;
        let text = if as_json { show::json(&status) } else { state::status(&status, None) };
        out::print(&text)?;
        return Ok(Exit::Success);
    }
    let clear = if std::io::stdout().is_terminal() && !as_json { CLEAR } else { "" };
    let mut before = None;
    loop {
        let (now, status) = (Instant::now(), daemon.get("/v1/status")?);
        let earlier = before.as_ref().map(|(at, status)| (status, now.duration_since(*at)));
        let text = if as_json { show::json_line(&status) } else { state::status(&status, earlier) };
        if !out::offer(&format!("{clear}{text}"))? {
            return Ok(Exit::Success);
        }
        before = Some((now, status));
        thread::sleep(REFRESH);
    }
}
