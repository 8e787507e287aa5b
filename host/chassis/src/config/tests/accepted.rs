//! Configurations that are right, and what the program runs on then.

use std::{path::Path, time::Duration};

use serde_json::{Map, json};
use wasink_record::Stream;

use super::load_file;
use crate::config::{
    Config, DatabaseConfig, GrantsConfig, LogFormat, LogLevel, OnOpenFailure, SinkConfig,
};

fn names(config: &Config) -> Vec<&str> {
    config.sinks.iter().map(|sink| sink.name.as_str()).collect()
}

fn sink<'a>(config: &'a Config, name: &str) -> &'a SinkConfig {
    config.sinks.iter().find(|sink| sink.name == name).unwrap()
}

fn ledger() -> Map<String, serde_json::Value> {
    json!({ "path": "ledger.jsonl" }).as_object().unwrap().clone()
}

#[test]
fn no_configuration_at_all_keeps_every_stream() {
    let config = Config::default();
    assert_eq!(config.data_dir, Path::new("wasink-data"));
    assert_eq!(config.plugin_dirs, [Path::new("wasink-data/plugins")]);
    assert!(!config.node_id.is_empty());
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!((config.queue.records.get(), config.queue.bytes.get()), (16_384, 64 << 20));
    assert_eq!(names(&config), ["metering", "usage", "control", "events"]);
    for (name, plugin, stream, directory) in [
        ("metering", "file", Stream::Metering, Some("wasink-data/metering")),
        ("usage", "log", Stream::Usage, None),
        ("control", "file", Stream::Control, Some("wasink-data/control")),
        ("events", "file", Stream::Events, Some("wasink-data/events")),
    ] {
        let sink = sink(&config, name);
        assert_eq!(sink.plugin.as_str(), plugin);
        assert_eq!(sink.streams, [stream]);
        assert_eq!(sink.grants.directory.as_deref(), directory.map(Path::new));
        assert_eq!((sink.grants.log, sink.grants.stderr), (plugin == "log", false));
        assert_eq!(sink.settings, if plugin == "file" { ledger() } else { Map::new() });
        assert_eq!((sink.batch.records.get(), sink.batch.bytes.get()), (1024, 256 << 10));
        assert_eq!(sink.batch.age, Duration::from_millis(200));
        assert_eq!(sink.timeout, Duration::from_secs(30));
        assert_eq!(sink.on_open_failure, OnOpenFailure::Refuse);
    }
}

