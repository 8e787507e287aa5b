//! Sinks as components against the same code linked natively.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use wasink::plugin::SinkPlugin;
use wasink::record::Stamped;
use wasink_example_totals::TotalsByTenant;
use wasink_guest::{Sink, native, open, testing};
use wasink_journal::Batch;
use wasink_sink_file::File;

use crate::measure::{Cost, Rivals, cost, median, rivals};
use crate::records::{Components, Linked, batches, directory, stamped};
use crate::table::Table;

const SIZES: [usize; 4] = [1, 16, 128, 1024];

/// Records in a round of this batch size: more where a batch is more of them, so that rounds are
/// alike in length.
fn records_a_round(size: usize) -> usize {
    (size * 4096).clamp(1 << 13, 1 << 16)
}

/// `file`.
pub(crate) fn file(table: &mut Table) -> Result<()> {
    let components = Components::bundled()?;
    let own = directory()?;
    native::set_data_directory(own.path());
    let linked_file = own.path().join("ledger.jsonl");
    for size in SIZES {
        let mut component = components.open("file", &format!("file-{size}"))?;
        let component_file = component.directory.join("ledger.jsonl");
        let mut linked: File = open_linked()?;
        let count = records_a_round(size);
        let batches = batches(&stamped(count), size);
        let views: Vec<_> = batches.iter().cloned().map(Linked::lines).collect();
        let measured = rivals(
            21,
            || {
                truncate(&component_file)?;
                cost(|| write_component(&mut *component.sink, &batches))
            },
            || {
                truncate(&linked_file)?;
                cost(|| write_linked(&mut linked, &views))
            },
        )?;
        let goal = if size == 1024 { "at least 0.95" } else { "" };
        versus(table, &format!("sink `file`, batches of {size}"), &measured, count, goal);
    }
    Ok(())
}

/// `totals`, which reads columns.
pub(crate) fn columns(table: &mut Table) -> Result<()> {
    let components = Components::with_totals()?;
    let own = directory()?;
    native::set_data_directory(own.path());
    for made in [false, true] {
        for size in SIZES {
            let mut component = components.open("totals", &format!("totals-{size}"))?;
            let mut linked: TotalsByTenant = open_linked()?;
            let records = stamped(records_a_round(size));
            let measured = rivals(
                21,
                || {
                    let batches = fresh(&records, size, made);
                    let took = cost(|| write_component(&mut *component.sink, &batches))?;
                    component.sink.flush()?;
                    Ok(took)
                },
                || {
                    let views: Vec<_> =
                        fresh(&records, size, made).into_iter().map(Linked::columns).collect();
                    let took = cost(|| write_linked(&mut linked, &views))?;
                    linked.flush()?;
                    Ok(took)
                },
            )?;
            let how = if made { "columns there already" } else { "columns to be made" };
            let goal = if size == 1024 && !made { "at least 0.7" } else { "" };
            let what = format!("sink of columns, batches of {size}, {how}");
            versus(table, &what, &measured, records.len(), goal);
        }
    }
    Ok(())
}

/// What a call costs by itself.
pub(crate) fn call(table: &mut Table) -> Result<()> {
    let components = Components::bundled()?;
    let mut component = components.open("nop", "nop")?;
    let batches = batches(&stamped(1), 1);
    let calls = 50_000;
    let mut rounds = Vec::new();
    for _ in 0..11 {
        let took = cost(|| {
            for _ in 0..calls {
                write_component(&mut *component.sink, &batches)?;
            }
            Ok(())
        })?;
        rounds.push(took.cpu_each(calls));
    }
    let each = median(rounds);
    table.alone("a call of `write` that does nothing", format!("{each:.0} ns of CPU"), "");
    Ok(())
}

fn fresh(records: &[Stamped], size: usize, made: bool) -> Vec<Arc<Batch>> {
    let batches = batches(records, size);
    if made {
        batches.iter().for_each(|batch| drop(batch.usage_columns()));
    }
    batches
}

fn open_linked<S: Sink>() -> Result<S> {
    open(&testing::context("{}")).map_err(|error| anyhow!("{error}"))
}

fn write_component(sink: &mut dyn SinkPlugin, batches: &[Arc<Batch>]) -> Result<()> {
    for batch in batches {
        sink.write(batch)?;
    }
    Ok(())
}

fn write_linked(sink: &mut impl Sink, views: &[Linked]) -> Result<()> {
    for view in views {
        sink.write(&native::batch(view))?;
    }
    Ok(())
}

fn truncate(path: &Path) -> Result<()> {
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    Ok(())
}

fn versus(table: &mut Table, what: &str, measured: &Rivals, count: usize, goal: &str) {
    let side = |cost: &Cost| {
        format!("{:.2} M/s, {:.0} ns of CPU", cost.millions(count), cost.cpu_each(count))
    };
    let ratio = format!("{:.2} of its throughput", measured.throughput);
    table.row(what, side(&measured.ours), side(&measured.peer), ratio, goal);
}
