//! The directory for compiled code.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use wasink_chassis::plugin::Plugins as _;
use wasink_record::Stream;
use wasink_wasm::{Options, WasmPlugins};

use crate::kit::{batch, bundled, error, name, request};

/// A host that keeps compiled code in `cache` and has the plugin `x` with these bytes.
fn host(cache: &Path, bytes: &'static [u8]) -> WasmPlugins {
    let options = Options {
        bundled: vec![("x", bytes)],
        cache: Some(cache.to_owned()),
        ..Options::default()
    };
    WasmPlugins::new(options).unwrap()
}

/// The files of compiled code below `directory`, each with its inode.
fn compiled(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.extension().is_none() {
                // What has an extension is statistics, written when there is time.
                found.insert(path, entry.metadata().unwrap().ino());
            }
        }
    }
    found
}

#[test]
fn the_directory_is_made_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("deep/er/cache");
    host(&cache, bundled("nop"));
    let mode = std::fs::metadata(&cache).unwrap().mode() & 0o7777;
    assert_eq!(mode & 0o077, 0, "{mode:04o}");
    assert_eq!(mode & 0o700, 0o700, "{mode:04o}");
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    for (mode, refused) in [(0o770, true), (0o702, true), (0o777, true), (0o755, false)] {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("cache");
        std::fs::create_dir(&cache).unwrap();
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(mode)).unwrap();
        let made = WasmPlugins::new(Options { cache: Some(cache.clone()), ..Options::default() });
        if refused {
            assert_eq!(
                error(made),
                format!(
                    "can't use `{}` for compiled plugins: others may write to it (mode {mode:04o}); \
                     `chmod 700` it",
                    cache.display()
                )
            );
        } else {
            made.unwrap();
        }
    }
}

#[test]
fn a_file_in_the_place_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    std::fs::write(&cache, b"").unwrap();
    let made = WasmPlugins::new(Options { cache: Some(cache.clone()), ..Options::default() });
    let said = error(made);
    assert!(said.starts_with(&format!("can't use `{}` for compiled plugins: ", cache.display())));
}

#[test]
fn a_second_engine_takes_the_code_that_a_first_has_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, other) = (directory.path().join("a"), directory.path().join("b"));
    host(&kept, bundled("capture")).describe(&name("x")).unwrap();
    let before = compiled(&kept);
    assert!(!before.is_empty(), "nothing was kept");
    let mut sink = host(&kept, bundled("capture")).open(request("x", &json!({}))).unwrap();
    sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
    assert_eq!(compiled(&kept), before, "no file is new and none was written again");

    // Another plugin's code in the place of this one's: if the second engine runs that, it has
    // taken what it found.
    host(&other, bundled("nop")).describe(&name("x")).unwrap();
    let (ours, others) = (before.keys().next().unwrap(), compiled(&other));
    assert_eq!((before.len(), others.len()), (1, 1));
    std::fs::copy(others.keys().next().unwrap(), ours).unwrap();
    let mut sink = host(&kept, bundled("capture")).open(request("x", &json!({}))).unwrap();
    assert_eq!(sink.captured().unwrap(), None);
}

#[test]
fn code_that_was_damaged_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    host(directory.path(), bundled("capture")).describe(&name("x")).unwrap();
    for damage in [&b""[..], b"not compiled code", &[0; 100_000]] {
        let files = compiled(directory.path());
        assert!(!files.is_empty());
        for path in files.keys() {
            std::fs::write(path, damage).unwrap();
        }
        let host = host(directory.path(), bundled("capture"));
        let mut sink = host.open(request("x", &json!({}))).unwrap();
        sink.write(&batch(Stream::Usage, 0, 1)).unwrap();
        assert_eq!(sink.captured().unwrap().unwrap().len(), 1);
    }
}
