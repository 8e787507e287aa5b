//! The ways out of the sandbox: what was granted is reached, within bounds and with what the host puts
//! on it, and nothing else is.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use wasink_chassis::Secret;
use wasink_chassis::config::{Config, Credential, SinkConfig};
use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasink_chassis::plugin::{Grants, OpenRequest, Outcome, Plugins as _, SinkPlugin};
use wasink_guest::testing::http::{Receiver, Reply};
use wasink_record::Stream;
use wasink_wasm::{Resolve, WasmPlugins};

use crate::kit::{Log, batch, misbehaving, options, request};

/// Names and what they lead to, which can change between two questions.
#[derive(Default)]
pub(crate) struct Names(Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>);

impl Names {
    /// The name leads to each of these in turn, and to the last one for ever.
    pub(crate) fn lead(&self, name: &str, turns: &[&[&str]]) {
        let turns = turns.iter().map(|turn| turn.iter().map(|ip| ip.parse().unwrap()).collect());
        self.0.lock().unwrap().insert(name.to_owned(), turns.collect());
    }
}

impl Resolve for Names {
    fn resolve(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + Sync>> {
        let mut names = self.0.lock().unwrap();
        let answer = match names.get_mut(&name) {
            Some(turns) if turns.len() > 1 => Ok(turns.remove(0)),
            Some(turns) => Ok(turns[0].clone()),
            None => Err(io::Error::other("no such name")),
        };
        Box::pin(async move { answer })
    }
}

pub(crate) static NAMES: LazyLock<Arc<Names>> = LazyLock::new(Arc::default);

/// A host that looks names up where this test says what they are.
fn host() -> &'static WasmPlugins {
    static HOST: LazyLock<WasmPlugins> = LazyLock::new(|| {
        let mut options = options();
        options.bundled.push(("errand", Box::leak(misbehaving("errand").into_boxed_slice())));
        options.resolver = Some(NAMES.clone());
        WasmPlugins::new(options).unwrap()
    });
    &HOST
}

/// A guest on an errand, with what it is granted.
pub(crate) struct Errand {
    pub(crate) sink: Box<dyn SinkPlugin>,
    log: Arc<Log>,
    pub(crate) reached: LimitCounts,
}

impl Errand {
    pub(crate) fn new(errand: &Json, grants: &str) -> Self {
        Self::limited(errand, grants, |_| {})
    }

    /// `grants` are keys of the configuration's `grants`.
    fn limited(errand: &Json, grants: &str, limits: impl FnOnce(&mut Limits)) -> Self {
        let mut request = OpenRequest { grants: granted(grants), ..request("errand", errand) };
        limits(&mut request.limits);
        Self::open(request)
    }

    pub(crate) fn open(request: OpenRequest) -> Self {
        let log = Arc::new(Log::default());
        let reached = LimitCounts::default();
        let request = OpenRequest { logger: log.clone(), reached: reached.clone(), ..request };
        Self { sink: host().open(request).unwrap(), log, reached }
    }

    /// Why it could not be sent.
    pub(crate) fn refused(errand: &Json, grants: &str) -> String {
        let request = OpenRequest { grants: granted(grants), ..request("errand", errand) };
        crate::kit::error(host().open(request))
    }

    /// What it found.
    pub(crate) fn run(&mut self) -> String {
        let mut answer = self.sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
        match answer.pop().unwrap().outcome {
            Outcome::Rejected(found) => found,
            other => panic!("{other:?}"),
        }
    }

    /// What the host told of it, a line each.
    pub(crate) fn told(&self) -> Vec<String> {
        let told = |line: crate::kit::Logged| {
            let fields: Vec<_> = line.fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} {}", line.message, fields.join(" "))
        };
        self.log.lines().into_iter().map(told).collect()
    }
}

const SECRETS: &str = "
    [[secret]]
    name = 'token'
    environment = 'CARGO_PKG_NAME'
    [[secret]]
    name = 'signing'
    command = ['printf', 'whsec_c2VjcmV0IGtleQ==']
    [[secret]]
    name = 'sesame'
    command = ['printf', 'open sesame']
    [[secret]]
    name = 'odd'
    command = ['printf', 'two\\nlines']
