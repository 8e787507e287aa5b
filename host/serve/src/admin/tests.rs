//! Who may ask, which depends on the user that the tests run as.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use wasink_chassis::logger::TracingLogger;
use wasink_record::Stream;

use super::operator::{Operator, Refusal, Target, Trial, Verdict};
use super::{AdminServer, is_operator};

/// Does nothing, and says whether it was asked.
struct Asked(Arc<AtomicBool>);

impl Asked {
    fn answer(&self) -> Result<Value, Refusal> {
        self.0.store(true, Ordering::Relaxed);
        Ok(json!({}))
    }
}

impl Operator for Asked {
    fn status(&self) -> Value {
        self.answer().unwrap_or_default()
    }

    fn plugins(&self) -> Result<Value, Refusal> {
        self.answer()
    }

    fn history(&self, _: Option<&str>, _: usize) -> Result<Value, Refusal> {
        self.answer()
    }

    fn swap(&self, _: &str, _: &Target) -> Result<Value, Refusal> {
        self.answer()
    }

    fn roll_back(&self, _: &str) -> Result<Value, Refusal> {
        self.answer()
    }

    fn reload(&self) -> Result<Value, Refusal> {
        self.answer()
    }

    fn start_trial(&self, _: &str, _: &Trial) -> Result<Value, Refusal> {
        self.answer()
    }

    fn trial(&self, _: &str) -> Result<Value, Refusal> {
        self.answer()
    }

    fn promote(&self, _: &str) -> Result<Value, Refusal> {
        self.answer()
    }

    fn abort(&self, _: &str) -> Result<Value, Refusal> {
        self.answer()
    }

    fn replay_dead(&self, _: &str, _: Stream, _: &[u64]) -> Result<Value, Refusal> {
        self.answer()
    }

    fn purge_dead(&self, _: &str, _: Stream, _: &[u64]) -> Result<Value, Refusal> {
        self.answer()
    }

    fn end_doubt(&self, _: &str, _: Verdict) -> Result<Value, Refusal> {
        self.answer()
    }
}

/// What comes until the server closes the connection, for a request that asks to keep it.
fn ask(admits: fn(u32) -> bool, path: &str) -> (String, bool) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let asked = Arc::new(AtomicBool::new(false));
    let operator = Arc::new(Asked(asked.clone()));
    let server =
        AdminServer::start_for(&socket, admits, operator, Arc::new(TracingLogger)).unwrap();
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = r#"{"to":null}"#;
    let method = if path.ends_with("/swap") { "POST" } else { "GET" };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    if admits(0) {
        // Kept open: the answer is all that is waited for.
        while !text.ends_with("{}") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            text.push(char::from(byte[0]));
        }
    } else {
        stream.read_to_string(&mut text).unwrap();
    }
    assert_eq!(server.stop(Duration::from_secs(20)), 0);
    (text, asked.load(Ordering::Relaxed))
}

#[test]
fn a_process_of_another_user_is_refused_on_every_path_and_the_connection_closed() {
    for path in ["/v1/status", "/v1/plugins/file/swap", "/openapi.json", "/nothing"] {
        let (text, asked) = ask(|_| false, path);
        assert!(text.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{text}");
        assert!(text.contains("connection: close\r\n"), "{text}");
        assert!(text.contains("urn:wasink:problem:stranger"), "{text}");
        assert!(!asked, "{path} was done");
    }
}

#[test]
fn a_process_of_an_admitted_user_is_answered_and_the_user_is_the_one_that_connects() {
    for path in ["/v1/status", "/v1/plugins/file/swap"] {
        let (text, asked) = ask(|user| user == 0 || is_operator(user), path);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(asked);
    }
}

#[test]
fn the_user_that_runs_the_process_and_root_are_admitted_and_no_other() {
    let own = rustix::process::geteuid().as_raw();
    assert!(is_operator(own));
    assert!(is_operator(0));
    assert!(!is_operator(own + 1));
    assert!(!is_operator(65_534));
}
