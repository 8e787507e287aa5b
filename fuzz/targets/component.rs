//! Files that are to be plugins: each is looked at, compiled, asked, opened and called.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use wasink_chassis::config::PluginName;
use wasink_chassis::limits::LimitCounts;
use wasink_chassis::logger::TracingLogger;
use wasink_chassis::plugin::{CallError, Demands, Grants, OpenRequest, Plugins as _};
use wasink_journal::Batch;
use wasink_record::{IdSource, Stamped, Stream, Timestamp, UsageEvent};
use wasink_wasm::{Limits, Options, WasmPlugins};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);

/// Long enough for a small plugin, and short enough for many.
const CALL: Duration = Duration::from_millis(300);

struct Bench {
    plugins: WasmPlugins,
    name: PluginName,
    file: PathBuf,
    batch: Arc<Batch>,
    limits: Limits,
    _directory: TempDir,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let mut limits = Limits::default();
        limits.describe_time = CALL;
        limits.memory_bytes = 16 << 20;
        limits.host_call_bytes = 4 << 20;
        let directories = vec![directory.path().to_owned()];
        let options = Options { directories, limits, ..Options::default() };
        let ids = IdSource::new(7);
        let records = (0..3).map(|n| {
            let event = UsageEvent::builder(format!("r-{n}"), "acme", "http", "shop").build();
            Stamped::new(ids.next(NOW), NOW, event.into())
        });
        let batch = Batch::of(Stream::Usage, 0, records.collect(), "wasink/fuzz").unwrap();
        Bench {
            plugins: WasmPlugins::new(options).unwrap(),
            name: PluginName::new("x").unwrap(),
            file: directory.path().join("x.wasm"),
            batch: Arc::new(batch),
            limits,
            _directory: directory,
        }
    })
}

/// The input is the file.
fn target(input: &[u8]) {
    let bench = bench();
    std::fs::write(&bench.file, input).unwrap();
    let report = match bench.plugins.report(&bench.name) {
        Ok(report) => report,
        Err(error) => return told(&error.to_string()),
    };
    assert_eq!(report.bytes, input.len() as u64);
    assert!(!report.inspection.exports.is_empty());
    let request = OpenRequest {
        plugin: bench.name.clone(),
        name: "fuzz".to_owned(),
        node_id: "node".to_owned(),
        epoch: "epoch".to_owned(),
        demands: Demands::default(),
        settings: "{}".to_owned(),
        timeout: CALL,
        grants: Grants::default(),
        limits: bench.limits,
        reached: LimitCounts::default(),
        logger: Arc::new(TracingLogger),
    };
    let mut sink = match bench.plugins.open(request) {
        Ok(sink) => sink,
        Err(error) => return told(&error.to_string()),
    };
    match sink.write(&bench.batch) {
        Ok(exceptions) => assert!(exceptions.len() <= bench.batch.len()),
        Err(error) => ended(&error),
    }
    for done in [sink.flush(), sink.close()] {
        if let Err(error) = done {
            ended(&error);
        }
    }
}

fn ended(error: &CallError) {
    told(&error.to_string());
}

fn told(text: &str) {
    assert!(!text.trim().is_empty());
    assert!(text.len() < 64 << 10, "an error of {} bytes", text.len());
}

fuzz_target!(|input: &[u8]| target(input));
