//! What an operator is told of grants: before anything runs, and with the line to write.

use super::operator::{Operator, end};

const SINK: &str = "[[sink]]\nname = 'out'\nplugin = 'http'\nstreams = ['usage']\n\
                    settings = { url = 'https://Collector.example/v1/in' }\n\
                    [[sink]]\nname = 'audit'\nplugin = 'file'\nstreams = ['events']\n";

#[test]
fn a_missing_grant_is_told_of_with_the_line_that_grants_it() {
    let operator = Operator::new();
    operator.write("wasink.toml", SINK);
    let http = "wasink: wasink.toml:1: sink[0].grants: plugin `http` needs to send requests to \
                `https://collector.example` (sends the records there); write `http = [{ origin = \
                \"https://collector.example\" }]` into `sink[0].grants`\n";
    let file = "wasink: wasink.toml:6: sink[1].grants: plugin `file` needs a data directory (keeps \
                its file there); write `directory = true` into `sink[1].grants`\n";
    // All of it at once, and at the start what is about to be opened.
    let check = operator.says("check").expect(64).stderr;
    assert_eq!(check, format!("{http}{file}"));
    let run = operator.says("run --stream usage").expect(64).stderr;
    assert_eq!(run, http);
    // Nothing was made for what is not granted.
    assert!(!operator.path("wasink-data/sinks").exists());
    let shown = operator.says("plugins inspect http").expect(0).stdout;
    for expected in [
        "wasi:http/outgoing-handler@0.2.12  (grants.http)",
        "requests to (in its setting /url): sends the records there (required)",
        "to send requests to `https://collector.example`: not granted; `http = [{ origin = \
         \"https://collector.example\" }]` in its `grants` grants it",
    ] {
        assert!(shown.contains(expected), "{expected}\n{shown}");
    }

    // As it was told.
    let granted = SINK.replace(
        "/in' }\n",
        "/in' }\n[sink.grants]\nhttp = [{ origin = \"https://collector.example\" }]\n",
    ) + "grants = { directory = true }\n";
    operator.write("wasink.toml", granted);
    operator.says("check").expect(0);
    let shown = operator.says("plugins inspect http").expect(0).stdout;
    assert!(shown.contains("to send requests to `https://collector.example`: granted"), "{shown}");
    let json = operator.says("plugins inspect file --json").expect(0).json();
    let audit = json["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "audit");
    let asked = &audit.unwrap()["asks"][0];
    assert_eq!((&asked["need"], &asked["write"]), (&"directory".into(), &serde_json::Value::Null));
    // The ledger of `metering` is granted by its path.
    assert!(json["sinks"].as_array().unwrap().iter().any(|sink| sink["name"] == "metering"));
}

#[test]
fn a_plugin_sees_the_variables_that_it_is_granted_and_no_other() {
    let plugins = crate::support::plugin_directory(&[("errand", "errand")]);
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        format!(
            "plugin_dirs = ['{}']\n[usage]\nenabled = false\n[[sink]]\nname = 'out'\n\
             plugin = 'errand'\nstreams = ['usage']\nsettings = {{ errand = 'environment' }}\n\
             grants.environment = ['GRANTED', 'NOT_SET']\n",
            plugins.path().display()
        ),
    );
    let mut run = operator.wasink("run --stream usage");
    run.env("GRANTED", "one").env("WITHHELD", "another");
    let usage = b"{\"rid\":\"r\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
                  \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}\n";
    end(run, usage).expect(65);
    let dead = operator.says("dead list --json").expect(0).json();
    assert_eq!(dead["dead"][0]["reason"], "GRANTED=one", "{dead:#}");
}
