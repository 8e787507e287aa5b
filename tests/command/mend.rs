//! Dead letters and doubts, mended with a real component: in `wasink serve` at work, and without it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::operator::{Operator, Running};
use super::service::{Client, serve};
use crate::support;

/// What the receiver has.
const TAKEN: &str = "wasink-data/sinks/billing/taken.jsonl";
const REFUSE: &str = "wasink-data/sinks/billing/refuse";
const HANG: &str = "wasink-data/sinks/billing/hang";

/// An operator with one sink of usage, `billing`, whose receiver recognises ids for a second, and
/// whose calls may take longer.
fn operator() -> (Operator, TempDir) {
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("forgetful", "forgetful")]);
    let config = format!(
        "plugin_dirs = ['{}']\nlisten.http = ''\n[usage]\nenabled = false\n[[sink]]\n\
         name = 'billing'\nplugin = 'forgetful'\nstreams = ['usage']\ngrants.directory = true\ntimeout = '1500ms'\n\
         batch.age = '0s'\n",
        plugins.path().display()
    );
    operator.write("wasink.toml", config);
    (operator, plugins)
}

fn usage(rid: &str, tenant: &str) -> String {
    format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"{tenant}\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    )
}

fn post(client: &mut Client, body: &str) {
    let (status, answer) = client.post("usage", "application/x-ndjson", body).unwrap();
    assert_eq!(status, 200, "{answer}");
}

/// The member `name` of a list in a status.
fn named<'a>(status: &'a Value, list: &str, key: &str, name: &str) -> &'a Value {
    status[list].as_array().unwrap().iter().find(|one| one[key] == name).unwrap()
}

/// The sink, and its lane.
fn billing(status: &Value) -> (&Value, &Value) {
    let sink = named(status, "sinks", "name", "billing");
    (sink, &sink["lanes"][0])
}

/// The ids that the receiver has, by request; each of them once.
#[track_caller]
fn taken(operator: &Operator) -> BTreeMap<String, String> {
    let mut ids = BTreeMap::new();
    for line in operator.read(TAKEN).lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let before = ids.insert(text(&event["data"]["rid"]), text(&event["id"]));
        assert_eq!(before, None, "it has this twice: {line}");
    }
    ids
}

fn end(running: Running) {
    running.signal("TERM");
    running.end().expect(143);
}

/// What the files say became of the records at `billing`, once nobody has them open.
fn audited(operator: &Operator) -> (Value, Value) {
    let audit = operator.says("audit --json").expect(0).json();
    let usage = &audit["streams"]["usage"];
    (usage["accepted"].clone(), usage["sinks"]["billing"].clone())
}

