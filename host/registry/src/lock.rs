//! What was fetched last: a file beside the plugins.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::digest::Digest;
use crate::place::write_whole;
use crate::reference::Reference;

/// Its name. It does not end as plugins do, so nothing takes it for one.
pub const LOCK_FILE: &str = "wasink.lock";

/// The version of its format.
const VERSION: u32 = 1;

/// Far more than any has, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The plugins that were fetched, each by the digests that it had.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lock {
    directory: PathBuf,
    path: PathBuf,
    plugins: Vec<Locked>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// Its name.
    pub name: String,
    /// What it can be used as, in the caller's words: two of different kinds may have the same name.
    pub kind: String,
    /// Where it came from, without a digest.
    pub reference: Reference,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The digest of the component.
    pub component: Digest,
}

/// What is wrong with a lock file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It can't be read or written.
    #[error("the lock file `{path}`: {error}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// It is not what was written.
    #[error(
        "the lock file `{path}`, line {line}: {reason}; put back what was there, or remove the file to have it made anew"
    )]
    Content {
        /// The file.
        path: String,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The tag is something else now than when it was fetched last.
    #[error("`{reference}` has moved: {locked} was fetched last, and it is {found} now")]
    Moved {
        /// Where it comes from.
        reference: String,
        /// The digest of the manifest that was fetched last.
        locked: Digest,
        /// The one that it has now.
        found: Digest,
    },
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    /// How many there are, which tells a file that was cut between two of them.
    plugins: Spanned<usize>,
    #[serde(default)]
    plugin: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: Spanned<String>,
    kind: String,
    reference: Spanned<String>,
    manifest: Digest,
    component: Digest,
}

