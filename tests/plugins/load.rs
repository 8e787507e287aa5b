//! What is said of files that can't be used, and of the contract's version.

use wasink_chassis::plugin::{Plugins as _, SinkPlugin};
use wasink_wasm::{CONTRACT_VERSION, WasmPlugins, World};

use crate::kit::{bundled, error, host, looking_in, misbehaving, name, options, request};

/// What the host says of a file with these bytes, with `PATH` for the file's path.
fn verdict(bytes: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.wasm");
    std::fs::write(&file, bytes).unwrap();
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    let said = error(host.describe(&name("x")));
    assert_eq!(error(host.open(request("x", &serde_json::json!({})))), said);
    said.replace(file.to_str().unwrap(), "PATH")
}

/// A component that exports empty instances under these names.
fn exporting(names: &[&str]) -> Vec<u8> {
    let exports: String =
        names.iter().map(|name| format!("(export \"{name}\" (instance $none))")).collect();
    wat::parse_str(format!("(component (instance $none) {exports})")).unwrap()
}

#[test]
fn a_name_that_nothing_has_is_answered_with_the_names_there_are() {
    let host = WasmPlugins::new(options()).unwrap();
    assert_eq!(
        error(host.describe(&name("nope"))),
        "no plugin is named `nope`; there are: `capture`, `file`, `http`, `jetstream`, `log`, `nop`, `rollup`, `stderr`"
    );
    let none = WasmPlugins::new(wasink_wasm::Options::default()).unwrap();
    assert_eq!(error(none.describe(&name("nope"))), "no plugin is named `nope`; there are: none");
}

#[test]
fn an_empty_file_is_called_empty() {
    assert_eq!(verdict(b""), "plugin `x` can't be used: `PATH`: the file is empty");
}

#[test]
fn what_is_not_webassembly_is_told_what_a_plugin_is() {
    assert_eq!(
        verdict(b"#!/bin/sh\nexit 0\n"),
        "plugin `x` can't be used: `PATH`: it is not WebAssembly (its first bytes are not \
         `\\0asm`); a plugin is a component, in the binary format"
    );
}

#[test]
fn a_core_module_is_told_how_to_become_a_component() {
    assert_eq!(
        verdict(&wat::parse_str("(module (func (export \"write\")))").unwrap()),
        "plugin `x` can't be used: `PATH`: it is a core module, not a component; build it for the \
         target `wasm32-wasip2`, or turn it into a component with `wasm-tools component new`"
    );
}

#[test]
fn a_component_of_another_world_is_told_what_a_sink_exports() {
    assert_eq!(
        verdict(&exporting(&["wasi:cli/run@0.2.3", "acme:other/thing@1.0.0"])),
        "plugin `x` can't be used: `PATH`: it is a component of another world: it exports \
         `acme:other/thing@1.0.0`, `wasi:cli/run@0.2.3`, and a sink exports \
         `wasink:plugin/about@0.1.0` and `wasink:plugin/sink@0.1.0`"
    );
    assert_eq!(
        verdict(&exporting(&[])),
        "plugin `x` can't be used: `PATH`: it is a component of another world: it exports nothing, \
         and a sink exports `wasink:plugin/about@0.1.0` and `wasink:plugin/sink@0.1.0`"
    );
}

#[test]
fn a_sink_that_can_not_describe_itself_is_told_what_is_missing() {
    assert_eq!(
        verdict(&exporting(&["wasink:plugin/sink@0.1.0"])),
        "plugin `x` can't be used: `PATH`: it is a sink, but does not export \
         `wasink:plugin/about@0.1.0`, with which a plugin describes itself"
    );
}

#[test]
fn a_feed_plugin_is_no_sink_but_can_be_looked_at() {
    for (world, kind) in [("feed-sink", World::FeedSink), ("feed-source", World::FeedSource)] {
        let exports =
            ["wasink:plugin/about@0.1.0".to_owned(), format!("wasink:plugin/{world}@0.1.0")];
        let feed = exporting(&exports.each_ref().map(String::as_str));
        assert_eq!(
            verdict(&feed),
            format!("plugin `x` can't be used: `PATH`: it is a {kind}, and a sink is needed here")
        );
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("feed.wasm"), &feed).unwrap();
        let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
        let report = host.report(&name("feed")).unwrap();
        assert_eq!(report.inspection.world, kind);
        assert_eq!(report.inspection.exports, exports);
        assert_eq!(report.description, None);
    }
}

