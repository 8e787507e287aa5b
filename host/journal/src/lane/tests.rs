//! What a lane knows: parts that are settled in any order, its file, and that file written anew.

use std::collections::BTreeSet;

use cap_std::ambient_authority;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::keep::COMPACT_ABOVE;
use super::*;
use crate::storage::Directory;
use crate::tenants::Tenants;

fn storage() -> (TempDir, Arc<dyn Storage>) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
    (temporary, Arc::new(Directory::new(dir)))
}

fn open(storage: &Arc<dyn Storage>) -> (Lane, Found) {
    let found = read(&**storage, "sink").unwrap();
    let new = LaneState { origin: 10, cursor: 10, ..LaneState::default() };
    (Lane::open(storage, "sink", &found, new, &Arc::default()).unwrap(), found)
}

fn settle(lane: &mut Lane, range: Range<u64>, fate: Fate) {
    let tenant = |position: u64| match position % 3 {
        0 => Some("acme"),
        1 => Some("bolt"),
        _ => Some("coil"),
    };
    let tenants = Tenants::of(range.clone().map(tenant));
    let mut whose = Whose::default();
    whose.add(range.start, &tenants);
    lane.settle(&[(range, fate)], &[], &whose, &Reserve::default()).unwrap();
}

proptest! {
    #[test]
    fn parts_settled_in_any_order_are_each_counted_once(
        parts in vec((10..60_u64, 0..9_u64, 0..Fate::ALL.len()), 0..40),
    ) {
        let mut lane = Lane::in_memory(10);
        let mut done = BTreeSet::new();
        for (from, len, fate) in parts {
            settle(&mut lane, from..from + len, Fate::ALL[fate]);
            done.extend(from..from + len);
            let state = lane.state();
            let missing = (10..80).filter(|position| !done.contains(position));
            let known = state.missing(10..80).into_iter().flat_map(|(from, to)| from..to);
            prop_assert!(missing.eq(known), "{:?}", state);
            let apart = state.done.windows(2).all(|pair| pair[0].1 < pair[1].0);
            prop_assert!(apart && state.done.first().is_none_or(|&(from, _)| state.cursor < from));
            prop_assert_eq!(state.fates.sum(), done.len() as u64);
            let tenants: u64 = state.tenants.values().map(Fates::sum).sum();
            prop_assert_eq!(tenants, done.len() as u64);
        }
    }
}

#[test]
fn a_lane_is_read_as_it_was_left() {
    let (_temporary, storage) = storage();
    let (mut lane, found) = open(&storage);
    assert_eq!(found, Found::default());
    settle(&mut lane, 10..14, Fate::Delivered);
    settle(&mut lane, 20..21, Fate::Rejected);
    let doubt = Doubt { from: 14, to: 18, since: 5 };
    lane.doubt(doubt, &Reserve::default()).unwrap();
    let state = lane.state().clone();
    assert_eq!((state.cursor, state.fates.delivered, state.fates.rejected), (14, 4, 1));
    drop(lane);
    let len = storage.open("sink.lane").unwrap().len().unwrap();
    let (mut lane, found) = open(&storage);
    assert_eq!((lane.state(), found.damaged), (&state, 0));
    assert_eq!(lane.floor(), 21);
    // A sync may have failed for what is read; the file is sound, and is gone on with.
    assert_eq!((lane.durable(), lane.is_synced()), (0, false));
    lane.sync(&Reserve::default()).unwrap();
    assert_eq!((lane.durable(), lane.is_synced()), (14, true));
    assert_eq!(storage.open("sink.lane").unwrap().len().unwrap(), len);
}

#[test]
fn what_is_in_doubt_grows_until_all_of_it_is_settled_and_can_be_begun_anew() {
    let (_temporary, storage) = storage();
    let (mut lane, _) = open(&storage);
    let reserve = Reserve::default();
    let doubt = |from, to, since| Doubt { from, to, since };
    lane.doubt(doubt(10, 12, 7), &reserve).unwrap();
    lane.doubt(doubt(12, 15, 9), &reserve).unwrap();
    assert_eq!(lane.state().doubt, Some(doubt(10, 15, 7)));
    lane.doubt(doubt(10, 15, 11), &reserve).unwrap();
    assert_eq!(lane.state().doubt, Some(doubt(10, 15, 11)), "handed over again");
    settle(&mut lane, 11..15, Fate::Delivered);
    assert!(lane.state().doubt.is_some());
    settle(&mut lane, 10..11, Fate::Delivered);
    assert_eq!(lane.state().doubt, None);
}

#[test]
fn a_file_that_has_grown_is_written_anew_and_holds_the_same() {
    let (_temporary, storage) = storage();
    let (mut lane, _) = open(&storage);
    let mut longest = 0;
    let mut shrunk = false;
    // Every other record, so that what is to be remembered grows as well.
    for position in 0..5000 {
        settle(&mut lane, 10 + 2 * position..11 + 2 * position, Fate::Delivered);
        let len = storage.open("sink.lane").unwrap().len().unwrap();
        shrunk |= len < longest;
        longest = longest.max(len);
    }
    assert!(shrunk && longest < 2 * COMPACT_ABOVE, "{longest}");
    let state = lane.state().clone();
    drop(lane);
    let (lane, found) = open(&storage);
    assert_eq!((lane.state(), found.damaged), (&state, 0));
}

#[test]
fn a_line_that_was_cut_off_is_no_damage_and_does_not_get_into_the_next() {
    for (cut, cursor) in [(0, 15), (1, 15), (2, 14), (30, 14)] {
        let (_temporary, storage) = storage();
        let (mut lane, _) = open(&storage);
        settle(&mut lane, 10..14, Fate::Delivered);
        settle(&mut lane, 14..15, Fate::Delivered);
        drop(lane);
        let file = storage.open("sink.lane").unwrap();
        file.set_len(file.len().unwrap() - cut).unwrap();
        let (mut lane, found) = open(&storage);
        // Without its end a line is whole all the same.
        assert_eq!((lane.state().cursor, found.damaged), (cursor, 0), "{cut} are cut off");
        settle(&mut lane, cursor..16, Fate::Delivered);
        let state = lane.state().clone();
        drop(lane);
        let (lane, found) = open(&storage);
        assert_eq!((lane.state(), found.damaged), (&state, 0), "{cut} were cut off");
    }
}

#[test]
fn a_file_of_which_nothing_can_be_read_has_no_state() {
    let (_temporary, storage) = storage();
    let file = storage.create("sink.lane").unwrap();
    file.write_all_at(&mut [io::IoSlice::new(b"not a line\nnor this\nnor")], 0).unwrap();
    let found = read(&*storage, "sink").unwrap();
    assert_eq!((found.state, found.damaged), (None, 2));
}
