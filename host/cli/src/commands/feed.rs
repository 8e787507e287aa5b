//! `wasink feed`.

use anyhow::{Context as _, anyhow};
use serde_json::json;
use wasink::config::{Config, FeedConfig, OutboxConfig};
use wasink::feed::applier::Store as _;
use wasink::feed::outbox::Outbox;
use wasink::feeds;

use crate::exit::{Exit, Failure};
use crate::flags::Feed;
use crate::out;
use crate::{show, state};

/// More dead letters than anybody reads.
const MOST_DEAD: usize = 10_000;

pub(super) fn run(config: &Config, command: &Feed) -> Result<Exit, Failure> {
    match command {
        Feed::Status { name, json } => status(config, name.as_deref(), json.json),
        Feed::Skip { feed, version, reason } => skip(config, feed, *version, reason),
        Feed::Replay { feed, from } => replay(config, feed, *from),
        Feed::Dead { outbox, json } => dead(config, outbox, json.json),
        Feed::Revive { outbox, rows } => revive(config, outbox, rows),
    }
}

/// What the databases say: also while nobody runs, and of other processes that use them.
fn status(config: &Config, name: Option<&str>, as_json: bool) -> Result<Exit, Failure> {
    let wanted = |of: &str| name.is_none_or(|name| name == of);
    let outboxes: Vec<_> = config.outboxes.iter().filter(|of| wanted(&of.instance.name)).collect();
    let feeds: Vec<_> = config.feeds.iter().filter(|of| wanted(&of.instance.name)).collect();
    if let (Some(name), true, true) = (name, outboxes.is_empty(), feeds.is_empty()) {
        let known = config.outboxes.iter().map(|of| &of.instance.name);
        let known = known.chain(config.feeds.iter().map(|of| &of.instance.name));
        return Err(unknown("outbox or feed", name, known));
    }
    let mut failure = None;
    let mut told = json!({ "outboxes": [], "feeds": [] });
    let mut tell = |kind: &str, name: &str, read: Result<_, anyhow::Error>| {
        let status = read.unwrap_or_else(|error| {
            let problem = format!("{error:#}");
            failure = Some(error);
            json!({ "name": name, "problem": problem })
        });
        if let Some(list) = told.get_mut(kind).and_then(|list| list.as_array_mut()) {
            list.push(status);
        }
    };
    for of in outboxes {
        let (name, plugin) = (&of.instance.name, &of.instance.plugin);
        let read = feeds::read_outbox(of).map(|status| match status {
            Some(status) => json!(status),
            None => json!({ "name": name, "plugin": plugin, "problem": NO_DATABASE }),
        });
        tell("outboxes", name, read.map_err(Into::into));
    }
    for of in feeds {
        let (name, plugin) = (&of.instance.name, &of.instance.plugin);
        let read = feeds::read_feed(of).map(|status| match status {
            Some(status) => json!(status),
            None => json!({ "name": name, "plugin": plugin, "problem": NO_DATABASE }),
        });
        tell("feeds", name, read.map_err(Into::into));
    }
    if as_json {
        out::print(&show::json(&told))?;
    } else {
        let text = state::feeds(&told);
        let none = "the configuration has no [[outbox]] and no [[feed]]\n";
        out::print(if text.is_empty() { none } else { &text })?;
    }
    // Told above, beside what could be read.
    Ok(if failure.is_some() { Exit::Failure } else { Exit::Success })
}

const NO_DATABASE: &str = "its database is not there yet";

fn skip(config: &Config, name: &str, version: Option<u64>, reason: &str) -> Result<Exit, Failure> {
    let of = feed(config, name)?;
    let mut store = feeds::open_store(of)?.ok_or_else(|| no_database(&of.database))?;
    let halted = store.status()?.halted;
    // What halts it now, where nobody says which: and it has to be the same when it is noted.
    let version = version.or(halted.map(|halted| halted.version)).unwrap_or(0);
    store.skip(version, reason).with_context(|| format!("feed `{name}`"))?;
    out::print(&format!(
        "the event at {version} of `{name}` will be skipped with the next pass, unless it can be \
         applied by then\n"
    ))?;
    Ok(Exit::Success)
}

