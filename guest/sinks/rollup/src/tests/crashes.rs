//! Exact sums whatever crashes: random histories, and every operation of a small one.

use std::time::Duration;

use wasink_guest::{Failure, testing};

use super::disk::{Disk, Fault};
use super::expected::{Record, Sums, batch, expected, read};
use super::random::Random;
use crate::book::{Book, Limits};

const WINDOW: u32 = 60;

fn set_clock() {
    testing::set_now(Duration::from_secs(1_800_000_000));
}

fn later(seconds: u64) {
    testing::set_now(wasink_guest::now() + Duration::from_secs(seconds));
}

/// What small histories come up against.
const LIMITS: Limits = Limits { log_bytes: 3_000, saved_bytes: 3_000, cells: 15, batches: 2 };

fn open(disk: &Disk, epoch: u64) -> Option<Book<Disk>> {
    open_with(LIMITS, disk, epoch)
}

fn open_with(limits: Limits, disk: &Disk, epoch: u64) -> Option<Book<Disk>> {
    let refresh = Duration::from_secs(3);
    Book::open(disk.clone(), WINDOW, refresh, limits, &format!("epoch-{epoch}")).ok()
}

fn written(disk: &Disk) -> Sums {
    let files = disk.files();
    let strange: Vec<_> =
        files.keys().filter(|name| name.contains("damaged") || name.contains("earlier")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    read(&files)
}

/// A stream, how far it is known to be delivered, and what comes of it.
struct Stream {
    records: Vec<Record>,
    /// Some of it may have been counted.
    tried: Vec<bool>,
    delivered: Vec<bool>,
    acknowledged: usize,
    /// What the cursor is after a crash: it may be older.
    cursor: usize,
}

impl Stream {
    fn all(random: &mut Random, count: usize) -> Self {
        let records = (0..count).map(|_| Record::random(random, 9, 4)).collect();
        Self {
            records,
            tried: vec![false; count],
            delivered: vec![false; count],
            acknowledged: 0,
            cursor: 0,
        }
    }

    fn deliver(&mut self, book: &mut Book<Disk>, from: usize, to: usize) -> Result<(), Failure> {
        self.tried[from..to].fill(true);
        book.write(&batch(from as u64, &self.records[from..to]))?;
        book.flush()?;
        self.delivered[from..to].fill(true);
        Ok(())
    }

    fn expected(&self) -> Sums {
        let delivered = self.records.iter().zip(&self.delivered).filter(|(_, yes)| **yes);
        expected(delivered.map(|(record, _)| record), WINDOW.into())
    }
}

fn history(seed: u64) {
    set_clock();
    let random = &mut Random::new(seed);
    let disk = Disk::new(random.next());
    let count = 20 + usize::try_from(random.below(150)).unwrap();
    let mut stream = Stream::all(random, count);
    let mut epoch = 0;
    let mut skipped = Vec::new();
    while stream.acknowledged < count {
        epoch += 1;
        disk.heal();
        if !random.one_in(4) {
            let fault = if random.one_in(2) { Fault::Error } else { Fault::End };
            disk.fail(random.below(60), fault);
        }
        let Some(mut book) = open(&disk, epoch) else {
            crash(random, &disk, &mut stream);
            continue;
        };
        while stream.acknowledged < count && !disk.ended() {
            let from = stream.acknowledged;
            let to = count.min(from + 1 + usize::try_from(random.below(12)).unwrap());
            later(random.below(3));
            if random.one_in(30) && !stream.tried[from..to].contains(&true) {
                // Dropped by policy, or rejected: it may come again, much later.
                skipped.push((from, to));
                stream.acknowledged = to;
                continue;
            }
            match stream.deliver(&mut book, from, to) {
                Ok(()) => stream.acknowledged = to,
                Err(Failure::Retry { .. }) => {}
                Err(failure) => panic!("seed {seed}: {failure}"),
            }
            if random.one_in(3) {
                stream.cursor = stream.acknowledged;
            }
            if random.one_in(8) {
                break;
            }
        }
        if random.one_in(2) && !disk.ended() {
            drop(book.close());
        }
        crash(random, &disk, &mut stream);
        // Whatever there is at this moment is whole.
        read(&disk.files());
    }
    disk.heal();
    let mut book = open(&disk, epoch + 1).unwrap();
    for (from, to) in skipped.into_iter().filter(|_| random.one_in(2)) {
        stream.deliver(&mut book, from, to).unwrap();
    }
    book.close().unwrap();
    assert_eq!(written(&disk), stream.expected(), "seed {seed}");
    let mut again = open(&disk, epoch + 2).unwrap();
    assert!(stream.delivered.iter().any(|yes| *yes));
    // All of it once more changes nothing.
    for (at, _) in stream.delivered.clone().into_iter().enumerate().filter(|(_, yes)| *yes) {
        stream.deliver(&mut again, at, at + 1).unwrap();
    }
    again.close().unwrap();
    assert_eq!(written(&disk), stream.expected(), "seed {seed}, all again");
}

/// The process is gone, with or without the machine's power.
fn crash(random: &mut Random, disk: &Disk, stream: &mut Stream) {
    disk.heal();
    if random.one_in(2) {
        disk.lose_power();
    }
    let lag = (stream.acknowledged - stream.cursor) as u64;
    stream.acknowledged -= usize::try_from(random.below(lag + 1)).unwrap();
    stream.cursor = stream.cursor.min(stream.acknowledged);
}

#[test]
fn sums_are_exact_after_any_history_of_crashes_and_failures() {
    // More where somebody has the time.
    let histories = std::env::var("WASINK_HISTORIES");
    let histories = histories.map_or(100, |number| number.parse().unwrap());
    (0..histories).for_each(history);
}

/// Five batches, with a refresh between; each is acknowledged or it comes again.
fn small(disk: &Disk, stream: &mut Stream) {
    let mut epoch = 10;
    let Some(mut book) = open(disk, epoch) else { return };
    while stream.acknowledged < stream.records.len() {
        if disk.ended() {
            return;
        }
        let from = stream.acknowledged;
        later(2);
        match stream.deliver(&mut book, from, from + 4) {
            Ok(()) => stream.acknowledged += 4,
            Err(Failure::Retry { .. }) => {}
            Err(failure) => panic!("{failure}"),
        }
        if from == 8 {
            epoch += 1;
            match open(disk, epoch) {
                Some(next) => book = next,
                None => return,
            }
        }
    }
    drop(book.close());
}

#[test]
fn sums_are_exact_whichever_operation_is_the_last_or_fails() {
    let whole = Disk::new(0);
    set_clock();
    small(&whole, &mut Stream::all(&mut Random::new(1), 20));
    let operations = whole.operations();
    assert!(operations > 40, "{operations}");
    for operation in 0..operations {
        for fault in [Fault::End, Fault::Error] {
            for seed in 0..4 {
                set_clock();
                let mut stream = Stream::all(&mut Random::new(1), 20);
                let disk = Disk::new(seed);
                disk.fail(operation, fault);
                small(&disk, &mut stream);
                disk.heal();
                if seed % 2 == 0 {
                    disk.lose_power();
                }
                small(&disk, &mut stream);
                if seed % 3 == 0 {
                    disk.lose_power();
                }
                let mut book = open(&disk, 99).unwrap();
                while stream.acknowledged < 20 {
                    let from = stream.acknowledged;
                    stream.deliver(&mut book, from, from + 4).unwrap();
                    stream.acknowledged += 4;
                }
                book.close().unwrap();
                let what = format!("{fault:?} at {operation}, seed {seed}");
                assert_eq!(written(&disk), stream.expected(), "{what}");
            }
        }
    }
}

#[test]
fn a_log_torn_at_any_byte_loses_nothing_that_was_acknowledged() {
    set_clock();
    let disk = Disk::new(0);
    let mut stream = Stream::all(&mut Random::new(2), 30);
    let mut book = open_with(Limits::default(), &disk, 1).unwrap();
    stream.deliver(&mut book, 0, 10).unwrap();
    stream.deliver(&mut book, 10, 20).unwrap();
    let whole = disk.files()[crate::state::FILE].len();
    let files = disk.files();
    // This one is on its way when the power fails: it is not acknowledged.
    stream.deliver(&mut book, 20, 30).unwrap();
    let log = disk.files()[crate::state::FILE].clone();
    assert!(log.len() > whole + 200);
    for at in whole..log.len() {
        let torn = Disk::new(0);
        files.iter().for_each(|(name, bytes)| torn.put(name, bytes));
        torn.put(crate::state::FILE, &log[..at]);
        let mut book = open(&torn, 2).unwrap();
        stream.deliver(&mut book, 15, 30).unwrap();
        book.close().unwrap();
        assert_eq!(written(&torn), stream.expected(), "torn at {at}");
    }
}

#[test]
fn windows_leave_memory_and_are_read_again() {
    set_clock();
    let disk = Disk::new(0);
    let mut random = Random::new(4);
    let mut records: Vec<_> = (0..4_000).map(|_| Record::random(&mut random, 9, 80)).collect();
    // In their order, and the first once more at the end.
    records.sort_by_key(|record| record.at);
    records.extend_from_within(..500);
    let count = records.len();
    let (tried, delivered) = (vec![false; count], vec![false; count]);
    let mut stream = Stream { records, tried, delivered, acknowledged: 0, cursor: 0 };
    let mut book = open(&disk, 1).unwrap();
    for from in (0..count).step_by(20) {
        stream.deliver(&mut book, from, from + 20).unwrap();
        assert!(book.windows() <= 6, "{book:?}");
    }
    assert_eq!(disk.files().len(), 81);
    book.close().unwrap();
    assert_eq!(written(&disk), stream.expected());
}