#[test]
fn a_newer_contract_is_refused_with_both_ways_out() {
    for version in ["0.2.0", "0.1.1", "1.0.0"] {
        let exports = ["about", "sink"].map(|name| format!("wasink:plugin/{name}@{version}"));
        assert_eq!(
            verdict(&exporting(&exports.each_ref().map(String::as_str))),
            format!(
                "plugin `x` can't be used: `PATH`: it was built for contract {version}, which is \
                 newer than 0.1.0, the one this host speaks; update wasink, or build the plugin \
                 with an SDK for 0.1.0"
            )
        );
    }
}

#[test]
fn an_older_contract_is_refused_with_the_way_out() {
    assert_eq!(
        verdict(&exporting(&["wasink:plugin/about@0.0.9", "wasink:plugin/sink@0.0.9"])),
        "plugin `x` can't be used: `PATH`: it was built for contract 0.0.9, which this host, at \
         0.1.0, no longer speaks; build it again with a newer SDK"
    );
}

#[test]
fn a_contract_version_that_is_none_is_refused() {
    let said =
        verdict(&exporting(&["wasink:plugin/about@0.1.0-rc.1", "wasink:plugin/sink@0.1.0-rc.1"]));
    assert_eq!(
        said,
        "plugin `x` can't be used: `PATH`: its contract version `0.1.0-rc.1` is none that this \
         host knows"
    );
}

#[test]
fn imports_that_the_host_does_not_give_are_named_all_together() {
    let component = wat::parse_str(
        r#"(component
            (import "acme:db/store@1.0.0" (instance))
            (import "wasi:nn/graph@0.2.0" (instance))
            (import "wasi:clocks/wall-clock@0.2.0" (instance))
            (instance $none)
            (export "wasink:plugin/about@0.1.0" (instance $none))
            (export "wasink:plugin/sink@0.1.0" (instance $none)))"#,
    );
    assert_eq!(
        verdict(&component.unwrap()),
        "plugin `x` can't be used: `PATH`: it imports `acme:db/store@1.0.0`, \
         `wasi:nn/graph@0.2.0`, which this host does not give; build it without, or \
         use a host that has it"
    );
}

#[test]
fn right_names_with_nothing_behind_them_do_not_fit() {
    let said = verdict(&exporting(&["wasink:plugin/about@0.1.0", "wasink:plugin/sink@0.1.0"]));
    let start = "plugin `x` can't be used: `PATH`: it does not fit this host: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains("`describe`"), "{said}");
}

#[test]
fn right_names_with_wrong_types_behind_them_do_not_fit() {
    let component = wat::parse_str(
        r#"(component
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i "f")))
            (instance $about (export "describe" (func $f)))
            (instance $sink
                (export "open" (func $f)) (export "write" (func $f))
                (export "flush" (func $f)) (export "close" (func $f)))
            (export "wasink:plugin/about@0.1.0" (instance $about))
            (export "wasink:plugin/sink@0.1.0" (instance $sink)))"#,
    );
    let said = verdict(&component.unwrap());
    let start = "plugin `x` can't be used: `PATH`: it does not fit this host: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains("expected 1-tuple, found 0-tuple"), "{said}");
}

#[test]
fn imports_with_wrong_types_do_not_fit() {
    let component = wat::parse_str(
        r#"(component
            (import "wasink:plugin/log@0.1.0" (instance (export "write" (func))))
            (instance $none)
            (export "wasink:plugin/about@0.1.0" (instance $none))
            (export "wasink:plugin/sink@0.1.0" (instance $none)))"#,
    );
    let said = verdict(&component.unwrap());
    let start = "plugin `x` can't be used: `PATH`: it does not fit this host: ";
    assert!(said.starts_with(start), "{said}");
    assert!(said.contains("wasink:plugin/log@0.1.0"), "{said}");
}

