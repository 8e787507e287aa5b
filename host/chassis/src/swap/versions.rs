//! What is remembered across restarts: which version is in charge of each plugin, those before it,
//! and every step of their exchanges.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wasink_record::Timestamp;

use super::stage::Event;
use crate::plugin::PluginVersion;

/// Events that are kept in memory.
const REMEMBERED: usize = 1000;

/// When the file of events has so many bytes, it is put aside for the next.
const EVENTS_BYTES: u64 = 1 << 20;

const STATE: &str = "state.json";
const EVENTS: &str = "events.jsonl";
const EVENTS_BEFORE: &str = "events.before.jsonl";

/// What is known of the versions of one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The digest of the one in charge.
    pub(crate) charge: String,
    /// What the plugin directory had when it was last decided about, whichever way. Only something
    /// else there is news.
    pub(crate) seen: Option<String>,
    /// Those that have been in charge, the latest last.
    pub(crate) versions: Vec<Past>,
}

/// A version that has been in charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Past {
    pub(crate) digest: String,
    pub(crate) version: String,
    pub(crate) since: Timestamp,
}

/// The directory where it all is.
pub(crate) struct Versions {
    directory: PathBuf,
    /// How many versions of each plugin there is a way back to.
    keep: usize,
    plugins: BTreeMap<String, Known>,
    events: VecDeque<Event>,
    last_event: u64,
    /// The last line of the file has no end.
    torn: bool,
}

impl Versions {
    /// Reads what is there. What can't be read is told, put aside and taken for empty: the plugin
    /// directories say all that is needed to go on.
    pub(crate) fn open(directory: &Path, keep: usize) -> (Self, Vec<String>) {
        let mut complaints = Vec::new();
        let path = directory.join(STATE);
        let plugins = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let aside = path.with_extension("damaged");
                drop(fs::rename(&path, &aside));
                complaints.push(format!(
                    "`{}` can't be read ({error}); it is `{}` now, and plugins are taken from their \
                     directories",
                    path.display(),
                    aside.display()
                ));
                BTreeMap::new()
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                complaints.push(format!("`{}` can't be read: {error}", path.display()));
                BTreeMap::new()
            }
        };
        let mut events = VecDeque::new();
        for name in [EVENTS_BEFORE, EVENTS] {
            read_events(&directory.join(name), &mut events);
        }
        let last_event = events.back().map_or(0, |event: &Event| event.id);
        let torn = fs::read(directory.join(EVENTS))
            .is_ok_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'));
        let (directory, keep) = (directory.to_owned(), keep.max(1));
        (Self { directory, keep, plugins, events, last_event, torn }, complaints)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn of(&self, plugin: &str) -> Option<&Known> {
        self.plugins.get(plugin)
    }

    /// Takes note of the version that is in charge from now on.
    pub(crate) fn take_over(
        &mut self,
        plugin: &str,
        version: &PluginVersion,
        now: Timestamp,
    ) -> io::Result<()> {
        let known = self.plugins.entry(plugin.to_owned()).or_default();
        if known.charge == version.digest && !known.versions.is_empty() {
            return Ok(());
        }
        known.charge.clone_from(&version.digest);
        known.versions.retain(|past| past.digest != version.digest);
        let (digest, version) = (version.digest.clone(), version.version.clone());
        known.versions.push(Past { digest, version, since: now });
        let excess = known.versions.len().saturating_sub(self.keep);
        known.versions.drain(..excess);
        self.write()
    }

    /// There is no way back to this version. Written with the next that is in charge.
    pub(crate) fn forget(&mut self, plugin: &str, digest: &str) {
        if let Some(known) = self.plugins.get_mut(plugin) {
            known.versions.retain(|past| past.digest != digest);
        }
    }

    /// Takes note that what the plugin directory has was decided about.
    pub(crate) fn see(&mut self, plugin: &str, digest: &str) -> io::Result<()> {
        let known = self.plugins.entry(plugin.to_owned()).or_default();
        if known.seen.as_deref() == Some(digest) {
            return Ok(());
        }
        known.seen = Some(digest.to_owned());
        self.write()
    }

    /// The digests of all versions that there is a way back to.
    pub(crate) fn digests(&self) -> Vec<String> {
        let past = self.plugins.values().flat_map(|known| &known.versions);
        let charge = self.plugins.values().map(|known| known.charge.clone());
        past.map(|past| past.digest.clone()).chain(charge).collect()
    }

    /// Writes under another name first, so that the file is old or new and never in between.
    fn write(&self) -> io::Result<()> {
        make(&self.directory)?;
        let path = self.directory.join(STATE);
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(&self.plugins)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// Takes note of an event, and numbers it.
    pub(crate) fn note(&mut self, mut event: Event) -> (Event, io::Result<()>) {
        self.last_event += 1;
        event.id = self.last_event;
        let written = self.append(&event);
        self.events.push_back(event.clone());
        if self.events.len() > REMEMBERED {
            self.events.pop_front();
        }
        (event, written)
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        make(&self.directory)?;
        let path = self.directory.join(EVENTS);
        if fs::metadata(&path).is_ok_and(|found| found.len() > EVENTS_BYTES) {
            fs::rename(&path, self.directory.join(EVENTS_BEFORE))?;
        }
        let mut line = if std::mem::take(&mut self.torn) { vec![b'\n'] } else { Vec::new() };
        serde_json::to_writer(&mut line, event)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).open(path)?.write_all(&line)
    }

    /// The latest events, of one plugin or of all, the oldest of them first.
    pub(crate) fn events(&self, plugin: Option<&str>, most: usize) -> Vec<Event> {
        let chosen = |event: &&Event| plugin.is_none_or(|plugin| event.plugin == plugin);
        let mut latest: Vec<_> =
            self.events.iter().rev().filter(chosen).take(most).cloned().collect();
        latest.reverse();
        latest
    }
}

