//! Another configuration, and versions on trial, for a `wasink serve` at work.

use std::thread;
use std::time::Instant;

use serde_json::Value;

use super::operator::Operator;
use super::service::Client;
use super::swap::{OUTPUT, PATIENCE, PLUGIN, config, serve, version};

/// One more sink, and what it appends to.
const EXTRA: &str = "[[sink]]\nname = 'extra'\nplugin = 'file'\nstreams = ['usage']\n\
                     grants.directory = 'extra'\nsettings = { path = 'extra.jsonl' }\nbatch.age = '0s'\n";
const EXTRAS: &str = "extra/extra.jsonl";

fn post(operator: &Operator, rid: &str) {
    let body = format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    );
    let kind = "application/x-ndjson";
    let (status, answer) = Client::connect(operator).post("usage", kind, &body).unwrap();
    assert_eq!(status, 200, "{answer}");
}

fn json(operator: &Operator, command: &str) -> Value {
    operator.says(&format!("{command} --json")).expect(0).json()
}

/// Waits until what the command prints is so.
#[track_caller]
fn wait_for(operator: &Operator, command: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = json(operator, command);
        if is_so(&found) {
            return found;
        }
        assert!(Instant::now() < until, "{found:#}");
        thread::yield_now();
    }
}

fn sinks(status: &Value) -> Vec<&str> {
    let sinks = status["sinks"].as_array().unwrap().iter();
    sinks.map(|sink| sink["name"].as_str().unwrap()).collect()
}

#[test]
fn sinks_come_and_go_with_the_configuration_and_a_bad_one_changes_nothing() {
    let operator = Operator::new();
    operator.write(PLUGIN, version("one"));
    let alone = config("", "");
    operator.write("wasink.toml", &alone);
    let mut running = serve(&operator);
    post(&operator, "before");
    operator.await_lines(OUTPUT, 1);

    operator.write("wasink.toml", alone.clone() + EXTRA);
    let reloaded = json(&operator, "reload");
    assert_eq!(reloaded["added"], serde_json::json!(["extra"]), "{reloaded}");
    assert!(reloaded["kept"].as_array().unwrap().contains(&"ledger".into()), "{reloaded}");
    post(&operator, "with");
    let extra = operator.await_lines(EXTRAS, 1);
    assert!(extra.contains("\"with\"") && !extra.contains("\"before\""), "{extra}");

    operator.write("wasink.toml", alone.replace("streams = ['usage']", "streams = ['usag']"));
    let ended = operator.says("reload").expect(64);
    assert!(ended.stderr.contains("did you mean `usage`?"), "{ended:?}");
    running.signal("HUP");
    running.await_word("the configuration was not taken");
    operator.write("wasink.toml", alone.clone() + "[queue]\nrecords = 7\n");
    let ended = operator.says("reload").expect(1);
    assert!(ended.stderr.contains("only read at the start: `queue`"), "{ended:?}");
    let refused = EXTRA.replace("{ path = 'extra.jsonl' }", "{ path = 'extra.jsonl', x = 1 }");
    operator.write("wasink.toml", alone.clone() + &refused);
    let ended = operator.says("reload").expect(1);
    assert!(ended.stderr.contains("nothing was changed"), "{ended:?}");
    assert!(sinks(&json(&operator, "status")).contains(&"extra"));
    post(&operator, "still");
    operator.await_lines(EXTRAS, 2);

    // The other way to ask for it.
    operator.write("wasink.toml", &alone);
    running.signal("HUP");
    wait_for(&operator, "status", |status| !sinks(status).contains(&"extra"));
    post(&operator, "after");
    operator.await_lines(OUTPUT, 4);
    running.signal("TERM");
    running.end().expect(143);
    let output = std::fs::read_to_string(operator.path(OUTPUT)).unwrap();
    assert_eq!(output.lines().count(), 4, "{output}");
    assert_eq!(std::fs::read_to_string(operator.path(EXTRAS)).unwrap().lines().count(), 2);
    operator.says("audit").expect(0);
}

#[test]
fn a_version_is_tried_as_a_shadow_and_promoted_by_its_rule() {
    let operator = Operator::new();
    operator.write(PLUGIN, version("one"));
    let config = config("swap.watch = '0s'\nswap.probation = '0s'", "");
    operator.write("wasink.toml", config);
    let running = serve(&operator);
    post(&operator, "before");
    operator.await_lines(OUTPUT, 1);
    operator.write("two.wasm", version("two"));
    operator.says("trial start ledger --shadow --to two.wasm --records 2 --failures 1").expect(0);
    let first = json(&operator, "plugins list");
    let of = |list: &Value| -> Value {
        let plugins = list["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["name"] == "ledger").unwrap().clone()
    };
    let before = of(&first);
    post(&operator, "one");
    let report = wait_for(&operator, "trial report ledger", |report| report["records"] == 1);
    assert_eq!((&report["same"], &report["different"]), (&1.into(), &0.into()), "{report}");
    post(&operator, "two");
    let report = wait_for(&operator, "trial report ledger", |report| !report["ended"].is_null());
    assert_eq!(report["ended"], "promoted", "{report}");
    let digest = report["version"]["digest"].clone();
    wait_for(&operator, "status", |status| {
        let sinks = status["sinks"].as_array().unwrap();
        sinks.iter().any(|sink| sink["version"]["digest"] == digest)
    });
    assert_ne!(before["version"]["digest"], digest);
    post(&operator, "three");
    let output = operator.await_lines(OUTPUT, 4);
    assert_eq!(output.lines().count(), 4, "what the shadow did counts for nothing: {output}");
    running.signal("TERM");
    running.end().expect(143);
    operator.says("audit").expect(0);
}
