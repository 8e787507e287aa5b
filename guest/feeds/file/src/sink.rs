//! Appending events.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::time::Duration;

use wasink_guest::{
    Context, ControlEvent, Description, Directory, Error, Failure, FeedSink, Need, info,
};

use crate::Settings;
use crate::layout::{EXTENSION, LONGEST, Layout};

/// Where files are written before they have a name.
const UNFINISHED: &str = ".new";

/// What nobody has touched for so long is left over from a crash.
const LEFT: Duration = Duration::from_hours(1);

fn taken(path: &str, id: &str) -> String {
    format!("the file `{path}` is the event `{id}`'s, and holds another event")
}

/// Versions that wait for their other names, at the most: fewer than whoever opens looks for.
const MOST_NAMELESS: usize = 500;

/// So many versions may have been about to get their other names when the power went.
const IN_FLIGHT: u64 = 1_000;

/// Appends events to a directory.
#[derive(Debug)]
pub struct FileSink {
    layout: Layout,
    /// A version that there is.
    head: u64,
    /// The ids of versions that may have no other name yet: all but these have both.
    nameless: HashMap<String, u64>,
    /// A name that no other instance writes to, wherever it runs.
    unfinished: String,
}

impl FeedSink for FileSink {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(
            env!("CARGO_PKG_VERSION"),
            "appends control events to a directory, a file each",
        )
        .settings_schema(Settings::SCHEMA)
        .needs(Need::Directory, "keeps the events there")
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        let layout = Layout::new(Directory::data()?, settings.prefix()?);
        let chance = RandomState::new().hash_one((&context.node_id, &context.name));
        let unfinished = layout.at(&format!("{UNFINISHED}/{chance:016x}"));
        let nameless = HashMap::new();
        let mut sink = Self { layout, head: 0, nameless, unfinished };
        sink.clean()?;
        sink.adopt(chance)?;
        let first = sink.layout.first()?;
        let head = sink.layout.head(first)?;
        // Names that were given at the same time may have got to the disk in any order.
        sink.head = head.saturating_sub(IN_FLIGHT).max(first.saturating_sub(1));
        sink.catch_up()?;
        Ok(sink)
    }

    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure> {
        self.append_all(vec![event]).pop().unwrap_or_else(|| Err(Failure::retry("no answer")))
    }

    fn append_all(&mut self, events: Vec<ControlEvent>) -> Vec<Result<u64, Failure>> {
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            // No more than whoever opens after a crash looks for.
            let full = self.nameless.len() >= MOST_NAMELESS;
            let caught_up = if full { self.catch_up() } else { Ok(()) };
            let result = caught_up.map_err(Failure::from).and_then(|()| self.claim(event));
            let failed = result.is_err();
            results.push(result);
            if failed {
                break;
            }
        }
        // Their other names come once their versions are on the disk: all at a time, which is what
        // costs.
        if let Err(error) = self.catch_up() {
            let reason = format!("not known to be on the disk: {error}");
            for result in results.iter_mut().filter(|result| result.is_ok()) {
                *result = Err(Failure::in_doubt(reason.clone()));
            }
        }
        results
    }
}

