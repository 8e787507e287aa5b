//! Reading events.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use wasink_guest::{
    Context, ControlEvent, Description, Directory, Error, Failure, FeedSource, Metadata, Need,
};

use crate::Settings;
use crate::layout::{EXTENSION, Layout};

/// How often it is looked for an event that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// Reads events from a directory.
#[derive(Debug)]
pub struct FileSource {
    layout: Layout,
    listed: Listed,
}

/// What is known of a directory whose events have no versions' links.
#[derive(Debug, Default)]
struct Listed {
    /// The directory as it was when it was listed last.
    seen: Option<Metadata>,
    names: HashSet<String>,
    paths: BTreeMap<(u64, String), String>,
}

impl FeedSource for FileSource {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "reads control events from a directory")
            .settings_schema(Settings::SCHEMA)
            .needs(Need::Directory, "reads the events there")
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        let layout = Layout::new(Directory::data()?, settings.prefix()?);
        Ok(Self { layout, listed: Listed::default() })
    }

    fn poll(&mut self, since: u64, max: u32, wait: Duration) -> Result<Vec<ControlEvent>, Failure> {
        let until = Instant::now() + wait;
        loop {
            let events = self.look(since, max)?;
            let left = until.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(events);
            }
            thread::sleep(left.min(LOOK));
        }
    }
}

impl FileSource {
    fn look(&mut self, since: u64, max: u32) -> Result<Vec<ControlEvent>, Failure> {
        if self.layout.directory.exists(&self.layout.versions())? {
            self.read_versions(since, max)
        } else {
            self.read_listed(since, max)
        }
    }

    /// Opens one version after the other, until there is none.
    fn read_versions(&self, since: u64, max: u32) -> Result<Vec<ControlEvent>, Failure> {
        let layout = &self.layout;
        let mut events = Vec::new();
        for version in (since.saturating_add(1)..).take(usize::try_from(max).unwrap_or(usize::MAX))
        {
            let path = layout.version(version);
            let wrong = match layout.read(&path) {
                Ok(Some(event)) if event.control_version == version => {
                    events.push(event);
                    continue;
                }
                Ok(Some(event)) => {
                    let found = event.control_version;
                    format!("the event file `{path}` says that it is version {found}")
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
                Err(error) if events.is_empty() => return Err(error.into()),
                Err(_) => break,
            };
            events.push(ControlEvent::unreadable(&format!("version {version}"), version, &wrong));
        }
        if events.is_empty() {
            self.check_end(since)?;
        } else {
            // Whoever wrote them may not be done with that. What a loss of power could take back would
            // be another event the next time.
            layout.directory.sync_names(&layout.versions())?;
        }
        Ok(events)
    }

    /// That there is nothing behind `since` because it is the last.
    pub(crate) fn check_end(&self, since: u64) -> Result<(), Failure> {
        let layout = &self.layout;
        if since > 0 && layout.directory.exists(&layout.version(since))? {
            return Ok(());
        }
        let first = layout.first()?;
        let why = match (since, first) {
            (0, 0) => return Ok(()),
            (_, 0) => "the feed is empty".to_owned(),
            // It has come since it was looked for.
            (_, first) if first == since.saturating_add(1) => return Ok(()),
            (_, first) if first > since => format!("the feed begins at {first}"),
            _ => format!("the feed ends at {}", layout.head(first)?),
        };
        Err(Failure::retry(format!(
            "{why}, and this node is at {since}: it would miss events, or this is another feed"
        )))
    }

    /// Reads what has come since the directory was listed last.
    fn read_listed(&mut self, since: u64, max: u32) -> Result<Vec<ControlEvent>, Failure> {
        let Self { layout, listed } = self;
        let now = match layout.directory.metadata(if layout.root().is_empty() {
            "."
        } else {
            layout.root()
        }) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            now => now?,
        };
        if listed.seen != Some(now) {
            // What came while it was listed may have been passed by, and something later not.
            let mut all = false;
            while !all {
                all = true;
                for name in layout.directory.list(layout.root())? {
                    if !name.ends_with(EXTENSION) || listed.names.contains(&name) {
                        continue;
                    }
                    let path = layout.at(&name);
                    let Some(event) = layout.read(&path)? else { continue };
                    // A file may have a second name, which a sink is about to give it.
                    listed.paths.entry((event.control_version, event.event_id)).or_insert(path);
                    listed.names.insert(name);
                    all = false;
                }
            }
            // Times of directories are coarse: one that changed just now may change again unseen.
            let settled =
                now.modified.is_some_and(|at| wasink_guest::now().saturating_sub(at) > SETTLED);
            listed.seen = settled.then_some(now);
        }
        let mut events = Vec::new();
        let behind = (since.saturating_add(1), String::new())..;
        for path in listed
            .paths
            .range(behind)
            .map(|(_, path)| path)
            .take(usize::try_from(max).unwrap_or(usize::MAX))
        {
            match layout.read(path) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => {
                    return or_those_before(events, format!("the event file `{path}` is gone"));
                }
                Err(error) => return or_those_before(events, error.to_string()),
            }
        }
        Ok(events)
    }
}

/// A directory that has not changed for so long has been listed whole.
const SETTLED: Duration = Duration::from_secs(2);

/// What is before something that is wrong; once that is dealt with, what is wrong.
fn or_those_before(
    events: Vec<ControlEvent>,
    reason: String,
) -> Result<Vec<ControlEvent>, Failure> {
    if events.is_empty() { Err(Failure::retry(reason)) } else { Ok(events) }
}
