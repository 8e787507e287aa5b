//! `wasink plugins bench`.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use wasink::World;
use wasink_kit::{Bench, Trial};

use crate::exit::{Exit, Failure};
use crate::{out, show};

/// What a plugin is compared with.
const NOP: &str = "nop";

pub(super) fn run(trial: Trial, name: &str, seconds: u64, json: bool) -> Result<Exit, Failure> {
    // Those that come with the program: one in a plugin directory may do whatever it likes.
    let bundled = [
        (World::Sink, wasink_bundled::PLUGINS),
        (World::FeedSource, wasink_bundled::FEED_SOURCES),
        (World::FeedSink, wasink_bundled::FEED_SINKS),
    ];
    let nop = |(world, plugins): (World, &[(&str, &'static [u8])])| {
        let nop = plugins.iter().find(|(name, _)| *name == NOP);
        nop.map(|(_, bytes)| (world, *bytes))
    };
    let mut bench = Bench::new(trial, bundled.into_iter().filter_map(nop).collect());
    bench.time = Duration::from_secs(seconds);
    let measured = wasink_kit::measure(&bench);
    let mut report = measured.with_context(|| format!("`{name}` can't be measured"))?;
    // Where it was for the time being is nobody's business.
    name.clone_into(&mut report.file);
    out::print(&if json { show::json(&json!(report)) } else { report.text() })?;
    let failed = report.costs.iter().any(|cost| cost.failed.is_some());
    Ok(if failed { Exit::Failure } else { Exit::Success })
}
