//! From a name to a file.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::Serialize;
use wasink_chassis::config::PluginName;

/// Where a plugin's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PluginSource {
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// The program itself.
    Bundled,
}

impl PluginSource {
    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::File { path } => format!("`{}`", path.display()),
            Self::Bundled => "the bundled file".to_owned(),
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path } => Some(path),
            Self::Bundled => None,
        }
    }
}

/// A plugin's name and where its bytes are. Nothing has been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    /// Its name.
    pub name: PluginName,
    /// Where its bytes are.
    pub source: PluginSource,
}

/// Directories that hold plugins, in order: what is found in an earlier one hides what has the same
/// name in a later one.
///
/// A plugin `name` is the file `name.wasm`, or, where there is a directory `name`, the file
/// `name/name.wasm`, or the only `.wasm` file in that directory.
#[derive(Debug)]
pub(crate) struct Directories {
    paths: Vec<PathBuf>,
}

/// What is in the directories.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) files: BTreeMap<PluginName, PathBuf>,
    /// What looks like a plugin and can't be one, or a directory that can't be read: for people.
    pub(crate) oddities: Vec<String>,
}

impl Directories {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// Looks through all of them. A directory that is not there is an empty one.
    pub(crate) fn list(&self) -> Found {
        let mut found = Found::default();
        for path in &self.paths {
            match Dir::open_ambient_dir(path, ambient_authority()) {
                Ok(dir) => list_one(path, &dir, &mut found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    found.oddities.push(format!("can't read `{}`: {error}", path.display()));
                }
            }
        }
        found
    }
}

fn list_one(path: &Path, dir: &Dir, found: &mut Found) {
    let entries = match dir.entries() {
        Ok(entries) => entries,
        Err(error) => {
            return found.oddities.push(format!("can't read `{}`: {error}", path.display()));
        }
    };
    let mut here = BTreeMap::new();
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        // Follows symbolic links: a link to a version is how many people deploy.
        let is_dir = dir.metadata(file_name).is_ok_and(|metadata| metadata.is_dir());
        let (stem, file) = if is_dir {
            match only_component(dir, file_name) {
                Some(inner) => (file_name, path.join(file_name).join(inner)),
                None => continue,
            }
        } else {
            match file_name.strip_suffix(".wasm") {
                Some(stem) => (stem, path.join(file_name)),
                None => continue,
            }
        };
        match stem.parse::<PluginName>() {
            // `x.wasm` comes before `x/`.
            Ok(name) if is_dir => {
                here.entry(name).or_insert(file);
            }
            Ok(name) => {
                here.insert(name, file);
            }
            Err(error) => found.oddities.push(format!("`{}`: {error}", file.display())),
        }
    }
    for (name, file) in here {
        found.files.entry(name).or_insert(file);
    }
}

/// The component in the directory `name`: `name.wasm`, or the only one there is.
fn only_component(dir: &Dir, name: &str) -> Option<String> {
    let own = format!("{name}.wasm");
    let inner = dir.open_dir(name).ok()?;
    let mut components: Vec<_> = inner
        .entries()
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|file| file.ends_with(".wasm"))
        .collect();
    if components.contains(&own) {
        return Some(own);
    }
    let only = components.pop()?;
    components.is_empty().then_some(only)
}

/// Reads a whole file, once. What is hashed and what is compiled are these very bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    // Not through cap-std's `Dir`: that refuses a link out of the directory, and operators link
    // versions from elsewhere.
    let file = std::fs::File::open(parent.join(name))?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let size = metadata.len();
        let reason = format!("it has {size} bytes, and a plugin may have {limit} at most");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}
