//! Dead letters: the records that a sink will not take, kept with all that is known of why.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasink_record::{RecordId, Stream, Timestamp};

use crate::checked::{self, Appender, scan, write_over};
use crate::fate::Fate;
use crate::frame::MAX_POSITION;
use crate::reserve::Reserve;
use crate::storage::Storage;

const EXTENSION: &str = ".dead";

/// A record that did not reach its receiver and never will by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The stream that it is of.
    pub stream: Stream,
    /// Its position in the stream: with the sink's name, what a dead letter is known by.
    pub position: u64,
    /// The record's id.
    pub id: RecordId,
    /// When the record was taken.
    pub time: Timestamp,
    /// Who it is accounted to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// [`Fate::Rejected`] or [`Fate::Expired`].
    pub fate: Fate,
    /// Why, in the plugin's words or the chassis's.
    pub reason: String,
    /// How often it was handed over.
    pub attempts: u32,
    /// When it was handed over first.
    pub first_attempt: Timestamp,
    /// When it was handed over last.
    pub last_attempt: Timestamp,
    /// The plugin.
    pub plugin: String,
    /// The digest of the plugin's bytes.
    pub digest: String,
    /// The record's own bytes: its line, without the end.
    pub line: String,
}

impl DeadLetter {
    /// A dead letter, all of it.
    #[expect(
        clippy::too_many_arguments,
        reason = "it is a record of many fields, made in one place"
    )]
    pub fn new(
        stream: Stream,
        position: u64,
        (id, time): (RecordId, Timestamp),
        fate: Fate,
        reason: String,
        (attempts, first_attempt, last_attempt): (u32, Timestamp, Timestamp),
        (plugin, digest): (String, String),
        line: String,
    ) -> Self {
        Self {
            stream,
            position,
            id,
            time,
            tenant: None,
            fate,
            reason,
            attempts,
            first_attempt,
            last_attempt,
            plugin,
            digest,
            line,
        }
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Dead(Box<DeadLetter>),
    /// This one is no more: it was replayed.
    Resolved {
        position: u64,
        fate: Fate,
        at: Timestamp,
    },
    /// This one never was: a crash came before the lane had taken note of it, and something else has
    /// become of the record since.
    Withdrawn {
        position: u64,
    },
}

/// The dead letters of one sink on one stream, open for more.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    storage: Arc<dyn Storage>,
    sink: String,
    /// The file; none before the first letter.
    appender: Option<Appender>,
    /// Whether the file's name may not be on disk.
    unnamed: bool,
    /// Whether what is to come begins with the end of the last line, which has none.
    unended: bool,
    /// Those that were written and of which the lane may not know, by position.
    known: BTreeMap<u64, Unaccounted>,
    /// Whether those are on disk for sure.
    sure: bool,
}

/// A letter that the lane may not know of.
#[derive(Debug, Clone, Copy)]
struct Unaccounted {
    fate: Fate,
    /// Where its line begins.
    offset: u64,
}

pub(crate) fn file_name(sink: &str) -> String {
    format!("{sink}{EXTENSION}")
}

/// The sink whose file this is; `None` for the name of another file.
pub(crate) fn sink(name: &str) -> Option<&str> {
    name.strip_suffix(EXTENSION).filter(|sink| !sink.is_empty())
}

