//! `wasink check`.

use std::sync::Arc;

use serde_json::json;
use wasink::config::{Config, PluginConfig};

use crate::exit::{Exit, Failure};
use crate::out;
use crate::screen::Screen;
use crate::show;

pub(super) fn run(config: Result<Config, Failure>, json: bool) -> Result<Exit, Failure> {
    let checked = config.and_then(|config| {
        let screen = Arc::new(Screen::new(config.log));
        wasink::check(&config, screen)?;
        Ok(config)
    });
    match checked {
        Ok(config) if json => {
            let sinks: Vec<_> = config.sinks.iter().map(show::sink_json).collect();
            let ends = |ends: Vec<&PluginConfig>| -> Vec<_> {
                let end = |end: &&PluginConfig| json!({ "name": end.name, "plugin": end.plugin });
                ends.iter().map(end).collect()
            };
            out::print(&show::json_line(&json!({
                "ok": true,
                "sinks": sinks,
                "outboxes": ends(config.outboxes.iter().map(|of| &of.instance).collect()),
                "feeds": ends(config.feeds.iter().map(|of| &of.instance).collect()),
            })))?;
            Ok(Exit::Success)
        }
        Ok(config) => {
            let sinks: String = config.sinks.iter().map(show::sink_line).collect();
            let outboxes = config.outboxes.iter().map(|of| &of.instance);
            let ends = outboxes.chain(config.feeds.iter().map(|of| &of.instance));
            let ends: String = ends
                .map(|end| {
                    format!("{:12} {:12} {}\n", end.name, end.plugin.to_string(), end.role.as_str())
                })
                .collect();
            out::print(&format!("{sinks}{ends}the configuration is good"))?;
            Ok(Exit::Success)
        }
        Err(failure) if json => {
            let text = failure.to_string();
            let errors: Vec<_> = text.lines().collect();
            out::print(&show::json_line(&json!({ "ok": false, "errors": errors })))?;
            Ok(failure.exit)
        }
        Err(failure) => Err(failure),
    }
}