#[test]
fn a_component_that_is_cut_short_anywhere_is_an_error() {
    let whole = bundled("nop");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.wasm");
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    let mut broken = 0;
    // The first bytes one by one, then in steps that share no factor with anything in the format.
    for length in (0..64).chain((64..whole.len()).step_by(251)) {
        std::fs::write(&file, &whole[..length]).unwrap();
        let said = error(host.report(&name("x")));
        let start = format!("plugin `x` can't be used: `{}`: ", file.display());
        assert!(said.starts_with(&start), "at {length}: {said}");
        broken += usize::from(said.contains("it is broken or cut short"));
    }
    assert!(broken > 100, "only {broken} were called cut short");
    std::fs::write(&file, whole).unwrap();
    host.report(&name("x")).unwrap();
}

#[test]
fn a_component_with_a_byte_changed_anywhere_is_no_panic() {
    let whole = bundled("nop");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.wasm");
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 16) {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 0x55;
        std::fs::write(&file, bytes).unwrap();
        if let Err(error) = host.report(&name("x")) {
            assert!(error.to_string().starts_with("plugin `x` "), "{error}");
        }
    }
}

#[test]
fn a_file_above_the_limit_is_not_even_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.wasm");
    std::fs::write(&file, bundled("nop")).unwrap();
    let mut options = looking_in(&[directory.path()]);
    options.limits.component_bytes = 1_000;
    let host = WasmPlugins::new(options.clone()).unwrap();
    assert_eq!(
        error(host.describe(&name("x"))),
        format!(
            "plugin `x` can't be used: `{}`: it can't be read: it has {} bytes, and a plugin may \
             have 1000 at most; allow it more with `limits.component`",
            file.display(),
            bundled("nop").len()
        )
    );
    options.limits.component_bytes = bundled("nop").len() as u64;
    let host = WasmPlugins::new(options).unwrap();
    host.describe(&name("x")).unwrap();
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    std::os::unix::fs::symlink(file("nowhere"), file("dangling.wasm")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", file("device.wasm")).unwrap();
    let pipe = std::process::Command::new("mkfifo").arg(file("pipe.wasm")).status().unwrap();
    assert!(pipe.success());
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    for (plugin, reason) in [
        ("dangling", "No such file or directory (os error 2)"),
        ("device", "it is not a regular file"),
        ("pipe", "it is not a regular file"),
    ] {
        assert_eq!(
            error(host.describe(&name(plugin))),
            format!(
                "plugin `{plugin}` can't be used: `{}`: it can't be read: {reason}",
                file(&format!("{plugin}.wasm")).display()
            )
        );
    }
}

#[test]
fn the_same_name_with_other_bytes_is_loaded_anew_and_what_is_open_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x.wasm");
    std::fs::write(&file, bundled("nop")).unwrap();
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    let settings = serde_json::json!({});
    let mut before = host.open(request("x", &settings)).unwrap();
    std::fs::write(&file, bundled("capture")).unwrap();
    let mut after = host.open(request("x", &settings)).unwrap();
    assert_ne!(before.version().digest, after.version().digest);
    assert_eq!(before.captured().unwrap(), None);
    assert_eq!(after.captured().unwrap(), Some(Vec::new()));
    before.reopen().unwrap();
    assert_eq!(before.captured().unwrap(), None, "a reopening takes the bytes that were checked");
}

#[test]
fn an_instance_says_which_bytes_it_runs() {
    let nop: Box<dyn SinkPlugin> = host().open(request("nop", &serde_json::json!({}))).unwrap();
    let version = nop.version();
    let report = host().report(&name("nop")).unwrap();
    assert_eq!(version.digest, report.digest);
    assert!(version.digest.starts_with("sha256:") && version.digest.len() == 71, "{version:?}");
    assert_eq!(version.path, None);
    assert_eq!(report.bytes, bundled("nop").len() as u64);
    assert_eq!(Some(nop.description()), report.description);
    assert_eq!(report.inspection.contract, CONTRACT_VERSION);
    assert_ne!(
        host().report(&name("faulty")).unwrap().digest,
        report.digest,
        "a digest is of the bytes"
    );
    assert_eq!(host().report(&name("faulty")).unwrap().bytes, misbehaving("faulty").len() as u64);
}

#[test]
fn the_host_speaks_the_contract_that_is_in_the_wit_folder() {
    let mut resolve = wit_parser::Resolve::default();
    let wit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (package, _) = resolve.push_path(wit).unwrap();
    let name = &resolve.packages[package].name;
    assert_eq!(name.to_string(), format!("wasink:plugin@{CONTRACT_VERSION}"));
}
