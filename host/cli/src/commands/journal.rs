//! `wasink journal`.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde_json::json;
use wasink::config::Config;
use wasink::journal::{Inspection, Offline};
use wasink::record::Stream;

use super::journals;
use crate::exit::{Exit, Failure};
use crate::flags::{Journal, StreamName};
use crate::out;
use crate::show;

pub(super) fn run(config: &Config, command: &Journal) -> Result<Exit, Failure> {
    match command {
        Journal::Inspect { stream, json } => {
            let inspected = inspect(config, *stream)?;
            let text = if json.json { as_json(&inspected) } else { texts(&inspected) };
            out::print(&text)?;
            Ok(Exit::Success)
        }
        Journal::Verify { stream, json } => verify(config, *stream, json.json),
        Journal::Export { stream, from, to, long } => {
            let stream = Stream::from(*stream);
            let journal = wasink::open_journal(config, stream).context("can't open the journal")?;
            let Some(journal) = journal else {
                let error = anyhow::anyhow!("there is no journal of `{stream}` yet");
                return Err(Failure::new(Exit::Failure, error));
            };
            export(&journal, *from..*to, *long)?;
            Ok(Exit::Success)
        }
        Journal::Repair { stream, json } => repair(config, *stream, json.json),
    }
}

type Inspected = Vec<(Stream, Inspection)>;

fn inspect(config: &Config, only: Option<StreamName>) -> Result<Inspected, Failure> {
    let mut inspected = Vec::new();
    for (stream, journal) in journals::open(config, only)? {
        let inspection = journal.inspect();
        let place = || format!("can't read the journal of `{stream}`");
        inspected.push((stream, inspection.with_context(place)?));
    }
    Ok(inspected)
}

fn as_json(inspected: &Inspected) -> String {
    let streams: serde_json::Map<_, _> =
        inspected.iter().map(|(stream, report)| (stream.to_string(), json!(report))).collect();
    show::json(&json!({ "streams": streams }))
}

fn texts(inspected: &Inspected) -> String {
    if inspected.is_empty() {
        return "no journal yet\n".to_owned();
    }
    inspected.iter().map(|(stream, inspection)| text(*stream, inspection)).collect()
}

fn text(stream: Stream, inspection: &Inspection) -> String {
    let bytes: u64 = inspection.segments.iter().map(|segment| segment.bytes).sum();
    let mut text = format!(
        "{stream}: next position {}, {} in {} files\n",
        show::number(inspection.end),
        bytes_text(bytes),
        inspection.segments.len(),
    );
    for segment in &inspection.segments {
        text.push_str(&format!(
            "  {}  {} to {}, {} records, {}",
            segment.file,
            show::number(segment.first),
            show::number(segment.end),
            show::number(segment.records),
            bytes_text(segment.bytes),
        ));
        let damaged: u64 = segment.damaged.iter().map(|(_, bytes)| bytes).sum();
        if damaged > 0 || segment.damaged_header {
            text.push_str(&format!("; DAMAGED: {}", bytes_text(damaged)));
        }
        if segment.unfinished {
            text.push_str("; its last write was not finished");
        }
        text.push('\n');
    }
    for (sink, lane) in &inspection.lanes {
        match &lane.state {
            Some(state) => text.push_str(&format!(
                "  sink {sink}: at {}, {} pending, {} dead letters",
                show::number(state.cursor),
                show::number(inspection.end - state.cursor),
                show::number(lane.dead),
            )),
            None => text.push_str(&format!("  sink {sink}: its file can't be read")),
        }
        if lane.damaged_lines + lane.damaged_dead > 0 {
            text.push_str("; DAMAGED lines");
        }
        text.push('\n');
    }
    for name in &inspection.quarantined {
        text.push_str(&format!("  put aside: {}\n", show::printable(name)));
    }
    for name in &inspection.strangers {
        text.push_str(&format!("  not the journal's: {}\n", show::printable(name)));
    }
    text
}

