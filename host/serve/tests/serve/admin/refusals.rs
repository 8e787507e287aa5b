//! What is refused, by the operator and before it is asked.

use serde_json::json;
use wasink_serve::{Refusal, RefusalKind};

use super::super::client::Request;
use super::kit::{Desk, post};

#[test]
fn each_reason_of_the_operator_has_a_status_of_its_own() {
    let desk = Desk::new();
    for (kind, status, problem) in [
        (RefusalKind::NotFound, 404, "unknown"),
        (RefusalKind::Conflict, 409, "conflict"),
        (RefusalKind::Invalid, 422, "invalid"),
        (RefusalKind::Failed, 500, "failed"),
        (RefusalKind::Unsupported, 501, "unsupported"),
    ] {
        desk.operator.refuse(Refusal::new(kind, "as it is \u{1b}[2J told"));
        let answer = desk.post("/v1/plugins/file/swap", "{}");
        assert_eq!((answer.status, answer.problem().as_str()), (status, problem));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.detail(), "as it is \u{1b}[2J told");
        assert!(!answer.body.contains('\u{1b}'), "{answer:?}");
        assert_eq!(answer.json().get("operation"), None);
    }
    assert_eq!(desk.operator.asked(), [""; 0]);
}

#[test]
fn a_refusal_of_every_request_is_one_that_the_document_has() {
    let desk = Desk::new();
    let refuse = || {
        desk.operator.refuse(Refusal::new(RefusalKind::Unsupported, "not here"));
    };
    for path in ["/v1/plugins", "/v1/history", "/v1/plugins/a/history", "/v1/plugins/a/trial"] {
        refuse();
        assert_eq!(desk.get(path).status, 501, "{path}");
    }
    for (path, body) in [
        ("/v1/plugins/a/swap", ""),
        ("/v1/plugins/a/rollback", ""),
        ("/v1/reload", ""),
        ("/v1/plugins/a/trial", r#"{"kind":"shadow"}"#),
        ("/v1/plugins/a/trial/promote", ""),
        ("/v1/plugins/a/trial/abort", ""),
        ("/v1/sinks/a/dead/replay", r#"{"stream":"usage","positions":[1]}"#),
        ("/v1/sinks/a/dead/purge", r#"{"stream":"usage","positions":[1]}"#),
        ("/v1/sinks/a/held", r#"{"verdict":"resend"}"#),
    ] {
        refuse();
        assert_eq!(desk.post(path, body).status, 501, "{path}");
    }
}

#[test]
fn a_conflict_says_what_is_under_way() {
    let desk = Desk::new();
    let operation = json!({ "id": 7, "to": "2.0.0", "stage": "preparing", "since": "now" });
    let refusal = Refusal {
        operation: Some(operation.clone()),
        ..Refusal::new(RefusalKind::Conflict, "another swap is under way")
    };
    desk.operator.refuse(refusal);
    let answer = desk.post("/v1/plugins/file/swap", "{}");
    assert_eq!((answer.status, &answer.json()["operation"]), (409, &operation));
}

#[test]
fn a_body_that_is_not_what_is_expected_is_refused_with_the_place() {
    let desk = Desk::new();
    for (path, body, problem) in [
        ("/v1/plugins/file/swap", "{", "bad-body"),
        ("/v1/plugins/file/swap", "[]", "bad-body"),
        ("/v1/plugins/file/swap", r#"{"too":"1"}"#, "bad-body"),
        ("/v1/plugins/file/swap", r#"{"to":1}"#, "bad-body"),
        ("/v1/plugins/file/swap", r#"{"to":"a/b.wasm"}"#, "invalid"),
        ("/v1/plugins/file/swap", r#"{"to":"\u001b[2J"}"#, "invalid"),
        ("/v1/plugins/file/trial", "", "bad-body"),
        ("/v1/plugins/file/trial", r#"{"kind":"canary","share":2}"#, "invalid"),
        ("/v1/sinks/a/held", "{}", "bad-body"),
        ("/v1/sinks/a/held", r#"{"verdict":"forget"}"#, "bad-body"),
        ("/v1/sinks/a/dead/replay", r#"{"stream":"usage"}"#, "bad-body"),
        ("/v1/sinks/a/dead/replay", r#"{"stream":"usage","positions":[-1]}"#, "bad-body"),
        ("/v1/sinks/a/dead/purge", r#"{"stream":"sounds","positions":[]}"#, "invalid"),
    ] {
        let answer = desk.post(path, body);
        let status = if problem == "invalid" { 422 } else { 400 };
        let found = (answer.status, answer.problem());
        assert_eq!(found, (status, problem.to_owned()), "{path} {body}: {answer:?}");
    }
    assert_eq!(
        desk.post("/v1/plugins/file/swap", "{").detail(),
        "the body is not what is expected here: EOF while parsing an object at line 1 column 1"
    );
    for query in ["limit=0", "limit=1001", "most=1"] {
        let answer = desk.get(&format!("/v1/history?{query}"));
        assert_eq!((answer.status, answer.problem()), (400, "bad-query".to_owned()));
    }
    assert_eq!(desk.operator.asked(), [""; 0]);
}

#[test]
fn a_body_of_another_type_or_encoding_is_refused() {
    let desk = Desk::new();
    let plain = Request::post("/v1/plugins/file/swap", "{}");
    let form = plain.clone().with("Content-Type", "application/x-www-form-urlencoded");
    for request in [plain, form] {
        let answer = desk.send(&request);
        assert_eq!((answer.status, answer.problem()), (415, "media-type".to_owned()));
    }
    let answer = desk.send(&post("/v1/plugins/file/swap", "{}").with("Content-Encoding", "br"));
    assert_eq!((answer.status, answer.problem()), (415, "content-encoding".to_owned()));
    assert_eq!(desk.operator.asked(), [""; 0]);
}

#[test]
fn a_name_that_nothing_can_have_is_not_asked_for() {
    let desk = Desk::new();
    let long = "x".repeat(65);
    for name in ["", "A", "a_b", "..", "%1b%5b2J", "%ff", "a%2fb", &long] {
        let answer = desk.post(&format!("/v1/plugins/{name}/rollback"), "");
        assert_eq!((answer.status, answer.problem()), (404, "unknown".to_owned()), "{name}");
    }
    for path in ["/", "/v1", "/v1/usage", "/v1/plugins/", "/v1/sinks/a"] {
        let answer = desk.get(path);
        assert_eq!((answer.status, answer.problem()), (404, "not-found".to_owned()), "{path}");
    }
    assert_eq!(desk.operator.asked(), [""; 0]);
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let desk = Desk::new();
    for (method, path, allowed) in [
        ("POST", "/v1/status", "GET, HEAD"),
        ("POST", "/v1/plugins", "GET, HEAD"),
        ("DELETE", "/v1/history", "GET, HEAD"),
        ("POST", "/v1/plugins/file/history", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("PUT", "/v1/plugins/file/trial", "GET, HEAD, POST"),
        ("GET", "/v1/plugins/file/swap", "POST"),
        ("GET", "/v1/plugins/file/rollback", "POST"),
        ("GET", "/v1/reload", "POST"),
        ("GET", "/v1/plugins/file/trial/promote", "POST"),
        ("GET", "/v1/plugins/file/trial/abort", "POST"),
        ("GET", "/v1/sinks/a/dead/replay", "POST"),
        ("GET", "/v1/sinks/a/dead/purge", "POST"),
        ("GET", "/v1/sinks/a/held", "POST"),
        // Plugins may be called so.
        ("GET", "/v1/plugins/trial/swap", "POST"),
        ("GET", "/v1/plugins/history/rollback", "POST"),
    ] {
        let answer = desk.send(&Request { method, ..Request::get(path) });
        let found = (answer.status, answer.header("allow"));
        assert_eq!(found, (405, Some(allowed)), "{method} {path}");
        assert_eq!(answer.problem(), "method-not-allowed");
    }
    assert_eq!(desk.operator.asked(), [""; 0]);
}

#[test]
fn a_body_that_is_too_large_is_refused_and_that_of_dead_letters_may_be_larger() {
    let desk = Desk::new();
    let padded = |body: &str, length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let most = 64 << 10;
    let swap = "/v1/plugins/file/swap";
    assert_eq!(desk.post(swap, &padded("{}", most)).status, 200);
    let answer = desk.post(swap, &padded("{}", most + 1));
    assert_eq!((answer.status, answer.problem()), (413, "too-large".to_owned()));
    // What is small on its way and large when it is decompressed, likewise.
    let body = zstd::encode_all(padded("{}", 8 << 20).as_bytes(), 1).unwrap();
    let answer = desk.send(&post(swap, body).with("Content-Encoding", "zstd"));
    assert_eq!((answer.status, answer.problem()), (413, "too-large".to_owned()));

    let purge = "/v1/sinks/a/dead/purge";
    let letters = r#"{"stream":"usage","positions":[1]}"#;
    assert_eq!(desk.post(purge, &padded(letters, 2 << 20)).status, 200);
    assert_eq!(desk.post(purge, &padded(letters, (2 << 20) + 1)).status, 413);
    let positions: Vec<_> = (0..=100_000).collect();
    let answer =
        desk.post(purge, &json!({ "stream": "usage", "positions": positions }).to_string());
    assert_eq!((answer.status, answer.problem()), (413, "too-large".to_owned()));
    assert_eq!(answer.detail(), "a request may name 100000 positions, divide it");
}

#[test]
fn an_operation_that_breaks_off_is_an_error_and_the_next_is_done() {
    let desk = Desk::new();
    let answer = desk.post("/v1/plugins/panic/rollback", "");
    assert_eq!((answer.status, answer.problem()), (500, "internal".to_owned()));
    assert_eq!(desk.post("/v1/plugins/file/rollback", "").status, 200);
}
