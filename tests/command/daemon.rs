//! Commands that ask a running process: one that answers as it is told, and `wasink serve` itself.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use serde_json::json;
use wasink::Config;
use wasink::record::Stream;

use super::desk::Desk;
use super::operator::Operator;
use super::service::{Client, serve};
use crate::support;

/// Where it listens, where nothing else is configured.
const SOCKET: &str = "wasink-data/admin.sock";

/// Every command that can do nothing without a running process.
const COMMANDS: [&str; 11] = [
    "status",
    "status --watch",
    "reload",
    "plugins swap file",
    "plugins rollback file",
    "plugins history",
    "trial start file --shadow",
    "trial start file --canary 0.5",
    "trial report file",
    "trial promote file",
    "trial abort file",
];

fn desk(operator: &Operator) -> Desk {
    Desk::open(&operator.path(SOCKET))
}

fn usage(rid: &str) -> String {
    format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    )
}

#[test]
fn without_a_running_process_every_command_says_so_and_leaves_nothing_behind() {
    let operator = Operator::new();
    for command in COMMANDS {
        for json in ["", " --json"] {
            let ended = operator.says(&format!("{command}{json}")).expect(1);
            assert_eq!(
                ended.stderr,
                "wasink: no wasink is serving with this configuration: nothing listens on \
                 `wasink-data/admin.sock`\n"
            );
            assert_eq!(ended.stdout, "");
        }
    }
    assert!(!operator.path("wasink-data").exists());
    operator.write("wasink.toml", "listen.admin = ''\n");
    let ended = operator.says("status").expect(1);
    assert!(ended.stderr.ends_with("configuration: `listen.admin` is empty\n"), "{ended:?}");
    // What does without one does so still.
    operator.says("plugins list").expect(0);
}

#[test]
fn each_command_asks_for_what_it_says_and_tells_what_came_of_it() {
    let operator = Operator::new();
    let desk = desk(&operator);
    let here = std::fs::canonicalize(operator.path("")).unwrap();
    let file = format!("swap file File({:?})", here.join("new.wasm"));
    let dotted = format!("swap file File({:?})", here.join("new"));
    let changed = "file: in charge, 2.0.0 aabbccddeeff, before it 1.0.0\\u{1b} 001122334455\n";
    for (command, asked, told) in [
        ("plugins swap file", "swap file Directory", changed),
        ("plugins swap file new.wasm", &file, changed),
        ("plugins swap file ./new", &dotted, changed),
        ("plugins swap file 1.2.0", "swap file Version(\"1.2.0\")", changed),
        ("plugins rollback file", "roll back file", changed),
        (
            "plugins history",
            "history None 50",
            "2026-05-20T01:02:03Z file at metering: probation: three \\u{7} failures\n",
        ),
        (
            "plugins history file --limit 7",
            "history Some(\"file\") 7",
            "2026-05-20T01:02:03Z file at metering: probation: three \\u{7} failures\n",
        ),
        ("reload", "reload", "added              [\"audit\"]\n"),
        ("trial start file --shadow", "trial file Shadow Directory None None", "done\n"),
        (
            "trial start file --canary 0.25 --to 2.0.0 --records 9 --failures 3",
            "trial file Canary { share: 0.25 } Version(\"2.0.0\") Some(9) Some(3)",
            "done\n",
        ),
        ("trial report file", "report file", "records            7\ndifferences        0\n"),
        ("trial promote file", "promote file", changed),
        ("trial abort file", "abort file", "records            7\n"),
    ] {
        let ended = operator.says(command).expect(0);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (told, ""), "{command}");
        assert_eq!(desk.asked(), [asked], "{command}");
        let ended = operator.says(&format!("{command} --json")).expect(0);
        assert!(ended.json().is_object(), "{ended:?}");
        assert!(!ended.stdout.contains('\u{1b}'), "{ended:?}");
        assert_eq!(desk.asked(), [asked], "{command}");
    }
    let status = operator.says("status --json").expect(0).json();
    assert_eq!(status, json!({ "streams": [], "sinks": [] }));
}

