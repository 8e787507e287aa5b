//! Sink `stderr`: writes the records of every stream to the chassis's standard error, one line of
//! JSON each.
//!
//! For development: a batch is one write, moved by the host. What can't be written, because standard
//! error is closed or was not granted, is lost without a word, as is the way of such a sink: the
//! records count as delivered. There is nothing to set.

use wasink_guest::{Batch, Context, Description, Encoding, Error, Failure, NoSettings};
use wasink_guest::{Need, Outcomes, Sink};

/// The sink.
#[derive(Debug)]
pub struct Stderr;

impl Sink for Stderr {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "writes records to the standard error")
            .all_streams()
            .settings_schema(NoSettings::SCHEMA)
            .needs(Need::Stderr, "writes the records there")
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        drop(batch.write_to_stderr(Encoding::Jsonl));
        Ok(Outcomes::delivered())
    }
}

wasink_guest::export_sink!(Stderr);

#[cfg(test)]
mod tests {
    use std::process::Command;

    use wasink_guest::{Stream, testing};

    use super::*;

    const CHILD: &str = "WASINK_SINK_STDERR_WRITES";

    #[test]
    fn every_record_is_a_line_of_the_standard_error() {
        let mut sink: Stderr = wasink_guest::open(&testing::context("{}")).unwrap();
        let batch = testing::batch(Stream::Events, &[r#"{"n":1}"#, r#"{"n":2}"#]);
        if std::env::var_os(CHILD).is_some() {
            sink.write(&batch).unwrap();
            return;
        }
        let this = "tests::every_record_is_a_line_of_the_standard_error";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", this, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(child.stderr).unwrap(), "{\"n\":1}\n{\"n\":2}\n");
    }
}
