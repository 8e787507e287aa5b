//! The journal: appends that are synced, and what a backlog costs.

use std::fs::File;
use std::io::Write as _;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use wasink::Chassis;
use wasink::journal::{
    BatchLimits, Directory, Durability, Fate, Log, LogOptions, Next, Reader, WhenFull, Writer,
};
use wasink::record::Stream;

use crate::measure::{Cost, cost, rivals};
use crate::records::{config, directory, event, stamped};
use crate::table::Table;

/// Appends of each producer.
const APPENDS: usize = 200;
const CLOSE: Duration = Duration::from_secs(60);

/// Synced appends by so many producers, against one that writes and syncs as many bytes at a time.
pub(crate) fn appends(table: &mut Table) -> Result<()> {
    for producers in [1, 8, 64] {
        let count = producers * APPENDS;
        let measured = rivals(
            5,
            || appended(producers),
            || {
                let directory = directory()?;
                let mut file = File::create(directory.path().join("peer"))?;
                let mut lines = Vec::new();
                for stamped in stamped(producers) {
                    stamped.record.encode(&mut lines);
                    lines.push(b'\n');
                }
                cost(|| {
                    for _ in 0..APPENDS {
                        file.write_all(&lines)?;
                        file.sync_data()?;
                    }
                    Ok(())
                })
            },
        )?;
        let each = |cost: &Cost| format!("{:.0} appends/s", 1e9 / cost.wall_each(count));
        table.row(
            format!(
                "`append`, synced, {producers} at a time; peer: `write` and `fdatasync` of the \
                 lines of {producers}"
            ),
            each(&measured.ours),
            each(&measured.peer),
            format!("{:.2} of its throughput", measured.throughput),
            "at least 0.9",
        );
    }
    Ok(())
}

fn appended(producers: usize) -> Result<Cost> {
    let directory = directory()?;
    let chassis = Chassis::open(&config(directory.path(), "[usage]\nsink = 'nop'\n")?)?;
    let recorder = chassis.usage();
    let took = cost(|| {
        thread::scope(|scope| {
            let append = |producer: usize| {
                let recorder = recorder.clone();
                move || -> Result<()> {
                    for n in 0..APPENDS {
                        pollster::block_on(recorder.append(event(producer * APPENDS + n)))?;
                    }
                    Ok(())
                }
            };
            let all: Vec<_> = (0..producers).map(|n| scope.spawn(append(n))).collect();
            all.into_iter().try_for_each(|one| one.join().ok().context("it panicked")?)
        })
    })?;
    ensure!(chassis.close(CLOSE).pending() == 0, "not everything was delivered");
    Ok(took)
}

/// What a start costs with so much pending, and a record that is read from far behind.
pub(crate) fn backlog(table: &mut Table) -> Result<()> {
    let more = std::env::var("WASINK_BENCH_PENDING").ok().and_then(|n| n.parse().ok());
    for pending in [1_000_000].into_iter().chain(more) {
        let directory = directory()?;
        let journal = || -> Result<(Log, Writer)> {
            let dir =
                cap_std::fs::Dir::open_ambient_dir(directory.path(), cap_std::ambient_authority())?;
            let options = LogOptions {
                stream: Stream::Usage,
                source: "bench".into(),
                durability: Durability::Os,
                bytes: 1 << 40,
                segment_bytes: 16 << 20,
                memory: 64 << 20,
            };
            let (log, writer, _) = Log::open(Arc::new(Directory::new(dir)), options)?;
            Ok((log, writer))
        };
        let (log, mut writer) = journal()?;
        let reader = log.reader("bench", WhenFull::Block, u64::MAX)?;
        let run = stamped(1024);
        let written = cost(|| {
            for _ in 0..pending / run.len() {
                writer.stage(run.clone(), usize::MAX);
                writer.commit()?;
            }
            Ok(())
        })?;
        drop((reader, log, writer));

        let started = Instant::now();
        let (log, _writer) = journal()?;
        let opened = started.elapsed();
        let mut reader = log.reader("bench", WhenFull::Block, u64::MAX)?;
        let mut read = 0;
        let took = cost(|| read_all(&mut reader, &mut read))?;
        let million = pending / 1_000_000;
        table.alone(
            format!("start of a journal with {million} million pending"),
            format!("{:.1} ms", opened.as_secs_f64() * 1e3),
            "10 GB in under 100 ms",
        );
        table.alone(
            format!("a record of {million} million pending: appended; read, as lines, and settled"),
            format!(
                "{:.0} ns; {:.0} ns of CPU",
                written.cpu_each(pending),
                took.cpu_each(usize::try_from(read)?)
            ),
            "the same, however many",
        );
    }
    Ok(())
}

fn read_all(reader: &mut Reader, read: &mut u64) -> Result<()> {
    let limits = BatchLimits {
        records: NonZeroU32::new(1024).context("above zero")?,
        bytes: NonZeroU64::new(256 << 10).context("above zero")?,
        age: Duration::ZERO,
    };
    loop {
        match reader.next(&limits) {
            Next::Batch(batch) => {
                std::hint::black_box(batch.encode(wasink::journal::Encoding::Jsonl)?);
                let all = batch.position()..batch.end();
                *read += all.end - all.start;
                reader.settle(&batch, &[(all, Fate::Delivered)], Vec::new())?;
            }
            Next::Empty | Next::End => return Ok(()),
            other => anyhow::bail!("{other:?}"),
        }
    }
}
