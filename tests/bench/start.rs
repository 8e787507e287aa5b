//! From nothing to the first record that is delivered.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wasink::Chassis;

use crate::measure::median;
use crate::records::{config, directory, event, stamped};
use crate::table::Table;

const GOAL: &str = "first record in 50 ms";

/// Cold: there is no compiled code yet. Warm: there is.
pub(crate) fn start(table: &mut Table) -> Result<()> {
    let configurations = [
        ("four streams to `file`", "[usage]\nsink = 'file'"),
        ("the default: three to `file`, one to `log`", ""),
    ];
    for (name, text) in configurations {
        let (cold, warm) = cold_and_warm(|data| embedded(data, text))?;
        table.alone(format!("cold start of the library, {name}"), cold, "");
        table.alone(format!("warm start of the library, {name}"), warm, GOAL);
    }
    let (cold, warm) = cold_and_warm(command)?;
    table.alone("cold start of the command, from spawn to exit", cold, "");
    table.alone("warm start of the command, from spawn to exit", warm, GOAL);
    Ok(())
}

fn cold_and_warm(take: impl Fn(&Path) -> Result<Duration>) -> Result<(String, String)> {
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let directory = directory()?;
        cold.push(take(directory.path())?);
        for _ in 0..3 {
            warm.push(take(directory.path())?);
        }
    }
    let text = |times| format!("{:.1} ms", median::<Duration>(times).as_secs_f64() * 1e3);
    Ok((text(cold), text(warm)))
}

/// Opens a chassis and emits a record; returns once it is delivered.
fn embedded(data: &Path, text: &str) -> Result<Duration> {
    let config = config(data, text)?;
    let started = Instant::now();
    let chassis = Chassis::open(&config)?;
    chassis.usage().emit(event(1));
    let status = chassis.close(Duration::from_secs(10));
    ensure!(status.pending() == 0, "the record was not delivered");
    Ok(started.elapsed())
}

/// Gives the command one line and waits until it has ended.
fn command(data: &Path) -> Result<Duration> {
    let mut line = Vec::new();
    stamped(1).first().context("there is one")?.record.encode(&mut line);
    line.push(b'\n');
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--quiet", "--stream", "usage", "--data-dir"])
        .arg(data)
        .env("WASINK_USAGE__SINK", "file")
        .stdin(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("it is piped")?.write_all(&line)?;
    let status = child.wait()?;
    ensure!(status.success(), "the command ended with {status}");
    Ok(started.elapsed())
}
