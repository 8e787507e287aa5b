//! A secret is nowhere to be seen: each output of the command is searched for one.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasink_guest::testing::http::{Receiver, Reply};

use super::operator::{Operator, Running, end};
use super::service::{Client, SOCKET, serve};

const PLANTED: &str = "pl4nted-s3cret-0f-the-t3st";

/// What the secret looks like in any of its disguises.
fn disguises() -> Vec<String> {
    let basic = STANDARD.encode(format!("meter:{PLANTED}"));
    vec![PLANTED.to_owned(), STANDARD.encode(PLANTED), basic]
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for disguise in disguises() {
        assert!(!text.contains(&disguise), "{what} has the secret:\n{text}");
    }
}

fn configure(operator: &Operator, receiver: &Receiver) {
    operator.write("token", PLANTED);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(operator.path("token"), private).unwrap();
    let origin = receiver.url("/").origin();
    operator.write(
        "wasink.toml",
        format!(
            "listen.http = ''\nlog = {{ level = 'debug', format = 'json' }}\n\
             [usage]\nenabled = false\n\
             [[secret]]\nname = 'by-file'\nfile = 'token'\n\
             [[secret]]\nname = 'by-variable'\nenvironment = 'PLANTED_SECRET'\n\
             [[secret]]\nname = 'by-program'\ncommand = ['sh', '-c', 'cat token; cat token >&2']\n\
             [[sink]]\nname = 'bearer'\nplugin = 'http'\nstreams = ['usage']\nbatch.age = '0s'\n\
             settings = {{ url = '{origin}/bearer' }}\n\
             [[sink.grants.http]]\norigin = '{origin}'\nbearer = 'by-file'\n\
             [[sink]]\nname = 'basic'\nplugin = 'http'\nstreams = ['usage']\nbatch.age = '0s'\n\
             settings = {{ url = '{origin}/basic' }}\n\
             [[sink.grants.http]]\norigin = '{origin}'\nuser = 'meter'\npassword = 'by-variable'\n\
             [[sink]]\nname = 'signed'\nplugin = 'http'\nstreams = ['usage']\nbatch.age = '0s'\n\
             settings = {{ url = '{origin}/signed' }}\n\
             [[sink.grants.http]]\norigin = '{origin}'\nsignature = 'by-program'\n"
        ),
    );
}

/// What the admin socket answers, whole.
fn admin(operator: &Operator, path: &str) -> String {
    let mut stream = UnixStream::connect(operator.path("wasink-data/admin.sock")).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn files_below(directory: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[test]
fn a_secret_arrives_where_it_is_meant_to_and_is_in_no_output() {
    // It refuses all, and repeats what it was sent, as a debugging proxy might.
    let receiver = Receiver::new(|request| {
        let said: Vec<_> = request.headers.iter().map(|(_, value)| value.clone()).collect();
        Reply::status(500).body(if request.path == "/signed" {
            said.join(" ")
        } else {
            "no".into()
        })
    });
    let operator = Operator::new();
    configure(&operator, &receiver);
    let command = |arguments: &str| {
        let mut command = operator.wasink(arguments);
        command.env("PLANTED_SECRET", PLANTED);
        command
    };
    let mut outputs = Vec::new();
    for arguments in [
        "config",
        "config --json",
        "config --schema",
        "check",
        "check --json",
        "plugins list --json",
        "plugins inspect http",
        "plugins inspect http --json",
    ] {
        let ended = end(command(arguments), b"");
        outputs.push((arguments.to_owned(), format!("{}{}", ended.stdout, ended.stderr)));
    }
    let mut serving = operator.shell("ulimit -c unlimited; exec \"$WASINK\" serve");
    serving.env("PLANTED_SECRET", PLANTED);
    let mut running = Running::start(serving);
    running.await_word("wasink.sock");
    let mut client = Client::connect(&operator);
    let usage = "{\"rid\":\"r\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
                 \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}\n";
    assert_eq!(client.post("usage", "application/x-ndjson", usage).unwrap().0, 200);
    operator.await_json("status --json", |status| {
        let sinks = status["sinks"].as_array().unwrap();
        let tried = |sink: &&serde_json::Value| sink["state"] != "working";
        sinks.iter().filter(tried).count() == 3
    });
    for path in ["/v1/status", "/v1/plugins", "/v1/history", "/v1/nowhere"] {
        outputs.push((path.to_owned(), admin(&operator, path)));
    }
    for arguments in ["status", "status --json", "reload", "dead list", "held list"] {
        let ended = end(command(arguments), b"");
        outputs.push((arguments.to_owned(), format!("{}{}", ended.stdout, ended.stderr)));
    }
    // The kernel would write it into the working directory.
    running.signal("ABRT");
    outputs.push(("the log".to_owned(), running.end().stderr));

    // It did arrive, in each of its forms.
    let received = receiver.received();
    let sent = |path: &str| received.iter().find(|request| request.path == path).unwrap();
    let bearer = format!("Bearer {PLANTED}");
    assert_eq!(sent("/bearer").header("authorization"), Some(&*bearer));
    let basic = format!("Basic {}", STANDARD.encode(format!("meter:{PLANTED}")));
    assert_eq!(sent("/basic").header("authorization"), Some(&*basic));
    assert!(sent("/signed").header("webhook-signature").unwrap().starts_with("v1,"));

    assert!(outputs.iter().filter(|(_, text)| !text.is_empty()).count() > 12, "{outputs:#?}");
    for (what, text) in &outputs {
        assert_clean(what, text);
    }
    let mut files = Vec::new();
    files_below(&operator.path(""), &mut files);
    for file in files.iter().filter(|file| !file.ends_with("token")) {
        let content = std::fs::read(file).unwrap_or_default();
        assert_clean(&file.display().to_string(), &String::from_utf8_lossy(&content));
    }
    let dumped = files.iter().any(|file| {
        file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))
    });
    assert!(!dumped, "{files:?}");
}

