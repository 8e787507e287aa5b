//! Manifests: a crate's folder spells its name, and every crate takes its workspace's lints, which
//! are the same in both workspaces.

use toml::{Table, Value};

use super::tree::{Finding, Tree};

/// A `Cargo.toml`.
pub(super) struct Manifest {
    pub(super) path: String,
    /// Its name, where it is of a package and not only of a workspace.
    pub(super) package: Option<String>,
    table: Table,
}

impl Manifest {
    /// Its folder from the project's root, empty for the root itself.
    pub(super) fn folder(&self) -> &str {
        self.path.trim_end_matches("Cargo.toml").trim_end_matches('/')
    }

    /// The names of the crates that it depends on, for whatever purpose and platform.
    pub(super) fn dependencies(&self) -> Vec<&str> {
        let targets = self.table.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        std::iter::once(&self.table)
            .chain(targets)
            .flat_map(|table| {
                ["dependencies", "dev-dependencies", "build-dependencies"]
                    .into_iter()
                    .filter_map(|kind| table.get(kind)?.as_table())
            })
            .flatten()
            .map(|(key, value)| value.get("package").and_then(Value::as_str).unwrap_or(key))
            .collect()
    }

    fn inherits_lints(&self) -> bool {
        let workspace = self.table.get("lints").and_then(|lints| lints.get("workspace"));
        workspace.and_then(Value::as_bool) == Some(true)
    }
}

pub(super) fn manifests(tree: &Tree, findings: &mut Vec<Finding>) -> Vec<Manifest> {
    let mut manifests = Vec::new();
    for (path, text) in tree.texts("Cargo.toml") {
        match text.parse::<Table>() {
            Ok(table) => {
                let name = table.get("package").and_then(|package| package.get("name"));
                let package = name.and_then(Value::as_str).map(str::to_owned);
                manifests.push(Manifest { path: path.to_owned(), package, table });
            }
            Err(error) => findings.push(Finding::file(path, error.to_string())),
        }
    }
    manifests
}

pub(super) fn check(manifests: &[Manifest], findings: &mut Vec<Finding>) {
    for manifest in manifests {
        let Some(package) = &manifest.package else { continue };
        match expected_name(manifest.folder()) {
            Name::Is(name) if *package == name => {}
            Name::Free => {}
            Name::Is(name) => findings.push(Finding::file(
                &manifest.path,
                format!("a crate in this folder is called `{name}`, not `{package}`"),
            )),
            Name::NoPlace => findings
                .push(Finding::file(&manifest.path, "the layout has no place for a crate here")),
        }
        if !manifest.inherits_lints() {
            let message = "add `[lints]` with `workspace = true`";
            findings.push(Finding::file(&manifest.path, message));
        }
    }
    let mut workspaces = manifests
        .iter()
        .filter_map(|manifest| Some((manifest, manifest.table.get("workspace")?.get("lints"))));
    if let Some((first, lints)) = workspaces.next() {
        for (other, _) in workspaces.filter(|(_, others)| *others != lints) {
            let message = format!("its lints differ from those of `{}`", first.path);
            findings.push(Finding::file(&other.path, message));
        }
    }
}

enum Name {
    Is(String),
    /// An example is called what its reader would call it.
    Free,
    NoPlace,
}

