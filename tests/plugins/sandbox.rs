//! What guests can reach, and who can read what they make.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use wasink_chassis::plugin::{CallError, Failure, OpenRequest, Plugins as _};
use wasink_record::Stream;
use wasink_wasm::WasmPlugins;

use crate::kit::{batch, component, error, faulty, grant, host, line, looking_in, name, request};

/// What `faulty` answers after it has done `does`, with its data directory where there is one.
fn answer(does: &str, directory: Option<&Path>) -> String {
    let mut request = request("faulty", &json!({ "on": "write", "does": does }));
    request.grants = directory.map(grant).unwrap_or_default();
    match host().open(request).unwrap().write(&batch(Stream::Usage, 0, 1)) {
        Err(CallError::Failed(Failure::Broken(said))) => said,
        other => panic!("{other:?}"),
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_guest_reaches_nothing_of_the_system_with_or_without_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(answer("escape", None), "reached nothing");
    assert_eq!(answer("escape", Some(directory.path())), "reached nothing");
}

#[test]
fn without_a_grant_there_is_no_data_directory() {
    let said = answer("open-files", None);
    assert!(said.starts_with("opened none: "), "{said}");
    let said = error(host().open(request("file", &json!({}))));
    assert!(said.starts_with("plugin `file` refused to open as `under-test`: "), "{said}");
    assert!(said.contains("data directory"), "{said}");
}

#[test]
fn standard_error_is_the_processs_own_only_by_grant() {
    // Whatever came out would be in the way of the test harness; what counts is that the guest's
    // words are in the error, which they are only where they were kept.
    let said = error(faulty("panic").write(&batch(Stream::Usage, 0, 1)));
    assert!(said.contains("told to panic on write"), "{said}");
    let mut request = request("faulty", &json!({ "on": "write", "does": "exit" }));
    request.grants.stderr = true;
    let said = error(host().open(request).unwrap().write(&batch(Stream::Usage, 0, 1)));
    assert_eq!(said, "plugin `faulty` trapped in `write`: it exited with status 1");
}

/// A sink that traps in `describe` if it sees a directory then, and in `open` if it sees none.
fn looks_around() -> Vec<u8> {
    component(
        "world probe {
            include wasink:plugin/sink-plugin@0.1.0;
            import wasi:filesystem/preopens@0.2.12;
        }",
        r#"(module
            (import "wasi:filesystem/preopens@0.2.12" "get-directories"
                (func $directories (param i32)))
            (import "wasink:plugin/batches@0.1.0" "[resource-drop]batch"
                (func $give-back (param i32)))
            (memory (export "memory") 1)
            (global $free (mut i32) (i32.const 1024))
            (func $allocate (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $free (i32.and
                    (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
                global.get $free
                (global.set $free (i32.add (global.get $free) (local.get 3))))
            ;; How many directories there are.
            (func $count (result i32)
                (call $directories (i32.const 16))
                (i32.load offset=4 (i32.const 16)))
            ;; 64 bytes of zeros: empty texts, no streams, no schema, no windows.
            (func (export "wasink:plugin/about@0.1.0#describe") (result i32)
                (if (call $count) (then unreachable))
                i32.const 64)
            ;; Zeros as well: it is well.
            (func (export "wasink:plugin/sink@0.1.0#open")
                (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                (if (i32.ne (call $count) (i32.const 1)) (then unreachable))
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#write") (param i32) (result i32)
                (call $give-back (local.get 0))
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#flush") (result i32)
                i32.const 64)
            (func (export "wasink:plugin/sink@0.1.0#close") (result i32)
                i32.const 64))"#,
    )
}

#[test]
fn describe_is_called_on_an_instance_without_grants() {
    let (plugins, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(plugins.path().join("probe.wasm"), looks_around()).unwrap();
    let host = WasmPlugins::new(looking_in(&[plugins.path()])).unwrap();
    let granted = OpenRequest { grants: grant(data.path()), ..request("probe", &json!({})) };
    let mut sink = host.open(granted).unwrap();
    assert_eq!(sink.write(&batch(Stream::Usage, 0, 1)).unwrap(), []);
    sink.close().unwrap();

    let other = WasmPlugins::new(looking_in(&[plugins.path()])).unwrap();
    assert_eq!(other.describe(&name("probe")).unwrap().streams, []);
    assert_eq!(
        error(other.open(request("probe", &json!({})))),
        "plugin `probe` trapped in `open`: wasm `unreachable` instruction executed",
        "the probe sees the directory that it is granted, or it would prove nothing"
    );
}

#[test]
fn links_that_lead_out_of_the_data_directory_are_not_followed() {
    let (inside, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(outside.path().join("there"), b"before").unwrap();
    std::fs::create_dir(inside.path().join("folder")).unwrap();
    symlink(outside.path().join("there"), inside.path().join("to-file")).unwrap();
    symlink(outside.path().join("new"), inside.path().join("to-nothing")).unwrap();
    symlink(outside.path(), inside.path().join("to-folder")).unwrap();
    let up = Path::new("..").join(outside.path().file_name().unwrap());
    symlink(up.join("new"), inside.path().join("relative")).unwrap();
    for path in ["to-file", "to-nothing", "to-folder/new", "to-folder/deep/new", "relative"] {
        let request = request("file", &json!({ "path": path }));
        let request = OpenRequest { grants: grant(inside.path()), ..request };
        let said = error(host().open(request));
        let start =
            format!("plugin `file` refused to open as `under-test`: cannot open `{path}`: ");
        assert!(said.starts_with(&start), "{said}");
    }
    let left: Vec<_> = outside.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["there"]);
    assert_eq!(std::fs::read(outside.path().join("there")).unwrap(), b"before");
}

#[test]
fn files_of_guests_are_for_the_owner_whatever_the_umask() {
    for umask in ["000", "022", "077"] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let config = directory.path().join("wasink.toml");
        let text = "[usage]\nsink = 'nop'\n[[sink]]\nname = 'ledger'\nplugin = 'file'\n\
                    streams = ['usage']\ngrants.directory = true\nbatch = { age = '0s' }\n\
                    settings = { path = 'deep/er/ledger.jsonl', \
                    rotate = { bytes = 1, age_seconds = 100, settle_seconds = 0 } }\n";
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_wasink"))
            .args(["run", "--quiet", "--stream", "usage", "--config"])
            .arg(&config)
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, line(Stream::Usage, 1).as_bytes()).unwrap();
        drop(input);
        assert!(child.wait().unwrap().success());

        let own = data.join("sinks/ledger");
        let (mut files, mut folders, mut at) = (0, 0, vec![own.join("deep")]);
        while let Some(path) = at.pop() {
            let restricted = |mode: u32| mode & !u32::from_str_radix(umask, 8).unwrap();
            if path.is_dir() {
                assert_eq!(mode(&path), restricted(0o750), "umask {umask}: {}", path.display());
                at.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
                folders += 1;
            } else {
                assert_eq!(mode(&path), restricted(0o600), "umask {umask}: {}", path.display());
                files += 1;
            }
        }
        assert_eq!(folders, 2);
        assert!(files >= 3, "the ledger, when it began, and what was rotated: {files}");
        assert_eq!(mode(&own) & 0o027, 0, "umask {umask}: the data directory");
        assert_eq!(mode(&data.join("cache")) & 0o077, 0, "umask {umask}: the compiled code");
    }
}

#[test]
fn a_link_to_nothing_does_not_make_a_file_that_others_can_read() {
    let directory = tempfile::tempdir().unwrap();
    symlink("not-yet", directory.path().join("ledger.jsonl")).unwrap();
    let request = request("file", &json!({}));
    let request = OpenRequest { grants: grant(directory.path()), ..request };
    let said = error(host().open(request));
    assert!(said.contains("cannot open `ledger.jsonl`: "), "{said}");
    assert!(!directory.path().join("not-yet").exists());
}
