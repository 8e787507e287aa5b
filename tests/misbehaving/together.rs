//! All of them on one stream, beside a sink that works.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasink_chassis::config::{Config, PluginName};
use wasink_chassis::logger::Level;
use wasink_chassis::plugin::Plugins as _;
use wasink_chassis::{Chassis, LaneLedger, Parts, SinkState, SinkStatus, Status, open_private};
use wasink_guest::testing::http::{Receiver, Reply};
use wasink_journal::DeadLetter;
use wasink_record::{Stream, UsageEvent};
use wasink_wasm::{Options, Resolve, WasmPlugins};

use crate::support::plugin_directory;
use crate::watch::Watch;
use crate::zoo::{Expected, ZOO, configuration};

/// Far longer than all of it takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);

/// How long a sink that never comes back may take to be closed.
const CLOSE: Duration = Duration::from_secs(5);

/// So many records at least are delivered beside the others.
const ENOUGH: u64 = 100;

/// As many bytes as a reason may have, and what the chassis says around it.
const LONGEST_REASON: usize = 4096 + 512;

/// Names, and the addresses that they lead to, one after the other.
struct Names(Mutex<BTreeMap<&'static str, Vec<&'static str>>>);

impl Resolve for Names {
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
        let mut names = self.0.lock().unwrap();
        let answer = match names.get_mut(&*name) {
            Some(turns) if turns.len() > 1 => Ok(vec![turns.remove(0).parse().unwrap()]),
            Some(turns) => Ok(vec![turns[0].parse().unwrap()]),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { answer })
    }
}

/// Everything that there is besides the chassis.
struct Surroundings {
    directory: tempfile::TempDir,
    watch: Arc<Watch>,
    /// Nobody may come here.
    inside: TcpListener,
    /// Whoever comes here gets no answer.
    _silent: TcpListener,
    outer: Receiver,
}

