//! The whole way: from `emit`, or from a line of JSON, to the file.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use wasink::Chassis;
use wasink::hooks::Hooks;
use wasink::logger::TracingLogger;
use wasink::record::{Clock as _, IdSource, Stamped, Stream, SystemClock, UsageEvent, parse_line};
use wasink_journal::Fate;

use crate::measure::{Cost, cost, median, rivals};
use crate::records::{config, directory, event, stamped};
use crate::support::plugin_directory;
use crate::table::Table;

const EVENTS: usize = 200_000;
const LINES: usize = 400_000;
const CLOSE: Duration = Duration::from_secs(60);

/// After so many bytes a native loop writes.
const PIECE: usize = 256 << 10;

/// From `emit` to a file, by a component.
pub(crate) fn whole(table: &mut Table) -> Result<()> {
    let measured = rivals(
        7,
        || through_sinks(1),
        || {
            let events = events();
            let directory = directory()?;
            let mut file = File::create(directory.path().join("ledger.jsonl"))?;
            cost(|| {
                let ids = IdSource::new(7);
                let mut lines = Vec::with_capacity(PIECE + 512);
                for event in events {
                    let now = SystemClock.now();
                    let stamped = Stamped::new(ids.next(now), now, event.into());
                    stamped.record.encode(&mut lines);
                    lines.push(b'\n');
                    if lines.len() >= PIECE {
                        file.write_all(&lines)?;
                        lines.clear();
                    }
                }
                Ok(file.write_all(&lines)?)
            })
        },
    )?;
    table.row(
        "`emit` to file, all threads; peer: stamp, encode and write in one loop",
        format!("{:.0} ns of CPU a record", measured.ours.cpu_each(EVENTS)),
        format!("{:.0} ns of CPU a record", measured.peer.cpu_each(EVENTS)),
        format!("{:.2} of its CPU", measured.cpu),
        "at most 500 ns of CPU",
    );
    Ok(())
}

/// What one more sink on a stream costs: the whole way with one and with many, in turns.
pub(crate) fn another(table: &mut Table) -> Result<()> {
    const MANY: usize = 8;
    let (mut alone, mut together, mut differences) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..7 {
        let (one, many) = if round % 2 == 0 {
            let one = through_sinks(1)?;
            (one, through_sinks(MANY)?)
        } else {
            let many = through_sinks(MANY)?;
            (through_sinks(1)?, many)
        };
        let (one, many) = (one.cpu_each(EVENTS), many.cpu_each(EVENTS));
        differences.push((many - one) / (MANY - 1) as f64);
        alone.push(one);
        together.push(many);
    }
    let each = |values| format!("{:.0} ns of CPU a record", median(values));
    table.alone("`emit` to file, with 1 `file` sink on the stream", each(alone), "");
    table.alone(format!("the same with {MANY} `file` sinks"), each(together), "");
    let what = format!("another `file` sink on the same stream ({MANY} sinks against 1)");
    table.alone(what, each(differences), "at most 60 ns");
    Ok(())
}

/// What sinks that misbehave cost a good one on the same stream: how soon that one has all its records,
/// with them and without, in turns.
pub(crate) fn beside(table: &mut Table) -> Result<()> {
    const MISBEHAVING: [&str; 6] = [
        "traps-in-write",
        "spins",
        "sleeps-for-ever",
        "allocates-without-end",
        "floods-the-log",
        "contradictory-outcomes",
    ];
    let plugins = plugin_directory(&MISBEHAVING.map(|name| (name, name)));
    let measured = rivals(5, || good(plugins.path(), &MISBEHAVING), || good(plugins.path(), &[]))?;
    let rate = |cost: &Cost| format!("{:.2} M/s", cost.millions(EVENTS));
    table.row(
        format!(
            "`emit` to file beside {} misbehaving sinks; peer: without them",
            MISBEHAVING.len()
        ),
        rate(&measured.ours),
        rate(&measured.peer),
        format!("{:.2} of its throughput", measured.throughput),
        "",
    );
    Ok(())
}

/// Emits all events to a `file` sink beside these, and waits until that one has them.
fn good(plugins: &Path, misbehaving: &[&str]) -> Result<Cost> {
    let directory = directory()?;
    let sink = |name: &&str| {
        format!(
            "[[sink]]\nname = '{name}'\nplugin = '{name}'\nstreams = ['usage']\n\
             timeout = '1s'\nwhen_full = 'drop-oldest'\n"
        )
    };
    let others: String = misbehaving.iter().map(sink).collect();
    let text = format!("plugin_dirs = ['{}']\n[usage]\nsink = 'file'\n{others}", plugins.display());
    let config = config(directory.path(), &text)?;
    let delivered = Arc::new(Delivered::default());
    let chassis = Chassis::open_hooked(&config, Arc::new(TracingLogger), delivered.clone())?;
    let recorder = chassis.usage();
    let events = events();
    let took = cost(|| {
        for event in events {
            recorder.emit_when_room(event)?;
        }
        ensure!(delivered.wait_for(EVENTS as u64), "not everything was delivered");
        Ok(())
    })?;
    chassis.close(Duration::ZERO);
    Ok(took)
}

/// How many records the sink of the stream has delivered.
#[derive(Default)]
struct Delivered(Mutex<u64>, Condvar);

