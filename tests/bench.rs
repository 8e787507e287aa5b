//! `cargo bench`: what wasink costs, as one table in Markdown. No assertions.
//!
//! `cargo bench -- emit memory` measures these parts only; `docs/performance.md` has the results.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is the output")]

#[path = "bench/door.rs"]
mod door;
#[path = "bench/feed.rs"]
mod feed;
#[path = "bench/journal.rs"]
mod journal;
#[path = "bench/measure.rs"]
mod measure;
#[path = "bench/memory.rs"]
mod memory;
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "made for tests, which end where it fails and ask it for more"
)]
#[path = "support/nats.rs"]
mod nats;
#[path = "bench/records.rs"]
mod records;
#[path = "bench/sinks.rs"]
mod sinks;
#[path = "bench/start.rs"]
mod start;
mod support;
#[path = "bench/table.rs"]
mod table;
#[path = "bench/way.rs"]
mod way;

use anyhow::Result;

use table::Table;

/// A part of the table: what fills its rows.
type Part = fn(&mut Table) -> Result<()>;

/// The parts, by the names that select them.
const PARTS: [(&str, Part); 14] = [
    ("file", sinks::file),
    ("columns", sinks::columns),
    ("call", sinks::call),
    ("emit", door::emit),
    ("way", way::whole),
    ("lines", way::lines),
    ("another", way::another),
    ("beside", way::beside),
    ("appends", journal::appends),
    ("backlog", journal::backlog),
    ("start", start::start),
    ("memory", memory::memory),
    ("feed", feed::feed),
    ("poll", feed::poll),
];

fn main() -> Result<()> {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == memory::CHILD) {
        return memory::child(&arguments);
    }
    // Without this flag it is `cargo test --all-targets` that calls.
    let Some(flag) = arguments.iter().position(|argument| argument == "--bench") else {
        return Ok(());
    };
    arguments.remove(flag);
    let mut table = Table::default();
    for (name, part) in PARTS {
        if arguments.is_empty() || arguments.iter().any(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            part(&mut table)?;
        }
    }
    println!("{table}");
    Ok(())
}