impl Surroundings {
    fn new() -> Self {
        let inside = TcpListener::bind("127.0.0.1:0").unwrap();
        inside.set_nonblocking(true).unwrap();
        let within = format!("http://{}/", inside.local_addr().unwrap());
        let outer = Receiver::new(move |_| Reply::status(307).header("Location", &within));
        let around = Self {
            directory: tempfile::tempdir().unwrap(),
            watch: Arc::default(),
            inside,
            _silent: TcpListener::bind("127.0.0.1:0").unwrap(),
            outer,
        };
        around.plant();
        around
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// What must not be reached, and links to it.
    fn plant(&self) {
        std::fs::create_dir(self.path("outside")).unwrap();
        std::fs::write(self.path("outside/there"), "untouched").unwrap();
        for sink in ["follows-symlinks", "hard-links-out"] {
            let own = self.path("data/sinks").join(sink);
            drop(open_private(&own).unwrap());
            symlink(self.path("outside/there"), own.join("file")).unwrap();
            symlink("../../../outside", own.join("folder")).unwrap();
            symlink("..", own.join("up")).unwrap();
        }
    }

    /// Nobody has been where nobody may be.
    fn check(&self) {
        let names = |path: &str| {
            let entries =
                self.path(path).read_dir().unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names("."), ["data", "outside"]);
        assert_eq!(names("outside"), ["there"]);
        assert_eq!(std::fs::read_to_string(self.path("outside/there")).unwrap(), "untouched");
        let owners = ZOO.iter().filter(|(_, config, _)| config.contains("grants.directory"));
        let mut expected: Vec<_> = owners.map(|(name, ..)| (*name).to_owned()).collect();
        expected.push("good".to_owned());
        expected.sort_unstable();
        assert_eq!(names("data/sinks"), expected, "each in a directory of its own");
        assert_eq!(names("data/sinks/good"), ["ledger.jsonl"]);
        let came = self.inside.accept().map(|(_, from)| from);
        assert_eq!(came.unwrap_err().kind(), io::ErrorKind::WouldBlock, "somebody came inside");
        assert!(!self.outer.received().is_empty(), "the redirect was never asked for");
        let full: u64 = self
            .path("data/sinks/fills-its-directory")
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum();
        assert!(full <= 256 << 10, "{full} bytes");
    }
}

fn open(around: &Surroundings, plugins: &Path) -> (Chassis, Config) {
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
    let places = [
        ("SILENT", port(&around._silent)),
        ("INSIDE", port(&around.inside)),
        ("OUTER", around.outer.url("/").origin()),
    ];
    let config = format!(
        "data_dir = '{}'\nplugin_dirs = ['{}']\njournal.durability = 'os'\nlimits.describe = '1s'\n\
         [usage]\nenabled = false\n[metering]\nbackend = 'nop'\n\
         [[secret]]\nname = 'own'\ncommand = ['printf', 'its own']\n\
         [[secret]]\nname = 'other'\ncommand = ['printf', 'another']\n\
         [[sink]]\nname = 'good'\nplugin = 'file'\nstreams = ['usage']\n\
         grants.directory = true\nbatch = {{ age = '0s' }}\n{}",
        around.path("data").display(),
        plugins.display(),
        configuration(&places),
    );
    let config = Config::from_toml(&config).unwrap_or_else(|errors| panic!("{errors}"));
    let names = Names(Mutex::new(BTreeMap::from([
        ("inside.example", vec!["127.0.0.1"]),
        ("rebinding.example", vec!["203.0.113.7", "127.0.0.1"]),
        ("turning.example", vec!["93.184.215.14", "127.0.0.1"]),
    ])));
    let plugins = WasmPlugins::new(Options {
        bundled: wasink_bundled::PLUGINS.to_vec(),
        resolver: Some(Arc::new(names)),
        limits: config.limits,
        logger: Some(around.watch.clone()),
        ..options(plugins)
    })
    .unwrap();
    let (logger, hooks) = (around.watch.clone(), around.watch.clone());
    let parts = Parts { logger, hooks, ..Parts::new(Arc::new(plugins)) };
    (Chassis::open(&config, &parts).unwrap_or_else(|error| panic!("{error}")), config)
}

/// Plugins of this directory, compiled once for all runs.
fn options(plugins: &Path) -> Options {
    Options {
        directories: vec![plugins.to_owned()],
        cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        ..Options::default()
    }
}

fn zoo() -> tempfile::TempDir {
    plugin_directory(&ZOO.iter().map(|(name, ..)| (*name, *name)).collect::<Vec<_>>())
}

fn sink<'a>(status: &'a Status, name: &str) -> (&'a SinkStatus, LaneLedger) {
    let sink = status.sinks.iter().find(|sink| sink.name == name).unwrap();
    (sink, sink.lanes[0])
}

/// Whether it has come so far. What only the end shows has.
fn is_met(expected: Expected, name: &str, status: &Status, watch: &Watch) -> bool {
    let (sink, lane) = sink(status, name);
    let logs = |words: &str, of: Option<&str>| {
        watch.lines(|lines| {
            let own = lines.iter().filter(|line| line.sink.as_deref() == Some(name));
            let mut own = own.filter(|line| of.is_none_or(|of| line.message == of));
            own.any(|line| line.says(words))
        })
    };
    match expected {
        Expected::LeftOut(words) => {
            matches!(&sink.state, SinkState::Degraded { reason } if reason.contains(words))
        }
        Expected::Failing(words) => matches!(
            &sink.state,
            SinkState::Retrying { reason, .. } | SinkState::Open { reason, .. }
                if reason.contains(words)
        ),
        Expected::Rejects(records, words) => {
            lane.rejected >= records && logs(words, Some("records rejected"))
        }
        Expected::Delivers => lane.delivered > 0,
        Expected::Reaches(limit) => sink.limits.0.contains_key(&limit),
        Expected::Logs(words) => logs(words, None),
        Expected::DeliversNone | Expected::Spares(_) | Expected::ClosesBadly(_) => true,
    }
}

