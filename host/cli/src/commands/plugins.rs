//! `wasink plugins`.

mod author;
mod bench;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tempfile::TempDir;
use wasink::config::{Config, PluginName, SinkConfig, asked};
use wasink::plugin::PluginError;
use wasink::{PluginFile, PluginReport, WasmPlugins, World};
use wasink_kit::Trial;

use super::tell;
use crate::daemon::{Daemon, DaemonError};
use crate::exit::{Exit, Failure};
use crate::flags::{PluginKind, PluginSubject, Plugins};
use crate::out;
use crate::screen::Screen;
use crate::{show, state};

mod registry;

pub(super) fn run(config: &Config, command: &Plugins) -> Result<Exit, Failure> {
    let plugins = || wasink::plugins(config, Arc::new(Screen::new(config.log)));
    match command {
        Plugins::New(new) => author::new(new).map(|()| Exit::Success),
        Plugins::Build(build) => author::build(build).map(|()| Exit::Success),
        Plugins::List { json } => {
            let plugins = plugins()?;
            let in_charge = in_charge(config);
            let (mut reports, mut oddities) = (Vec::new(), Vec::new());
            for world in World::ALL {
                let (files, odd) = plugins.list_of(world);
                let report = |file: PluginFile| (plugins.report_of(world, &file.name), file);
                reports.extend(files.into_iter().map(report));
                oddities.extend(odd);
            }
            if json.json {
                let object = |report: &_, file: &PluginFile| {
                    let mut object = match report {
                        Ok(report) => json!(report),
                        Err(error) => json!({
                            "name": file.name,
                            "source": file.source,
                            "world": file.world,
                            "error": PluginError::to_string(error),
                        }),
                    };
                    if let (Some(answer), Some(object)) = (&in_charge, object.as_object_mut()) {
                        let found = state::in_charge(answer, file);
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
        Plugins::Inspect { name, kind, json } => {
            let (report, also) = inspected(&plugins()?, name, *kind)?;
            // The ends of feeds are not in the configuration.
            let is_sink = report.inspection.world == World::Sink;
            let sinks = config.sinks.iter().filter(|sink| is_sink && sink.plugin == report.name);
            let sinks: Vec<_> = if is_file(name) { Vec::new() } else { sinks.collect() };
            let asks = report.description.as_ref().map_or(&[][..], |about| &about.asks);
            let text = if json.json {
                let mut object = json!(report);
                let asked =
                    |sink: &&SinkConfig| json!({ "name": sink.name, "asks": asked(asks, sink) });
                if let Some(object) = object.as_object_mut() {
                    object.insert("sinks".to_owned(), sinks.iter().map(asked).collect());
                    object.insert("also".to_owned(), json!(also));
                }
                show::json(&object)
            } else {
                let sinks: Vec<_> = sinks.iter().map(|sink| (*sink, asked(asks, sink))).collect();
                show::plugin_report(&report, &sinks, &also)
            };
            out::print(&text)?;
            Ok(Exit::Success)
        }
        Plugins::Test { subject, records, rounds, junit, json } => {
            let name = named(subject)?;
            let (mut trial, scratch) = trial(config, &plugins()?, &name, subject)?;
            (trial.records, trial.rounds) = (*records, *rounds);
            let mut printed = Ok(());
            let report = wasink_kit::try_out(&trial, &mut |finding| {
                if !json.json && printed.is_ok() {
                    printed = out::print(&finding.text());
                }
            });
            let mut report = report.with_context(|| format!("`{name}` can't be tried"))?;
            printed?;
            if scratch.is_some() {
                report.file.clone_from(&name);
            }
            if let Some(path) = junit {
                let xml = report.junit().map_err(|error| anyhow!(error))?;
                let written = std::fs::write(path, xml);
                written.with_context(|| format!("the report `{}`", path.display()))?;
            }
            if json.json {
                out::print(&show::json(&json!(report)))?;
            } else {
                out::print(&report.summary())?;
            }
            if report.is_conforming() && !report.was_opened() {
                out::complain(
                    "it was not opened, so most clauses were not tried: give it what it needs by \
                     `--settings` and `--grants`",
                );
                return Ok(Exit::Failure);
            }
            Ok(if report.is_conforming() { Exit::Success } else { Exit::Failure })
        }
        Plugins::Bench { subject, seconds, json } => {
            let name = named(subject)?;
            let (trial, _scratch) = trial(config, &plugins()?, &name, subject)?;
            bench::run(trial, &name, *seconds, json.json)
        }
        Plugins::Pull(flags) => registry::pull(config, &plugins()?, flags),
        Plugins::Push(flags) => registry::push(config, &plugins()?, flags),
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

/// The plugin that is meant: where none is named, what the project in this folder builds.
fn named(subject: &PluginSubject) -> Result<String, Failure> {
    subject.name.clone().map_or_else(author::component, Ok)
}

/// What is to be tried, and the directory that it is in where it comes with the program: it is a file
/// for as long as it is tried.
fn trial(
    config: &Config,
    plugins: &WasmPlugins,
    name: &str,
    subject: &PluginSubject,
) -> Result<(Trial, Option<TempDir>), Failure> {
    let PluginSubject { name: _, kind, settings, grants, feed_sink } = subject;
    let (file, scratch) = if is_file(name) {
        (Path::new(name).to_owned(), None)
    } else {
        let (report, _) = inspected(plugins, name, *kind)?;
        let scratch = tempfile::tempdir()?;
        let file = scratch.path().join(format!("{name}.wasm"));
        std::fs::write(&file, plugins.component(report.inspection.world, &report.name)?)?;
        (file, Some(scratch))
    };
    let mut trial = Trial::new(file);
    trial.settings = settings.clone().unwrap_or_default();
    trial.grants = grants.clone().unwrap_or_default();
    trial.feed_sink.clone_from(feed_sink);
    trial.limits = config.limits;
    Ok((trial, scratch))
}

/// The plugin that is meant, and of which other kinds there is one of its name.
fn inspected(
    plugins: &WasmPlugins,
    text: &str,
    kind: Option<PluginKind>,
) -> Result<(PluginReport, Vec<World>), Failure> {
    if is_file(text) {
        if kind.is_some() {
            return Err(
                anyhow!("`--kind` goes with a name; the file `{text}` is of one kind").into()
            );
        }
        return Ok((plugins.report_file(Path::new(text))?, Vec::new()));
    }
    let mut worlds = Vec::new();
    let mut known = BTreeSet::new();
    for world in World::ALL {
        let names = plugins.list_of(world).0.into_iter().map(|file| file.name);
        let names: Vec<_> = names.collect();
        worlds.extend(names.iter().any(|name| name.as_str() == text).then_some(world));
        if kind.is_none_or(|kind| World::from(kind) == world) {
            known.extend(names);
        }
    }
    let unknown =
        || PluginError::Unknown { name: text.to_owned(), known: known.into_iter().collect() };
    let wanted = kind.map(World::from);
    let found = worlds.iter().find(|world| wanted.is_none_or(|wanted| wanted == **world));
    let (Some(world), Ok(name)) = (found.copied(), PluginName::new(text)) else {
        return Err(unknown().into());
    };
    let report = plugins.report_of(world, &name)?;
    worlds.retain(|other| *other != world);
    Ok((report, worlds))
}

/// Whether a file is meant, not a name.
fn is_file(text: &str) -> bool {
    text.contains('/') || text.ends_with(".wasm")
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
    if !is_file(to) {
        return Ok(json!(to));
    }
    let path = std::path::absolute(to).with_context(|| format!("the file `{to}`"))?;
    let path = path.to_str().with_context(|| format!("the path of `{to}` is not UTF-8"))?;
    Ok(json!(path))
}
