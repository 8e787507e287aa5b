//! The bundled sinks, as whoever configures them meets them; the file sink has tests of its own.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wasink::{Chassis, Config};
use wasink_chassis::logger::{Level, Value};
use wasink_chassis::plugin::{Captured, OpenRequest, Plugins as _, SinkPlugin};
use wasink_record::{
    ComputeStart, ControlEvent, ControlType, Entry, Record, Stream, UsageEvent, parse_line,
};

use crate::kit::{Log, Logged, batch, batch_of, bundled, error, host, line, name, request};

const DEADLINE: Duration = Duration::from_secs(60);

/// A chassis in a directory of its own, and its log.
fn chassis(directory: &std::path::Path, toml: &str) -> (Chassis, Arc<Log>) {
    let text = format!("data_dir = '{}'\n{toml}", directory.display());
    let log = Arc::new(Log::default());
    (Chassis::open_with(&Config::from_toml(&text).unwrap(), log.clone()).unwrap(), log)
}

fn open(plugin: &str, settings: &serde_json::Value) -> Box<dyn SinkPlugin> {
    host().open(request(plugin, settings)).unwrap()
}

fn now() -> wasink_record::Timestamp {
    wasink_record::Clock::now(&wasink_record::SystemClock)
}

#[test]
fn every_bundled_sink_describes_itself_names_its_streams_and_refuses_unknown_settings() {
    let names: Vec<_> = wasink_bundled::PLUGINS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["capture", "file", "http", "jetstream", "log", "nop", "rollup", "stderr"]);
    for plugin in names {
        let description = host().describe(&name(plugin)).unwrap();
        let streams = if plugin == "rollup" { &[Stream::Usage][..] } else { &Stream::ALL[..] };
        assert_eq!(description.streams, streams, "{plugin}");
        assert!(!description.summary.is_empty() && !description.summary.contains('\n'));
        assert_eq!(description.version, env!("CARGO_PKG_VERSION"), "{plugin}");
        let schema = description.settings_schema.as_ref().unwrap();
        assert_eq!(schema["additionalProperties"], json!(false), "{plugin}");
        let settings = match plugin {
            "jetstream" => json!({ "servers": ["localhost:4222"], "no_such": 1 }),
            _ => json!({ "no_such": 1 }),
        };
        let said = error(host().open(request(plugin, &settings)));
        assert!(said.contains("no_such"), "{plugin}: {said}");
        // A client of a broker is larger than all the others together.
        let most = if plugin == "jetstream" { 4 << 20 } else { 1 << 20 };
        assert!(bundled(plugin).len() < most, "{plugin} has grown out of all proportion");
    }
}

#[test]
fn nop_takes_every_stream() {
    let mut nop = open("nop", &json!({}));
    for stream in Stream::ALL {
        assert_eq!(nop.write(&batch(stream, 0, 100)).unwrap(), []);
    }
    nop.flush().unwrap();
    assert_eq!(nop.captured().unwrap(), None);
    assert!(!nop.reset_captured().unwrap());
    nop.close().unwrap();
}

#[test]
fn capture_keeps_ids_positions_and_lines_of_every_stream_until_it_is_reset() {
    let mut capture = open("capture", &json!({}));
    for stream in Stream::ALL {
        let batch = batch(stream, 40, 3);
        capture.write(&batch).unwrap();
        let expected: Vec<_> = batch
            .records()
            .unwrap()
            .zip(40..)
            .map(|(stamped, n)| Captured { id: stamped.id, position: n, line: line(stream, n) })
            .collect();
        assert_eq!(capture.captured().unwrap().unwrap(), expected);
        assert!(capture.reset_captured().unwrap());
        assert_eq!(capture.captured().unwrap(), Some(Vec::new()));
    }
}

