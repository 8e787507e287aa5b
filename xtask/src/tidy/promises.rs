//! Promises that would be broken in silence: released contracts never change, and every misbehaving
//! guest has a test of what the host does about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::tree::{Finding, Tree};

const RELEASED: &str = "wit/released/";

/// In the format of `sha256sum`, with paths from this file's folder.
const DIGESTS: &str = "wit/released/SHA256SUMS";

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    released(tree, findings);
    misbehaving(tree, findings);
}

fn released(tree: &Tree, findings: &mut Vec<Finding>) {
    let list = tree.file(DIGESTS).map(String::from_utf8_lossy).unwrap_or_default();
    let mut digests = BTreeMap::new();
    for (index, line) in list.lines().enumerate() {
        match line.split_once("  ") {
            Some((digest, path)) => {
                digests.insert(format!("{RELEASED}{path}"), digest);
            }
            None => {
                let message = "expected a digest, two spaces and a path";
                findings.push(Finding::line(DIGESTS, index + 1, message));
            }
        }
    }
    for (path, bytes) in tree.files() {
        if !path.starts_with(RELEASED) || path == DIGESTS {
            continue;
        }
        match digests.remove(path) {
            Some(digest) if digest == hexadecimal(&Sha256::digest(bytes)) => {}
            Some(_) => findings.push(Finding::file(path, "a released contract never changes")),
            None => findings.push(Finding::file(path, format!("it is not listed in `{DIGESTS}`"))),
        }
    }
    for path in digests.keys() {
        findings.push(Finding::file(path, "it was released and is gone"));
    }
}

fn misbehaving(tree: &Tree, findings: &mut Vec<Finding>) {
    let tests: Vec<_> = tree
        .texts("")
        .filter(|(path, _)| {
            let inside = path.strip_prefix("host/").and_then(|rest| Some(rest.split_once('/')?.1));
            path.starts_with("tests/") || inside.is_some_and(|inside| inside.starts_with("tests/"))
        })
        .map(|(_, text)| text)
        .collect();
    for (path, _) in tree.files() {
        let inside = path.strip_prefix("guest/misbehaving/");
        let Some(name) = inside.and_then(|inside| inside.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let spelled = name.replace('-', "_");
        if !tests.iter().any(|text| names(text, name) || names(text, &spelled)) {
            findings.push(Finding::file(path, "no test of the host names this guest"));
        }
    }
}

/// Whether `word` stands in `text` as a whole word, or at the end of one: `wasink-misbehaving-…`.
fn names(text: &str, word: &str) -> bool {
    text.split(|next: char| !next.is_alphanumeric() && next != '-' && next != '_').any(|found| {
        found.strip_suffix(word).is_some_and(|before| {
            before.is_empty()
                || before.ends_with("misbehaving-")
                || before.ends_with("misbehaving_")
        })
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::{Finding, Tree};
    use super::{DIGESTS, check};

    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        check(&Tree::of(files), &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    const PATH: &str = "wit/released/0.1.0/plugin.wit";
    /// Of the three bytes `abc`.
    const LIST: &str =
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  0.1.0/plugin.wit\n";

    #[test]
    fn without_a_release_nothing_is_promised() {
        assert_eq!(findings(&[("wit/plugin.wit", "abc")]), [""; 0]);
    }

    #[test]
    fn a_released_contract_that_is_as_it_was_passes() {
        assert_eq!(findings(&[(PATH, "abc"), (DIGESTS, LIST)]), [""; 0]);
    }

    #[test]
    fn a_released_contract_that_changed_is_found() {
        let found = findings(&[(PATH, "abd"), (DIGESTS, LIST)]);
        assert_eq!(found, [format!("{PATH}: a released contract never changes")]);
    }

    #[test]
    fn a_released_contract_that_is_gone_is_found() {
        assert_eq!(findings(&[(DIGESTS, LIST)]), [format!("{PATH}: it was released and is gone")]);
    }

    #[test]
    fn a_released_contract_without_a_digest_is_found() {
        assert_eq!(findings(&[(PATH, "abc")]).len(), 1);
        assert_eq!(findings(&[(PATH, "abc"), (DIGESTS, "nonsense\n")]).len(), 2);
    }

    const GUEST: (&str, &str) = ("guest/misbehaving/fills-memory/Cargo.toml", "");

    #[test]
    fn a_misbehaving_guest_with_a_test_passes() {
        for (path, text) in [
            ("tests/plugins.rs", "load(\"fills-memory\")"),
            ("tests/plugins/limits.toml", "guest = \"wasink-misbehaving-fills-memory\""),
            ("host/wasm/tests/limits.rs", "fn fills_memory() {}"),
        ] {
            assert_eq!(findings(&[GUEST, (path, text)]), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_misbehaving_guest_without_a_test_is_found() {
        for (path, text) in [
            ("host/wasm/src/limits.rs", "fills-memory"),
            ("guest/misbehaving/tests/x.rs", "fills-memory"),
            ("tests/plugins.rs", "load(\"never-fills-memory\"); load(\"fills-memory-twice\")"),
        ] {
            assert_eq!(findings(&[GUEST, (path, text)]).len(), 1, "{path}");
        }
    }
}