impl Lock {
    /// Reads the one in this directory. Where there is none, nothing was fetched yet.
    ///
    /// # Errors
    ///
    /// [`LockError::File`] and [`LockError::Content`].
    pub fn read(directory: &Path) -> Result<Self, LockError> {
        let directory = directory.to_owned();
        let path = directory.join(LOCK_FILE);
        let wrong = |error| LockError::File { path: path.display().to_string(), error };
        let size = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { directory, path, plugins: Vec::new() });
            }
            Err(error) => return Err(wrong(error)),
        };
        if size > MAX_BYTES {
            return Err(wrong(io::Error::other(format!("it has more than {MAX_BYTES} bytes"))));
        }
        let bytes = std::fs::read(&path).map_err(wrong)?;
        let plugins = parse(&bytes).map_err(|(line, reason)| LockError::Content {
            path: path.display().to_string(),
            line,
            reason,
        })?;
        Ok(Self { directory, path, plugins })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All there are, by name.
    pub fn plugins(&self) -> &[Locked] {
        &self.plugins
    }

    /// Whether a tag is still what it was when the plugin of this name was fetched from it. What names a
    /// digest has nothing to do with tags.
    ///
    /// # Errors
    ///
    /// [`LockError::Moved`].
    pub fn check(
        &self,
        name: &str,
        reference: &Reference,
        manifest: &Digest,
    ) -> Result<(), LockError> {
        let is_same = |locked: &&Locked| locked.name == name && locked.reference == *reference;
        match self.plugins.iter().filter(is_same).find(|locked| locked.manifest != *manifest) {
            Some(Locked { manifest: locked, .. }) => Err(LockError::Moved {
                reference: reference.to_string(),
                locked: locked.clone(),
                found: manifest.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Has this plugin in it from now on, and none of the same name and kind.
    pub fn set(&mut self, locked: Locked) {
        self.plugins.retain(|other| (&other.name, &other.kind) != (&locked.name, &locked.kind));
        self.plugins.push(locked);
        self.plugins.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
    }

    /// Writes it down, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`LockError::File`].
    pub fn write(&self) -> Result<(), LockError> {
        let mut text = format!(
            "# Written by wasink when it fetches plugins. `plugins` counts them.\n\
             version = {VERSION}\nplugins = {}\n",
            self.plugins.len()
        );
        for Locked { name, kind, reference, manifest, component } in &self.plugins {
            // None of these has a character that would have to be escaped.
            text.push_str(&format!(
                "\n[[plugin]]\nname = \"{name}\"\nkind = \"{kind}\"\nreference = \"{reference}\"\n\
                 manifest = \"{manifest}\"\ncomponent = \"{component}\"\n"
            ));
        }
        write_whole(&self.directory, LOCK_FILE, text.as_bytes())
            .map_err(|error| LockError::File { path: self.path.display().to_string(), error })
    }
}

/// The plugins in a lock file; else the line and what is wrong there.
fn parse(bytes: &[u8]) -> Result<Vec<Locked>, (usize, String)> {
    let line_at = |at: usize| 1 + bytes.iter().take(at).filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(bytes)
        .map_err(|error| (line_at(error.valid_up_to()), "it is not UTF-8".to_owned()))?;
    let file: File = toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(1, |span| line_at(span.start));
        (line, error.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    let File { version, plugins, plugin: entries } = file;
    if *version.get_ref() != VERSION {
        let reason =
            format!("its version is {}, and this wasink reads {VERSION}", version.get_ref());
        return Err((line_at(version.span().start), reason));
    }
    if *plugins.get_ref() != entries.len() {
        let reason = format!(
            "it says that there are {} plugins, and there are {}: it was cut or written to by hand",
            plugins.get_ref(),
            entries.len()
        );
        return Err((line_at(plugins.span().start), reason));
    }
    let mut found: Vec<Locked> = Vec::new();
    for Entry { name, kind, reference, manifest, component } in entries {
        let at = (line_at(name.span().start), line_at(reference.span().start));
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
        };
        if !plain(name.get_ref()) || !plain(&kind) {
            return Err((at.0, "a name and a kind are letters, digits and `-`".to_owned()));
        }
        let name = name.into_inner();
        if found.iter().any(|other| (&other.name, &other.kind) == (&name, &kind)) {
            return Err((at.0, format!("the {kind} `{name}` is there twice")));
        }
        let reference =
            Reference::parse(reference.get_ref()).map_err(|error| (at.1, error.to_string()))?;
        if reference.digest().is_some() {
            return Err((at.1, "a digest stands in `manifest`, not here".to_owned()));
        }
        found.push(Locked { name, kind, reference, manifest, component });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(name: &str, tag: &str) -> Locked {
        Locked {
            name: name.to_owned(),
            kind: "sink".to_owned(),
            reference: Reference::parse(&format!("r.example:5000/plugins/{name}{tag}")).unwrap(),
            manifest: Digest::of(name.as_bytes()),
            component: Digest::of(tag.as_bytes()),
        }
    }

    fn with(directory: &Path, plugins: &[Locked]) -> Lock {
        let mut lock = Lock::read(directory).unwrap();
        plugins.iter().for_each(|plugin| lock.set(plugin.clone()));
        lock.write().unwrap();
        lock
    }

    #[test]
    fn what_was_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut feed = locked("b", ":1");
        feed.kind = "feed-source".to_owned();
        let plugins = [locked("b", ":2"), locked("a", ""), feed.clone(), locked("b", ":3")];
        let lock = with(directory.path(), &plugins);
        assert_eq!(Lock::read(directory.path()).unwrap(), lock);
        assert_eq!(lock.plugins(), [locked("a", ""), feed, locked("b", ":3")]);
        let names = std::fs::read_dir(directory.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [LOCK_FILE]);
    }

    #[test]
    fn a_tag_that_moved_is_told_with_both_digests_and_other_tags_are_not_it() {
        let directory = tempfile::tempdir().unwrap();
        let lock = with(directory.path(), &[locked("a", ":1")]);
        let of = |text: &str| text.parse::<Reference>().unwrap();
        let (was, now) = (Digest::of(b"a"), Digest::of(b"new"));
        let same = of("r.example:5000/plugins/a:1");
        assert!(lock.check("a", &same, &was).is_ok());
        assert!(lock.check("other", &same, &now).is_ok());
        assert!(lock.check("a", &of("r.example:5000/plugins/a:2"), &now).is_ok());
        assert!(lock.check("a", &same.at(now.clone()), &now).is_ok());
        let error = lock.check("a", &same, &now).unwrap_err().to_string();
        assert!(error.contains(was.as_str()) && error.contains(now.as_str()), "{error}");
    }

    #[test]
    fn wherever_a_lock_file_is_cut_it_is_told_with_a_line() {
        let directory = tempfile::tempdir().unwrap();
        with(directory.path(), &[locked("a", ":1"), locked("b", ":1")]);
        let path = directory.path().join(LOCK_FILE);
        let whole = std::fs::read(&path).unwrap();
        // What is cut last is a line's end, and nothing is lost with it.
        for length in 0..whole.len() - 1 {
            std::fs::write(&path, &whole[..length]).unwrap();
            let Err(LockError::Content { line, .. }) = Lock::read(directory.path()) else {
                panic!("cut at {length}: {:?}", String::from_utf8_lossy(&whole[..length]));
            };
            assert!(line <= 1 + whole.iter().filter(|byte| **byte == b'\n').count());
        }
    }

    #[test]
    fn what_a_hand_has_changed_is_told_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        with(directory.path(), &[locked("a", ":1"), locked("b", ":1")]);
        let path = directory.path().join(LOCK_FILE);
        let whole = std::fs::read_to_string(&path).unwrap();
        for (from, to, line, reason) in [
            ("version = 1", "version = 2", 2, "its version is 2"),
            ("plugins = 2", "plugins = 1", 3, "it says that there are 1 plugins, and there are 2"),
            ("plugins = 2", "plugins = x", 3, ""),
            ("name = \"b\"", "name = \"a\"", 13, "the sink `a` is there twice"),
            ("name = \"b\"", "name = \"../b\"", 13, "letters, digits"),
            ("name = \"b\"", "nane = \"b\"", 13, "unknown field `nane`"),
            ("kind = \"sink\"\n", "", 5, "missing field `kind`"),
            ("plugins/b:1", "plugins/b:", 15, "a tag is"),
            ("plugins/b:1", "plugins/b@sha256:1", 15, "is no digest"),
            ("sha256:", "sha512:", 9, "is no digest"),
        ] {
            std::fs::write(&path, whole.replacen(from, to, 1)).unwrap();
            let error = Lock::read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(&format!(", line {line}: ")), "{to}: {error}");
            assert!(error.contains(reason), "{to}: {error}");
        }
        std::fs::write(&path, b"version = 1\nplugins = 0\n# \xff").unwrap();
        assert!(Lock::read(directory.path()).unwrap_err().to_string().contains("line 3"));
    }
}
