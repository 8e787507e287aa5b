//! What the tests of hostile ends of feeds share: a host, a node, a producer, and a node that works all
//! the while.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction};
use serde_json::{Value, json};
use tempfile::TempDir;
use wasink_chassis::feed::{FeedSource, Feeds as _};
use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasink_chassis::logger::{Logger, is_acted_on};
use wasink_chassis::open_private;
use wasink_chassis::plugin::{Demands, Grants, Interrupter, OpenRequest};
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{Applier, ApplierOptions, Apply, ApplyError, Store as _};
use wasink_feed::artifacts::Artifact;
use wasink_record::{Clock, ControlEvent, ControlType, SystemClock, Timestamp};
use wasink_wasm::{Options, WasmPlugins};

use crate::support::guests;
use crate::watch::Watch;

/// Far longer than all of it takes on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// How long a call may take that does not return. Opening takes a part of it on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// The hostile ends' place on both shelves, and the name that they are opened by.
pub(crate) const HOSTILE: &str = "hostile";

/// As many bytes as a reason or an id may have, escaped, and what is said around it.
pub(crate) const LONGEST: usize = 4096 + 512;

/// So many events are in the hostile source's feed, and are given to the hostile sink.
pub(crate) const EVENTS: u64 = 6;

/// So many of them come before it does wrong.
pub(crate) const SOUND: u64 = 3;

/// The component of a hostile end.
pub(crate) fn guest(end: &str) -> Vec<u8> {
    let file = format!("wasink_misbehaving_{}.wasm", end.replace('-', "_"));
    std::fs::read(guests().join(file)).unwrap()
}

/// Those that come with wasink, and `source` and the hostile sink besides.
pub(crate) fn options(source: Vec<u8>) -> Options {
    let mut options = Options {
        bundled_feed_sources: wasink_bundled::FEED_SOURCES.to_vec(),
        bundled_feed_sinks: wasink_bundled::FEED_SINKS.to_vec(),
        cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        ..Options::default()
    };
    options.bundled_feed_sources.push((HOSTILE, source.leak()));
    options.bundled_feed_sinks.push((HOSTILE, guest("feed-sink").leak()));
    options
}

/// One host for all.
pub(crate) fn host() -> &'static WasmPlugins {
    static HOST: LazyLock<WasmPlugins> =
        LazyLock::new(|| WasmPlugins::new(options(guest("feed-source"))).unwrap());
    &HOST
}

/// A way to misbehave, and what is seen of it.
pub(crate) struct Way {
    settings: Value,
    timeout: Duration,
    limits: Limits,
    pub(crate) reached: LimitCounts,
    pub(crate) watch: Arc<Watch>,
}

impl Way {
    pub(crate) fn new(settings: Value) -> Self {
        let does = settings["does"].as_str().unwrap().to_owned();
        let mut limits = Limits::default();
        // A million of anything takes room in the guest already.
        let many = ["million", "too-many"].contains(&&*does);
        limits.memory_bytes = if many { 512 << 20 } else { 32 << 20 };
        let timeout = if ["spin", "sleep"].contains(&&*does) { SOON } else { PATIENCE };
        let (reached, watch) = Default::default();
        Self { settings, timeout, limits, reached, watch }
    }

    /// The same with more time.
    pub(crate) fn with(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub(crate) fn request(&self) -> OpenRequest {
        OpenRequest {
            plugin: HOSTILE.parse().unwrap(),
            name: HOSTILE.to_owned(),
            node_id: "node".to_owned(),
            epoch: "epoch".to_owned(),
            demands: Demands::default(),
            settings: self.settings.to_string(),
            timeout: self.timeout,
            grants: Grants::default(),
            limits: self.limits,
            reached: self.reached.clone(),
            logger: self.watch.clone(),
        }
    }

    /// Whether it came up against this limit, where it is to.
    pub(crate) fn check(&self, limit: Option<Limit>) {
        let reached = limit.is_none_or(|limit| self.reached.get(limit) > 0);
        assert!(reached, "{}: {limit:?}, but {:?}", self.settings, self.reached);
        self.watch.lines(|lines| {
            for line in lines.iter().filter(|line| line.says("the disk is gone")) {
                assert_eq!(line.sink.as_deref(), Some(HOSTILE), "{line:?}");
            }
        });
    }
}

/// What is said of a hostile end is short, and nothing of it is acted on where it is told to people.
pub(crate) fn check_words(said: &str, words: &str) {
    assert!(said.contains(words), "`{words}` is not in: {said}");
    assert!(said.len() <= LONGEST, "{} bytes: {said}", said.len());
}

/// What is shown as it is.
pub(crate) fn check_shown(shown: &str, words: &str) {
    check_words(shown, words);
    assert!(!shown.contains(is_acted_on), "{shown:?}");
}

/// Writes down which events are applied, and for whom.
struct Changes;

impl Apply<SqliteStore> for Changes {
    fn apply(
        &mut self,
        event: &ControlEvent,
        _: Option<&Artifact>,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), ApplyError> {
        let sql = "INSERT INTO changes (event_id, tenant_id) VALUES (?, ?)";
        transaction.execute(sql, (event.event_id(), event.tenant_id())).unwrap();
        Ok(())
    }
}

/// A node with a database of its own.
pub(crate) struct Node(TempDir);

impl Node {
    pub(crate) fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        let table = "CREATE TABLE changes (n INTEGER PRIMARY KEY, event_id TEXT, tenant_id TEXT)";
        Connection::open(node.path()).unwrap().execute_batch(table).unwrap();
        node
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("db")
    }

