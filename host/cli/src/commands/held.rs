//! `wasink held`.

use anyhow::Context as _;
use serde_json::json;
use wasink::config::Config;
use wasink::journal::Fate;
use wasink::record::Timestamp;

use super::journals;
use crate::exit::{Exit, Failure};
use crate::flags::Held;
use crate::out;

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
        out::print(&format!("{:#}", json!({ "held": held })))?;
    } else if held.is_empty() {
        out::print("nothing is in doubt\n")?;
    }
    Ok(Exit::Success)
}

fn end(config: &Config, sink: &str, fate: Option<Fate>) -> Result<Exit, Failure> {
    let mut any = false;
    for (stream, journal) in journals::open(config, None)? {
        if !journal.sinks().context("can't read the journal")?.iter().any(|known| known == sink) {
            continue;
        }
        let place = || format!("the journal of `{stream}`");
        let mending = journal.lock().with_context(place)?;
        let Some(range) = mending.end_doubt(sink, fate).with_context(place)? else { continue };
        any = true;
        let what =
            if fate.is_some() { "counted as delivered" } else { "will be handed over again" };
        let (first, last) = (range.start, range.end - 1);
        out::print(&format!("{stream} {sink}: positions {first} to {last} {what}\n"))?;
    }
    if !any {
        out::print(&format!("nothing is in doubt at `{sink}`\n"))?;
    }
    Ok(Exit::Success)
}
