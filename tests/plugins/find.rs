//! From names to files: what is found, what hides what, and what the operator is told.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use wasink_chassis::plugin::Plugins as _;
use wasink_wasm::WasmPlugins;

use crate::kit::{bundled, error, looking_in, misbehaving, name};

fn names(host: &WasmPlugins) -> Vec<String> {
    host.names().iter().map(ToString::to_string).collect()
}

/// The oddities, with nothing for the directory.
fn oddities(host: &WasmPlugins, directory: &Path) -> Vec<String> {
    let strip = |text: &String| text.replace(&format!("{}/", directory.display()), "");
    host.list().1.iter().map(strip).collect()
}

fn without_bundled(directories: &[&Path]) -> WasmPlugins {
    WasmPlugins::new(wasink_wasm::Options { bundled: Vec::new(), ..looking_in(directories) })
        .unwrap()
}

fn path_of(host: &WasmPlugins, plugin: &str) -> Option<std::path::PathBuf> {
    let (files, _) = host.list();
    let file = files.into_iter().find(|file| file.name == name(plugin)).unwrap();
    file.source.path().map(Path::to_owned)
}

#[test]
fn bad_files_keep_no_good_one_from_being_found_and_used() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    std::fs::write(at("good.wasm"), bundled("nop")).unwrap();
    std::fs::write(at("a-empty.wasm"), b"").unwrap();
    std::fs::write(at("b-text.wasm"), b"text").unwrap();
    std::fs::write(at("c-module.wasm"), wat::parse_str("(module)").unwrap()).unwrap();
    std::fs::write(at("d-world.wasm"), wat::parse_str("(component)").unwrap()).unwrap();
    std::fs::write(at("e-short.wasm"), &bundled("nop")[..1_000]).unwrap();
    std::fs::write(at("f-panics.wasm"), misbehaving("describe-panics")).unwrap();
    std::fs::write(at("readme.txt"), b"text").unwrap();
    std::fs::write(at("Bad.wasm"), bundled("nop")).unwrap();
    symlink(at("nowhere"), at("z-dangling.wasm")).unwrap();
    std::fs::create_dir(at("z-nothing-in-it")).unwrap();
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    assert_eq!(
        names(&host),
        [
            "a-empty",
            "b-text",
            "c-module",
            "capture",
            "d-world",
            "e-short",
            "f-panics",
            "file",
            "good",
            "http",
            "jetstream",
            "log",
            "nop",
            "rollup",
            "stderr",
            "z-dangling"
        ]
    );
    for plugin in host.names() {
        let good =
            ["capture", "file", "good", "http", "jetstream", "log", "nop", "rollup", "stderr"];
        let good = good.contains(&plugin.as_str());
        assert_eq!(host.report(&plugin).is_ok(), good, "{plugin}");
        assert_eq!(host.describe(&plugin).is_ok(), good, "{plugin}");
    }
    assert_eq!(host.report(&name("good")).unwrap().source.path(), Some(&*at("good.wasm")));
}

#[test]
fn a_name_that_can_not_be_is_told_and_the_longest_that_can_works() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    let longest = "a".repeat(64);
    let bad = [
        "Upper".to_owned(),
        "a".repeat(65),
        "with space".to_owned(),
        "dot.ted".to_owned(),
        "under_score".to_owned(),
        String::new(),
    ];
    for stem in bad.iter().chain([&longest]) {
        std::fs::write(at(&format!("{stem}.wasm")), bundled("nop")).unwrap();
    }
    std::fs::create_dir(at("Upper")).unwrap();
    std::fs::write(at("Upper/x.wasm"), bundled("nop")).unwrap();
    std::fs::write(at("").join(std::ffi::OsStr::from_bytes(b"\xff.wasm")), b"").unwrap();
    let host = without_bundled(&[directory.path()]);
    assert_eq!(names(&host), std::slice::from_ref(&longest));
    host.describe(&name(&longest)).unwrap();

    let told = oddities(&host, directory.path());
    assert_eq!(told.len(), bad.len() + 2, "{told:#?}");
    let tells = |text: &str| assert!(told.iter().any(|told| told.starts_with(text)), "{told:#?}");
    for stem in &bad {
        tells(&format!("`{stem}.wasm`: `{stem}` can't be the name of a plugin"));
    }
    tells("`Upper/x.wasm`: `Upper` can't be the name of a plugin");
    tells("`\u{fffd}.wasm`: its name is not UTF-8");
}