";

pub(crate) fn granted(grants: &str) -> Grants {
    let config = format!(
        "{SECRETS}\n[[sink]]\nname = 'x'\nplugin = 'errand'\nstreams = ['usage']\n\
         [sink.grants]\n{grants}"
    );
    let config = Config::from_toml(&config).unwrap_or_else(|errors| panic!("{errors}"));
    let sink: SinkConfig = config.sinks.into_iter().find(|sink| sink.name == "x").unwrap();
    let named = sink.grants.http.iter().flat_map(|grant| {
        grant.credential.as_ref().map(Credential::secret).into_iter().chain(&grant.signature)
    });
    let environment = sink.grants.environment.iter();
    Grants {
        secrets: sink.grants.secrets.iter().cloned().map(Secret::new).collect(),
        credentials: named.cloned().map(Secret::new).collect(),
        environment: environment.map(|name| (name.clone(), "value".to_owned())).collect(),
        tcp: sink.grants.tcp.clone(),
        http: sink.grants.http.clone(),
        ..Grants::default()
    }
}

fn origin(receiver: &Receiver) -> String {
    receiver.url("/").origin()
}

pub(crate) fn request_to(url: &str) -> Json {
    json!({ "errand": "request", "url": url, "body": ["hello", 1] })
}

fn ok() -> Receiver {
    Receiver::new(|_| Reply::status(200).body("fine"))
}

#[test]
fn a_request_goes_where_it_is_granted_and_nowhere_else() {
    let (granted, other) = (ok(), ok());
    let grants = format!("http = [{{ origin = '{}' }}]", origin(&granted));
    let mut errand = Errand::new(&request_to(&granted.url("/in?x=1").to_string()), &grants);
    assert_eq!(errand.run(), "200 fine");
    let received = granted.received();
    assert_eq!((received[0].path.as_str(), &received[0].body[..]), ("/in?x=1", &b"hello"[..]));
    assert_eq!(errand.told(), Vec::<String>::new());

    let url = other.url("/secret?token=1").to_string();
    for grants in ["", &grants] {
        let mut errand = Errand::new(&request_to(&url), grants);
        for _ in 0..3 {
            let found = errand.run();
            assert!(found.starts_with("failed: ") && found.contains("not granted"), "{found}");
        }
        assert_eq!(
            errand.told(),
            [format!(
                "a request was refused origin={} reason=it is not granted; where it should be, \
                 write it into the sink's `grants.http`",
                origin(&other)
            )],
            "told once, and without what may be secret in the path"
        );
    }
    assert_eq!(other.received(), []);
}

#[test]
fn an_origin_is_its_scheme_its_host_and_its_port_together() {
    let (receiver, other) = (ok(), ok());
    let (port, elsewhere) = (receiver.url("/").port(), other.url("/").port());
    NAMES.lead("same.example", &[&["127.0.0.1"]]);
    let url = format!("http://same.example:{port}/");
    for (origin, granted) in [
        (format!("http://same.example:{port}"), true),
        (format!("https://same.example:{port}"), false),
        (format!("http://other.example:{port}"), false),
        (format!("http://127.0.0.1:{port}"), false),
        (format!("http://same.example:{elsewhere}"), false),
    ] {
        let grants = format!("http = [{{ origin = '{origin}', networks = ['loopback'] }}]");
        let found = Errand::new(&request_to(&url), &grants).run();
        let denied = found.starts_with("failed: ") && found.contains("not granted");
        assert_eq!((found == "200 fine", denied), (granted, !granted), "{origin}: {found}");
    }
}

