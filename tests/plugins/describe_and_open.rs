//! Plugins that do wrong when they are asked to describe themselves or to open.

use std::time::Duration;

use serde_json::json;
use wasink_chassis::plugin::{OpenRequest, PluginError, Plugins as _};
use wasink_wasm::WasmPlugins;

use crate::kit::{error, host, looking_in, name, request};
use crate::support::plugin_directory;

/// What comes of opening the guest `faulty` to do `does` there.
fn open(does: &str, timeout: Duration) -> PluginError {
    let request = request("faulty", &json!({ "on": "open", "does": does }));
    let opened = host().open(OpenRequest { timeout, ..request });
    opened.err().unwrap_or_else(|| panic!("`{does}` should not open"))
}

#[test]
fn a_describe_that_panics_is_told_in_the_plugins_own_words() {
    let said = error(host().describe(&name("describe-panics")));
    let start = "plugin `describe-panics` trapped in `describe`: wasm `unreachable` instruction \
                 executed; its last words: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.ends_with(" | it will not say what it is"), "{said}");
}

#[test]
fn a_describe_that_spins_is_ended() {
    let directory = plugin_directory(&[("spins", "describe-spins")]);
    let mut options = looking_in(&[directory.path()]);
    options.limits.describe_time = Duration::from_millis(200);
    let host = WasmPlugins::new(options).unwrap();
    let expected = "plugin `spins` did not return from `describe` within 200ms: it was computing; \
                    allow it more with `limits.describe`";
    assert_eq!(error(host.describe(&name("spins"))), expected);
    assert_eq!(error(host.report(&name("spins"))), expected);
    assert_eq!(error(host.open(request("spins", &json!({})))), expected);
}

#[test]
fn a_schema_that_is_not_json_is_refused() {
    assert_eq!(
        error(host().describe(&name("describe-garbage"))),
        "plugin `describe-garbage` can't be used: the bundled file: the settings schema that it \
         describes itself with is not JSON: key must be a string at line 1 column 3"
    );
}

#[test]
fn an_open_that_fails_is_refused_in_the_plugins_own_words() {
    let error = open("error", Duration::from_secs(60));
    assert!(matches!(error, PluginError::Refused { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "plugin `faulty` refused to open as `under-test`: broken: told to fail"
    );
}

#[test]
fn settings_that_do_not_fit_are_refused_in_the_plugins_own_words() {
    let said = error(host().open(request("faulty", &json!({ "on": "write" }))));
    assert!(said.starts_with("plugin `faulty` refused to open as `under-test`: "), "{said}");
    assert!(said.contains("missing field `does`"), "{said}");
}

#[test]
fn an_open_that_panics_is_a_trap_with_its_last_words() {
    let said = open("panic", Duration::from_secs(60)).to_string();
    let start = "plugin `faulty` trapped in `open`: wasm `unreachable` instruction executed; its \
                 last words: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.ends_with(" | told to panic on open"), "{said}");
}

#[test]
fn an_open_that_exits_is_told_with_its_status() {
    let said = open("exit", Duration::from_secs(60)).to_string();
    assert_eq!(said, "plugin `faulty` trapped in `open`: it exited with status 1");
}

#[test]
fn an_open_that_spins_is_ended_as_computing() {
    let said = open("spin", Duration::from_millis(300)).to_string();
    assert_eq!(said, "plugin `faulty` did not return from `open` within 300ms: it was computing");
}

#[test]
fn an_open_that_waits_is_ended_as_waiting() {
    let said = open("wait", Duration::from_millis(700)).to_string();
    assert_eq!(said, "plugin `faulty` did not return from `open` within 700ms: it was waiting");
}
