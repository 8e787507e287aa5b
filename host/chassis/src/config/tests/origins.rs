//! Where each setting comes from.

use std::path::PathBuf;

use serde_json::json;

use crate::config::{Config, Flag, Origin, Setting, Sources};

const FILE: &str = r#"
node_id = "n\u007f\"1"
[metering]
backend = "kafka"
[metering.kafka]
"odd key" = { a = [1, { b = 2.5 }] }
[[sink]]
name = "a"
plugin = "b"
streams = ["events"]
[sink.batch]
age = "1m 30s"
[[sink]]
name = "c"
plugin = "b"
streams = ["usage", "control"]
settings = { x.y = "z" }
"#;

/// The configuration of the file, a variable and a flag, and the file's path.
fn config() -> (Config, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wasink.toml");
    std::fs::write(&path, FILE).unwrap();
    let config = Config::load(&Sources {
        file: Some(path.clone()),
        env: vec![("WASINK_LOG__LEVEL".to_owned(), "debug".to_owned())],
        flags: vec![Flag::new("queue.records", 5, "--queue-records")],
    });
    (config.unwrap(), path)
}

fn find<'a>(settings: &'a [Setting], key: &str) -> &'a Setting {
    settings.iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no {key}"))
}

#[test]
fn every_setting_tells_who_set_it() {
    let (config, path) = config();
    let settings = config.explain();
    let line = |line| Origin::File { path: path.clone(), line: Some(line) };
    let variable = Origin::Environment { variable: "WASINK_LOG__LEVEL".to_owned() };
    let flag = Origin::Flag { name: "--queue-records".to_owned() };
    for (key, value, origin) in [
        ("data_dir", json!("wasink-data"), Origin::Default),
        ("plugin_dirs", json!(["wasink-data/plugins"]), Origin::Default),
        ("node_id", json!("n\u{7f}\"1"), line(2)),
        ("log.level", json!("debug"), variable),
        ("queue.records", json!(5), flag),
        ("queue.bytes", json!("64MiB"), Origin::Default),
        ("metering.backend", json!("kafka"), line(4)),
        ("metering.timeout", json!("30s"), Origin::Default),
        ("metering.kafka.\"odd key\".a", json!([1, { "b": 2.5 }]), line(6)),
        ("sink[0].batch.age", json!("1m 30s"), line(12)),
        ("sink[0].batch.records", json!(1024), Origin::Default),
        ("sink[0].settings", json!({}), Origin::Default),
        ("sink[0].grants.directory", json!(false), Origin::Default),
        ("sink[1].name", json!("c"), line(14)),
        ("sink[1].streams", json!(["usage", "control"]), line(16)),
        ("sink[1].settings.x.y", json!("z"), line(17)),
    ] {
        let setting = find(&settings, key);
        assert_eq!((&setting.value, &setting.origin), (&value, &origin), "{key}");
    }
}

#[test]
fn what_explains_a_configuration_is_that_configuration() {
    for config in [config().0, Config::default()] {
        let toml = config.explain_toml();
        assert_eq!(Config::from_toml(&toml).unwrap(), config, "{toml}");
        let json = config.explain_json()["config"].to_string();
        assert_eq!(Config::from_json(&json).unwrap(), config, "{json}");
    }
}

#[test]
fn the_comments_name_the_origins() {
    let (config, path) = config();
    let toml = config.explain_toml();
    for line in [
        "data_dir = \"wasink-data\"  # default".to_owned(),
        "level = \"debug\"  # from environment WASINK_LOG__LEVEL".to_owned(),
        "records = 5  # from flag --queue-records".to_owned(),
        format!("backend = \"kafka\"  # from {}:4", path.display()),
        "[sink.settings.x]".to_owned(),
        "#   usage: log takes usage".to_owned(),
    ] {
        assert!(toml.lines().any(|other| other == line), "{line}\n\n{toml}");
    }
}

#[test]
fn what_toml_cannot_say_is_a_comment() {
    let text =
        r#"{"metering": {"x": {"none": null, "large": 18446744073709551615, "nul": "\u0000\n"}}}"#;
    let config = Config::from_json(text).unwrap();
    let toml = config.explain_toml();
    assert!(toml.contains("# none = null  # from configuration:1; TOML can't say it"), "{toml}");
    assert!(toml.contains("# large = 18446744073709551615  #"), "{toml}");
    assert_eq!(Config::from_toml(&toml).unwrap(), config);
    assert_eq!(Config::from_json(&config.explain_json()["config"].to_string()).unwrap(), config);
}
