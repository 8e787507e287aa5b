//! Both ends on a directory.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use wasink_guest::{ControlEvent, Failure, FeedSink, FeedSource, native, testing};

use crate::{FileSink, FileSource};

fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    directory
}

fn sink() -> FileSink {
    wasink_guest::open_feed_sink(&testing::context("{}")).unwrap()
}

fn source() -> FileSource {
    wasink_guest::open_feed_source(&testing::context("{}")).unwrap()
}

fn event(id: &str) -> ControlEvent {
    let mut event = testing::control_event(id, "stack.activated");
    event.tenant_id = Some("acme".to_owned());
    event.stack_id = Some("shop".to_owned());
    event.version = Some(7);
    event
}

fn poll(source: &mut FileSource, since: u64) -> Vec<(u64, String)> {
    let events = source.poll(since, 100, Duration::ZERO).unwrap();
    events.into_iter().map(|event| (event.control_version, event.event_id)).collect()
}

#[test]
fn events_get_versions_from_1_on_and_an_id_has_its_version_for_ever() {
    let directory = directory();
    let mut sink = sink();
    assert_eq!(sink.append(event("a")), Ok(1));
    assert_eq!(sink.append_all(vec![event("b"), event("a"), event("c")]), [Ok(2), Ok(1), Ok(3)]);
    assert_eq!(sink.append(event("b")), Ok(2));
    let mut other = event("b");
    other.version = Some(8);
    assert_eq!(sink.append(other), Ok(2), "the first is what counts");
    // After a restart as well.
    let mut sink = self::sink();
    assert_eq!(sink.append_all(vec![event("c"), event("d")]), [Ok(3), Ok(4)]);
    let expected = "{\n  \"id\": 0,\n  \"event_id\": \"d\",\n  \"type\": \"stack.activated\",\n  \
                    \"tenant_id\": \"acme\",\n  \"stack_id\": \"shop\",\n  \"version\": 7,\n  \
                    \"control_version\": 4\n}\n";
    assert_eq!(fs::read_to_string(directory.path().join("d.json")).unwrap(), expected);
    assert!(matches!(sink.append(event("")), Err(Failure::Rejected(_))));
}

#[test]
fn a_poll_gives_what_is_behind_its_cursor_in_order_and_no_more_than_asked_for() {
    let _directory = directory();
    let (mut sink, mut source) = (sink(), source());
    assert_eq!(poll(&mut source, 0), []);
    for id in ["z", "y", "x"] {
        sink.append(event(id)).unwrap();
    }
    let all = [(1, "z".to_owned()), (2, "y".to_owned()), (3, "x".to_owned())];
    assert_eq!(poll(&mut source, 0), all);
    assert_eq!(poll(&mut source, 2), all[2..]);
    assert_eq!(poll(&mut source, 3), []);
    assert_eq!(source.poll(0, 2, Duration::ZERO).unwrap().len(), 2);
    let mut first = source.poll(0, 1, Duration::ZERO).unwrap();
    let mut expected = event("z");
    expected.control_version = 1;
    assert_eq!(first.pop(), Some(expected));
}

#[test]
fn several_writers_share_a_feed_without_a_gap_and_without_an_id_twice() {
    let _directory = directory();
    let (mut one, mut other) = (sink(), sink());
    for n in 0..20 {
        let batch = |from: usize| (from..from + 3).map(|n| event(&format!("e{n}"))).collect();
        // Each has appended what the other is asked to append next.
        one.append_all(batch(n)).into_iter().for_each(|result| assert!(result.is_ok()));
        other.append_all(batch(n + 1)).into_iter().for_each(|result| assert!(result.is_ok()));
    }
    let events = poll(&mut source(), 0);
    let expected: Vec<_> = (0..23).map(|n| (n + 1, format!("e{n}"))).collect();
    assert_eq!(events, expected);
}

