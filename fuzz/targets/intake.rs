//! Requests with records, to the server itself on a Unix socket.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use wasink_fuzz::{Answer, Cut, exchange, send};
use wasink_record::{IdSource, Record, RecordId, Stream, Timestamp, parse_line};
use wasink_serve::{Appending, Door, Limits, Listen, Parts, Server};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);

/// A request that is always taken, on a connection that ends with it.
const GOOD: &[u8] = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
    Content-Type: application/json\r\nContent-Length: 56\r\n\r\n\
    {\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"t\"}\n";

const PATHS: [&str; 8] = [
    "/v1/metering",
    "/v1/usage",
    "/v1/control",
    "/v1/events",
    "/v1/none",
    "/readyz",
    "/v1/usage?x=1",
    "/v1/us%61ge",
];

const TYPES: [&str; 12] = [
    "application/x-ndjson",
    "application/json",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "application/jsonl",
    "application/json; charset=utf-8",
    "text/plain",
    "text/plain; charset=latin-1",
    "application/vnd.acme+json",
    "application/cloudevents+xml",
    "application/json;charset=\"UTF-8\";x=y",
    "",
];

/// What a request may not say by itself: the client says it.
const OWN: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "host",
    "transfer-encoding",
];

/// How many records were taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Takes everything, and checks that it can be read back.
struct Sieve(IdSource);

impl Door for Sieve {
    fn append(&self, stream: Stream, records: Vec<(Option<RecordId>, Record)>) -> Appending {
        let mut line = Vec::new();
        for (_, record) in &records {
            assert_eq!(record.stream(), stream);
            line.clear();
            record.encode(&mut line);
            // Only what comes with a time was not given one, and the clock is later than this.
            let again = parse_line(stream, &line, NOW);
            assert!(again.is_ok(), "{again:?}: {}", line.escape_ascii());
        }
        TAKEN.fetch_add(records.len(), Ordering::SeqCst);
        let ids = records.iter().map(|(id, _)| id.unwrap_or_else(|| self.0.next(NOW)));
        let ids = ids.collect();
        Box::pin(async move { Ok(ids) })
    }
}

struct Bench {
    socket: PathBuf,
    _server: Server,
    _directory: TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let listen = Listen { socket: Some(socket.clone()), ..Listen::default() };
        // Small enough to be reached by small inputs.
        let limits = Limits {
            body_bytes: 4 << 10,
            decoded_bytes: 16 << 10,
            record_bytes: 1 << 10,
            records: 32,
            told_errors: 4,
            keys: 4,
            ..Limits::default()
        };
        let parts = Parts::new(Sieve(IdSource::new(7)));
        let server = Server::start(&listen, limits, &parts).unwrap();
        Bench { socket, _server: server, _directory: directory }
    })
}

/// An input that begins with a capital letter is what a client sends, all of it. Of any other, the
/// first bytes say what kind of a whole request is made of the rest.
fn target(input: &[u8]) {
    let socket = &*bench().socket;
    let mut cut = Cut::new(input);
    if input.first().is_some_and(u8::is_ascii_uppercase) {
        exchange(socket, input);
    } else {
        whole(socket, &mut cut);
    }
    let answer = send(socket, GOOD);
    let taken = answer.filter(|answer| answer.status == 200);
    assert!(taken.is_some_and(|answer| ids(&answer) == 1), "a good request is not taken any more");
}

fn ids(answer: &Answer) -> usize {
    let json = answer.json();
    let ids = json.get("ids").and_then(serde_json::Value::as_array).unwrap();
    assert!(ids.iter().all(|id| id.as_str().unwrap().parse::<RecordId>().is_ok()));
    ids.len()
}

fn whole(socket: &Path, cut: &mut Cut<'_>) {
    let path = cut.choose(&PATHS);
    let media_type = cut.choose(&TYPES);
    let coding = cut.byte() % 6;
    let has_headers = cut.byte() % 2 == 1;
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if !media_type.is_empty() {
        head.push_str(&format!("Content-Type: {media_type}\r\n"));
    }
    // Lines up to an empty one.
    while has_headers {
        let line = String::from_utf8_lossy(cut.until(b'\n'));
        let Some((name, value)) = line.split_once(':') else { break };
        if !OWN.contains(&name.trim().to_ascii_lowercase().as_str()) {
            head.push_str(&format!("{name}:{value}\r\n"));
        }
    }
    let body = cut.rest();
    let body = match coding {
        1 | 3 => {
            head.push_str("Content-Encoding: gzip\r\n");
            if coding == 1 { gzip(body) } else { body.to_vec() }
        }
        2 | 4 => {
            head.push_str("Content-Encoding: zstd\r\n");
            if coding == 2 { zstd::encode_all(body, 1).unwrap() } else { body.to_vec() }
        }
        _ => body.to_vec(),
    };
    let mut request;
    if coding == 5 {
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        request = head.into_bytes();
        for chunk in body.chunks(100) {
            write!(request, "{:x}\r\n", chunk.len()).unwrap();
            request.extend_from_slice(chunk);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
    } else {
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        request = head.into_bytes();
        request.extend_from_slice(&body);
    }
    let before = TAKEN.load(Ordering::SeqCst);
    let Some(answer) = send(socket, &request) else {
        assert!(has_headers, "no answer to a request in order");
        return;
    };
    let taken = TAKEN.load(Ordering::SeqCst) - before;
    match answer.status {
        200 if path.starts_with("/v1/") => {
            let replayed = answer.head.contains("idempotent-replayed: true");
            assert_eq!(taken, if replayed { 0 } else { ids(&answer) }, "{}", answer.head);
        }
        status => {
            assert!((400..500).contains(&status), "{}", answer.head);
            assert_eq!(taken, 0, "what was taken is not told: {}", answer.head);
            // What is no HTTP is refused without a word.
            if !answer.body.is_empty() {
                assert_eq!(answer.json().get("status"), Some(&status.into()), "{}", answer.head);
            }
        }
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fuzz_target!(|input: &[u8]| target(input));