impl DeadLetters {
    /// Opens the file, where there is one. What is behind `accounted` in it, an offset, the lane may
    /// not have taken note of, unless the record `is_done`.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        sink: &str,
        accounted: u64,
        is_done: impl Fn(u64) -> bool,
    ) -> io::Result<Self> {
        let mut letters = Self {
            storage: storage.clone(),
            sink: sink.to_owned(),
            appender: None,
            unnamed: false,
            unended: false,
            known: BTreeMap::new(),
            sure: true,
        };
        let file = match storage.open(&file_name(sink)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(letters),
            Err(error) => return Err(error),
        };
        let mut withdrawn = HashSet::new();
        let mut len = file.len()?;
        // A file that is shorter than what was accounted for has been written anew since.
        let accounted = if accounted > len { 0 } else { accounted };
        let mut offset = accounted;
        let known = &mut letters.known;
        let scanned = scan(&*file, accounted, |line, ended| {
            match checked::parse(line) {
                Some(Entry::Dead(letter))
                    if is_done(letter.position) || letter.position >= MAX_POSITION => {}
                Some(Entry::Dead(letter)) => {
                    withdrawn.remove(&letter.position);
                    known.insert(letter.position, Unaccounted { fate: letter.fate, offset });
                }
                Some(Entry::Withdrawn { position }) => {
                    withdrawn.insert(position);
                }
                // Written in part, and nobody was told that it was there: it is written over.
                None if !ended => len -= line.len() as u64,
                // The lane has forgotten that there was a letter: should there be one again, it is
                // another.
                Some(Entry::Resolved { position, .. }) => drop(known.remove(&position)),
                None => {}
            }
            offset += line.len() as u64 + 1;
        });
        drop(file.set_len(len));
        let proven = scanned.and_then(|()| {
            if accounted == len {
                return Ok(());
            }
            write_over(&*file, accounted..len)?;
            file.sync()
        });
        letters.sure = proven.is_ok();
        if letters.sure {
            letters.known.retain(|position, _| !withdrawn.contains(position));
        }
        let mut last = [b'\n'];
        drop(file.read_at(&mut last, len.saturating_sub(1)));
        letters.unended = len > 0 && last != *b"\n";
        letters.appender = Some(Appender::new(file, len));
        Ok(letters)
    }

    /// The length of the file, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.appender.as_ref().map_or(0, Appender::len)
    }

    /// The position behind the last record that has a letter of which the lane may not know.
    pub(crate) fn floor(&self) -> u64 {
        self.known.last_key_value().map_or(0, |(&position, _)| position.saturating_add(1))
    }

    /// The lane takes note of what became of these. Returns where in the file that begins of which it
    /// may not know.
    pub(crate) fn account(&mut self, runs: &[(Range<u64>, Fate)]) -> u64 {
        if !self.known.is_empty() {
            let told = |position: &u64| runs.iter().any(|(range, _)| range.contains(position));
            self.known.retain(|position, _| !told(position));
        }
        let offsets = self.known.values().map(|letter| letter.offset);
        offsets.min().unwrap_or(self.len())
    }

    /// Adds letters, durably, leaving out those that are there already.
    pub(crate) fn add<'a>(
        &mut self,
        letters: impl IntoIterator<Item = &'a DeadLetter> + Clone,
        reserve: &Reserve,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for letter in letters.clone() {
            let known = self.known.get(&letter.position).map(|known| known.fate);
            if !self.sure || known != Some(letter.fate) {
                lines.extend_from_slice(&checked::line(&Entry::Dead(Box::new(letter.clone()))));
            }
        }
        let offset = self.len();
        self.append(lines, reserve)?;
        for letter in letters {
            let unaccounted = Unaccounted { fate: letter.fate, offset };
            self.known.entry(letter.position).or_insert(unaccounted).fate = letter.fate;
        }
        Ok(())
    }

    /// Takes back the letters of records that something else has become of, as these runs say.
    pub(crate) fn withdraw(
        &mut self,
        runs: &[(Range<u64>, Fate)],
        reserve: &Reserve,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for (range, fate) in runs {
            if range.is_empty() || matches!(fate, Fate::Rejected | Fate::Expired) {
                continue;
            }
            for (&position, _) in self.known.range(range.clone()) {
                lines.extend_from_slice(&checked::line(&Entry::Withdrawn { position }));
            }
        }
        self.append(lines, reserve)
    }

    fn append(&mut self, mut lines: Vec<u8>, reserve: &Reserve) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.unended {
            lines.insert(0, b'\n');
        }
        let appended = reserve.or_spend(|| self.append_durably(&lines));
        // A sync that failed may have taken the end of what was there before, too.
        self.unended = appended.is_err();
        appended
    }

    fn append_durably(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.appender.is_none() {
            let name = file_name(&self.sink);
            let file = match self.storage.create(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    self.storage.open(&name)?
                }
                file => file?,
            };
            self.appender = Some(Appender::new(file, 0));
            self.unnamed = true;
        }
        if self.unnamed {
            self.storage.sync_directory()?;
            self.unnamed = false;
        }
        self.appender.as_mut().map_or(Ok(()), |appender| appender.append_durably(lines))
    }

    /// The letters that are there and that `wanted` chooses.
    pub(crate) fn letters(
        &self,
        wanted: impl FnMut(&DeadLetter) -> bool,
    ) -> io::Result<Vec<DeadLetter>> {
        Ok(read(&*self.storage, &self.sink, wanted)?.letters)
    }

    /// Notes that something else has become of letters.
    pub(crate) fn resolve(
        &mut self,
        letters: &[(DeadLetter, Fate)],
        at: Timestamp,
        reserve: &Reserve,
    ) -> io::Result<()> {
        let mut lines = Vec::new();
        for &(DeadLetter { position, .. }, fate) in letters {
            lines.extend_from_slice(&checked::line(&Entry::Resolved { position, fate, at }));
        }
        self.append(lines, reserve)
    }

    /// Writes the file anew without the letters at these positions, and without those that were gone
    /// before. Offsets in it are others then.
    pub(crate) fn purge(&mut self, gone: &BTreeSet<u64>, reserve: &Reserve) -> io::Result<()> {
        let mut lines = Vec::new();
        let mut known = BTreeMap::new();
        for letter in self.letters(|letter| !gone.contains(&letter.position))? {
            if let Some(&Unaccounted { fate, .. }) = self.known.get(&letter.position) {
                let offset = lines.len() as u64;
                known.insert(letter.position, Unaccounted { fate, offset });
            }
            lines.extend_from_slice(&checked::line(&Entry::Dead(Box::new(letter))));
        }
        let file = self.storage.open(&file_name(&self.sink))?;
        // Perhaps somebody can make something of them.
        scan(&*file, 0, |line, ended| {
            if ended && !line.is_empty() && checked::parse::<Entry>(line).is_none() {
                lines.extend_from_slice(line);
                lines.push(b'\n');
            }
        })?;
        let unready = format!("{}.dead-tmp", self.sink);
        let anew = reserve.or_spend(|| {
            match self.storage.remove(&unready) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let anew = self.storage.create(&unready)?;
            anew.write_all_at(&mut [IoSlice::new(&lines)], 0)?;
            anew.sync()?;
            Ok(anew)
        })?;
        self.storage.rename(&unready, &file_name(&self.sink))?;
        self.appender = Some(Appender::new(anew, lines.len() as u64));
        self.known = known;
        self.unended = false;
        self.unnamed = true;
        self.storage.sync_directory()?;
        self.unnamed = false;
        Ok(())
    }
}

