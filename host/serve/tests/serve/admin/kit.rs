//! An operator that does as it is told, and a server in front of it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use wasink_record::Stream;
use wasink_serve::{AdminServer, Operator, Refusal, Target, Trial, Verdict};

use super::super::client::{Answer, Connection, Request, Target as Address};
use super::super::kit::{Lines, PATIENCE};
use super::document;

/// Does everything, unless it is told to refuse or to wait.
#[derive(Clone)]
pub(super) struct Fake(Arc<State>);

struct State {
    asked: Mutex<Vec<String>>,
    refusal: Mutex<Option<Refusal>>,
    open: (Mutex<bool>, Condvar),
    begun: SyncSender<()>,
}

impl Fake {
    fn new() -> (Self, Receiver<()>) {
        let (begun, announced) = sync_channel(1 << 10);
        let state = State {
            asked: Mutex::default(),
            refusal: Mutex::default(),
            open: (Mutex::new(true), Condvar::new()),
            begun,
        };
        (Self(Arc::new(state)), announced)
    }

    /// Lets whatever is asked wait until [`open`](Self::open).
    pub(super) fn shut(&self) {
        *self.0.open.0.lock().unwrap() = false;
    }

    pub(super) fn open(&self) {
        *self.0.open.0.lock().unwrap() = true;
        self.0.open.1.notify_all();
    }

    /// Refuses what is asked next.
    pub(super) fn refuse(&self, refusal: Refusal) {
        *self.0.refusal.lock().unwrap() = Some(refusal);
    }

    /// All that was done.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    fn does(&self, what: String, answer: Value) -> Result<Value, Refusal> {
        // Not every test listens.
        let _announced = self.0.begun.try_send(());
        let (open, changed) = &self.0.open;
        let waited = changed.wait_timeout_while(open.lock().unwrap(), PATIENCE, |open| !*open);
        assert!(*waited.unwrap().0, "nobody opens it");
        if let Some(refusal) = self.0.refusal.lock().unwrap().take() {
            return Err(refusal);
        }
        assert!(!what.contains("panic"), "as it is told");
        self.0.asked.lock().unwrap().push(what);
        Ok(answer)
    }
}

/// A plugin in charge.
pub(super) fn plugin(name: &str) -> Value {
    json!({
        "name": name,
        "sinks": ["billing"],
        "stage": "in-charge",
        "version": { "digest": "sha256:00", "version": "1.0.0", "path": null },
        "previous": null,
        "operation": null,
        "reason": null,
    })
}

impl Operator for Fake {
    fn status(&self) -> Value {
        let sink = json!({ "name": "billing", "plugin": "file", "state": "working" });
        let outbox = json!({
            "name": "admin", "plugin": "file", "published": 1, "pending": 0, "dead": 0,
        });
        let feed = json!({ "name": "control", "plugin": "file", "cursor": 1, "applied": 1 });
        let status = json!({
            "streams": [{ "stream": "usage" }], "sinks": [sink],
            "outboxes": [outbox], "feeds": [feed],
        });
        self.does("status".to_owned(), status).unwrap()
    }

    fn plugins(&self) -> Result<Value, Refusal> {
        self.does("plugins".to_owned(), json!({ "plugins": [plugin("file")] }))
    }

    fn history(&self, plugin: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        let event = json!({
            "id": "1", "time": "2026-05-20T01:02:03Z", "plugin": plugin.unwrap_or("any"),
            "sink": null, "stage": "in-charge", "version": null, "reason": null,
        });
        self.does(format!("history {plugin:?} {limit}"), json!({ "events": [event] }))
    }

    fn swap(&self, name: &str, to: &Target) -> Result<Value, Refusal> {
        self.does(format!("swap {name} {to:?}"), plugin(name))
    }

    fn roll_back(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("roll back {name}"), plugin(name))
    }

    fn reload(&self) -> Result<Value, Refusal> {
        self.does("reload".to_owned(), json!({ "sinks": [] }))
    }

    fn start_trial(&self, name: &str, trial: &Trial) -> Result<Value, Refusal> {
        let Trial { kind, to, records, failures } = trial;
        let what = format!("start trial {name} {kind:?} {to:?} {records:?} {failures:?}");
        self.does(what, json!({}))
    }

    fn trial(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("trial {name}"), json!({ "records": 7 }))
    }

    fn promote(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("promote {name}"), plugin(name))
    }

    fn abort(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("abort {name}"), json!({}))
    }

    fn replay_dead(&self, sink: &str, stream: Stream, at: &[u64]) -> Result<Value, Refusal> {
        let refused = json!([{ "id": "x", "reason": "no such customer" }]);
        let answer = json!({ "delivered": at.len() - 1, "refused": refused });
        self.does(format!("replay {sink} {stream} {at:?}"), answer)
    }

    fn purge_dead(&self, sink: &str, stream: Stream, at: &[u64]) -> Result<Value, Refusal> {
        let what = format!("purge {sink} {stream} {} {:?}", at.len(), at.first());
        self.does(what, json!({ "purged": at.len() }))
    }

    fn end_doubt(&self, sink: &str, verdict: Verdict) -> Result<Value, Refusal> {
        let ended = json!([{ "stream": "usage", "from": 3, "to": 5 }]);
        self.does(format!("end doubt {sink} {verdict:?}"), json!({ "ended": ended }))
    }
}

/// A server in front of a fake operator.
pub(super) struct Desk {
    pub(super) server: AdminServer,
    pub(super) operator: Fake,
    /// Says of whatever is asked that it has begun.
    pub(super) begun: Receiver<()>,
    pub(super) lines: Arc<Lines>,
    pub(super) directory: TempDir,
}

impl Desk {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (operator, begun) = Fake::new();
        let lines = Arc::new(Lines::default());
        let path = directory.path().join("admin.sock");
        let server = AdminServer::start(&path, Arc::new(operator.clone()), lines.clone()).unwrap();
        Self { server, operator, begun, lines, directory }
    }

    pub(super) fn address(&self) -> Address {
        Address::Unix(self.server.socket().to_owned())
    }

    /// Sends a request on a connection that is still to be read.
    pub(super) fn begin(&self, request: &Request) -> Connection {
        let mut connection = Connection::open(&self.address());
        connection.write(&request.bytes()).unwrap();
        connection
    }

    pub(super) fn send(&self, request: &Request) -> Answer {
        finish(self.begin(request), request)
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.send(&Request::get(path))
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Answer {
        self.send(&post(path, body))
    }
}

/// The answer of a request that was sent, which is one that the document has.
pub(super) fn finish(connection: Connection, request: &Request) -> Answer {
    let answer = Answer::read(&connection.rest());
    document::check(request, &answer);
    answer
}

pub(super) fn post(path: &str, body: impl Into<Vec<u8>>) -> Request {
    let request = Request::post(path, body);
    if request.body.is_empty() {
        return request;
    }
    request.with("Content-Type", "application/json")
}

/// Starts one more server of a fake operator.
pub(super) fn start(path: &std::path::Path) -> Result<AdminServer, wasink_serve::ServeError> {
    AdminServer::start(path, Arc::new(Fake::new().0), Arc::new(Lines::default()))
}

/// A path in `directory` that is too long for a socket.
pub(super) fn long(directory: &TempDir) -> PathBuf {
    directory.path().join("x".repeat(120))
}
