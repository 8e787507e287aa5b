//! Configurations, what is put over them, and the settings of a plugin against its schema.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use std::path::PathBuf;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tempfile::TempDir;
use wasink_chassis::config::{Config, ConfigErrors, Flag, Sources, check_settings};

/// Parts an input: the configuration, TOML or JSON; what is put over it, one `NAME=value` or
/// `key=value` a line; and the schema of a plugin.
const SEPARATOR: &str = "\n----\n";

fn target(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let mut parts = text.splitn(3, SEPARATOR);
    let (file, over) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let schema = parts.next().unwrap_or_default();

    let json = file.trim_start().starts_with('{');
    let loaded = if over.is_empty() { read(file, json) } else { load(file, json, over) };
    match loaded {
        Ok(config) => {
            print_again(&config);
            if let Ok(schema) = serde_json::from_str::<Value>(schema) {
                settings(&config, &schema);
            }
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            assert!(errors.iter().all(|error| !error.message.is_empty()));
            assert_eq!(errors.to_string().lines().count(), errors.iter().count(), "{errors}");
        }
    }
}

fn read(file: &str, json: bool) -> Result<Config, ConfigErrors> {
    if json { Config::from_json(file) } else { Config::from_toml(file) }
}

/// As the command does: from a file, with variables and options over it.
fn load(file: &str, json: bool, over: &str) -> Result<Config, ConfigErrors> {
    let path = scratch(if json { "wasink.json" } else { "wasink.toml" });
    std::fs::write(&path, file).unwrap();
    let mut sources = Sources { file: Some(path), ..Sources::default() };
    for line in over.lines() {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        if name.starts_with("WASINK_") {
            sources.env.push((name.to_owned(), value.to_owned()));
        } else {
            sources.flags.push(Flag::new(name, value, "--set"));
        }
    }
    Config::load(&sources)
}

fn scratch(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<TempDir> = OnceLock::new();
    DIRECTORY.get_or_init(|| tempfile::tempdir().unwrap()).path().join(name)
}

/// What is printed of a configuration, for people or for programs, is the same configuration.
fn print_again(config: &Config) {
    let json = config.explain_json();
    let json = json.get("config").unwrap().to_string();
    assert_eq!(Config::from_json(&json).as_ref(), Ok(config), "{json}");
    let toml = config.explain_toml();
    let again = Config::from_toml(&toml).unwrap_or_else(|errors| panic!("{errors}\n{toml}"));
    // TOML has no null and no number above those of 64 bits; the page says so where it leaves one
    // out.
    if !toml.contains("TOML can't say it") {
        assert_eq!(again, *config, "{toml}");
        assert_eq!(again.explain_toml().lines().count(), toml.lines().count());
    }
    assert!(config.explain().iter().all(|setting| !setting.key.is_empty()));
    assert!(config.check_plugins(&["file", "stderr"]).iter().all(|one| !one.message.is_empty()));
}

fn settings(config: &Config, schema: &Value) {
    for sink in &config.sinks {
        if let Err(errors) = check_settings(schema, sink) {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.to_string().lines().count() == 1));
        }
    }
}

fuzz_target!(|input: &[u8]| target(input));