#[test]
fn a_secret_that_can_t_be_read_keeps_the_sink_from_opening_and_says_why() {
    let receiver = Receiver::new(|_| Reply::status(200));
    let operator = Operator::new();
    configure(&operator, &receiver);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(operator.path("token"), open).unwrap();
    for arguments in ["check", "serve"] {
        let mut command = operator.wasink(arguments);
        command.env_remove("PLANTED_SECRET").stdin(Stdio::null());
        let ended = end(command, b"");
        assert!(ended.exit() != 0, "{ended:?}");
        for expected in [
            "sink `bearer`: secret `by-file`: everybody may read the file `token` (its mode is \
             0644): `chmod o= token`",
            "sink `basic`: secret `by-variable`: the variable `PLANTED_SECRET` is not set",
        ] {
            assert!(ended.stderr.contains(expected), "{}", ended.stderr);
        }
        assert_clean(arguments, &ended.stderr);
    }
    assert!(!operator.path(SOCKET).exists());
}

#[test]
fn a_sink_that_waited_for_its_secret_opens_once_it_is_told_to_look_again() {
    let receiver = Receiver::new(|_| Reply::status(200));
    let operator = Operator::new();
    let origin = receiver.url("/").origin();
    operator.write(
        "wasink.toml",
        format!(
            "listen.http = ''\n[usage]\nenabled = false\n\
             [[secret]]\nname = 'token'\nfile = 'token'\n\
             [[sink]]\nname = 'out'\nplugin = 'http'\nstreams = ['usage']\nbatch.age = '0s'\n\
             on_open_failure = 'degrade'\nsettings = {{ url = '{origin}/' }}\n\
             [[sink.grants.http]]\norigin = '{origin}'\nbearer = 'token'\n"
        ),
    );
    let running = serve(&operator);
    let record = "{\"rid\":\"a\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
                  \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}\n";
    let kind = "application/x-ndjson";
    assert_eq!(Client::connect(&operator).post("usage", kind, record).unwrap().0, 200);
    let state = || operator.says("status --json").expect(0).json()["sinks"][3]["reason"].clone();
    assert!(state().to_string().contains("secret `token`"));

    // Nothing else is held up by it, and it stays as it is.
    let reload = || operator.says("reload --json").expect(0).json();
    assert!(reload()["kept"].as_array().unwrap().contains(&"out".into()));
    assert!(state().to_string().contains("secret `token`"));
    // Another version of its plugin does not open without it either.
    let swap = operator.says("plugins swap http").expect(1);
    assert!(swap.stderr.contains("secret `token`: file `token`"), "{swap:?}");

    operator.write("token", PLANTED);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(operator.path("token"), private).unwrap();
    assert_eq!(reload()["changed"], serde_json::json!(["out"]));
    operator.await_json("status --json", |status| {
        let out = &status["sinks"][3];
        out["state"] == "working" && out["lanes"][0]["delivered"] == 1
    });
    let received = receiver.received();
    assert_eq!(received[0].header("authorization"), Some(&*format!("Bearer {PLANTED}")));
    running.signal("TERM");
    running.end().expect(143);
}
