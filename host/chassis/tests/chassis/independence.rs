//! Slow and hanging sinks, and who notices.

use std::sync::Arc;
use std::thread;

use super::kit::{
    Bench, Fake, Gate, Kit, PATIENCE, Seen, adds_up, lane, next_write, one, rids, sink, usage,
};

#[test]
fn a_sink_that_hangs_does_not_hold_another_one_back() {
    let gate = Arc::new(Gate::default());
    let (hanging, _) = Fake::gated(&gate);
    let (good, calls) = Fake::new();
    let kit = Kit::default().with("hanging", hanging).with("good", good);
    let config = sink("hanging", "['usage']") + &sink("good", "['usage']");
    let bench = Bench::new(kit, &config);
    let chassis = bench.open().unwrap();
    for number in 0..100 {
        chassis.usage().emit(usage(number.to_string()));
        assert_eq!(rids(&next_write(&calls)), [number.to_string()]);
    }
    // What a write delivers is counted once it has returned.
    while chassis.status().sinks[1].lanes[0].delivered < 100 {
        thread::yield_now();
    }
    assert_eq!(lane(&chassis.status()).pending, 100);
    gate.open();
    assert_eq!(chassis.close(PATIENCE).pending(), 0);
}

/// The bound of a log in memory: once it is full of what one sink has not taken, nothing more comes
/// in, for any sink of that stream. Other streams go on.
#[test]
fn once_a_log_in_memory_is_full_a_hanging_sink_stops_its_stream_and_no_other() {
    let gate = Arc::new(Gate::default());
    let (hanging, hung) = Fake::gated(&gate);
    let (good, calls) = Fake::new();
    let kit = Kit::default().with("hanging", hanging).with("good", good);
    let config = format!(
        "queue.records = 4\nqueue.bytes = 1\njournal.durability = 'memory'\n{}{}",
        sink("hanging", "['usage']"),
        sink("good", "['usage', 'events']")
    );
    let bench = Bench::new(kit, &config);
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    recorder.emit(usage("first"));
    assert_eq!(rids(&next_write(&hung)), ["first"]);
    assert_eq!(rids(&next_write(&calls)), ["first"]);
    // `emit` never waits: what does not fit is dropped and counted.
    let mut offered = 1;
    while chassis.status().streams.iter().all(|stream| stream.dropped_full == 0) {
        recorder.emit(usage("more"));
        offered += 1;
    }
    let status = chassis.status();
    let stream = status.streams.iter().find(|stream| stream.dropped_full > 0).unwrap();
    assert_eq!(offered, stream.accepted + stream.dropped_full);
    adds_up(&status);

    let event = wasink_record::CloudEvent::builder("e", "test", "t").build();
    chassis.events().emit(event.unwrap());
    let write = next_write(&calls);
    assert_eq!(write[0].stream, wasink_record::Stream::Events);

    gate.open();
    let status = chassis.close(PATIENCE);
    assert_eq!(status.pending(), 0);
    assert_eq!(status.sinks[0].lanes[0].delivered, stream.accepted);
}

#[test]
fn a_hanging_sink_never_delays_another_that_reads_the_same_stream() {
    let gate = Arc::new(Gate::default());
    let (hanging, hung) = Fake::gated(&gate);
    let (good, calls) = Fake::new();
    let kit = Kit::default().with("hanging", hanging).with("good", good);
    // Far more than may be kept in memory.
    let sinks = sink("hanging", "['usage']") + &sink("good", "['usage']");
    let bench = Bench::new(kit, &format!("queue.bytes = '64KiB'\n{sinks}"));
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    (0..20_000).for_each(|n| recorder.emit_when_room(usage(n.to_string())).unwrap());
    let mut seen = 0;
    while seen < 20_000 {
        seen += next_write(&calls).len();
    }
    let owned = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.rid);
    let mut late: Vec<String> = owned(next_write(&hung)).collect();
    gate.open();
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!(status.pending(), 0);
    // What was not in memory any more came from the disk.
    while late.len() < 20_000 {
        late.extend(owned(next_write(&hung)));
    }
    let expected: Vec<_> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(late, expected);
}

#[test]
fn emit_when_room_waits_for_a_slow_sink_and_loses_nothing() {
    let gate = Arc::new(Gate::default());
    let (slow, _) = Fake::gated(&gate);
    let mut bench = one(slow);
    bench.config.queue.records = 2.try_into().unwrap();
    bench.config.queue.bytes = 1.try_into().unwrap();
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    let producer = thread::spawn(move || {
        (0..1000).for_each(|n| recorder.emit_when_room(usage(n.to_string())).unwrap());
    });
    // What is in the plugin, in the mover's hands and in the queue, and never more.
    while chassis.status().pending() < 3 {
        thread::yield_now();
    }
    assert!(!producer.is_finished());
    gate.open();
    producer.join().unwrap();
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.streams[0].dropped_full), (1000, 0));
}
