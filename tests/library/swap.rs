//! Versions of a plugin that take over from each other, again and again, while producers emit as
//! fast as they can.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wasink::record::Stream;
use wasink::{Chassis, Stage, Status, Swapped, Target};

use crate::named::named;
use crate::{SOON, config, usage};

/// Swaps, unless `WASINK_SWAPS` says otherwise.
const SWAPS: usize = 100;
const PRODUCERS: u32 = 2;
/// A producer that has a rate rests after so many records where it is ahead of it.
const BURST: u32 = 100;

/// What a run has come to.
struct Run {
    directory: TempDir,
    /// What was emitted, by each producer.
    emitted: Vec<u64>,
    swaps: Vec<Swapped>,
    /// From the question to the answer.
    waits: Vec<Duration>,
    took: Duration,
    chassis: Chassis,
    status: Status,
}

/// The bundled sink `file` with another digest for each mark.
fn versions(directory: &Path) -> [PathBuf; 2] {
    let (_, file) = wasink_bundled::PLUGINS.iter().find(|(name, _)| *name == "file").unwrap();
    ["one", "two"].map(|mark| {
        let path = directory.join(format!("{mark}.wasm"));
        std::fs::write(&path, named(file, mark)).unwrap();
        path
    })
}

/// Exchanges two versions of a plugin while records flow.
fn exchange_under_load(durability: &str) -> Run {
    let swaps = std::env::var("WASINK_SWAPS").map_or(SWAPS, |n| n.parse().unwrap());
    // Records a second; as many as there is room for, unless it is set.
    let rate = std::env::var("WASINK_RATE").ok().map(|n| n.parse::<u32>().unwrap());
    let each = rate.map(|rate| Duration::from_secs(1) * PRODUCERS / rate);
    let directory = tempfile::tempdir().unwrap();
    let plugins = directory.path().join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    let [one, two] = versions(directory.path());
    std::fs::copy(&one, plugins.join("ledger.wasm")).unwrap();
    let text = format!(
        "plugin_dirs = ['{}']\nlog.level = 'warn'\nswap.probation = '0s'\n\
         journal.usage.durability = '{durability}'\nusage.enabled = false\n\
         [[sink]]\nname = 'ledger'\nplugin = 'ledger'\nstreams = ['usage']\ngrants.directory = true\n",
        plugins.display()
    );
    let chassis = Chassis::open(&config(&directory, &text)).unwrap();
    let recorder = chassis.usage();
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let (emitted, done) = thread::scope(|scope| {
        let producer = |thread: u32| {
            let (recorder, stop) = (recorder.clone(), &stop);
            scope.spawn(move || {
                let mut emitted = 0;
                while !stop.load(Ordering::Relaxed) {
                    recorder.emit_when_room(usage(format!("{thread}-{emitted}"))).unwrap();
                    emitted += 1;
                    if let Some(each) = each.filter(|_| emitted % BURST == 0) {
                        let due = each * emitted;
                        thread::sleep(due.saturating_sub(began.elapsed()));
                    }
                }
                u64::from(emitted)
            })
        };
        let producers: Vec<_> = (0..PRODUCERS).map(producer).collect();
        let swap = |number| {
            let began = Instant::now();
            let to = if number % 2 == 0 { &two } else { &one };
            let swapped = chassis.swap("ledger", &Target::File(to.clone()));
            (swapped, began.elapsed())
        };
        let done: Vec<_> = (0..swaps).map(swap).collect();
        stop.store(true, Ordering::Relaxed);
        let emitted = producers.into_iter().map(|producer| producer.join().unwrap()).collect();
        (emitted, done)
    });
    let took = began.elapsed();
    let (swaps, waits) = done.into_iter().map(|(swapped, wait)| (swapped.unwrap(), wait)).unzip();
    let status = chassis.close(SOON);
    Run { directory, emitted, swaps, waits, took, chassis, status }
}

