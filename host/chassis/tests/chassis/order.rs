//! Order, identity, batches.

use std::collections::HashSet;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wasink_chassis::plugin::{Acknowledges, Exception, Failure, Outcome};
use wasink_chassis::{Chassis, SinkState};

use super::kit::{
    Bench, Call, Fake, Gate, Kit, PATIENCE, START, adds_up, lane, next_write, one, retry, rids,
    seen, sink, trap, usage,
};

#[test]
fn many_threads_emit_and_every_record_comes_once_in_the_order_of_its_producer() {
    const THREADS: usize = 8;
    const RECORDS: usize = 20_000;
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = all.clone();
    let (fake, _) = Fake::writing(move |batch| {
        into.lock().unwrap().extend(seen(batch));
        Ok(Vec::new())
    });
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    thread::scope(|scope| {
        for producer in 0..THREADS {
            let recorder = chassis.usage();
            scope.spawn(move || {
                for number in 0..RECORDS {
                    recorder.emit_when_room(usage(format!("{producer} {number}"))).unwrap();
                }
            });
        }
    });
    let status = chassis.close(PATIENCE);
    assert_eq!(lane(&status).delivered, (THREADS * RECORDS) as u64);
    assert_eq!((status.streams[0].dropped_full, status.pending()), (0, 0));

    let all = all.lock().unwrap();
    let mut next = [0; THREADS];
    let mut ids = HashSet::new();
    for (position, seen) in all.iter().enumerate() {
        assert_eq!(seen.position, position as u64);
        assert!(ids.insert(seen.id), "{} twice", seen.id);
        assert!(seen.emitted_at.unwrap().unix_nanos() >= START);
        let (producer, number) = seen.rid.split_once(' ').unwrap();
        let producer: usize = producer.parse().unwrap();
        assert_eq!(number.parse(), Ok(next[producer]), "of producer {producer}");
        next[producer] += 1;
    }
    assert_eq!(next, [RECORDS; THREADS]);
}

#[test]
fn a_record_keeps_id_position_and_time_however_often_it_is_delivered() {
    let mut answers = vec![
        Err(retry(Some(Duration::from_millis(1))).into()),
        Err(Failure::Broken("gone".to_owned()).into()),
        Err(trap().into()),
        Ok(vec![Exception { index: 0, outcome: Outcome::Retry(None) }]),
    ]
    .into_iter();
    let (fake, calls) = Fake::writing(move |_| answers.next().unwrap_or(Ok(Vec::new())));
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    let writes: Vec<_> = (0..5).map(|_| next_write(&calls)).collect();
    let status = chassis.close(PATIENCE);
    assert!(writes.iter().all(|write| *write == writes[0]), "{writes:?}");
    assert_eq!((lane(&status).delivered, lane(&status).retries), (1, 4));

    let time = wasink_record::Timestamp::from_unix_nanos(7);
    let own = wasink_record::UsageEvent::builder("own", "acme", "http", "shop").emitted_at(time);
    let (fake, calls) = Fake::new();
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(own.build());
    assert_eq!(next_write(&calls)[0].emitted_at, Some(time), "a time of its own stays");
}

#[test]
fn only_the_records_that_are_to_be_retried_come_again_before_any_later_one() {
    let gate = Arc::new(Gate::default());
    let inside = gate.clone();
    let mut first = true;
    let (fake, calls) = Fake::writing(move |batch| {
        inside.pass()?;
        let retry = |index| Exception { index, outcome: Outcome::Retry(None) };
        let told = batch.len() == 10 && std::mem::take(&mut first);
        Ok(if told { vec![retry(2), retry(3), retry(8)] } else { Vec::new() })
    });
    let mut bench = one(fake);
    bench.config.sinks[0].batch.records = 10.try_into().unwrap();
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    recorder.emit(usage("warm"));
    assert_eq!(rids(&next_write(&calls)), ["warm"]);
    for number in 0..20 {
        recorder.emit(usage(number.to_string()));
    }
    // All twenty are in the log before the next batch is cut.
    while chassis.status().pending() < 21 {
        thread::yield_now();
    }
    gate.open();
    let mut order = Vec::new();
    let mut taken = 0;
    while taken < 23 {
        let write = next_write(&calls);
        taken += write.len();
        order.extend(write.into_iter().map(|seen| seen.position));
    }
    let status = chassis.close(PATIENCE);
    assert_eq!(lane(&status).delivered, 21);
    let mut settled = order.clone();
    settled.dedup();
    let again = order.windows(2).position(|two| two[1] < two[0]);
    let again = again.map(|at| &order[at + 1..at + 4]).unwrap();
    assert_eq!(again[1], again[0] + 1, "{order:?}");
    assert_eq!(again[2], again[0] + 6, "{order:?}");
}