#[test]
fn a_name_that_leads_to_an_address_that_is_not_public_is_refused_unless_that_is_granted() {
    let receiver = ok();
    let port = receiver.url("/").port();
    NAMES.lead("inside.example", &[&["127.0.0.1"]]);
    NAMES.lead("mixed.example", &[&["10.255.255.1", "127.0.0.1"]]);
    NAMES.lead("mapped.example", &[&["::ffff:127.0.0.1"]]);
    for name in ["inside.example", "mapped.example"] {
        let errand = request_to(&format!("http://{name}:{port}/"));
        let origin = format!("origin = 'http://{name}:{port}'");
        let mut refused = Errand::new(&errand, &format!("http = [{{ {origin} }}]"));
        let found = refused.run();
        assert!(found.starts_with("failed: "), "{found}");
        assert!(refused.told()[0].contains("`networks`"), "{:?}", refused.told());
        assert_eq!(receiver.received().len(), usize::from(name == "mapped.example"));
        let grants = format!("http = [{{ {origin}, networks = ['loopback'] }}]");
        assert_eq!(Errand::new(&errand, &grants).run(), "200 fine");
    }
    // Only the address that is allowed is connected to, not the other one first, nor after it.
    let errand = request_to(&format!("http://mixed.example:{port}/"));
    let grants =
        format!("http = [{{ origin = 'http://mixed.example:{port}', networks = ['loopback'] }}]");
    assert_eq!(Errand::new(&errand, &grants).run(), "200 fine");
    // Nobody is there, and the receiver is at the other address.
    NAMES.lead("beside.example", &[&["127.0.0.2", "127.0.0.1"]]);
    let errand = request_to(&format!("http://beside.example:{port}/"));
    let grants = format!(
        "http = [{{ origin = 'http://beside.example:{port}', networks = ['127.0.0.2/32'] }}]"
    );
    let before = receiver.received().len();
    let found = Errand::new(&errand, &grants).run();
    assert!(found.starts_with("failed: "), "{found}");
    assert_eq!(receiver.received().len(), before);
}

#[test]
fn a_name_that_is_bound_to_another_address_in_between_leads_nowhere() {
    let receiver = ok();
    let port = receiver.url("/").port();
    // What is looked at and what is connected to are one answer: the second one is never asked for
    // by the same connection. The first may be connected to, and nobody is there.
    NAMES.lead("rebinding.example", &[&["127.0.0.2"], &["127.0.0.1"]]);
    let errand = request_to(&format!("http://rebinding.example:{port}/"));
    let grants = format!(
        "http = [{{ origin = 'http://rebinding.example:{port}', networks = ['127.0.0.2/32'] }}]"
    );
    let mut errand = Errand::new(&errand, &grants);
    for _ in 0..3 {
        assert!(errand.run().starts_with("failed: "));
    }
    assert_eq!(receiver.received(), []);
}

#[test]
fn a_redirect_to_another_place_is_refused_there() {
    let inner = ok();
    let to = inner.url("/meta-data").to_string();
    let outer = Receiver::new(move |_| Reply::status(307).header("Location", &to));
    let errand = json!({ "errand": "follow", "url": outer.url("/").to_string() });
    let mut errand = Errand::new(&errand, &format!("http = [{{ origin = '{}' }}]", origin(&outer)));
    let found = errand.run();
    assert!(found.starts_with("failed: "), "{found}");
    assert_eq!((outer.received().len(), inner.received().len()), (1, 0));
}

#[test]
fn credentials_are_put_on_by_the_host_in_the_place_of_the_guests_own() {
    // `CARGO_PKG_NAME` of this test.
    let secret = "wasink";
    let basic = STANDARD.encode(format!("meter:{secret}"));
    for (grant, header, expected) in [
        ("bearer = 'token'", "authorization", format!("Bearer {secret}")),
        ("user = 'meter', password = 'token'", "authorization", format!("Basic {basic}")),
        ("header = 'X-Api-Key', key = 'token'", "x-api-key", secret.to_owned()),
    ] {
        let receiver = ok();
        let url = receiver.url("/").to_string();
        let errand = json!({
            "errand": "request", "url": url, "body": ["", 0],
            "headers": { header: "the guest's own" },
        });
        let grants = format!("http = [{{ origin = '{}', {grant} }}]", origin(&receiver));
        let mut errand = Errand::new(&errand, &grants);
        assert_eq!(errand.run(), "200 fine");
        let received = receiver.received();
        let headers = received[0].headers.iter();
        let all: Vec<_> = headers.filter(|(name, _)| name == header).map(|(_, v)| v).collect();
        assert_eq!(all, [&expected]);
        // The guest can't ask for what only the host needs.
        let asking = json!({ "errand": "secret", "name": "token" });
        assert_eq!(Errand::new(&asking, &grants).run(), "none");
    }
}