/// What is not as it is expected yet, by sink.
fn unmet(status: &Status, watch: &Watch) -> Vec<(&'static str, Expected)> {
    let all = ZOO.iter().flat_map(|(name, _, all)| all.iter().map(|expected| (*name, *expected)));
    all.filter(|(name, expected)| !is_met(*expected, name, status, watch)).collect()
}

/// What the end shows.
fn check_end(name: &str, all: &[Expected], status: &Status, watch: &Watch, dead: &[DeadLetter]) {
    let (sink, lane) = sink(status, name);
    assert_eq!((lane.dropped, lane.expired), (0, 0), "{name}: {lane:?}");
    let reasons: Vec<_> = all
        .iter()
        .filter_map(|expected| match expected {
            Expected::Rejects(_, words) => Some(*words),
            _ => None,
        })
        .collect();
    assert_eq!(dead.len() as u64, lane.rejected, "{name}: a letter for each");
    for letter in dead {
        assert!(reasons.iter().any(|words| letter.reason.contains(words)), "{name}: {letter:?}");
        assert!(letter.reason.len() <= LONGEST_REASON, "{name}: {}", letter.reason.len());
    }
    for expected in all {
        match *expected {
            Expected::DeliversNone => {
                assert_eq!((lane.delivered, lane.rejected), (0, 0), "{name}: {lane:?}");
                assert!(lane.pending > 0, "{name}: {lane:?}");
            }
            Expected::Spares(limit) => {
                assert!(!sink.limits.0.contains_key(&limit), "{name}: {:?}", sink.limits);
            }
            Expected::ClosesBadly(words) => {
                let told = watch.lines(|lines| {
                    let own = lines.iter().filter(|line| line.sink.as_deref() == Some(name));
                    own.filter(|line| line.message == "close failed").any(|line| line.says(words))
                });
                assert!(told, "{name} was not closed badly");
            }
            _ => {}
        }
    }
}

/// Lines in other names than their own, and more of them than there may be.
fn check_log(watch: &Watch, took: Duration) {
    watch.lines(|lines| {
        for line in lines.iter().filter(|line| line.says("the disk is gone")) {
            assert_eq!(line.sink.as_deref(), Some("claims-another-name"), "{line:?}");
        }
        let good = lines.iter().filter(|line| line.sink.as_deref() == Some("good"));
        let bad: Vec<_> = good.filter(|line| line.level >= Level::Warn).collect();
        assert!(bad.is_empty(), "{bad:?}");
        for sink in ["floods-the-log", "floods-stderr"] {
            let own = lines.iter().filter(|line| line.sink.as_deref() == Some(sink));
            let own = own.filter(|line| line.says("a flood") || line.message == "plugin wrote");
            // Ten a second, and ten times as many at once.
            let (count, most) = (own.count() as u64, 100 + 10 * (took.as_secs() + 1));
            assert!(count <= most, "{sink}: {count} lines in {took:?}");
        }
        for line in lines {
            let fields = line.fields.iter().flat_map(|(key, value)| [key, value]);
            let longest = fields.chain([&line.message]).map(String::len).max().unwrap_or(0);
            assert!(longest <= 3 * LONGEST_REASON, "{longest} bytes of {:?}", line.sink);
            assert!(line.fields.len() <= 64, "{} fields of {:?}", line.fields.len(), line.sink);
        }
    });
}

/// What is open; nothing where the system does not tell.
fn open_files() -> Vec<PathBuf> {
    let Ok(all) = Path::new("/proc/self/fd").read_dir() else { return Vec::new() };
    all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).collect()
}

/// How many of those there are, and the most memory that there was, in KiB, where the system tells.
fn used() -> (usize, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.map_or(0, |peak| peak.trim().trim_end_matches(" kB").parse().unwrap());
    (open_files().len(), peak)
}