fn bytes_text(bytes: u64) -> String {
    format!("{} bytes", show::number(bytes))
}

/// What is wrong with a journal, a line each.
fn problems(stream: Stream, inspection: &Inspection) -> Vec<String> {
    let mut problems = Vec::new();
    for segment in &inspection.segments {
        let file = &segment.file;
        if segment.damaged_header {
            problems.push(format!("{stream}: {file}: its header is damaged"));
        }
        for (offset, bytes) in &segment.damaged {
            problems.push(format!("{stream}: {file}: {bytes} damaged bytes at offset {offset}"));
        }
    }
    for (sink, lane) in &inspection.lanes {
        if lane.state.is_none() {
            problems.push(format!("{stream}: {sink}.lane: nothing of it can be read"));
        }
        if lane.damaged_lines > 0 {
            problems.push(format!("{stream}: {sink}.lane: {} damaged lines", lane.damaged_lines));
        }
        if lane.damaged_dead > 0 {
            problems.push(format!("{stream}: {sink}.dead: {} damaged lines", lane.damaged_dead));
        }
    }
    problems
}

fn verify(config: &Config, only: Option<StreamName>, as_json: bool) -> Result<Exit, Failure> {
    let inspected = inspect(config, only)?;
    let problems: Vec<_> =
        inspected.iter().flat_map(|(stream, found)| problems(*stream, found)).collect();
    if as_json {
        out::print(&show::json(&json!({ "problems": problems })))?;
    } else {
        for (stream, found) in &inspected {
            let records: u64 = found.segments.iter().map(|segment| segment.records).sum();
            out::print(&format!("{stream}: {} whole records\n", show::number(records)))?;
        }
        problems.iter().for_each(|problem| out::complain(problem));
        if problems.is_empty() {
            out::print("nothing is damaged\n")?;
        } else {
            out::complain("see `wasink journal repair --help`; nothing has to be done to go on");
        }
    }
    Ok(if problems.is_empty() { Exit::Success } else { Exit::Failure })
}

fn export(journal: &Offline, positions: std::ops::Range<u64>, long: bool) -> Result<(), Failure> {
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    let mut written: io::Result<()> = Ok(());
    journal
        .records(positions, |record| {
            written = if long {
                let line = String::from_utf8_lossy(record.line.trim_ascii_end()).into_owned();
                let raw = serde_json::value::RawValue::from_string(line).ok();
                let (position, id, time) = (record.position, record.id, record.time);
                let object = json!({ "position": position, "id": id, "time": time, "record": raw });
                writeln!(stdout, "{object}")
            } else {
                stdout.write_all(&record.line)
            };
            written.is_ok()
        })
        .context("can't read the journal")?;
    match written.and_then(|()| stdout.flush()) {
        // Whoever reads the other end has what it wants.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output").into())
        }
        _ => Ok(()),
    }
}

fn repair(config: &Config, only: Option<StreamName>, as_json: bool) -> Result<Exit, Failure> {
    let mut receipts = serde_json::Map::new();
    for (stream, journal) in journals::open(config, only)? {
        let place = || format!("the journal of `{stream}`");
        let mending = journal.lock().with_context(place)?;
        let receipt = mending.repair().with_context(place)?;
        if !as_json {
            for file in &receipt.segments {
                out::print(&format!("{stream}: {file} written anew without what is damaged\n"))?;
            }
            for file in &receipt.lanes {
                out::print(&format!("{stream}: {file} written anew without its damaged lines\n"))?;
            }
            let bytes = receipt.quarantined_bytes;
            if bytes > 0 {
                out::print(&format!("{stream}: {} put aside\n", bytes_text(bytes)))?;
            } else if receipt.lanes.is_empty() {
                out::print(&format!("{stream}: nothing to repair\n"))?;
            }
        }
        receipts.insert(stream.to_string(), json!(receipt));
    }
    if as_json {
        out::print(&show::json(&json!({ "streams": receipts })))?;
    }
    Ok(Exit::Success)
}