#[test]
fn a_running_process_hands_dead_letters_over_again_and_purges_them_while_records_flow() {
    let (operator, _plugins) = operator();
    operator.write(REFUSE, "bolt\ncrow\n");
    let running = serve(&operator);
    let tenants = ["acme", "bolt", "crow"];
    let lines: String =
        (0..12_usize).map(|n| usage(&format!("r-{n}"), tenants[n % tenants.len()])).collect();
    post(&mut Client::connect(&operator), &lines);
    let dead = |of: &Value| of["dead"].as_array().unwrap().clone();
    let found = operator.await_json("dead list --json", |found| dead(found).len() == 8);
    let letters: BTreeMap<u64, (String, String)> = dead(&found)
        .iter()
        .map(|letter| {
            let [id, tenant] = ["id", "tenant"].map(|key| letter[key].as_str().unwrap().to_owned());
            (letter["position"].as_u64().unwrap(), (id, tenant))
        })
        .collect();
    let of = |tenant: &str| -> Vec<(u64, String)> {
        let of = letters.iter().filter(|(_, (_, of))| of == tenant);
        of.map(|(position, (id, _))| (*position, id.clone())).collect()
    };
    let (bolt, crow) = (of("bolt"), of("crow"));
    assert_eq!((bolt.len(), crow.len()), (4, 4));

    let over = AtomicBool::new(false);
    let flowed = thread::scope(|scope| {
        let flowing = scope.spawn(|| {
            let mut client = Client::connect(&operator);
            let mut records = 0_u64;
            while !over.load(Ordering::SeqCst) {
                post(&mut client, &usage(&format!("more-{records}"), "acme"));
                records += 1;
            }
            records
        });
        // It goes on for ever otherwise, where something here fails.
        let over = Over(&over);
        mend_letters(&operator, &bolt, &crow);
        drop(over);
        flowing.join().unwrap()
    });

    let settled = |status: &Value| billing(status).1["pending"] == 0;
    let status = operator.await_json("status --json", settled);
    let (stream, (_, lane)) = (named(&status, "streams", "stream", "usage"), billing(&status));
    // Of the crow's four, one was taken after all; the ledger goes on counting what was purged.
    let delivered = 4 + 4 + 1 + flowed;
    assert_eq!(stream["accepted"], 12 + flowed);
    assert_eq!((&lane["delivered"], &lane["rejected"]), (&json!(delivered), &json!(3)));
    end(running);

    let (accepted, billing) = audited(&operator);
    assert_eq!(accepted["acme"], 4 + flowed);
    assert_eq!(billing["fates"], json!({ "delivered": delivered, "rejected": 3 }));
    assert_eq!(billing["tenants"]["bolt"], json!({ "delivered": 4 }));
    assert_eq!(billing["tenants"]["crow"], json!({ "delivered": 1, "rejected": 3 }));
    operator.says("audit").expect(0);
    operator.says("journal verify").expect(0);
    let taken = taken(&operator);
    assert_eq!(taken.len() as u64, delivered);
    for (position, id) in bolt.iter().chain(crow.last()) {
        assert_eq!(taken[&format!("r-{position}")], *id);
    }
}

/// Says that it is over, however that comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Looks at the letters of both tenants with every filter, has all of the one delivered and the last
/// of the other, and the rest purged.
fn mend_letters(operator: &Operator, bolt: &[(u64, String)], crow: &[(u64, String)]) {
    let first = &crow[0];
    for (filter, letters) in [
        ("--sink billing", 8),
        ("--sink nobody", 0),
        ("--stream usage --tenant bolt", 4),
        ("--stream control", 0),
        ("--tenant acme", 0),
        ("--reason nobody", 0),
        ("--reason crow", 4),
        ("--most 3", 3),
        (&format!("--position {}", first.0), 1),
        (&format!("--id {}", first.1), 1),
        (&format!("--id {} --tenant bolt", first.1), 0),
    ] {
        let listed = operator.says(&format!("dead list {filter}")).expect(0).stdout;
        match letters {
            0 => assert_eq!(listed, "no dead letters\n", "{filter}"),
            letters => assert_eq!(listed.lines().count(), letters, "{filter}: {listed}"),
        }
    }
    let shown = operator.says(&format!("dead show --id {}", first.1)).expect(0).stdout;
    assert!(shown.contains("nothing is taken of crow"), "{shown}");

    // It refuses as before, then one of the two only.
    let ended = operator.says("dead replay").expect(65);
    assert_eq!(ended.stdout, "0 delivered, 8 refused again\n");
    operator.write(REFUSE, "crow\n");
    let ended = operator.says("dead replay").expect(65);
    assert_eq!(ended.stdout, "4 delivered, 4 refused again\n");
    assert_eq!(ended.stderr.lines().count(), 4, "{ended:?}");
    for (_, id) in crow {
        let told = format!("usage billing {id}: nothing is taken of crow\n");
        assert!(ended.stderr.contains(&told), "{ended:?}");
    }
    let taken = taken(operator);
    assert!(bolt.iter().all(|(position, id)| taken[&format!("r-{position}")] == *id));
    assert_eq!(operator.says("dead list --tenant bolt").expect(0).stdout, "no dead letters\n");
    let ended = operator.says("dead replay --tenant bolt").expect(0);
    assert_eq!(ended.stdout, "0 delivered, 0 refused again\n");

    // The first, then one of three, then of the two that are left the last is delivered.
    operator.says("dead purge").expect(1);
    let purged = operator.says(&format!("dead purge --position {} --json", first.0)).expect(0);
    assert_eq!(purged.json(), json!({ "purged": 1 }));
    let purged = operator.says("dead purge --tenant crow --most 1").expect(0);
    assert_eq!(purged.stdout, "1 purged\n");
    operator.write(REFUSE, "");
    let last = &crow.last().unwrap().1;
    let replayed = operator.says(&format!("dead replay --id {last} --json")).expect(0).json();
    assert_eq!(replayed, json!({ "delivered": 1, "refused": [] }));
    assert_eq!(operator.says("dead purge --all").expect(0).stdout, "1 purged\n");
    assert_eq!(operator.says("dead list").expect(0).stdout, "no dead letters\n");
    assert_eq!(operator.says("dead purge --all").expect(0).stdout, "0 purged\n");
}

