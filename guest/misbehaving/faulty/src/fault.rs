//! The ways to do wrong.

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::prelude::*;

use crate::Call;

/// A way to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Traps, with `told to panic` and the call's name on standard error.
    Panic,
    /// Computes and never comes back.
    Spin,
    /// Waits in a call of the host for an hour.
    Wait,
    /// Fails: `told to fail`. On `write` and `flush` as a broken instance.
    Error,
    /// Asks for the whole call to be tried again.
    Retry,
    /// Rejects the whole call.
    Reject,
    /// Says that it can't go on.
    Broken,
    /// Exits the program.
    Exit,
    /// Allocates until there is no more.
    Allocate,
    /// Recurses until the stack is used up.
    Recurse,
    /// On `write`: rejects a record that the batch does not have.
    BadIndex,
    /// On `write`: rejects a million records that the batch does not have.
    ManyExceptions,
    /// On `write`: has had the first record.
    DuplicateFirst,
    /// On `write`: wants the first record again.
    RetryFirst,
    /// On `write`: rejects the first record.
    RejectFirst,
    /// On `write`: the first record is too old.
    ExpireFirst,
    /// On `write`: rejects every record, each with a megabyte of reason.
    LongReasons,
    /// Logs 100,000 lines.
    LogFlood,
    /// Logs one line of 16 MiB, with as long a field.
    LongLog,
    /// Writes 64 MiB to standard error.
    DeepStderr,
    /// Writes to its data directory until it can't.
    FillDisk,
    /// Opens files until it can't.
    OpenFiles,
    /// Tries what it was not granted; says what it reached, as a broken instance.
    Escape,
}

/// How the call ends.
pub(crate) enum Verdict {
    Outcomes(Outcomes),
    Retry,
    Reject,
    Broken(String),
}

pub(crate) fn commit(fault: Fault, call: Call, batch: Option<&Batch>) -> Verdict {
    let mut outcomes = Outcomes::delivered();
    match fault {
        Fault::Panic => panic!("told to panic on {}", call.name()),
        Fault::Spin => loop {
            std::hint::spin_loop();
        },
        Fault::Wait => std::thread::sleep(Duration::from_secs(3_600)),
        Fault::Error => return Verdict::Broken("told to fail".to_owned()),
        Fault::Retry => return Verdict::Retry,
        Fault::Reject => return Verdict::Reject,
        Fault::Broken => return Verdict::Broken("told to break".to_owned()),
        Fault::Exit => exit(),
        Fault::Allocate => allocate(),
        Fault::Recurse => {
            black_box(recurse(black_box(0)));
        }
        Fault::BadIndex => {
            let beyond = batch.map_or(0, Batch::len);
            outcomes.rejected(usize::try_from(beyond).unwrap_or_default(), "told to");
        }
        Fault::ManyExceptions => {
            for index in 0..1_000_000 {
                outcomes.rejected(index, "told to");
            }
        }
        Fault::DuplicateFirst => {
            outcomes.duplicate(0);
        }
        Fault::RetryFirst => {
            outcomes.retry(0, None);
        }
        Fault::RejectFirst => {
            outcomes.rejected(0, "told to reject the first");
        }
        Fault::ExpireFirst => {
            outcomes.expired(0);
        }
        Fault::LongReasons => {
            for index in 0..batch.map_or(0, Batch::len) {
                let index = usize::try_from(index).unwrap_or_default();
                outcomes.rejected(index, "reason ".repeat(150_000));
            }
        }
        Fault::LogFlood => {
            for line in 0..100_000_u32 {
                wasink_guest::info!("flood"; line = line);
            }
        }
        Fault::LongLog => {
            let long = "long ".repeat((16 << 20) / 5);
            wasink_guest::info!(&long; field = &long);
        }
        Fault::DeepStderr => {
            let piece = [b'.'; 1 << 16];
            for _ in 0..1_024 {
                drop(std::io::stderr().write_all(&piece));
            }
        }
        Fault::FillDisk => {
            return Verdict::Broken(fill_disk());
        }
        Fault::OpenFiles => return Verdict::Broken(open_files()),
        Fault::Escape => return Verdict::Broken(escape()),
    }
    Verdict::Outcomes(outcomes)
}

#[expect(clippy::exit, reason = "that is the fault")]
fn exit() {
    std::process::exit(1);
}

fn allocate() {
    loop {
        std::mem::forget(black_box(vec![1_u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "that is the fault")]
fn recurse(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    recurse(black_box(depth + 1)) + room.iter().sum::<u64>()
}

fn fill_disk() -> String {
    let fill = || -> std::io::Result<()> {
        let file = Directory::data()?.open_append("full")?;
        let piece = vec![b'.'; 1 << 20];
        loop {
            file.append_bytes(&piece)?;
        }
    };
    match fill() {
        Ok(()) => String::new(),
        Err(error) => format!("the disk is full: {error}"),
    }
}

fn open_files() -> String {
    let mut files = Vec::new();
    let directory = match Directory::data() {
        Ok(directory) => directory,
        Err(error) => return format!("opened none: {error}"),
    };
    loop {
        match directory.open_append("many") {
            Ok(file) => files.push(file),
            Err(error) => return format!("opened {}: {error}", files.len()),
        }
    }
}

/// What it reached of what nobody granted: `reached nothing` is as it should be.
fn escape() -> String {
    let mut reached = Vec::new();
    for path in
        ["/", "/etc/passwd", "/proc/self/environ", "/data/../../etc/passwd", "../etc/passwd"]
    {
        if std::fs::metadata(path).is_ok() {
            reached.push(path.to_owned());
        }
    }
    if let Some((name, _)) = std::env::vars().next() {
        reached.push(format!("variable {name}"));
    }
    if std::env::args().next().is_some() {
        reached.push("arguments".to_owned());
    }
    if std::net::TcpStream::connect("127.0.0.1:22").is_ok_or_refused() {
        reached.push("network".to_owned());
    }
    let mut byte = [0];
    if std::io::Read::read(&mut std::io::stdin(), &mut byte).is_ok_and(|n| n > 0) {
        reached.push("standard input".to_owned());
    }
    match reached.as_slice() {
        [] => "reached nothing".to_owned(),
        reached => format!("reached {}", reached.join(", ")),
    }
}

trait OkOrRefused {
    fn is_ok_or_refused(&self) -> bool;
}

impl OkOrRefused for std::io::Result<std::net::TcpStream> {
    /// Whoever is refused by the other end has come to it.
    fn is_ok_or_refused(&self) -> bool {
        match self {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        }
    }
}
