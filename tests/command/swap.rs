//! Plugins that are exchanged while `wasink serve` is at work: by what is put into the plugin
//! directory, and by command.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::Value;

use super::operator::{Operator, Running};
use super::service::{Client, SOCKET};
use crate::named::named;
use crate::support;

/// Far longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The plugin of the sink, in the plugin directory.
pub(crate) const PLUGIN: &str = "plugins/ledger.wasm";
/// What its plugin appends to.
pub(crate) const OUTPUT: &str = "out/ledger.jsonl";

/// The bundled sink `file`, with a digest of its own for each mark.
pub(crate) fn version(mark: &str) -> Vec<u8> {
    named(bundled("file"), mark)
}

fn bundled(name: &str) -> &'static [u8] {
    wasink_bundled::PLUGINS.iter().find(|(bundled, _)| *bundled == name).unwrap().1
}

/// The guest that appends as `file` does until it turns bad, with these orders.
fn turned(orders: &str) -> Vec<u8> {
    const BEGIN: &[u8] = b"what the plugin turned does: ";
    const ROOM: usize = 64 - BEGIN.len();
    let mut bytes =
        std::fs::read(support::guests().join("wasink_misbehaving_turned.wasm")).unwrap();
    let at = bytes.windows(BEGIN.len()).position(|window| window == BEGIN).unwrap() + BEGIN.len();
    bytes[at..at + ROOM].copy_from_slice(format!("{orders:ROOM$}").as_bytes());
    bytes
}

/// Puts a file in its place, whole or not at all.
pub(crate) fn place(operator: &Operator, path: &str, bytes: impl AsRef<[u8]>) {
    let unfinished = operator.write(&format!("{path}.unfinished"), bytes);
    std::fs::rename(unfinished, operator.path(path)).unwrap();
}

/// The configuration of a service with one sink, with more about it and about exchanges.
pub(crate) fn config(exchange: &str, sink: &str) -> String {
    format!(
        "plugin_dirs = ['plugins']\nlisten.http = ''\nlog.level = 'warn'\nusage.enabled = false\n\
         {exchange}\n\
         [[sink]]\nname = 'ledger'\nplugin = 'ledger'\nstreams = ['usage']\ngrants.directory = 'out'\n\
         settings = {{ path = 'ledger.jsonl' }}\nbatch.age = '0s'\n{sink}\n"
    )
}

/// Starts the service, and returns once it takes records.
pub(crate) fn serve(operator: &Operator) -> Running {
    // A socket that another left behind has nobody who listens.
    let mut running = operator.start("serve");
    let until = Instant::now() + PATIENCE;
    while UnixStream::connect(operator.path(SOCKET)).is_err() {
        if running.has_ended() {
            panic!("{:#?}", running.end());
        }
        assert!(Instant::now() < until, "it does not listen");
        thread::yield_now();
    }
    running
}

/// A service, and what it was given.
struct Service {
    operator: Operator,
    running: Option<Running>,
    posted: usize,
}

impl Service {
    fn new(config: &str, plugin: &[u8]) -> Self {
        let operator = Operator::new();
        operator.write("wasink.toml", config);
        operator.write(PLUGIN, plugin);
        let running = Some(serve(&operator));
        Self { operator, running, posted: 0 }
    }

    /// Ends it, and starts it anew. Returns what the one that has ended said.
    fn restart(&mut self) -> String {
        let running = self.running.take().unwrap();
        running.signal("TERM");
        let said = running.end().expect(143).stderr;
        self.running = Some(serve(&self.operator));
        said
    }

    /// Has a file as the plugin's from now on.
    fn deploy(&self, bytes: impl AsRef<[u8]>) {
        place(&self.operator, PLUGIN, bytes);
    }

    fn post(&mut self, records: usize) {
        let rids = self.posted..self.posted + records;
        let body: String = rids.map(usage).collect();
        let kind = "application/x-ndjson";
        let (status, answer) = Client::connect(&self.operator).post("usage", kind, &body).unwrap();
        assert_eq!(status, 200, "{answer}");
        self.posted += records;
    }

    /// Waits until all that was posted is in the output: each record once, in order.
    #[track_caller]
    fn has_delivered_all(&self) {
        let text = self.operator.await_lines(OUTPUT, self.posted);
        let rids: Vec<_> = text.lines().map(rid).collect();
        assert_eq!(rids, (0..self.posted).collect::<Vec<_>>());
    }