/// Three records of which nobody knows whether the receiver has them, since it hung before it took
/// them, or after, and four behind them; with a process that has said that it holds.
fn in_doubt(hangs: &str) -> (Operator, TempDir, Running) {
    let (operator, plugins) = operator();
    operator.write(HANG, hangs);
    let mut running = operator.start("serve --close-timeout 100ms");
    running.await_word("wasink.sock");
    let mut client = Client::connect(&operator);
    let body = |rids: std::ops::Range<u32>| -> String {
        rids.map(|n| usage(&format!("r-{n}"), "acme")).collect()
    };
    post(&mut client, &body(0..3));
    // From here on they are in doubt: those behind them are no part of it.
    operator.await_json("held list --json", |held| held["held"] != json!([]));
    post(&mut client, &body(3..7));
    running.await_word("holding records in doubt");
    (operator, plugins, running)
}

/// What `held list` says of the three.
#[track_caller]
fn listed(operator: &Operator) {
    let listed = operator.says("held list").expect(0).stdout;
    let head = "usage billing: positions 0 to 2, handed over first at 2";
    assert!(listed.starts_with(head) && listed.lines().count() == 1, "{listed}");
    let held = operator.says("held list --json").expect(0).json();
    let [held] = &held["held"].as_array().unwrap()[..] else { panic!("{held}") };
    assert_eq!((&held["from"], &held["to"]), (&json!(0), &json!(3)));
}

/// Whether it works again, and all seven are through.
fn is_done(status: &Value) -> bool {
    let (sink, lane) = billing(status);
    sink["state"] == "working" && lane["delivered"] == 7
}

/// Seven at the receiver, each once, and files that say so.
#[track_caller]
fn all_is_well(operator: &Operator) {
    let rids: Vec<_> = taken(operator).into_keys().collect();
    let expected: Vec<_> = (0..7).map(|n| format!("r-{n}")).collect();
    assert_eq!(rids, expected);
    let (accepted, billing) = audited(operator);
    assert_eq!(accepted, json!({ "acme": 7 }));
    assert_eq!(billing["fates"], json!({ "delivered": 7 }));
    assert_eq!(billing["tenants"], json!({ "acme": { "delivered": 7 } }));
    assert_eq!(billing["pending"], 0);
    operator.says("audit").expect(0);
    assert_eq!(operator.says("held list").expect(0).stdout, "nothing is in doubt\n");
}

