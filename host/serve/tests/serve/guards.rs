//! Who may come in.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use wasink_serve::{Limits, Token};

use super::client::{Request, send};
use super::kit::{Bench, usage};

const TOKEN: &str = "0123456789abcdef";

fn with_token(ready: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let token = Token::from_file(&path).unwrap();
    Bench::start(Limits::default(), Arc::new(ready), |listen| {
        // All of this machine's addresses: with a token that is no error.
        listen.http = Some("0.0.0.0:0".parse().unwrap());
        listen.token = Some(token);
    })
}

#[test]
fn where_a_token_is_configured_nobody_comes_in_over_tcp_without() {
    let bench = with_token(|| Ok(()));
    let target = super::client::Target::Tcp(
        format!("127.0.0.1:{}", bench.server.http().unwrap().port()).parse().unwrap(),
    );
    let request = Request::lines("usage", usage("1"));
    for shown in ["", "Bearer", "Bearer ", "Bearer 0123456789abcdeg", "Bearer 0123456789abcde"]
        .into_iter()
        .chain(["Basic 0123456789abcdef", "0123456789abcdef", "Bearer 0123456789abcdef0"])
    {
        let answer = send(&target, &request.clone().with("Authorization", shown));
        assert_eq!((answer.status, answer.problem()), (401, "unauthorized".to_owned()), "{shown}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"wasink\""));
    }
    assert_eq!(send(&target, &request).status, 401);
    let twice = request.clone().with("Authorization", "Bearer x");
    let twice = twice.with("Authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(send(&target, &twice).status, 401);
    assert_eq!(bench.door.taken(), []);
    for scheme in ["Bearer", "bearer", "BEARER "] {
        let shown = format!("{scheme} {TOKEN}");
        assert_eq!(send(&target, &request.clone().with("Authorization", &shown)).status, 200);
    }
    // By what name it is asked, and by whom, is of no interest then.
    let named = request.clone().with("Host", "wasink.example.com").with("Origin", "http://x");
    let named = named.with("Authorization", &format!("Bearer {TOKEN}"));
    assert_eq!(send(&target, &named).status, 200);
    // The socket is guarded by its mode.
    assert_eq!(send(&bench.unix(), &request).status, 200);
}

#[test]
fn a_large_body_without_the_token_is_answered_and_not_reset() {
    let bench = with_token(|| Ok(()));
    let request = Request::lines("usage", vec![b' '; 8 << 20]);
    assert_eq!(bench.send(&request).status, 401);
}

#[test]
fn probes_need_no_token_and_are_told_no_reasons() {
    let bench = with_token(|| Err("the disk of /srv is full".to_owned()));
    for path in ["/livez", "/openapi.json"] {
        assert_eq!(bench.send(&Request::get(path)).status, 200);
    }
    let ready = Request::get("/readyz");
    let stranger = bench.send(&ready);
    assert_eq!((stranger.status, stranger.problem()), (503, "not-ready".to_owned()));
    assert_eq!(stranger.detail(), "ask with the token for the reason");
    let friend = bench.send(&ready.clone().with("Authorization", &format!("Bearer {TOKEN}")));
    assert_eq!(friend.detail(), "the disk of /srv is full");
    assert_eq!(send(&bench.unix(), &ready).detail(), "the disk of /srv is full");
    // What is not there is not told to strangers either.
    assert_eq!(bench.send(&Request::get("/metrics")).status, 401);
}

#[test]
fn the_token_is_in_no_log_line_and_in_no_debug_output() {
    let bench = with_token(|| Ok(()));
    let request = Request::lines("usage", usage("1"));
    bench.send(&request.clone().with("Authorization", &format!("Bearer {TOKEN}")));
    bench.send(&request.with("Authorization", "Bearer wrong-wrong-wrong"));
    let lines = bench.lines.all();
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| !line.contains(TOKEN) && !line.contains("wrong")), "{lines:?}");
    assert!(!format!("{:?}", bench.server).contains(TOKEN));
}

#[test]
fn without_a_token_web_pages_are_kept_out() {
    let bench = Bench::new();
    let request = Request::lines("usage", usage("1"));
    for host in
        ["example.com", "example.com:80", "localhost.example.com", "10.0.0.1", "0.0.0.0", "@"]
    {
        let answer = bench.send(&request.clone().with("Host", host));
        assert_eq!((answer.status, answer.problem()), (403, "forbidden".to_owned()), "{host}");
        assert!(answer.detail().contains("`Host`"), "{}", answer.detail());
    }
    let twice = request.clone().with("Host", "localhost").with("Host", "localhost");
    assert!([400, 403].contains(&send_raw(&bench, &twice)));
    for origin in ["http://example.com", "null", "http://localhost"] {
        let answer = bench.send(&request.clone().with("Origin", origin));
        assert_eq!((answer.status, answer.problem()), (403, "forbidden".to_owned()), "{origin}");
        assert!(answer.detail().contains("`Origin`"), "{}", answer.detail());
    }
    for path in ["/livez", "/readyz", "/openapi.json"] {
        assert_eq!(bench.send(&Request::get(path).with("Host", "example.com")).status, 403);
    }
    // The first line's name is the one that counts, where it has one.
    let absolute = Request { path: "http://example.com/v1/usage".to_owned(), ..request.clone() };
    assert_eq!(send_raw(&bench, &absolute), 403);
    assert_eq!(bench.door.taken(), []);

    let port = bench.server.http().unwrap().port();
    for host in ["127.0.0.1", "[::1]", "localhost", "LOCALHOST", "wasink.localhost"] {
        let answer = bench.send(&request.clone().with("Host", &format!("{host}:{port}")));
        assert_eq!(answer.status, 200, "{host}");
    }
    let socket = send(&bench.unix(), &request.with("Host", "x").with("Origin", "http://x"));
    assert_eq!(socket.status, 200);
}

/// The status alone.
fn send_raw(bench: &Bench, request: &Request) -> u16 {
    let mut connection = super::client::Connection::open(&bench.tcp());
    connection.write(&request.bytes()).unwrap();
    let text = String::from_utf8(connection.rest()).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}
