//! The bytes of versions that have been loaded, by digest, so that there is a way back to them.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::find::read;
use crate::signature::Signature;

/// How the names of stored components and of their signatures end.
const COMPONENT: &str = "wasm";
const SIGNATURE: &str = "wasm.sig";

/// A directory of files that are named by their digests.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    /// Nothing is made before there is something to be kept.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    fn path(&self, digest: &str, extension: &str) -> PathBuf {
        let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
        self.directory.join(format!("{digits}.{extension}"))
    }

    /// Keeps these bytes; what is kept survives a loss of power.
    pub(crate) fn keep(&self, digest: &str, bytes: &[u8], signature: &Signature) -> io::Result<()> {
        let path = self.path(digest, COMPONENT);
        if fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
            return Ok(());
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)?;
        if let Signature::Given(signature) = signature {
            self.place(&self.path(digest, SIGNATURE), signature)?;
        }
        self.place(&path, bytes)
    }

    /// Writes a file under another name first, so that it is there whole or not at all.
    fn place(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// What is kept under a digest. Whether it is that, is for the caller to see.
    pub(crate) fn read(&self, digest: &str, limit: u64) -> io::Result<(Vec<u8>, Signature)> {
        let path = self.path(digest, COMPONENT);
        Ok((read(&path, limit)?, Signature::beside(&path)?))
    }

    /// Removes all but these. What can't be removed is tried again the next time.
    pub(crate) fn retain(&self, digests: &[String]) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let wanted: Vec<PathBuf> = digests
            .iter()
            .flat_map(|digest| [self.path(digest, COMPONENT), self.path(digest, SIGNATURE)])
            .collect();
        for path in entries.flatten().map(|entry| entry.path()) {
            let ours = path.to_str().is_some_and(|name| {
                [COMPONENT, SIGNATURE, "unfinished"].iter().any(|end| name.ends_with(end))
            });
            if ours && !wanted.contains(&path) {
                drop(fs::remove_file(path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_not_wanted_goes() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().join("versions"));
        store.keep("sha256:aa", b"one", &Signature::Missing).unwrap();
        store.keep("sha256:bb", b"two", &Signature::Given(vec![7; 64])).unwrap();
        assert_eq!(
            store.read("sha256:bb", 10).unwrap(),
            (b"two".to_vec(), Signature::Given(vec![7; 64]))
        );
        store.retain(&["sha256:aa".to_owned()]);
        assert_eq!(store.read("sha256:aa", 10).unwrap().0, b"one");
        assert!(store.read("sha256:bb", 10).is_err());
        let left = fs::read_dir(directory.path().join("versions")).unwrap().count();
        assert_eq!(left, 1, "the signature goes with its component");
    }

    #[test]
    fn other_files_in_the_directory_are_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path().to_owned());
        fs::write(directory.path().join("state.json"), "{}").unwrap();
        store.retain(&[]);
        assert!(directory.path().join("state.json").exists());
    }
}
