//! Files in a plugin directory: whole or not at all, and nothing that anybody takes for a plugin before
//! it is one.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::{Builder, NamedTempFile};

use crate::artifact::SIGNATURE_BYTES;

/// What stands between a plugin's name and letters of chance while it is fetched. Without `.wasm` at its
/// end such a file is no plugin to anybody.
const FETCHED: &str = ".fetched-";
/// So many letters.
const CHANCE: usize = 6;

/// What stands behind a component's name in that of its signature.
const SIGNATURE: &str = ".sig";

/// Longest file with a signature, in bytes.
const MAX_SIGNATURE: u64 = 4096;

/// Those of whoever looks at the directory, as for files that are put there by hand.
const MODE: u32 = 0o644;

/// A plugin directory that one process at a time puts plugins into.
#[derive(Debug)]
pub struct Hold {
    directory: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// A component that is being fetched, and where it is looked at. Removed where it is dropped.
#[derive(Debug)]
pub struct Candidate {
    file: NamedTempFile,
    signature: Option<PathBuf>,
}

impl Hold {
    /// Waits until no other process has it, makes it where it is not there, and removes what one that was
    /// killed has left.
    ///
    /// # Errors
    ///
    /// Where it can't be made or looked at.
    pub fn take(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock = File::open(directory)?;
        lock.lock()?;
        for entry in std::fs::read_dir(directory)?.flatten() {
            let is_file = entry.file_type()?.is_file();
            if is_file && entry.file_name().to_str().is_some_and(is_left) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// A place for the component of this name.
    ///
    /// # Errors
    ///
    /// Where no file can be made.
    pub fn candidate(&self, name: &str) -> io::Result<Candidate> {
        let file = unfinished(&self.directory, name)?;
        Ok(Candidate { file, signature: None })
    }
}

impl Candidate {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// What its bytes are written to.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Puts its signature beside it.
    ///
    /// # Errors
    ///
    /// Where that can't be written.
    pub fn sign(&mut self, signature: &[u8; SIGNATURE_BYTES]) -> io::Result<()> {
        let path = signature_of(self.path());
        let mut file = File::create_new(&path)?;
        self.signature = Some(path);
        file.write_all(signature)?;
        file.sync_all()
    }

    /// Moves it to where a plugin is found, in place of what is there. Its signature comes first: the
    /// component is what makes others look. After a loss of power one of the two is there, whole.
    ///
    /// # Errors
    ///
    /// Where it can't be moved; then what was there is there.
    pub fn install(mut self, path: &Path) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::create_dir_all(directory)?;
        let place = signature_of(path);
        if let Some(signature) = &self.signature {
            std::fs::rename(signature, &place)?;
        }
        let signed = self.signature.take().is_some();
        std::fs::rename(self.file.path(), path)?;
        // Nothing is left to be removed.
        self.file.disable_cleanup(true);
        if !signed {
            match std::fs::remove_file(&place) {
                // It was over other bytes.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        File::open(directory)?.sync_all()
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(signature) = &self.signature {
            drop(std::fs::remove_file(signature));
        }
    }
}

/// Writes the file of this name, in place of what is there.
pub(crate) fn write_whole(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = unfinished(directory, name)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// A file that is to have this name once it is whole.
fn unfinished(directory: &Path, name: &str) -> io::Result<NamedTempFile> {
    let prefix = format!("{name}{FETCHED}");
    let mut builder = Builder::new();
    builder.prefix(&prefix).rand_bytes(CHANCE).permissions(Permissions::from_mode(MODE));
    builder.tempfile_in(directory)
}

/// Whether a file of this name is one of ours that is not whole.
fn is_left(name: &str) -> bool {
    let name = name.strip_suffix(SIGNATURE).unwrap_or(name);
    name.rsplit_once(FETCHED).is_some_and(|(_, chance)| {
        chance.len() == CHANCE && chance.bytes().all(|c| c.is_ascii_alphanumeric())
    })
}

/// The signature beside a component: its bytes, or their Base64. `None` where there is none.
///
/// # Errors
///
/// Where it can't be read, or is something else.
pub fn signature_beside(path: &Path) -> io::Result<Option<[u8; SIGNATURE_BYTES]>> {
    let mut bytes = Vec::new();
    match File::open(signature_of(path)) {
        Ok(file) => file.take(MAX_SIGNATURE).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let raw = <[u8; SIGNATURE_BYTES]>::try_from(bytes.as_slice()).ok();
    let decoded = || STANDARD.decode(bytes.trim_ascii()).ok()?.try_into().ok();
    let odd =
        || io::Error::new(io::ErrorKind::InvalidData, "it is neither 64 bytes nor their Base64");
    raw.or_else(decoded).ok_or_else(odd).map(Some)
}

fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SIGNATURE);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let name = |entry: io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn a_candidate_is_no_plugin_until_it_is_installed_and_gone_where_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let plugins = directory.path().join("a/plugins");
        let hold = Hold::take(&plugins).unwrap();
        let mut candidate = hold.candidate("file").unwrap();
        candidate.file().write_all(b"one").unwrap();
        candidate.sign(&[1; 64]).unwrap();
        assert_eq!(candidate.path().file_stem().unwrap(), "file");
        assert!(
            names(&plugins).iter().all(|name| !name.ends_with(".wasm")),
            "{:?}",
            names(&plugins)
        );
        drop(candidate);
        assert_eq!(names(&plugins), [""; 0]);

        let mut candidate = hold.candidate("file").unwrap();
        candidate.file().write_all(b"one").unwrap();
        candidate.sign(&[1; 64]).unwrap();
        candidate.install(&plugins.join("file.wasm")).unwrap();
        assert_eq!(names(&plugins), ["file.wasm", "file.wasm.sig"]);
        assert_eq!(std::fs::read(plugins.join("file.wasm.sig")).unwrap(), [1; 64]);

        // The signature of what was there does not stay beside other bytes.
        let mut candidate = hold.candidate("file").unwrap();
        candidate.file().write_all(b"two").unwrap();
        candidate.install(&plugins.join("file.wasm")).unwrap();
        assert_eq!(names(&plugins), ["file.wasm"]);
        assert_eq!(std::fs::read(plugins.join("file.wasm")).unwrap(), b"two");
    }

    #[test]
    fn what_cannot_be_installed_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let hold = Hold::take(directory.path()).unwrap();
        let place = directory.path().join("file.wasm");
        std::fs::create_dir(&place).unwrap();
        let mut candidate = hold.candidate("file").unwrap();
        candidate.file().write_all(b"one").unwrap();
        assert!(candidate.install(&place).is_err());
        assert_eq!(names(directory.path()), ["file.wasm"]);
    }

    #[test]
    fn what_a_killed_process_has_left_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let hold = Hold::take(directory.path()).unwrap();
        let mut left = hold.candidate("file").unwrap();
        left.sign(&[1; 64]).unwrap();
        // As where nothing is dropped.
        std::mem::forget(left);
        let kept = ["a.fetched-by-me", "b.fetched-abcdef.wasm", "other.wasm"];
        for name in kept {
            std::fs::write(directory.path().join(name), "whole").unwrap();
        }
        assert_eq!(names(directory.path()).len(), 5);
        drop(hold);
        drop(Hold::take(directory.path()).unwrap());
        assert_eq!(names(directory.path()), kept);
    }

    #[test]
    fn a_signature_is_64_bytes_or_their_base64() {
        let directory = tempfile::tempdir().unwrap();
        let component = directory.path().join("file.wasm");
        assert_eq!(signature_beside(&component).unwrap(), None);
        let beside = |content: &[u8]| {
            std::fs::write(signature_of(&component), content).unwrap();
            signature_beside(&component)
        };
        assert_eq!(beside(&[9; 64]).unwrap(), Some([9; 64]));
        let text = format!("{}\n", STANDARD.encode([9; 64]));
        assert_eq!(beside(text.as_bytes()).unwrap(), Some([9; 64]));
        assert!(beside(b"").is_err() && beside(&[9; 63]).is_err() && beside(&[9; 9000]).is_err());
    }

    #[test]
    fn one_at_a_time_puts_plugins_into_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let hold = Hold::take(directory.path()).unwrap();
        let other = File::open(directory.path()).unwrap();
        assert!(other.try_lock().is_err());
        drop(hold);
        assert!(other.try_lock().is_ok());
    }
}
