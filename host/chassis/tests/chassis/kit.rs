//! Plugins that are closures, a clock that ticks when it is read, a logger that remembers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use wasink_chassis::config::{Config, PluginName};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{
    Acknowledges, CallError, Captured, Demands, Description, Exception, Failure, Interrupter,
    OpenRequest, Origin, Plugin, PluginError, PluginVersion, Plugins, SinkPlugin,
};
use wasink_chassis::{Chassis, LaneLedger, OpenError, Parts, Status};
use wasink_journal::Batch;
use wasink_record::{Clock, Record, RecordId, Stream, Timestamp, UsageEvent};

/// Longer than anything takes that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

type Write = Box<dyn FnMut(&Batch) -> Result<Vec<Exception>, CallError> + Send>;
type Act = Box<dyn FnMut() -> Result<(), CallError> + Send>;
type Open = Box<dyn FnMut() -> Result<(), PluginError> + Send>;

/// What a plugin was called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Write(Vec<Seen>),
    Flush,
    Reopen,
    Close,
}

/// What a plugin sees of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) stream: Stream,
    pub(super) position: u64,
    pub(super) id: RecordId,
    /// The request id of a usage event.
    pub(super) rid: String,
    pub(super) emitted_at: Option<Timestamp>,
}

pub(super) fn seen(batch: &Batch) -> Vec<Seen> {
    let records = batch.records().unwrap().zip(batch.position()..);
    let seen = records.map(|(stamped, position)| {
        let (rid, emitted_at) = match &stamped.record {
            Record::Usage(event) => (event.rid().to_owned(), event.emitted_at()),
            _ => (String::new(), None),
        };
        Seen { stream: batch.stream(), position, id: stamped.id, rid, emitted_at }
    });
    seen.collect()
}

/// A sink plugin that takes everything, until it is told otherwise.
pub(super) struct Fake {
    calls: SyncSender<Call>,
    pub(super) write: Write,
    pub(super) flush: Act,
    pub(super) close: Act,
    pub(super) reopen: Open,
    pub(super) interrupter: Interrupter,
    version: PluginVersion,
    pub(super) description: Description,
}

impl Fake {
    /// One that delivers everything, and where its calls are announced, each as it begins.
    pub(super) fn new() -> (Self, Receiver<Call>) {
        let (calls, announced) = sync_channel(1 << 16);
        let fake = Self {
            calls,
            write: Box::new(|_| Ok(Vec::new())),
            flush: Box::new(|| Ok(())),
            close: Box::new(|| Ok(())),
            reopen: Box::new(|| Ok(())),
            interrupter: Interrupter::new(|| ()),
            version: PluginVersion {
                digest: "sha256:00".to_owned(),
                version: "1.0.0".to_owned(),
                path: None,
            },
            description: Description {
                version: "1.0.0".to_owned(),
                summary: String::new(),
                streams: Stream::ALL.to_vec(),
                settings_schema: None,
                acknowledges: Acknowledges::OnWrite,
                dedup_window: None,
                acceptance_window: None,
                asks: Vec::new(),
            },
        };
        (fake, announced)
    }

    pub(super) fn writing(
        write: impl FnMut(&Batch) -> Result<Vec<Exception>, CallError> + Send + 'static,
    ) -> (Self, Receiver<Call>) {
        let (fake, calls) = Self::new();
        (Self { write: Box::new(write), ..fake }, calls)
    }

    /// One whose writes wait at `gate`.
    pub(super) fn gated(gate: &Arc<Gate>) -> (Self, Receiver<Call>) {
        let (inside, outside) = (gate.clone(), gate.clone());
        let (fake, calls) = Self::writing(move |_| inside.pass().map(|()| Vec::new()));
        let interrupter = Interrupter::new(move || outside.interrupt());
        (Self { interrupter, ..fake }, calls)
    }

    fn announce(&self, call: Call) {
        // Whoever does not care what is called has let go of the other end.
        drop(self.calls.try_send(call));
    }
}

impl SinkPlugin for Fake {
    fn version(&self) -> PluginVersion {
        self.version.clone()
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(self.description.clone())
    }

    fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        self.announce(Call::Write(seen(batch)));
        (self.write)(batch)
    }

    fn flush(&mut self) -> Result<(), CallError> {
        self.announce(Call::Flush);
        (self.flush)()
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.announce(Call::Reopen);
        (self.reopen)()
    }

    fn close(&mut self) -> Result<(), CallError> {
        self.announce(Call::Close);
        (self.close)()
    }

    fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    fn captured(&mut self) -> Result<Option<Vec<Captured>>, CallError> {
        Ok(None)
    }

    fn reset_captured(&mut self) -> Result<bool, CallError> {
        Ok(false)
    }
}