impl Delivered {
    fn wait_for(&self, records: u64) -> bool {
        let count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.1.wait_timeout_while(count, CLOSE, |count| *count < records);
        waited.is_ok_and(|(_, waited)| !waited.timed_out())
    }
}

impl Hooks for Delivered {
    fn settled(&self, sink: &str, _: Stream, fate: Fate, records: u64) {
        if sink == "usage" && fate == Fate::Delivered {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) += records;
            self.1.notify_all();
        }
    }
}

fn events() -> Vec<UsageEvent> {
    (0..EVENTS).map(event).collect()
}

/// Emits all events to so many `file` sinks, and waits until they are delivered.
fn through_sinks(sinks: usize) -> Result<Cost> {
    let directory = directory()?;
    let more = |n| {
        format!(
            "[[sink]]\nname = 'more-{n}'\nplugin = 'file'\nstreams = ['usage']\ngrants.directory = true\n"
        )
    };
    let more: String = (1..sinks).map(more).collect();
    let config = config(directory.path(), &format!("[usage]\nsink = 'file'\n{more}"))?;
    let chassis = Chassis::open(&config)?;
    let recorder = chassis.usage();
    let events = events();
    let took = cost(|| {
        for event in events {
            recorder.emit_when_room(event)?;
        }
        let status = chassis.close(CLOSE);
        ensure!(status.pending() == 0, "not everything was delivered");
        Ok(())
    })?;
    Ok(took)
}

/// From lines of JSON to a file, by the command.
pub(crate) fn lines(table: &mut Table) -> Result<()> {
    let directory = directory()?;
    let input = directory.path().join("input.jsonl");
    let mut all = Vec::new();
    for stamped in stamped(LINES) {
        stamped.record.encode(&mut all);
        all.push(b'\n');
    }
    std::fs::write(&input, &all)?;
    let bytes = all.len() / LINES;
    drop(all);

    let output = directory.path().join("native.jsonl");
    type Peer = fn(&Path, &Path) -> Result<()>;
    let peers: [(&str, Peer); 2] =
        [("the same parser and encoder", same_code), ("serde_json", serde)];
    for (name, peer) in peers {
        let measured = rivals(
            5,
            || {
                let data = directory.path().join("data");
                std::fs::create_dir_all(&data)?;
                let took = command(&data, &input)?;
                std::fs::remove_dir_all(data.join("usage"))?;
                std::fs::remove_dir_all(data.join("journal"))?;
                Ok(took)
            },
            || cost(|| peer(&input, &output)),
        )?;
        table.row(
            format!("`wasink run`, lines of {bytes} bytes to file; peer: a loop with {name}"),
            format!("{:.0} ns of CPU a record", measured.ours.cpu_each(LINES)),
            format!("{:.0} ns of CPU a record", measured.peer.cpu_each(LINES)),
            format!("{:.2} of its CPU", measured.cpu),
            "at most 1.25, both with a journal",
        );
    }
    Ok(())
}

/// `wasink run`, and what it took from its start to its end.
fn command(data: &Path, input: &Path) -> Result<Cost> {
    let (started, before) = (Instant::now(), children()?);
    let status = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--quiet", "--stream", "usage", "--data-dir"])
        .arg(data)
        .env("WASINK_USAGE__SINK", "file")
        .stdin(File::open(input)?)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "the command ended with {status}");
    Ok(Cost { wall: started.elapsed(), cpu: children()? - before })
}

/// CPU time of the children that have ended, in steps of 10 ms.
fn children() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything; `cutime` and `cstime` are the 16th and the 17th.
    let (_, fields) = stat.rsplit_once(')').context("the name is in brackets")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u64>);
    let ticks: u64 = ticks.collect::<Result<Vec<_>, _>>()?.iter().sum();
    Ok(Duration::from_millis(10 * ticks))
}

fn same_code(input: &Path, output: &Path) -> Result<()> {
    convert(input, output, |line, out| {
        let record = parse_line(Stream::Usage, line, SystemClock.now())?;
        record.encode(out);
        Ok(())
    })
}

/// The record as somebody would write it for serde.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    rid: String,
    tenant: String,
    src: String,
    stack: String,
    duration_ms: u64,
    status: String,
    bytes_in: u64,
    bytes_out: u64,
    #[serde(default)]
    mem_bytes: u64,
    #[serde(default)]
    fuel: u64,
    emitted_at: String,
}

fn serde(input: &Path, output: &Path) -> Result<()> {
    convert(input, output, |line, out| {
        let event: Event = serde_json::from_slice(line)?;
        ensure!(matches!(&*event.status, "ok" | "error"), "no such status");
        serde_json::to_writer(out, &event)?;
        Ok(())
    })
}

fn convert(
    input: &Path,
    output: &Path,
    mut each: impl FnMut(&[u8], &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut input = BufReader::new(File::open(input)?);
    let mut output = File::create(output)?;
    let (mut line, mut lines) = (Vec::new(), Vec::with_capacity(PIECE + 512));
    while input.read_until(b'\n', &mut line)? > 0 {
        each(line.trim_ascii_end(), &mut lines)?;
        lines.push(b'\n');
        if lines.len() >= PIECE {
            output.write_all(&lines)?;
            lines.clear();
        }
        line.clear();
    }
    Ok(output.write_all(&lines)?)
}
