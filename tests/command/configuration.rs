//! `wasink check`, `wasink config` and `wasink plugins`.

use serde_json::{Value, json};

use super::operator::{Operator, end};

const MISTAKES: &str = r#"
dta_dir = "x"
[metering]
timeout = "0s"
[queue]
records = 0
[[sink]]
name = "A b"
plugin = "file"
streams = ["usage", "nope"]
grants.directory = true
"#;

#[test]
fn check_tells_every_mistake_at_once_with_its_place_and_starts_nothing() {
    let operator = Operator::new();
    operator.write("wasink.toml", MISTAKES);
    let expected = [
        ("wasink.toml:2: dta_dir: ", "did you mean `data_dir`?"),
        ("wasink.toml:4: metering.timeout: ", "a duration above 0"),
        ("wasink.toml:6: queue.records: ", "a whole number from 1"),
        ("wasink.toml:8: sink[0].name: ", "got `\"A b\"`"),
        ("wasink.toml:10: sink[0].streams[1]: ", "`metering`, `usage`, `control`, `events`"),
    ];
    for arguments in ["check", "run", "config", "plugins list"] {
        let ended = operator.says(arguments).expect(64);
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.lines().count(), expected.len(), "{ended:?}");
        for (line, (place, word)) in ended.stderr.lines().zip(expected) {
            assert!(line.starts_with(&format!("wasink: {place}")), "{place}: {line}");
            assert!(line.contains(word), "{word}: {line}");
        }
    }
    let told = operator.says("check --json").expect(64).json();
    assert_eq!(told["ok"], false);
    assert_eq!(told["errors"].as_array().unwrap().len(), expected.len(), "{told}");
    assert!(!operator.path("wasink-data").exists());
}

#[test]
fn check_tells_of_a_plugin_that_is_not_there_together_with_the_rest() {
    let operator = Operator::new();
    operator.write("wasink.toml", "[metering]\nbackend = \"fil\"\n[queue]\nrecords = 0\n");
    let ended = operator.says("check").expect(64);
    assert!(ended.stderr.contains("metering.backend: unknown plugin `fil`"), "{ended:?}");
    assert!(ended.stderr.contains("queue.records: "), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 2, "{ended:?}");
}

#[test]
fn check_looks_into_every_plugin_and_tells_all_that_is_wrong() {
    let operator = Operator::new();
    operator.write("plugins/junk.wasm", "not WebAssembly");
    operator.write(
        "wasink.toml",
        r#"
plugin_dirs = ["plugins"]
[usage]
sink = "junk"
[[sink]]
name = "one"
plugin = "file"
streams = ["events"]
grants.directory = true
settings = { rotate = { bytes = "many" } }
[[sink]]
name = "two"
plugin = "capture"
streams = ["control"]
grants.directory = true
settings = { capacity = -1 }
"#,
    );
    let ended = operator.says("check").expect(69);
    for word in [
        "`plugins/junk.wasm`: it is not WebAssembly",
        "wasink.toml:10: sink[0].settings.rotate.bytes: ",
        "wasink.toml:16: sink[1].settings.capacity: ",
    ] {
        assert!(ended.stderr.contains(word), "{word}: {ended:?}");
    }
    assert!(!operator.path("wasink-data/events").exists());
}

#[test]
fn check_lists_the_sinks_of_a_good_configuration() {
    let operator = Operator::new();
    let ended = operator.says("check").expect(0);
    let first: Vec<_> = ended.stdout.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(first, ["metering", "usage", "control", "events", "the"]);
    assert!(ended.stdout.ends_with("the configuration is good\n"));
    let told = operator.says("check --json").expect(0).json();
    assert_eq!(told["ok"], true);
    assert_eq!(told["sinks"][1], json!({ "name": "usage", "plugin": "log", "streams": ["usage"] }));
}

#[test]
fn config_says_where_each_value_comes_from() {
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        "data_dir = \"here\"\n[queue]\nrecords = 7\n[log]\nlevel = \"warn\"\n",
    );
    let mut command = operator.wasink("config --log-level debug");
    command.env("WASINK_METERING__BACKEND", "nop").env("WASINK_QUEUE__RECORDS", "9");
    let ended = end(command, b"").expect(0);
    for line in [
        "data_dir = \"here\"  # from wasink.toml:1",
        "level = \"debug\"  # from flag --log-level",
        "backend = \"nop\"  # from environment WASINK_METERING__BACKEND",
        "records = 9  # from environment WASINK_QUEUE__RECORDS",
        "bytes = \"64MiB\"  # default",
    ] {
        assert!(ended.stdout.lines().any(|printed| printed == line), "{line}: {}", ended.stdout);
    }
    assert!(ended.stdout.ends_with('\n'));
}

