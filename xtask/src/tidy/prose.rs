//! Prose and paths: what the pages name exists, and nothing names the machine it was written on.

use super::crates::Manifest;
use super::tree::{Finding, Tree};

/// First parts of a path that is meant from the project's root, whether the folder exists or not.
const PLACES: [&str; 10] =
    [".cargo", ".ci", "benches", "docs", "fuzz", "guest", "host", "tests", "wit", "xtask"];

/// Begin like a crate of ours and are none.
const NO_CRATES: [&str; 1] = ["wasink-data"];

/// Folders that lie at the root of one machine and not of another.
const MACHINE_FOLDERS: [&str; 4] = ["root", "home", "work", "tmp/bash_jobs"];

pub(super) fn check(tree: &Tree, manifests: &[Manifest], findings: &mut Vec<Finding>) {
    let packages: Vec<_> = manifests.iter().filter_map(|one| one.package.as_deref()).collect();
    for (path, text) in tree.texts(".md") {
        // What a changelog names may be long gone.
        if !path.ends_with("CHANGELOG.md") {
            check_page(tree, &packages, path, text, findings);
        }
    }
    for (path, text) in tree.texts("") {
        for (index, line) in text.lines().enumerate() {
            for folder in MACHINE_FOLDERS.iter().filter(|folder| names_machine(line, folder)) {
                let message = format!("`/{folder}/` is not everybody's");
                findings.push(Finding::line(path, index + 1, message));
            }
        }
    }
}

fn check_page(tree: &Tree, packages: &[&str], path: &str, text: &str, out: &mut Vec<Finding>) {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        }
        if in_block {
            continue;
        }
        for span in code_spans(line) {
            if is_path(span) && !tree.exists(span) && !tree.exists(&joined(folder, span)) {
                out.push(Finding::line(path, index + 1, format!("there is no `{span}`")));
            }
            if let Some(name) = crate_name(span)
                && !packages.contains(&name.as_str())
            {
                out.push(Finding::line(path, index + 1, format!("there is no crate `{name}`")));
            }
        }
        for link in link_targets(line) {
            if !tree.exists(&joined(folder, link)) {
                let message = format!("the link to `{link}` leads nowhere");
                out.push(Finding::line(path, index + 1, message));
            }
        }
    }
}

/// What stands in backticks and ends on the same line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    let closed = line.rsplit_once('`').map_or("", |(closed, _)| closed);
    closed.split('`').skip(1).step_by(2)
}

/// Targets of links to other files here, without the place in the file.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .filter(|target| !target.contains(':'))
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty())
}

fn is_path(span: &str) -> bool {
    let plain = |next: char| next.is_ascii_alphanumeric() || "_./-".contains(next);
    if !span.chars().all(plain) || span.contains("..") {
        return false;
    }
    match span.split_once('/') {
        Some((first, rest)) => {
            PLACES.contains(&first) && !rest.split('/').any(|part| part == "target")
        }
        None => span.ends_with(".md"),
    }
}

/// The crate that a span names by itself or at the beginning of a path in Rust.
fn crate_name(span: &str) -> Option<String> {
    let name = span.split("::").next()?;
    let whole = name.len() == span.len();
    let separator = if name.starts_with("wasink-") && whole { '-' } else { '_' };
    let rest = name.strip_prefix("wasink")?.strip_prefix(separator)?;
    let plain = |next: char| next.is_ascii_lowercase() || next == separator;
    let name = name.replace('_', "-");
    (!rest.is_empty() && rest.chars().all(plain) && !NO_CRATES.contains(&name.as_str()))
        .then_some(name)
}

/// `path` as seen from a folder, with each leading `../` taken from the folder.
fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether `line` has an absolute path into such a folder.
fn names_machine(line: &str, folder: &str) -> bool {
    line.match_indices(&format!("/{folder}/")).any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default();
        !before.ends_with(|last: char| last.is_alphanumeric() || "_.-/}*>".contains(last))
    })
}

#[cfg(test)]
mod tests {
    use super::super::crates::manifests;
    use super::super::tree::{Finding, Tree};
    use super::{MACHINE_FOLDERS, check};

    fn findings(path: &str, text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("host/record/Cargo.toml", "[package]\nname = \"wasink-record\"\n"),
            ("host/record/src/id.rs", ""),
            ("wit/plugin.wit", ""),
            ("README.md", ""),
            ("wit/notes.md", ""),
            (path, text),
        ]);
        let mut findings = Vec::new();
        let manifests = manifests(&tree, &mut findings);
        check(&tree, &manifests, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_page_that_names_what_exists_passes() {
        for text in [
            "`host/record/src/id.rs`, `host/record/` and `wit`",
            "`wasink-record` and `wasink_record::Clock` in `README.md`",
            "[the contract](wit/plugin.wit) and [ids](host/record/src/id.rs#ids)",
            "[elsewhere](https://example.org/host/none) and [below](#below)",
        ] {
            assert_eq!(findings("PAGE.md", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_a_path_or_a_crate_passes() {
        for text in [
            "`guest/sinks/<name>`, `host/*`, `wasink:plugin/sink@0.1.0`, `text/plain`",
            "`target/guests`, `guest/target/debug`, `wasink-data`, `wasink --wasink-x`",
            "host/none without backticks, and `a lone backtick",
            "```\n`host/none`\n```",
        ] {
            assert_eq!(findings("PAGE.md", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_page_that_names_what_is_gone_is_found() {
        for text in [
            "`host/none`",
            "see `host/record/src/none.rs` there",
            "`fuzz/targets`",
            "`NONE.md`",
            "`wasink-none`",
            "`wasink_none::Clock`",
            "[gone](host/none.md)",
            "[gone](host/none.md#part)",
        ] {
            assert_eq!(findings("PAGE.md", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn a_page_in_a_folder_may_name_its_neighbours() {
        let text = "[there](plugin.wit), [above](../README.md), `notes.md`";
        assert_eq!(findings("wit/README.md", text), [""; 0]);
        assert_eq!(findings("wit/README.md", "[above](../../README.md2)").len(), 1);
    }

    #[test]
    fn a_changelog_may_name_what_is_gone() {
        assert_eq!(findings("CHANGELOG.md", "`host/none` went"), [""; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found_in_any_file() {
        for folder in MACHINE_FOLDERS {
            for line in
                [format!("/{folder}/x"), format!("a = \"/{folder}/x\""), format!("(/{folder}/)")]
            {
                assert_eq!(findings("x.toml", &line).len(), 1, "{line}");
                assert_eq!(findings("host/x.py", &line).len(), 1, "{line}");
            }
        }
    }

    #[test]
    fn a_folder_of_that_name_elsewhere_passes() {
        for folder in MACHINE_FOLDERS {
            for line in [
                format!("host/{folder}/x"),
                format!("https://example.org/{folder}/x"),
                format!("${{base}}/{folder}/x"),
                format!("the {folder}/ folder"),
            ] {
                assert_eq!(findings("x.toml", &line), [""; 0], "{line}");
            }
        }
    }
}