#[test]
fn a_lone_record_is_delivered_when_its_batch_is_old_enough_though_no_other_comes() {
    let (fake, calls) = Fake::new();
    let mut bench = one(fake);
    bench.config.sinks[0].batch.age = Duration::from_millis(50);
    let chassis = bench.open().unwrap();
    let before = Instant::now();
    chassis.usage().emit(usage("alone"));
    assert_eq!(rids(&next_write(&calls)), ["alone"]);
    assert!(before.elapsed() >= Duration::from_millis(50), "it waits for others");
}

#[test]
fn a_batch_has_no_more_records_and_bytes_than_it_may() {
    let gate = Arc::new(Gate::default());
    let (fake, calls) = Fake::gated(&gate);
    let mut bench = one(fake);
    bench.config.sinks[0].batch.records = 7.try_into().unwrap();
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    (0..50).for_each(|number| recorder.emit(usage(number.to_string())));
    gate.open();
    chassis.close(PATIENCE);
    let writes: Vec<usize> = calls.try_iter().filter_map(|call| write_len(&call)).collect();
    assert_eq!(writes.iter().sum::<usize>(), 50);
    assert!(writes.iter().all(|len| *len <= 7), "{writes:?}");

    let (lengths, written) = sync_channel(100);
    let (fake, _) = Fake::writing(move |batch| {
        lengths.send((batch.len(), batch.line_bytes())).unwrap();
        Ok(Vec::new())
    });
    let mut bench = one(fake);
    bench.config.sinks[0].batch.bytes = 1000.try_into().unwrap();
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    (0..50).for_each(|number| recorder.emit(usage("x".repeat(number * 30))));
    chassis.close(PATIENCE);
    let writes: Vec<_> = written.try_iter().collect();
    assert_eq!(writes.iter().map(|(len, _)| len).sum::<usize>(), 50);
    assert!(writes.iter().all(|(len, bytes)| *bytes <= 1000 || *len == 1), "{writes:?}");
}

fn write_len(call: &Call) -> Option<usize> {
    match call {
        Call::Write(records) => Some(records.len()),
        _ => None,
    }
}

#[test]
fn a_sink_without_work_is_flushed_once() {
    let (fake, calls) = Fake::new();
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    next_write(&calls);
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Flush));
    chassis.usage().emit(usage("s"));
    assert_eq!(rids(&next_write(&calls)), ["s"], "no flush without a write in between");
}

#[test]
fn a_plugin_that_acknowledges_on_flush_is_flushed_once_nothing_else_comes() {
    let (mut fake, calls) = Fake::new();
    fake.description.acknowledges = Acknowledges::OnFlush;
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    next_write(&calls);
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Flush));
}

#[test]
fn a_flush_that_breaks_the_instance_is_told_and_the_next_record_gets_a_new_one() {
    let (mut fake, calls) = Fake::new();
    let mut broken = false;
    fake.flush = Box::new(move || match std::mem::replace(&mut broken, true) {
        false => Err(Failure::Broken("disk".to_owned()).into()),
        true => Ok(()),
    });
    let bench = one(fake);
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    next_write(&calls);
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Flush));
    chassis.usage().emit(usage("s"));
    assert_eq!(calls.recv_timeout(PATIENCE), Ok(Call::Reopen));
    assert_eq!(rids(&next_write(&calls)), ["s"]);
    chassis.close(PATIENCE);
    let warnings = bench.lines.of(wasink_chassis::logger::Level::Warn);
    assert_eq!(warnings, ["a: flush failed reason=the plugin can't go on: disk"]);
}

#[test]
fn a_record_that_kills_its_plugin_is_rejected_and_the_sink_works_again() {
    let (fake, _) = Fake::writing(|batch| {
        let poison = seen(batch).iter().any(|seen| seen.rid == "13");
        // Other than a trap, this is not an answer of the plugin at all.
        assert!(!poison, "as scripted");
        Ok(Vec::new())
    });
    let (good, _) = Fake::new();
    let kit = Kit::default().with("a", fake).with("b", good);
    let bench = Bench::new(kit, &(sink("a", "['usage']") + &sink("b", "['usage']")));
    let chassis: Chassis = bench.open().unwrap();
    (0..30).for_each(|number| chassis.usage().emit(usage(number.to_string())));
    while chassis.status().pending() > 0 {
        thread::yield_now();
    }
    let status = chassis.status();
    adds_up(&status);
    assert_eq!((lane(&status).delivered, lane(&status).rejected), (29, 1));
    assert_eq!(status.sinks[1].lanes[0].delivered, 30);
    chassis.usage().emit(usage("later"));
    let status = chassis.close(PATIENCE);
    assert_eq!(lane(&status).delivered, 30);
    assert_eq!(status.sinks[0].state, SinkState::Closed);
}
