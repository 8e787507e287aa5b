//! A running process that answers operators as it is told, where `wasink serve` would listen.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use wasink::logger::TracingLogger;
use wasink::record::Stream;
use wasink_serve::{AdminServer, Operator, Refusal, RefusalKind, Target, Trial, Verdict};

/// Keeps what it is asked.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<String>>>);

/// The socket, and what came.
pub(crate) struct Desk {
    _server: AdminServer,
    fake: Fake,
}

impl Desk {
    pub(crate) fn open(path: &Path) -> Self {
        let fake = Fake::default();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let operator = Arc::new(fake.clone());
        let server = AdminServer::start(path, operator, Arc::new(TracingLogger)).unwrap();
        Self { _server: server, fake }
    }

    /// What was asked since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.fake.0.lock().unwrap())
    }
}

impl Fake {
    fn does(&self, what: String, answer: Value) -> Result<Value, Refusal> {
        if what.contains("busy") {
            let operation = json!({ "stage": "preparing", "since": "\u{1b}[2J" });
            let refusal =
                Refusal::new(RefusalKind::Conflict, "another \u{1b}[2J swap is under way");
            return Err(Refusal { operation: Some(operation), ..refusal });
        }
        self.0.lock().unwrap().push(what);
        Ok(answer)
    }
}

fn plugin(name: &str) -> Value {
    json!({
        "name": name,
        "sinks": ["metering"],
        "stage": "in-charge",
        "version": { "digest": "sha256:aabbccddeeff0011", "version": "2.0.0", "path": "/new.wasm" },
        "previous": { "digest": "sha256:00112233445566", "version": "1.0.0\u{1b}", "path": null },
        "operation": null,
        "reason": null,
    })
}

impl Operator for Fake {
    fn status(&self) -> Value {
        json!({ "streams": [], "sinks": [] })
    }

    fn plugins(&self) -> Result<Value, Refusal> {
        Ok(json!({ "plugins": [plugin("file")] }))
    }

    fn history(&self, plugin: Option<&str>, limit: usize) -> Result<Value, Refusal> {
        let event = json!({
            "id": 1, "time": "2026-05-20T01:02:03Z", "plugin": "file", "sink": "metering",
            "stage": "probation", "version": null, "reason": "three \u{7} failures", "more": [1],
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
        self.does("reload".to_owned(), json!({ "added": ["audit"] }))
    }

    fn start_trial(&self, name: &str, trial: &Trial) -> Result<Value, Refusal> {
        let Trial { kind, to, records, failures } = trial;
        let what = format!("trial {name} {kind:?} {to:?} {records:?} {failures:?}");
        self.does(what, json!({}))
    }

    fn trial(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("report {name}"), json!({ "records": 7, "differences": 0 }))
    }

    fn promote(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("promote {name}"), plugin(name))
    }

    fn abort(&self, name: &str) -> Result<Value, Refusal> {
        self.does(format!("abort {name}"), json!({ "records": 7 }))
    }

    fn replay_dead(&self, sink: &str, stream: Stream, at: &[u64]) -> Result<Value, Refusal> {
        let refused = json!([{ "id": "some-id", "reason": "still \u{1b}[2J no" }]);
        let answer = json!({ "delivered": at.len() - 1, "refused": refused });
        self.does(format!("replay {sink} {stream} {at:?}"), answer)
    }

    fn purge_dead(&self, sink: &str, stream: Stream, at: &[u64]) -> Result<Value, Refusal> {
        self.does(format!("purge {sink} {stream} {at:?}"), json!({ "purged": at.len() }))
    }

    fn end_doubt(&self, sink: &str, verdict: Verdict) -> Result<Value, Refusal> {
        let ended = json!([{ "stream": "usage", "from": 3, "to": 5 }]);
        self.does(format!("held {sink} {verdict:?}"), json!({ "ended": ended }))
    }
}
