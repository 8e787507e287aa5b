//! What plugins say, as the command shows it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::feed_sources::saying;
use crate::support::plugin_directory;

/// Whether a terminal acts on it, or shows what is around it in another order.
fn is_acted_on(c: char) -> bool {
    c.is_control()
        || "\u{61c}\u{200e}\u{200f}".contains(c)
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Runs the command there; what it printed, of which nothing is acted on.
#[track_caller]
fn wasink(directory: &Path, arguments: &str, input: &str) -> (String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .current_dir(directory)
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads nothing may have ended already.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let ended = child.wait_with_output().unwrap();
    let [stdout, stderr] =
        [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    for text in [&stdout, &stderr] {
        let odd = text.lines().find(|line| line.contains(is_acted_on));
        assert_eq!(odd, None, "`wasink {arguments}`");
    }
    (stdout, stderr)
}

#[test]
fn whatever_a_plugin_says_nothing_of_it_is_acted_on_or_passes_for_anothers_word() {
    let plugins = plugin_directory(&[
        ("control-characters", "control-characters"),
        ("claims-another-name", "claims-another-name"),
    ]);
    let sources = plugins.path().join("feed-sources");
    std::fs::create_dir(&sources).unwrap();
    std::fs::write(sources.join("says-control.wasm"), saying("control")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let sink =
        |name: &str| format!("[[sink]]\nname = '{name}'\nplugin = '{name}'\nstreams = ['usage']\n");
    let config = format!(
        "plugin_dirs = ['{}']\nlog.level = 'debug'\n[usage]\nenabled = false\n{}{}",
        plugins.path().display(),
        sink("control-characters"),
        sink("claims-another-name"),
    );
    std::fs::write(directory.path().join("wasink.toml"), config).unwrap();
    let event = "{\"rid\":\"r-1\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
                 \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}\n";
    let run = |more: &str| wasink(directory.path(), &format!("run --stream usage{more}"), event);

    let (_, text) = run("");
    let mut claims = 0;
    for line in text.lines() {
        let said = line.split_whitespace().nth(2).unwrap_or_default();
        assert_ne!(said, "good:", "{line}");
        if line.contains("the disk is gone") {
            assert_eq!(said, "claims-another-name:", "{line}");
            claims += 1;
        }
    }
    assert!(claims >= 2, "one from the log and one from standard error: {text}");
    assert!(text.contains(" \"a sink=good b\"=\"sink=good\""), "one field, not three: {text}");
    assert!(text.contains("\\u{1b}[2J") && text.contains("\\u{202e}gpj.exe"), "{text}");

    let (_, json) = run(" --log-format json");
    let lines: Vec<Value> =
        json.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let claim =
        |line: &&Value| line["msg"].as_str().is_some_and(|msg| msg.contains("disk is gone"));
    let claims: Vec<_> = lines.iter().filter(claim).collect();
    assert!(!claims.is_empty(), "{json}");
    for line in claims {
        assert_eq!(
            (&line["sink"], &line["level"]),
            (&"claims-another-name".into(), &"error".into())
        );
        assert!(line["ts"].as_str().is_some_and(|ts| !ts.starts_with("1970")), "{line}");
    }

    for arguments in [
        "dead list",
        "dead list --json",
        "dead show --sink control-characters",
        "dead show --json",
        "plugins list",
        "plugins list --json",
        "plugins inspect control-characters",
        "plugins inspect control-characters --json",
        "plugins inspect says-control",
        "plugins inspect says-control --json",
        "check",
        "audit",
    ] {
        let (stdout, stderr) = wasink(directory.path(), arguments, "");
        assert!(!stdout.is_empty(), "`wasink {arguments}`: {stderr}");
    }
}

#[test]
fn what_keeps_a_plugin_from_opening_is_one_line_of_which_nothing_is_acted_on() {
    let plugins = plugin_directory(&[("faulty", "faulty")]);
    let directory = tempfile::tempdir().unwrap();
    // It repeats the setting that it does not know.
    let config = format!(
        "plugin_dirs = ['{}']\n[usage]\nenabled = false\n[[sink]]\nname = 'faulty'\n\
         plugin = 'faulty'\nstreams = ['usage']\n\
         settings = {{ on = 'write', does = \"\\u001b[2J\\u202egpj\\nwasink: all is well\" }}\n",
        plugins.path().display(),
    );
    std::fs::write(directory.path().join("wasink.toml"), config).unwrap();
    let (_, said) = wasink(directory.path(), "run --stream usage", "");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("\\u{1b}[2J\\u{202e}gpj\\nwasink: all is well"), "{said}");
}
