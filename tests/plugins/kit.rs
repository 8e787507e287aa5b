//! What the tests of plugins share.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};
use wasink_chassis::config::PluginName;
use wasink_chassis::limits::{LimitCounts, Limits};
use wasink_chassis::logger::{Level, Line, Logger, Value};
use wasink_chassis::open_private;
use wasink_chassis::plugin::{Demands, Grants, OpenRequest, Plugins as _, SinkPlugin};
use wasink_journal::Batch;
use wasink_record::{IdSource, Stamped, Stream, Timestamp, parse_line};
use wasink_wasm::{Options, WasmPlugins};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::support::guests;

/// Long enough for a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A line of the log, kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) level: Level,
    pub(crate) sink: Option<String>,
    pub(crate) message: String,
    pub(crate) fields: Vec<(String, Value)>,
}

/// A logger that keeps all lines.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Logged>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<Logged> {
        self.0.lock().unwrap().clone()
    }
}

impl Logger for Log {
    fn log(&self, line: &Line<'_>) {
        self.0.lock().unwrap().push(Logged {
            level: line.level,
            sink: line.sink.map(str::to_owned),
            message: line.message.to_owned(),
            fields: line.fields.to_vec(),
        });
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

pub(crate) fn name(name: &str) -> PluginName {
    name.parse().unwrap()
}

/// The bytes of a guest in guest/misbehaving.
pub(crate) fn misbehaving(guest: &str) -> Vec<u8> {
    let file = format!("wasink_misbehaving_{}.wasm", guest.replace('-', "_"));
    std::fs::read(guests().join(file)).unwrap()
}

/// The bytes of a bundled sink.
pub(crate) fn bundled(name: &str) -> &'static [u8] {
    wasink_bundled::PLUGINS.iter().find(|(bundled, _)| *bundled == name).unwrap().1
}

/// The bundled plugins, and compiled code where all tests find it.
pub(crate) fn options() -> Options {
    Options {
        bundled: wasink_bundled::PLUGINS.to_vec(),
        bundled_feed_sources: wasink_bundled::FEED_SOURCES.to_vec(),
        bundled_feed_sinks: wasink_bundled::FEED_SINKS.to_vec(),
        cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        ..Options::default()
    }
}

/// As [`options`], with these directories.
pub(crate) fn looking_in(directories: &[&Path]) -> Options {
    Options { directories: directories.iter().map(PathBuf::from).collect(), ..options() }
}

/// One host with the bundled plugins and the misbehaving ones, for tests that need none of their
/// own.
pub(crate) fn host() -> &'static WasmPlugins {
    static HOST: LazyLock<WasmPlugins> = LazyLock::new(|| {
        let mut options = options();
        for guest in ["describe-garbage", "describe-panics", "describe-spins", "faulty"] {
            options.bundled.push((guest, Box::leak(misbehaving(guest).into_boxed_slice())));
        }
        WasmPlugins::new(options).unwrap()
    });
    &HOST
}

/// A request that grants nothing.
pub(crate) fn request(plugin: &str, settings: &Json) -> OpenRequest {
    OpenRequest {
        plugin: name(plugin),
        name: "under-test".to_owned(),
        node_id: "node".to_owned(),
        epoch: "epoch".to_owned(),
        demands: Demands::default(),
        settings: settings.to_string(),
        timeout: PATIENCE,
        grants: Grants::default(),
        limits: Limits::default(),
        reached: LimitCounts::default(),
        logger: Arc::new(Log::default()),
    }
}

/// A data directory and nothing else.
pub(crate) fn grant(directory: &Path) -> Grants {
    Grants { directory: Some(Arc::new(open_private(directory).unwrap())), ..Grants::default() }
}

/// The guest `faulty`, opened to do `does` on `write`.
pub(crate) fn faulty(does: &str) -> Box<dyn SinkPlugin> {
    host().open(request("faulty", &json!({ "on": "write", "does": does }))).unwrap()
}

/// A batch of these lines.
pub(crate) fn batch_of<S: AsRef<str>>(
    stream: Stream,
    position: u64,
    lines: impl IntoIterator<Item = S>,
) -> Arc<Batch> {
    static IDS: LazyLock<IdSource> = LazyLock::new(|| IdSource::new(7));
    let now = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);
    let records = lines
        .into_iter()
        .map(|line| {
            let record = parse_line(stream, line.as_ref().as_bytes(), now).unwrap();
            Stamped::new(IDS.next(now), now, record)
        })
        .collect();
    Arc::new(Batch::of(stream, position, records, "wasink/node").unwrap())
}

/// A line in the wire format of each stream, as the host writes it itself.
pub(crate) fn line(stream: Stream, n: u64) -> String {
    let at = "2026-05-20T01:02:03Z";
    match stream {
        Stream::Metering => format!(
            r#"{{"kind":"vm.compute.start","vm_id":"vm-{n}","reason":"boot","shape":{{"cpu":2}},"emitted_at":"{at}"}}"#
        ),
        Stream::Usage => format!(
            r#"{{"rid":"r-{n}","tenant":"acme","src":"http","stack":"shop","duration_ms":{n},"status":"ok","bytes_in":1,"bytes_out":2,"emitted_at":"{at}"}}"#
        ),
        Stream::Control => format!(
            r#"{{"id":0,"event_id":"e-{n}","type":"tenant.created","tenant_id":"acme","control_version":0}}"#
        ),
        Stream::Events => format!(
            r#"{{"specversion":"1.0","id":"{n}","source":"/test","type":"t","time":"{at}","datacontenttype":"application/json","data":{{"n":{n}}}}}"#
        ),
    }
}

/// A batch of `len` records, numbered from `position`.
pub(crate) fn batch(stream: Stream, position: u64, len: u64) -> Arc<Batch> {
    batch_of(stream, position, (position..position + len).map(|n| line(stream, n)))
}

/// What an answer that can't be compared says.
pub(crate) fn error<T, E: std::fmt::Display>(answer: Result<T, E>) -> String {
    match answer {
        Ok(_) => panic!("this should have failed"),
        Err(error) => error.to_string(),
    }
}

/// A component of this module in a `world probe`.
pub(crate) fn component(world: &str, module: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("wit")).unwrap();
    let package = format!("package test:probe;\n{world}");
    let package = resolve.push_str("probe.wit", &package).unwrap();
    let world = resolve.select_world(&[package], Some("probe")).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}
