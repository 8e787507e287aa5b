//! `wasink held`.

use anyhow::Context as _;
use serde_json::json;
use wasink::config::Config;
use wasink::journal::Fate;
use wasink::record::Timestamp;

use super::journals::{self, Lock};
use crate::exit::{Exit, Failure};
use crate::flags::Held;
use crate::out;
use crate::show;
use crate::state;

pub(super) fn run(config: &Config, command: &Held) -> Result<Exit, Failure> {
    match command {
        Held::List { json } => list(config, json.json),
        Held::Resend { sink } => end(config, sink, None),
        Held::Discard { sink } => end(config, sink, Some(Fate::Delivered)),
    }
}

fn list(config: &Config, as_json: bool) -> Result<Exit, Failure> {
    let mut held = Vec::new();
    for (stream, journal) in journals::open(config, None)? {
        let inspection = journal.inspect().context("can't read the journal")?;
        for (sink, lane) in &inspection.lanes {
            let Some(doubt) = lane.state.as_ref().and_then(|state| state.doubt) else { continue };
            let since = Timestamp::from_unix_nanos(doubt.since);
            held.push(json!({
                "stream": stream,
                "sink": sink,
                "from": doubt.from,
                "to": doubt.to,
                "since": since,
            }));
            if !as_json {
                out::print(&format!(
                    "{stream} {sink}: positions {} to {}, handed over first at {since}\n",
                    doubt.from,
                    doubt.to - 1,
                ))?;
            }
        }
    }
    if as_json {
        out::print(&show::json(&json!({ "held": held })))?;
    } else if held.is_empty() {
        out::print("nothing is in doubt\n")?;
    }
    Ok(Exit::Success)
}

fn end(config: &Config, sink: &str, fate: Option<Fate>) -> Result<Exit, Failure> {
    let mut any = false;
    let mut tell = |stream: &str, first: u64, last: u64| {
        any = true;
        let what =
            if fate.is_some() { "counted as delivered" } else { "will be handed over again" };
        out::print(&format!("{stream} {sink}: positions {first} to {last} {what}\n"))
    };
    // A process that has one of the journals open is asked once, for all that it has.
    let mut theirs = None;
    for (stream, journal) in journals::open(config, None)? {
        if !journal.sinks().context("can't read the journal")?.iter().any(|known| known == sink) {
            continue;
        }
        let place = || format!("the journal of `{stream}`");
        match journals::lock(config, &journal).with_context(place)? {
            Lock::Ours(mending) => {
                if let Some(range) = mending.end_doubt(sink, fate).with_context(place)? {
                    tell(stream.as_str(), range.start, range.end - 1)?;
                }
            }
            Lock::Theirs(daemon) => theirs = Some(daemon),
        }
    }
    if let Some(daemon) = theirs {
        let verdict = if fate.is_some() { "discard" } else { "resend" };
        let body = json!({ "verdict": verdict });
        let answer = daemon.post(&format!("/v1/sinks/{sink}/held"), Some(&body))?;
        for ended in state::list(&answer, "ended") {
            let last = state::count(ended, "to").saturating_sub(1);
            tell(&state::text(ended, "stream"), state::count(ended, "from"), last)?;
        }
    }
    if !any {
        out::print(&format!("nothing is in doubt at `{sink}`\n"))?;
    }
    Ok(Exit::Success)
}