/// Where a call waits until it may go on, or is interrupted.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    interrupts: u32,
}

impl Gate {
    pub(super) fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    pub(super) fn pass(&self) -> Result<(), CallError> {
        let shut = |state: &mut GateState| !state.open && state.interrupts == 0;
        let state = self.changed.wait_while(self.state.lock().unwrap(), shut).unwrap();
        if state.open { Ok(()) } else { Err(interrupted().into()) }
    }

    pub(super) fn interrupts(&self) -> u32 {
        self.state.lock().unwrap().interrupts
    }

    fn interrupt(&self) {
        self.state.lock().unwrap().interrupts += 1;
        self.changed.notify_all();
    }
}

pub(super) fn interrupted() -> PluginError {
    PluginError::Interrupted { plugin: PluginName::new("fake").unwrap(), call: "write" }
}

/// A call that waited for longer than it may.
pub(super) fn hung(call: &'static str) -> PluginError {
    PluginError::TimedOut {
        plugin: PluginName::new("fake").unwrap(),
        call,
        after: Duration::from_secs(1),
        computing: false,
        last_words: String::new(),
    }
}

pub(super) fn trap() -> PluginError {
    PluginError::Trapped {
        plugin: PluginName::new("fake").unwrap(),
        call: "write",
        reason: "unreachable".to_owned(),
        last_words: String::new(),
    }
}

/// The fakes by name, each version opened as often as it has instances; one that has none left
/// refuses to open.
#[derive(Default)]
pub(super) struct Kit {
    fakes: Mutex<BTreeMap<String, Arc<FakeVersion>>>,
    pub(super) requests: Arc<Mutex<Vec<OpenRequest>>>,
}

/// One version of a fake.
pub(super) struct FakeVersion {
    digest: String,
    description: Description,
    instances: Mutex<Vec<Fake>>,
    requests: Arc<Mutex<Vec<OpenRequest>>>,
}

impl Kit {
    pub(super) fn with(self, name: &str, fake: Fake) -> Self {
        self.deploy(name, "sha256:00", vec![fake]);
        self
    }

    /// A plugin that describes itself and does not open.
    pub(super) fn with_refusing(self, name: &str) -> Self {
        let kit = self.with(name, Fake::new().0);
        kit.fakes.lock().unwrap()[name].instances.lock().unwrap().clear();
        kit
    }

    /// Puts one there that describes itself and does not open.
    pub(super) fn deploy_refusing(&self, name: &str, digest: &str) {
        self.deploy(name, digest, vec![Fake::new().0]);
        self.fakes.lock().unwrap()[name].instances.lock().unwrap().clear();
    }

    /// Puts a version in the place of what is there: its instances are opened in this order, the
    /// first of them in the rehearsal where there is one.
    pub(super) fn deploy(&self, name: &str, digest: &str, instances: Vec<Fake>) {
        let description = instances[0].description.clone();
        let instances = Mutex::new(instances.into_iter().rev().collect());
        let (digest, requests) = (digest.to_owned(), self.requests.clone());
        let version = FakeVersion { digest, description, instances, requests };
        self.fakes.lock().unwrap().insert(name.to_owned(), Arc::new(version));
    }
}

impl Plugin for FakeVersion {
    fn version(&self) -> PluginVersion {
        let version = self.description.version.clone();
        PluginVersion { digest: self.digest.clone(), version, path: None }
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(self.description.clone())
    }

    fn open(&self, request: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        self.requests.lock().unwrap().push(request.clone());
        let refused = || PluginError::Refused {
            plugin: request.plugin.clone(),
            name: request.name.clone(),
            reason: "not today".to_owned(),
        };
        let mut fake = self.instances.lock().unwrap().pop().ok_or_else(refused)?;
        fake.version = self.version();
        Ok(Box::new(fake))
    }
}

impl Plugins for Kit {
    fn names(&self) -> Vec<PluginName> {
        let fakes = self.fakes.lock().unwrap();
        fakes.keys().map(|name| PluginName::new(name).unwrap()).collect()
    }

    fn load(
        &self,
        name: &PluginName,
        _: &Origin,
        _: &Demands,
    ) -> Result<Arc<dyn Plugin>, PluginError> {
        Ok(self.fakes.lock().unwrap()[name.as_str()].clone())
    }

