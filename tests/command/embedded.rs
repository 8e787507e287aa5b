//! A process that embeds the library and appends, killed at random moments.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;
use wasink::record::{RecordId, UsageEvent};
use wasink::{Chassis, Config};

use super::crash;
use super::operator::Operator;
use crate::support;

/// Where the process that is killed finds its configuration, and what its records begin with.
const CONFIG: &str = "WASINK_TEST_EMBEDDED_CONFIG";
const ROUND: &str = "WASINK_TEST_EMBEDDED_ROUND";

/// Threads that append one record at a time; one more appends several.
const SINGLES: usize = 2;
/// Records that the other appends at once.
const BATCH: usize = 7;

/// Segments of the smallest size, so that many begin and end; one sink that delivers, with ids, and
/// one whose records all become dead letters.
fn config(data: &Path, plugins: &Path) -> String {
    format!(
        "data_dir = '{}'\nplugin_dirs = ['{}']\njournal.segment = '64KiB'\n\
         [usage]\nsink = 'file'\n[usage.file]\nencoding = 'cloudevents-jsonl'\n\
         [[sink]]\nname = 'refuses'\nplugin = 'faulty'\nstreams = ['usage']\ngrants.directory = true\n\
         settings = {{ on = 'write', does = 'reject' }}\n",
        data.display(),
        plugins.display()
    )
}

#[test]
#[ignore = "it is run, and killed, by the test below"]
fn appends_until_it_is_killed() {
    let config = std::fs::read_to_string(std::env::var_os(CONFIG).unwrap()).unwrap();
    let round = std::env::var(ROUND).unwrap();
    let chassis = Chassis::open(&Config::from_toml(&config).unwrap()).unwrap();
    let event = |call: &str, n: usize| {
        UsageEvent::builder(format!("{call}.{n}"), "acme", "http", "shop").build()
    };
    thread::scope(|scope| {
        for caller in 0..=SINGLES {
            let (recorder, round) = (chassis.usage(), &round);
            scope.spawn(move || {
                for number in 0.. {
                    let call = format!("{round}.{caller}.{number}");
                    let ids = if caller < SINGLES {
                        let appended = pollster::block_on(recorder.append(event(&call, 0)));
                        vec![appended.unwrap()]
                    } else {
                        let events = (0..BATCH).map(|n| event(&call, n)).collect();
                        pollster::block_on(recorder.append_batch(events)).unwrap()
                    };
                    acknowledge(&call, &ids);
                }
            });
        }
    });
}

/// Says which records it has been told of. A line that is cut off has no full stop.
fn acknowledge(call: &str, ids: &[RecordId]) {
    let line = |(n, id): (usize, &RecordId)| format!("\nacknowledged {id} {call}.{n} .\n");
    let lines: String = ids.iter().enumerate().map(line).collect();
    std::io::stdout().write_all(lines.as_bytes()).unwrap();
}

/// The id and the request of such a line.
fn acknowledged(line: &str) -> Option<(String, String)> {
    let words = line.strip_prefix("acknowledged ")?.strip_suffix(" .")?;
    let (id, rid) = words.split_once(' ')?;
    Some((id.to_owned(), rid.to_owned()))
}

/// Runs it until so many records are acknowledged, kills it, and returns all that were.
fn kill_after(records: usize, config: &Path, round: usize) -> Vec<(String, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "command::embedded::appends_until_it_is_killed"])
        .args(["--ignored", "--nocapture"])
        .env(CONFIG, config)
        .env(ROUND, round.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut told = lines.filter_map(|line| acknowledged(&line));
    let mut all: Vec<_> = told.by_ref().take(records).collect();
    assert_eq!(all.len(), records, "round {round}: it ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said and nobody had read yet.
    all.extend(told);
    all
}

#[test]
fn what_append_has_returned_is_delivered_whatever_moment_the_process_is_killed_at() {
    let rounds = crash::rounds();
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    let config = config(&operator.path("wasink-data"), plugins.path());
    let config = operator.write("wasink.toml", config);
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut told = BTreeMap::new();
    for round in 0..rounds {
        for (id, rid) in kill_after(random.usize(..120), &config, round) {
            assert_eq!(told.insert(id, rid), None, "an id that another record has");
        }
        operator.says("audit").expect(0);
        operator.says("journal verify").expect(0);
    }
    crash::deliver_all(&operator);
    assert!(told.len() > rounds * BATCH, "only {}", told.len());

    let mut delivered: BTreeMap<String, Value> = BTreeMap::new();
    let ledger = operator.read("wasink-data/usage/ledger.jsonl");
    for line in crash::whole_lines(&ledger, rounds) {
        let event: Value = serde_json::from_str(line).unwrap();
        // What comes twice is the same, to the byte.
        let id = event["id"].as_str().unwrap().to_owned();
        if let Some(before) = delivered.insert(id, event.clone()) {
            assert_eq!(before, event);
        }
    }
    let rid = |event: &Value| event["data"]["rid"].as_str().unwrap().to_owned();
    for (id, told) in &told {
        assert_eq!(delivered.get(id).map(rid).as_ref(), Some(told), "{id} is not delivered");
    }
    whole_batches(delivered.values().map(rid));

    let dead = operator.says("dead list --sink refuses --json").expect(0).json();
    let mut letters = BTreeSet::new();
    for letter in dead["dead"].as_array().unwrap() {
        let id = letter["id"].as_str().unwrap().to_owned();
        assert!(letters.insert(id), "two dead letters of one record: {letter}");
    }
    assert!(letters.iter().eq(delivered.keys()), "every record is at both sinks");

    let audit = operator.says("audit --json").expect(0).json();
    let usage = &audit["streams"]["usage"];
    let accepted = delivered.len();
    assert_eq!(usage["accepted"]["acme"], accepted);
    for (sink, fate) in [("usage", "delivered"), ("refuses", "rejected")] {
        let lane = &usage["sinks"][sink];
        assert_eq!((&lane["fates"][fate], &lane["pending"]), (&accepted.into(), &0.into()));
        assert_eq!(lane["tenants"]["acme"][fate], accepted);
    }
}

/// No two records are of one request, and of those that were appended at once there are all or none.
fn whole_batches(rids: impl Iterator<Item = String>) {
    let mut calls: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for rid in rids {
        let (call, n) = rid.rsplit_once('.').unwrap();
        let n = n.parse().unwrap();
        assert!(calls.entry(call.to_owned()).or_default().insert(n), "{rid} has two ids");
    }
    let together = format!(".{SINGLES}.");
    for (call, records) in calls {
        let all = if call.contains(&together) { BATCH } else { 1 };
        assert_eq!(records.len(), all, "of {call} there are only {records:?}");
    }
}
