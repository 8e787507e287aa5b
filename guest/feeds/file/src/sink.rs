//! Appending events.

use std::collections::HashMap;
use std::io;

use wasink_guest::{
    Context, ControlEvent, Description, Directory, Error, Failure, FeedSink, Need, info,
};

use crate::Settings;
use crate::layout::{EXTENSION, Layout};

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
    /// A name that no other instance writes to.
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
        let name: String =
            context.node_id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
        let unfinished = layout.at(&format!(".new-{name}-{}", context.epoch));
        let nameless = HashMap::new();
        let mut sink = Self { layout, head: 0, nameless, unfinished };
        sink.adopt()?;
        let head = sink.layout.head(0)?;
        // Names that were given at the same time may have got to the disk in any order.
        sink.head = head.saturating_sub(IN_FLIGHT);
        sink.catch_up()?;
        Ok(sink)
    }

    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure> {
        self.append_all(vec![event]).pop().unwrap_or_else(|| Err(Failure::retry("no answer")))
    }

    fn append_all(&mut self, events: Vec<ControlEvent>) -> Vec<Result<u64, Failure>> {
        let mut results = Vec::with_capacity(events.len());
        for event in events {
            let result = self.claim(event);
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
    /// Makes a version of each event that another program has put there, where nobody has done so.
    fn adopt(&self) -> Result<(), Error> {
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
            found.push((event.control_version, path, event.event_id));
        }
        found.sort_unstable();
        for (expected, (version, path, _)) in (1..).zip(&found) {
            if *version != expected {
                return Err(Error::new(format!(
                    "the event file `{path}` has the control version {version}, and {expected} is \
                     the next: begin the feed in an empty directory"
                )));
            }
        }
        for (version, path, id) in &found {
            // Their own names need not be those that the ids have here.
            for link in [layout.event(id), layout.version(*version)] {
                match layout.directory.link(path, &link) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error)?,
                    _ => {}
                }
            }
        }
        if !found.is_empty() {
            layout.directory.sync_names(layout.root())?;
            layout.directory.sync_names(&layout.versions())?;
            let events = found.len();
            info!("made versions of the events that were there"; events = events);
        }
        Ok(())
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
                return Ok(known.control_version);
            }
            event.control_version = self.head + 1;
            self.write(&event.to_json_indented()?)?;
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
            if let Some(event) = self.layout.read(&self.layout.version(version))? {
                self.nameless.insert(event.event_id, version);
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
                let (path, by_id) = (self.layout.version(version), self.layout.event(id));
                match self.layout.directory.link(&path, &by_id) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(error);
                    }
                    _ => {}
                }
            }
            self.layout.directory.sync_names(self.layout.root())?;
            self.nameless.clear();
        }
        Ok(())
    }
}
