//! Feed source `nop`: never has an event. It stands in where a node follows no feed.

use std::time::Duration;

use wasink_guest::{Context, ControlEvent, Description, Error, Failure, FeedSource, NoSettings};

/// The source.
#[derive(Debug)]
pub struct Nop;

impl FeedSource for Nop {
    type Settings = NoSettings;

    fn describe() -> Description {
        Description::new(env!("CARGO_PKG_VERSION"), "never has a control event")
            .settings_schema(NoSettings::SCHEMA)
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn poll(&mut self, _: u64, _: u32, _: Duration) -> Result<Vec<ControlEvent>, Failure> {
        Ok(Vec::new())
    }
}

wasink_guest::export_feed_source!(Nop);

#[cfg(test)]
mod tests {
    use wasink_guest::testing;

    use super::*;

    #[test]
    fn there_is_never_an_event() {
        let mut source: Nop = wasink_guest::open_feed_source(&testing::context("{}")).unwrap();
        assert_eq!(source.poll(0, 10, Duration::ZERO), Ok(Vec::new()));
    }
}
