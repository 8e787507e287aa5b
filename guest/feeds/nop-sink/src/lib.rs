//! Feed sink `nop`: keeps no event, and gives none a place. It stands in where nothing is published:
//! whoever pumps events into it is told that it can't, so that none of them passes for published.

use wasink_guest::{Context, ControlEvent, Description, Error, Failure, FeedSink, NoSettings};

/// The sink.
#[derive(Debug)]
pub struct Nop;

impl FeedSink for Nop {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "keeps no control event")
            .settings_schema(NoSettings::SCHEMA)
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn append(&mut self, _: ControlEvent) -> Result<u64, Failure> {
        Ok(0)
    }
}

wasink_guest::export_feed_sink!(Nop);

#[cfg(test)]
mod tests {
    use wasink_guest::testing;

    use super::*;

    #[test]
    fn an_event_gets_no_place() {
        let mut sink: Nop = wasink_guest::open_feed_sink(&testing::context("{}")).unwrap();
        let event = testing::control_event("evt_1", "tenant.created");
        assert_eq!(sink.append(event), Ok(0));
    }
}