#[test]
fn no_two_ids_share_a_name_and_any_id_has_one() {
    let directory = directory();
    let mut sink = sink();
    let long = "x".repeat(5_000);
    let ids = ["a/b", "a\\b", "a_b", "..", ".hidden", "ä", "a=2fb", &long, &format!("{long}y")];
    for (version, id) in (1..).zip(ids) {
        assert_eq!(sink.append(event(id)), Ok(version), "{id}");
    }
    for (version, id) in (1..).zip(ids) {
        assert_eq!(self::sink().append(event(id)), Ok(version), "{id}");
    }
    assert_eq!(poll(&mut source(), 0).len(), ids.len());
    let out = directory.path().parent().unwrap().join("b.json");
    assert!(!out.exists());
}

#[test]
fn files_of_another_program_are_read_and_become_part_of_the_feed() {
    let directory = directory();
    let write = |name: &str, id: &str, version: u64| {
        let text = format!(
            "{{\"id\":0,\"event_id\":\"{id}\",\"type\":\"tenant.created\",\"control_version\":{version}}}"
        );
        fs::write(directory.path().join(name), text).unwrap();
    };
    write("z.json", "a/b", 1);
    write("any name.json", "second", 2);
    fs::write(directory.path().join("third.json.tmp"), "{").unwrap();
    fs::write(directory.path().join("notes.txt"), "none").unwrap();
    let mut source = source();
    let two = [(1, "a/b".to_owned()), (2, "second".to_owned())];
    assert_eq!(poll(&mut source, 0), two);
    write("y.json", "third", 3);
    assert_eq!(poll(&mut source, 1), [two[1].clone(), (3, "third".to_owned())]);
    let mut sink = sink();
    assert_eq!(sink.append_all(vec![event("a/b"), event("new")]), [Ok(1), Ok(4)]);
    assert_eq!(poll(&mut source, 3), [(4, "new".to_owned())]);
}

#[test]
fn what_can_t_be_read_is_told_with_its_name_and_nothing_is_passed_over() {
    let directory = directory();
    fs::write(directory.path().join("broken.json"), "{").unwrap();
    let reason = |failure: Failure| failure.to_string();
    let failure = source().poll(0, 10, Duration::ZERO).unwrap_err();
    assert!(reason(failure).contains("`broken.json`: EOF while parsing"));
    let error = wasink_guest::open_feed_sink::<FileSink>(&testing::context("{}")).unwrap_err();
    assert!(error.to_string().contains("`broken.json`"), "{error}");
    fs::remove_file(directory.path().join("broken.json")).unwrap();

    let mut sink = sink();
    sink.append_all(vec![event("a"), event("b"), event("c")]);
    let second = directory.path().join("versions/00000000000000000002.json");
    fs::write(&second, "{}").unwrap();
    let mut source = source();
    // One that nobody can apply, so that it is seen and can be skipped.
    let events = source.poll(0, 10, Duration::ZERO).unwrap();
    let wrong = &events[1];
    assert_eq!((events.len(), wrong.control_version, &*wrong.event_id), (3, 2, "version 2"));
    assert!(wrong.event_type.contains("00000000000000000002.json`: missing field"));
    assert_eq!(self::sink().append(event("d")), Ok(4));
}

#[test]
fn a_directory_with_gaps_is_no_feed_to_go_on_with() {
    let directory = directory();
    let text = "{\"event_id\":\"a\",\"type\":\"tenant.created\",\"control_version\":2}";
    fs::write(directory.path().join("a.json"), text).unwrap();
    let error = wasink_guest::open_feed_sink::<FileSink>(&testing::context("{}")).unwrap_err();
    assert!(error.to_string().contains("`a.json` has the control version 2, and 1 is the next"));
}

