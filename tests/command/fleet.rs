//! A fleet: one producer and many nodes on one JetStream, where processes are killed all the time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use wasink::feed::outbox::sqlite::{append_all, prepare};
use wasink::record::{ControlEvent, ControlType, Timestamp};

use super::operator::{Operator, Running};
use super::service::serve;
use crate::nats::Nats;

/// Far longer than a small run takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How often it is looked how far the nodes are.
const LOOK: Duration = Duration::from_millis(20);
/// Events in one transaction of the producer.
const TRANSACTION: usize = 50;
/// Different keys in the nodes' tables.
const KEYS: usize = 997;

/// A number from the environment: a larger run is asked for by hand.
pub(crate) fn size(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |size| size.parse().unwrap())
}

/// What an event does: most write their number, each tenth deletes what the one before it wrote.
fn change(n: usize) -> String {
    let (op, of) = if n % 10 == 9 { ("delete", n - 1) } else { ("upsert", n) };
    let rows = json!([{ "id": of % KEYS, "value": n }]);
    json!({ "table": "state", "op": op, "pk": ["id"], "rows": rows }).to_string()
}

/// What is in the log of a node that has applied so many events, each once and in order.
fn expected_log(events: usize) -> Vec<i64> {
    (0..events).map(|n| if n % 10 == 9 { -1 } else { i64::try_from(n).unwrap() }).collect()
}

fn event(n: usize) -> ControlEvent {
    ControlEvent::builder(format!("evt_{n:06}"), ControlType::KeyChanged)
        .artifact(format!("{:02}/{n}", n % 100), Sha256::digest(change(n)).into())
        .build()
        .unwrap()
}

/// Makes the artifacts, and then the events, in many transactions: never more than so many in all as
/// are allowed by then, so that there is something to do for as long as processes are killed.
fn produce(database: &Path, artifacts: &Path, events: usize, allowed: &AtomicUsize) {
    let mut database = Connection::open(database).unwrap();
    database.busy_timeout(Duration::from_secs(60)).unwrap();
    for directory in 0..100 {
        std::fs::create_dir(artifacts.join(format!("{directory:02}"))).unwrap();
    }
    let all: Vec<_> = (0..events).collect();
    let started = Instant::now();
    for (done, some) in all.chunks(TRANSACTION).enumerate() {
        while done * TRANSACTION >= allowed.load(Ordering::SeqCst) {
            assert!(started.elapsed() < PATIENCE);
            thread::park_timeout(LOOK);
        }
        for n in some {
            std::fs::write(artifacts.join(format!("{:02}/{n}", n % 100)), change(*n)).unwrap();
        }
        let events: Vec<_> = some.iter().map(|n| event(*n)).collect();
        let transaction = database.transaction().unwrap();
        append_all(&transaction, &events, Timestamp::from_unix_nanos(0)).unwrap();
        transaction.commit().unwrap();
    }
}

/// A process of the fleet, in a directory of its own.
struct Member {
    operator: Operator,
    running: Option<Running>,
}

impl Member {
    fn new(config: &str, cache: Option<&Path>) -> Self {
        let operator = Operator::new();
        operator.write("wasink.toml", config);
        if let Some(cache) = cache {
            share(cache, &operator);
        }
        Self { operator, running: None }
    }

    fn start(&mut self) {
        self.running = Some(serve(&self.operator));
    }

    fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.signal("KILL");
        assert_eq!(running.end().status.code(), None);
    }
}

/// Gives a process what another has compiled, so that not each of them has to.
pub(crate) fn share(cache: &Path, with: &Operator) {
    std::fs::create_dir_all(with.path("wasink-data")).unwrap();
    let copied =
        Command::new("cp").arg("-a").arg(cache).arg(with.path("wasink-data/cache")).status();
    assert!(copied.unwrap().success());
}

/// Compiles what this configuration needs, and returns where that is.
pub(crate) fn compiled(config: &str) -> (Operator, PathBuf) {
    let operator = Operator::new();
    operator.write("wasink.toml", config);
    operator.says("check").expect(0);
    let cache = operator.path("wasink-data/cache");
    (operator, cache)
}

fn node_config(nats: &Nats, artifacts: &Path) -> String {
    let (server, artifacts) = (nats.address(), artifacts.display());
    format!(
        "listen.http = ''\nnode_id = 'NODE'\n\
         [[feed]]\nname = 'control'\nplugin = 'jetstream'\ndatabase = 'node.db'\n\
         tables = ['state']\nperiod = '1s'\nwait = '2s'\n\
         artifacts.url = 'file://{artifacts}'\n\
         settings = {{ servers = ['{server}'], timeout_ms = 2000 }}\n\
         grants.tcp = ['{server}']\n"
    )
}

fn producer_config(nats: &Nats) -> String {
    let server = nats.address();
    format!(
        "listen.http = ''\n\
         [[outbox]]\nname = 'admin'\nplugin = 'jetstream'\ndatabase = 'admin.db'\nperiod = '1s'\n\
         settings = {{ servers = ['{server}'], timeout_ms = 2000, create = {{}} }}\n\
         grants.tcp = ['{server}']\n"
    )
}