#[test]
fn through_the_chassis_every_record_has_an_id_of_version_7_and_the_next_position() {
    let directory = tempfile::tempdir().unwrap();
    let (chassis, _) = chassis(
        directory.path(),
        "[usage]\nsink = 'capture'\n[[sink]]\nname = 'all'\nplugin = 'capture'\n\
         streams = ['metering', 'control']\ngrants.directory = true\n",
    );
    for n in 0..5 {
        chassis.usage().emit(UsageEvent::builder(format!("r-{n}"), "acme", "http", "shop").build());
        chassis
            .metering()
            .emit(Entry::vm_compute_start(format!("vm-{n}"), ComputeStart::Boot).build().unwrap());
        chassis.control().emit(
            ControlEvent::builder(format!("e-{n}"), ControlType::TenantCreated).build().unwrap(),
        );
    }
    let wait = |sink: &str, count: usize| loop {
        let kept = chassis.captured(sink).unwrap();
        if kept.len() >= count {
            return kept;
        }
        std::thread::yield_now();
    };
    let usage = wait("usage", 5);
    let all = wait("all", 10);
    for kept in usage.iter().chain(&all) {
        let bytes = kept.id.as_bytes();
        assert_eq!((bytes[6] >> 4, bytes[8] >> 6), (7, 0b10), "{}", kept.id);
    }
    let mut ids: Vec<_> = usage.iter().chain(&all).map(|kept| kept.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 15, "no id comes twice");
    assert_eq!(usage.iter().map(|kept| kept.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(usage.is_sorted_by_key(|kept| kept.id), "ids rise with positions");
    for (n, kept) in usage.iter().enumerate() {
        let Ok(Record::Usage(event)) = parse_line(Stream::Usage, kept.line.as_bytes(), now())
        else {
            panic!("{}", kept.line)
        };
        assert_eq!(event.rid(), format!("r-{n}"));
    }
    for prefix in ["{\"kind\":", "{\"id\":"] {
        let of_stream = all.iter().filter(|kept| kept.line.starts_with(prefix));
        assert_eq!(of_stream.map(|kept| kept.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }
    assert!(chassis.reset_captured("usage"));
    assert_eq!(chassis.captured("usage"), Some(Vec::new()));
    assert_eq!(chassis.captured("no-such-sink"), None);
    assert_eq!(chassis.close(DEADLINE).pending(), 0);
}

/// The lines that `log` makes of these records, at its sink.
fn logged(stream: Stream, lines: &[String]) -> Vec<Logged> {
    let log = Arc::new(Log::default());
    let request = OpenRequest { logger: log.clone(), ..request("log", &json!({})) };
    let mut sink = host().open(request).unwrap();
    assert_eq!(sink.write(&batch_of(stream, 0, lines)).unwrap(), []);
    log.lines()
}

fn fields(fields: &[(&str, Value)]) -> Vec<(String, Value)> {
    fields.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect()
}

#[test]
fn log_writes_a_usage_record_with_all_its_keys_in_their_order_and_types() {
    let line = r#"{"rid":"r-1","tenant":"acme","src":"compute","stack":"shop/api/resize","duration_ms":12,"status":"error","bytes_in":3,"bytes_out":4,"mem_bytes":5,"fuel":6,"billable":false,"emitted_at":"2026-05-20T01:02:03Z"}"#;
    let expected = Logged {
        level: Level::Info,
        sink: Some("under-test".to_owned()),
        message: "usage".to_owned(),
        fields: fields(&[
            ("rid", "r-1".into()),
            ("tenant", "acme".into()),
            ("src", "compute".into()),
            ("stack", "shop/api/resize".into()),
            ("duration_ms", Value::Signed(12)),
            ("status", "error".into()),
            ("bytes_in", Value::Signed(3)),
            ("bytes_out", Value::Signed(4)),
            ("mem_bytes", Value::Signed(5)),
            ("fuel", Value::Signed(6)),
            ("billable", false.into()),
        ]),
    };
    assert_eq!(logged(Stream::Usage, &[line.to_owned()]), [expected]);
}

#[test]
fn log_leaves_out_what_a_usage_record_does_not_have() {
    let line = r#"{"rid":"r-1","tenant":"","src":"http","stack":"shop","duration_ms":0,"status":"ok","bytes_in":0,"bytes_out":0,"emitted_at":"2026-05-20T01:02:03Z"}"#;
    let expected = Logged {
        level: Level::Info,
        sink: Some("under-test".to_owned()),
        message: "usage".to_owned(),
        fields: fields(&[
            ("rid", "r-1".into()),
            ("tenant", "".into()),
            ("src", "http".into()),
            ("stack", "shop".into()),
            ("duration_ms", Value::Signed(0)),
            ("status", "ok".into()),
            ("bytes_in", Value::Signed(0)),
            ("bytes_out", Value::Signed(0)),
        ]),
    };
    assert_eq!(logged(Stream::Usage, &[line.to_owned()]), [expected]);
}

#[test]
fn log_writes_the_reason_of_a_refusal_where_there_is_one() {
    let denied = |reason: &str| {
        let record =
            UsageEvent::builder("r", "acme", "http", "shop").denied(reason).emitted_at(now());
        let mut line = Vec::new();
        Record::from(record.build()).encode(&mut line);
        String::from_utf8(line).unwrap()
    };
    let lines = logged(Stream::Usage, &[denied("quota"), denied("")]);
    let tail = |n: usize| lines[n].fields[8..].to_vec();
    assert_eq!(
        tail(0),
        fields(&[
            ("admission_denied", true.into()),
            ("admission_reason", "quota".into()),
            ("billable", false.into()),
        ])
    );
    assert_eq!(tail(1), fields(&[("admission_denied", true.into()), ("billable", false.into())]));
}

#[test]
fn log_writes_the_services_own_tenant_at_debug_and_no_tenant_at_info() {
    let of = |tenant: &str| line(Stream::Usage, 1).replace("acme", tenant);
    let lines = logged(Stream::Usage, &[of("_sys"), of(""), of("acme"), of("_system")]);
    let levels: Vec<_> = lines.iter().map(|line| line.level).collect();
    assert_eq!(levels, [Level::Debug, Level::Info, Level::Info, Level::Info]);
}

#[test]
fn log_writes_records_of_other_streams_as_json_under_the_streams_name() {
    for stream in [Stream::Metering, Stream::Control, Stream::Events] {
        let lines = logged(stream, &[line(stream, 1), line(stream, 2)]);
        let expected = [1, 2].map(|n| Logged {
            level: Level::Info,
            sink: Some("under-test".to_owned()),
            message: stream.to_string(),
            fields: fields(&[("record", line(stream, n).into())]),
        });
        assert_eq!(lines, expected);
    }
}

#[test]
fn through_the_chassis_usage_goes_to_the_log_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (chassis, log) = chassis(directory.path(), "");
    chassis.usage().emit(UsageEvent::builder("r-1", "acme", "http", "shop").build());
    assert_eq!(chassis.close(DEADLINE).pending(), 0);
    let lines = log.lines();
    let usage: Vec<_> = lines.iter().filter(|line| line.message == "usage").collect();
    assert_eq!(usage.len(), 1, "{lines:?}");
    assert_eq!(usage[0].sink.as_deref(), Some("usage"));
    assert_eq!(usage[0].fields[0], ("rid".to_owned(), "r-1".into()));
}

#[test]
fn stderr_writes_whole_lines_whoever_else_writes() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("wasink.toml");
    let sink = |n: u32| {
        format!(
            "[[sink]]\nname = 's{n}'\nplugin = 'stderr'\nstreams = ['usage']\ngrants.stderr = true\n\
             batch = {{ records = {}, age = '0s' }}\n",
            97 * n
        )
    };
    let text = format!("usage.sink = 'stderr'\n{}{}", sink(1), sink(2));
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--quiet", "--stream", "usage", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<_> = (0..3_000).map(|n| line(Stream::Usage, n)).collect();
    let fed = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(fed.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.ends_with('\n'));
    let mut got: Vec<_> = text.lines().collect();
    got.sort_unstable();
    let mut expected: Vec<_> = lines.iter().flat_map(|line| [line.as_str(); 3]).collect();
    expected.sort_unstable();
    assert_eq!(got, expected);
}

/// A socket that keeps each write apart shows what a pipe hides: how the lines were written.
#[test]
fn stderr_writes_a_batch_in_one_piece() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("wasink.toml");
    std::fs::write(&config, "[usage]\nsink = 'stderr'\nbatch = { records = 97 }\n").unwrap();
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--quiet", "--stream", "usage", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .stdin(Stdio::piped())
        .stderr(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .spawn()
        .unwrap();
    let lines: Vec<_> = (0..1_000).map(|n| line(Stream::Usage, n)).collect();
    let fed = lines.join("\n");
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(fed.as_bytes()).unwrap());
    let (mut got, mut buffer) = (Vec::new(), vec![0; 1 << 18]);
    while got.len() < lines.len() {
        let length = ours.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with('{') && text.ends_with("}\n"), "one write: {text}");
        got.extend(text.lines().map(str::to_owned));
    }
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(got, lines);
}