    pub(crate) fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.path(), "control").unwrap()
    }

    pub(crate) fn applier(
        &self,
        source: Box<dyn FeedSource>,
        logger: Arc<dyn Logger>,
    ) -> Applier<SqliteStore> {
        let mut options = ApplierOptions::default();
        options.wait = Duration::ZERO;
        let clock = Arc::new(SystemClock);
        Applier::new(source, self.store(), Box::new(Changes), None, options, clock, logger)
    }

    /// What was applied, in its order, as `id of tenant`.
    pub(crate) fn applied(&self) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let sql = "SELECT event_id || ' of ' || tenant_id FROM changes ORDER BY n";
        let mut all = connection.prepare(sql).unwrap();
        all.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.store().cursor().unwrap()
    }

    /// Everything up to here was applied, each once and in order, and nothing else.
    pub(crate) fn is_at(&self, version: u64) {
        assert_eq!(self.cursor(), version);
        let expected: Vec<_> = (1..=version).map(|n| format!("evt_{n} of acme")).collect();
        assert_eq!(self.applied(), expected);
    }
}

/// An event of the hostile ends' feeds.
pub(crate) fn event(number: u64) -> ControlEvent {
    let event = ControlEvent::builder(format!("evt_{number}"), ControlType::TenantCreated);
    event.tenant_id("acme").build().unwrap()
}

/// A clock that goes on when it is told to.
#[derive(Debug, Default)]
pub(crate) struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0.load(Ordering::SeqCst))
    }
}

impl Hands {
    pub(crate) fn go_on(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

/// A producer and a node of the same process whose ends are good: an event is appended and applied, and
/// then the next.
pub(crate) struct Good {
    node: Arc<Node>,
    round: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    interrupters: Vec<Interrupter>,
    thread: Option<JoinHandle<()>>,
}

impl Good {
    pub(crate) fn start() -> Self {
        let node = Arc::new(Node::new());
        let (round, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let way = Way::new(json!({ "does": "good" }));
        let feed = Arc::new(open_private(&node.0.path().join("feed")).unwrap());
        let request = || OpenRequest {
            plugin: "file".parse().unwrap(),
            name: "good".to_owned(),
            settings: "{}".to_owned(),
            grants: Grants { directory: Some(feed.clone()), ..Grants::default() },
            ..way.request()
        };
        let mut sink = host().open_sink(request()).unwrap();
        let source = host().open_source(request()).unwrap();
        let interrupters = vec![sink.interrupter(), source.interrupter()];
        let mut applier = node.applier(source, way.watch.clone());
        let (rounds, stopping) = (round.clone(), stop.clone());
        let work = move || {
            while !stopping.load(Ordering::SeqCst) {
                let next = rounds.load(Ordering::SeqCst) + 1;
                assert_eq!(sink.append(&[event(next)]).unwrap(), [Ok(next)]);
                assert_eq!(applier.pass().unwrap().applied, 1);
                rounds.store(next, Ordering::SeqCst);
            }
        };
        let thread = Some(std::thread::spawn(work));
        Self { node, round, stop, interrupters, thread }
    }

    /// Waits until a round has begun and ended since it was asked.
    pub(crate) fn goes_on(&self) {
        let (before, until) = (self.round.load(Ordering::SeqCst), Instant::now() + PATIENCE);
        while self.round.load(Ordering::SeqCst) < before + 2 {
            assert!(Instant::now() < until, "the good ones wait for others");
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Ends it: nothing of what it did went wrong.
    pub(crate) fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        self.node.is_at(self.round.load(Ordering::SeqCst));
    }
}

impl Drop for Good {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if self.thread.is_some() {
            self.interrupters.iter().for_each(Interrupter::interrupt);
        }
    }
}
