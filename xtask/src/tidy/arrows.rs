//! Which crate may know which: the arrows of the layout run one way.

use super::crates::Manifest;
use super::tree::Finding;
use crate::tool::Tool;

/// The one crate that may name wasmtime or a crate of its family.
const NAMES_WASMTIME: &str = "wasink-wasm";

/// What a crate may reach, through however many others, to build or to run.
struct Arrow {
    workspace: &'static str,
    package: &'static str,
    /// Crates of this project that it may reach.
    own: &'static [&'static str],
    /// Families of crates that it must never reach: `tokio` is `tokio` and `tokio-…`.
    never: &'static [&'static str],
}

const ARROWS: [Arrow; 7] = [
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-record",
        own: &[],
        never: &["tokio", "tracing", "wasmtime"],
    },
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-journal",
        own: &["wasink-record"],
        never: &["wasmtime"],
    },
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-chassis",
        own: &["wasink-record", "wasink-journal"],
        never: &["axum", "hyper", "wasmtime"],
    },
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-serve",
        own: &["wasink-record", "wasink-journal", "wasink-chassis"],
        never: &["wasmtime"],
    },
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-author",
        own: &[],
        never: &["tokio", "tracing", "wasmtime"],
    },
    Arrow {
        workspace: "Cargo.toml",
        package: "wasink-registry",
        own: &[],
        never: &["axum", "wasmtime"],
    },
    Arrow {
        workspace: "guest/Cargo.toml",
        package: "wasink-guest",
        own: &[],
        never: &["wasmtime"],
    },
];

pub(super) fn check(manifests: &[Manifest], findings: &mut Vec<Finding>) {
    named(manifests, findings);
    for arrow in &ARROWS {
        let reached = Tool::cargo()
            .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none"])
            .args(["--format", "{p}", "--manifest-path", arrow.workspace])
            .args(["--package", arrow.package])
            .output();
        match reached {
            Ok(reached) => reaches(arrow, &reached, findings),
            Err(error) => findings.push(Finding::file(arrow.workspace, format!("{error:#}"))),
        }
    }
}

/// What a manifest names itself, for tests as well.
fn named(manifests: &[Manifest], findings: &mut Vec<Finding>) {
    let of_the_host: Vec<_> = manifests
        .iter()
        .filter(|manifest| !manifest.folder().starts_with("guest/"))
        .filter_map(|manifest| manifest.package.as_deref())
        .collect();
    for manifest in manifests {
        for dependency in manifest.dependencies() {
            let by_wasm = manifest.package.as_deref() == Some(NAMES_WASMTIME);
            if is_of("wasmtime", dependency) && !by_wasm {
                let message = format!("only `{NAMES_WASMTIME}` may name `{dependency}`");
                findings.push(Finding::file(&manifest.path, message));
            }
            if manifest.folder().starts_with("guest/") && of_the_host.contains(&dependency) {
                let message = format!("a guest may not name `{dependency}`, which is the host's");
                findings.push(Finding::file(&manifest.path, message));
            }
        }
    }
}

/// `tree` has one crate a line, its name first.
fn reaches(arrow: &Arrow, tree: &str, findings: &mut Vec<Finding>) {
    let mut found = Vec::new();
    for name in tree.lines().filter_map(|line| line.split_whitespace().next()) {
        let own = is_of("wasink", name) && name != arrow.package && !arrow.own.contains(&name);
        if own || arrow.never.iter().any(|family| is_of(family, name)) {
            found.push(name);
        }
    }
    found.sort_unstable();
    found.dedup();
    for name in found {
        let message =
            format!("`{}` must not reach `{name}`, not even through others", arrow.package);
        findings.push(Finding::file(arrow.workspace, message));
    }
}

fn is_of(family: &str, name: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use super::super::crates::manifests;
    use super::super::tree::{Finding, Tree};
    use super::{ARROWS, named, reaches};

    fn found_in(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        let manifests = manifests(&Tree::of(files), &mut findings);
        named(&manifests, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    fn reached(package: &str, tree: &str) -> Vec<String> {
        let arrow = ARROWS.iter().find(|arrow| arrow.package == package).unwrap();
        let mut findings = Vec::new();
        reaches(arrow, tree, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn wasmtime_may_be_named_in_one_crate() {
        let text = "[package]\nname = \"wasink-wasm\"\n[dependencies]\nwasmtime = \"48\"\n";
        assert_eq!(found_in(&[("host/wasm/Cargo.toml", text)]), [""; 0]);
    }

    #[test]
    fn wasmtime_named_elsewhere_is_found_in_every_kind_of_table() {
        for dependency in [
            "[dependencies]\nwasmtime = \"48\"",
            "[dev-dependencies]\nwasmtime-wasi.workspace = true",
            "[build-dependencies]\nengine = { package = \"wasmtime\", version = \"48\" }",
            "[target.'cfg(unix)'.dependencies]\nwasmtime = \"48\"",
        ] {
            let text = format!("[package]\nname = \"wasink-chassis\"\n{dependency}\n");
            let found = found_in(&[("host/chassis/Cargo.toml", &text)]);
            assert_eq!(found.len(), 1, "{dependency}: {found:?}");
        }
    }

    #[test]
    fn versions_named_for_the_whole_workspace_are_nobodys_dependency() {
        let text = "[workspace.dependencies]\nwasmtime = \"48\"\n";
        assert_eq!(found_in(&[("Cargo.toml", text)]), [""; 0]);
    }

    #[test]
    fn a_guest_that_names_a_crate_of_the_host_is_found() {
        let record = ("host/record/Cargo.toml", "[package]\nname = \"wasink-record\"\n");
        let sdk = ("guest/sdk/Cargo.toml", "[package]\nname = \"wasink-guest\"\n");
        let sink = "[package]\nname = \"wasink-sink-nop\"\n[dependencies]\n";
        let good = format!("{sink}wasink-guest = \"0.1\"\n");
        let bad = format!("{sink}wasink-record = \"0.1\"\n");
        assert_eq!(found_in(&[record, sdk, ("guest/sinks/nop/Cargo.toml", &good)]), [""; 0]);
        assert_eq!(found_in(&[record, sdk, ("guest/sinks/nop/Cargo.toml", &bad)]).len(), 1);
    }

    #[test]
    fn a_crate_may_reach_what_its_arrow_allows() {
        let tree = "wasink-chassis v0.1.0 (here)\nwasink-journal v0.1.0 (here)\n\
                    wasink-record v0.1.0 (here)\ntokio v1.50.0\nwasm-encoder v0.2.0 (*)\n";
        assert_eq!(reached("wasink-chassis", tree), [""; 0]);
    }

    #[test]
    fn a_crate_that_reaches_further_is_found_once() {
        let tree = "wasink-record v0.1.0\ntokio-util v0.7.0\ntokio-util v0.7.0 (*)\n";
        assert_eq!(reached("wasink-record", tree).len(), 1);
        assert_eq!(reached("wasink-record", "tracing v0.1.0\n").len(), 1);
        assert_eq!(reached("wasink-journal", "wasink-chassis v0.1.0\n").len(), 1);
        assert_eq!(reached("wasink-chassis", "wasmtime-environ v48.0.8\n").len(), 1);
        assert_eq!(reached("wasink-chassis", "hyper-util v0.1.21\n").len(), 1);
        assert_eq!(reached("wasink-serve", "wasmtime v48.0.8\nwasink-wasm v0.1.0\n").len(), 2);
        assert_eq!(reached("wasink-guest", "wasink-record v0.1.0\n").len(), 1);
    }
}
