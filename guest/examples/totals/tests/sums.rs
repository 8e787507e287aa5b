//! The sums add up, over batches and over flushes.

use wasink_example_totals::TotalsByTenant;
use wasink_guest::{Batch, Sink, Stream, native, open, testing};

fn usage(tenant: &str, fuel: u64, bytes_in: u64, bytes_out: u64) -> String {
    format!(
        r#"{{"tenant":"{tenant}","fuel":{fuel},"bytes_in":{bytes_in},"bytes_out":{bytes_out}}}"#
    )
}

fn batch(lines: &[String]) -> Batch<'static> {
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    testing::batch(Stream::Usage, &lines)
}

#[test]
fn a_flush_appends_what_has_come_in_since_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    let mut sink: TotalsByTenant = open(&testing::context("{}")).unwrap();
    let written = || std::fs::read_to_string(directory.path().join("totals.jsonl")).unwrap();

    sink.write(&batch(&[usage("b", 1, 10, 100), usage("a", 2, 0, 0), usage("b", 4, 1, 1)]))
        .unwrap();
    sink.write(&batch(&[usage("a", 8, 5, 0)])).unwrap();
    assert_eq!(written(), "", "nothing is appended before a flush");

    sink.flush().unwrap();
    let first = "{\"tenant\":\"a\",\"records\":2,\"fuel\":10,\"bytes\":5}\n\
                 {\"tenant\":\"b\",\"records\":2,\"fuel\":5,\"bytes\":112}\n";
    assert_eq!(written(), first);

    sink.flush().unwrap();
    assert_eq!(written(), first, "a flush with nothing new appends nothing");

    sink.write(&batch(&[usage("a", 1, 0, 0)])).unwrap();
    sink.flush().unwrap();
    let second = "{\"tenant\":\"a\",\"records\":1,\"fuel\":1,\"bytes\":0}\n";
    assert_eq!(written(), format!("{first}{second}"));
}

#[test]
fn a_sum_may_be_larger_than_any_quantity() {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    let mut sink: TotalsByTenant = open(&testing::context("{}")).unwrap();
    sink.write(&batch(&[usage("a", u64::MAX, 0, 0), usage("a", u64::MAX, 0, 0)])).unwrap();
    sink.flush().unwrap();
    let written = std::fs::read_to_string(directory.path().join("totals.jsonl")).unwrap();
    assert!(written.contains("\"fuel\":36893488147419103230,"), "{written}");
}