#[test]
fn whoever_opens_next_finishes_what_a_crash_left_undone() {
    let directory = directory();
    sink().append_all(vec![event("a"), event("b"), event("c")]);
    // Their versions were made, and not their other names; the last file never got any.
    for id in ["b", "c"] {
        fs::remove_file(directory.path().join(format!("{id}.json"))).unwrap();
    }
    fs::create_dir_all(directory.path().join(".new")).unwrap();
    let (fresh, old) = (directory.path().join(".new/0123"), directory.path().join(".new/4567"));
    fs::write(&fresh, "{\"event_").unwrap();
    fs::write(&old, "{\"event_").unwrap();
    let old_file = fs::File::options().write(true).open(&old).unwrap();
    let written = old_file.metadata().unwrap().modified().unwrap();
    old_file.set_modified(written - Duration::from_hours(2)).unwrap();
    let mut sink = sink();
    assert!(directory.path().join("b.json").exists() && directory.path().join("c.json").exists());
    assert_eq!(sink.append_all(vec![event("b"), event("c"), event("d")]), [Ok(2), Ok(3), Ok(4)]);
    // Somebody may be writing to the fresh one still.
    assert!(fresh.exists() && !old.exists());
}

#[test]
fn an_event_that_is_waited_for_is_given_when_it_comes() {
    let directory = directory();
    let path = directory.path().to_owned();
    let writer = std::thread::spawn(move || {
        native::set_data_directory(path);
        sink().append(event("late")).unwrap()
    });
    let events = source().poll(0, 10, Duration::from_secs(60)).unwrap();
    assert_eq!(events[0].event_id, "late");
    assert_eq!(writer.join().unwrap(), 1);
    // And when none comes, that is the answer.
    assert_eq!(source().poll(1, 10, Duration::from_millis(1)), Ok(Vec::new()));
}

#[test]
fn a_path_stays_in_the_data_directory() {
    let directory = directory();
    let open =
        |settings: &str| wasink_guest::open_feed_sink::<FileSink>(&testing::context(settings));
    for path in ["../x", "/x", "a/../.."] {
        let error = open(&format!("{{\"path\":\"{path}\"}}")).unwrap_err();
        assert!(error.to_string().contains("leads out of the data directory"), "{error}");
    }
    assert_eq!(open("{\"path\":\"feeds/fleet/\"}").unwrap().append(event("a")), Ok(1));
    assert!(directory.path().join("feeds/fleet/a.json").exists());
}