#[test]
fn a_running_process_hands_over_again_what_it_holds_once_it_is_told_to() {
    let (operator, _plugins, mut running) = in_doubt("before");
    listed(&operator);
    let status = operator.says("status --json").expect(0).json();
    let (sink, lane) = billing(&status);
    assert_eq!((&sink["state"], &lane["pending"]), (&json!("held"), &json!(7)));
    let reason = sink["reason"].as_str().unwrap();
    assert!(reason.contains("the records 0 to 2"), "{reason}");
    assert!(reason.contains("`wasink held resend billing` or `wasink held discard billing`"));
    let text = operator.says("status").expect(0).stdout;
    assert!(text.contains("; held: it is not known whether the receiver has"), "{text}");
    let nothing = operator.says("held resend other").expect(0).stdout;
    assert_eq!(nothing, "nothing is in doubt at `other`\n");

    // It hangs once more: they are in doubt again, and since later.
    let since = operator.says("held list --json").expect(0).json()["held"][0]["since"].clone();
    let resent = "usage billing: positions 0 to 2 will be handed over again\n";
    assert_eq!(operator.says("held resend billing").expect(0).stdout, resent);
    running.await_word("holding records in doubt");
    let again = operator.says("held list --json").expect(0).json()["held"][0]["since"].clone();
    assert!(since.as_str() < again.as_str(), "{since} {again}");

    std::fs::remove_file(operator.path(HANG)).unwrap();
    let resent = operator.says("held resend billing").expect(0).stdout;
    assert!(resent.ends_with("will be handed over again\n"), "{resent}");
    operator.await_json("status --json", is_done);
    let nothing = operator.says("held resend billing").expect(0).stdout;
    assert_eq!(nothing, "nothing is in doubt at `billing`\n");
    end(running);
    all_is_well(&operator);
}

#[test]
fn a_running_process_counts_as_delivered_what_it_holds_once_it_is_told_to() {
    let (operator, _plugins, running) = in_doubt("after");
    listed(&operator);
    assert_eq!(taken(&operator).len(), 3);
    std::fs::remove_file(operator.path(HANG)).unwrap();
    let discarded = "usage billing: positions 0 to 2 counted as delivered\n";
    assert_eq!(operator.says("held discard billing").expect(0).stdout, discarded);
    operator.await_lines(TAKEN, 7);
    operator.await_json("status --json", is_done);
    end(running);
    all_is_well(&operator);
}

/// Ends it with records in doubt, once in order and once not; each start holds them at once.
fn stopped(operator: &Operator, running: Running) {
    running.signal("TERM");
    let ended = running.end().expect(143);
    assert!(ended.stderr.contains("7 are kept in the journal"), "{ended:?}");
    listed(operator);
    operator.says("audit").expect(0);
    let running = serve(operator);
    operator.await_json("status --json", |status| billing(status).0["state"] == "held");
    running.signal("KILL");
    drop(running.end());
    listed(operator);
    std::fs::remove_file(operator.path(HANG)).unwrap();
}

#[test]
fn what_is_in_doubt_is_handed_over_again_by_the_next_start_where_the_command_said_so() {
    let (operator, _plugins, running) = in_doubt("before");
    stopped(&operator, running);
    let resent = "usage billing: positions 0 to 2 will be handed over again\n";
    assert_eq!(operator.says("held resend billing").expect(0).stdout, resent);
    assert_eq!(operator.says("held list").expect(0).stdout, "nothing is in doubt\n");
    let running = serve(&operator);
    operator.await_lines(TAKEN, 7);
    end(running);
    all_is_well(&operator);
}

#[test]
fn what_is_in_doubt_is_not_handed_over_again_where_the_command_said_that_it_is_there() {
    let (operator, _plugins, running) = in_doubt("after");
    stopped(&operator, running);
    assert_eq!(taken(&operator).len(), 3);
    let discarded = "usage billing: positions 0 to 2 counted as delivered\n";
    assert_eq!(operator.says("held discard billing").expect(0).stdout, discarded);
    operator.says("audit").expect(0);
    let running = serve(&operator);
    operator.await_lines(TAKEN, 7);
    end(running);
    all_is_well(&operator);
}
