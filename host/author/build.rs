//! Puts what projects are made of into the crate: the contract, the templates, and the Rust SDK.

#![expect(clippy::expect_used, reason = "cargo shows a build script's panic as the build's error")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Folders of guest/examples that are templates, one for each kind of plugin within.
const LANGUAGES: [&str; 8] =
    ["c", "cpp", "go", "javascript", "python", "rust", "typescript", "zig"];

/// What builds leave beside the sources of a template, in its folder.
const BUILT: [&str; 7] =
    ["__pycache__", "bindings", "build", "node_modules", "package-lock.json", "target", "wit"];

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let root = manifest.join("../..").canonicalize().expect("the project is there");
    let mut text = String::new();
    list(&mut text, "CONTRACT", &root.join("wit"), |path| {
        path.ends_with(".wit") && !path.starts_with("released/")
    });
    list(&mut text, "SDK", &root.join("guest/sdk"), |_| true);
    for language in LANGUAGES {
        let folder = root.join("guest/examples").join(language);
        list(&mut text, &language.to_uppercase(), &folder, is_source);
    }
    for (name, file) in
        [("GUEST_WORKSPACE", "guest/Cargo.toml"), ("GUEST_LOCK", "guest/Cargo.lock")]
    {
        let file = root.join(file);
        println!("cargo::rerun-if-changed={}", file.display());
        writeln!(text, "pub(crate) const {name}: &str = include_str!({file:?});")
            .expect("a String takes it");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    fs::write(out.join("files.rs"), text).expect("OUT_DIR is there to be written to");
}

/// A constant of all files below a folder, by their paths from it.
fn list(text: &mut String, name: &str, folder: &Path, wanted: impl Fn(&str) -> bool) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    walk(folder, String::new(), &mut files);
    files.retain(|path| wanted(path));
    files.sort();
    writeln!(text, "pub(crate) const {name}: &[(&str, &[u8])] = &[").expect("a String takes it");
    for path in files {
        let file = folder.join(&path);
        writeln!(text, "    ({path:?}, include_bytes!({file:?})),").expect("a String takes it");
    }
    text.push_str("];\n");
}

fn walk(folder: &Path, prefix: String, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder of the project can be read") {
        let entry = entry.expect("a folder of the project can be read");
        let name = entry.file_name().into_string().expect("files of the project have plain names");
        if name.starts_with('.') || name.ends_with(".wasm") {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            walk(&entry.path(), format!("{path}/"), files);
        } else {
            files.push(path);
        }
    }
}

/// Whether a path in the folder of a language is a source, and nothing that a build has left.
fn is_source(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    parts.next().is_some_and(|part| !BUILT.contains(&part))
}