    fn json(&self, command: &str) -> Value {
        self.operator.says(&format!("{command} --json")).expect(0).json()
    }

    /// The digest of what delivers, as the status tells it.
    fn digest(&self) -> String {
        let status = self.json("status");
        let sink = status["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == "ledger");
        sink.unwrap()["version"]["digest"].as_str().unwrap().to_owned()
    }

    /// The plugin in the list: its file, and what is in charge.
    fn plugin(&self) -> Value {
        let list = self.json("plugins list");
        let plugins = list["plugins"].as_array().unwrap();
        plugins.iter().find(|plugin| plugin["name"] == "ledger").unwrap().clone()
    }

    fn last_event(&self) -> u64 {
        let events = self.json("plugins history ledger --limit 1");
        events["events"][0]["id"].as_u64().unwrap_or(0)
    }

    /// Waits for an event after this one whose reason begins so, doing something in between.
    #[track_caller]
    fn await_event(&mut self, after: u64, begins: &str, mut meanwhile: impl FnMut(&mut Self)) {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.json("plugins history ledger");
            let mut events = answer["events"].as_array().unwrap().iter();
            let fits = |event: &Value| {
                event["id"].as_u64().unwrap() > after
                    && event["reason"].as_str().unwrap().starts_with(begins)
            };
            if events.any(fits) {
                return;
            }
            assert!(Instant::now() < until, "no word of `{begins}`: {answer:#}");
            meanwhile(self);
        }
    }

    /// Waits until what is in the plugin directory is in charge, and delivers.
    #[track_caller]
    fn await_takeover(&mut self, before: &str) -> String {
        let until = Instant::now() + PATIENCE;
        while self.digest() == before {
            let history = || self.operator.says("plugins history").stdout;
            assert!(Instant::now() < until, "nothing takes over: {}", history());
        }
        let (plugin, now) = (self.plugin(), self.digest());
        assert_eq!(plugin["digest"], now.as_str());
        assert_eq!(plugin["in_charge"]["version"]["digest"], now.as_str(), "{plugin:#}");
        self.post(3);
        self.has_delivered_all();
        now
    }
}

pub(crate) fn usage(rid: usize) -> String {
    format!(
        "{{\"rid\":\"{rid}\",\"tenant\":\"acme\",\"src\":\"http\",\"stack\":\"shop\",\
         \"duration_ms\":1,\"status\":\"ok\",\"bytes_in\":2,\"bytes_out\":3}}\n"
    )
}

pub(crate) fn rid(line: &str) -> usize {
    let event: Value = serde_json::from_str(line).unwrap();
    event["rid"].as_str().unwrap().parse().unwrap()
}

/// The digits by which commands and people call a version.
fn digits(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap().get(..12).unwrap()
}

#[test]
fn what_is_put_into_the_plugin_directory_takes_over_by_itself() {
    let text = config("swap.watch = '50ms'\nswap.probation = '0s'", "");
    let mut service = Service::new(&text, &version("one"));
    service.post(3);
    service.has_delivered_all();
    let one = service.digest();

    // As a deploy does it.
    service.deploy(version("two"));
    let two = service.await_takeover(&one);

    // As an editor does it: what is half written is left alone, or refused, and the whole taken.
    let (last, whole) = (service.last_event(), version("three"));
    let (begin, rest) = whole.split_at(whole.len() / 2);
    let path = service.operator.path(PLUGIN);
    File::create(&path).unwrap().write_all(begin).unwrap();
    service.await_event(last, "refused", |_| ());
    assert_eq!(service.digest(), two);
    let reason = service.plugin()["in_charge"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("ledger.wasm`") && reason.contains("cut short"), "{reason}");
    service.post(3);
    service.has_delivered_all();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(rest).unwrap();
    let three = service.await_takeover(&two);

    // As those do it who keep all versions: by a link to one.
    let link = |service: &Service, to: &str| {
        let unready = service.operator.path("plugins/unready");
        symlink(service.operator.path(to), &unready).unwrap();
        std::fs::rename(unready, service.operator.path(PLUGIN)).unwrap();
    };
    service.operator.write("versions/4.wasm", version("four"));
    service.operator.write("versions/5.wasm", version("five"));
    link(&service, "versions/4.wasm");
    let four = service.await_takeover(&three);
    link(&service, "versions/5.wasm");
    let five = service.await_takeover(&four);

    // The same bytes again are no news, and neither is that the file is gone.
    let last = service.last_event();
    std::fs::remove_file(&path).unwrap();
    service.post(3);
    service.has_delivered_all();
    assert_eq!((service.digest(), service.last_event()), (five, last));
    let reason = service.json("status").to_string();
    assert!(!reason.contains("cut short"), "{reason}");
}

