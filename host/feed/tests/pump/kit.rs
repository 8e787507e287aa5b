//! What every test of a pump needs: a feed that does what it is told, a clock, and a database.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasink_chassis::config::PluginName;
use wasink_chassis::feed::{FeedPlugin, FeedSink};
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{
    Acknowledges, CallError, Description, Failure, Interrupter, PluginError, PluginVersion,
};
use wasink_feed::outbox::{AppendError, Outbox};
use wasink_feed::pump::{Publisher, PumpOptions};
use wasink_record::{Clock, ControlEvent, ControlType, Timestamp};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const START: i64 = 1_779_238_923_000_000_000;

/// A clock that stands until it is told to go on.
#[derive(Debug)]
pub(crate) struct Standing(pub(crate) AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_nanos(self.0.load(Ordering::SeqCst))
    }
}

impl Standing {
    pub(crate) fn go_on(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

/// A feed that numbers what it gets and knows it again.
#[derive(Default)]
pub(crate) struct Feed {
    pub(crate) versions: BTreeMap<String, u64>,
    pub(crate) calls: Vec<Vec<String>>,
    pub(crate) reopened: u32,
    /// Shutdown ends an opening.
    pub(crate) is_ending: bool,
    /// Told when a call is to be ended.
    pub(crate) interrupted: Option<SyncSender<()>>,
}

pub(crate) type Answer = Box<dyn FnMut(&str) -> Option<Result<u64, CallError>> + Send>;

/// A sink of that feed. `answer` may say something else of an event.
pub(crate) struct Fake {
    feed: Arc<Mutex<Feed>>,
    answer: Answer,
}

impl FeedPlugin for Fake {
    fn version(&self) -> PluginVersion {
        PluginVersion { digest: String::new(), version: String::new(), path: None }
    }

    fn description(&self) -> Arc<Description> {
        Arc::new(Description {
            version: "0.1.0".to_owned(),
            summary: String::new(),
            streams: Vec::new(),
            settings_schema: None,
            acknowledges: Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks: Vec::new(),
        })
    }

    fn reopen(&mut self) -> Result<(), PluginError> {
        let mut feed = self.feed.lock().unwrap();
        feed.reopened += 1;
        if feed.is_ending {
            return Err(interrupted("open"));
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    fn interrupter(&self) -> Interrupter {
        let interrupted = self.feed.lock().unwrap().interrupted.clone();
        Interrupter::new(move || {
            if let Some(interrupted) = &interrupted {
                interrupted.send(()).unwrap();
            }
        })
    }
}

impl FeedSink for Fake {
    fn append(&mut self, events: &[ControlEvent]) -> Result<Vec<Result<u64, Failure>>, CallError> {
        let mut feed = self.feed.lock().unwrap();
        feed.calls.push(events.iter().map(|event| event.event_id().to_owned()).collect());
        let mut results = Vec::new();
        for event in events {
            assert_eq!(event.control_version(), 0);
            let id = event.event_id().to_owned();
            match (self.answer)(&id) {
                Some(Ok(version)) => results.push(Ok(version)),
                Some(Err(CallError::Failed(failure))) => {
                    results.push(Err(failure));
                    while results.len() < events.len() {
                        results.push(Err(retry("an event before it was not appended")));
                    }
                    break;
                }
                Some(Err(stopped)) => return Err(stopped),
                None => {
                    let next = feed.versions.len() as u64 + 1;
                    results.push(Ok(*feed.versions.entry(id).or_insert(next)));
                }
            }
        }
        Ok(results)
    }
}

pub(crate) fn retry(reason: &str) -> Failure {
    Failure::Retry { after: None, reason: reason.to_owned() }
}

pub(crate) fn trap() -> CallError {
    let plugin: PluginName = "fake".parse().unwrap();
    let (reason, last_words) = ("unreachable".to_owned(), String::new());
    PluginError::Trapped { plugin, call: "append", reason, last_words }.into()
}

/// What a call says that was ended from outside.
pub(crate) fn interrupted(call: &'static str) -> PluginError {
    PluginError::Interrupted { plugin: "fake".parse().unwrap(), call }
}

pub(crate) struct Silent;

impl Logger for Silent {
    fn log(&self, _: &Line<'_>) {}

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

/// A database with an outbox.
pub(crate) trait Base: Send + Sync {
    /// An outbox on a connection of its own, with its table.
    fn outbox(&self) -> Box<dyn Outbox>;

    /// A producer's transaction: with one event, or several at once. It is rolled back where it is not
    /// to be kept.
    fn append(
        &self,
        events: &[ControlEvent],
        now: Timestamp,
        keep: bool,
    ) -> Result<(), AppendError>;

    /// Does something to it.
    fn execute(&self, sql: &str);

    /// What is found, a text for each row: columns with `|` between them, `-` where there is nothing,
    /// times as SQLite has them.
    fn texts(&self, columns: &str, rest: &str) -> Vec<String>;

    /// What it is called.
    fn name(&self) -> String;

    /// Another one of the same kind.
    fn another(&self) -> Box<dyn Base>;
}

/// A database, a feed, and a clock.
pub(crate) struct Kit {
    pub(crate) base: Box<dyn Base>,
    pub(crate) feed: Arc<Mutex<Feed>>,
    pub(crate) clock: Arc<Standing>,
}

impl Kit {
    pub(crate) fn new(base: Box<dyn Base>) -> Self {
        let clock = Arc::new(Standing(AtomicI64::new(START)));
        let kit = Self { base, feed: Arc::default(), clock };
        drop(kit.outbox());
        kit
    }

    pub(crate) fn another(&self) -> Self {
        Self::new(self.base.another())
    }

    pub(crate) fn outbox(&self) -> Box<dyn Outbox> {
        self.base.outbox()
    }

    /// A producer's transactions, one for each.
    pub(crate) fn produce(&self, ids: &[&str]) {
        for id in ids {
            self.base.append(&[event(id)], self.clock.now(), true).unwrap();
        }
    }

    /// A producer's transaction with so many, named `e000` and so on.
    pub(crate) fn produce_many(&self, many: usize) -> Vec<String> {
        let ids: Vec<_> = (0..many).map(|n| format!("e{n:03}")).collect();
        let events: Vec<_> = ids.iter().map(|id| event(id)).collect();
        self.base.append(&events, self.clock.now(), true).unwrap();
        ids
    }

    pub(crate) fn publisher(&self, options: PumpOptions, answer: Answer) -> Publisher {
        self.publisher_to(&self.feed, options, answer)
    }

    /// One with a feed of its own: none waits for the other's.
    pub(crate) fn publisher_to(
        &self,
        feed: &Arc<Mutex<Feed>>,
        options: PumpOptions,
        answer: Answer,
    ) -> Publisher {
        let sink = Box::new(Fake { feed: feed.clone(), answer });
        Publisher::new(self.outbox(), sink, options, self.clock.clone())
    }

    pub(crate) fn calls(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.feed.lock().unwrap().calls)
    }

    /// A row's columns as text.
    pub(crate) fn row(&self, id: &str, columns: &str) -> String {
        let found = self.base.texts(columns, &format!("WHERE event_id = '{id}'"));
        assert_eq!(found.len(), 1, "{id}");
        found.into_iter().next().unwrap()
    }
}

pub(crate) fn event(id: &str) -> ControlEvent {
    ControlEvent::builder(id, ControlType::TenantCreated).tenant_id("acme").build().unwrap()
}

pub(crate) fn counts(publisher: &mut Publisher) -> (u64, u64) {
    let state = publisher.state().unwrap();
    (state.pending, state.dead)
}

pub(crate) fn always() -> Answer {
    Box::new(|_| None)
}

/// An event is given up the first time that it is refused.
pub(crate) fn once() -> PumpOptions {
    let mut options = PumpOptions::default();
    options.attempts = 1;
    options
}
