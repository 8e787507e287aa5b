//! The library as a service embeds it: opening, the shared chassis, recorders, the example.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test stops at the first surprise, and tells what it measures"
)]

#[path = "support/named.rs"]
mod named;

#[path = "library/feeds.rs"]
mod feeds;
#[path = "library/swap.rs"]
mod swap;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use wasink::record::{CloudEvent, ComputeStart, ControlEvent, ControlType, Entry, UsageEvent};
use wasink::{Chassis, Config, Recorder, Shared, SinkState};

const SOON: Duration = Duration::from_secs(20);

/// A configuration that keeps everything in `directory`, with `rest` behind.
fn config(directory: &TempDir, rest: &str) -> Config {
    let data_dir = directory.path().to_str().unwrap();
    Config::from_toml(&format!("data_dir = '{data_dir}'\n{rest}")).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn usage(rid: impl Into<String>) -> UsageEvent {
    UsageEvent::builder(rid.into(), "acme", "http", "shop").build()
}

#[test]
fn every_typed_recorder_reaches_the_file_of_its_stream() {
    let directory = tempfile::tempdir().unwrap();
    let chassis = Chassis::open(&config(&directory, "[usage]\nsink = 'file'")).unwrap();
    chassis.metering().emit(Entry::vm_compute_start("vm-7", ComputeStart::Boot).build().unwrap());
    chassis.usage().emit(usage("r-1"));
    let control = ControlEvent::builder("evt_1", ControlType::TenantCreated).build().unwrap();
    chassis.control().emit(control);
    let event = CloudEvent::builder("1", "/here", "com.example.done").build().unwrap();
    chassis.events().emit(event);
    let status = chassis.close(SOON);
    assert_eq!(status.pending(), 0, "{status:#?}");

    let ledger = |stream: &str| lines(&directory.path().join(stream).join("ledger.jsonl"));
    let begins = [
        ("metering", r#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"boot","shape":{},"#),
        ("usage", r#"{"rid":"r-1","tenant":"acme","src":"http","stack":"shop","#),
        ("control", r#"{"id":0,"event_id":"evt_1","type":"tenant.created","#),
        ("events", r#"{"specversion":"1.0","id":"1","source":"/here","#),
    ];
    for (stream, begin) in begins {
        let ledger = ledger(stream);
        assert_eq!(ledger.len(), 1, "{stream}");
        assert!(ledger[0].starts_with(begin), "{stream}: {}", ledger[0]);
    }
}

#[test]
fn first_callers_at_the_same_time_open_one_chassis() {
    const CALLERS: usize = 16;
    let directory = tempfile::tempdir().unwrap();
    let shared = Shared::new();
    let (configs, barrier) = (AtomicUsize::new(0), Barrier::new(CALLERS));
    let addresses: Vec<usize> = thread::scope(|scope| {
        let caller = |number: usize| {
            let (shared, configs, barrier, directory) = (&shared, &configs, &barrier, &directory);
            scope.spawn(move || {
                barrier.wait();
                let chassis = shared.open(|| {
                    configs.fetch_add(1, Ordering::SeqCst);
                    // Each would keep its records elsewhere.
                    let path = directory.path().join(number.to_string());
                    let path = path.to_str().unwrap();
                    Config::from_toml(&format!("data_dir = '{path}'")).unwrap()
                });
                let chassis = chassis.unwrap();
                let entry = Entry::vm_compute_start(number.to_string(), ComputeStart::Boot);
                chassis.metering().emit(entry.build().unwrap());
                std::ptr::from_ref(chassis).addr()
            })
        };
        let callers: Vec<_> = (0..CALLERS).map(caller).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!(configs.into_inner(), 1, "the first caller's configuration counts");
    assert!(addresses.iter().all(|address| *address == addresses[0]));
    assert_eq!(shared.get().unwrap().close(SOON).pending(), 0);
    let opened: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().collect();
    assert_eq!(opened.len(), 1, "one data directory was made");
    assert_eq!(lines(&opened[0].path().join("metering/ledger.jsonl")).len(), CALLERS);
}

#[test]
fn a_shared_chassis_that_did_not_open_says_so_every_time() {
    let directory = tempfile::tempdir().unwrap();
    let shared = Shared::new();
    let bad = || config(&directory, "[metering]\nbackend = 'kafka'");
    let first = shared.open(bad).unwrap_err().to_string();
    assert!(first.contains("kafka") && first.contains("`file`"), "{first}");
    let again = shared.open(|| config(&directory, "")).unwrap_err().to_string();
    assert_eq!(first, again, "a better configuration comes too late");
    assert!(shared.get().is_none());
}

#[test]
fn a_recorder_that_nobody_gave_discards_and_does_not_fail() {
    let recorder = Recorder::<UsageEvent>::default();
    assert!(recorder.is_nop());
    recorder.emit(usage("r-1"));
    recorder.clone().emit_when_room(usage("r-2")).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let chassis = Chassis::open(&config(&directory, "[usage]\nenabled = false")).unwrap();
    let recorder = chassis.usage();
    assert!(recorder.is_nop());
    recorder.emit(usage("r-3"));
    assert!(chassis.status().sinks.iter().all(|sink| sink.name != "usage"));
    assert!(!chassis.metering().is_nop());
}

#[test]
fn recorders_are_shared_between_threads_and_outlive_the_chassis() {
    const THREADS: usize = 8;
    const EACH: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let chassis = Chassis::open(&config(&directory, "[usage]\nsink = 'file'")).unwrap();
    let recorder = chassis.usage();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let recorder = recorder.clone();
            scope.spawn(move || {
                for number in 0..EACH {
                    recorder.emit_when_room(usage(format!("{thread}-{number}"))).unwrap();
                }
            });
        }
    });
    let status = chassis.close(SOON);
    assert_eq!(status.pending(), 0);
    drop(chassis);
    recorder.emit(usage("late"));
    assert!(recorder.emit_when_room(usage("later")).is_err());

    let lines = lines(&directory.path().join("usage/ledger.jsonl"));
    assert_eq!(lines.len(), THREADS * EACH);
    for thread in 0..THREADS {
        let begin = format!(r#"{{"rid":"{thread}-"#);
        let of_thread = lines.iter().filter_map(|line| line.strip_prefix(&begin));
        let numbers: Vec<usize> =
            of_thread.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect();
        assert_eq!(numbers, (0..EACH).collect::<Vec<_>>(), "thread {thread}, in its order");
    }
}

#[test]
fn a_sink_that_does_not_open_stops_the_start_or_is_left_out_as_configured() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("taken"), "a file").unwrap();
    let path = directory.path().join("taken/ledger.jsonl");
    let metering = |policy: &str| {
        format!(
            "[metering]\non_open_failure = '{policy}'\n[metering.file]\npath = '{}'",
            path.display()
        )
    };
    let error = Chassis::open(&config(&directory, &metering("refuse"))).unwrap_err().to_string();
    assert!(error.starts_with("sink `metering`: can't open its directory"), "{error}");

    let chassis = Chassis::open(&config(&directory, &metering("degrade"))).unwrap();
    let status = chassis.status();
    let sink = status.sinks.iter().find(|sink| sink.name == "metering").unwrap();
    assert!(matches!(&sink.state, SinkState::Degraded { reason } if reason.contains("taken")));
    chassis.metering().emit(Entry::vm_compute_start("vm-7", ComputeStart::Boot).build().unwrap());
    let status = chassis.close(SOON);
    let lanes = |name: &str| status.sinks.iter().find(|sink| sink.name == name).unwrap().lanes[0];
    assert_eq!((lanes("metering").pending, status.pending()), (1, 1), "kept for it");
    assert_eq!(lanes("events").pending, 0, "the others work");
}

/// Sends one request and returns the answer's body.
fn get(address: &str, path: &str, tenant: &str, rid: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nx-tenant: {tenant}\r\nx-request-id: {rid}\r\n\
         connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
}

#[cfg(unix)]
#[test]
fn the_axum_example_meters_every_request_and_delivers_before_it_ends() {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().parent().unwrap().join("examples/axum-service");
    assert!(
        example.exists(),
        "run `cargo test` as a whole, or `cargo build --example axum-service`"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("wasink.toml"), "[usage]\nsink = 'file'\n").unwrap();
    let mut service = Command::new(example)
        .arg("127.0.0.1:0")
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(service.stdout.take().unwrap()).lines();
    let listening = output.next().unwrap().unwrap();
    let address = listening.strip_prefix("listening on http://").expect("the first line");

    for number in 0..20 {
        let body = get(address, &format!("/hello/{number}"), "acme", &format!("r-{number}"));
        assert_eq!(body, format!("hello, {number}\n"));
    }
    get(address, "/nowhere", "other", "r-20");

    let killed = Command::new("kill").args(["-INT", &service.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(service.wait().unwrap().success());
    assert_eq!(output.next().unwrap().unwrap(), "0 usage events are not delivered");

    let lines = lines(&directory.path().join("wasink-data/usage/ledger.jsonl"));
    assert_eq!(lines.len(), 21);
    for (number, line) in lines.iter().enumerate() {
        let tenant = if number < 20 { "acme" } else { "other" };
        let begin = format!(
            r#"{{"rid":"r-{number}","tenant":"{tenant}","src":"http","stack":"hello","duration_ms":"#
        );
        assert!(line.starts_with(&begin), "{line}");
        assert!(line.contains(r#""status":"ok""#), "{line}");
    }
    assert!(lines[0].contains(r#""bytes_out":9,"#), "{}", lines[0]);
}

#[test]
fn a_chassis_is_opened_closed_and_dropped_within_asynchronous_code() {
    let directory = tempfile::tempdir().unwrap();
    let config = config(&directory, "[usage]\nsink = 'file'");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pending = runtime.block_on(async {
        let chassis = Chassis::open(&config).unwrap();
        chassis.usage().emit(usage("r-1"));
        chassis.close(SOON).pending()
    });
    assert_eq!(pending, 0);
    assert_eq!(lines(&directory.path().join("usage/ledger.jsonl")).len(), 1);
}
