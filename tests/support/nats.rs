//! A real NATS server with JetStream, for as long as a test wants it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tempfile::TempDir;

/// Set by who wants tests to fail that lack the server that they need.
const REQUIRED: &str = "TEST_SERVERS";

/// A server on 127.0.0.1, whose streams are kept in a directory of its own.
pub(crate) struct Nats {
    directory: TempDir,
    port: u16,
    /// What it is told beside where its streams are.
    more: Vec<String>,
    token: &'static str,
    child: Option<Child>,
}

impl Nats {
    /// A server at work. `None` where there is none on this machine and nobody has asked for one: then
    /// the test has nothing to show, and says so.
    pub(crate) fn start() -> Option<Self> {
        is_there().then(|| Self::started("", Vec::new()))
    }

    /// One that takes nobody without this token.
    pub(crate) fn guarded_by(token: &'static str) -> Option<Self> {
        is_there().then(|| Self::started(token, ["--auth", token].map(str::to_owned).to_vec()))
    }

    /// Three that keep streams together.
    pub(crate) fn cluster() -> Option<Vec<Self>> {
        if !is_there() {
            return None;
        }
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        // All at a time, so that none is given twice.
        let listeners = [(); 3].map(|()| free());
        let routes = listeners.map(|free| format!("nats://{}", free.local_addr().unwrap()));
        let server = |(n, own): (usize, &String)| {
            let (name, routes) = (format!("server{n}"), routes.join(","));
            let more =
                ["--server_name", &name, "--cluster_name", "test", "--cluster", own, "--routes"];
            let mut more = more.map(str::to_owned).to_vec();
            more.push(routes);
            Self::started("", more)
        };
        Some(routes.iter().enumerate().map(server).collect())
    }

    fn started(token: &'static str, more: Vec<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut server = Self { directory, port: 0, more, token, child: None };
        server.run();
        server
    }

    /// Starts it again where it was.
    pub(crate) fn run(&mut self) {
        let ports = self.directory.path().join("ports");
        std::fs::create_dir_all(&ports).unwrap();
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let mut command = Command::new(program());
        command.args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"]).arg(self.directory.path());
        command.arg("--ports_file_dir").arg(&ports);
        command.args(&self.more);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let file = ports.join(format!("nats-server_{}.ports", child.id()));
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(60);
        // It is written once the server takes connections.
        let found = loop {
            if let Some(port) = port_in(&file) {
                break port;
            }
            assert!(Instant::now() < until, "the server does not start");
            std::thread::park_timeout(Duration::from_millis(5));
        };
        self.port = found;
        drop(self.raw());
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Holds it still, so that nothing comes from it and nothing is refused, or lets it go on.
    pub(crate) fn hold(&self, held: bool) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let signal = if held { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    fn raw(&self) -> Raw {
        Raw::connect(self.port, self.token)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends these bytes to a subject, and returns once the server has them.
    pub(crate) fn publish(&self, subject: &str, payload: &str) {
        let mut raw = self.raw();
        raw.say(&format!("PUB {subject} {}\r\n{payload}\r\n", payload.len()));
        raw.ping();
    }

    /// Asks JetStream, as in `ask("STREAM.INFO.x", "")`.
    pub(crate) fn ask(&self, subject: &str, payload: &str) -> Json {
        let mut raw = self.raw();
        raw.say("SUB answer 1\r\n");
        let length = payload.len();
        raw.say(&format!("PUB $JS.API.{subject} answer {length}\r\n{payload}\r\n"));
        let head = raw.line();
        assert!(head.starts_with("MSG answer"), "{head}");
        serde_json::from_str(&raw.line()).unwrap()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.hold(false);
            self.kill();
        }
    }
}

fn is_there() -> bool {
    let found = Command::new(program()).arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        assert!(std::env::var_os(REQUIRED).is_none(), "there is no nats-server on this machine");
        // Not by `eprintln!`, which is kept for tests that fail.
        let mut stderr = std::io::stderr();
        stderr.write_all(b"LEFT OUT: no nats-server on this machine\n").unwrap();
    }
    found.is_ok()
}

/// Debian's package has it where only root looks for programs.
fn program() -> &'static str {
    let packaged = "/usr/sbin/nats-server";
    if Path::new(packaged).exists() { packaged } else { "nats-server" }
}

fn port_in(file: &Path) -> Option<u16> {
    let ports: Json = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}

/// The protocol by hand.
struct Raw(BufReader<TcpStream>);

impl Raw {
    fn connect(port: u16, token: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // Small writes one after another would wait for each other's acknowledgements.
        stream.set_nodelay(true).unwrap();
        let mut raw = Self(BufReader::new(stream));
        assert!(raw.line().starts_with("INFO "));
        raw.say(&format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"auth_token\":\"{token}\"}}\r\n"
        ));
        raw.ping();
        raw
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn ping(&mut self) {
        self.say("PING\r\n");
        assert_eq!(self.line(), "PONG");
    }

    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            match line.trim_end() {
                // It may ask as well.
                "PING" => self.say("PONG\r\n"),
                line => return line.to_owned(),
            }
        }
    }
}
