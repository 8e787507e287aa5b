//! Every request, as the operator gets it.

use serde_json::json;

use super::super::client::Request;
use super::kit::{Desk, plugin, post};

#[test]
fn what_can_be_read_is_read() {
    let desk = Desk::new();
    assert_eq!(desk.get("/v1/status").json()["sinks"][0]["name"], "billing");
    assert_eq!(desk.get("/v1/plugins").json(), json!({ "plugins": [plugin("file")] }));
    assert_eq!(desk.get("/v1/history").json()["events"][0]["plugin"], "any");
    assert_eq!(desk.get("/v1/plugins/file/history?limit=7").json()["events"][0]["plugin"], "file");
    assert_eq!(desk.get("/v1/plugins/file/trial").json(), json!({ "records": 7 }));
    assert_eq!(
        desk.operator.asked(),
        ["status", "plugins", "history None 50", "history Some(\"file\") 7", "trial file"]
    );
    let head = Request { method: "HEAD", ..Request::get("/v1/status") };
    let text = String::from_utf8(desk.begin(&head).rest()).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

#[test]
fn what_can_be_done_is_done_with_what_the_body_says() {
    let desk = Desk::new();
    let requests = [
        ("/v1/plugins/file/swap", "", "swap file Directory"),
        ("/v1/plugins/file/swap", "{}", "swap file Directory"),
        ("/v1/plugins/file/swap", r#"{"to":null}"#, "swap file Directory"),
        ("/v1/plugins/file/swap", r#"{"to":"/new.wasm"}"#, "swap file File(\"/new.wasm\")"),
        ("/v1/plugins/file/swap", r#"{"to":"sha256:0a"}"#, "swap file Version(\"sha256:0a\")"),
        ("/v1/plugins/file/rollback", "", "roll back file"),
        ("/v1/reload", "", "reload"),
        (
            "/v1/plugins/file/trial",
            r#"{"kind":"shadow","records":9}"#,
            "start trial file Shadow Directory Some(9) None",
        ),
        (
            "/v1/plugins/file/trial",
            r#"{"kind":"canary","to":"2.0.0","share":0.25,"failures":3}"#,
            "start trial file Canary { share: 0.25 } Version(\"2.0.0\") None Some(3)",
        ),
        ("/v1/plugins/file/trial/promote", "", "promote file"),
        ("/v1/plugins/file/trial/abort", "", "abort file"),
        (
            "/v1/sinks/billing/dead/replay",
            r#"{"stream":"usage","positions":[5,3,5]}"#,
            "replay billing usage [3, 5]",
        ),
        (
            "/v1/sinks/billing/dead/purge",
            r#"{"stream":"events","positions":[18446744073709551615]}"#,
            "purge billing events 1 Some(18446744073709551615)",
        ),
        ("/v1/sinks/billing/held", r#"{"verdict":"resend"}"#, "end doubt billing Resend"),
        ("/v1/sinks/billing/held", r#"{"verdict":"discard"}"#, "end doubt billing Discard"),
    ];
    for (path, body, expected) in requests {
        let answer = desk.post(path, body);
        assert_eq!(answer.status, 200, "{path} {body}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(desk.operator.asked().last().unwrap(), expected, "{path} {body}");
    }
    assert_eq!(desk.operator.asked().len(), requests.len(), "each was done once");
}

#[test]
fn a_body_may_be_compressed_and_have_a_type_with_a_charset() {
    let desk = Desk::new();
    let body = zstd::encode_all(&br#"{"verdict":"resend"}"#[..], 1).unwrap();
    let request = Request::post("/v1/sinks/billing/held", body)
        .with("Content-Type", "application/json; charset=utf-8")
        .with("Content-Encoding", "zstd");
    assert_eq!(desk.send(&request).status, 200);
}

#[test]
fn very_many_positions_fit_in_a_request() {
    let desk = Desk::new();
    let positions: Vec<_> =
        (0..100_000).map(|position: u64| position + 1_000_000_000_000).collect();
    let body = json!({ "stream": "usage", "positions": positions }).to_string();
    assert!(body.len() > 1 << 20);
    let answer = desk.send(&post("/v1/sinks/billing/dead/purge", body));
    assert_eq!(answer.json(), json!({ "purged": 100_000 }));
}