#[test]
fn each_origin_gets_its_own_credential_and_no_other() {
    let (first, second, none) = (ok(), ok(), ok());
    let grants = format!(
        "http = [{{ origin = '{}', bearer = 'token' }}, {{ origin = '{}', bearer = 'signing' }}, \
         {{ origin = '{}' }}]",
        origin(&first),
        origin(&second),
        origin(&none)
    );
    for (receiver, expected) in [
        (&first, Some("Bearer wasink")),
        (&second, Some("Bearer whsec_c2VjcmV0IGtleQ==")),
        (&none, None),
    ] {
        let mut errand = Errand::new(&request_to(&receiver.url("/").to_string()), &grants);
        assert_eq!(errand.run(), "200 fine");
        assert_eq!(receiver.received()[0].header("authorization"), expected);
    }
}

#[test]
fn a_secret_that_fits_no_header_is_told_of_without_being_shown() {
    let receiver = ok();
    let grants = format!("http = [{{ origin = '{}', bearer = 'odd' }}]", origin(&receiver));
    let mut errand = Errand::new(&request_to(&receiver.url("/").to_string()), &grants);
    let found = errand.run();
    assert!(found.starts_with("failed: "), "{found}");
    let told = errand.told().join("\n");
    assert!(told.contains("secret `odd` has characters that a header can't have"), "{told}");
    assert!(!told.contains("lines") && !found.contains("lines"), "{told} {found}");
    assert_eq!(receiver.received(), []);
}

#[test]
fn a_request_is_signed_as_standard_webhooks_has_it() {
    let receiver = ok();
    let grants = format!("http = [{{ origin = '{}', signature = 'signing' }}]", origin(&receiver));
    for id in [None, Some("batch-7")] {
        let mut errand = request_to(&receiver.url("/").to_string());
        errand["headers"] = json!({ "webhook-timestamp": "1", "webhook-signature": "v1,mine" });
        if let Some(id) = id {
            errand["headers"]["webhook-id"] = id.into();
        }
        let mut errand = Errand::new(&errand, &grants);
        assert_eq!((errand.run(), errand.run()), ("200 fine".to_owned(), "200 fine".to_owned()));
        let received = receiver.received();
        let [first, second] = &received[received.len() - 2..] else { panic!() };
        let header = |name: &str| first.header(name).unwrap();
        assert_eq!(header("webhook-id"), second.header("webhook-id").unwrap(), "again the same");
        assert!(id.is_none_or(|id| id == header("webhook-id")));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret key").unwrap();
        let signed = format!("{}.{}.hello", header("webhook-id"), header("webhook-timestamp"));
        mac.update(signed.as_bytes());
        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header("webhook-signature"), expected);
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let all = first.headers.iter().filter(|(key, _)| key == name).count();
            assert_eq!(all, 1, "`{name}` is the host's alone");
        }
    }
    // Another body has another id, and what parts the id from the time can't be in it.
    let mut other = request_to(&receiver.url("/").to_string());
    other["body"] = json!(["other", 1]);
    assert_eq!(Errand::new(&other, &grants).run(), "200 fine");
    let received = receiver.received();
    let (first, last) = (&received[0], &received[received.len() - 1]);
    assert_ne!(first.header("webhook-id"), last.header("webhook-id"));
    other["headers"] = json!({ "webhook-id": "batch.1" });
    let mut parted = Errand::new(&other, &grants);
    assert!(parted.run().starts_with("failed: "));
    assert!(parted.told()[0].contains("`webhook-id` has a `.` in it"), "{:?}", parted.told());
    assert_eq!(receiver.received().len(), received.len());
}

