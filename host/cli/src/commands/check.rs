//! `wasink check`.

use std::sync::Arc;

use serde_json::json;
use wasink::config::Config;

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
            out::print(&show::json_line(&json!({ "ok": true, "sinks": sinks })))?;
            Ok(Exit::Success)
        }
        Ok(config) => {
            let sinks: String = config.sinks.iter().map(show::sink_line).collect();
            out::print(&format!("{sinks}the configuration is good"))?;
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