#[test]
fn a_file_is_named_by_the_flag_the_environment_or_its_place() {
    let operator = Operator::new();
    operator.write("wasink.toml", "node_id = \"place\"\n");
    operator.write("env.toml", "node_id = \"environment\"\n");
    operator.write("flag.json", r#"{"node_id":"flag"}"#);
    let node = |arguments: &str, env: bool| {
        let mut command = operator.wasink(arguments);
        if env {
            command.env("WASINK_CONFIG", "env.toml");
        }
        end(command, b"").expect(0).json()["config"]["node_id"].clone()
    };
    assert_eq!(node("config --json", false), "place");
    assert_eq!(node("config --json", true), "environment");
    assert_eq!(node("config --json --config flag.json", true), "flag");
    let ended = operator.says("config --config gone.toml").expect(64);
    assert!(ended.stderr.starts_with("wasink: gone.toml: can't open it"), "{ended:?}");
}

#[test]
fn what_config_prints_is_a_configuration_that_does_the_same() {
    let operator = Operator::new();
    operator.write(
        "wasink.toml",
        "[[sink]]\nname = \"audit\"\nplugin = \"file\"\nstreams = [\"usage\", \"control\"]\ngrants.directory = true\n\
         settings = { path = \"a.jsonl\" }\n",
    );
    let first = operator.says("config --json").expect(0).json();
    operator.write("again.json", first["config"].to_string());
    operator.write("again.toml", operator.says("config").expect(0).stdout);
    for again in ["again.json", "again.toml"] {
        let second = operator.says(&format!("config --json --config {again}")).expect(0).json();
        assert_eq!(second["config"], first["config"], "{again}");
        assert_eq!(second["sinks"], first["sinks"], "{again}");
    }
}

#[test]
fn the_schema_has_every_key_of_the_configuration() {
    let operator = Operator::new();
    let schema = operator.says("config --schema").expect(0).json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let config = operator.says("config --json").expect(0).json();
    for key in config["config"].as_object().unwrap().keys() {
        assert!(schema["properties"][key].is_object(), "`{key}`");
    }
}

#[test]
fn one_bad_file_does_not_keep_the_others_from_being_listed() {
    let operator = Operator::new();
    operator.write("plugins/junk.wasm", "not WebAssembly");
    operator.write("plugins/Bad Name.wasm", "");
    operator.write("plugins/notes.txt", "");
    operator.write("plugins/twice/a.wasm", "");
    operator.write("plugins/twice/b.wasm", "");
    let ended = operator.says("plugins list --plugin-dir plugins").expect(0);
    let word = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let names: Vec<_> =
        ended.stdout.lines().filter(|l| !l.starts_with(' ')).filter_map(word).collect();
    for name in ["capture", "file", "http", "jetstream", "junk", "log", "nop", "rollup", "stderr"] {
        assert!(names.iter().any(|found| found == name), "{name}: {ended:?}");
    }
    assert!(
        ended.stdout.contains("junk             -        sink         unusable: "),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("passed over `plugins/Bad Name.wasm`"), "{ended:?}");
    assert!(!ended.stdout.contains("notes"), "{ended:?}");

    let listed = operator.says("plugins list --json --plugin-dir plugins").expect(0).json();
    let junk = |plugin: &&Value| plugin["name"] == "junk";
    let junk = listed["plugins"].as_array().unwrap().iter().find(junk).unwrap();
    assert!(junk["error"].as_str().unwrap().contains("it is not WebAssembly"), "{junk}");
    assert!(!listed["oddities"].as_array().unwrap().is_empty());
}

#[test]
fn inspect_shows_all_that_a_plugin_tells() {
    let operator = Operator::new();
    let shown = operator.says("plugins inspect file").expect(0).stdout;
    for word in
        ["name               file", "source             bundled", "sha256:", "wasi:", "rotate"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let report = operator.says("plugins inspect file --json").expect(0).json();
    assert_eq!(report["name"], "file");
    assert_eq!(report["description"]["streams"], json!(["metering", "usage", "control", "events"]));
    assert!(report["description"]["settings_schema"]["properties"]["rotate"].is_object());
}

#[test]
fn the_ends_of_feeds_are_plugins_as_sinks_are() {
    let operator = Operator::new();
    let source = wasink_bundled::FEED_SOURCES[0].1;
    operator.write("plugins/feed-sources/mine.wasm", source);
    operator.write("plugins/feed-sinks/junk.wasm", "not WebAssembly");
    operator.write("plugins/astray.wasm", source);
    let listed = operator.says("plugins list --plugin-dir plugins").expect(0).stdout;
    for line in [
        "file             0.1.0    sink         ",
        "file             0.1.0    feed source  ",
        "file             0.1.0    feed sink    ",
        "mine             0.1.0    feed source  ",
        "junk             -        feed sink    unusable: ",
        "astray           -        sink         unusable: it is a feed source; put it into the \
         folder `feed-sources` of the plugin directory",
    ] {
        assert!(listed.lines().any(|found| found.starts_with(line)), "{line}: {listed}");
    }
    let listed = operator.says("plugins list --json --plugin-dir plugins").expect(0).json();
    let kinds = |name: &str| {
        let all = listed["plugins"].as_array().unwrap().iter();
        let all = all.filter(|plugin| plugin["name"] == name);
        all.map(|plugin| plugin["world"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("file"), ["sink", "feed-source", "feed-sink"]);
    assert_eq!((kinds("mine"), kinds("junk")), (vec!["feed-source"], vec!["feed-sink"]));

    let shown = |arguments: &str| {
        let command = format!("plugins inspect {arguments} --plugin-dir plugins");
        operator.says(&command).expect(0).stdout
    };
    let sink = shown("file");
    assert!(sink.contains("world              sink, contract 0.1.0"), "{sink}");
    let also = "also               feed source and feed sink, of the same name (`--kind` shows it)";
    assert!(sink.contains(also) && !sink.contains("wants acks"), "{sink}");
    for (arguments, world, words) in [
        ("file --kind feed-source", "feed source", "wants acks         no"),
        ("jetstream --kind feed-source", "feed source", "wants acks         yes"),
        ("jetstream --kind feed-sink", "feed sink", "dedup window       "),
        ("mine", "feed source", "source             plugins/feed-sources/mine.wasm"),
        ("plugins/astray.wasm", "feed source", "name               astray"),
    ] {
        let shown = shown(arguments);
        assert!(shown.contains(&format!("world              {world}, ")), "{arguments}: {shown}");
        assert!(shown.contains(words) && !shown.contains("streams  "), "{arguments}: {shown}");
        assert!(shown.contains("settings schema\n{"), "{arguments}: {shown}");
    }
    let report = operator.says("plugins inspect file --kind feed-sink --json").expect(0).json();
    assert_eq!((&report["name"], &report["world"]), (&json!("file"), &json!("feed-sink")));
    assert_eq!(report["also"], json!(["sink", "feed-source"]));
    assert_eq!(report["sinks"], json!([]), "the sinks of the configuration run another");
    let ended = operator.says("plugins inspect plugins/astray.wasm --kind sink").expect(1);
    assert!(ended.stderr.contains("`--kind` goes with a name"), "{ended:?}");
}

#[test]
fn inspecting_what_is_not_there_or_not_a_plugin_exits_with_69() {
    let operator = Operator::new();
    operator.write("wasink-data/plugins/junk.wasm", "");
    for name in ["nope", "File", "nope --kind feed-sink"] {
        let ended = operator.says(&format!("plugins inspect {name}")).expect(69);
        let word = name.split(' ').next().unwrap();
        assert!(
            ended.stderr.starts_with(&format!("wasink: no plugin is named `{word}`; there are: "))
        );
    }
    let ended = operator.says("plugins inspect ../file").expect(69);
    assert!(ended.stderr.contains("`../file`: it can't be read: "), "{ended:?}");
    let ended = operator.says("plugins inspect junk").expect(69);
    assert!(ended.stderr.contains("junk.wasm"), "{ended:?}");
}

#[test]
fn a_plugin_of_a_directory_goes_before_a_bundled_one() {
    let operator = Operator::new();
    operator.write("plugins/file.wasm", "not WebAssembly");
    let ended = operator.feed("run --plugin-dir plugins", "").expect(69);
    assert!(ended.stderr.contains("`plugins/file.wasm`"), "{ended:?}");
}