#[test]
fn a_plugin_is_a_file_or_a_directory_with_one_that_can_be_meant() {
    let directory = tempfile::tempdir().unwrap();
    let at = |file: &str| directory.path().join(file);
    for folder in ["in-folder", "only-one", "file-wins", "two", "folder.wasm"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    for file in [
        "plain.wasm",
        "in-folder/in-folder.wasm",
        "in-folder/other.wasm",
        "only-one/whatever.wasm",
        "only-one/readme.txt",
        "file-wins.wasm",
        "file-wins/file-wins.wasm",
        "two/one.wasm",
        "two/another.wasm",
    ] {
        std::fs::write(at(file), bundled("nop")).unwrap();
    }
    let host = without_bundled(&[directory.path()]);
    assert_eq!(names(&host), ["file-wins", "in-folder", "only-one", "plain"]);
    for (plugin, file) in [
        ("plain", "plain.wasm"),
        ("in-folder", "in-folder/in-folder.wasm"),
        ("only-one", "only-one/whatever.wasm"),
        ("file-wins", "file-wins.wasm"),
    ] {
        assert_eq!(path_of(&host, plugin), Some(at(file)));
        host.describe(&name(plugin)).unwrap();
    }
    assert_eq!(
        oddities(&host, directory.path()),
        [
            "`folder.wasm`: it is a directory, and there is no component in it",
            "`two`: it holds 2 components, and none of them is `two.wasm`, so none is chosen",
        ]
    );
    assert_eq!(
        error(host.describe(&name("two"))),
        "no plugin is named `two`; there are: `file-wins`, `in-folder`, `only-one`, `plain`"
    );
}

#[test]
fn an_earlier_directory_hides_a_later_one_and_any_hides_what_is_bundled() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(first.path().join("both.wasm"), bundled("log")).unwrap();
    std::fs::write(second.path().join("both.wasm"), bundled("capture")).unwrap();
    std::fs::write(second.path().join("nop.wasm"), bundled("capture")).unwrap();
    let absent = second.path().join("not-there");
    let host = WasmPlugins::new(looking_in(&[&absent, first.path(), second.path()])).unwrap();
    let summary = |plugin: &str| host.describe(&name(plugin)).unwrap().summary.clone();
    assert_eq!(summary("both"), summary("log"));
    assert_eq!(summary("nop"), summary("capture"));
    assert_eq!(path_of(&host, "both"), Some(first.path().join("both.wasm")));
    assert_eq!(path_of(&host, "nop"), Some(second.path().join("nop.wasm")));
    assert_eq!(path_of(&host, "capture"), None);
    assert_eq!(host.list().1, [""; 0], "a directory need not be there");
}

#[test]
fn links_to_files_and_directories_elsewhere_are_followed() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(elsewhere.path().join("nop-1.2.3.wasm"), bundled("nop")).unwrap();
    std::fs::create_dir(elsewhere.path().join("log-4")).unwrap();
    std::fs::write(elsewhere.path().join("log-4/any.wasm"), bundled("log")).unwrap();
    symlink(elsewhere.path().join("nop-1.2.3.wasm"), directory.path().join("linked.wasm")).unwrap();
    symlink(elsewhere.path().join("log-4"), directory.path().join("folder")).unwrap();
    let host = without_bundled(&[directory.path()]);
    assert_eq!(names(&host), ["folder", "linked"]);
    for plugin in host.names() {
        host.describe(&plugin).unwrap();
    }
}

#[test]
fn a_directory_that_can_not_be_read_is_told_and_the_others_are() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.wasm"), bundled("nop")).unwrap();
    let file = directory.path().join("x.wasm");
    let host = without_bundled(&[&file, directory.path()]);
    assert_eq!(names(&host), ["x"]);
    assert_eq!(
        host.list().1,
        [format!("can't read `{}`: Not a directory (os error 20)", file.display())]
    );
}