/// The tables of a node, and a log of all that happens to them.
fn prepare_node(path: &Path) {
    let node = Connection::open(path).unwrap();
    node.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE state (id INTEGER PRIMARY KEY, value INTEGER);
         CREATE TABLE log (n INTEGER);
         CREATE TRIGGER upserted AFTER INSERT ON state BEGIN
             INSERT INTO log VALUES (new.value);
         END;
         CREATE TRIGGER deleted AFTER DELETE ON state BEGIN
             INSERT INTO log VALUES (-1);
         END;",
    )
    .unwrap();
}

fn read_only(path: &Path) -> Connection {
    let node = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    node.busy_timeout(Duration::from_secs(60)).unwrap();
    node
}

/// How much a node has done.
fn done(path: &Path) -> usize {
    usize::try_from(column(&read_only(path), "SELECT count(*) FROM log")[0]).unwrap()
}

fn column(node: &Connection, query: &str) -> Vec<i64> {
    let mut query = node.prepare(query).unwrap();
    query.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn every_node_of_a_fleet_ends_with_the_same_state_whoever_is_killed_meanwhile() {
    let Some(mut nats) = Nats::start() else { return };
    let nodes = size("FLEET_NODES", 3);
    let events = size("FLEET_EVENTS", 3_000);
    let seed = u64::try_from(size("FLEET_SEED", 7)).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let artifacts = tempfile::tempdir().unwrap();
    let (_first, cache) = compiled(&node_config(&nats, artifacts.path()));

    let mut producer = Member::new(&producer_config(&nats), None);
    let outbox = producer.operator.path("admin.db");
    prepare(&Connection::open(&outbox).unwrap()).unwrap();
    producer.start();
    let mut fleet: Vec<Member> = (0..nodes)
        .map(|n| {
            let config = node_config(&nats, artifacts.path()).replace("NODE", &format!("node-{n}"));
            let mut node = Member::new(&config, Some(&cache));
            prepare_node(&node.operator.path("node.db"));
            node.start();
            node
        })
        .collect();

    let started = Instant::now();
    let all_made = AtomicBool::new(false);
    // The fleet is a tenth behind at the most.
    let allowed = AtomicUsize::new(events / 10);
    let (mut kills, mut restarts, mut duplicates) = (0, 0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            produce(&outbox, artifacts.path(), events, &allowed);
            all_made.store(true, Ordering::SeqCst);
        });
        let mut shaken = 0;
        loop {
            let counts: Vec<_> =
                fleet.iter().map(|node| done(&node.operator.path("node.db"))).collect();
            let (least, most) = (*counts.iter().min().unwrap(), *counts.iter().max().unwrap());
            if least >= events && all_made.load(Ordering::SeqCst) {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "{counts:?} of {events}");
            allowed.store(least + events / 10, Ordering::SeqCst);
            // Something happens whenever the first node has done another piece.
            if most >= shaken {
                shaken = most + (events / 100).max(100);
                let of = random.usize(..nodes);
                fleet[of].kill();
                fleet[of].start();
                kills += 1;
                if random.bool() {
                    producer.kill();
                    producer.start();
                    kills += 1;
                }
                if most > 0 {
                    // One that everybody has had, published again as if it were new.
                    let again =
                        serde_json::to_string(&event(random.usize(..least.max(1)))).unwrap();
                    nats.publish("wasink.control", &again);
                    duplicates += 1;
                }
                if restarts < 2 && most > events * (restarts + 1) / 3 {
                    nats.kill();
                    nats.run();
                    restarts += 1;
                }
            }
            thread::park_timeout(LOOK);
        }
    });
    let took = started.elapsed();

    let expected = expected_log(events);
    let mut states = Vec::new();
    for member in &mut fleet {
        let path = member.operator.path("node.db");
        member.running.take().unwrap().signal("TERM");
        let node = read_only(&path);
        let log = column(&node, "SELECT n FROM log ORDER BY rowid");
        assert!(log == expected, "events were lost, doubled or swapped: {} in the log", log.len());
        let known = column(&node, "SELECT count(*) FROM applied_events");
        assert_eq!(known, [i64::try_from(events).unwrap()]);
        states.push((
            column(&node, "SELECT id FROM state ORDER BY id"),
            column(&node, "SELECT value FROM state ORDER BY id"),
        ));
    }
    assert!(states.iter().all(|state| *state == states[0]));
    let admin = read_only(&outbox);
    let unpublished = "SELECT count(*) FROM control_events_outbox WHERE published_at IS NULL";
    assert_eq!(column(&admin, unpublished), [0]);
    // Not by `println!`, which is kept for tests that fail.
    let told = format!(
        "fleet: {nodes} nodes, {events} events, {kills} kills, {restarts} restarts of the server, \
         {duplicates} duplicates, {took:.1?}\n"
    );
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
    assert!(kills > nodes && restarts == 2 && duplicates > 5, "{told}");
}
