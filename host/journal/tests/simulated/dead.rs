//! Files of dead letters, read as anybody can read them: a checksum, a space, a JSON object.

use std::collections::BTreeMap;

use serde_json::Value;
use wasink_journal::DeadLetter;

use crate::simulated::disk::Disk;

/// The letters of a sink that are still there, by position, and how many lines are damaged.
pub(crate) fn letters(disk: &Disk, sink: &str) -> (BTreeMap<u64, DeadLetter>, usize) {
    let bytes = disk.bytes(&format!("{sink}.dead")).unwrap_or_default();
    let mut letters = BTreeMap::new();
    let mut damaged = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| *line != b"\n") {
        let Some(mut value) = parse(line.strip_suffix(b"\n").unwrap_or(line)) else {
            // The last may just not have been finished.
            damaged += usize::from(line.ends_with(b"\n"));
            continue;
        };
        if let Some(letter) = value.get_mut("dead") {
            let letter: DeadLetter = serde_json::from_value(letter.take()).unwrap();
            letters.insert(letter.position, letter);
        } else {
            let gone = value.get("resolved").or(value.get("withdrawn")).unwrap();
            letters.remove(&gone["position"].as_u64().unwrap());
        }
    }
    (letters, damaged)
}

fn parse(line: &[u8]) -> Option<Value> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?.trim_end(), 16).ok()?;
    if sum == crc32fast::hash(json) { serde_json::from_slice(json).ok() } else { None }
}
