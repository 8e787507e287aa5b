//! Builds guest/sinks and guest/feeds for WebAssembly, so that plain `cargo build` is all that it takes.

#![expect(clippy::expect_used, reason = "cargo shows a build script's panic as the build's error")]

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The plugins that come with the program: folders of guest/sinks.
const SINKS: [&str; 8] = ["capture", "file", "http", "jetstream", "log", "nop", "rollup", "stderr"];

/// The ends of feeds that come with the program.
const FEED_SOURCES: [&str; 3] = ["file", "jetstream", "nop"];
const FEED_SINKS: [&str; 3] = ["file", "jetstream", "nop"];

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let guest = manifest.join("../../guest");
    let inputs =
        ["../.cargo", "Cargo.toml", "Cargo.lock", "sdk", "nats", "sinks", "feeds", "patches"];
    for input in inputs {
        println!("cargo::rerun-if-changed={}", guest.join(input).display());
    }
    println!("cargo::rerun-if-env-changed=RUSTC");

    add_target();
    let target = target_directory(&out).join("guests");
    let mut build = cargo();
    build.current_dir(&guest).args(["build", "--release", "--locked", "--target", TARGET]);
    build.arg("--target-dir").arg(&target);
    let package = |kind: &str, name: &str| match kind {
        "sinks" => format!("wasink-sink-{name}"),
        "feed-sources" => format!("wasink-feed-{name}-source"),
        _ => format!("wasink-feed-{name}-sink"),
    };
    let shelves: [(&str, &[&str]); 3] =
        [("sinks", &SINKS), ("feed-sources", &FEED_SOURCES), ("feed-sinks", &FEED_SINKS)];
    for (kind, names) in shelves {
        for name in names {
            build.args(["--package", &package(kind, name)]);
        }
    }
    run(&mut build, "the bundled plugins do not build");

    for (kind, names) in shelves {
        let mut list = String::from("&[\n");
        for name in names {
            let file = format!("{}.wasm", package(kind, name).replace('-', "_"));
            let built = target.join(TARGET).join("release").join(&file);
            // A copy, so that a later build of the guests does not change what this one embeds.
            let own = out.join(file);
            std::fs::copy(&built, &own).expect("the build has just made it");
            writeln!(list, "    ({name:?}, include_bytes!({own:?})),").expect("a String takes it");
        }
        list.push(']');
        let file = out.join(format!("{kind}.rs"));
        std::fs::write(file, list).expect("OUT_DIR is there to be written to");
    }
}

/// Adds the WebAssembly target where the toolchain lacks it: rustup does so by itself only if it is
/// allowed to.
fn add_target() {
    let rustc = env::var_os("RUSTC").expect("set by cargo");
    let answer = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .expect("rustc is there: it built this");
    let libdir = String::from_utf8_lossy(&answer.stdout);
    if answer.status.success() && Path::new(libdir.trim()).exists() {
        return;
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]);
    run(&mut add, "the target for plugins is missing; add it to your toolchain");
}

/// Cargo, without what it told this script about the build that the script is part of: flags and
/// wrappers for the host's compiler do not fit the guests'.
fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").expect("set by cargo"));
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let keep = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "CARGO_TERM_COLOR"];
        let drop = text.starts_with("CARGO_") && !keep.contains(&text)
            || text.starts_with("RUSTC")
            || ["RUSTFLAGS", "RUSTDOCFLAGS", "TARGET", "HOST", "PROFILE"].contains(&text);
        // What the user set for cargo's registries and network holds for the guests as well.
        let user = ["CARGO_REGISTRIES_", "CARGO_REGISTRY_", "CARGO_SOURCE_", "CARGO_HTTP_"];
        if drop && !user.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

fn run(command: &mut Command, failure: &str) {
    let status = command.status();
    let succeeded = status.as_ref().is_ok_and(|status| status.success());
    assert!(succeeded, "{failure}: {command:?} ended with {status:?}");
}

/// The folder that cargo builds into: the one above OUT_DIR that cargo has marked as a cache.
fn target_directory(out: &Path) -> PathBuf {
    let marked = |path: &&Path| path.join("CACHEDIR.TAG").exists();
    out.ancestors().find(marked).unwrap_or(out).to_owned()
}
