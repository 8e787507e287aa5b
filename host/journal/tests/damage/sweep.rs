//! A journal cut at every byte, and with one bit flipped at every byte.

use std::collections::BTreeSet;

use wasink_journal::Fate;

use super::fixture::{Fixture, last_segment, segments};
use crate::simulated::dead;
use crate::simulated::disk::Disk;

/// The damaged bytes that were put aside, as their receipts tell of them: segment and offset.
fn receipts(disk: &Disk) -> Vec<(String, usize, Vec<u8>)> {
    let names = disk.sorted_names().into_iter().filter(|name| name.ends_with(".json"));
    let receipt = |name: String| {
        let receipt: serde_json::Value =
            serde_json::from_slice(&disk.bytes(&name).unwrap()).unwrap();
        let copy = disk.bytes(receipt["copy"].as_str().unwrap()).unwrap();
        assert_eq!(receipt["bytes"].as_u64(), Some(copy.len() as u64));
        let offset = usize::try_from(receipt["offset"].as_u64().unwrap()).unwrap();
        (receipt["segment"].as_str().unwrap().to_owned(), offset, copy)
    };
    names.map(receipt).collect()
}

fn flipped(fixture: &Fixture, name: &str, at: usize) -> (Disk, Vec<u8>) {
    let disk = fixture.disk.copy();
    let mut bytes = disk.bytes(name).unwrap();
    bytes[at] ^= 1 << (at % 8);
    disk.place(name, bytes.clone());
    (disk, bytes)
}

#[test]
fn a_bit_flipped_anywhere_in_a_segment_costs_one_frame_at_most() {
    let fixture = Fixture::new();
    let settled: BTreeSet<u64> = fixture.settled.keys().copied().collect();
    let mut lost = 0;
    for name in segments(&fixture.disk) {
        for at in 0..fixture.disk.bytes(&name).unwrap().len() {
            let (disk, bytes) = flipped(&fixture, &name, at);
            let examined = fixture.examine(&disk);
            let hit =
                |frame: &&super::fixture::Frame| frame.segment == name && frame.bytes.contains(&at);
            let hit = fixture.frames.iter().find(hit);
            let none = &examined.sinks["none"];
            let some = &examined.sinks["some"];
            for position in 0..fixture.end() {
                let spared = hit.is_none_or(|frame| !frame.positions.contains(&position));
                assert!(
                    !spared || none.given.contains(&position),
                    "{position} is lost by a bit at {at} of {name}"
                );
            }
            assert_eq!(some.done, settled, "{at} of {name}");
            let damaged: BTreeSet<_> = none.damaged.difference(&settled).copied().collect();
            assert_eq!(some.damaged, damaged, "{at} of {name}");
            if !none.damaged.is_empty() {
                lost += 1;
                let frame = hit.unwrap();
                assert_eq!(none.damaged, frame.positions.clone().collect(), "{at} of {name}");
                let aside = receipts(&examined.disk);
                let damaged =
                    (name.clone(), frame.bytes.start, bytes[frame.bytes.clone()].to_vec());
                assert_eq!(aside, [damaged]);
            }
        }
    }
    assert!(lost > 1000, "hardly any flip was noticed: {lost}");
}

#[test]
fn a_journal_cut_at_any_byte_gives_what_is_left_of_it() {
    let fixture = Fixture::new();
    let name = last_segment(&fixture.disk);
    let whole = fixture.disk.bytes(&name).unwrap();
    for len in 0..whole.len() {
        let disk = fixture.disk.copy();
        disk.place(&name, &whole[..len]);
        let examined = fixture.examine(&disk);
        for frame in &fixture.frames {
            // Without its trailer, or a part of it, it is whole all the same.
            let left = frame.segment != name || frame.bytes.end - 40 <= len;
            for position in frame.positions.clone() {
                assert_eq!(examined.sinks["none"].given.contains(&position), left, "{position}");
                let settled = fixture.settled.contains_key(&position);
                let some = &examined.sinks["some"];
                assert_eq!(some.given.contains(&position), left && !settled);
                assert_eq!(some.done.contains(&position), settled);
            }
        }
        let done = fixture.settled.keys().next_back().unwrap() + 1;
        assert!(examined.recovered.next >= done, "a position could be given again");
    }
}

#[test]
fn a_bit_flipped_anywhere_in_a_lane_makes_a_record_come_again_and_loses_none() {
    let fixture = Fixture::new();
    let settled: BTreeSet<u64> = fixture.settled.keys().copied().collect();
    let mut again = 0;
    for name in ["some.lane", "none.lane"] {
        for at in 0..fixture.disk.bytes(name).unwrap().len() {
            let (disk, bytes) = flipped(&fixture, name, at);
            let examined = fixture.examine(&disk);
            let (some, none) = (&examined.sinks["some"], &examined.sinks["none"]);
            assert_eq!(none.given, (0..fixture.end()).collect(), "byte {at} of {name}");
            assert!(some.damaged.is_empty() && none.damaged.is_empty());
            assert!(some.done.is_subset(&settled), "byte {at} of {name}");
            assert!(!some.done.is_empty(), "byte {at} of {name} takes all that was known");
            let due = (0..fixture.end()).filter(|position| !some.done.contains(position)).collect();
            assert_eq!(some.given, due, "byte {at} of {name}");
            again += u32::from(some.done != settled);
            if examined.recovered.damaged_lines > 0 {
                let copy = examined.disk.bytes(&format!("quarantine-{name}-0"));
                assert_eq!(copy, Some(bytes));
            }
        }
    }
    assert!(again > 300, "hardly any flip was noticed: {again}");
}

#[test]
fn a_bit_flipped_anywhere_in_dead_letters_costs_two_at_most_and_no_record() {
    let fixture = Fixture::new();
    let settled: BTreeSet<u64> = fixture.settled.keys().copied().collect();
    let (all, damaged) = dead::letters(&fixture.disk, "some");
    let is_dead = |fate: &&Fate| matches!(fate, Fate::Rejected | Fate::Expired);
    assert_eq!((all.len(), damaged), (fixture.settled.values().filter(is_dead).count(), 0));
    for at in 0..fixture.disk.bytes("some.dead").unwrap().len() {
        let (disk, _) = flipped(&fixture, "some.dead", at);
        let examined = fixture.examine(&disk);
        assert_eq!(examined.sinks["some"].done, settled);
        assert_eq!(examined.sinks["none"].given, (0..fixture.end()).collect());
        let (left, _) = dead::letters(&examined.disk, "some");
        assert!(left.len() + 2 >= all.len(), "byte {at}");
        assert!(left.iter().all(|(position, letter)| all[position] == *letter), "byte {at}");
    }
}
