//! `wasink audit`.

use anyhow::Context as _;
use serde_json::json;
use wasink::config::Config;

use super::journals;
use crate::exit::{Exit, Failure};
use crate::out;
use crate::show;

pub(super) fn run(config: &Config, as_json: bool) -> Result<Exit, Failure> {
    let mut streams = serde_json::Map::new();
    let mut whole = true;
    for (stream, journal) in journals::open(config, None)? {
        let place = || format!("can't read the journal of `{stream}`");
        let inspection = journal.inspect().with_context(place)?;
        let differences = journal.audit().with_context(place)?;
        whole &= differences.is_empty();
        let mut sinks = serde_json::Map::new();
        for (sink, lane) in &inspection.lanes {
            let Some(state) = &lane.state else { continue };
            let fates = state.fates;
            let accepted = inspection.end - state.origin;
            let pending = accepted - fates.sum().min(accepted);
            if !as_json {
                out::print(&format!(
                    "{stream:8} {sink:12} accepted {} = delivered {} + duplicate {} + rejected {} \
                     + expired {} + dropped {} + damaged {} + pending {}\n",
                    show::number(accepted),
                    show::number(fates.delivered),
                    show::number(fates.duplicate),
                    show::number(fates.rejected),
                    show::number(fates.expired),
                    show::number(fates.dropped),
                    show::number(fates.damaged),
                    show::number(pending),
                ))?;
            }
            sinks.insert(
                sink.clone(),
                json!({
                    "accepted": accepted,
                    "pending": pending,
                    "fates": fates,
                    "tenants": state.tenants,
                    "dead_letters": lane.dead,
                }),
            );
        }
        if !as_json {
            for difference in &differences {
                let tenant = difference.tenant.as_deref().map_or(String::new(), |tenant| {
                    format!(", tenant `{}`", show::printable(tenant))
                });
                out::complain(&format!(
                    "{stream}, sink {}{tenant}: {}: {} should be {}",
                    difference.sink, difference.what, difference.found, difference.expected,
                ));
            }
        }
        streams.insert(
            stream.to_string(),
            json!({ "sinks": sinks, "accepted": inspection.accepted, "differences": differences }),
        );
    }
    if as_json {
        out::print(&show::json(&json!({ "streams": streams })))?;
    } else if whole {
        out::print("everything adds up\n")?;
    }
    Ok(if whole { Exit::Success } else { Exit::Failure })
}