impl FileSink {
    /// Removes what other instances have left unfinished, once they are surely gone.
    fn clean(&self) -> io::Result<()> {
        let Layout { directory, .. } = &self.layout;
        let unfinished = self.layout.at(UNFINISHED);
        let names = match directory.list(&unfinished) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names?,
        };
        for name in names {
            let path = format!("{unfinished}/{name}");
            let gone = |error: io::Error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            };
            match directory.metadata(&path) {
                Ok(found) => {
                    let age = found.modified.map(|at| wasink_guest::now().saturating_sub(at));
                    if age.is_some_and(|age| age > LEFT) {
                        directory.remove(&path).or_else(gone)?;
                    }
                }
                Err(error) => gone(error)?,
            }
        }
        Ok(())
    }

    /// Makes a version of each event that another program has put there, where nobody has done so: all
    /// of them at once, by the name of their directory.
    fn adopt(&self, chance: u64) -> Result<(), Error> {
        let layout = &self.layout;
        if layout.directory.exists(&layout.versions())? {
            return Ok(());
        }
        let names = match layout.directory.list(layout.root()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            names => names?,
        };
        let mut found = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(EXTENSION)) {
            let path = layout.at(name);
            let Some(event) = layout.read(&path)? else { continue };
            found.push((event.control_version, event.event_id, path));
        }
        found.sort_unstable();
        // Whoever was here before may have given some their names.
        found.dedup_by(|(version, id, _), (known, first, _)| version == known && id == first);
        for (expected, (version, _, path)) in (1..).zip(&found) {
            if *version != expected {
                return Err(Error::new(format!(
                    "the event file `{path}` has the control version {version}, and {expected} is \
                     the next: begin the feed in an empty directory"
                )));
            }
        }
        if found.is_empty() {
            return Ok(());
        }
        let new = layout.at(&format!(".versions-{chance:016x}"));
        for (version, id, path) in &found {
            // Their own names need not be those that the ids have here.
            self.name(path, id)?;
            layout.directory.link(path, &format!("{new}/{version:020}{EXTENSION}"))?;
        }
        layout.directory.sync_names(layout.root())?;
        layout.directory.sync_names(&new)?;
        layout.directory.rename(&new, &layout.versions()).map_err(|error| {
            Error::new(format!(
                "the events that are in the directory can't become the feed's, since another has begun \
                 it meanwhile: {error}"
            ))
        })?;
        layout.directory.sync_names(layout.root())?;
        let events = found.len();
        info!("made versions of the events that were there"; events = events);
        Ok(())
    }

    /// Gives a file the name of its event's id.
    fn name(&self, path: &str, id: &str) -> io::Result<()> {
        let by_id = self.layout.event(id);
        match self.layout.directory.link(path, &by_id) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let there = self.layout.read(&by_id)?;
                if there.as_ref().is_some_and(|there| there.event_id != id) {
                    return Err(io::Error::other(taken(&by_id, id)));
                }
                Ok(())
            }
            linked => linked,
        }
    }

    /// Gives an event its version, unless its id has one.
    fn claim(&mut self, mut event: ControlEvent) -> Result<u64, Failure> {
        if event.event_id.is_empty() {
            return Err(Failure::rejected("the event has no id"));
        }
        let by_id = self.layout.event(&event.event_id);
        loop {
            self.look()?;
            if let Some(&known) = self.nameless.get(&event.event_id) {
                return Ok(known);
            }
            if let Some(known) = self.layout.read(&by_id)? {
                if known.event_id != event.event_id {
                    return Err(Failure::rejected(taken(&by_id, &event.event_id)));
                }
                return Ok(known.control_version);
            }
            event.control_version = self.head + 1;
            let bytes = event.to_json_indented()?;
            if bytes.len() as u64 > LONGEST {
                let length = bytes.len();
                let why = format!("the event has {length} bytes, and {LONGEST} is the most");
                return Err(Failure::rejected(why));
            }
            self.write(&bytes)?;
            let version = self.layout.version(event.control_version);
            let claimed = self.layout.directory.link(&self.unfinished, &version);
            self.layout.directory.remove(&self.unfinished)?;
            match claimed {
                Ok(()) => {
                    self.head = event.control_version;
                    self.nameless.insert(event.event_id, self.head);
                    return Ok(self.head);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // Somebody else was faster, perhaps with this very event; and what is claimed
                    // after others' has to know theirs by name.
                    self.catch_up()?;
                }
                Err(error) => {
                    return Err(Failure::retry(format!(
                        "can't make the link `{version}` (its file system has to have hard links): \
                         {error}"
                    )));
                }
            }
        }
    }

    /// Takes notice of versions that others have made.
    fn look(&mut self) -> io::Result<()> {
        let head = self.layout.head(self.head)?;
        for version in self.head + 1..=head {
            match self.layout.read(&self.layout.version(version)) {
                Ok(Some(event)) => drop(self.nameless.insert(event.event_id, version)),
                Ok(None) => {}
                // Whoever reads the feed is told of it there.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        self.head = head;
        Ok(())
    }

    /// Writes a file whose name nobody looks at.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        match self.layout.directory.remove(&self.unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.layout.directory.create_new(&self.unfinished)?;
        file.write(bytes, 0)?;
        file.sync()
    }

    /// Gives each version its other name, once it is on the disk.
    fn catch_up(&mut self) -> io::Result<()> {
        self.look()?;
        let mut nameless: Vec<_> =
            self.nameless.iter().map(|(id, version)| (*version, id)).collect();
        nameless.sort_unstable();
        if !nameless.is_empty() {
            self.layout.directory.sync_names(&self.layout.versions())?;
            for (version, id) in nameless {
                self.name(&self.layout.version(version), id)?;
            }
            self.layout.directory.sync_names(self.layout.root())?;
            self.nameless.clear();
        }
        Ok(())
    }
}
