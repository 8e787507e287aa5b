//! A door that does as it is told, and servers in front of it.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_record::{Clock, IdSource, Record, RecordId, Stream, Timestamp};
use wasink_serve::{AppendError, Appending, Door, Limits, Listen, Parts, Ready, Server};

use super::client::{Answer, Request, Target, send};

/// Longer than anything takes that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What came through the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) stream: Stream,
    /// The ids that the records came with.
    pub(super) given: Vec<Option<RecordId>>,
    /// Their wire formats.
    pub(super) lines: Vec<String>,
}

/// Takes everything, unless it is told to refuse or to wait.
#[derive(Clone)]
pub(super) struct Fake {
    ids: Arc<IdSource>,
    taken: Arc<Mutex<Vec<Taken>>>,
    refusal: Arc<Mutex<Option<AppendError>>>,
    open: Arc<watch::Sender<bool>>,
    begun: SyncSender<()>,
}

impl Fake {
    fn new() -> (Self, Receiver<()>) {
        let (begun, announced) = sync_channel(1 << 10);
        let fake = Self {
            ids: Arc::new(IdSource::new(7)),
            taken: Arc::default(),
            refusal: Arc::default(),
            open: Arc::new(watch::channel(true).0),
            begun,
        };
        (fake, announced)
    }

    /// Lets appends wait until [`open`](Self::open).
    pub(super) fn shut(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Refuses the next append.
    pub(super) fn refuse(&self, error: AppendError) {
        *self.refusal.lock().unwrap() = Some(error);
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The wire formats of all that was taken.
    pub(super) fn lines(&self) -> Vec<String> {
        self.taken().into_iter().flat_map(|taken| taken.lines).collect()
    }
}

impl Door for Fake {
    fn append(&self, stream: Stream, records: Vec<(Option<RecordId>, Record)>) -> Appending {
        let fake = self.clone();
        Box::pin(async move {
            // Not every test listens.
            let _announced = fake.begun.try_send(());
            fake.open.subscribe().wait_for(|open| *open).await.unwrap();
            if let Some(error) = fake.refusal.lock().unwrap().take() {
                return Err(error);
            }
            let given: Vec<_> = records.iter().map(|(id, _)| *id).collect();
            let lines = records.iter().map(|(_, record)| {
                let mut line = Vec::new();
                record.encode(&mut line);
                String::from_utf8(line).unwrap()
            });
            let lines = lines.collect();
            let ids = given.iter().map(|id| id.unwrap_or_else(|| fake.ids.next(now()))).collect();
            fake.taken.lock().unwrap().push(Taken { stream, given, lines });
            Ok(ids)
        })
    }
}

/// The time of everything here.
pub(super) fn now() -> Timestamp {
    "2026-05-20T01:02:03Z".parse().unwrap()
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        now()
    }
}

/// Remembers every line.
#[derive(Default)]
pub(super) struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub(super) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Logger for Lines {
    fn log(&self, line: &Line<'_>) {
        let mut text = format!("{}: {}", line.level.as_str(), line.message);
        for (key, value) in line.fields {
            text.push_str(&format!(" {key}={value}"));
        }
        self.0.lock().unwrap().push(text);
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

/// A server in front of a fake door.
pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) door: Fake,
    /// Says of each append that it has begun.
    pub(super) begun: Receiver<()>,
    pub(super) lines: Arc<Lines>,
    pub(super) directory: TempDir,
}

impl Bench {
    /// On a loopback address and on a socket, with the default limits.
    pub(super) fn new() -> Self {
        Self::limited(Limits::default())
    }

    pub(super) fn limited(limits: Limits) -> Self {
        Self::start(limits, Arc::new(|| Ok(())), |_| {})
    }

    pub(super) fn start(limits: Limits, ready: Ready, listen: impl FnOnce(&mut Listen)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut to = Listen {
            http: Some("127.0.0.1:0".parse().unwrap()),
            socket: Some(directory.path().join("socket")),
            token: None,
        };
        listen(&mut to);
        let (door, begun) = Fake::new();
        let lines = Arc::new(Lines::default());
        let server =
            Server::start(&to, limits, &parts(door.clone(), ready, lines.clone())).unwrap();
        Self { server, door, begun, lines, directory }
    }

    pub(super) fn tcp(&self) -> Target {
        Target::Tcp(self.server.http().unwrap())
    }

    pub(super) fn unix(&self) -> Target {
        Target::Unix(self.server.socket().unwrap().to_owned())
    }

    /// Sends a request over TCP.
    pub(super) fn send(&self, request: &Request) -> Answer {
        send(&self.tcp(), request)
    }

    /// Sends a body to a stream.
    pub(super) fn post(&self, stream: &str, media_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = Request::post(&format!("/v1/{stream}"), body);
        self.send(&request.with("Content-Type", media_type))
    }
}

pub(super) fn parts(door: impl Door, ready: Ready, logger: Arc<dyn Logger>) -> Parts {
    Parts { door: Arc::new(door), ready, logger, clock: Arc::new(Stopped) }
}

/// A path that is a socket of nobody.
pub(super) fn leave_socket(path: &Path) {
    drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

/// A usage record.
pub(super) fn usage(rid: &str) -> String {
    format!(
        r#"{{"rid":"{rid}","tenant":"acme","src":"http","stack":"shop","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3,"emitted_at":"2026-05-20T01:02:03Z"}}"#
    )
}

/// An event with this data.
pub(super) fn event(id: &str, data: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t","data":{data}}}"#)
}