/// Each id is in the file once, and those of one producer are in its order.
fn check_output(run: &Run) {
    let mut next = vec![0; run.emitted.len()];
    let file = File::open(run.directory.path().join("sinks/ledger/ledger.jsonl")).unwrap();
    for line in BufReader::new(file).lines() {
        let line = line.unwrap();
        let rid = line.strip_prefix(r#"{"rid":""#).unwrap().split('"').next().unwrap();
        let (thread, number) = rid.split_once('-').unwrap();
        let next = next.get_mut(thread.parse::<usize>().unwrap()).unwrap();
        assert_eq!(number.parse(), Ok(*next), "{line}");
        assert!(line.ends_with('}'), "{line}");
        *next += 1;
    }
    assert_eq!(next, run.emitted);
}

fn check_ledger(run: &Run) {
    let emitted: u64 = run.emitted.iter().sum();
    let stream = run.status.streams.iter().find(|one| one.stream == Stream::Usage).unwrap();
    assert_eq!((stream.accepted, stream.dropped_full), (emitted, 0));
    let sink = run.status.sinks.iter().find(|sink| sink.name == "ledger").unwrap();
    let lane = sink.lanes[0];
    assert_eq!((lane.delivered, lane.pending, lane.retries), (emitted, 0, 0), "{lane:?}");
    assert_eq!(lane.duplicate + lane.rejected + lane.expired + lane.dropped, 0, "{lane:?}");
    let last = run.swaps.last().unwrap();
    assert_eq!(sink.version.as_ref().unwrap().digest, last.version.digest);
    let plugin = run.chassis.plugins().into_iter().find(|one| one.name == "ledger").unwrap();
    assert_eq!(plugin.exchanges, run.swaps.len() as u64);
    assert_eq!((plugin.stage, plugin.grace_expiries), (Stage::InCharge, 0));
}

/// There is a stretch for the first version and one for each swap, and nothing between them.
fn check_provenance(run: &Run) {
    let provenance = run.chassis.provenance("ledger").unwrap().unwrap();
    let [(Stream::Usage, stretches)] = provenance.as_slice() else { panic!("{provenance:?}") };
    let digests: Vec<_> = stretches.iter().map(|stretch| &stretch.digest).collect();
    let first = run.swaps[0].previous.as_ref().unwrap();
    let later = run.swaps.iter().map(|swapped| &swapped.version);
    let expected: Vec<_> = std::iter::once(first).chain(later).map(|one| &one.digest).collect();
    assert_eq!(digests.len(), expected.len());
    assert_eq!(digests, expected);
    let ranges: Vec<_> = stretches.iter().flat_map(|stretch| &stretch.ranges).collect();
    for (before, after) in ranges.iter().zip(ranges.iter().skip(1)) {
        assert_eq!(before.end, after.start, "a gap, or an overlap");
    }
    let settled: u64 = stretches.iter().map(|stretch| stretch.fates.delivered).sum();
    let covered = ranges.last().unwrap().end - ranges[0].start;
    assert_eq!((settled, covered), (run.emitted.iter().sum(), run.emitted.iter().sum()));
}

/// For people: how long the sink stood still, how long a swap took, how fast records went.
fn tell(run: &Run, durability: &str) {
    let mut text = format!("{} swaps, durability `{durability}`\n", run.swaps.len());
    let stalls = run.swaps.iter().map(|swapped| swapped.stall).collect();
    for (what, mut times) in [("stall", stalls), ("swap", run.waits.clone())] {
        times.sort_unstable();
        let at = |permille: usize| times[(times.len() - 1) * permille / 1000];
        let [p50, p90, p99, max] = [500, 900, 990, 1000].map(at);
        writeln!(text, "  {what:6} p50 {p50:?}, p90 {p90:?}, p99 {p99:?}, max {max:?}").unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let records = run.emitted.iter().sum::<u64>() as f64;
    write!(text, "  {records} records, {:.0} a second", records / run.took.as_secs_f64()).unwrap();
    eprintln!("{text}");
}

fn every_record_is_delivered_once(durability: &str) {
    let run = exchange_under_load(durability);
    tell(&run, durability);
    check_ledger(&run);
    check_provenance(&run);
    check_output(&run);
}

#[test]
fn many_swaps_under_load_lose_nothing_and_repeat_nothing_in_memory() {
    every_record_is_delivered_once("memory");
}

#[test]
fn many_swaps_under_load_lose_nothing_and_repeat_nothing_in_files() {
    every_record_is_delivered_once("os");
}
