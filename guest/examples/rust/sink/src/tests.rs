//! What it is given is in its files, once.

use wasink_guest::testing;

use super::*;

fn batch(tenants: &[&str]) -> Batch<'static> {
    let lines: Vec<_> = tenants.iter().map(|name| format!(r#"{{"tenant":"{name}"}}"#)).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    testing::batch(Stream::Usage, &lines)
}

#[test]
fn records_are_appended_and_counted_by_tenant() {
    let directory = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let mut sink = Tally::in_directory(directory.path()).unwrap();
    sink.write(&batch(&["b", "a"])).unwrap();
    sink.write(&batch(&["b"])).unwrap();
    assert_eq!(read("tenants.jsonl"), "", "nothing is counted before a flush");
    sink.flush().unwrap();
    sink.flush().unwrap();
    assert_eq!(read("usage.jsonl"), "{\"tenant\":\"b\"}\n{\"tenant\":\"a\"}\n{\"tenant\":\"b\"}\n");
    let counts = "{\"tenant\":\"a\",\"records\":1}\n{\"tenant\":\"b\",\"records\":2}\n";
    assert_eq!(read("tenants.jsonl"), counts);
}

#[test]
fn half_a_line_that_a_crash_left_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let usage = directory.path().join("usage.jsonl");
    std::fs::write(&usage, "{\"tenant\":\"a\"}\n{\"ten").unwrap();
    let mut sink = Tally::in_directory(directory.path()).unwrap();
    sink.write(&batch(&["b"])).unwrap();
    let lines = "{\"tenant\":\"a\"}\n{\"tenant\":\"b\"}\n";
    assert_eq!(std::fs::read_to_string(&usage).unwrap(), lines);
}