/// A version that does not do, and the words that tell why.
struct Bad {
    bytes: Vec<u8>,
    /// What the last of its events says.
    ends: &'static str,
    words: &'static [&'static str],
}

fn refused(bytes: impl Into<Vec<u8>>, words: &'static [&'static str]) -> Bad {
    Bad { bytes: bytes.into(), ends: "refused", words }
}

/// It is found out by what it does with records.
fn returned(orders: &str, words: &'static [&'static str]) -> Bad {
    Bad { bytes: turned(orders), ends: "the version before is in charge again", words }
}

#[test]
fn a_version_that_does_not_do_leaves_the_old_one_in_charge_and_says_why() {
    let exchange = "swap.watch = '50ms'\nswap.probation = '1h'\nswap.slower = 0";
    let mut service = Service::new(&config(exchange, "timeout = '3s'"), &version("good"));
    service.post(3);
    service.has_delivered_all();
    let good = service.digest();
    let versions = [
        refused("hello", &["ledger.wasm`", "not WebAssembly"]),
        refused(b"\0asm\x01\0\0\0", &["ledger.wasm`", "core module", "component new"]),
        refused(wat::parse_str("(component)").unwrap(), &["another world", "wasink:plugin/sink"]),
        refused(bundled("capture"), &["sink", "settings", "path"]),
        refused(turned("refuse"), &["ledger", "open", "the ledger's door is locked"]),
        returned("panic 0", &["sink `ledger`", "told to panic after 0 records"]),
        returned("panic 1000", &["sink `ledger`", "told to panic after 1000 records"]),
        returned("spin 100", &["sink `ledger`", "3s"]),
        returned("leak 100", &["sink `ledger`", "memory"]),
    ];
    for Bad { bytes, ends, words } in versions {
        let last = service.last_event();
        service.deploy(bytes);
        service.await_event(last, ends, |service| service.post(50));
        let plugin = service.plugin();
        let in_charge = &plugin["in_charge"];
        let reason = in_charge["reason"].as_str().unwrap();
        assert!(words.iter().all(|word| reason.contains(word)), "{words:?}: {reason}");
        assert_eq!(in_charge["version"]["digest"], good.as_str(), "{plugin:#}");
        assert_eq!(in_charge["stage"], "in-charge", "{plugin:#}");
        assert_eq!(service.digest(), good);
        let list = service.operator.says("plugins list").expect(0).stdout;
        let line = list.lines().find(|line| line.contains("in charge is ")).unwrap();
        assert!(line.contains(digits(&good)) && line.contains(words[0]), "{list}");
        service.post(3);
        service.has_delivered_all();
    }
    let last = service.last_event();
    let path = service.operator.path("plugins/unready");
    std::fs::write(&path, "\0asm").unwrap();
    // Nothing of it takes any room on the disk.
    OpenOptions::new().write(true).open(&path).unwrap().set_len((64 << 20) + 1).unwrap();
    std::fs::rename(path, service.operator.path(PLUGIN)).unwrap();
    service.await_event(last, "refused", |_| ());
    let reason = service.plugin()["in_charge"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("67108865 bytes") && reason.contains("67108864"), "{reason}");
    // It is no reason not to start either.
    service.restart();
    assert_eq!(service.digest(), good);
    let said = service.restart();
    assert!(said.contains("the version that was in charge before goes on"), "{said}");
    assert!(said.contains("67108865 bytes"), "{said}");

    // After all that, a good one is taken.
    service.deploy(version("better"));
    service.await_takeover(&good);
    let status = service.json("status");
    let lane = &status["sinks"].as_array().unwrap().iter().find(|one| one["name"] == "ledger");
    assert_eq!(lane.unwrap()["lanes"][0]["delivered"], service.posted);
    service.restart();
    service.has_delivered_all();
}

