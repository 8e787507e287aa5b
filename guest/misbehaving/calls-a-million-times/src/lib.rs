//! Calls functions of the host a million times in one call of its own. It may, for as long as its
//! call may take.

use wasink_guest::prelude::*;

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "calls the host a million times").all_streams()
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        for _ in 0..300_000 {
            std::hint::black_box((batch.len(), batch.position(), batch.stream()));
        }
        for _ in 0..1_000 {
            let all = [
                Encoding::Jsonl,
                Encoding::JsonArray,
                Encoding::CloudeventsBatch,
                Encoding::CloudeventsJsonl,
            ];
            for encoding in all {
                std::hint::black_box(batch.encode(encoding));
            }
            drop((batch.ids(), batch.usage(), batch.usage_columns()));
            std::hint::black_box(wasink_guest::secret("none"));
        }
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
