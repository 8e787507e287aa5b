//! The example sink does what its first line says.

use wasink_example_fuel::FuelCsv;
use wasink_guest::{Sink, Stream, native, open, testing};

#[test]
fn every_record_of_usage_is_a_row() {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    let mut sink: FuelCsv = open(&testing::context("{}")).unwrap();
    let lines = [r#"{"tenant":"acme","fuel":7}"#, r#"{"tenant":"umbrella"}"#];
    sink.write(&testing::batch(Stream::Usage, &lines)).unwrap();
    let rows = std::fs::read_to_string(directory.path().join("fuel.csv")).unwrap();
    assert_eq!(rows, "acme,7\numbrella,0\n");
}
