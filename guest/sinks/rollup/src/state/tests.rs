//! What can be read of a log that is not as it was written.

use super::*;

fn root(sequence: u64, end: u64) -> Root {
    let mut counted = Counted::default();
    counted.add(&(2..end));
    let (epoch, began) = ("e".to_owned(), "b".to_owned());
    Root { sequence, epoch, began, counted, counted_at: 5 }
}

/// Three entries, each with a cell of its own in the same window, and where they end.
fn log() -> (Vec<u8>, Vec<usize>) {
    let key = Key { start: -60, seconds: 60 };
    let mut windows = BTreeMap::from([(key, Window::new("s".to_owned()))]);
    let (mut log, mut ends) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let counters = Counters::from([u128::from(n) << 80; NUMBERS]);
        windows.get_mut(&key).unwrap().add(&format!("t{n}\n"), &counters);
        log.extend(encode(&root(n, 3 + n), &windows, Changed::Unlogged).unwrap());
        windows.get_mut(&key).unwrap().now_logged();
        ends.push(log.len());
    }
    (log, ends)
}

fn read_entries(text: &[u8]) -> Result<usize, Unreadable> {
    let state = decode(text)?;
    let entries = usize::try_from(state.root.sequence).unwrap() + 1;
    assert_eq!(state.root, root(state.root.sequence, 2 + entries as u64));
    let held = &state.windows[&Key { start: -60, seconds: 60 }];
    assert_eq!((&*held.since, held.has_file, held.cells.len()), ("s", false, entries));
    for (n, (tenant, counters)) in held.cells.iter().enumerate() {
        let expected = Counters::from([(n as u128) << 80; NUMBERS]);
        assert_eq!((tenant, counters), (&format!("t{n}\n"), &expected));
    }
    Ok(entries)
}

#[test]
fn a_log_that_is_cut_short_says_what_its_whole_entries_say() {
    let (log, ends) = log();
    for at in 0..=log.len() {
        let whole = ends.iter().filter(|end| **end <= at).count();
        let expected = if whole == 0 { Err(Unreadable::Damaged) } else { Ok(whole) };
        assert_eq!(read_entries(&log[..at]), expected, "cut at {at}");
    }
}

#[test]
fn a_changed_byte_is_damage_but_in_the_last_entry_where_it_may_have_been_torn() {
    let (log, ends) = log();
    for at in 0..log.len() {
        for bit in 0..8 {
            let mut changed = log.clone();
            changed[at] ^= 1 << bit;
            let read = read_entries(&changed);
            if at < ends[0] {
                assert_eq!(read, Err(Unreadable::Damaged), "bit {bit} of byte {at}");
            } else if at + 1 < ends[1] {
                // Or its own first line is gone, and what is behind it as if never written.
                assert_eq!(read, Err(Unreadable::Damaged), "bit {bit} of byte {at}");
            } else {
                assert!(
                    matches!(read, Ok(2) | Err(Unreadable::Damaged)) || at + 1 == ends[1],
                    "bit {bit} of byte {at}: {read:?}"
                );
            }
        }
    }
}

#[test]
fn a_last_entry_whose_end_was_never_written_is_torn() {
    let (mut log, ends) = log();
    log[ends[1] + 5..].fill(0);
    assert_eq!(read_entries(&log), Ok(2));
    log[ends[1]..].fill(0);
    log.extend([0; 4096]);
    assert_eq!(read_entries(&log), Ok(2));
}

#[test]
fn entries_in_another_order_are_damage() {
    let (log, ends) = log();
    let [first, second, third] =
        [&log[..ends[0]], &log[ends[0]..ends[1]], &log[ends[1]..]].map(<[u8]>::to_vec);
    for order in [[&first, &third], [&first, &first]] {
        assert_eq!(read_entries(&order.map(Vec::as_slice).concat()), Ok(1));
    }
    let skipped = [first, third, second].concat();
    assert_eq!(read_entries(&skipped), Err(Unreadable::Damaged));
}

#[test]
fn a_log_of_a_later_version_is_not_touched() {
    let mut text = b"{\"entry\":{\"version\":2,\"what\":\"ever\"}}\n".to_vec();
    seal::seal(&mut text);
    assert_eq!(decode(&text).unwrap_err(), Unreadable::Later);
}
