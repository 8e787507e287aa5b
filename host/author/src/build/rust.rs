//! Rust: cargo, and a copy of the SDK in the project.

use std::path::PathBuf;

use toml::{Table, Value};

use super::{Toolchain, missing};
use crate::tool::{Tool, find, says};
use crate::{AuthorError, Project, contract, files};

pub(crate) struct Rust;

const TARGET: &str = "wasm32-wasip2";
/// The project's folder for the SDK.
const SDK: &str = "wasink-guest";

impl Toolchain for Rust {
    fn install(&self) -> Option<&'static str> {
        Some("rustup target add wasm32-wasip2")
    }

    fn ignored(&self) -> &'static [&'static str] {
        &["/target/"]
    }

    fn complete(&self, project: &Project) -> Result<(), AuthorError> {
        let put = |path: &str, bytes: &[u8]| contract::put(&project.root.join(path), bytes);
        put("Cargo.toml", manifest(project.name()).as_bytes())?;
        // The versions that the SDK is tested with; cargo drops from it what this project does without.
        put("Cargo.lock", files::GUEST_LOCK.as_bytes())?;
        for (path, bytes) in files::SDK {
            let path = format!("{SDK}/{path}");
            match path.strip_suffix("/Cargo.toml") {
                Some(_) => put(&path, sdk_manifest(bytes)?.as_bytes())?,
                None => put(&path, bytes)?,
            }
        }
        Ok(())
    }

    fn build(&self, project: &Project, told: &mut dyn FnMut(&str)) -> Result<PathBuf, AuthorError> {
        let root = &project.root;
        let install = "curl https://sh.rustup.rs -sSf | sh";
        let cargo = find(root, &[], "cargo");
        let cargo =
            cargo.ok_or_else(|| missing("cargo is missing: Rust's own tools build it", install))?;
        let library = find(root, &[], "rustc").and_then(|rustc| {
            says(&rustc, root, &["--print", "target-libdir", "--target", TARGET])
        });
        if !library.is_some_and(|folder| PathBuf::from(folder.trim_end()).is_dir()) {
            let what = format!("the toolchain lacks the target `{TARGET}`");
            return Err(missing(what, "rustup target add wasm32-wasip2"));
        }
        Tool::new(&cargo, root)
            .args(["build", "--release", "--target", TARGET, "--target-dir", "target"])
            .run(told)?;
        let file = format!("{}.wasm", project.name().replace('-', "_"));
        Ok(root.join("target").join(TARGET).join("release").join(file))
    }
}

fn manifest(name: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "1.0.0"
edition = "2024"
publish = false

[lib]
# The first is the component, the second is for its tests.
crate-type = ["cdylib", "rlib"]

[dependencies]
# The SDK: a copy, until it can be had from a registry.
wasink-guest = {{ path = "{SDK}" }}

[dev-dependencies]
tempfile = "3"

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = "abort"
strip = true

# It is a project of its own, wherever it stands.
[workspace]
"#
    )
}

/// The SDK's manifest by itself, with what it has from its workspace put in.
fn sdk_manifest(bytes: &[u8]) -> Result<String, AuthorError> {
    let wrong = |reason: String| AuthorError::Manifest { path: PathBuf::from("guest/sdk"), reason };
    let text = String::from_utf8_lossy(bytes);
    let mut manifest: Table = text.parse().map_err(|error| wrong(format!("{error}")))?;
    let workspace: Table =
        files::GUEST_WORKSPACE.parse().map_err(|error| wrong(format!("{error}")))?;
    let of_workspace =
        |key: &str| workspace.get("workspace").and_then(|workspace| workspace.get(key)?.as_table());
    manifest.remove("lints");
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        inherit(package, of_workspace("package"));
    }
    for key in ["dependencies", "dev-dependencies"] {
        let targets = manifest.get_mut("target").and_then(Value::as_table_mut);
        for target in targets.into_iter().flat_map(|targets| targets.iter_mut()) {
            let table = target.1.get_mut(key).and_then(Value::as_table_mut);
            table.into_iter().for_each(|table| inherit(table, of_workspace("dependencies")));
        }
        let table = manifest.get_mut(key).and_then(Value::as_table_mut);
        table.into_iter().for_each(|table| inherit(table, of_workspace("dependencies")));
    }
    toml::to_string(&manifest).map_err(|error| wrong(error.to_string()))
}

/// Puts the workspace's values where a table has `key.workspace = true`, and keeps what else it says.
fn inherit(table: &mut Table, workspace: Option<&Table>) {
    for (key, value) in table.iter_mut() {
        let Some(own) = value.as_table_mut() else { continue };
        if own.remove("workspace").is_none() {
            continue;
        }
        let Some(theirs) = workspace.and_then(|workspace| workspace.get(key)) else { continue };
        if own.is_empty() {
            *value = theirs.clone();
            continue;
        }
        let mut merged = match theirs {
            Value::Table(table) => table.clone(),
            version => Table::from_iter([("version".to_owned(), version.clone())]),
        };
        for (key, value) in own.iter() {
            match (merged.get_mut(key).and_then(Value::as_array_mut), value.as_array()) {
                (Some(features), Some(more)) => features.extend(more.iter().cloned()),
                _ => drop(merged.insert(key.clone(), value.clone())),
            }
        }
        *value = Value::Table(merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_stands_by_itself() {
        let (_, bytes) = files::SDK.iter().find(|(path, _)| *path == "Cargo.toml").unwrap();
        let text = sdk_manifest(bytes).unwrap();
        assert!(!text.contains("workspace"), "{text}");
        let table: Table = text.parse().unwrap();
        let serde = &table["dependencies"]["serde"];
        let features = serde["features"].as_array().unwrap();
        assert_eq!(features, &[Value::from("std"), Value::from("derive")]);
        assert_eq!(serde["default-features"].as_bool(), Some(false));
        assert!(table["dependencies"]["wit-bindgen"]["version"].as_str().unwrap().starts_with('='));
    }
}
