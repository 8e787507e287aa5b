//! Any text is a configuration or a list of mistakes, and never a panic.

use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value};

use super::load;
use crate::config::{Config, ConfigError, Flag, check_settings};
use crate::logger::is_acted_on;

/// Words that come near to what is right, so that more than the first check is reached.
const WORDS: &[&str] = &[
    "data_dir",
    "plugin_dirs",
    "log",
    "level",
    "queue",
    "records",
    "bytes",
    "metering",
    "backend",
    "file",
    "path",
    "usage",
    "enabled",
    "sink",
    "outbox",
    "feed",
    "database",
    "name",
    "plugin",
    "streams",
    "settings",
    "batch",
    "age",
    "timeout",
    "on_open_failure",
    "control",
    "events",
    "1KiB",
    "10s",
    "0s",
    "a",
    "",
    "x y",
    "\u{7f}\n\"",
    "\u{202e}\u{2066}\u{200f}\u{9b}",
    "é",
    "$ref",
    "type",
];

const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "\n",
    "\"",
    "'",
    "'''",
    "#",
    " ",
    "1",
    "-1",
    "0x",
    "1.5",
    "nan",
    "true",
    "null",
    "2026-01-01",
    ":",
    "\\",
    "\\u00",
    "\r\n",
    "\u{feff}",
    "é",
];

fn word() -> impl Strategy<Value = String> {
    proptest::sample::select(WORDS).prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((word(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// No terminal acts on what is said.
fn is_harmless(error: &ConfigError) {
    assert!(!error.to_string().contains(is_acted_on), "{error:?}");
}

/// What is right can be explained and read again; what is wrong has something to say.
fn check(loaded: Result<Config, crate::config::ConfigErrors>) {
    match loaded {
        Ok(config) => {
            let toml = config.explain_toml();
            assert!(Config::from_toml(&toml).is_ok(), "{toml}");
            let json = config.explain_json()["config"].to_string();
            assert_eq!(Config::from_json(&json).unwrap(), config);
            assert!(config.check_plugins(&["file", "a"]).iter().all(|e| !e.message.is_empty()));
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            assert_eq!(errors.to_string().lines().count(), errors.iter().count(), "{errors}");
            errors.iter().for_each(is_harmless);
        }
    }
}

proptest! {
    #[test]
    fn no_tree_of_values_breaks_it(value in value()) {
        check(Config::from_json(&value.to_string()));
        if let Ok(text) = toml::to_string(&value) {
            check(Config::from_toml(&text));
        }
    }

    #[test]
    fn no_text_breaks_it(text in any::<String>()) {
        check(Config::from_toml(&text));
        check(Config::from_json(&text));
    }

    #[test]
    fn no_text_of_likely_pieces_breaks_it(
        pieces in vec(prop_oneof![word(), proptest::sample::select(PIECES).prop_map(str::to_owned)], 0..40)
    ) {
        let text = pieces.concat();
        check(Config::from_toml(&text));
        check(Config::from_json(&text));
    }

    #[test]
    fn no_variable_and_no_flag_breaks_it(keys in vec(word(), 0..5), text in any::<String>(), value in value()) {
        let variable = format!("WASINK_{}", keys.join("__").to_uppercase());
        check(load(&[(&variable, &text)], &[Flag::new(keys.join("."), value, "--set")]));
    }

    #[test]
    fn no_schema_of_a_plugin_breaks_it(schema in value(), settings in value()) {
        let config = serde_json::json!({
            "sink": [{ "name": "s", "plugin": "p", "streams": ["usage"], "settings": { "a": settings } }],
        });
        let config = Config::from_json(&config.to_string()).unwrap();
        let sink = config.sinks.last().unwrap();
        if let Err(errors) = check_settings(&schema, sink) {
            assert!(!errors.is_empty());
            errors.iter().for_each(is_harmless);
        }
    }
}
