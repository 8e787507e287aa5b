//! `wasink plugins`.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use wasink::PluginFile;
use wasink::config::{Config, PluginName, SinkConfig, asked};
use wasink::plugin::{PluginError, Plugins as _};

use super::tell;
use crate::daemon::{Daemon, DaemonError};
use crate::exit::{Exit, Failure};
use crate::flags::Plugins;
use crate::out;
use crate::screen::Screen;
use crate::{show, state};

pub(super) fn run(config: &Config, command: &Plugins) -> Result<Exit, Failure> {
    let plugins = || wasink::plugins(config, Arc::new(Screen::new(config.log)));
    match command {
        Plugins::List { json } => {
            let plugins = plugins()?;
            let in_charge = in_charge(config);
            let (files, oddities) = plugins.list();
            let reports: Vec<_> =
                files.into_iter().map(|file| (plugins.report(&file.name), file)).collect();
            if json.json {
                let object = |report: &_, file: &PluginFile| {
                    let mut object = match report {
                        Ok(report) => json!(report),
                        Err(error) => json!({
                            "name": file.name,
                            "source": file.source,
                            "error": PluginError::to_string(error),
                        }),
                    };
                    if let (Some(answer), Some(object)) = (&in_charge, object.as_object_mut()) {
                        let found = state::in_charge(answer, file.name.as_str());
                        object.insert("in_charge".to_owned(), json!(found));
                    }
                    object
                };
                let plugins: Vec<_> =
                    reports.iter().map(|(report, file)| object(report, file)).collect();
                out::print(&show::json(&json!({ "plugins": plugins, "oddities": oddities })))?;
            } else {
                out::print(&show::plugin_table(&reports, in_charge.as_ref()))?;
                for oddity in oddities {
                    out::complain(&format!("passed over {oddity}"));
                }
            }
            // One bad file never keeps the others from being listed, or used.
            Ok(Exit::Success)
        }
        Plugins::Inspect { name, json } => {
            let plugins = plugins()?;
            let unknown = || PluginError::Unknown { name: name.clone(), known: plugins.names() };
            let name = PluginName::new(name).map_err(|_| unknown())?;
            let report = plugins.report(&name)?;
            let sinks: Vec<_> = config.sinks.iter().filter(|sink| sink.plugin == name).collect();
            let asks = report.description.as_ref().map_or(&[][..], |about| &about.asks);
            let text = if json.json {
                let mut object = json!(report);
                let asked =
                    |sink: &&SinkConfig| json!({ "name": sink.name, "asks": asked(asks, sink) });
                if let Some(object) = object.as_object_mut() {
                    object.insert("sinks".to_owned(), sinks.iter().map(asked).collect());
                }
                show::json(&object)
            } else {
                let sinks: Vec<_> = sinks.iter().map(|sink| (*sink, asked(asks, sink))).collect();
                show::plugin_report(&report, &sinks)
            };
            out::print(&text)?;
            Ok(Exit::Success)
        }
        Plugins::Swap { name, to, json } => {
            let body = json!({ "to": target(to.as_deref())? });
            let answer = Daemon::of(config)?.post(&format!("/v1/plugins/{name}/swap"), Some(&body));
            tell(answer, json.json, state::plugin)
        }
        Plugins::Rollback { name, json } => {
            let answer = Daemon::of(config)?.post(&format!("/v1/plugins/{name}/rollback"), None);
            tell(answer, json.json, state::plugin)
        }
        Plugins::History { name, limit, json } => {
            let path = match name {
                Some(name) => format!("/v1/plugins/{name}/history?limit={limit}"),
                None => format!("/v1/history?limit={limit}"),
            };
            tell(Daemon::of(config)?.get(&path), json.json, state::history)
        }
    }
}

/// What a running process has in charge; `None` where there is none, or it can't tell.
fn in_charge(config: &Config) -> Option<Value> {
    match Daemon::of(config).and_then(|daemon| daemon.get("/v1/plugins")) {
        Ok(answer) => Some(answer),
        Err(DaemonError::Refused(_)) => None,
        Err(error) => {
            // The files are there all the same.
            if !error.is_absent() {
                out::complain(&error.to_string());
            }
            None
        }
    }
}

/// Which version is meant, as a running process is told: a file by its absolute path, since that
/// process has another working directory.
pub(super) fn target(to: Option<&str>) -> Result<Value, Failure> {
    let Some(to) = to else { return Ok(Value::Null) };
    if !to.contains('/') && !to.ends_with(".wasm") {
        return Ok(json!(to));
    }
    let path = std::path::absolute(to).with_context(|| format!("the file `{to}`"))?;
    let path = path.to_str().with_context(|| format!("the path of `{to}` is not UTF-8"))?;
    Ok(json!(path))
}