fn expected_name(folder: &str) -> Name {
    let parts: Vec<_> = folder.split('/').collect();
    match *parts.as_slice() {
        [""] => Name::Is("wasink".to_owned()),
        // These two are the root package's.
        ["host", "wasink" | "cli"] => Name::NoPlace,
        ["host", name] => Name::Is(format!("wasink-{name}")),
        ["guest", "sdk"] => Name::Is("wasink-guest".to_owned()),
        ["guest", "nats"] => Name::Is("wasink-nats".to_owned()),
        // Called as what they stand in for.
        ["guest", "patches", name] => Name::Is(name.to_owned()),
        ["guest", "sinks", name] => Name::Is(format!("wasink-sink-{name}")),
        ["guest", "feeds", name] => Name::Is(format!("wasink-feed-{name}")),
        ["guest", "misbehaving", name] => Name::Is(format!("wasink-misbehaving-{name}")),
        ["host" | "guest", "examples", _] => Name::Free,
        ["guest", "examples", language, kind] => {
            Name::Is(format!("wasink-example-{language}-{kind}"))
        }
        ["xtask"] => Name::Is("xtask".to_owned()),
        ["fuzz"] => Name::Is("wasink-fuzz".to_owned()),
        _ => Name::NoPlace,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::Tree;
    use super::{check, manifests};

    fn findings(path: &str, text: &str) -> Vec<String> {
        all_findings(&[(path, text)])
    }

    fn all_findings(files: &[(&str, &str)]) -> Vec<String> {
        let mut findings = Vec::new();
        let manifests = manifests(&Tree::of(files), &mut findings);
        check(&manifests, &mut findings);
        findings.iter().map(ToString::to_string).collect()
    }

    fn named(name: &str) -> String {
        format!("[package]\nname = \"{name}\"\n[lints]\nworkspace = true\n")
    }

    #[test]
    fn a_crate_that_is_called_as_its_folder_says_passes() {
        for (folder, name) in [
            ("", "wasink"),
            ("host/record/", "wasink-record"),
            ("guest/sdk/", "wasink-guest"),
            ("guest/sinks/nop/", "wasink-sink-nop"),
            ("guest/feeds/nop-sink/", "wasink-feed-nop-sink"),
            ("guest/patches/foreign/", "foreign"),
            ("guest/examples/rust/", "whatever"),
            ("xtask/", "xtask"),
        ] {
            let path = format!("{folder}Cargo.toml");
            assert_eq!(findings(&path, &named(name)), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_crate_that_is_called_otherwise_is_found() {
        for (folder, name) in [
            ("", "wasink-cli"),
            ("host/record", "record"),
            ("guest/sdk", "wasink-sdk"),
            ("guest/sinks/nop", "wasink-nop"),
        ] {
            let path = format!("{folder}/Cargo.toml");
            let path = path.trim_start_matches('/');
            let found = findings(path, &named(name));
            assert!(found.iter().any(|line| line.contains("is called")), "{path}: {found:?}");
        }
    }

    #[test]
    fn a_crate_outside_the_layout_is_found() {
        for folder in ["host/cli", "host/record/more", "somewhere"] {
            let found = findings(&format!("{folder}/Cargo.toml"), &named("wasink-more"));
            assert!(found.iter().any(|line| line.contains("no place")), "{folder}: {found:?}");
        }
    }

    #[test]
    fn a_crate_with_lints_of_its_own_is_found() {
        for lints in ["", "[lints]\nworkspace = false\n", "[lints.rust]\nunsafe_code = \"deny\"\n"]
        {
            let text = format!("[package]\nname = \"wasink-record\"\n{lints}");
            let found = findings("host/record/Cargo.toml", &text);
            assert!(found.iter().any(|line| line.contains("[lints]")), "{lints}: {found:?}");
        }
    }

    #[test]
    fn workspaces_with_different_lints_are_found() {
        let strict = "[workspace.lints.rust]\nunsafe_code = \"deny\"\n";
        let lax = "[workspace.lints.rust]\nunsafe_code = \"warn\"\n";
        let root = ("Cargo.toml", strict);
        assert_eq!(all_findings(&[root, ("guest/Cargo.toml", strict)]), [""; 0]);
        assert_eq!(all_findings(&[root, ("guest/Cargo.toml", lax)]).len(), 1);
        assert_eq!(all_findings(&[root, ("guest/Cargo.toml", "[workspace]\n")]).len(), 1);
    }

    #[test]
    fn a_workspace_without_a_package_needs_neither() {
        assert_eq!(findings("guest/Cargo.toml", "[workspace]\nmembers = []\n"), [""; 0]);
    }

    #[test]
    fn a_manifest_that_does_not_parse_is_found() {
        assert_eq!(findings("host/record/Cargo.toml", "[package").len(), 1);
    }
}
