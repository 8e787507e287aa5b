//! `wasink plugins`.

use std::sync::Arc;

use serde_json::json;
use wasink::config::{Config, PluginName};
use wasink::plugin::{PluginError, Plugins as _};

use crate::exit::{Exit, Failure};
use crate::flags::Plugins;
use crate::out;
use crate::screen::Screen;
use crate::show;

pub(super) fn run(config: &Config, command: &Plugins) -> Result<Exit, Failure> {
    let plugins = wasink::plugins(config, Arc::new(Screen::new(config.log)))?;
    match command {
        Plugins::List { json } => {
            let (files, oddities) = plugins.list();
            let reports: Vec<_> =
                files.into_iter().map(|file| (plugins.report(&file.name), file)).collect();
            if json.json {
                let plugins: Vec<_> = reports
                    .iter()
                    .map(|(report, file)| match report {
                        Ok(report) => json!(report),
                        Err(error) => json!({
                            "name": file.name,
                            "source": file.source,
                            "error": error.to_string(),
                        }),
                    })
                    .collect();
                out::print(&format!("{:#}", json!({ "plugins": plugins, "oddities": oddities })))?;
            } else {
                out::print(&show::plugin_table(&reports))?;
                for oddity in oddities {
                    out::complain(&format!("passed over {oddity}"));
                }
            }
            // One bad file never keeps the others from being listed, or used.
            Ok(Exit::Success)
        }
        Plugins::Inspect { name, json } => {
            let unknown = || PluginError::Unknown { name: name.clone(), known: plugins.names() };
            let name = PluginName::new(name).map_err(|_| unknown())?;
            let report = plugins.report(&name)?;
            let text = if json.json {
                format!("{:#}", json!(report))
            } else {
                show::plugin_report(&report)
            };
            out::print(&text)?;
            Ok(Exit::Success)
        }
    }
}
