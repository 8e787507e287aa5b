//! A feed, a node's database, and what the node does with events.

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, Transaction};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wasink_chassis::feed::{FeedPlugin, FeedSource, PolledEvent};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{
    CallError, Description, Failure, Interrupter, PluginError, PluginVersion,
};
use wasink_feed::applier::sqlite::SqliteStore;
use wasink_feed::applier::{Applied, Applier, ApplierOptions, Apply, ApplyError};
use wasink_feed::artifacts::{Artifact, ArtifactStore, StoreOptions};
use wasink_record::{Clock, ControlEvent, ControlType, SystemClock};

/// A feed, as several nodes see it.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) events: Vec<PolledEvent>,
    pub(crate) acks: Vec<Vec<String>>,
    pub(crate) refuse_acks: bool,
    /// The source has broken, and stays so until it is opened again.
    pub(crate) broken: bool,
    /// It gives events from the beginning, whatever it is asked for.
    pub(crate) repeats: bool,
    /// Told when a call is to be ended.
    pub(crate) interrupted: Option<SyncSender<()>>,
}

pub(crate) struct Source(pub(crate) Arc<Mutex<Feed>>);

impl FeedPlugin for Source {
    fn version(&self) -> PluginVersion {
        PluginVersion { digest: String::new(), version: String::new(), path: None }
    }

    fn description(&self) -> Arc<Description> {
        panic!("nobody asks")
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        self.0.lock().unwrap().broken = false;
        Ok(())
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        let interrupted = self.0.lock().unwrap().interrupted.clone();
        Interrupter::new(move || {
            if let Some(interrupted) = &interrupted {
                interrupted.send(()).unwrap();
            }
        })
    }
}

impl FeedSource for Source {
    fn poll(&mut self, since: u64, max: u32, _: Duration) -> Result<Vec<PolledEvent>, CallError> {
        let feed = self.0.lock().unwrap();
        if feed.broken {
            return Err(Failure::Broken("no more".to_owned()).into());
        }
        let since = if feed.repeats { 0 } else { since };
        let behind = feed.events.iter().filter(|event| event.control_version > since);
        Ok(behind.take(max as usize).cloned().collect())
    }

    fn wants_acks(&self) -> bool {
        true
    }

    fn ack(&mut self, event_ids: &[String]) -> Result<(), CallError> {
        let mut feed = self.0.lock().unwrap();
        if feed.refuse_acks {
            return Err(Failure::Broken("no".to_owned()).into());
        }
        feed.acks.push(event_ids.to_vec());
        Ok(())
    }
}

/// Counts lines of the log.
#[derive(Default)]
pub(crate) struct Lines(pub(crate) Mutex<Vec<String>>);

impl Logger for Lines {
    fn log(&self, line: &Line<'_>) {
        self.0.lock().unwrap().push(format!("{} {:?}", line.message, line.fields));
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

/// Writes each event down, with its artifact, unless its tenant says otherwise.
pub(crate) struct Writes(pub(crate) Arc<Mutex<Vec<usize>>>);

impl Apply<SqliteStore> for Writes {
    fn apply(
        &mut self,
        event: &ControlEvent,
        artifact: Option<&Artifact>,
        transaction: &mut Transaction<'_>,
    ) -> Result<(), ApplyError> {
        let bytes = artifact.map(|artifact| artifact.bytes.clone());
        let sql = "INSERT INTO changes (event_id, bytes) VALUES (?, ?)";
        transaction.execute(sql, (event.event_id(), bytes)).unwrap();
        match event.tenant_id() {
            Some("refused") => Err(ApplyError::Refused("I can't".to_owned())),
            _ => Ok(()),
        }
    }

    fn applied(&mut self, events: usize) {
        self.0.lock().unwrap().push(events);
    }
}

pub(crate) struct Kit {
    pub(crate) directory: TempDir,
    pub(crate) feed: Arc<Mutex<Feed>>,
    pub(crate) lines: Arc<Lines>,
    pub(crate) reloads: Arc<Mutex<Vec<usize>>>,
}

impl Kit {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let table = "CREATE TABLE changes (n INTEGER PRIMARY KEY, event_id TEXT, bytes BLOB)";
        Connection::open(directory.path().join("db")).unwrap().execute(table, ()).unwrap();
        Self { directory, feed: Arc::default(), lines: Arc::default(), reloads: Arc::default() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("db")
    }

    pub(crate) fn applier(&self) -> Applier<SqliteStore> {
        self.applier_with(ApplierOptions::default(), Arc::new(SystemClock))
    }

    pub(crate) fn applier_with(
        &self,
        options: ApplierOptions,
        clock: Arc<dyn Clock>,
    ) -> Applier<SqliteStore> {
        Applier::new(
            Box::new(Source(self.feed.clone())),
            SqliteStore::open(&self.path(), "fleet").unwrap(),
            Box::new(Writes(self.reloads.clone())),
            Some(Box::new(self.artifacts())),
            options,
            clock,
            self.lines.clone(),
        )
    }

    pub(crate) fn artifacts(&self) -> ArtifactStore {
        let directory = self.directory.path().join("artifacts");
        std::fs::create_dir_all(&directory).unwrap();
        let mut options = StoreOptions::new(format!("file://{}", directory.display()));
        options.limit = 1_000;
        ArtifactStore::open(&options).unwrap()
    }

    pub(crate) fn put(&self, events: Vec<ControlEvent>) {
        let polled = events.into_iter().map(|event| PolledEvent {
            event_id: event.event_id().to_owned(),
            control_version: event.control_version(),
            event: Ok(event),
        });
        self.feed.lock().unwrap().events.extend(polled);
    }

    /// Puts an artifact where events find it, and returns its digest.
    pub(crate) fn store(&self, key: &str, bytes: &[u8]) -> [u8; 32] {
        let path = self.directory.path().join("artifacts").join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        Sha256::digest(bytes).into()
    }

    pub(crate) fn changes(&self) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut all = connection.prepare("SELECT event_id FROM changes ORDER BY n").unwrap();
        all.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    pub(crate) fn acks(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.feed.lock().unwrap().acks)
    }
}

pub(crate) fn applied(applied: usize, known: usize) -> Applied {
    Applied { applied, known, skipped: 0 }
}

pub(crate) fn event(id: &str, version: u64) -> ControlEvent {
    of("acme", id, version)
}

pub(crate) fn of(tenant: &str, id: &str, version: u64) -> ControlEvent {
    ControlEvent::builder(id, ControlType::TenantCreated)
        .tenant_id(tenant)
        .control_version(version)
        .build()
        .unwrap()
}
