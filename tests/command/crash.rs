//! The daemon, killed at random moments under load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use super::operator::Operator;
use super::service::{Client, serve};
use crate::support;

/// Rounds, unless `WASINK_KILL_ROUNDS` says otherwise.
const ROUNDS: usize = 20;
/// Those who post at the same time.
const CLIENTS: usize = 3;
/// Records in a post.
const POST: usize = 7;

/// Segments of the smallest size, so that many begin and end; one sink that delivers, and one whose
/// records all become dead letters.
fn config(plugins: &std::path::Path) -> String {
    format!(
        "plugin_dirs = ['{}']\n\
         listen.http = ''\njournal.segment = '64KiB'\n\
         [usage]\nsink = 'file'\n[usage.file]\npath = 'usage.jsonl'\n\
         [[sink]]\nname = 'refuses'\nplugin = 'faulty'\nstreams = ['usage']\ngrants.directory = true\n\
         settings = {{ on = 'write', does = 'reject' }}\n",
        plugins.display()
    )
}

/// How often processes are killed.
pub(crate) fn rounds() -> usize {
    std::env::var("WASINK_KILL_ROUNDS").map_or(ROUNDS, |n| n.parse().unwrap())
}

fn rid(event: &Value) -> u64 {
    event["rid"].as_str().unwrap().parse().unwrap()
}

#[test]
fn what_was_acknowledged_is_delivered_whatever_moment_the_process_is_killed_at() {
    let rounds = rounds();
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    operator.write("wasink.toml", config(plugins.path()));
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let next = AtomicU64::new(0);
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 0..rounds {
        let running = serve(&operator);
        let until = random.usize(..60);
        let answers = AtomicUsize::new(0);
        thread::scope(|scope| {
            let client = || post_until_it_is_gone(&operator, &next, &acknowledged, &answers);
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            while answers.load(Ordering::SeqCst) < until {
                // They go on for ever, unless something is wrong with what they are told.
                assert!(!clients.iter().any(|client| client.is_finished()), "round {round}");
                thread::yield_now();
            }
            running.signal("KILL");
        });
        drop(running);
        operator.says("audit").expect(0);
        assert!(operator.says("journal verify").exit() == 0, "round {round}");
    }
    deliver_all(&operator);

    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > rounds * POST, "only {}", acknowledged.len());
    let offered = next.load(Ordering::SeqCst);
    let mut delivered: BTreeMap<u64, Value> = BTreeMap::new();
    for line in whole_lines(&operator.read("usage.jsonl"), rounds) {
        let event: Value = serde_json::from_str(line).unwrap();
        assert!(rid(&event) < offered, "nobody sent {line}");
        // What comes twice is the same, to the byte.
        if let Some(before) = delivered.insert(rid(&event), event.clone()) {
            assert_eq!(before, event);
        }
    }
    let lost: Vec<_> = acknowledged.iter().filter(|rid| !delivered.contains_key(rid)).collect();
    assert!(lost.is_empty(), "acknowledged and not delivered: {lost:?}");

    let dead = operator.says("dead list --sink refuses --json").expect(0).json();
    let dead = dead["dead"].as_array().unwrap();
    let mut letters = BTreeSet::new();
    for letter in dead {
        let event: Value = serde_json::from_str(letter["line"].as_str().unwrap()).unwrap();
        assert!(letters.insert(rid(&event)), "two dead letters of one record: {letter}");
        assert_eq!(letter["fate"], "rejected");
    }
    let lost: Vec<_> = acknowledged.iter().filter(|rid| !letters.contains(rid)).collect();
    assert!(lost.is_empty(), "acknowledged and no dead letter: {lost:?}");

    let audit = operator.says("audit --json").expect(0).json();
    let lanes = &audit["streams"]["usage"]["sinks"];
    let accepted = audit["streams"]["usage"]["accepted"]["acme"].as_u64().unwrap();
    assert!(accepted >= acknowledged.len() as u64 && accepted <= offered);
    assert_eq!(lanes["usage"]["fates"]["delivered"], accepted);
    assert_eq!(lanes["usage"]["tenants"]["acme"]["delivered"], accepted);
    assert_eq!(lanes["refuses"]["fates"]["rejected"], accepted);
    assert_eq!(lanes["refuses"]["dead_letters"], accepted);
    assert_eq!(letters.len() as u64, accepted);
}

/// The lines of a ledger that are whole. A kill in the middle of a write leaves the beginning of one,
/// at most one a round, whose record has to be there whole as well.
pub(crate) fn whole_lines(ledger: &str, rounds: usize) -> Vec<&str> {
    let is_whole = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
    let (whole, torn): (Vec<_>, Vec<_>) = ledger.lines().partition(is_whole);
    assert!(torn.len() <= rounds, "{torn:#?}");
    for torn in torn {
        let again = whole.iter().any(|line| line.starts_with(torn));
        assert!(again, "the record of this line did not come again: {torn}");
    }
    whole
}

/// Posts records until nobody answers.
pub(crate) fn post_until_it_is_gone(
    operator: &Operator,
    next: &AtomicU64,
    acknowledged: &Mutex<BTreeSet<u64>>,
    answers: &AtomicUsize,
) {
    let mut client = Client::connect(operator);
    loop {
        let first = next.fetch_add(POST as u64, Ordering::SeqCst);
        let rids = first..first + POST as u64;
        let line = |rid: u64| {
            format!(
                "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
                 \"status\":\"ok\",\"duration_ms\":1,\"bytes_in\":2,\"bytes_out\":3,\
                 \"emitted_at\":\"2026-05-20T01:02:03Z\"}}\n"
            )
        };
        let body: String = rids.clone().map(line).collect();
        let Some((status, answer)) = client.post("usage", "application/x-ndjson", &body) else {
            return;
        };
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["accepted"], POST as u64, "{answer}");
        acknowledged.lock().unwrap().extend(rids);
        answers.fetch_add(1, Ordering::SeqCst);
    }
}

/// A last start, which delivers what is left and ends. How, depends on whether some of it was refused
/// before it began to count.
pub(crate) fn deliver_all(operator: &Operator) {
    let ended = operator.feed("run --stream usage --quiet", "");
    assert!([0, 65].contains(&ended.exit()), "{ended:?}");
}