/// What a file of dead letters holds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dead {
    /// The letters that are still there, in the order in which they came.
    pub letters: Vec<DeadLetter>,
    /// Lines that are damaged.
    pub damaged: u64,
}

/// Reads the dead letters of a sink that `wanted` chooses; none where there is no file.
pub(crate) fn read(
    storage: &dyn Storage,
    sink: &str,
    mut wanted: impl FnMut(&DeadLetter) -> bool,
) -> io::Result<Dead> {
    let file = match storage.open(&file_name(sink)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Dead::default()),
        Err(error) => return Err(error),
    };
    let mut dead = Dead::default();
    let mut places = HashMap::new();
    let mut gone = HashSet::new();
    scan(&*file, 0, |line, ended| match checked::parse(line) {
        Some(Entry::Dead(letter)) => {
            gone.remove(&letter.position);
            if !wanted(&letter) {
                gone.insert(letter.position);
                return;
            }
            // A crash between the letter and the lane's note of it makes it come twice.
            let place = *places.entry(letter.position).or_insert(dead.letters.len());
            match dead.letters.get_mut(place) {
                Some(earlier) => *earlier = *letter,
                None => dead.letters.push(*letter),
            }
        }
        Some(Entry::Resolved { position, .. } | Entry::Withdrawn { position }) => {
            gone.insert(position);
        }
        None => dead.damaged += u64::from(ended && !line.is_empty()),
    })?;
    dead.letters.retain(|letter| !gone.contains(&letter.position));
    Ok(dead)
}

#[cfg(test)]
mod tests;
