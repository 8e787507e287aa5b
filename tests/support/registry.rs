//! A real registry, for as long as a test wants it: the program that Debian packages as
//! `docker-registry`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Set by who wants tests to fail that lack the server that they need.
const REQUIRED: &str = "TEST_SERVERS";

const PROGRAM: &str = "docker-registry";

/// Who may ask one that is guarded.
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "let me in";
/// The password's hash, by `crypt.crypt("let me in", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))`
/// of Python 3.12.
const HASH: &str = "$2b$04$Hn1ZRTgnkm39wO.lMAqdzO4mZEJLILlf2bJcp3VOhwLytPuACTsly";

/// A registry on 127.0.0.1, whose storage is in a directory of its own.
pub(crate) struct Registry {
    directory: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Registry {
    /// One at work. `None` where there is none on this machine and nobody has asked for one: then the
    /// test has nothing to show, and says so.
    pub(crate) fn start() -> Option<Self> {
        is_there().then(|| Self::started(|_| String::new()))
    }

    /// One that asks everybody for a name and a password.
    pub(crate) fn guarded() -> Option<Self> {
        is_there().then(|| {
            Self::started(|directory| {
                let path = directory.path().join("htpasswd");
                std::fs::write(&path, format!("{USER}:{HASH}\n")).unwrap();
                format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path.display())
            })
        })
    }

    /// One that speaks TLS, with this certificate and its key, as PEM.
    pub(crate) fn encrypted(certificate: &str, key: &str) -> Option<Self> {
        is_there().then(|| {
            Self::started(|directory| {
                let [certificate, key] = [("crt", certificate), ("key", key)].map(|(name, pem)| {
                    let path = directory.path().join(name);
                    std::fs::write(&path, pem).unwrap();
                    path
                });
                let (certificate, key) = (certificate.display(), key.display());
                format!("  tls: {{certificate: {certificate}, key: {key}}}\n")
            })
        })
    }

    /// `more` goes to the end of its configuration, which is where `http` is.
    fn started(more: impl FnOnce(&TempDir) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http:\n  addr: 127.0.0.1:0\n{}",
            directory.path().join("storage").display(),
            more(&directory)
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let log = directory.path().join("log");
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg(directory.path().join("config.yml"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut server = Self { directory, port: 0, child: Some(child) };
        let until = Instant::now() + Duration::from_secs(60);
        server.port = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            // It says so once it takes connections, and has the port from the system.
            if let Some(port) = text.lines().find_map(port_in) {
                break port;
            }
            let ended = server.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "it does not start: {text}");
            std::thread::park_timeout(Duration::from_millis(5));
        };
        server
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The file in which it has what has this digest.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        let digits = digest.strip_prefix("sha256:").unwrap();
        let (first, _) = digits.split_at(2);
        let blobs = self.directory.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(first).join(digits).join("data")
    }

    /// Puts an image for containers there, without layers.
    pub(crate) fn put_image(&self, repository: &str, tag: &str) {
        const KIND: &str = "application/vnd.oci.image";
        // The digest of the configuration, by `printf '{}' | sha256sum`.
        const CONFIG: &str =
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", "");
        let place = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let (_, path) = place.split_once(&self.address()).unwrap();
        let put =
            self.ask("PUT", &format!("{path}&digest={CONFIG}"), "application/octet-stream", "{}");
        assert!(put.starts_with("HTTP/1.1 201"), "{put}");
        let manifest = format!(
            "{{\"schemaVersion\":2,\"mediaType\":\"{KIND}.manifest.v1+json\",\"config\":{{\
             \"mediaType\":\"{KIND}.config.v1+json\",\"digest\":\"{CONFIG}\",\"size\":2}},\
             \"layers\":[]}}"
        );
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.ask("PUT", &path, &format!("{KIND}.manifest.v1+json"), &manifest);
        assert!(put.starts_with("HTTP/1.1 201"), "{put}");
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.address(),
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.replace("\r\n", "\n")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

fn is_there() -> bool {
    let found = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        assert!(std::env::var_os(REQUIRED).is_none(), "there is no {PROGRAM} on this machine");
        // Not by `eprintln!`, which is kept for tests that fail.
        let mut stderr = std::io::stderr();
        stderr.write_all(b"LEFT OUT: no docker-registry on this machine\n").unwrap();
    }
    found.is_ok()
}

fn port_in(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
