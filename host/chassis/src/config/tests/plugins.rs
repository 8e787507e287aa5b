//! What is checked once the plugins are known.

use serde_json::{Value, json};

use crate::config::{Config, check_settings};

const KNOWN: [&str; 5] = ["stderr", "nop", "log", "file", "capture"];

fn told(errors: &[crate::config::ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_needs_nothing_but_what_is_bundled() {
    assert_eq!(Config::default().check_plugins(&KNOWN), []);
    let expected = "default: usage.sink: unknown plugin `log`; available: `file`";
    assert_eq!(told(&Config::default().check_plugins(&["file"])), expected);
    let expected = "\
default: control: unknown plugin `file`; no plugin is available
default: events: unknown plugin `file`; no plugin is available
default: metering.backend: unknown plugin `file`; no plugin is available
default: usage.sink: unknown plugin `log`; no plugin is available";
    assert_eq!(told(&Config::default().check_plugins(&[])), expected);
}

#[test]
fn an_unknown_plugin_is_told_with_the_nearest_and_all_that_there_are() {
    let text = "\
[metering]
backend = 'stdrr'
[metering.stdrr]
[metering.bacth]
age = '1s'
[usage.kafka]
[usage.stderr]
[[sink]]
name = 'a'
plugin = 'pulsar'
streams = ['events']
";
    let expected = "\
configuration:2: metering.backend: unknown plugin `stdrr`; did you mean `stderr`? available: `capture`, `file`, `log`, `nop`, `stderr`
configuration:4: metering.bacth: unknown plugin `bacth`; did you mean `batch`? available: `capture`, `file`, `log`, `nop`, `stderr`
configuration:6: usage.kafka: unknown plugin `kafka`; available: `capture`, `file`, `log`, `nop`, `stderr`
configuration:10: sink[0].plugin: unknown plugin `pulsar`; available: `capture`, `file`, `log`, `nop`, `stderr`";
    let errors = Config::from_toml(text).unwrap().check_plugins(&KNOWN);
    assert_eq!(told(&errors), expected);
}

#[test]
fn a_plugin_that_is_switched_off_need_not_be_there() {
    let config = Config::from_toml("[usage]\nenabled = false\nsink = 'gone'").unwrap();
    assert_eq!(config.check_plugins(&KNOWN), []);
}

const SETTINGS: &str = "\
[metering]
backend = 'http'
[metering.http]
ulr = 'http://localhost'
retries = 'three'
mode = 'fats'
password = 12345
headers = [{ name = 'a' }, { nam = 'b' }]
limit = 500
";

fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": false,
        "required": ["url"],
        "$defs": { "header": {
            "type": "object",
            "additionalProperties": false,
            "properties": { "name": { "type": "string", "pattern": "^[A-Z]" } },
        } },
        "properties": {
            "url": { "type": "string", "format": "uri" },
            "retries": { "type": ["integer", "null"], "minimum": 0 },
            "mode": { "enum": ["fast", "safe"] },
            "password": { "type": "string", "writeOnly": true },
            "headers": { "type": "array", "items": { "$ref": "#/$defs/header" } },
            "limit": { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100 },
        },
    })
}

#[test]
fn settings_are_checked_by_the_schema_of_the_plugin_and_secrets_are_not_shown() {
    let config = Config::from_toml(SETTINGS).unwrap();
    let errors = check_settings(&schema(), &config.sinks[0]).unwrap_err();
    let expected = "\
configuration:3: metering.http.url: missing; expected a string
configuration:4: metering.http.ulr: unknown key `ulr`; did you mean `url`?
configuration:5: metering.http.retries: expected a whole number or null of at least 0, got `\"three\"`
configuration:6: metering.http.mode: expected one of `fast`, `safe`, got `\"fats\"`; did you mean `fast`?
configuration:7: metering.http.password: expected a string, got a number (not shown)
configuration:8: metering.http.headers[0].name: expected a string that matches `^[A-Z]`, got `\"a\"`
configuration:8: metering.http.headers[1].nam: unknown key `nam`; did you mean `name`?
configuration:9: metering.http.limit: expected a number above 0 below 100, got `500`";
    assert_eq!(told(&errors), expected);
}

#[test]
fn settings_that_are_right_pass() {
    let text = "[[sink]]\nname='a'\nplugin='http'\nstreams=['usage']\nsettings={url='http://x'}";
    let config = Config::from_toml(text).unwrap();
    let sink = config.sinks.last().unwrap();
    assert_eq!(check_settings(&schema(), sink), Ok(()));
    assert_eq!(check_settings(&json!(true), sink), Ok(()));
    let errors = check_settings(&json!({ "required": ["topic"] }), sink).unwrap_err();
    assert_eq!(told(&errors), "configuration:5: sink[0].settings.topic: missing; expected a value");
}

#[test]
fn where_a_schema_has_no_keys_each_key_is_told_as_unknown() {
    let text = "[metering]\nbackend = 'http'\n[metering.http]\nprefix = 'eu-'\nother = 1";
    let config = Config::from_toml(text).unwrap();
    let schema = json!({ "type": "object", "additionalProperties": false });
    let errors = check_settings(&schema, &config.sinks[0]).unwrap_err();
    let expected = "\
configuration:4: metering.http.prefix: unknown key `prefix`; no key is known here
configuration:5: metering.http.other: unknown key `other`; no key is known here";
    assert_eq!(told(&errors), expected);
}

#[test]
fn the_path_of_the_ledger_is_checked_under_its_own_key() {
    let config = Config::from_toml("[metering.file]\npath = 'a/b.jsonl'\nrotat = 1").unwrap();
    let schema = json!({
        "additionalProperties": false,
        "properties": { "path": { "type": "string", "maxLength": 3 }, "rotate": true },
    });
    let errors = check_settings(&schema, &config.sinks[0]).unwrap_err();
    let expected = "\
configuration:2: metering.file.path: expected at most 3 character(s), got `\"b.jsonl\"`
configuration:3: metering.file.rotat: unknown key `rotat`; did you mean `rotate`?";
    assert_eq!(told(&errors), expected);
}

#[test]
fn a_schema_that_is_not_right_is_the_fault_of_the_plugin() {
    let config = Config::from_toml("[metering]\nbackend = 'http'").unwrap();
    for schema in [
        json!({ "type": "strin" }),
        json!({ "type": 3 }),
        json!([]),
        json!("x"),
        json!({ "pattern": "(" }),
        json!({ "pattern": "(?=a)" }),
        json!({ "$ref": "#" }),
        json!({ "$ref": "http://localhost:1/schema" }),
        json!({ "allOf": [{ "$ref": "#/$defs/none" }] }),
    ] {
        let errors = check_settings(&schema, &config.sinks[0]).unwrap_err();
        let told = told(&errors);
        let expected = "configuration:2: metering.backend: the schema that plugin `http` gives for its settings is not right: ";
        assert!(told.starts_with(expected) && !told.contains('\n'), "{schema}: {told}");
    }
}

#[test]
fn a_pattern_of_a_plugin_takes_linear_time() {
    let text = format!("[metering]\nbackend='p'\n[metering.p]\na = '{}!'", "a".repeat(5_000));
    let config = Config::from_toml(&text).unwrap();
    let schema = json!({ "properties": { "a": { "pattern": "^(a|a)*(a|a)*(a|a)*$" } } });
    let errors = check_settings(&schema, &config.sinks[0]).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].message.starts_with("expected a string that matches"));
}