#[test]
fn what_is_sent_and_what_comes_back_is_limited() {
    let receiver = Receiver::new(|request| match request.path.as_str() {
        "/long" => Reply::status(200).body("x".repeat(5_000)),
        "/endless" => Reply::endless("HTTP/1.1 200 OK\r\n\r\n", "x".repeat(1_000)),
        "/headers" => Reply::status(200).header("x", &"y".repeat(20_000)),
        "/headers/endless" => Reply::endless("HTTP/1.1 200 OK\r\n", "x: y\r\n"),
        "/headers/long" => Reply::endless("HTTP/1.1 200 OK\r\nx: ", "y"),
        _ => Reply::status(200).body("fine"),
    });
    let grants = format!("http = [{{ origin = '{}' }}]", origin(&receiver));
    // What is signed has to be there as a whole first.
    let signed = format!("http = [{{ origin = '{}', signature = 'signing' }}]", origin(&receiver));
    let url = |path: &str| receiver.url(path).to_string();
    let large = json!({ "errand": "request", "url": url("/"), "body": ["xxxxxxxxxx", 200] });
    // Each costs more than its name and its value.
    let many: BTreeMap<_, _> = (0..250).map(|n| (format!("x-{n}"), "y")).collect();
    let many = json!({ "errand": "request", "url": url("/"), "body": ["", 0], "headers": many });
    for (errand, grants, limit) in [
        (request_to(&url("/long")), &grants, Limit::HttpAnswer),
        (request_to(&url("/endless")), &grants, Limit::HttpAnswer),
        (request_to(&url("/headers")), &grants, Limit::HttpHeaders),
        (request_to(&url("/headers/endless")), &grants, Limit::HttpHeaders),
        (request_to(&url("/headers/long")), &grants, Limit::HttpHeaders),
        (large.clone(), &grants, Limit::HttpRequest),
        (large, &signed, Limit::HttpRequest),
        (many, &grants, Limit::HttpHeaders),
    ] {
        let mut errand = Errand::limited(&errand, grants, |limits| {
            limits.http_answer_bytes = 1_000;
            limits.http_request_bytes = 1_000;
            limits.http_header_bytes = 8 << 10;
        });
        let found = errand.run();
        assert!(found.starts_with("failed: "), "{limit:?}: {found}");
        assert!(errand.reached.get(limit) > 0, "{limit:?}: {found}");
    }
    // What was too large to be sent was not sent.
    assert!(receiver.received().iter().all(|request| request.path != "/"));
}

#[test]
fn headers_that_are_never_sent_are_limited_as_well() {
    let headers = |kib: usize| {
        let limits = |limits: &mut Limits| limits.http_header_bytes = 16 << 10;
        Errand::limited(&json!({ "errand": "headers", "kib": kib }), "", limits)
    };
    assert_eq!(headers(32).run(), "32 headers");
    let mut errand = headers(80);
    let error = errand.sink.write(&batch(Stream::Usage, 0, 1)).unwrap_err().to_string();
    assert!(error.contains("trapped in `write`"), "{error}");
    assert!(error.contains("it came up against `limits.http_headers`"), "{error}");
    assert_eq!(errand.reached.get(Limit::HttpHeaders), 1);
}

#[test]
fn requests_take_no_handles_for_good() {
    let receiver = ok();
    let grants = format!("http = [{{ origin = '{}' }}]", origin(&receiver));
    let few = |limits: &mut Limits| limits.handles = 16;
    let request = request_to(&receiver.url("/").to_string());
    let mut errand = Errand::limited(&request, &grants, few);
    for n in 1..=100 {
        assert_eq!(errand.run(), "200 fine", "request {n}");
    }
}

#[test]
fn chance_is_given_in_pieces_that_the_host_has_room_for() {
    let chance = |bytes: u64| {
        let errand = json!({ "errand": "chance", "bytes": bytes });
        let limits = |limits: &mut Limits| limits.host_call_bytes = 1 << 20;
        let mut errand = Errand::limited(&errand, "", limits);
        errand.sink.write(&batch(Stream::Usage, 0, 1)).map_err(|error| error.to_string())
    };
    assert!(chance(1 << 10).is_ok());
    for bytes in [(1 << 20) + 1, 32 << 20, u64::MAX] {
        let error = chance(bytes).unwrap_err();
        assert!(error.contains("it came up against `limits.host_call`"), "{error}");
    }
}

