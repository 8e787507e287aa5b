//! The contract, and the copy of it that each project has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::{AuthorError, files};

/// The contract that new projects are made for.
pub const CONTRACT_VERSION: &str = "0.1.0";

/// Name of a project's folder for it.
pub(crate) const FOLDER: &str = "wit";

/// `sha256:` and the digest of all its files with their names.
pub(crate) fn digest() -> String {
    digest_of(files::CONTRACT.iter().copied())
}

fn digest_of<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut all = Sha256::new();
    for (path, bytes) in files {
        // Lengths, so that no text can pass for the end of another.
        all.update((path.len() as u64).to_be_bytes());
        all.update(path);
        all.update((bytes.len() as u64).to_be_bytes());
        all.update(bytes);
    }
    all.finalize().iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Puts a copy of it into a project, in place of what is there of one.
pub(crate) fn write(root: &Path) -> Result<(), AuthorError> {
    let folder = root.join(FOLDER);
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(AuthorError::file(folder)(error));
        }
        _ => {}
    }
    for (path, bytes) in files::CONTRACT {
        put(&folder.join(path), bytes)?;
    }
    Ok(())
}

/// Whether a project's copy is what its manifest says. Files of other packages may stand beside it.
pub(crate) fn check(root: &Path, expected: &str) -> Result<(), AuthorError> {
    let folder = root.join(FOLDER);
    let wrong = |reason: String| AuthorError::Contract { path: folder.clone(), reason };
    let mut found = BTreeMap::new();
    for (path, _) in files::CONTRACT {
        match std::fs::read(folder.join(path)) {
            Ok(bytes) => drop(found.insert(*path, bytes)),
            Err(error) => return Err(wrong(format!("`{path}`: {error}"))),
        }
    }
    let digest = digest_of(found.iter().map(|(path, bytes)| (*path, bytes.as_slice())));
    if digest == expected {
        return Ok(());
    }
    let changed = files::CONTRACT
        .iter()
        .find(|(path, bytes)| found.get(path).is_none_or(|found| found != bytes));
    Err(wrong(match changed {
        Some((path, _)) if self::digest() == expected => format!("`{path}` was changed"),
        _ => format!("its digest is {digest}, not {expected}"),
    }))
}

/// Writes a file, and makes the folders above it.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), AuthorError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(AuthorError::file(parent))?;
    }
    std::fs::write(path, bytes).map_err(AuthorError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_right_until_something_in_it_changes() {
        let project = tempfile::tempdir().unwrap();
        write(project.path()).unwrap();
        check(project.path(), &digest()).unwrap();
        let file = project.path().join("wit/batches.wit");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("len: func", "length: func")).unwrap();
        let error = check(project.path(), &digest()).unwrap_err().to_string();
        assert!(error.contains("`batches.wit` was changed"), "{error}");
        std::fs::remove_file(&file).unwrap();
        let error = check(project.path(), &digest()).unwrap_err().to_string();
        assert!(error.contains("`batches.wit`: No such file"), "{error}");
        write(project.path()).unwrap();
        let error = check(project.path(), "sha256:00").unwrap_err().to_string();
        assert!(error.contains("not sha256:00"), "{error}");
    }

    #[test]
    fn the_version_is_that_of_the_files() {
        let (_, text) = files::CONTRACT.iter().find(|(path, _)| *path == "plugin.wit").unwrap();
        let package = format!("package wasink:plugin@{CONTRACT_VERSION};");
        assert!(String::from_utf8_lossy(text).contains(&package));
    }
}
