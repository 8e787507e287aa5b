//! The file sink: what is in the file, on a disk that is full, after a rotation by whomever.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use wasink_chassis::plugin::{OpenRequest, Plugins as _, SinkPlugin};
use wasink_record::Stream;

use crate::kit::{batch, error, grant, host, line, request};

fn open(directory: &Path, settings: &Json) -> Box<dyn SinkPlugin> {
    let request = request("file", settings);
    host().open(OpenRequest { grants: grant(directory), ..request }).unwrap()
}

fn lines_of(stream: Stream, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|n| line(stream, n) + "\n").collect()
}

/// Names in a directory, without those that begin with a dot, sorted.
fn names(directory: &Path) -> BTreeSet<String> {
    let names = directory.read_dir().unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}

#[test]
fn every_stream_is_written_in_its_wire_format_a_line_each() {
    for stream in Stream::ALL {
        let directory = tempfile::tempdir().unwrap();
        let mut sink = open(directory.path(), &json!({}));
        sink.write(&batch(stream, 0, 3)).unwrap();
        sink.write(&batch(stream, 3, 1)).unwrap();
        sink.close().unwrap();
        let text = std::fs::read_to_string(directory.path().join("ledger.jsonl")).unwrap();
        assert_eq!(text, lines_of(stream, 0..4));
        assert_eq!(names(directory.path()).len(), 1);
    }
}

#[test]
fn envelopes_carry_the_id_and_the_record() {
    let directory = tempfile::tempdir().unwrap();
    let settings = json!({ "path": "a/b.jsonl", "encoding": "cloudevents-jsonl" });
    let batch = batch(Stream::Usage, 0, 2);
    open(directory.path(), &settings).write(&batch).unwrap();
    let text = std::fs::read_to_string(directory.path().join("a/b.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 2);
    for ((envelope, stamped), n) in text.lines().zip(batch.records().unwrap()).zip(0..) {
        let envelope: Json = serde_json::from_str(envelope).unwrap();
        assert_eq!(envelope["specversion"], "1.0");
        assert_eq!(envelope["id"], stamped.id.to_string());
        assert_eq!(envelope["type"], "wasink.usage");
        assert_eq!(envelope["source"], "wasink/node");
        let data: Json = serde_json::from_str(&line(Stream::Usage, n)).unwrap();
        assert_eq!(envelope["data"], data);
    }
}

#[test]
fn a_path_that_leads_out_is_refused_at_open() {
    let directory = tempfile::tempdir().unwrap();
    for path in ["../ledger.jsonl", "/etc/ledger.jsonl", "a/../../b"] {
        let request = request("file", &json!({ "path": path }));
        let request = OpenRequest { grants: grant(directory.path()), ..request };
        assert_eq!(
            error(host().open(request)),
            format!(
                "plugin `file` refused to open as `under-test`: setting `path`: `{path}` leads out \
                 of the sink's data directory; name a file in it, and choose the directory itself \
                 by the sink's `directory` in the configuration"
            )
        );
    }
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew_under_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let mut sink = open(directory.path(), &json!({}));
    sink.write(&batch(Stream::Usage, 0, 2)).unwrap();
    std::fs::rename(at("ledger.jsonl"), at("moved")).unwrap();
    sink.write(&batch(Stream::Usage, 2, 2)).unwrap();
    std::fs::remove_file(at("ledger.jsonl")).unwrap();
    sink.write(&batch(Stream::Usage, 4, 2)).unwrap();
    assert_eq!(std::fs::read_to_string(at("moved")).unwrap(), lines_of(Stream::Usage, 0..2));
    assert_eq!(std::fs::read_to_string(at("ledger.jsonl")).unwrap(), lines_of(Stream::Usage, 4..6));
}

#[test]
fn a_torn_line_of_an_earlier_process_is_closed_and_harms_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.jsonl");
    std::fs::write(&ledger, "{\"torn\":").unwrap();
    open(directory.path(), &json!({})).write(&batch(Stream::Usage, 0, 2)).unwrap();
    assert_eq!(
        std::fs::read_to_string(&ledger).unwrap(),
        format!("{{\"torn\":\n{}", lines_of(Stream::Usage, 0..2))
    );
}

#[test]
fn appends_of_two_instances_to_one_file_keep_lines_whole() {
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for from in [0, 10_000] {
            let directory = directory.path();
            scope.spawn(move || {
                let mut sink = open(directory, &json!({}));
                for n in 0..100 {
                    sink.write(&batch(Stream::Usage, from + n * 20, 20)).unwrap();
                }
            });
        }
    });
    let text = std::fs::read_to_string(directory.path().join("ledger.jsonl")).unwrap();
    let got: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    let expected: BTreeSet<_> =
        (0..2_000).chain(10_000..12_000).map(|n| line(Stream::Usage, n)).collect();
    assert_eq!((text.lines().count(), got), (4_000, expected));
}

