//! Configurations that are wrong, and every word that is said about them.

use super::load_file;
use crate::logger::is_acted_on;

/// What it is, the file's name, its text, and the errors.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (
        "mistakes of all kinds, told together",
        "wasink.toml",
        r#"
data_dir = ""
plugin_dirs = "plugins"
[metering]
bachend = "x"
timeout = "0s"
[queue]
records = "ten"
bytes = "2 parsecs"
[log]
level = "inf"
format = 3
[usage]
enabled = "no"
batch = { records = 0, age = "1d", bites = 1 }
[usage.file]
path = "a/b/"
"#,
        r#"wasink.toml:2: data_dir: expected a path, got `""`
wasink.toml:3: plugin_dirs: expected a list of paths, got `"plugins"`
wasink.toml:5: metering.bachend: unknown key `bachend`; did you mean `backend`?
wasink.toml:6: metering.timeout: expected a duration above 0, up to 24h, as in `200ms`, `30s` or `1m 30s`, got `"0s"`
wasink.toml:8: queue.records: expected a whole number from 1 to 16777216, got `"ten"`
wasink.toml:9: queue.bytes: expected a size above 0, in bytes or as in `64MiB`, got `"2 parsecs"`
wasink.toml:11: log.level: expected one of `debug`, `info`, `warn`, `error`, got `"inf"`; did you mean `info`?
wasink.toml:12: log.format: expected one of `text`, `json`, got `3`
wasink.toml:14: usage.enabled: expected `true` or `false`, got `"no"`
wasink.toml:15: usage.batch.age: expected a duration up to 24h, as in `200ms`, `30s` or `1m 30s`, got `"1d"`
wasink.toml:15: usage.batch.bites: unknown key `bites`; did you mean `bytes`?
wasink.toml:15: usage.batch.records: expected a whole number from 1 to 1048576, got `0`"#,
    ),
    (
        "sinks: what one value tells and what only two tell, together",
        "wasink.toml",
        r#"
[[sink]]
name = "A"
streams = ["event"]
batch.records = 0
[[sink]]
name = "usage"
plugin = "x"
streams = []
[[sink]]
name = "a"
plugin = "x"
streams = ["usage", "usage"]
timeout = 30
x = 1
[[sink]]
name = "a"
plugin = "No!"
streams = ["usage"]
settings = 3
grants.directory = ""
[[sink]]
name = "events"
plugin = "file"
streams = ["events"]
on_open_failure = "degrad"
"#,
        r#"wasink.toml:2: sink[0].plugin: missing; expected the name of a plugin (`a`-`z`, `0`-`9`, `-`)
wasink.toml:3: sink[0].name: expected a name of 1 to 64 of `a`-`z`, `0`-`9` and `-`, got `"A"`
wasink.toml:4: sink[0].streams[0]: expected one of `metering`, `usage`, `control`, `events`, got `"event"`; did you mean `events`?
wasink.toml:5: sink[0].batch.records: expected a whole number from 1 to 1048576, got `0`
wasink.toml:7: sink[1].name: `usage` is the sink of `[usage]`; choose another name
wasink.toml:9: sink[1].streams: expected a list of streams, one at least, each once, got `[]`
wasink.toml:13: sink[2].streams: expected a list of streams, one at least, each once, got `["usage","usage"]`
wasink.toml:14: sink[2].timeout: expected a duration above 0, up to 24h, as in `200ms`, `30s` or `1m 30s`, got `30`
wasink.toml:15: sink[2].x: unknown key `x`; known here: `name`, `plugin`, `streams`, `settings`, `batch`, `timeout`, `when_full`, `max_pending`, `order`, `digest`, `on_open_failure`, `grants`, `limits`
wasink.toml:17: sink[3].name: `a` is the name of sink[2] already; choose another
wasink.toml:18: sink[3].plugin: expected the name of a plugin (`a`-`z`, `0`-`9`, `-`), got `"No!"`
wasink.toml:20: sink[3].settings: expected a table, got `3`
wasink.toml:21: sink[3].grants.directory: expected `true`, `false` or a path, got `""`
wasink.toml:23: sink[4].name: `events` is the sink that takes `events` where no other does; choose another name
wasink.toml:26: sink[4].on_open_failure: expected one of `refuse`, `degrade`, got `"degrad"`; did you mean `degrade`?"#,
    ),
    (
        "other shapes than tables and lists",
        "wasink.toml",
        r#"
log = "x"
queue = []
sink = [3, { name = "ok", plugin = "p", streams = ["control"], batch = 1 }]
metering = { foo = "x", file = 1, batch = { records = 1.5 } }
"#,
        r#"wasink.toml:2: log: expected a table, got `"x"`
wasink.toml:3: queue: expected a table, got `[]`
wasink.toml:4: sink[0]: expected a table, got `3`
wasink.toml:4: sink[1].batch: expected a table, got `1`
wasink.toml:5: metering.batch.records: expected a whole number from 1 to 1048576, got `1.5`
wasink.toml:5: metering.file: expected a table, got `1`
wasink.toml:5: metering.foo: unknown key `foo`; known here: `backend`, `batch`, `timeout`, `when_full`, `max_pending`, `order`, `digest`, `on_open_failure`, `grants`, `limits`, `file`, and a table for each plugin"#,
    ),
    (
        "TOML's syntax, and what is wrong beside it",
        "wasink.toml",
        "[log]\nlevel = info\nformat = 'xml'\n[queue]\nrecords = 1\nrecords = 2\n[[sink]]\nname = 'a",
        r#"wasink.toml:2:9: expected a value, got `info`; a string is written in quotes
wasink.toml:3: log.format: expected one of `text`, `json`, got `"xml"`
wasink.toml:6:1: duplicate key
wasink.toml:8:10: invalid literal string, expected `'`"#,
    ),
    (
        "TOML's strings without quotes",
        "wasink.toml",
        "data_dir = /var/lib\nnode_id = true-north\nplugin_dirs = [plugins, 'b']\nlog = { level = nano }",
        r#"wasink.toml:1:12: expected a value, got `/var/lib`; a string is written in quotes
wasink.toml:2:11: expected a value, got `true-north`; a string is written in quotes
wasink.toml:3:16: expected a value, got `plugins`; a string is written in quotes
wasink.toml:4:17: expected a value, got `nano`; a string is written in quotes"#,
    ),
    (
        "values that only TOML has",
        "wasink.toml",
        "node_id = 2026-01-01\n[metering.x]\na = nan\nb = 99999999999999999999\n[queue]\nrecords = -1\nbytes = 0",
        "wasink.toml:1: node_id: a date is written as a string, in quotes, got `2026-01-01`
wasink.toml:3: metering.x.a: a number must be finite, got `nan`
wasink.toml:4: metering.x.b: the number is out of range, got `99999999999999999999`
wasink.toml:6: queue.records: expected a whole number from 1 to 16777216, got `-1`
wasink.toml:7: queue.bytes: expected a size above 0, in bytes or as in `64MiB`, got `0`",
    ),
    (
        "JSON: lines, duplicates, null",
        "wasink.json",
        "{\n \"log\": {\"level\": null,\n \"colour\": true},\n \"log\": {\n  \"level\": null},\n \"sink\": [\n  {},\n  {\"name\": \"a\"}]}",
        "wasink.json:4: log: duplicate key `log`
wasink.json:5: log.level: duplicate key `level`
wasink.json:5: log.level: expected one of `debug`, `info`, `warn`, `error`, got `null`
wasink.json:7: sink[0].name: missing; expected a name of 1 to 64 of `a`-`z`, `0`-`9` and `-`
wasink.json:7: sink[0].plugin: missing; expected the name of a plugin (`a`-`z`, `0`-`9`, `-`)
wasink.json:7: sink[0].streams: missing; expected a list of streams, one at least, each once
wasink.json:8: sink[1].plugin: missing; expected the name of a plugin (`a`-`z`, `0`-`9`, `-`)
wasink.json:8: sink[1].streams: missing; expected a list of streams, one at least, each once",
    ),
    (
        "JSON's syntax",
        "wasink.json",
        "{\n \"log\": }",
        "wasink.json:2:9: expected value",
    ),
    ("no table", "wasink.json", "[]", "wasink.json: expected a table, got `[]`"),
    (
        "a whole number that is not written as one",
        "wasink.json",
        r#"{"queue": {"records": 1.0}}"#,
        "wasink.json:1: queue.records: invalid type: floating point `1.0`, expected a nonzero u32",
    ),
    (
        "keys and values that would spoil the message",
        "wasink.json",
        "{\"a\\nb\": 1, \"x y\": 2, \"node_id\": [\"line\\nbreak\", \"0123456789012345678901234567890123456789012345678901234567890123456789\"]}",
        "wasink.json:1: \"a b\": unknown key `a\\nb`; known here: `data_dir`, `plugin_dirs`, `plugin_keys`, `node_id`, `log`, `queue`, `listen`, `journal`, `swap`, `limits`, `metering`, `usage`, `sink`, `outbox`, `feed`, `secret`
wasink.json:1: \"x y\": unknown key `x y`; known here: `data_dir`, `plugin_dirs`, `plugin_keys`, `node_id`, `log`, `queue`, `listen`, `journal`, `swap`, `limits`, `metering`, `usage`, `sink`, `outbox`, `feed`, `secret`
wasink.json:1: node_id: expected a name of 1 to 255 characters, got `[\"line\\nbreak\",\"0123456789012345678901234567890123456789012345678901234567890123…`",
    ),
];