#[test]
fn no_more_requests_are_under_way_than_are_allowed_and_the_others_wait() {
    // It does not answer before another request has had to wait.
    let counts: Arc<OnceLock<LimitCounts>> = Arc::default();
    let seen = counts.clone();
    let receiver = Receiver::new(move |_| {
        while seen.get().is_none_or(|counts| counts.get(Limit::HttpRequests) == 0) {
            thread::yield_now();
        }
        Reply::status(200)
    });
    let authority = receiver.url("/").authority();
    let errand = json!({ "errand": "at-once", "authority": authority, "requests": 5 });
    let grants = format!("http = [{{ origin = 'http://{authority}' }}]");
    let mut errand = Errand::limited(&errand, &grants, |limits| limits.http_requests = 1);
    counts.set(errand.reached.clone()).unwrap();
    assert_eq!(errand.run(), "5 answers");
}

#[test]
fn an_origin_is_spelled_by_the_host_and_receivers_are_not_asked_to_repeat_what_they_got() {
    let receiver = ok();
    let (host, port) = (receiver.url("/").host().to_owned(), receiver.url("/").port());
    let grants = format!("http = [{{ origin = 'http://{host}:{port}', bearer = 'token' }}]");
    let at_once = |authority: String, method: &str| json!({ "errand": "at-once", "authority": authority, "requests": 1, "method": method });
    let mut errand = Errand::new(&at_once(format!("{host}:0{port}"), "GET"), &grants);
    assert_eq!(errand.run(), "1 answers");
    assert_eq!(receiver.received()[0].header("host"), Some(&*format!("{host}:{port}")));
    for method in ["TRACE", "TRACK", "CONNECT"] {
        let found = Errand::new(&at_once(format!("{host}:{port}"), method), &grants).run();
        assert!(found.starts_with("failed: ") && found.contains("Method"), "{method}: {found}");
    }
    assert_eq!(receiver.received().len(), 1);
    // A user in it is no part of an origin, and is not told of either.
    let mut named = Errand::new(&at_once(format!("me:s3cret@{host}:{port}"), "GET"), &grants);
    let found = named.run();
    assert!(found.starts_with("failed: "), "{found}");
    let told = named.told().join("\n");
    assert!(!told.contains("s3cret") && !told.contains("me:"), "{told}");
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn a_receiver_that_never_answers_ends_with_the_time_that_a_request_may_take() {
    let receiver = Receiver::new(|_| Reply::silent());
    let grants = format!("http = [{{ origin = '{}' }}]", origin(&receiver));
    let mut errand =
        Errand::limited(&request_to(&receiver.url("/").to_string()), &grants, |limits| {
            limits.http_time = Duration::from_millis(100)
        });
    let found = errand.run();
    assert!(found.starts_with("failed: "), "{found}");
    assert_eq!(errand.reached.get(Limit::HttpTime), 1);
}

#[test]
fn an_answer_that_never_ends_ends_with_the_time_that_a_request_may_take() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n";
    let drip = head.to_owned() + &"x".repeat(100_000);
    let receiver = Receiver::new(move |_| Reply::drip(drip.clone(), Duration::from_millis(1)));
    let grants = format!("http = [{{ origin = '{}' }}]", origin(&receiver));
    let mut errand =
        Errand::limited(&request_to(&receiver.url("/").to_string()), &grants, |limits| {
            limits.http_time = Duration::from_secs(1)
        });
    let found = errand.run();
    assert!(found.starts_with("failed: "), "{found}");
    assert_eq!(errand.reached.get(Limit::HttpTime), 1);
}

/// Answers each connection's first line, and tells who connected.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(b"well met\n").unwrap();
        }
    });
    address
}

