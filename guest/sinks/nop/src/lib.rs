//! Sink `nop`: takes the records of every stream and discards them.
//!
//! It shows what the way to a sink costs without the sink's own work, and stands in where a stream
//! must have a sink but nobody wants its records. There is nothing to set.

use wasink_guest::{Batch, Context, Description, Error, Failure, NoSettings, Outcomes, Sink};

/// The sink.
#[derive(Debug)]
pub struct Nop;

impl Sink for Nop {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "discards the records of every stream")
            .all_streams()
            .settings_schema(NoSettings::SCHEMA)
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

wasink_guest::export_sink!(Nop);

#[cfg(test)]
mod tests {
    use wasink_guest::{Stream, testing};

    use super::*;

    #[test]
    fn every_stream_is_delivered() {
        let mut sink: Nop = wasink_guest::open(&testing::context("{}")).unwrap();
        for stream in Stream::ALL {
            assert!(Nop::describe().streams.contains(&stream));
            let batch = testing::batch(stream, &["{}", "{}"]);
            assert_eq!(sink.write(&batch), Ok(Outcomes::delivered()));
        }
    }

    #[test]
    fn a_setting_is_refused_by_its_name() {
        let error = wasink_guest::open::<Nop>(&testing::context(r#"{"path":"x"}"#)).unwrap_err();
        assert!(error.to_string().contains("`path`"), "{error}");
    }
}
