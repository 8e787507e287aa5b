//! From a name to a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use wasink_chassis::config::PluginName;
use wasink_chassis::plugin::Sighting;

use crate::inspect::World;

/// How the name of a component ends.
const EXTENSION: &str = ".wasm";

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
    /// What was stored of a version that had been in charge.
    Stored {
        /// Its digest.
        digest: String,
    },
    /// The program itself.
    Bundled,
}

impl PluginSource {
    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::File { path } => format!("`{}`", path.display()),
            Self::Stored { digest } => format!("the stored version {digest}"),
            Self::Bundled => "the bundled file".to_owned(),
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path } => Some(path),
            Self::Stored { .. } | Self::Bundled => None,
        }
    }
}

/// A plugin's name and where its bytes are. Nothing has been read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginFile {
    /// Its name.
    pub name: PluginName,
    /// What its place says that it can be used as.
    pub world: World,
    /// Where its bytes are.
    pub source: PluginSource,
}

/// Directories that hold plugins, in order: what is found in an earlier one hides what has the same
/// name in a later one.
///
/// A plugin `name` is the file `name.wasm`, or, where there is a directory `name`, the file
/// `name/name.wasm`, or the only `.wasm` file in that directory. The ends of feeds have folders of
/// their own in these directories.
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
    /// The places in `paths` where plugins of this sort are.
    pub(crate) fn new(paths: &[PathBuf], world: World) -> Self {
        let place = |path: &PathBuf| world.folder().map_or(path.clone(), |name| path.join(name));
        Self { paths: paths.iter().map(place).collect() }
    }

    /// Looks through all of them. A directory that is not there is an empty one.
    pub(crate) fn list(&self) -> Found {
        let mut found = Found::default();
        for path in &self.paths {
            match std::fs::read_dir(path) {
                Ok(entries) => list_one(path, entries, &mut found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    found.oddities.push(format!("can't read `{}`: {error}", path.display()));
                }
            }
        }
        found.oddities.sort_unstable();
        found
    }
}

fn list_one(path: &Path, entries: std::fs::ReadDir, found: &mut Found) {
    let mut here = BTreeMap::new();
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let file = path.join(&file_name);
        let Some(file_name) = file_name.to_str() else {
            if is_component(&file) {
                found.oddities.push(format!("`{}`: its name is not UTF-8", file.display()));
            }
            continue;
        };
        // Follows symbolic links, wherever they lead: a link to a version is how many deploy.
        let is_dir = std::fs::metadata(&file).is_ok_and(|metadata| metadata.is_dir());
        let (stem, file) = if is_dir {
            if World::ALL.iter().any(|world| world.folder() == Some(file_name)) {
                continue;
            }
            match only_component(&file, file_name) {
                Ok(Some(inner)) => (file_name, file.join(inner)),
                Ok(None) => continue,
                Err(oddity) => {
                    found.oddities.push(format!("`{}`: {oddity}", file.display()));
                    continue;
                }
            }
        } else {
            match file_name.strip_suffix(EXTENSION) {
                Some(stem) => (stem, file),
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

fn is_component(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(EXTENSION.as_bytes())
}

/// The component in the directory `name`: `name.wasm`, or the only one there is. None in a
/// directory that has nothing to do with plugins; an error says why nothing can be chosen.
fn only_component(directory: &Path, name: &str) -> Result<Option<OsString>, String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("can't read it: {error}"))?;
    let mut components: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|file| is_component(Path::new(file)))
        .collect();
    let own = OsString::from(format!("{name}{EXTENSION}"));
    if components.contains(&own) {
        return Ok(Some(own));
    }
    match (components.len(), components.pop()) {
        (1, only) => Ok(only),
        (0, _) if name.ends_with(EXTENSION) => {
            Err("it is a directory, and there is no component in it".to_owned())
        }
        (0, _) => Ok(None),
        (count, _) => Err(format!(
            "it holds {count} components, and none of them is `{name}{EXTENSION}`, so none is chosen"
        )),
    }
}

/// What is to be seen of the file that a path leads to and of its signature, links followed.
pub(crate) fn sighting(path: &Path) -> Option<Sighting> {
    let metadata = std::fs::metadata(path).ok()?;
    let mut identity = identity(&metadata);
    if let Ok(signature) = std::fs::metadata(signature_of(path)) {
        identity.extend(self::identity(&signature));
    }
    Some(Sighting { path: path.to_owned(), bytes: metadata.len(), identity })
}

/// The file with the signature of a component.
pub(crate) fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

#[cfg(unix)]
fn identity(metadata: &std::fs::Metadata) -> Vec<i128> {
    use std::os::unix::fs::MetadataExt as _;

    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    let file = [i128::from(metadata.dev()), i128::from(metadata.ino())];
    file.into_iter().chain(times.map(i128::from)).collect()
}

#[cfg(not(unix))]
fn identity(metadata: &std::fs::Metadata) -> Vec<i128> {
    let since =
        metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    since.and_then(|since| i128::try_from(since.as_nanos()).ok()).into_iter().collect()
}

/// Reads a whole file, once. What is hashed and what is compiled are these very bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let not_a_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    // Asked before it is opened: opening a named pipe would wait for somebody to write into it.
    if !std::fs::metadata(path)?.is_file() {
        return Err(not_a_file());
    }
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file());
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let size = metadata.len();
        let reason = format!(
            "it has {size} bytes, and a plugin may have {limit} at most; allow it more with \
             `limits.component`"
        );
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}
