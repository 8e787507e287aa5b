//! Describes itself by the time and by chance. It gets the same time and the same chance each time,
//! so it tells the same.

use std::time::Instant;

use wasink_guest::prelude::*;
use wasink_guest::wasip2::random::random::get_random_u64;
use wasink_guest::wasip2::random::{insecure, insecure_seed};

/// The plugin.
#[derive(Debug)]
pub struct Misbehaving;

impl Sink for Misbehaving {
    type Settings = NoSettings;

    fn describe() -> Description {
        let summary = format!(
            "{:?} {:?} {} {} {:?} {:?}",
            wasink_guest::now(),
            Instant::now(),
            get_random_u64(),
            insecure::get_insecure_random_u64(),
            insecure_seed::insecure_seed(),
            std::collections::HashMap::from([(1, 2), (3, 4), (5, 6), (7, 8)]),
        );
        let stream =
            if get_random_u64().is_multiple_of(2) { Stream::Control } else { Stream::Events };
        Description::new(format!("0.0.{}", get_random_u64()), summary)
            .streams(&[Stream::Usage, stream])
    }

    fn open(_: NoSettings, _: &Context) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, _: &Batch) -> Result<Outcomes, Failure> {
        Ok(Outcomes::delivered())
    }
}

export_sink!(Misbehaving);
