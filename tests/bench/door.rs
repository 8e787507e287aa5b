//! What `emit` costs its caller, beside the non-blocking writer of `tracing-appender`.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;
use wasink::Chassis;
use wasink::record::UsageEvent;

use crate::measure::quantile;
use crate::records::{config, directory, event, stamped};
use crate::table::Table;

/// How calls follow each other.
struct Rhythm {
    name: &'static str,
    goal: &'static str,
    calls: usize,
    pause: Pause,
}

#[derive(Clone, Copy)]
enum Pause {
    None,
    /// The caller does something else meanwhile, on its CPU.
    Spin(Duration),
    Sleep(Duration),
}

const RHYTHMS: [Rhythm; 3] = [
    Rhythm { name: "10,000 at once", goal: "", calls: 10_000, pause: Pause::None },
    Rhythm {
        name: "100,000/s",
        goal: "median under 100 ns, p99 under 1 µs",
        calls: 100_000,
        pause: Pause::Spin(Duration::from_micros(10)),
    },
    Rhythm {
        name: "50/s, nobody awake",
        goal: "",
        calls: 150,
        pause: Pause::Sleep(Duration::from_millis(20)),
    },
];

/// `emit`.
pub(crate) fn emit(table: &mut Table) -> Result<()> {
    let overhead = quantile(rhythm(&RHYTHMS[1], |_: usize| {}, 0..20_000), 0.5);
    for way in &RHYTHMS {
        let ours = wasink(way)?;
        let peer = appender(way)?;
        let text = |times: &[u64]| {
            let at = |part| quantile(times.to_vec(), part).saturating_sub(overhead);
            format!("p50 {} ns, p99 {} ns, p99.9 {} ns", at(0.5), at(0.99), at(0.999))
        };
        let median =
            |times: &[u64]| quantile(times.to_vec(), 0.5).saturating_sub(overhead).max(1) as f64;
        let ratio = format!("{:.2} of its median", median(&ours) / median(&peer));
        let what = format!("`emit` for its caller, {}", way.name);
        table.row(what, text(&ours), text(&peer), ratio, way.goal);
    }
    table.alone("the clock's own time, taken off these three", format!("{overhead} ns"), "");
    Ok(())
}

fn wasink(way: &Rhythm) -> Result<Vec<u64>> {
    let directory = directory()?;
    let chassis = Chassis::open(&config(directory.path(), "[usage]\nsink = 'file'")?)?;
    let recorder = chassis.usage();
    let events: Vec<_> = (0..way.calls).map(event).collect();
    let times = rhythm(way, |event: UsageEvent| recorder.emit(event), events);
    chassis.close(Duration::from_secs(10));
    Ok(times)
}

fn appender(way: &Rhythm) -> Result<Vec<u64>> {
    let directory = directory()?;
    let file = tracing_appender::rolling::never(directory.path(), "ledger.jsonl");
    let (mut writer, _guard) = tracing_appender::non_blocking(file);
    let lines = stamped(way.calls).into_iter().map(|stamped| {
        let mut line = Vec::new();
        stamped.record.encode(&mut line);
        line.push(b'\n');
        line
    });
    let lines: Vec<_> = lines.collect();
    let write = |line: Vec<u8>| {
        // It never fails: what does not fit is dropped, as with `emit`.
        drop(writer.write_all(&line));
    };
    Ok(rhythm(way, write, lines))
}

/// Calls `call` once for each item and returns what each call took, in nanoseconds.
fn rhythm<T>(
    way: &Rhythm,
    mut call: impl FnMut(T),
    items: impl IntoIterator<Item = T>,
) -> Vec<u64> {
    let mut times = Vec::with_capacity(way.calls);
    let mut next = Instant::now();
    for item in items {
        match way.pause {
            Pause::None => {}
            Pause::Spin(pause) => {
                next += pause;
                while Instant::now() < next {
                    std::hint::spin_loop();
                }
            }
            Pause::Sleep(pause) => std::thread::sleep(pause),
        }
        let started = Instant::now();
        call(item);
        times.push(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times
}
