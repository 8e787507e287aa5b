//! Requests of operators, to the server itself on its Unix socket.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tempfile::TempDir;
use wasink_chassis::logger::TracingLogger;
use wasink_fuzz::{Cut, exchange, send};
use wasink_record::Stream;
use wasink_serve::{
    AdminServer, Operator, Refusal, RefusalKind, Target, Trial, TrialKind, Verdict,
};

/// A request that is always answered, on a connection that ends with it.
const GOOD: &[u8] = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// `*` stands for what the input has there.
const PATHS: [&str; 16] = [
    "/v1/status",
    "/v1/plugins",
    "/v1/history?limit=*",
    "/v1/history?*",
    "/v1/reload",
    "/v1/plugins/*/history",
    "/v1/plugins/file/history?*",
    "/v1/plugins/*/swap",
    "/v1/plugins/*/rollback",
    "/v1/plugins/*/trial",
    "/v1/plugins/file/trial/promote",
    "/v1/plugins/file/trial/abort",
    "/v1/sinks/*/dead/replay",
    "/v1/sinks/*/dead/purge",
    "/v1/sinks/*/held",
    "/*",
];

const TYPES: [&str; 4] = ["application/json", "", "text/plain", "application/json; charset=utf-8"];

/// Whether the next thing that is asked for is refused.
static REFUSES: AtomicBool = AtomicBool::new(false);

/// Does everything, unless it refuses, and checks what it is asked.
struct Clerk;

impl Clerk {
    fn does(answer: Value) -> Result<Value, Refusal> {
        if REFUSES.swap(false, Ordering::SeqCst) {
            return Err(Refusal::new(RefusalKind::Conflict, "as it was told"));
        }
        Ok(answer)
    }

    fn named(name: &str, answer: Value) -> Result<Value, Refusal> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        assert!((1..=64).contains(&name.len()) && name.bytes().all(allowed), "{name:?}");
        Self::does(answer)
    }

    fn target(target: &Target) {
        match target {
            Target::Directory => {}
            Target::File(path) => assert!(path.is_absolute(), "{path:?}"),
            Target::Version(version) => assert!(!version.is_empty() && !version.contains('/')),
        }
    }

    fn letters(name: &str, positions: &[u64]) -> Result<Value, Refusal> {
        assert!(positions.is_sorted_by(|a, b| a < b), "positions do not rise");
        Self::named(name, json!({ "purged": positions.len() }))
    }
}

impl Operator for Clerk {
    fn status(&self) -> Value {
        json!({ "streams": [], "sinks": [] })
    }

    fn plugins(&self) -> Result<Value, Refusal> {
        Self::does(json!({ "plugins": [] }))
    }

    fn history(&self, plugin: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        assert!((1..=1000).contains(&limit), "{limit}");
        Self::named(plugin.unwrap_or("any"), json!({ "events": [] }))
    }

    fn swap(&self, plugin: &str, to: &Target) -> Result<Value, Refusal> {
        Self::target(to);
        Self::named(plugin, json!({}))
    }

    fn roll_back(&self, plugin: &str) -> Result<Value, Refusal> {
        Self::named(plugin, json!({}))
    }

    fn reload(&self) -> Result<Value, Refusal> {
        Self::does(json!({ "sinks": [] }))
    }

    fn start_trial(&self, plugin: &str, trial: &Trial) -> Result<Value, Refusal> {
        Self::target(&trial.to);
        if let TrialKind::Canary { share } = trial.kind {
            assert!(share > 0.0 && share < 1.0, "{share}");
        }
        assert!(trial.records != Some(0) && trial.failures != Some(0));
        Self::named(plugin, json!({}))
    }

    fn trial(&self, plugin: &str) -> Result<Value, Refusal> {
        Self::named(plugin, json!({}))
    }

    fn promote(&self, plugin: &str) -> Result<Value, Refusal> {
        Self::named(plugin, json!({}))
    }

    fn abort(&self, plugin: &str) -> Result<Value, Refusal> {
        Self::named(plugin, json!({}))
    }

    fn replay_dead(&self, sink: &str, _: Stream, at: &[u64]) -> Result<Value, Refusal> {
        Self::letters(sink, at)
    }

    fn purge_dead(&self, sink: &str, _: Stream, at: &[u64]) -> Result<Value, Refusal> {
        Self::letters(sink, at)
    }

    fn end_doubt(&self, sink: &str, _: Verdict) -> Result<Value, Refusal> {
        Self::named(sink, json!({ "ended": [] }))
    }
}

struct Desk {
    socket: PathBuf,
    _server: AdminServer,
    _directory: TempDir,
}

fn desk() -> &'static Desk {
    static DESK: OnceLock<Desk> = OnceLock::new();
    DESK.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let server = AdminServer::start(&socket, Arc::new(Clerk), Arc::new(TracingLogger)).unwrap();
        Desk { socket, _server: server, _directory: directory }
    })
}

/// An input that begins with a capital letter is what a client sends, all of it. Of any other, the
/// first bytes say what kind of a whole request is made of the rest: a line for the path, and a body.
fn target(input: &[u8]) {
    let socket = &*desk().socket;
    let mut cut = Cut::new(input);
    if input.first().is_some_and(u8::is_ascii_uppercase) {
        exchange(socket, input);
    } else {
        whole(socket, &mut cut);
    }
    let answer = send(socket, GOOD);
    assert!(answer.is_some_and(|answer| answer.status == 200), "a good request is not answered");
}

fn whole(socket: &Path, cut: &mut Cut<'_>) {
    let path = cut.choose(&PATHS);
    let media_type = cut.choose(&TYPES);
    let flags = cut.byte();
    let method = if flags & 1 == 0 { "POST" } else { "GET" };
    REFUSES.store(flags & 2 != 0, Ordering::SeqCst);
    let gap = cut.until(b'\n');
    // What would end the line, and the request with it, is for the inputs that are a client's own.
    let fits = |byte: &&u8| byte.is_ascii_graphic();
    let gap: String = gap.iter().filter(fits).map(|&byte| char::from(byte)).collect();
    let path = path.replace('*', &gap);
    let body = cut.rest();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    if !media_type.is_empty() {
        head.push_str(&format!("Content-Type: {media_type}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let Some(answer) = send(socket, &[head.as_bytes(), body].concat()) else {
        panic!("no answer to {head}");
    };
    match answer.status {
        200 => assert!(answer.json().is_object(), "{}", answer.head),
        status => {
            assert!((400..500).contains(&status), "{head}{}", answer.head);
            if !answer.body.is_empty() {
                assert_eq!(answer.json().get("status"), Some(&status.into()), "{}", answer.head);
            }
        }
    }
}

fuzz_target!(|input: &[u8]| target(input));