#[test]
fn every_way_to_say_nothing_is_the_default() {
    let default = Config::default();
    assert_eq!(Config::from_toml("").unwrap(), default);
    assert_eq!(Config::from_json("{}").unwrap(), default);
    assert_eq!(Config::from_json(r#"{"metering":{}}"#).unwrap(), default);
    assert_eq!(Config::from_json(r#"{"metering":{"backend":""}}"#).unwrap(), default);
    assert_eq!(Config::from_json(r#"{"metering":{"backend":"file"}}"#).unwrap(), default);
    assert_eq!(Config::from_json(r#"{"metering":{"file":{"path":""}}}"#).unwrap(), default);
    assert_eq!(Config::load(&crate::config::Sources::default()).unwrap(), default);
}

#[test]
fn another_backend_takes_metering_and_only_that_changes() {
    let config = Config::from_json(r#"{"metering":{"backend":"stderr"}}"#).unwrap();
    let metering = sink(&config, "metering");
    assert_eq!(metering.plugin.as_str(), "stderr");
    assert_eq!(metering.settings, Map::new());
    assert_eq!(metering.path_in_config, "metering.stderr");
    assert!(metering.grants.stderr && !config.sinks[1].grants.stderr);
    assert_eq!(config.sinks[1..], Config::default().sinks[1..]);
}

#[test]
fn the_path_of_the_ledger_is_taken_apart_into_directory_and_name() {
    for (path, directory, name) in [
        ("/var/log/m/l.jsonl", "/var/log/m", "l.jsonl"),
        ("l.jsonl", ".", "l.jsonl"),
        ("a/b", "a", "b"),
        ("/l", "/", "l"),
    ] {
        let text = format!("[metering.file]\npath = {path:?}\nrotate = true");
        let config = Config::from_toml(&text).unwrap();
        let metering = sink(&config, "metering");
        assert_eq!(metering.grants.directory.as_deref(), Some(Path::new(directory)), "{path}");
        let settings = json!({ "path": name, "rotate": true });
        assert_eq!(serde_json::Value::from(metering.settings.clone()), settings, "{path}");
        assert_eq!(metering.path_in_config, "metering.file");
    }
}

#[test]
fn everything_moves_with_the_data_directory() {
    let config = Config::from_toml("data_dir = '/d'\n[usage]\nsink = 'file'").unwrap();
    let directories = config.sinks.iter().map(|sink| sink.grants.directory.as_deref());
    let directories: Vec<_> = directories.flatten().collect();
    let expected = ["/d/metering", "/d/usage", "/d/control", "/d/events"].map(Path::new);
    assert_eq!(directories, expected);
    assert_eq!(config.plugin_dirs, [Path::new("/d/plugins")]);
    assert_eq!(sink(&config, "usage").settings, ledger());
}

#[test]
fn settings_of_the_chosen_plugin_are_passed_on_untouched() {
    let text = r#"
        [metering]
        backend = "kafka"
        [metering.kafka]
        topic = "m"
        retry = { max = 3, on = [1.5, "x"] }
        [metering.stderr]
        colour = true
        [usage]
        sink = "kafka"
        on_open_failure = "degrade"
        timeout = "1m 30s"
        batch = { age = "0s", records = 7, bytes = 100 }
        [usage.kafka]
        topic = "u"
    "#;
    let config = Config::from_toml(text).unwrap();
    let metering = json!({ "retry": { "max": 3, "on": [1.5, "x"] }, "topic": "m" });
    assert_eq!(serde_json::Value::from(sink(&config, "metering").settings.clone()), metering);
    let usage = sink(&config, "usage");
    assert_eq!(serde_json::Value::from(usage.settings.clone()), json!({ "topic": "u" }));
    assert_eq!(usage.on_open_failure, OnOpenFailure::Degrade);
    assert_eq!(usage.timeout, Duration::from_secs(90));
    assert_eq!(usage.batch.age, Duration::ZERO);
    assert_eq!((usage.batch.records.get(), usage.batch.bytes.get()), (7, 100));
}

#[test]
fn switched_off_means_that_no_sink_is_made() {
    let config = Config::from_toml("[usage]\nenabled = false\nsink = 'anything'").unwrap();
    assert_eq!(names(&config), ["metering", "control", "events"]);
}

#[test]
fn a_sink_replaces_the_default_of_control_and_events_but_not_that_of_metering_and_usage() {
    let text = r#"
        [[sink]]
        name = "audit"
        plugin = "http"
        streams = ["events", "metering", "usage"]
        settings.url = "http://localhost"
        [[sink]]
        name = "2"
        plugin = "my-sink"
        streams = ["control"]
        grants.directory = "elsewhere"
        [[sink]]
        name = "3"
        plugin = "my-sink"
        streams = ["control"]
        grants.directory = true
    "#;
    let config = Config::from_toml(text).unwrap();
    assert_eq!(names(&config), ["metering", "usage", "audit", "2", "3"]);
    let audit = sink(&config, "audit");
    assert_eq!(audit.streams, [Stream::Events, Stream::Metering, Stream::Usage]);
    assert_eq!(audit.grants, GrantsConfig::default(), "nothing is granted that is not written");
    assert_eq!(audit.settings["url"], "http://localhost");
    assert_eq!(audit.path_in_config, "sink[0].settings");
    let directory = |name| sink(&config, name).grants.directory.as_deref();
    assert_eq!(directory("2"), Some(Path::new("elsewhere")));
    assert_eq!(directory("3"), Some(Path::new("wasink-data/sinks/3")));

    let one = Config::from_toml("[[sink]]\nname='a'\nplugin='b'\nstreams=['control']").unwrap();
    assert_eq!(names(&one), ["metering", "usage", "events", "a"]);
}

#[test]
fn a_file_is_json_or_toml_by_its_extension() {
    let json = r#"{"queue": {"records": 5, "bytes": "1KiB"}}"#;
    let toml = "queue.records = 5\nqueue.bytes = 1024";
    let from_json = load_file("c.JSON", json, &[], &[]).unwrap();
    assert_eq!(from_json.queue.records.get(), 5);
    assert_eq!(from_json, load_file("c.conf", toml, &[], &[]).unwrap());
    assert!(load_file("c.toml", json, &[], &[]).is_err());
}

#[test]
fn the_sample_file_has_the_defaults_and_one_more_of_each_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wasink.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut sample = Config::from_toml(&text).unwrap();
    let audit = sample.sinks.pop().unwrap();
    assert_eq!((audit.name.as_str(), audit.plugin.as_str()), ("audit", "file"));
    assert_eq!(audit.grants.directory.as_deref(), Some(Path::new("wasink-data/sinks/audit")));
    let secret = sample.secrets.pop().unwrap();
    assert_eq!(secret.name, "api-token");
    let outbox = sample.outboxes.pop().unwrap();
    let url = "postgres://admin@db.example.com/admin".to_owned();
    let database = DatabaseConfig::Postgres { url, password: Some(secret.clone()) };
    assert_eq!((outbox.instance.name.as_str(), outbox.database), ("control", database));
    assert_eq!(outbox.keep, Duration::from_hours(7 * 24));
    let feed = sample.feeds.pop().unwrap();
    assert_eq!(feed.tables, ["keys", "tenants"]);
    let secrets =
        ["access_key_id", "secret_access_key"].map(|name| (name.to_owned(), secret.clone()));
    assert_eq!(feed.artifacts.unwrap().secrets, secrets);
    assert_eq!((feed.wait, feed.keep), (Duration::from_secs(10), Duration::from_hours(30 * 24)));
    let mut default = Config::default();
    default.sinks.truncate(2);
    assert_eq!(sample, default);
}

#[test]
fn the_sockets_are_in_the_data_directory_unless_the_configuration_says_otherwise() {
    let listen = |text: &str| Config::from_toml(text).map(|config| config.listen);
    let default = listen("data_dir = 'd'").unwrap();
    assert_eq!(default.socket.as_deref(), Some(Path::new("d/wasink.sock")));
    assert_eq!(default.admin.as_deref(), Some(Path::new("d/admin.sock")));
    let none = listen("listen.socket = ''\nlisten.admin = ''").unwrap();
    assert_eq!((none.socket, none.admin), (None, None));
    let given = listen("listen.admin = '/run/a'").unwrap();
    assert_eq!(given.admin.as_deref(), Some(Path::new("/run/a")));
    let both = listen("listen.socket = 'a'\nlisten.admin = 'a'").unwrap_err().to_string();
    assert!(
        both.ends_with("listen.admin: expected another path than that of `listen.socket`"),
        "{both}"
    );
}
