//! Dead letters, and what is left when the daemon ends, as an operator finds them.

use serde_json::Value;

use super::operator::Operator;
use super::service::{Client, serve};
use crate::support;

fn event(rid: &str, tenant: &str) -> String {
    format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"{tenant}\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    )
}

/// A configuration with one sink of usage, `billing`, and this plugin in it.
fn config(plugins: &std::path::Path, plugin: &str, settings: &str) -> String {
    format!(
        "plugin_dirs = ['{}']\nlisten.http = ''\n[usage]\nenabled = false\n[[sink]]\n\
         name = 'billing'\nplugin = '{plugin}'\nstreams = ['usage']\ngrants.directory = true\nsettings = {{ {settings} }}\n",
        plugins.display()
    )
}

#[test]
fn dead_letters_are_listed_replayed_through_the_present_plugin_and_purged() {
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    let refusing = config(plugins.path(), "faulty", "on = 'write', does = 'reject'");
    operator.write("wasink.toml", refusing);
    let lines = event("r-1", "acme") + &event("r-2", "bolt") + &event("r-3", "acme");
    operator.feed("run --stream usage", lines).expect(65);

    let listed = operator.says("dead list").expect(0).stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().all(|line| line.contains("billing") && line.contains("told to reject")));
    let found = operator.says("dead show --tenant bolt --json").expect(0).json();
    let [letter] = &found["dead"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!((&letter["fate"], &letter["plugin"]), (&"rejected".into(), &"faulty".into()));
    assert!(letter["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!((&letter["attempts"], &letter["position"]), (&1.into(), &1.into()));
    let id = letter["id"].as_str().unwrap();
    let shown = operator.says(&format!("dead show --id {id}")).expect(0).stdout;
    assert!(shown.contains("\"rid\":\"r-2\""), "{shown}");

    // The plugin that refused would refuse again.
    let ended = operator.says("dead replay --tenant bolt").expect(65);
    assert_eq!(ended.stdout, "0 delivered, 1 refused again\n");
    assert!(ended.stderr.contains(id), "{ended:?}");

    // Another takes them, with their ids.
    operator.write("wasink.toml", config(plugins.path(), "file", "encoding = 'cloudevents-jsonl'"));
    let ended = operator.says("dead replay --tenant bolt").expect(0);
    assert_eq!(ended.stdout, "1 delivered, 0 refused again\n");
    let ledger = operator.read("wasink-data/sinks/billing/ledger.jsonl");
    let envelope: Value = serde_json::from_str(&ledger).unwrap();
    assert_eq!((&envelope["id"], &envelope["data"]["rid"]), (&id.into(), &"r-2".into()));

    let audit = operator.says("audit --json").expect(0).json();
    let sink = &audit["streams"]["usage"]["sinks"]["billing"];
    assert_eq!(sink["fates"], serde_json::json!({ "delivered": 1, "rejected": 2 }));
    assert_eq!(sink["tenants"]["bolt"], serde_json::json!({ "delivered": 1 }));

    let ended = operator.says("dead purge").expect(1);
    assert!(ended.stderr.contains("`--all`"), "{ended:?}");
    assert_eq!(operator.says("dead purge --position 0").expect(0).stdout, "1 purged\n");
    assert_eq!(operator.says("dead list").expect(0).stdout.lines().count(), 1);
    operator.says("audit").expect(0);
}

#[test]
fn what_a_signal_leaves_is_kept_and_the_next_start_says_with_how_much_it_goes_on() {
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    operator.write("wasink.toml", config(plugins.path(), "faulty", "on = 'write', does = 'wait'"));
    let mut running = operator.start("serve --close-timeout 100ms");
    running.await_word("wasink.sock");
    let body: String = (0..4).map(|n| event(&format!("r-{n}"), "acme")).collect();
    let (status, answer) =
        Client::connect(&operator).post("usage", "application/x-ndjson", &body).unwrap();
    assert_eq!(status, 200, "{answer}");

    // While it runs: looking is allowed, changing is not.
    let pending = operator.says("journal inspect").expect(0).stdout;
    assert!(pending.contains("sink billing: at 0, 4 pending"), "{pending}");
    let refused = operator.says("journal repair").expect(73);
    assert!(refused.stderr.contains("open in another process"), "{refused:?}");
    let refused = operator.says("run --stream usage").expect(73);
    assert!(refused.stderr.contains("another `data_dir`"), "{refused:?}");

    running.signal("TERM");
    let ended = running.end().expect(143);
    assert!(ended.stderr.contains("4 are kept in the journal"), "{ended:?}");

    operator.write("wasink.toml", config(plugins.path(), "file", ""));
    let running = serve(&operator);
    running.signal("TERM");
    let ended = running.end().expect(143);
    let resumed = "billing: going on with records from before stream=usage records=4";
    assert!(ended.stderr.contains(resumed), "{ended:?}");
    let ledger = operator.read("wasink-data/sinks/billing/ledger.jsonl");
    assert_eq!(ledger.lines().count(), 4);
}

#[test]
fn a_damaged_journal_goes_on_and_says_what_it_lost() {
    let operator = Operator::new();
    operator.write("wasink.toml", "listen.http = ''\n[usage]\nsink = 'nop'\n");
    for rids in [0..3, 3..6] {
        let lines: String = rids.map(|n: usize| event(&format!("r-{n}"), "acme")).collect();
        operator.feed("run --stream usage --quiet", lines).expect(0);
    }
    let segment = operator.path("wasink-data/journal/usage/00000000000000000000.segment");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(5).position(|bytes| bytes == b"\"r-1\"").unwrap();
    bytes[at + 1] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let verified = operator.says("journal verify").expect(1);
    assert!(verified.stderr.contains("damaged bytes at offset"), "{verified:?}");
    let exported = operator.says("journal export --stream usage").expect(0).stdout;
    // What came with it in one write is gone with it: how much that was is the machine's to say.
    assert!((3..6).contains(&exported.lines().count()), "{exported}");
    assert!(!exported.contains("\"r-1\"") && exported.contains("\"r-3\""), "{exported}");
    // All of it was delivered before.
    operator.feed("run --stream usage --quiet", event("r-6", "acme")).expect(0);
    operator.says("audit").expect(0);
    let repaired = operator.says("journal repair").expect(0).stdout;
    assert!(repaired.contains("written anew without what is damaged"), "{repaired}");
    operator.says("journal verify").expect(0);
    operator.feed("run --stream usage --quiet", event("r-7", "acme")).expect(0);
}
