//! Many chassis that publish into one stream, and are killed all the time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::crash::post_until_it_is_gone;
use super::fleet::{compiled, share, size};
use super::operator::Operator;
use super::service::serve;
use crate::nats::Nats;

fn config(nats: &Nats) -> String {
    let server = nats.address();
    format!(
        "listen.http = ''\n\
         [usage]\nsink = 'jetstream'\n\
         [usage.jetstream]\nservers = ['{server}']\ncreate = {{ name = 'USAGE' }}\n\
         [usage.grants]\ntcp = ['{server}']\n"
    )
}

/// Serves until as many posts as chance wants were answered, and is killed, round after round; then
/// until everything is delivered.
fn run(
    operator: &Operator,
    rounds: usize,
    next: &AtomicU64,
    acknowledged: &Mutex<std::collections::BTreeSet<u64>>,
    random: &mut fastrand::Rng,
) {
    for _ in 0..rounds {
        let running = serve(operator);
        let answers = AtomicUsize::new(0);
        let until = random.usize(1..40);
        thread::scope(|scope| {
            let client =
                scope.spawn(|| post_until_it_is_gone(operator, next, acknowledged, &answers));
            while answers.load(Ordering::SeqCst) < until {
                assert!(!client.is_finished());
                thread::yield_now();
            }
            running.signal("KILL");
        });
    }
    let running = serve(operator);
    operator.await_json("status --json", |status| {
        let sinks = status["sinks"].as_array().unwrap();
        let usage = sinks.iter().find(|sink| sink["name"] == "usage").unwrap();
        usage["lanes"][0]["pending"] == 0
    });
    running.signal("TERM");
    assert_eq!(running.end().exit(), 143);
}

/// A consumer of the stream, which writes it down in a file.
fn consume(nats: &Nats, to: &Path) {
    let info = nats.ask("STREAM.INFO.USAGE", "");
    let messages = info["state"]["messages"].as_u64().unwrap();
    let mut file = File::create(to).unwrap();
    for seq in 1..=messages {
        let answer = nats.ask("STREAM.MSG.GET.USAGE", &json!({ "seq": seq }).to_string());
        let data = answer["message"]["data"].as_str().unwrap();
        file.write_all(&BASE64_STANDARD.decode(data).unwrap()).unwrap();
        file.write_all(b"\n").unwrap();
    }
}

#[test]
fn what_any_chassis_has_acknowledged_is_in_a_consumers_file_once() {
    let Some(nats) = Nats::start() else { return };
    let chassis = size("FAN_IN_CHASSIS", 3);
    let rounds = size("FAN_IN_ROUNDS", 4);
    let (_first, cache) = compiled(&config(&nats));
    let next = AtomicU64::new(0);
    let acknowledged = Mutex::default();
    thread::scope(|scope| {
        for seed in 0..chassis {
            let operator = Operator::new();
            operator.write("wasink.toml", config(&nats));
            share(&cache, &operator);
            let (next, acknowledged) = (&next, &acknowledged);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(u64::try_from(seed).unwrap());
                run(&operator, rounds, next, acknowledged, &mut random);
                let held = operator.says("held list").expect(0).stdout;
                assert_eq!(held, "nothing is in doubt\n");
                operator.says("audit").expect(0);
            });
        }
    });

    let mut written: BTreeMap<u64, usize> = BTreeMap::new();
    let consumer = tempfile::tempdir().unwrap();
    let file = consumer.path().join("usage.jsonl");
    consume(&nats, &file);
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let rid: u64 = event["rid"].as_str().unwrap().parse().unwrap();
        assert!(rid < next.load(Ordering::SeqCst), "nobody sent {line}");
        *written.entry(rid).or_default() += 1;
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    let lost: Vec<_> = acknowledged.iter().filter(|rid| !written.contains_key(rid)).collect();
    assert!(lost.is_empty(), "acknowledged and not in the stream: {lost:?}");
    let doubled: Vec<_> = written.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "more than once: {doubled:?}");
    assert!(acknowledged.len() > chassis * rounds, "only {}", acknowledged.len());
    let told = format!(
        "fan-in: {chassis} chassis, {} kills, {} acknowledged, {} written\n",
        chassis * rounds,
        acknowledged.len(),
        written.len()
    );
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}