#[test]
fn a_file_that_has_its_size_is_rotated_compressed_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let settings = json!({ "rotate": { "bytes": 1_000, "settle_seconds": 0, "keep": 3 } });
    let mut sink = open(directory.path(), &settings);
    // 10 records are more than 1000 bytes, so each write is rotated away by the next call. Between
    // two of them there is time for all the work on the last file, a piece a call.
    for n in 0..6 {
        sink.write(&batch(Stream::Usage, n * 10, 10)).unwrap();
        let settled = |names: &BTreeSet<String>| {
            names.iter().all(|name| name == "ledger.jsonl" || name.ends_with(".jsonl.gz"))
                && names.len() == 1 + usize::try_from(n + 1).unwrap().min(3)
        };
        let mut calls = 0;
        loop {
            sink.flush().unwrap();
            let names = names(directory.path());
            if settled(&names) {
                break;
            }
            calls += 1;
            assert!(calls < 10_000, "after {n}: {names:?}");
        }
    }
    assert_eq!(std::fs::metadata(at("ledger.jsonl")).unwrap().len(), 0);
    let rotated: Vec<_> =
        names(directory.path()).into_iter().filter(|name| name != "ledger.jsonl").collect();
    assert_eq!(rotated.len(), 3);
    for (name, n) in rotated.iter().zip(3..) {
        let (stamp, end) = name.strip_prefix("ledger-").unwrap().split_at(26);
        assert_eq!(end, ".jsonl.gz", "{name}");
        let shape: String =
            stamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "00000000T000000.000000000Z", "{name}");
        let unpacked = Command::new("gzip").arg("-dc").arg(at(name)).output().unwrap();
        assert!(unpacked.status.success(), "{name}");
        let text = String::from_utf8(unpacked.stdout).unwrap();
        assert_eq!(text, lines_of(Stream::Usage, n * 10..n * 10 + 10), "the newest are kept");
    }
}

#[test]
fn a_rotated_file_is_left_alone_until_it_has_settled() {
    let directory = tempfile::tempdir().unwrap();
    let settings = json!({ "rotate": { "bytes": 1, "settle_seconds": 3_600, "keep": 0 } });
    let mut sink = open(directory.path(), &settings);
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    for _ in 0..20 {
        sink.flush().unwrap();
    }
    let names = names(directory.path());
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".jsonl")), "{names:?}");
}

/// `wasink run`, writing usage to `data/sinks/full/ledger.jsonl`, with files ending at a size of
/// about a megabyte: what the system then says is what it says of a full disk, but for its name.
fn run_with_full_disk(directory: &Path, plugin: &str, settings: &str) -> Command {
    let config = directory.join("wasink.toml");
    let text = format!(
        "plugin_dirs = ['{}']\njournal.durability = 'memory'\n[usage]\nsink = 'nop'\n[[sink]]\nname = 'full'\n\
         plugin = '{plugin}'\nstreams = ['usage']\ngrants.directory = true\nsettings = {{ {settings} }}\n",
        directory.join("plugins").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_wasink"))
        .args(["run", "--stream", "usage", "--json", "--log-format", "json", "--config"])
        .arg(&config)
        .arg("--data-dir")
        .arg(directory.join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    const RECORDS: u64 = 12_000;
    let directory = tempfile::tempdir().unwrap();
    let own = directory.path().join("data/sinks/full");
    let mut child = run_with_full_disk(directory.path(), "file", "").spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines: Vec<_> =
        (0..RECORDS).map(|n| line(Stream::Usage, n).replace("shop", &"shop".repeat(20))).collect();
    let fed = lines.join("\n");
    let writer = std::thread::spawn(move || input.write_all(fed.as_bytes()).unwrap());

    // Whenever it is stuck, somebody makes room: moves the file away.
    let mut moved = 0;
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        if line.unwrap().contains("can't deliver, trying again") {
            std::fs::rename(own.join("ledger.jsonl"), own.join(format!("moved-{moved}"))).unwrap();
            moved += 1;
        }
    }
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(moved >= 1, "the disk was never full");

    let (mut whole, mut torn) = (Vec::new(), 0);
    for name in names(&own) {
        let text = std::fs::read_to_string(own.join(&name)).unwrap();
        for line in text.split_terminator('\n') {
            match serde_json::from_str::<Json>(line) {
                Ok(_) => whole.push(line.to_owned()),
                Err(_) => {
                    torn += 1;
                    assert!(name.starts_with("moved-") && text.ends_with(line), "{name}: {line}");
                }
            }
        }
    }
    assert!(torn <= moved, "{torn} torn lines in {moved} files");
    whole.sort_unstable();
    let mut expected = lines;
    expected.sort_unstable();
    assert_eq!(whole.len(), expected.len());
    assert!(whole == expected, "other lines than went in");
}

#[test]
fn a_guest_that_fills_the_disk_is_told_and_the_next_instance_works() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("plugins")).unwrap();
    let guest = crate::kit::misbehaving("faulty");
    std::fs::write(directory.path().join("plugins/faulty.wasm"), guest).unwrap();
    let settings = "on = 'write', does = 'fill-disk', at = 1, remember = true";
    let mut child = run_with_full_disk(directory.path(), "faulty", settings).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(line(Stream::Usage, 1).as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the disk is full: "), "{said}");
    let summary: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary.to_string().contains("\"delivered\":1"), "{summary}");
}
