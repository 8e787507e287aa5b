//! Which file is where.

use std::io;

use wasink_guest::{ControlEvent, Directory};

/// The longest event file, in bytes: events point to their artifacts, they don't hold them.
pub(crate) const LONGEST: u64 = 1 << 20;

/// How the name of an event's file ends.
pub(crate) const EXTENSION: &str = ".json";

/// Longer names are no names on most file systems.
const LONGEST_NAME: usize = 200;

/// A feed's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) directory: Directory,
    /// Its path in the data directory, empty or with a `/` at the end.
    prefix: String,
}

impl Layout {
    pub(crate) fn new(directory: Directory, prefix: String) -> Self {
        Self { directory, prefix }
    }

    /// The directory itself, for whoever lists it.
    pub(crate) fn root(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    /// A file in the directory.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The directory of versions.
    pub(crate) fn versions(&self) -> String {
        self.at("versions")
    }

    /// The link that stands for a version.
    pub(crate) fn version(&self, version: u64) -> String {
        self.at(&format!("versions/{version:020}{EXTENSION}"))
    }

    /// The file of an event id. Ids of plain characters are their own names. In others each byte that
    /// is not plain is written as `=` and two digits, so that no two ids share a name; those that are
    /// too long end in a sum of all of them.
    pub(crate) fn event(&self, event_id: &str) -> String {
        let mut name = String::with_capacity(event_id.len());
        for (at, byte) in event_id.bytes().enumerate() {
            let plain =
                byte.is_ascii_alphanumeric() || b"_-".contains(&byte) || byte == b'.' && at > 0;
            if plain {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("={byte:02x}"));
            }
        }
        if name.len() > LONGEST_NAME {
            let sum = sum(event_id.as_bytes());
            name.truncate(LONGEST_NAME);
            name.push_str(&format!("=={sum:032x}"));
        }
        self.at(&format!("{name}{EXTENSION}"))
    }

    /// The event in a file; `None` where there is no such file. What is wrong is told with its name;
    /// with a file that is there and holds no event it is [`io::ErrorKind::InvalidData`].
    pub(crate) fn read(&self, path: &str) -> io::Result<Option<ControlEvent>> {
        let told = |kind: io::ErrorKind, reason: String| {
            io::Error::new(kind, format!("the event file `{path}`: {reason}"))
        };
        match self.directory.read(path, LONGEST) {
            Ok(bytes) => match ControlEvent::from_json(&bytes) {
                Ok(event) => Ok(Some(event)),
                Err(error) => Err(told(io::ErrorKind::InvalidData, error.to_string())),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                io::ErrorKind::FileTooLarge => {
                    Err(told(io::ErrorKind::InvalidData, error.to_string()))
                }
                kind => Err(told(kind, error.to_string())),
            },
        }
    }

    /// The lowest version there is; 0 where there is none. Costs what is there, unless that is 1.
    pub(crate) fn first(&self) -> io::Result<u64> {
        if self.directory.exists(&self.version(1))? {
            return Ok(1);
        }
        let names = match self.directory.list(&self.versions()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            names => names?,
        };
        let version = |name: &String| name.strip_suffix(EXTENSION)?.parse().ok();
        Ok(names.iter().filter_map(version).min().unwrap_or(0))
    }

    /// The highest version there is: versions have no gaps. `known` is one that there was.
    pub(crate) fn head(&self, known: u64) -> io::Result<u64> {
        let is_there = |version: u64| self.directory.exists(&self.version(version));
        let (mut there, mut step) = (known, 1_u64);
        while is_there(there.saturating_add(step))? {
            there += step;
            step = step.saturating_mul(2);
        }
        // Somewhere behind `there`, and before what is not there.
        let mut not_there = there.saturating_add(step);
        while not_there - there > 1 {
            let middle = there + (not_there - there) / 2;
            if is_there(middle)? {
                there = middle;
            } else {
                not_there = middle;
            }
        }
        Ok(there)
    }
}

/// FNV-1a with 128 bits. Source: draft-eastlake-fnv, section 5.
fn sum(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |sum, &byte| (sum ^ u128::from(byte)).wrapping_mul(PRIME))
}