#[test]
fn a_connection_goes_where_it_is_granted_by_address_or_by_name() {
    let port = echo().port();
    NAMES.lead("db.example", &[&["127.0.0.1"]]);
    let to = |host: &str| json!({ "errand": "connect", "to": format!("{host}:{port}") });
    for (host, grants, reached) in [
        ("127.0.0.1", String::new(), false),
        ("127.0.0.1", format!("tcp = ['127.0.0.1:{port}']"), true),
        ("127.0.0.1", format!("tcp = ['127.0.0.0/8:{port}']"), true),
        ("127.0.0.1", "tcp = ['127.0.0.0/8:1']".to_owned(), false),
        ("127.0.0.1", format!("tcp = ['10.0.0.0/8:{port}']"), false),
        ("127.0.0.1", format!("http = [{{ origin = 'http://127.0.0.1:{port}' }}]"), false),
        ("db.example", String::new(), false),
        // The name alone: it leads to an address that is not public.
        ("db.example", format!("tcp = ['db.example:{port}']"), false),
        // The address alone: the name is not to be looked up.
        ("db.example", format!("tcp = ['127.0.0.1:{port}']"), false),
        ("db.example", format!("tcp = ['db.example:{port}', '127.0.0.1:{port}']"), true),
        ("db.example", format!("tcp = ['db.example:1', '127.0.0.1:{port}']"), false),
    ] {
        let mut errand = Errand::new(&to(host), &grants);
        let found = errand.run();
        assert_eq!(found == "well met\n", reached, "{host} {grants}: {found}");
        if !reached && !grants.is_empty() && !grants.contains("http") {
            assert!(errand.told().iter().any(|line| line.contains("refused")), "{host} {grants}");
        }
    }
}

#[test]
fn names_are_looked_up_only_where_they_are_granted() {
    NAMES.lead("public.example", &[&["93.184.215.14", "10.0.0.1"]]);
    let errand = json!({ "errand": "resolve", "name": "public.example" });
    let found = Errand::new(&errand, "").run();
    assert!(found.starts_with("failed: "), "{found}");
    let found = Errand::new(&errand, "tcp = ['other.example:1']").run();
    assert!(found.starts_with("failed: "), "{found}");
    let found = Errand::new(&errand, "tcp = ['Public.Example:1']").run();
    assert_eq!(found, "93.184.215.14", "not the one that is not public");
}

#[test]
fn nobody_listens_and_nothing_but_tcp_is_spoken() {
    let port = echo().port();
    let grants = format!("tcp = ['0.0.0.0/0:{port}', '127.0.0.1:{port}']");
    let found = Errand::new(&json!({ "errand": "listen" }), &grants).run();
    assert!(found.starts_with("failed: "), "{found}");
    let datagram = json!({ "errand": "datagram", "to": format!("127.0.0.1:{port}") });
    let found = Errand::new(&datagram, &grants).run();
    assert!(found.starts_with("failed: "), "{found}");
}

#[test]
fn secrets_and_variables_are_given_by_name() {
    let secret = |name: &str| json!({ "errand": "secret", "name": name });
    assert_eq!(Errand::new(&secret("token"), "secrets = ['token']").run(), "wasink");
    assert_eq!(Errand::new(&secret("odd"), "secrets = ['odd']").run(), "two\nlines");
    assert_eq!(Errand::new(&secret("signing"), "secrets = ['token']").run(), "none");
    assert_eq!(Errand::new(&secret("TOKEN"), "secrets = ['token']").run(), "none");
    let variables = json!({ "errand": "environment" });
    assert_eq!(Errand::new(&variables, "").run(), "");
    assert_eq!(Errand::new(&variables, "environment = ['TZ']").run(), "TZ=value");
}

#[test]
fn no_more_is_held_than_there_may_be_handles() {
    let mut errand =
        Errand::limited(&json!({ "errand": "hold" }), "", |limits| limits.handles = 50);
    let error = errand.sink.write(&batch(Stream::Usage, 0, 1)).unwrap_err().to_string();
    assert!(error.contains("it came up against `limits.handles`"), "{error}");
    let held = errand.told().len();
    assert!((20..=50).contains(&held), "{held}");
}
