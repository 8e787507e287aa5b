//! Letters that come twice, are taken back, resolved, cut off and purged.

use cap_std::ambient_authority;
use tempfile::TempDir;

use super::*;
use crate::storage::Directory;

fn storage() -> (TempDir, Arc<dyn Storage>) {
    let temporary = tempfile::tempdir().unwrap();
    let dir = cap_std::fs::Dir::open_ambient_dir(temporary.path(), ambient_authority()).unwrap();
    (temporary, Arc::new(Directory::new(dir)))
}

fn letter(position: u64, fate: Fate) -> DeadLetter {
    let now = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);
    let id = wasink_record::IdSource::new(position).next(now);
    DeadLetter::new(
        Stream::Usage,
        position,
        (id, now),
        fate,
        "refused".to_owned(),
        (1, now, now),
        ("plugin".to_owned(), "digest".to_owned()),
        "{}".to_owned(),
    )
}

fn open(storage: &Arc<dyn Storage>, accounted: u64) -> DeadLetters {
    DeadLetters::open(storage, "sink", accounted, |_| false).unwrap()
}

fn there(storage: &Arc<dyn Storage>) -> Vec<(u64, Fate)> {
    let dead = read(&**storage, "sink", |_| true).unwrap();
    assert_eq!(dead.damaged, 0);
    dead.letters.iter().map(|letter| (letter.position, letter.fate)).collect()
}

fn len(storage: &Arc<dyn Storage>) -> u64 {
    storage.open("sink.dead").unwrap().len().unwrap()
}

const NONE: u64 = 0;

#[test]
fn a_letter_that_the_lane_did_not_hear_of_is_not_written_twice() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    open(&storage, NONE)
        .add(&[letter(3, Fate::Rejected), letter(4, Fate::Rejected)], &reserve)
        .unwrap();
    let before = len(&storage);
    let mut letters = open(&storage, NONE);
    assert_eq!(letters.floor(), 5);
    letters.add(&[letter(3, Fate::Rejected)], &reserve).unwrap();
    assert_eq!(len(&storage), before);
    // Of another fate it is another.
    letters.add(&[letter(4, Fate::Expired)], &reserve).unwrap();
    assert_eq!(there(&storage), [(3, Fate::Rejected), (4, Fate::Expired)]);
}

#[test]
fn a_letter_is_taken_back_when_something_else_becomes_of_its_record() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    let both = [letter(3, Fate::Rejected), letter(4, Fate::Rejected)];
    open(&storage, NONE).add(&both, &reserve).unwrap();
    let mut letters = open(&storage, NONE);
    letters.withdraw(&[(0..4, Fate::Delivered), (4..5, Fate::Rejected)], &reserve).unwrap();
    assert_eq!(there(&storage), [(4, Fate::Rejected)]);
    // And comes again if the crash took that back, too.
    let mut letters = open(&storage, NONE);
    letters.add(&both, &reserve).unwrap();
    assert_eq!(there(&storage), [(3, Fate::Rejected), (4, Fate::Rejected)]);
}

#[test]
fn what_is_not_accounted_for_begins_with_the_first_letter_that_the_lane_did_not_hear_of() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    let mut letters = open(&storage, NONE);
    letters.add(&[letter(3, Fate::Rejected)], &reserve).unwrap();
    let behind_first = len(&storage);
    letters.add(&[letter(9, Fate::Rejected)], &reserve).unwrap();
    assert_eq!(letters.account(&[(9..10, Fate::Rejected)]), 0);
    assert_eq!(letters.account(&[(0..9, Fate::Rejected)]), len(&storage));
    let mut letters = open(&storage, behind_first);
    assert_eq!(letters.floor(), 10);
    assert_eq!(letters.account(&[(3..4, Fate::Rejected)]), behind_first);
}

#[test]
fn a_letter_that_was_replayed_is_gone() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    let mut letters = open(&storage, NONE);
    letters.add(&[letter(3, Fate::Rejected), letter(4, Fate::Expired)], &reserve).unwrap();
    let now = Timestamp::from_unix_nanos(5);
    letters.resolve(&[(letter(3, Fate::Rejected), Fate::Delivered)], now, &reserve).unwrap();
    assert_eq!(there(&storage), [(4, Fate::Expired)]);
    // Where the lane has forgotten all of it, and the record is rejected again, there is one again.
    let mut letters = open(&storage, NONE);
    letters.add(&[letter(3, Fate::Rejected)], &reserve).unwrap();
    assert_eq!(there(&storage).len(), 2);
}

#[test]
fn a_file_cut_at_any_byte_takes_letters_and_damages_none() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    let mut letters = open(&storage, NONE);
    letters.add(&[letter(3, Fate::Rejected)], &reserve).unwrap();
    let behind_first = len(&storage);
    letters.add(&[letter(4, Fate::Rejected)], &reserve).unwrap();
    let whole = storage.open("sink.dead").unwrap().read_all(1 << 20).unwrap();
    for cut in 0..=whole.len() {
        let file = storage.open("sink.dead").unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&mut [IoSlice::new(&whole[..cut])], 0).unwrap();
        let accounted = behind_first.min(cut as u64);
        open(&storage, accounted).add(&[letter(8, Fate::Rejected)], &reserve).unwrap();
        let dead = read(&*storage, "sink", |_| true).unwrap();
        let mut expected = Vec::new();
        // Without its end a line is whole all the same.
        expected.extend((cut as u64 + 1 >= behind_first).then_some(3));
        expected.extend((cut + 1 >= whole.len()).then_some(4));
        expected.push(8);
        let positions: Vec<_> = dead.letters.iter().map(|letter| letter.position).collect();
        assert_eq!(positions, expected, "cut at {cut}");
    }
}

#[test]
fn a_purge_takes_what_is_not_kept_and_leaves_the_rest_as_it_was() {
    let (_temporary, storage) = storage();
    let reserve = Reserve::default();
    let all: Vec<_> = (0..5).map(|position| letter(position, Fate::Rejected)).collect();
    open(&storage, NONE).add(&all, &reserve).unwrap();
    let behind = len(&storage);
    storage
        .open("sink.dead")
        .unwrap()
        .write_all_at(&mut [IoSlice::new(b"what\n")], behind)
        .unwrap();
    let mut letters = open(&storage, NONE);
    letters.account(&[(0..4, Fate::Rejected)]);
    letters.purge(&[1, 3].into(), &reserve).unwrap();
    let left: Vec<_> = all.iter().filter(|letter| letter.position % 2 == 0).cloned().collect();
    let found = read(&*storage, "sink", |_| true).unwrap();
    assert_eq!((found.letters, found.damaged), (left, 1));
    // What the lane has not heard of begins where that letter is now.
    assert!(letters.account(&[]) > 0);
    let again = open(&storage, letters.account(&[]));
    assert_eq!(again.known.keys().copied().collect::<Vec<_>>(), [4]);
    letters.add(&[letter(7, Fate::Expired)], &reserve).unwrap();
    assert_eq!(read(&*storage, "sink", |_| true).unwrap().letters.len(), 4);
}