fn replay(config: &Config, name: &str, from: u64) -> Result<Exit, Failure> {
    let of = feed(config, name)?;
    let mut store = feeds::open_store(of)?.ok_or_else(|| no_database(&of.database))?;
    let cursor = store.status()?.cursor;
    if from > cursor {
        let error = anyhow!(
            "feed `{name}` is at {cursor}, and to begin behind {from} would leave out what comes \
             between; give `--from` {cursor} or less"
        );
        return Err(error.into());
    }
    store.replay(from).with_context(|| format!("feed `{name}`"))?;
    out::print(&format!(
        "`{name}` begins again behind {from}; events that were applied before are known by their \
         ids\n"
    ))?;
    Ok(Exit::Success)
}

fn dead(config: &Config, name: &str, as_json: bool) -> Result<Exit, Failure> {
    let mut outbox = outbox(config, name)?;
    let letters = outbox.dead(MOST_DEAD)?;
    if as_json {
        let letters = letters.iter().map(|letter| {
            json!({
                "row": letter.row,
                "event_id": letter.event_id,
                "attempts": letter.attempts,
                "error": letter.error,
                "since": letter.since,
            })
        });
        out::print(&show::json(&json!({ "dead": letters.collect::<Vec<_>>() })))?;
    } else if letters.is_empty() {
        out::print(&format!("`{name}` has no dead letters\n"))?;
    } else {
        for letter in &letters {
            let (id, error) = (show::printable(&letter.event_id), show::printable(&letter.error));
            let (row, attempts) = (letter.row, show::number(letter.attempts.into()));
            let since = show::printable(&letter.since);
            out::print(&format!("{row}: {id}, after {attempts} attempts, {since}: {error}\n"))?;
        }
    }
    Ok(Exit::Success)
}

fn revive(config: &Config, name: &str, rows: &[i64]) -> Result<Exit, Failure> {
    let mut outbox = outbox(config, name)?;
    let mut missing = Vec::new();
    for row in rows {
        if outbox.revive(*row)? {
            out::print(&format!("{row} is to be published again, at its old place\n"))?;
        } else {
            missing.push(row.to_string());
        }
    }
    if missing.is_empty() {
        return Ok(Exit::Success);
    }
    let rows = missing.join(", ");
    Err(anyhow!("no dead letters of `{name}`: {rows}; `wasink feed dead {name}` lists them").into())
}

fn feed<'a>(config: &'a Config, name: &str) -> Result<&'a FeedConfig, Failure> {
    let known = config.feeds.iter().map(|of| &of.instance.name);
    let found = config.feeds.iter().find(|of| of.instance.name == name);
    found.ok_or_else(|| unknown("feed", name, known))
}

fn outbox(config: &Config, name: &str) -> Result<Box<dyn Outbox>, Failure> {
    let known = config.outboxes.iter().map(|of| &of.instance.name);
    let found: Option<&OutboxConfig> = config.outboxes.iter().find(|of| of.instance.name == name);
    let of = found.ok_or_else(|| unknown("outbox", name, known))?;
    feeds::open_outbox(of)?.ok_or_else(|| anyhow!("outbox `{name}`: {NO_DATABASE}").into())
}

fn no_database(path: &std::path::Path) -> anyhow::Error {
    anyhow!("{}: {NO_DATABASE}", path.display())
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Failure {
    let name = name.escape_debug();
    let known: Vec<_> = known.map(String::as_str).collect();
    match known.is_empty() {
        true => anyhow!("no {what} is named `{name}`: the configuration has none").into(),
        false => anyhow!("no {what} is named `{name}`; there are: {}", known.join(", ")).into(),
    }
}