fn make(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Reads what can be read: a line that a crash has torn is none.
fn read_events(path: &Path, events: &mut VecDeque<Event>) {
    let Ok(file) = File::open(path) else { return };
    for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
        if let Ok(event) = serde_json::from_slice(&line) {
            events.push_back(event);
            if events.len() > REMEMBERED {
                events.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

    fn version(digest: &str) -> PluginVersion {
        PluginVersion { digest: digest.to_owned(), version: "1.0.0".to_owned(), path: None }
    }

    fn event(reason: &str) -> Event {
        Event {
            id: 0,
            time: NOW,
            plugin: "a".to_owned(),
            sink: None,
            stage: Stage::InCharge,
            version: None,
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn what_was_in_charge_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (mut versions, complaints) = Versions::open(directory.path(), 2);
        assert!(complaints.is_empty());
        for digest in ["one", "two", "three", "two"] {
            versions.take_over("a", &version(digest), NOW).unwrap();
        }
        versions.see("a", "four").unwrap();
        let (again, complaints) = Versions::open(directory.path(), 2);
        assert!(complaints.is_empty());
        let known = again.of("a").unwrap();
        assert_eq!((known.charge.as_str(), known.seen.as_deref()), ("two", Some("four")));
        let past: Vec<_> = known.versions.iter().map(|past| past.digest.as_str()).collect();
        assert_eq!(past, ["three", "two"]);
    }

    #[test]
    fn events_are_numbered_on_and_a_torn_one_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut versions = Versions::open(directory.path(), 2).0;
        for reason in ["first", "second"] {
            versions.note(event(reason)).1.unwrap();
        }
        let path = directory.path().join(EVENTS);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"id\":3,\"ti").unwrap();
        let mut again = Versions::open(directory.path(), 2).0;
        assert_eq!(again.note(event("third")).0.id, 3);
        let reasons: Vec<_> =
            again.events(Some("a"), 2).into_iter().map(|event| event.reason).collect();
        assert_eq!(reasons, ["second", "third"]);
        let third = Versions::open(directory.path(), 2).0;
        assert_eq!(third.events(None, 9).last().unwrap().reason, "third");
        assert!(again.events(Some("b"), 9).is_empty());
    }

    #[test]
    fn a_damaged_state_is_told_and_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(STATE), "{").unwrap();
        let (versions, complaints) = Versions::open(directory.path(), 2);
        assert!(versions.of("a").is_none());
        assert!(complaints[0].contains("state.damaged"), "{complaints:?}");
        assert!(directory.path().join("state.damaged").exists());
    }
}