#[test]
fn many_writers_at_a_time_make_one_feed() {
    let directory = directory();
    let path = directory.path();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|writer| {
                scope.spawn(move || {
                    native::set_data_directory(path);
                    let mut sink = sink();
                    let mut given = Vec::new();
                    for n in 0..30 {
                        // Each id by two of them.
                        let ids = [format!("e{}-{n}", writer / 2), format!("own{writer}-{n}")];
                        let results = sink.append_all(ids.iter().map(|id| event(id)).collect());
                        let versions = results.into_iter().map(Result::unwrap);
                        given.extend(versions.zip(ids));
                    }
                    given
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut given = all;
    given.sort_unstable();
    given.dedup();
    let mut source = source();
    let mut events = Vec::new();
    while let Some((last, _)) = poll_all(&mut source, &mut events) {
        assert_eq!(last, events.len() as u64);
    }
    assert_eq!(events.len(), 3 * 30 + 6 * 30);
    assert_eq!(given, events);
}

/// Adds what is behind the last, and returns the new last where there is one.
fn poll_all(source: &mut FileSource, events: &mut Vec<(u64, String)>) -> Option<(u64, String)> {
    let since = events.last().map_or(0, |(version, _)| *version);
    let more = poll(source, since);
    events.extend(more.iter().cloned());
    more.last().cloned()
}

#[test]
fn a_file_that_holds_another_event_is_not_taken_for_the_ids_own() {
    let directory = directory();
    let text = "{\"event_id\":\"a/b\",\"type\":\"tenant.created\",\"control_version\":1}";
    fs::write(directory.path().join("z.json"), text).unwrap();
    let mut sink = sink();
    let Err(Failure::Rejected(why)) = sink.append(event("z")) else { panic!("it was taken") };
    assert_eq!(why, "the file `z.json` is the event `z`'s, and holds another event");
    assert_eq!(sink.append(event("a/b")), Ok(1));
    assert_eq!(sink.append(event("c")), Ok(2));
}

#[test]
fn whoever_is_interrupted_while_it_takes_a_directory_over_can_begin_again() {
    let directory = directory();
    let write = |name: &str, id: &str, version: u64| {
        let text = format!(
            "{{\"event_id\":\"{id}\",\"type\":\"tenant.created\",\"control_version\":{version}}}"
        );
        fs::write(directory.path().join(name), text).unwrap();
    };
    write("z.json", "first", 1);
    write("y.json", "second", 2);
    // The names of ids, and a part of the versions.
    fs::hard_link(directory.path().join("z.json"), directory.path().join("first.json")).unwrap();
    let part = directory.path().join(".versions-0123");
    fs::create_dir(&part).unwrap();
    fs::hard_link(directory.path().join("z.json"), part.join("00000000000000000001.json")).unwrap();
    let both = [(1, "first".to_owned()), (2, "second".to_owned())];
    assert_eq!(poll(&mut source(), 0), both);
    assert_eq!(sink().append_all(vec![event("second"), event("third")]), [Ok(2), Ok(3)]);
    assert_eq!(poll(&mut source(), 0)[..2], both);
}

#[test]
fn a_feed_that_has_lost_what_a_node_needs_stops_that_node_and_goes_on() {
    let directory = directory();
    let mut sink = sink();
    sink.append_all(["a", "b", "c"].map(event).to_vec());
    let reason = |since| source().poll(since, 10, Duration::ZERO).unwrap_err().to_string();
    assert!(reason(9).contains("the feed ends at 3, and this node is at 9"), "{}", reason(9));
    let version = |n: u64| directory.path().join(format!("versions/{n:020}.json"));
    fs::remove_file(version(1)).unwrap();
    assert!(reason(0).contains("the feed begins at 2, and this node is at 0"), "{}", reason(0));
    assert_eq!(poll(&mut source(), 1).len(), 2);
    assert_eq!(self::sink().append(event("d")), Ok(4));
    for n in 2..=4 {
        fs::remove_file(version(n)).unwrap();
    }
    assert!(reason(4).contains("the feed is empty, and this node is at 4"), "{}", reason(4));
}

#[test]
fn a_feed_that_begins_while_it_is_polled_is_no_other_feed() {
    let _directory = directory();
    let source = source();
    assert_eq!(source.check_end(0), Ok(()));
    // The poll has found no first event, and here it is.
    assert_eq!(sink().append(event("a")), Ok(1));
    assert_eq!(source.check_end(0), Ok(()));
    assert!(source.check_end(2).is_err());
}

#[test]
fn an_event_that_nobody_could_read_is_refused() {
    let _directory = directory();
    let mut sink = sink();
    let mut large = event("large");
    large.tenant_id = Some("x".repeat(1 << 20));
    let Err(Failure::Rejected(why)) = sink.append(large) else { panic!("it was taken") };
    assert!(why.contains("1048576 is the most"), "{why}");
    assert_eq!(sink.append(event("a")), Ok(1));
}

#[test]
fn a_directory_in_which_a_file_has_the_name_of_another_id_is_not_taken_over() {
    let directory = directory();
    for (name, id, version) in [("z.json", "first", 1), ("first.json", "second", 2)] {
        let text = format!(
            "{{\"event_id\":\"{id}\",\"type\":\"tenant.created\",\"control_version\":{version}}}"
        );
        fs::write(directory.path().join(name), text).unwrap();
    }
    let error = wasink_guest::open_feed_sink::<FileSink>(&testing::context("{}")).unwrap_err();
    let expected = "the file `first.json` is the event `first`'s, and holds another event";
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(poll(&mut source(), 0).len(), 2, "it can be read as before");
}
