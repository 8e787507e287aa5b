//! A real PostgreSQL server, for as long as a test wants it.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use postgres::{Client, NoTls};

/// Set by who wants tests to fail that lack the server that they need.
const REQUIRED: &str = "TEST_SERVERS";

/// Where Debian's package has its programs, by version.
const PACKAGED: &str = "/usr/lib/postgresql";

/// A server on a Unix socket, whose databases are in a directory of its own.
pub(crate) struct Postgres {
    directory: PathBuf,
    port: u16,
    /// Ends the server and removes the directory once this process is gone, however that comes about.
    guardian: Child,
    databases: AtomicU32,
}

impl Postgres {
    /// One that the tests of this process share. It does not survive a loss of power. `None` where
    /// there is none on this machine and nobody has asked for one: then the test has nothing to show,
    /// and says so.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED
            .get_or_init(|| programs().map(|programs| Self::started(&programs, "fsync = off")))
            .as_ref()
    }

    /// One of its own, which may be stopped.
    pub(crate) fn start() -> Option<Self> {
        programs().map(|programs| Self::started(&programs, ""))
    }

    /// One of its own that listens on 127.0.0.1 too, with this certificate and its key, as PEM, for the
    /// user `guarded` with the password `secret`.
    pub(crate) fn encrypted(certificate: &str, key: &str) -> Option<Self> {
        let programs = programs()?;
        let mut server = Self::made(&programs);
        server.write("server.crt", certificate);
        server.write("server.key", key);
        server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        server.configure("ssl = on\nlisten_addresses = '127.0.0.1'");
        server.run();
        Some(server)
    }

    fn started(programs: &Path, settings: &str) -> Self {
        let server = Self::made(programs);
        server.configure(settings);
        server.run();
        server
    }

    fn made(programs: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        if let Some((user, group)) = owner() {
            chown(&directory, Some(user), Some(group)).unwrap();
        }
        let script = "trap '' HUP INT TERM; read -r line; \
                      \"$1/pg_ctl\" -D \"$2/data\" -m immediate -s stop; rm -rf \"$2\"";
        let guardian = as_owner("sh")
            .args(["-c", script, "sh"])
            .args([programs, &directory])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { directory, port: 5432, guardian, databases: AtomicU32::new(0) };
        server.program(
            "initdb",
            &["-N", "-A", "trust", "-E", "UTF8", "--no-locale", "-U", "postgres"],
        );
        server.write(
            "pg_hba.conf",
            "local all guarded scram-sha-256\nlocal all all trust\n\
             hostssl all guarded 127.0.0.1/32 scram-sha-256\n",
        );
        server
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.join("data").join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some((user, group)) = owner() {
            chown(&path, Some(user), Some(group)).unwrap();
        }
    }

    fn configure(&self, settings: &str) {
        let (directory, port) = (self.directory.display(), self.port);
        let all = format!(
            "listen_addresses = ''\nunix_socket_directories = '{directory}'\nport = {port}\n\
             shared_buffers = 16MB\nmax_connections = 60\ntimezone = 'UTC'\n{settings}\n"
        );
        self.write("postgresql.conf", &all);
    }

    fn program(&self, name: &str, args: &[&str]) {
        let programs = programs().unwrap();
        let done = as_owner(programs.join(name))
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(args)
            .current_dir("/")
            .env("LC_ALL", "C")
            // The server keeps what it inherits.
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        assert!(done.success(), "{name} {args:?}\n{log}");
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts it where it was.
    pub(crate) fn run(&self) {
        self.program("pg_ctl", &["-l", self.log().to_str().unwrap(), "-w", "start"]);
    }

    /// Ends it as a crash does.
    pub(crate) fn crash(&self) {
        self.program("pg_ctl", &["-m", "immediate", "-w", "stop"]);
    }

    /// Where it listens on 127.0.0.1, if it does.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of one of its databases, for this user.
    pub(crate) fn url(&self, database: &str, user: &str) -> String {
        let (directory, port) = (self.directory.display(), self.port);
        format!("postgres:///{database}?host={directory}&port={port}&user={user}")
    }

    /// A new database, with more said about it.
    pub(crate) fn database(&self, more: &str) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.client("postgres").batch_execute(&format!("CREATE DATABASE {name} {more}")).unwrap();
        name
    }

    /// A connection of its own, as one who may do anything.
    pub(crate) fn client(&self, database: &str) -> Client {
        let url = self.url(database, "postgres");
        Client::connect(&url, NoTls).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        self.guardian.wait().unwrap();
    }
}

/// The directory of the newest that is installed.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PACKAGED).into_iter().flatten().flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<_> = versions.map(|version| version.path()).collect();
    found.retain(|path| path.join("bin/initdb").exists());
    found.sort_by_key(version);
    let packaged = found.pop().map(|path| path.join("bin"));
    let found = packaged.or_else(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).find(|directory| directory.join("initdb").exists())
    });
    if found.is_none() {
        assert!(
            std::env::var_os(REQUIRED).is_none(),
            "there is no PostgreSQL server on this machine"
        );
        // Not by `eprintln!`, which is kept for tests that fail.
        let mut stderr = std::io::stderr();
        stderr.write_all(b"LEFT OUT: no PostgreSQL server on this machine\n").unwrap();
    }
    found
}

/// Who runs it: nobody else, or, since it refuses to be run by root, the user that is there for it.
fn owner() -> Option<(u32, u32)> {
    let id = |args: &[&str]| -> Option<u32> {
        let told = Command::new("id").args(args).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(told.stdout).unwrap().trim().parse().ok()
    };
    let of = |user| Some((id(&["-u", user])?, id(&["-g", user])?));
    if id(&["-u"]) == Some(0) { of("postgres").or_else(|| of("nobody")) } else { None }
}

fn as_owner(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let Some((user, group)) = owner() else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()]);
    command.arg("--").arg(program);
    command
}
