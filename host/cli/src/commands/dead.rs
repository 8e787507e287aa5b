//! `wasink dead`.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use wasink::config::Config;
use wasink::journal::{DeadLetter, Offline};
use wasink::record::{Clock as _, Stream, SystemClock};

use super::journals::{self, Lock};
use crate::daemon::{Daemon, DaemonError};
use crate::exit::{Exit, Failure};
use crate::flags::{Dead, DeadFilter};
use crate::out;
use crate::screen::Screen;
use crate::{show, state};

/// Letters that a running process is told of at once; it takes twice as many.
const AT_ONCE: usize = 50_000;

pub(super) fn run(config: &Config, command: &Dead) -> Result<Exit, Failure> {
    match command {
        Dead::List { filter, json } => {
            let found = find(config, filter)?;
            if json.json {
                return print_json(&found);
            }
            for Letters { sink, letters, .. } in &found {
                for letter in letters {
                    out::print(&line(sink, letter))?;
                }
            }
            if found.is_empty() {
                out::print("no dead letters\n")?;
            }
            Ok(Exit::Success)
        }
        Dead::Show { filter, json } => {
            let found = find(config, filter)?;
            if json.json {
                return print_json(&found);
            }
            for Letters { sink, letters, .. } in &found {
                for letter in letters {
                    out::print(&all(sink, letter))?;
                }
            }
            Ok(Exit::Success)
        }
        Dead::Replay { filter, json } => replay(config, filter, json.json),
        Dead::Purge { filter, all, json } => {
            if filter.is_empty() && !all {
                let error = anyhow::anyhow!("say which with a filter, or `--all`");
                return Err(Failure::new(Exit::Failure, error));
            }
            purge(config, filter, json.json)
        }
    }
}

/// Dead letters of one sink on one stream.
struct Letters {
    stream: Stream,
    sink: String,
    letters: Vec<DeadLetter>,
    journal: Offline,
}

fn find(config: &Config, filter: &DeadFilter) -> Result<Vec<Letters>, Failure> {
    let mut found = Vec::new();
    let mut left = filter.most.unwrap_or(usize::MAX);
    for (stream, journal) in journals::open(config, filter.stream)? {
        for sink in journal.sinks().context("can't read the journal")? {
            if filter.sink.as_ref().is_some_and(|only| *only != sink) {
                continue;
            }
            let dead = journal.dead(&sink, |letter| fits(letter, filter));
            let dead = dead.context("can't read the dead letters")?;
            if dead.damaged > 0 {
                let lines = dead.damaged;
                out::complain(&format!("{stream}: {sink}.dead has {lines} damaged lines"));
            }
            let mut letters = dead.letters;
            letters.truncate(left);
            left -= letters.len();
            if letters.is_empty() {
                continue;
            }
            // Each keeps a journal of its own: more of them are rare.
            let again = wasink::open_journal(config, stream).context("can't open the journal")?;
            let Some(again) = again else { continue };
            found.push(Letters { stream, sink, letters, journal: again });
        }
    }
    Ok(found)
}

fn fits(letter: &DeadLetter, filter: &DeadFilter) -> bool {
    let DeadFilter { tenant, reason, id, position, .. } = filter;
    tenant.as_ref().is_none_or(|tenant| letter.tenant.as_ref() == Some(tenant))
        && reason.as_ref().is_none_or(|reason| letter.reason.contains(reason.as_str()))
        && id.as_ref().is_none_or(|id| letter.id.to_string() == *id)
        && position.is_none_or(|position| letter.position == position)
}

fn print_json(found: &[Letters]) -> Result<Exit, Failure> {
    let letter = |sink: &str, letter: &DeadLetter| {
        let mut object = json!(letter);
        if let Some(object) = object.as_object_mut() {
            object.insert("sink".to_owned(), json!(sink));
        }
        object
    };
    let all: Vec<_> = found
        .iter()
        .flat_map(|Letters { sink, letters, .. }| letters.iter().map(|known| letter(sink, known)))
        .collect();
    out::print(&show::json(&json!({ "dead": all })))?;
    Ok(Exit::Success)
}

fn fate(letter: &DeadLetter) -> String {
    json!(letter.fate).as_str().unwrap_or_default().to_owned()
}

fn line(sink: &str, letter: &DeadLetter) -> String {
    format!(
        "{} {:8} {sink:12} {:>10} {} {}: {}\n",
        letter.last_attempt,
        letter.stream.as_str(),
        letter.position,
        letter.id,
        fate(letter),
        show::printable(&letter.reason),
    )
}

