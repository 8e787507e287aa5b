//! `wasink check`.

use std::sync::Arc;

use serde_json::json;
use wasink::config::Config;

use crate::exit::{Exit, Failure};
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
            println!("{}", json!({ "ok": true, "sinks": sinks }));
            Ok(Exit::Success)
        }
        Ok(config) => {
            for sink in &config.sinks {
                println!("{}", show::sink_line(sink));
            }
            println!("the configuration is good");
            Ok(Exit::Success)
        }
        Err(failure) if json => {
            let text = failure.to_string();
            let errors: Vec<_> = text.lines().collect();
            println!("{}", json!({ "ok": false, "errors": errors }));
            Ok(failure.exit)
        }
        Err(failure) => Err(failure),
    }
}
