//! Sink `capture`: keeps records in memory for a test harness, which reads and empties it through
//! the contract's interface `capture`.
//!
//! Settings: `capacity` is how many records it keeps at most, 100,000 where it is not set. A record
//! past that is rejected with a reason that says so, and those before it stay: a test that overruns
//! it sees its records among the rejected ones instead of looking for them in vain. Emptying it
//! makes room again.

use serde::Deserialize;
use wasink_guest::{Batch, Captured, Context, Description, Encoding, Error, Failure};
use wasink_guest::{Outcomes, Sink};

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "capacity": {
      "description": "How many records are kept at most; those past it are rejected.",
      "type": "integer",
      "minimum": 0,
      "default": 100000
    }
  }
}"#;

/// The sink.
#[derive(Debug)]
pub struct Capture {
    kept: Vec<Captured>,
    capacity: usize,
}

/// Settings of the sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many records are kept at most.
    pub capacity: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { capacity: 100_000 }
    }
}

impl Sink for Capture {
    type Settings = Settings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "keeps records in memory for a test harness")
            .all_streams()
            .settings_schema(SCHEMA)
    }

    fn open(settings: Settings, _: &Context) -> Result<Self, Error> {
        Ok(Self { kept: Vec::new(), capacity: settings.capacity })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let mut outcomes = Outcomes::delivered();
        let bytes = batch.encode(Encoding::Jsonl);
        let lines = bytes.split(|byte| *byte == b'\n');
        for (index, ((id, position), line)) in
            batch.ids().into_iter().zip(batch.position()..).zip(lines).enumerate()
        {
            if self.kept.len() < self.capacity {
                let line = String::from_utf8_lossy(line).into_owned();
                self.kept.push(Captured { id, position, line });
            } else {
                let reason = format!("no room: `capacity` is {}", self.capacity);
                outcomes.rejected(index, reason);
            }
        }
        Ok(outcomes)
    }
}

impl wasink_guest::Capture for Capture {
    fn entries(&self) -> Vec<Captured> {
        self.kept.clone()
    }

    fn reset(&mut self) {
        self.kept.clear();
    }
}

wasink_guest::export_sink!(Capture, capture);

#[cfg(test)]
mod tests {
    use wasink_guest::{Capture as _, Outcome, Stream, testing};

    use super::*;

    fn sink(settings: &str) -> Capture {
        wasink_guest::open(&testing::context(settings)).unwrap()
    }

    #[test]
    fn records_are_kept_with_id_position_and_line_in_the_order_of_arrival() {
        let mut sink = sink("{}");
        for position in [5, 7] {
            let batch = testing::batch_at(position, Stream::Usage, &["{\"a\":1}", "{\"b\":2}"]);
            let ids = batch.ids();
            sink.write(&batch).unwrap();
            let kept = sink.entries();
            let last = kept.last().unwrap();
            assert_eq!((last.position, last.line.as_str()), (position + 1, "{\"b\":2}"));
            assert_eq!(last.id, ids[1]);
        }
        let positions: Vec<u64> = sink.entries().iter().map(|kept| kept.position).collect();
        assert_eq!(positions, [5, 6, 7, 8]);
    }

    #[test]
    fn what_it_hands_out_is_a_copy_and_a_reset_empties_it() {
        let mut sink = sink("{}");
        sink.write(&testing::batch(Stream::Control, &["{}"])).unwrap();
        sink.entries().clear();
        assert_eq!(sink.entries().len(), 1);
        sink.reset();
        assert_eq!(sink.entries(), []);
    }

    #[test]
    fn what_is_past_the_capacity_is_rejected_and_a_reset_makes_room() {
        let mut sink = sink(r#"{"capacity":2}"#);
        let outcomes = sink.write(&testing::batch(Stream::Usage, &["{}", "{}", "{}"])).unwrap();
        let exceptions = outcomes.exceptions();
        assert_eq!(exceptions.len(), 1);
        assert_eq!(exceptions[0].index, 2);
        assert_eq!(exceptions[0].outcome, Outcome::Rejected("no room: `capacity` is 2".into()));
        sink.reset();
        let outcomes = sink.write(&testing::batch(Stream::Usage, &["{}"])).unwrap();
        assert_eq!(outcomes, Outcomes::delivered());
    }
}