fn all(sink: &str, letter: &DeadLetter) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        text.push_str(&format!("{key:14} {}\n", show::printable(value)));
    };
    line("id", &letter.id.to_string());
    line("stream", letter.stream.as_str());
    line("sink", sink);
    line("position", &letter.position.to_string());
    line("tenant", letter.tenant.as_deref().unwrap_or("none"));
    line("fate", &fate(letter));
    line("reason", &letter.reason);
    line("attempts", &letter.attempts.to_string());
    line("taken", &letter.time.to_string());
    line("first attempt", &letter.first_attempt.to_string());
    line("last attempt", &letter.last_attempt.to_string());
    line("plugin", &format!("{} {}", letter.plugin, letter.digest));
    line("record", &letter.line);
    text.push('\n');
    text
}

fn replay(config: &Config, filter: &DeadFilter, as_json: bool) -> Result<Exit, Failure> {
    let screen = Arc::new(Screen::new(config.log));
    let (mut resolved, mut refused) = (0, Vec::new());
    for Letters { stream, sink, letters, journal } in find(config, filter)? {
        let place = || format!("the journal of `{stream}`");
        let Some(known) = config.sinks.iter().find(|known| known.name == sink) else {
            let error = anyhow::anyhow!(
                "sink `{sink}` is not configured any more, so there is nobody to take its letters"
            );
            return Err(Failure::new(Exit::Config, error));
        };
        let mut again = Vec::new();
        match journals::lock(config, &journal).with_context(place)? {
            Lock::Ours(mending) => {
                let replayed = wasink::replay(config, screen.clone(), known, letters)?;
                let resolve = mending.resolve(&sink, &replayed.resolved, SystemClock.now());
                resolve.with_context(place)?;
                resolved += replayed.resolved.len() as u64;
                again.extend(
                    replayed
                        .refused
                        .into_iter()
                        .map(|(letter, reason)| (letter.id.to_string(), reason)),
                );
            }
            Lock::Theirs(daemon) => {
                for answer in ask(&daemon, "replay", &sink, stream, &letters)? {
                    resolved += state::count(&answer, "delivered");
                    let text = |one: &Value, key| {
                        one.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
                    };
                    let refused = state::list(&answer, "refused").iter();
                    again.extend(refused.map(|one| (text(one, "id"), text(one, "reason"))));
                }
            }
        }
        for (id, reason) in again {
            if !as_json {
                let (id, reason) = (show::printable(&id), show::printable(&reason));
                out::complain(&format!("{stream} {sink} {id}: {reason}"));
            }
            refused.push(json!({ "sink": sink, "id": id, "reason": reason }));
        }
    }
    if as_json {
        out::print(&show::json(&json!({ "delivered": resolved, "refused": refused })))?;
    } else {
        let (resolved, refused) = (show::number(resolved), show::number(refused.len() as u64));
        out::print(&format!("{resolved} delivered, {refused} refused again\n"))?;
    }
    Ok(if refused.is_empty() { Exit::Success } else { Exit::Input })
}

/// Has the process that has the journal open do something with these letters. Answers come in parts
/// where there are very many.
fn ask(
    daemon: &Daemon,
    what: &str,
    sink: &str,
    stream: Stream,
    letters: &[DeadLetter],
) -> Result<Vec<Value>, DaemonError> {
    let path = format!("/v1/sinks/{sink}/dead/{what}");
    let parts = letters.chunks(AT_ONCE).map(|letters| {
        let positions: Vec<_> = letters.iter().map(|letter| letter.position).collect();
        daemon.post(&path, Some(&json!({ "stream": stream, "positions": positions })))
    });
    parts.collect()
}

fn purge(config: &Config, filter: &DeadFilter, as_json: bool) -> Result<Exit, Failure> {
    let mut purged = 0;
    for Letters { stream, sink, letters, journal } in find(config, filter)? {
        let place = || format!("the journal of `{stream}`");
        match journals::lock(config, &journal).with_context(place)? {
            Lock::Ours(mending) => {
                let positions: Vec<_> = letters.iter().map(|letter| letter.position).collect();
                let chosen = |letter: &DeadLetter| positions.contains(&letter.position);
                purged += mending.purge(&sink, chosen).with_context(place)?;
            }
            Lock::Theirs(daemon) => {
                for answer in ask(&daemon, "purge", &sink, stream, &letters)? {
                    purged += state::count(&answer, "purged");
                }
            }
        }
    }
    if as_json {
        out::print(&show::json(&json!({ "purged": purged })))?;
    } else {
        out::print(&format!("{} purged\n", show::number(purged)))?;
    }
    Ok(Exit::Success)
}