    fn digest(&self, name: &PluginName) -> Result<String, PluginError> {
        Ok(self.fakes.lock().unwrap()[name.as_str()].digest.clone())
    }
}

/// A clock that moves by a millisecond each time it is read.
#[derive(Default)]
pub(super) struct Ticking(AtomicI64);

pub(super) const START: i64 = 1_700_000_000_000_000_000;

impl Ticking {
    /// Lets an hour pass at once.
    pub(super) fn pass_an_hour(&self) {
        self.0.fetch_add(3_600_000, Ordering::SeqCst);
    }
}

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        let ticks = self.0.fetch_add(1, Ordering::SeqCst);
        Timestamp::from_unix_nanos(START + ticks * 1_000_000)
    }
}

/// Remembers every line.
#[derive(Default)]
pub(super) struct Lines(Mutex<Vec<String>>);

impl Lines {
    /// Those of one level, as `sink: message {fields}`.
    pub(super) fn of(&self, level: Level) -> Vec<String> {
        let prefix = format!("{} ", level.as_str());
        let lines = self.0.lock().unwrap();
        lines.iter().filter_map(|line| Some(line.strip_prefix(&prefix)?.to_owned())).collect()
    }
}

impl Logger for Lines {
    fn log(&self, line: &Line<'_>) {
        let mut text = format!("{} {}: ", line.level.as_str(), line.sink.unwrap_or("-"));
        text.push_str(line.message);
        for (key, value) in line.fields {
            text.push_str(&format!(" {key}={value}"));
        }
        self.0.lock().unwrap().push(text);
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

/// A chassis to be opened.
pub(super) struct Bench {
    pub(super) directory: TempDir,
    pub(super) kit: Arc<Kit>,
    pub(super) lines: Arc<Lines>,
    pub(super) config: Config,
}

impl Bench {
    /// The sinks that `config` describes as `[[sink]]`, and no other.
    pub(super) fn new(kit: Kit, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("data_dir = {:?}\n{config}", directory.path().display().to_string());
        let mut config = Config::from_toml(&text).unwrap();
        config.sinks.retain(|sink| sink.path_in_config.starts_with("sink["));
        Self { directory, kit: Arc::new(kit), lines: Arc::default(), config }
    }

    pub(super) fn parts(&self) -> Parts {
        let mut parts = Parts::new(self.kit.clone());
        parts.logger = self.lines.clone();
        parts.clock = Arc::new(Ticking::default());
        parts
    }

    pub(super) fn open(&self) -> Result<Chassis, OpenError> {
        Chassis::open(&self.config, &self.parts())
    }
}

/// One sink `a` with the plugin `a`, on the usage stream, whose batches do not wait.
pub(super) fn one(fake: Fake) -> Bench {
    Bench::new(Kit::default().with("a", fake), &sink("a", "['usage']"))
}

/// A sink with the plugin of the same name.
pub(super) fn sink(name: &str, streams: &str) -> String {
    format!("[[sink]]\nname = '{name}'\nplugin = '{name}'\nstreams = {streams}\nbatch.age = '0s'\n")
}

pub(super) fn usage(rid: impl Into<String>) -> UsageEvent {
    UsageEvent::builder(rid, "acme", "http", "shop").build()
}

/// The next write that is announced; other calls are passed over.
pub(super) fn next_write(calls: &Receiver<Call>) -> Vec<Seen> {
    loop {
        if let Call::Write(records) = calls.recv_timeout(PATIENCE).unwrap() {
            return records;
        }
    }
}

pub(super) fn rids(records: &[Seen]) -> Vec<&str> {
    records.iter().map(|seen| seen.rid.as_str()).collect()
}

/// The first lane of the first sink.
pub(super) fn lane(status: &Status) -> LaneLedger {
    status.sinks[0].lanes[0]
}

/// Asserts that everything adds up, at whatever moment it was read.
pub(super) fn adds_up(status: &Status) {
    for lane in status.sinks.iter().flat_map(|sink| &sink.lanes) {
        let stream = status.streams.iter().find(|stream| stream.stream == lane.stream).unwrap();
        let sum = lane.delivered
            + lane.duplicate
            + lane.rejected
            + lane.expired
            + lane.dropped
            + lane.pending;
        assert_eq!(stream.accepted, sum, "{status:?}");
    }
}

/// A plugin's wish to be asked again.
pub(crate) fn retry(after: Option<Duration>) -> Failure {
    Failure::Retry { after, reason: "busy".to_owned() }
}
