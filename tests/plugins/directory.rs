//! A sink's data directory: its quota, its listings, the files that are made there.

use std::thread;
use std::time::Instant;

use serde_json::json;
use wasink_chassis::limits::Limit;
use wasink_chassis::plugin::{Plugins as _, SinkPlugin};
use wasink_record::Stream;

use crate::kit::{PATIENCE, batch, grant, host, request};
use crate::ways_out::Errand;

#[test]
fn a_directory_ends_where_its_quota_is_however_it_is_made_to_grow() {
    for by in [
        "append",
        "write",
        "set-size",
        "files",
        "directories",
        "links",
        "symlinks",
        "holes",
        "placed",
        "placed-holes",
        "nameless",
        "read-only",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let errand = json!({ "errand": "fill", "by": by });
        let mut request = request("errand", &errand);
        request.grants = grant(directory.path());
        request.limits.directory_bytes = 100 * 4096;
        request.limits.handles = 1_000;
        let mut errand = Errand::open(request);
        let found = errand.run();
        let steps: u64 =
            found.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{found}"));
        assert!((40..=100).contains(&steps), "{by}: {found}");
        // Rust's library says of any stream into a file that it is an error of input or output.
        let streamed = ["append", "write", "holes"].contains(&by);
        // These may come to their end when a file is made as well as when it is written.
        let either = ["nameless", "read-only"].contains(&by) && found.contains("I/O");
        assert!(either || found.contains(if streamed { "I/O" } else { "uota" }), "{by}: {found}");
        assert!(errand.reached.get(Limit::Directory) > 0, "{by}");
        let told = errand.told();
        assert!(told[0].contains("limits.directory"), "{told:?}");
    }
}

#[test]
fn two_versions_side_by_side_have_the_room_of_one_directory() {
    let directory = tempfile::tempdir().unwrap();
    let open = |limit: u64| {
        let mut request = request("file", &json!({}));
        request.grants = grant(directory.path());
        request.limits.directory_bytes = limit;
        host().open(request).unwrap()
    };
    let batch = batch(Stream::Usage, 0, 10);
    let mut sinks = [open(128 << 10), open(128 << 10)];
    let written = (0..10_000).take_while(|n| sinks[n % 2].write(&batch).is_ok()).count();
    assert!(written > 10, "{written}");
    let size = || std::fs::metadata(directory.path().join("ledger.jsonl")).unwrap().len();
    assert!(size() > 64 << 10 && size() <= 128 << 10, "{}", size());
    drop(sinks);
    // What was counted as far as to one limit is counted on where another has a larger one.
    for n in 0..100 {
        std::fs::write(directory.path().join(n.to_string()), [0; 4096]).unwrap();
    }
    let mut small = open(64 << 10);
    assert!(small.write(&batch).is_err());
    assert!(open(512 << 10).write(&batch).is_err());
    open(2 << 20).write(&batch).unwrap();
    assert!(small.write(&batch).is_err());
}

#[test]
fn room_that_is_made_in_a_full_directory_is_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut request = request("file", &json!({}));
    request.grants = grant(directory.path());
    request.limits.directory_bytes = 64 << 10;
    let mut sink = host().open(request).unwrap();
    let written = |sink: &mut Box<dyn SinkPlugin>| {
        (0..10_000_u32)
            .take_while(|n| sink.write(&batch(Stream::Usage, u64::from(*n), 10)).is_ok())
            .count()
    };
    let first = written(&mut sink);
    assert!(first > 3, "{first}");
    let ledger = directory.path().join("ledger.jsonl");
    assert!(std::fs::metadata(&ledger).unwrap().len() <= 64 << 10);
    std::fs::remove_file(&ledger).unwrap();
    // A directory is not counted again at once, however often somebody writes.
    let until = Instant::now() + PATIENCE;
    while sink.write(&batch(Stream::Usage, 0, 10)).is_err() {
        assert!(Instant::now() < until, "the room is not found");
        thread::yield_now();
    }
    let second = written(&mut sink);
    assert!(second + 2 >= first, "{first} and then {second}");
}

#[test]
fn a_directory_is_listed_whole_however_many_listings_are_under_way() {
    let directory = tempfile::tempdir().unwrap();
    for n in 0..3_000 {
        std::fs::write(directory.path().join(format!("a file with the number {n}")), "").unwrap();
    }
    for n in 0..3 {
        std::fs::create_dir(directory.path().join(format!("folder-{n}"))).unwrap();
    }
    std::os::unix::fs::symlink("folder-0", directory.path().join("link")).unwrap();
    let list = |listings: usize| {
        let errand = json!({ "errand": "list", "listings": listings });
        let mut request = request("errand", &errand);
        request.grants = grant(directory.path());
        request.limits.handles = 50;
        Errand::open(request)
    };
    assert_eq!(list(20).run(), "3000 files, 3 folders, 1 links");
    let mut many = list(1_000);
    assert!(many.sink.write(&batch(Stream::Usage, 0, 1)).is_err());
    assert!(many.reached.get(Limit::Handles) > 0);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    std::fs::write(directory.path().join(name), "").unwrap();
    let found = list(1).run();
    assert!(found.starts_with("failed: "), "{found}");
}

#[test]
fn files_are_made_as_they_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut request = request("errand", &json!({ "errand": "meddle" }));
    request.grants = grant(directory.path());
    let found = Errand::open(request).run();
    assert_eq!(found, "taken: true, written: false, made: true");
}
