//! A function of the host without a hostile caller is not built.

use std::collections::BTreeSet;

use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldId, WorldItem};

use crate::support::guests;

/// Each function of the contract that a sink can import, and a guest that abuses it.
const HOSTILE: &[(&str, &str, &str)] = &[
    ("log", "write", "floods-the-log"),
    ("secrets", "get", "asks-for-any-secret"),
    ("batches", "of", "uses-foreign-handles"),
    ("batches", "len", "uses-foreign-handles"),
    ("batches", "position", "uses-foreign-handles"),
    ("batches", "ids", "uses-foreign-handles"),
    ("batches", "encode", "uses-foreign-handles"),
    ("batches", "write-to", "misdirects-its-batch"),
    ("batches", "append-to", "misdirects-its-batch"),
    ("batches", "entries", "misdirects-its-batch"),
    ("batches", "usage", "uses-foreign-handles"),
    ("batches", "usage-columns", "uses-foreign-handles"),
    ("batches", "control", "misdirects-its-batch"),
    ("batches", "events", "misdirects-its-batch"),
];

const PLUGIN: &[u8] = include_bytes!("../../wit/plugin.wit");
const BATCHES: &[u8] = include_bytes!("../../wit/batches.wit");

/// This is why it is not built: write a guest that abuses the new function, and name both in `HOSTILE`.
const _: () = {
    let log = functions(PLUGIN, "log");
    let secrets = functions(PLUGIN, "secrets");
    let batches = functions(BATCHES, "batches");
    assert!(log + secrets + batches == HOSTILE.len(), "`HOSTILE` names what the contract has not");
    assert!(imports(PLUGIN, "sink-plugin") == 3, "a sink imports more than those three interfaces");
    // The first two of them.
    assert!(imports(PLUGIN, "feed-source-plugin") == 2, "a feed source imports something else");
    assert!(imports(PLUGIN, "feed-sink-plugin") == 2, "a feed sink imports something else");
};

/// How many functions an interface has. Each of them has to be in `HOSTILE`.
const fn functions(text: &[u8], interface: &str) -> usize {
    let (mut at, end) = section(text, b"interface ", interface.as_bytes());
    let mut count = 0;
    while at < end {
        let (start, stop) = line(text, at);
        if !begins(text, start, b"//") {
            assert!(!begins(text, start, b"constructor"), "a constructor is a function as well");
            let mut colon = start;
            while colon < stop && text[colon] != b':' {
                colon += 1;
            }
            if has(text, colon, stop, b"func(") {
                let start = if text[start] == b'%' { start + 1 } else { start };
                assert!(
                    is_abused(interface, text, start, colon),
                    "a function without a hostile guest"
                );
                count += 1;
            }
        }
        at = stop + 1;
    }
    count
}

/// How many interfaces a world imports.
const fn imports(text: &[u8], world: &str) -> usize {
    let (mut at, end) = section(text, b"world ", world.as_bytes());
    let mut count = 0;
    while at < end {
        let (start, stop) = line(text, at);
        assert!(!begins(text, start, b"include "), "what it includes is not looked at");
        if begins(text, start, b"import ") {
            count += 1;
        }
        at = stop + 1;
    }
    count
}

/// Where the lines within the braces of `kind name {` begin and end.
const fn section(text: &[u8], kind: &[u8], name: &[u8]) -> (usize, usize) {
    let mut at = 0;
    while at < text.len() {
        let (_, stop) = line(text, at);
        if begins(text, at, kind)
            && begins(text, at + kind.len(), name)
            && begins(text, at + kind.len() + name.len(), b" {")
        {
            let mut end = stop + 1;
            while text[end] != b'}' {
                end = line(text, end).1 + 1;
            }
            return (stop + 1, end);
        }
        at = stop + 1;
    }
    panic!("the contract has no such section")
}

/// Where the words of the line at `at` begin, and where it ends.
const fn line(text: &[u8], at: usize) -> (usize, usize) {
    let mut start = at;
    while start < text.len() && text[start] == b' ' {
        start += 1;
    }
    let mut stop = start;
    while stop < text.len() && text[stop] != b'\n' {
        stop += 1;
    }
    (start, stop)
}

const fn begins(text: &[u8], at: usize, with: &[u8]) -> bool {
    let mut index = 0;
    while index < with.len() {
        if at + index >= text.len() || text[at + index] != with[index] {
            return false;
        }
        index += 1;
    }
    true
}

const fn has(text: &[u8], mut at: usize, end: usize, what: &[u8]) -> bool {
    while at < end {
        if begins(text, at, what) {
            return true;
        }
        at += 1;
    }
    false
}

const fn is_abused(interface: &str, text: &[u8], start: usize, end: usize) -> bool {
    let mut index = 0;
    while index < HOSTILE.len() {
        let (of, function, _) = HOSTILE[index];
        let same = of.len() == interface.len() && begins(of.as_bytes(), 0, interface.as_bytes());
        if same && function.len() == end - start && begins(text, start, function.as_bytes()) {
            return true;
        }
        index += 1;
    }
    false
}

/// The functions of ours that a component imports, as `interface function`.
fn imported(resolve: &Resolve, world: WorldId) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for item in resolve.worlds[world].imports.values() {
        let WorldItem::Interface { id, .. } = item else { continue };
        let Some(interface) = resolve.id_of(*id) else { continue };
        let Some(interface) = interface.strip_prefix("wasink:plugin/") else { continue };
        let interface = interface.split('@').next().unwrap();
        for function in resolve.interfaces[*id].functions.keys() {
            let function = function.strip_prefix("[method]batch.").unwrap_or(function);
            found.insert(format!("{interface} {function}"));
        }
    }
    found
}

#[test]
fn the_guests_that_are_said_to_abuse_a_function_import_it() {
    for (interface, function, guest) in HOSTILE {
        let file = format!("wasink_misbehaving_{}.wasm", guest.replace('-', "_"));
        let bytes = std::fs::read(guests().join(file)).unwrap();
        let DecodedWasm::Component(resolve, world) = wit_component::decode(&bytes).unwrap() else {
            panic!("`{guest}` is no component");
        };
        let imported = imported(&resolve, world);
        assert!(imported.contains(&format!("{interface} {function}")), "{guest}: {imported:?}");
        let in_the_zoo = crate::zoo::ZOO.iter().any(|(name, ..)| name == guest);
        assert!(in_the_zoo, "`{guest}` is not run");
    }
}
