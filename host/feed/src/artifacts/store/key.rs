//! Keys: where in a store an artifact is.

use object_store::path::Path;

/// The longest key, in bytes and with the store's own prefix: S3 has none longer.
const LONGEST: usize = 1024;

/// The longest segment, in bytes: each may be the name of a file.
const LONGEST_SEGMENT: usize = 255;

/// The path of a key below a prefix, or nothing where it is no key: segments parted by `/`, none of
/// them empty, `.` or `..`, and no control characters.
pub(super) fn path(prefix: &Path, key: &str) -> Option<Path> {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.len() <= LONGEST_SEGMENT
            && !segment.contains(char::is_control)
    };
    if !key.split('/').all(segment) {
        return None;
    }
    let whole = if prefix.is_root() { key.to_owned() } else { format!("{prefix}/{key}") };
    if whole.len() > LONGEST {
        return None;
    }
    // It is taken as it is: nothing of it is escaped on the way to a file's name or an object's key.
    Path::parse(whole).ok()
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::path;

    #[test]
    fn a_key_is_a_path_that_stays_below_its_prefix() {
        let long = "x".repeat(256);
        let deep = "abc/".repeat(256) + "x";
        let root = Path::default();
        for key in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b", "a\nb", "a\u{85}b",
            "\0", &long, &deep,
        ] {
            assert_eq!(path(&root, key), None, "{key:?}");
        }
        let prefix = Path::parse("control/v1").unwrap();
        for key in ["a", "a/b c/%2e%2e/ü", "...", "a#1", "~*?[]{}|\\"] {
            assert_eq!(path(&root, key).unwrap().as_ref(), key);
            assert_eq!(path(&prefix, key).unwrap().as_ref(), format!("control/v1/{key}"));
        }
        // The limit is of both.
        let fits = "abc/".repeat(255) + "x";
        assert!(path(&root, &fits).is_some() && path(&prefix, &fits).is_none());
    }
}