#[test]
fn other_bytes_than_those_that_are_pinned_are_refused() {
    let operator = Operator::new();
    operator.write("wasink.toml", config("", ""));
    operator.write(PLUGIN, version("pinned"));
    let pin = operator.says("plugins inspect ledger --json").expect(0).json();
    let pin = pin["digest"].as_str().unwrap();
    let text = config("swap.watch = '50ms'", &format!("digest = '{pin}'"));
    let mut service = Service::new(&text, &version("pinned"));
    assert_eq!(service.digest(), pin);
    service.deploy(version("other"));
    service.await_event(0, "refused", |_| ());
    let reason = service.plugin()["in_charge"]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("allows only") && reason.contains(pin), "{reason}");
    assert!(reason.contains("digest"), "{reason}");
    let ended = service.operator.says("plugins swap ledger").expect(1);
    assert!(ended.stderr.contains("allows only"), "{ended:?}");
    service.post(3);
    service.has_delivered_all();
    assert_eq!(service.digest(), pin);
}

#[test]
fn where_keys_are_configured_only_what_one_of_them_has_signed_takes_over() {
    let [ours, strangers] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let text = config("swap.watch = '50ms'\nplugin_keys = ['key.pem']", "");
    let operator = Operator::new();
    let pem = ours.verifying_key().to_public_key_pem(Default::default()).unwrap();
    operator.write("key.pem", pem);
    let sign = |key: &SigningKey, bytes: &[u8]| key.sign(bytes).to_bytes();
    let signature = format!("{PLUGIN}.sig");
    operator.write("wasink.toml", text);
    let (one, two) = (version("one"), version("two"));
    operator.write(&signature, sign(&ours, &one));
    operator.write(PLUGIN, one);
    let running = Some(serve(&operator));
    let mut service = Service { operator, running, posted: 0 };
    let before = service.digest();

    let mut last = service.last_event();
    service.deploy(&two);
    service.await_event(last, "refused", |_| ());
    let reason =
        |service: &Service| service.plugin()["in_charge"]["reason"].as_str().unwrap().to_owned();
    let told = reason(&service);
    assert!(told.contains("none of the keys in `plugin_keys`, or over other bytes"), "{told}");

    std::fs::remove_file(service.operator.path(&signature)).unwrap();
    last = service.last_event();
    service.deploy(version("three"));
    service.await_event(last, "refused", |_| ());
    let told = reason(&service);
    assert!(told.contains("it is not signed") && told.contains("`.sig`"), "{told}");

    service.operator.write(&signature, sign(&strangers, &two));
    let ended = service.operator.says("plugins swap ledger").expect(1);
    assert!(ended.stderr.contains("none of the keys"), "{ended:?}");
    assert_eq!(service.digest(), before);
    service.post(3);
    service.has_delivered_all();

    place(&service.operator, &signature, sign(&ours, &two));
    service.deploy(&two);
    let second = service.await_takeover(&before);

    // A signature that comes after its component is not too late.
    let four = version("four");
    last = service.last_event();
    service.deploy(&four);
    service.await_event(last, "refused", |_| ());
    let said = service.restart();
    assert!(said.contains("none of the keys"), "{said}");
    assert_eq!(service.digest(), second);
    place(&service.operator, &signature, sign(&ours, &four));
    service.await_takeover(&second);
}

