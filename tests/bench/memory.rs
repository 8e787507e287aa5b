//! What open instances hold. Each count is measured in a process of its own.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use wasink::{Chassis, Config};

use crate::measure::{cost, median};
use crate::records::{Components, batches, config, directory, event, stamped};
use crate::table::Table;

/// The first argument of a process that measures itself.
pub(crate) const CHILD: &str = "--measure-memory";

/// Instances by themselves, and sinks of a chassis with their threads.
pub(crate) fn memory(table: &mut Table) -> Result<()> {
    for (plugin, goal) in [("nop", ""), ("file", "at most 1 MiB each at 1000")] {
        for count in [1, 10, 100, 1000] {
            let text = |[bytes, millis]: [f64; 2]| {
                let each = bytes / KIB / f64::from(count);
                format!("{:.1} MiB, {each:.0} KiB each, open in {millis:.0} ms", bytes / MIB)
            };
            let given = count.to_string();
            let instances = measured(&["instances", plugin, &given])?;
            let what = format!("memory of {count} `{plugin}`, each after 16 records");
            table.alone(what, text(instances), "");
            if count > 1 {
                let sinks = measured(&["sinks", plugin, &given])?;
                let what = format!("the same as {count} sinks of a chassis, threads and all");
                table.alone(what, text(sinks), if count == 1000 { goal } else { "" });
            }
        }
    }
    Ok(())
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;

/// The medians of three processes: bytes, and milliseconds.
fn measured(what: &[&str]) -> Result<[f64; 2]> {
    let mut runs = Vec::new();
    for _ in 0..3 {
        let child = Command::new(std::env::current_exe()?)
            .arg(CHILD)
            .args(what)
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(child.status.success(), "{what:?} ended with {}", child.status);
        let text = String::from_utf8(child.stdout)?;
        let (bytes, millis) = text.trim().split_once(' ').context("two numbers")?;
        runs.push((bytes.parse()?, millis.parse()?));
    }
    Ok([
        median(runs.iter().map(|run: &(f64, f64)| run.0).collect()),
        median(runs.iter().map(|run| run.1).collect()),
    ])
}

/// The process that measures itself: prints by how many bytes it grew and how many milliseconds
/// opening took.
pub(crate) fn child(arguments: &[String]) -> Result<()> {
    let [_, what, plugin, count] = arguments else { anyhow::bail!("three arguments are needed") };
    let count: usize = count.parse()?;
    let (grew, open) =
        if what == "instances" { instances(plugin, count)? } else { sinks(plugin, count)? };
    println!("{grew} {}", open.as_secs_f64() * 1e3);
    Ok(())
}

fn instances(plugin: &str, count: usize) -> Result<(u64, Duration)> {
    let components = Components::bundled()?;
    // Code, and whatever is there once however many instances there are.
    let batches = batches(&stamped(16), 16);
    let write = |name: &str| -> Result<_> {
        let mut component = components.open(plugin, name)?;
        for batch in &batches {
            component.sink.write(batch)?;
        }
        Ok(component)
    };
    drop(write("first")?);
    let before = held()?;
    let mut open = Vec::with_capacity(count);
    let took = cost(|| {
        for n in 0..count {
            open.push(write(&format!("i{n}"))?);
        }
        Ok(())
    })?;
    let grew = held()?.saturating_sub(before);
    drop(open);
    Ok((grew, took.wall))
}

fn sinks(plugin: &str, count: usize) -> Result<(u64, Duration)> {
    let directory = directory()?;
    let sinks = |count: usize| {
        // `metering` is one of them, and the first of the others takes what nobody else does.
        let mut text = format!("[metering]\nbackend = '{plugin}'\n[usage]\nenabled = false\n");
        for n in 1..count {
            let streams = if n == 1 { "'usage', 'control', 'events'" } else { "'usage'" };
            text.push_str(&format!(
                "[[sink]]\nname = 's{n}'\nplugin = '{plugin}'\nstreams = [{streams}]\ngrants.directory = true\n\
                 batch = {{ age = '0ms' }}\n"
            ));
        }
        config(directory.path(), &text)
    };
    let through = |config: &Config| -> Result<_> {
        let chassis = Chassis::open(config)?;
        let usage = chassis.usage();
        (0..16).for_each(|n| usage.emit(event(n)));
        while chassis
            .status()
            .sinks
            .iter()
            .any(|sink| sink.lanes.iter().any(|lane| lane.pending > 0))
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(chassis)
    };
    drop(through(&sinks(2)?)?);
    let config = sinks(count)?;
    let before = held()?;
    let mut chassis = None;
    let took = cost(|| {
        chassis = Some(through(&config)?);
        Ok(())
    })?;
    let grew = held()?.saturating_sub(before);
    drop(chassis);
    Ok((grew, took.wall))
}

/// Memory of this process: its share of the pages that it has, in bytes.
fn held() -> Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("the kernel tells it")?.parse::<u64>()? * 1024)
}