#[test]
fn every_mistake_is_told_with_place_key_value_and_the_way_out() {
    for (what, file, text, expected) in REFUSED {
        let errors = load_file(file, text, &[], &[]).unwrap_err();
        assert_eq!(errors, *expected, "{what}");
    }
}

#[test]
fn what_a_terminal_acts_on_is_told_by_its_number_wherever_it_is_written() {
    // An override of the direction, an isolate, a mark; CSI in one character, DEL, ESC.
    for odd in
        ['\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}', '\u{200e}', '\u{9b}', '\u{7f}', '\u{1b}']
    {
        let sink = "sink = [{ name = 's', plugin = 'p', streams = ['usage'], grants = ";
        let escaped = format!("\\U{:08x}", u32::from(odd));
        for (file, text) in [
            ("c.toml", format!("node_id = [\"{escaped}\"]")),
            ("c.toml", format!("\"{escaped}\" = 1")),
            ("c.toml", format!("log.\"{escaped}\" = 1")),
            ("c.toml", format!("log.level = \"{escaped}\"")),
            ("c.toml", format!("listen.http = \"{escaped}\"")),
            ("c.toml", format!("usage = {{ sink = 'file', file.path = \"{escaped}/\" }}")),
            ("c.toml", format!("{sink}{{ http = [{{ origin = \"http://{escaped}\" }}] }} }}]")),
            ("c.toml", format!("{sink}{{ tcp = [\"{escaped}:1\"] }} }}]")),
            ("c.toml", format!("{sink}{{ secrets = [\"{escaped}\"] }} }}]")),
            ("c.toml", format!("\"{escaped}\" = 1\n\"{escaped}\" = 1")),
            ("c.toml", format!("log.level = x{odd}")),
            ("c.json", format!("{{ \"a{odd}\": 1, \"a{odd}\": 2 }}")),
            (&*format!("{odd}.toml"), "no_such_key = 1".to_owned()),
        ] {
            let errors = load_file(file, &text, &[], &[]).unwrap_err();
            for line in errors.lines() {
                assert!(!line.contains(is_acted_on), "{text:?}: {line:?}");
            }
        }
        let errors =
            load_file("c.toml", &format!("node_id = [\"{escaped}\"]"), &[], &[]).unwrap_err();
        let number = format!("{:x}", u32::from(odd));
        assert!(errors.contains(&number), "{errors}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("none.toml");
    let sources = crate::config::Sources { file: Some(file.clone()), ..Default::default() };
    let errors = crate::config::Config::load(&sources).unwrap_err().to_string();
    let expected = format!("{}: can't open it: ", file.display());
    assert!(errors.starts_with(&expected) && !errors.contains('\n'), "{errors}");
}

#[test]
fn a_file_without_end_is_not_read_to_the_end() {
    let errors = load_file("c.toml", &"#".repeat(5 << 20), &[], &[]).unwrap_err();
    assert_eq!(errors, "c.toml: larger than 4194304 bytes, so it is no configuration");
}

#[test]
fn unknown_plugins_are_told_together_with_all_other_mistakes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("wasink.toml");
    let text = "plugin_dirs = ['here']\n[usage]\nsink = 'lgo'\n[metring]\n[[sink]]\nname = 'a'\n\
                plugin = 'No!'\nstreams = ['events']\n";
    std::fs::write(&file, text).unwrap();
    let sources = crate::config::Sources { file: Some(file.clone()), ..Default::default() };
    let names = |directories: &[std::path::PathBuf]| {
        assert_eq!(directories, [std::path::PathBuf::from("here")]);
        ["file", "log"].map(|name| name.parse().unwrap()).to_vec()
    };
    let errors = crate::config::Config::load_with_plugins(&sources, &names).unwrap_err();
    let errors = errors.to_string().replace(&*file.to_string_lossy(), "wasink.toml");
    assert_eq!(
        errors,
        "wasink.toml:3: usage.sink: unknown plugin `lgo`; did you mean `log`? available: `file`, \
         `log`\n\
         wasink.toml:4: metring: unknown key `metring`; did you mean `metering`?\n\
         wasink.toml:7: sink[0].plugin: expected the name of a plugin (`a`-`z`, `0`-`9`, `-`), got \
         `\"No!\"`"
    );
}
