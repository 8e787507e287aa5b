//! What several tests need: components, directories, the command.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

/// Builds the guests that are not bundled, once a process, and returns the folder of the components.
pub(crate) fn guests() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Beside the folder that this test was built into.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("guests");
        let mut cargo = Command::new(env!("CARGO"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let drop = text.starts_with("CARGO_") && !text.starts_with("CARGO_HOME")
                || text.starts_with("RUSTC")
                || ["RUSTFLAGS", "RUSTDOCFLAGS"].contains(&&*text);
            if drop {
                cargo.env_remove(&name);
            }
        }
        let built = cargo
            .current_dir(root.join("guest"))
            .args(["build", "--quiet", "--release", "--locked", "--workspace"])
            .args(["--target", "wasm32-wasip2"])
            .arg("--target-dir")
            .arg(&target)
            .status()
            .unwrap();
        assert!(built.success(), "the guests do not build");
        target.join("wasm32-wasip2/release")
    })
}

/// A plugin directory that holds these guests under these names: `("spins", "describe-spins")` is
/// the misbehaving guest `describe-spins` as `spins.wasm`.
pub(crate) fn plugin_directory(guests: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, guest) in guests {
        let file = format!("wasink_misbehaving_{}.wasm", guest.replace('-', "_"));
        std::fs::copy(self::guests().join(file), directory.path().join(format!("{name}.wasm")))
            .unwrap();
    }
    directory
}