#[test]
fn versions_are_exchanged_and_taken_back_by_command_and_a_restart_keeps_what_was_decided() {
    let text = config("swap.watch = '50ms'", "");
    let mut service = Service::new(&text, &version("one"));
    let one = service.digest();
    service.operator.write("two.wasm", version("two"));
    let swapped = service.json("plugins swap ledger two.wasm");
    let two = service.digest();
    assert_ne!(one, two);
    assert_eq!(swapped["version"]["digest"], two.as_str(), "{swapped:#}");
    assert_eq!(swapped["previous"]["digest"], one.as_str(), "{swapped:#}");
    assert_eq!(swapped["stage"], "probation");
    assert!(swapped["stall_ns"].as_u64().unwrap() > 0, "{swapped:#}");
    service.post(3);
    service.has_delivered_all();

    let told = service.operator.says("plugins rollback ledger").expect(0).stdout;
    assert!(told.starts_with("ledger: in charge, "), "{told}");
    assert_eq!(service.digest(), one);
    let told = service.operator.says("plugins history ledger").expect(0).stdout;
    let events = told.lines().filter(|line| line.contains("took over"));
    let versions: Vec<_> = events.map(|line| line.contains(digits(&two))).collect();
    assert_eq!(versions, [true, false], "{told}");
    let again = service.json(&format!("plugins swap ledger {}", digits(&two)));
    assert_eq!(again["version"]["digest"], two.as_str(), "{again:#}");
    let unknown = service.operator.says("plugins swap ledger 9.9.9").expect(1);
    assert!(unknown.stderr.contains("no version `9.9.9`"), "{unknown:?}");
    let unused = service.operator.says("plugins swap rollup").expect(1);
    assert!(unused.stderr.contains("no sink uses a plugin `rollup`"), "{unused:?}");

    // The directory has a newer one, which was in charge and was taken back.
    service.deploy(version("three"));
    let three = service.await_takeover(&two);
    service.operator.says("plugins rollback ledger").expect(0);
    assert_eq!(service.digest(), two);
    let last = service.last_event();
    service.restart();
    assert_eq!(
        service.digest(),
        two,
        "the file that is still there is none that was not decided on"
    );
    assert_eq!(service.plugin()["digest"], three.as_str());
    service.post(3);
    service.has_delivered_all();
    assert_eq!(service.last_event(), last, "a restart is no exchange");
    service.deploy(version("four"));
    service.await_takeover(&two);
    let back = service.json("plugins rollback ledger");
    assert_eq!(back["version"]["digest"], two.as_str(), "{back:#}");
    service.post(3);
    service.has_delivered_all();
}

#[test]
fn what_comes_into_the_plugin_directory_while_another_version_is_tried_is_taken_as_well() {
    let text = config("swap.watch = '50ms'", "timeout = '3s'");
    let mut service = Service::new(&text, &version("one"));
    let one = service.digest();
    service.deploy(turned("linger"));
    service.await_event(0, "asked for", |_| ());
    service.deploy(version("two"));
    service.await_event(0, "refused", |_| ());
    let reason = service.operator.says("plugins history ledger").expect(0).stdout;
    assert!(reason.contains("did not return from `open` within 3s"), "{reason}");
    service.await_takeover(&one);
}

#[test]
fn a_command_of_which_nothing_comes_decides_nothing_about_the_plugin_directory() {
    let mut service = Service::new(&config("swap.watch = '0s'", ""), &version("one"));
    let one = service.digest();
    service.deploy(version("two"));
    let ended = service.operator.says("plugins swap ledger nowhere.wasm").expect(1);
    assert!(ended.stderr.contains("nowhere.wasm") && ended.stderr.contains("can't be read"));
    assert_eq!(service.digest(), one);
    // A start takes what is new there.
    service.restart();
    service.await_takeover(&one);
}

#[test]
fn a_second_exchange_is_told_what_is_under_way() {
    let text = config("swap.watch = '0s'\nswap.grace = '1h'", "timeout = '2h'");
    let mut service = Service::new(&text, &turned("wait 3"));
    service.post(3);
    service.has_delivered_all();
    // From here on its instance is in a call, and the exchange waits for the end of that.
    service.post(1);
    service.operator.write("two.wasm", version("two"));
    let first = service.operator.start("plugins swap ledger two.wasm");
    service.await_event(0, "prepared", |_| ());
    let second = service.operator.says("plugins swap ledger two.wasm").expect(1);
    assert!(second.stderr.contains("`ledger` is busy"), "{second:?}");
    assert!(
        second.stderr.contains("two.wasm") && second.stderr.contains("exchanging"),
        "{second:?}"
    );
    let second = service.operator.says("plugins rollback ledger --json").expect(1).json();
    assert_eq!(second["status"], 409, "{second:#}");
    assert_eq!(second["operation"]["stage"], "exchanging", "{second:#}");
    let state = &service.plugin()["in_charge"];
    assert_eq!(state["operation"]["stage"], "exchanging", "{state:#}");

    let running = service.running.take().unwrap();
    running.signal("KILL");
    let ended = first.end().expect(1);
    assert!(ended.stderr.contains("wasink: "), "{ended:?}");
    // What was not answered for is delivered by whoever is in charge after the next start.
    place(&service.operator, PLUGIN, version("two"));
    service.running = Some(serve(&service.operator));
    service.has_delivered_all();
}
