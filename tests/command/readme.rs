//! What the README and the documents say is so.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::operator::{Operator, end};
use crate::support;

fn project(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()))
}

/// The blocks of a page in this language, in order.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let open = format!("```{language}\n");
    let inside = page.split(&open).skip(1).map(|rest| rest.split("```").next().unwrap());
    inside.map(str::to_owned).collect()
}

#[test]
fn the_smallest_sink_is_the_example_and_short() {
    let readme = project("README.md");
    let sink = &blocks(&readme, "rust")[0];
    assert_eq!(*sink, project("guest/examples/fuel/src/lib.rs"));
    assert!(sink.lines().count() <= 30, "{} lines", sink.lines().count());
}

#[test]
fn the_smallest_sink_works_as_the_readme_says() {
    let operator = Operator::new();
    let component = support::guests().join("wasink_example_fuel.wasm");
    operator.write("wasink-data/plugins/tenants.wasm", std::fs::read(component).unwrap());
    let shown = operator.says("plugins inspect tenants").expect(0).stdout;
    assert!(shown.contains("fuel by tenant, as CSV"), "{shown}");
    let readme = project("README.md");
    let config = blocks(&readme, "toml").into_iter().find(|b| b.contains("tenants")).unwrap();
    operator.write("wasink.toml", config);
    let usage = r#"{"rid":"1","tenant":"acme","src":"http","stack":"s","duration_ms":1,"status":"ok","bytes_in":1,"bytes_out":2,"fuel":7}"#;
    operator.feed("run --stream usage", usage).expect(0);
    assert_eq!(operator.read("wasink-data/sinks/usage/fuel.csv"), "acme,7\n");
}

#[test]
fn the_first_commands_of_the_readme_name_a_command_that_works() {
    let readme = project("README.md");
    let commands = blocks(&readme, "console");
    assert_eq!(
        commands[0].trim(),
        r#"$ echo '{"hello": "world"}' | cargo run --release -- run --stream events"#
    );
    let operator = Operator::new();
    operator.feed("run --stream events", "{\"hello\": \"world\"}\n").expect(0);
    assert!(
        operator.read("wasink-data/events/ledger.jsonl").contains(r#""data":{"hello": "world"}"#)
    );

    assert_eq!(
        commands[1].trim(),
        "$ cargo check --message-format=json 2>/dev/null | target/release/wasink run --stream events"
    );
    // With a line such as `cargo check` prints; another test runs it in earnest.
    let operator = Operator::new();
    operator
        .feed("run --stream events", "{\"reason\":\"build-finished\",\"success\":true}\n")
        .expect(0);
    assert!(operator.path("wasink-data/events/ledger.jsonl").exists());
}

#[test]
fn where_a_stream_goes_is_what_the_readme_says() {
    let operator = Operator::new();
    let config = operator.says("config --json").expect(0).json();
    let readme = project("README.md");
    for sink in config["sinks"].as_array().unwrap() {
        let stream = sink["name"].as_str().unwrap();
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{stream}` |"))).unwrap();
        let place = match sink["plugin"].as_str().unwrap() {
            "log" => "the log".to_owned(),
            _ => format!("`{}/ledger.jsonl`", sink["directory"].as_str().unwrap()),
        };
        assert!(row.contains(&place), "{place}: {row}");
    }
}

#[test]
fn the_configurations_in_the_documents_are_good() {
    let readme = project("README.md");
    let example = blocks(&readme, "toml").into_iter().find(|b| b.contains("plugin_dirs")).unwrap();
    for text in [example, project("docs/wasink.example.toml")] {
        let operator = Operator::new();
        // The secret is read.
        let secret = operator.write("api-token", "sesame\n");
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        let text = text.replace("/etc/wasink/api-token", secret.to_str().unwrap());
        operator.write("wasink.toml", text);
        operator.says("check").expect(0);
    }
    let operator = Operator::new();
    let mut command = operator.wasink("config");
    command.env("WASINK_METERING__BACKEND", "nop");
    let shown = end(command, b"").expect(0).stdout;
    assert!(shown.contains("backend = \"nop\"  # from environment WASINK_METERING__BACKEND"));
}

#[test]
fn the_help_and_the_readme_speak_of_the_same_streams() {
    let help = Operator::new().says("run --help").stdout;
    let readme = project("README.md");
    for stream in ["metering", "usage", "control", "events"] {
        assert!(help.contains(&format!("- {stream}:")), "{stream}");
        assert!(readme.contains(&format!("| `{stream}` |")), "{stream}");
    }
}
