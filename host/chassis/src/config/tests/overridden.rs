//! What the environment and the command line set.

use serde_json::json;

use super::{load, load_file};
use crate::config::{Flag, LogLevel};

#[test]
fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
    let file = "queue.records = 2\nlog.level = 'error'\nnode_id = 'file'";
    let env = [("WASINK_QUEUE__RECORDS", "3"), ("WASINK_NODE_ID", "env")];
    let flags = [Flag::new("queue.records", 4, "--queue-records")];
    let config = load_file("c.toml", file, &env, &flags).unwrap();
    assert_eq!(config.queue.records.get(), 4);
    assert_eq!(config.node_id, "env");
    assert_eq!(config.log.level, LogLevel::Error);
    assert_eq!(config.queue.bytes.get(), 64 << 20);
}

#[test]
fn a_variable_is_read_as_its_key_wants_it() {
    let env = [
        ("WASINK_CONFIG", "/nowhere/at/all"),
        ("WASINKER", "another program's"),
        ("PATH", "/bin"),
        ("WASINK_NODE_ID", "12345"),
        ("WASINK_PLUGIN_DIRS", "a, b,"),
        ("WASINK_QUEUE__RECORDS", "9"),
        ("WASINK_QUEUE__BYTES", "2MiB"),
        ("WASINK_USAGE__ENABLED", "false"),
        ("WASINK_METERING__FILE__PATH", "123"),
        ("WASINK_METERING__BATCH__BYTES", "77"),
    ];
    let config = load(&env, &[]).unwrap();
    assert_eq!(config.node_id, "12345");
    assert_eq!(config.plugin_dirs, ["a", "b"].map(std::path::PathBuf::from));
    assert_eq!((config.queue.records.get(), config.queue.bytes.get()), (9, 2 << 20));
    assert!(config.sinks.iter().all(|sink| sink.name != "usage"));
    assert_eq!(config.sinks[0].settings["path"], "123");
    assert_eq!(config.sinks[0].batch.bytes.get(), 77);
}

#[test]
fn a_variable_reaches_the_settings_of_a_plugin_whose_name_it_cannot_spell() {
    let env = [
        ("WASINK_METERING__MY_SINK__TOPIC", "t"),
        ("WASINK_METERING__MY_SINK__RETRY__MAX", "3"),
        ("WASINK_METERING__MY_SINK__PASSWORD", "\"3\""),
        ("WASINK_METERING__BACKEND", "my-sink"),
        ("WASINK_USAGE__MY_SINK__TOPIC", "u"),
        ("WASINK_USAGE__SINK", "my-sink"),
    ];
    let config = load(&env, &[]).unwrap();
    let settings = json!({ "topic": "t", "retry": { "max": 3 }, "password": "3" });
    assert_eq!(serde_json::Value::from(config.sinks[0].settings.clone()), settings);
    assert_eq!(config.sinks[1].settings["topic"], "u");
    assert!(config.check_plugins(&["file", "my-sink"]).is_empty());
}

#[test]
fn a_flag_may_bring_a_string_a_list_or_a_table() {
    let flags = [
        Flag::new("queue.records", "8", "--set"),
        Flag::new("plugin_dirs", json!(["x,y"]), "--plugin-dir"),
        Flag::new("metering.kafka", json!({ "topic": "t" }), "--set"),
        Flag::new("metering.kafka.acks", "2", "--set"),
        Flag::new("metering.backend", "kafka", "--set"),
        Flag::new("metering.backend", "kafka", "--backend"),
    ];
    let config = load(&[], &flags).unwrap();
    assert_eq!(config.queue.records.get(), 8);
    assert_eq!(config.plugin_dirs, [std::path::PathBuf::from("x,y")]);
    let settings = json!({ "topic": "t", "acks": 2 });
    assert_eq!(serde_json::Value::from(config.sinks[0].settings.clone()), settings);
}

#[test]
fn what_is_wrong_there_is_told_with_its_variable_or_option() {
    let env = [
        ("WASINK_METERNG__BACKEND", "file"),
        ("WASINK_ELSE", "1"),
        ("WASINK_", "1"),
        ("WASINK_queue__records", "1"),
        ("WASINK_QUEUE", "1"),
        ("WASINK_SINK__0__NAME", "a"),
        ("WASINK_QUEUE__RECORDS", "ten"),
        ("WASINK_USAGE__ENABLED", "yes"),
        ("WASINK_METERING__BACHEND", "file"),
        ("WASINK_LOG__LEVEL", "INFO"),
    ];
    let flags = [
        Flag::new("metering.bakend", "x", "--set"),
        Flag::new("sink.name", "x", "--set"),
        Flag::new("metering.timeout", "soon", "--timeout"),
    ];
    let hint = "unknown variable; `WASINK_` and a key in upper case is expected, with `__` between \
                the levels, as in `WASINK_METERING__BACKEND`";
    let expected = format!(
        "\
environment WASINK_: {hint}
environment WASINK_ELSE: {hint}
environment WASINK_LOG__LEVEL: log.level: expected one of `debug`, `info`, `warn`, `error`, got `\"INFO\"`
environment WASINK_METERING__BACHEND: unknown variable; did you mean `WASINK_METERING__BACKEND`?
environment WASINK_METERNG__BACKEND: unknown variable; did you mean `WASINK_METERING__BACKEND`?
environment WASINK_QUEUE: `queue` is a table; set its keys, as with `WASINK_QUEUE__RECORDS`
environment WASINK_QUEUE__RECORDS: queue.records: expected a whole number from 1 to 16777216, got `\"ten\"`
environment WASINK_SINK__0__NAME: a `[[sink]]` can't be set by the environment; write it to the file
environment WASINK_USAGE__ENABLED: usage.enabled: expected `true` or `false`, got `\"yes\"`
environment WASINK_queue__records: {hint}
flag --set: metering.bakend: unknown key; did you mean `metering.backend`?
flag --set: sink.name: a key of one `[[sink]]` can't be set from here; write it to the file
flag --timeout: metering.timeout: expected a duration above 0, up to 24h, as in `200ms`, `30s` or `1m 30s`, got `\"soon\"`"
    );
    assert_eq!(load(&env, &flags).unwrap_err().to_string(), expected);
}

#[test]
fn what_a_flag_replaces_as_a_whole_is_told_of_as_the_flags() {
    let file = "[[sink]]\nname = 'a'\nplugin = 'b'\nstreams = ['usage']";
    let flags = [Flag::new("sink", json!([{ "name": "a", "plugin": 1 }]), "--sinks")];
    let expected = "\
flag --sinks: sink[0].plugin: expected the name of a plugin (`a`-`z`, `0`-`9`, `-`), got `1`
flag --sinks: sink[0].streams: missing; expected a list of streams, one at least, each once";
    assert_eq!(load_file("c.toml", file, &[], &flags).unwrap_err(), expected);
}

#[test]
fn a_variable_does_not_hide_a_mistake_of_the_file() {
    let errors = load_file("c.toml", "queue = 3", &[("WASINK_QUEUE__RECORDS", "5")], &[]);
    assert_eq!(errors.unwrap_err(), "c.toml:1: queue: expected a table, got `3`");
}