#[test]
fn all_misbehave_at_once_and_end_as_expected_while_a_good_sink_misses_nothing() {
    let (around, plugins) = (Surroundings::new(), zoo());
    let (descriptors, peak) = used();
    let started = Instant::now();
    let (chassis, config) = open(&around, plugins.path());
    let (recorder, watch) = (chassis.usage(), &*around.watch);

    let (mut emitted, mut news, mut most) = (0, 0, 0);
    let mut left = unmet(&chassis.status(), watch);
    assert!(!left.is_empty(), "they have not had anything yet");
    while !left.is_empty() || emitted < ENOUGH {
        let event = UsageEvent::builder(format!("r-{emitted}"), "acme", "http", "shop").build();
        recorder.emit_when_room(event).unwrap();
        emitted += 1;
        // One after the other: none of them waits for what the others do.
        assert!(watch.wait_for_good(emitted, PATIENCE), "the good sink waits for others: {left:?}");
        watch.wait_for_others(&mut news);
        most = most.max(used().0);
        let status = chassis.status();
        left = unmet(&status, watch);
        if started.elapsed() > PATIENCE {
            let show = |(name, expected): &(&str, Expected)| {
                let said = watch.lines(|lines| {
                    let own = lines.iter().filter(|line| line.sink.as_deref() == Some(*name));
                    own.take(5).cloned().collect::<Vec<_>>()
                });
                format!("{expected:?} of {:#?}: {said:#?}", sink(&status, name).0)
            };
            panic!("not as expected: {:?}", left.iter().map(show).collect::<Vec<_>>());
        }
    }
    let before = chassis.status();
    let (_, lane) = sink(&before, "good");
    assert_eq!((lane.delivered, lane.pending, lane.retries), (emitted, 0, 0));

    let status = chassis.close(CLOSE);
    let took = started.elapsed();
    drop((chassis, recorder));
    let journal = wasink::open_journal(&config, Stream::Usage).unwrap().unwrap();
    for (name, _, all) in ZOO {
        let dead = journal.dead(name, |_| true).unwrap().letters;
        check_end(name, all, &status, watch, &dead);
    }
    check_log(watch, took);
    around.check();
    let ledger = std::fs::read_to_string(around.path("data/sinks/good/ledger.jsonl")).unwrap();
    assert_eq!(ledger.lines().count() as u64, emitted);
    for (number, line) in ledger.lines().enumerate() {
        assert!(line.starts_with(&format!("{{\"rid\":\"r-{number}\",")), "{number}: {line}");
    }

    drop(journal);
    let (still, peak_then) = used();
    assert!(most < descriptors + 16 * ZOO.len(), "{most} descriptors at once");
    assert!(still <= descriptors + 16, "{descriptors} descriptors became {:#?}", open_files());
    assert!(peak_then < peak + (1 << 20), "{peak_then} KiB, of which {peak} at the start");
}

#[test]
fn what_a_plugin_tells_of_itself_is_the_same_whenever_it_is_asked() {
    let plugins = zoo();
    let name: PluginName = "changes-its-description".parse().unwrap();
    let told = || WasmPlugins::new(options(plugins.path())).unwrap().describe(&name).unwrap();
    let first = told();
    assert!(
        first.summary.contains("2026-01-01") || first.summary.contains("1767225600"),
        "{first:?}"
    );
    assert_eq!(first, told());
}

#[test]
fn every_guest_of_the_zoo_has_a_place_in_it_once() {
    let mut names: Vec<_> = ZOO.iter().map(|(name, ..)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    // Those that other tests have settings for.
    let others =
        ["breaks-a-clause", "errand", "faulty", "feed-sink", "feed-source", "forgetful", "turned"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/misbehaving");
    for entry in folder.read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&&*name) || others.contains(&&*name), "`{name}` is not in the zoo");
    }
}