#[test]
fn a_refusal_is_told_to_people_and_with_json_to_programs() {
    let operator = Operator::new();
    let _desk = desk(&operator);
    let told = "wasink: another \\u{1b}[2J swap is under way; under way: \
                {\"stage\":\"preparing\",\"since\":\"\\u001b[2J\"}\n";
    let ended = operator.says("plugins swap busy").expect(1);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", told));
    let ended = operator.says("plugins swap busy --json").expect(1);
    assert_eq!(ended.stderr, told);
    let problem = ended.json();
    assert_eq!(problem["type"], "urn:wasink:problem:conflict");
    assert_eq!(problem["operation"]["stage"], "preparing");
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused_before_anybody_is_asked() {
    let operator = Operator::new();
    let desk = desk(&operator);
    for (command, word) in [
        ("trial start file", "<--shadow|--canary <SHARE>>"),
        ("trial start file --shadow --canary 0.5", "cannot be used with"),
        ("trial start file --canary 1", "above 0 and below 1"),
        ("trial start file --canary nan", "above 0 and below 1"),
        ("trial start file --canary 5%", "above 0 and below 1"),
        ("trial start file --shadow --records 0", "number would be zero"),
        ("trial report F%2f", "1 to 64 of"),
        ("plugins swap a/b", "1 to 64 of"),
        ("plugins history --limit 0", "not in 1..=1000"),
    ] {
        let ended = operator.says(command).expect(2);
        assert!(ended.stderr.contains(word), "{command}: {ended:?}");
    }
    assert_eq!(desk.asked(), [""; 0]);
}

#[test]
fn plugins_are_listed_with_what_a_running_process_has_in_charge() {
    let operator = Operator::new();
    let alone = operator.says("plugins list").expect(0).stdout;
    assert!(!alone.contains("in-charge"), "{alone}");
    let listed = operator.says("plugins list --json").expect(0).json();
    assert_eq!(listed["plugins"][0].get("in_charge"), None);

    let _desk = desk(&operator);
    let beside = operator.says("plugins list").expect(0).stdout;
    let line = |name: &str| {
        let mut lines = beside.lines().filter(|line| line.starts_with(name));
        lines.next().unwrap_or_else(|| panic!("{beside}")).to_owned()
    };
    assert!(line("file ").contains(" aabbccddeeff in-charge "), "{beside}");
    assert!(line("nop ").split_whitespace().nth(1) == Some("-"), "{beside}");
    let listed = operator.says("plugins list --json").expect(0).json();
    for plugin in listed["plugins"].as_array().unwrap() {
        let found = &plugin["in_charge"]["stage"];
        let expected = if plugin["name"] == "file" && plugin["world"] == "sink" {
            json!("in-charge")
        } else {
            json!(null)
        };
        assert_eq!(*found, expected, "{plugin}");
    }
}

#[test]
fn dead_letters_and_what_is_held_go_through_the_process_that_has_the_journal() {
    let operator = Operator::new();
    let plugins = support::plugin_directory(&[("faulty", "faulty")]);
    let text = format!(
        "plugin_dirs = ['{}']\n[usage]\nenabled = false\n[[sink]]\nname = 'billing'\n\
         plugin = 'faulty'\nstreams = ['usage']\ngrants.directory = true\nsettings = {{ on = 'write', does = 'reject' }}\n",
        plugins.path().display()
    );
    operator.write("wasink.toml", &text);
    let lines: String = ["r-1", "r-2", "r-3"].iter().map(|rid| usage(rid)).collect();
    operator.feed("run --stream usage --quiet", lines).expect(65);

    let data_dir = operator.path("wasink-data");
    let config = format!("data_dir = '{}'\n{text}", data_dir.display());
    let config = Config::from_toml(&config).unwrap();
    let journal = wasink::open_journal(&config, Stream::Usage).unwrap().unwrap();
    let lock = journal.lock().unwrap();
    // Locked, and nobody to ask.
    for command in ["dead replay", "dead purge --all", "held resend billing"] {
        let ended = operator.says(command).expect(73);
        assert!(ended.stderr.contains("open in another process"), "{ended:?}");
    }

    let desk = desk(&operator);
    let ended = operator.says("dead replay").expect(65);
    assert_eq!(ended.stdout, "2 delivered, 1 refused again\n");
    assert_eq!(ended.stderr, "wasink: usage billing some-id: still \\u{1b}[2J no\n");
    assert_eq!(desk.asked(), ["replay billing usage [0, 1, 2]"]);
    let replayed = operator.says("dead replay --position 1 --json").expect(65).json();
    let refused = json!([{ "sink": "billing", "id": "some-id", "reason": "still \u{1b}[2J no" }]);
    assert_eq!(replayed, json!({ "delivered": 0, "refused": refused }));
    assert_eq!(desk.asked(), ["replay billing usage [1]"]);
    assert_eq!(operator.says("dead purge --most 2").expect(0).stdout, "2 purged\n");
    assert_eq!(desk.asked(), ["purge billing usage [0, 1]"]);
    for (command, verdict, what) in [
        ("resend", "Resend", "will be handed over again"),
        ("discard", "Discard", "counted as delivered"),
    ] {
        let ended = operator.says(&format!("held {command} billing")).expect(0);
        assert_eq!(ended.stdout, format!("usage billing: positions 3 to 4 {what}\n"));
        assert_eq!(desk.asked(), [format!("held billing {verdict}")]);
    }
    assert_eq!(
        operator.says("held resend other").expect(0).stdout,
        "nothing is in doubt at `other`\n"
    );
    assert_eq!(desk.asked(), [""; 0]);

    // Without the lock nobody is asked, whoever listens.
    drop(lock);
    assert_eq!(
        operator.says("held resend billing").expect(0).stdout,
        "nothing is in doubt at `billing`\n"
    );
    assert_eq!(operator.says("dead purge --position 0").expect(0).stdout, "1 purged\n");
    assert_eq!(desk.asked(), [""; 0]);
}

#[test]
fn a_running_service_tells_how_it_goes() {
    let operator = Operator::new();
    operator.write("wasink.toml", "listen.http = ''\n[usage]\nsink = 'file'\n");
    let running = serve(&operator);
    let body = usage("r-1") + &usage("r-2");
    let (status, _) =
        Client::connect(&operator).post("usage", "application/x-ndjson", &body).unwrap();
    assert_eq!(status, 200);
    operator.await_lines("wasink-data/usage/ledger.jsonl", 2);

    let status = operator.says("status --json").expect(0).json();
    assert_eq!(status["pid"], running.id());
    let streams = status["streams"].as_array().unwrap();
    let usage = streams.iter().find(|stream| stream["stream"] == "usage").unwrap();
    assert_eq!(usage["accepted"], 2);
    let text = operator.says("status").expect(0).stdout;
    let head = format!("wasink {}, process {}\n", env!("CARGO_PKG_VERSION"), running.id());
    assert!(text.starts_with(&head), "{text}");
    assert!(text.contains("usage        accepted 2\n"), "{text}");
    let sink = text.lines().find(|line| line.starts_with("  usage        file ")).unwrap();
    assert!(sink.ends_with("; working"), "{text}");
    let digest = status["sinks"].as_array().unwrap();
    let digest = digest.iter().find(|sink| sink["name"] == "usage").unwrap()["version"].clone();
    let digest = digest["digest"].as_str().unwrap().trim_start_matches("sha256:");
    assert!(sink.contains(digest.get(..12).unwrap()), "{text}");
    running.signal("TERM");
    running.end().expect(143);
    assert!(!operator.path(SOCKET).exists());
}

#[test]
fn a_status_that_is_watched_is_told_again_and_again_until_nobody_is_there() {
    let operator = Operator::new();
    operator.write("wasink.toml", "listen.http = ''\n");
    let running = serve(&operator);
    let mut watch = operator.wasink("status --watch");
    let file = File::create(operator.path("watched")).unwrap();
    let watch = watch.stdout(file).stderr(Stdio::piped()).spawn().unwrap();
    let mut json = operator.wasink("status --watch --json");
    let file = File::create(operator.path("watched.json")).unwrap();
    let json = json.stdout(file).stderr(Stdio::piped()).spawn().unwrap();

    let frame = operator.says("status").expect(0).stdout.lines().count();
    let text = operator.await_lines("watched", 2 * frame);
    assert!(text.contains("accepted 0\n") && text.contains("accepted 0  0/s\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "a file is no terminal: {text}");
    for line in operator.await_lines("watched.json", 2).lines().take(2) {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap()["sinks"].is_array());
    }

    running.signal("TERM");
    running.end().expect(143);
    for watching in [watch, json] {
        let ended = watching.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(stderr.contains("wasink-data/admin.sock"), "{stderr}");
    }
}

#[test]
fn a_watched_status_that_nobody_reads_any_more_ends() {
    let operator = Operator::new();
    let _desk = desk(&operator);
    let piped =
        super::operator::end(operator.shell("$WASINK status --watch --json | head -n 1"), b"");
    assert_eq!(piped.expect(0).json(), json!({ "streams": [], "sinks": [] }));
}

#[test]
fn a_socket_that_a_killed_service_left_behind_is_nobody_and_is_taken_over() {
    let operator = Operator::new();
    operator.write("wasink.toml", "listen.http = ''\n");
    let running = serve(&operator);
    running.signal("KILL");
    drop(running.end());
    assert!(operator.path(SOCKET).exists());
    let ended = operator.says("status").expect(1);
    assert!(ended.stderr.contains("nothing listens on"), "{ended:?}");
    let running = serve(&operator);
    operator.says("status").expect(0);
    running.signal("TERM");
    running.end().expect(143);
}

#[test]
fn what_listens_there_and_is_no_wasink_is_told_apart_from_one_that_refuses() {
    let operator = Operator::new();
    operator.write("wasink-data/anything", "");
    let listener = UnixListener::bind(operator.path(SOCKET)).unwrap();
    for (said, word) in [
        ("", "it broke off, and whether it has done anything is not known"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "its length is not what it says"),
        ("SSH-2.0-OpenSSH\r\n", "invalid HTTP version"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", "EOF while parsing"),
    ] {
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                stream.write_all(said.as_bytes()).unwrap();
            });
            operator.says("reload")
        });
        let ended = ended.expect(1);
        assert!(ended.stderr.contains("gave no answer that can be read"), "{ended:?}");
        assert!(ended.stderr.contains(word), "{ended:?}");
    }
}

#[test]
fn a_service_without_the_socket_and_one_whose_path_is_too_long_say_so() {
    let operator = Operator::new();
    operator.write("wasink.toml", "listen.http = ''\nlisten.admin = ''\n");
    let running = serve(&operator);
    assert!(!operator.path(SOCKET).exists());
    running.signal("TERM");
    running.end().expect(143);
    let long = "x".repeat(120);
    operator.write("wasink.toml", format!("listen.http = ''\nlisten.admin = '{long}'\n"));
    let ended = operator.says("serve").expect(1);
    assert!(ended.stderr.contains("listen.admin: the path of the socket"), "{ended:?}");
    let ended = operator.says("status").expect(1);
    assert!(ended.stderr.contains(&long), "{ended:?}");
}
