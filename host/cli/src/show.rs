//! Text for people, and JSON for programs, of what the library knows.

use std::time::Duration;

use serde_json::{Value, json};
use wasink::config::{Asked, SinkConfig};
use wasink::logger::is_acted_on;
pub(crate) use wasink::logger::printable;
use wasink::plugin::{Acknowledges, Need, PluginError};
use wasink::{PluginFile, PluginReport, PluginSource, SinkState, SinkStatus, Status, World};

use crate::exit::Exit;
use crate::input::Counts;
use crate::state;

/// A number with its thousands parted.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many lines.
pub(crate) fn lines(count: u64) -> String {
    format!("{} {}", number(count), if count == 1 { "line" } else { "lines" })
}

/// Below so many lines, most of the time is the start and the end.
const WORTH_A_RATE: u64 = 1000;

/// JSON for programs, which a terminal does not act on either: JSON itself leaves some control
/// characters in its strings as they are.
pub(crate) fn json(value: &Value) -> String {
    escape(&format!("{value:#}"))
}

/// The same on one line.
pub(crate) fn json_line(value: &Value) -> String {
    escape(&value.to_string()) + "\n"
}

fn escape(json: &str) -> String {
    let escaped = |c: char| match c {
        c if is_acted_on(c) && c != '\n' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// One line of a sink in the configuration.
pub(crate) fn sink_line(sink: &SinkConfig) -> String {
    let streams: Vec<_> = sink.streams.iter().map(|stream| stream.as_str()).collect();
    format!("{:12} {:12} {}\n", sink.name, sink.plugin.to_string(), streams.join(", "))
}

pub(crate) fn sink_json(sink: &SinkConfig) -> Value {
    json!({ "name": sink.name, "plugin": sink.plugin, "streams": sink.streams })
}

/// One line of a sink at work.
pub(crate) fn sink_progress(sink: &SinkStatus) -> String {
    let lanes = || sink.lanes.iter();
    let delivered: u64 = lanes().map(|lane| lane.delivered + lane.duplicate).sum();
    let refused: u64 = lanes().map(|lane| lane.rejected + lane.expired).sum();
    let pending: u64 = lanes().map(|lane| lane.pending).sum();
    let mut text = format!("  {:12} {} delivered", sink.name, number(delivered));
    if pending > 0 {
        text.push_str(&format!(", {} pending", number(pending)));
    }
    if refused > 0 {
        text.push_str(&format!(", {} refused", number(refused)));
    }
    match &sink.state {
        SinkState::Retrying { failures, reason } => {
            text.push_str(&format!("; trying again ({failures}): {}", printable(reason)));
        }
        SinkState::Open { failures, reason } => {
            text.push_str(&format!("; failing ({failures}): {}", printable(reason)));
        }
        SinkState::Held { reason } => {
            text.push_str(&format!("; held: {}", printable(reason)));
        }
        SinkState::Degraded { reason } => {
            text.push_str(&format!("; left out: {}", printable(reason)));
        }
        SinkState::Working | SinkState::Closed => {}
    }
    text
}

/// What there is to say once all is over.
pub(crate) struct Summary<'a> {
    pub(crate) status: &'a Status,
    pub(crate) counts: &'a Counts,
    pub(crate) elapsed: Duration,
    pub(crate) sinks: &'a [SinkConfig],
}

impl Summary<'_> {
    pub(crate) fn text(&self) -> String {
        let read = self.counts.read();
        let seconds = self.elapsed.as_secs_f64();
        let mut text = format!("{} read in {seconds:.2} s", lines(read));
        if read >= WORTH_A_RATE {
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = read as f64 / seconds.max(0.001);
            text.push_str(&format!(" ({rate:.0}/s)"));
        }
        text.push_str(&format!(", {} refused\n", number(self.counts.refused())));
        for sink in &self.status.sinks {
            let busy = sink.lanes.iter().any(|lane| {
                lane.delivered + lane.duplicate + lane.rejected + lane.expired + lane.pending > 0
            });
            let at_work = matches!(sink.state, SinkState::Working | SinkState::Closed);
            if busy || !at_work {
                text.push_str(&sink_progress(sink));
                if let Some(place) = self.place(&sink.name)
                    && !matches!(sink.state, SinkState::Degraded { .. })
                {
                    text.push_str(&format!(" -> {place}"));
                }
                text.push('\n');
            }
        }
        text
    }

    /// Where a sink's records are, where it is a place that people can look at.
    fn place(&self, name: &str) -> Option<String> {
        let sink = self.sinks.iter().find(|sink| sink.name == name)?;
        if sink.plugin.to_string() != "file" {
            return None;
        }
        let path = sink.settings.get("path").and_then(Value::as_str).unwrap_or("ledger.jsonl");
        Some(sink.grants.directory.as_ref()?.join(path).display().to_string())
    }

    pub(crate) fn json(&self, exit: Exit) -> Value {
        json!({
            "exit": exit as u8,
            "lines": { "read": self.counts.read(), "refused": self.counts.refused() },
            "seconds": self.elapsed.as_secs_f64(),
            "status": self.status,
        })
    }
}

type Reported = (Result<PluginReport, PluginError>, PluginFile);

/// All plugins, a line each, with what of them a running process has in charge where there is one.
pub(crate) fn plugin_table(reports: &[Reported], in_charge: Option<&Value>) -> String {
    let mut text = String::new();
    for (report, file) in reports {
        let name = file.name.to_string();
        let plugin = in_charge.and_then(|answer| state::in_charge(answer, file));
        let charge = in_charge.map_or_else(String::new, |_| {
            format!("{:24} ", plugin.map_or_else(|| "-".to_owned(), state::charge))
        });
        let world = file.world.to_string();
        let row = |version: &str, said: &str| {
            let (version, said) = (printable(version), printable(said));
            format!("{name:16} {charge}{version:8} {world:12} {said}\n")
        };
        match report {
            Ok(report) => {
                text.push_str(&match &report.description {
                    Some(about) => row(&about.version, &about.summary),
                    None => row("-", &misplaced(report.inspection.world)),
                });
                text.push_str(&format!("{:16} {}\n", "", source(&file.source)));
            }
            Err(error) => text.push_str(&row("-", &format!("unusable: {error}"))),
        }
        let digest = report.as_ref().map_or("", |report| report.digest.as_str());
        if let Some(other) = plugin.and_then(|plugin| state::other(plugin, digest)) {
            text.push_str(&format!("{:16} {other}\n", ""));
        }
    }
    text
}

/// What is to be done with a plugin of this sort that is where others are looked for.
fn misplaced(world: World) -> String {
    let place = world.folder().map_or_else(
        || "the plugin directory itself".to_owned(),
        |folder| format!("the folder `{folder}` of the plugin directory"),
    );
    format!("unusable: it is a {world}; put it into {place}")
}

fn source(source: &PluginSource) -> String {
    source.path().map_or_else(|| "bundled".to_owned(), |path| path.display().to_string())
}

/// All that is known of a plugin.
pub(crate) fn plugin_report(
    report: &PluginReport,
    sinks: &[(&SinkConfig, Vec<Asked>)],
    also: &[World],
) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        text.push_str(&format!("{key:18} {}\n", printable(value)));
    };
    line("name", report.name.as_ref());
    line("source", &source(&report.source));
    line("size", &format!("{} bytes", number(report.bytes)));
    line("digest", &report.digest);
    line("world", &format!("{}, contract {}", report.inspection.world, report.inspection.contract));
    if !also.is_empty() {
        let also: Vec<_> = also.iter().map(World::to_string).collect();
        line("also", &format!("{}, of the same name (`--kind` shows it)", also.join(" and ")));
    }
    let world = report.inspection.world;
    match &report.description {
        Some(about) => {
            line("version", &about.version);
            line("summary", &about.summary);
        }
        None => line("summary", &misplaced(world)),
    }
    if world == World::FeedSource {
        let acks = report.inspection.exports.iter().any(|name| name.starts_with(ACKS));
        line("wants acks", if acks { "yes" } else { "no" });
    }
    if let Some(about) = report.description.as_ref().filter(|_| world == World::Sink) {
        let streams: Vec<_> = about.streams.iter().map(|stream| stream.as_str()).collect();
        line("streams", &streams.join(", "));
        line(
            "acknowledges",
            match about.acknowledges {
                Acknowledges::OnWrite => "on write",
                Acknowledges::OnFlush => "on flush",
            },
        );
        line("dedup window", &window(about.dedup_window));
        line("acceptance window", &window(about.acceptance_window));
    }
    if let Some(about) = report.description.as_ref().filter(|_| world == World::FeedSink) {
        line("dedup window", &window(about.dedup_window));
    }
    for (index, import) in report.inspection.imports.iter().enumerate() {
        let grant = grant_for(import).map_or(String::new(), |grant| format!("  ({grant})"));
        line(if index == 0 { "imports" } else { "" }, &format!("{import}{grant}"));
    }
    let asks = report.description.as_ref().map_or(&[][..], |about| &about.asks);
    if asks.is_empty() {
        line("asks for", "nothing");
    }
    for (index, ask) in asks.iter().enumerate() {
        let must = if ask.required { "required" } else { "optional" };
        let text = format!("{}: {} ({must})", need(&ask.need), ask.reason);
        line(if index == 0 { "asks for" } else { "" }, &text);
    }
    for (sink, asked) in sinks {
        line("sink", &sink.name);
        for asked in asked {
            let state = match &asked.write {
                None => "granted".to_owned(),
                Some(write) => format!("not granted; `{write}` in its `grants` grants it"),
            };
            line("", &format!("{}: {state}", asked.what));
        }
    }
    let schema = report.description.as_ref().and_then(|about| about.settings_schema.as_ref());
    match schema {
        Some(schema) => text.push_str(&format!("settings schema\n{}\n", json(schema))),
        None => line("settings schema", "none"),
    }
    text
}

/// What a source exports that is told what was applied.
const ACKS: &str = "wasink:plugin/acks@";

fn window(window: Option<Duration>) -> String {
    window.map_or_else(|| "not stated".to_owned(), |window| format!("{window:?}"))
}

/// The key of the grants without which an interface is there, but leads nowhere.
fn grant_for(import: &str) -> Option<&'static str> {
    let grants = [
        ("wasi:filesystem/", "grants.directory"),
        ("wasi:http/outgoing-handler", "grants.http"),
        ("wasi:sockets/tcp@", "grants.tcp"),
        ("wasi:sockets/ip-name-lookup", "grants.tcp"),
        ("wasi:cli/environment", "grants.environment"),
        ("wasink:plugin/secrets", "grants.secrets"),
    ];
    grants.into_iter().find(|(name, _)| import.starts_with(name)).map(|(_, grant)| grant)
}

/// What a plugin asks for, before its settings are known.
fn need(need: &Need) -> String {
    let of = |what: &str, text: &str| match text.strip_prefix('/') {
        Some(_) => format!("{what} (in its setting {text})"),
        None => format!("{what} {text}"),
    };
    match need {
        Need::Directory => "a data directory".to_owned(),
        Need::Http(url) => of("requests to", url),
        Need::Tcp(target) => of("connections to", target),
        Need::Secret(name) => of("the secret", name),
        Need::Environment(name) => of("the variable", name),
        Need::Stderr => "the standard error".to_owned(),
        Need::Log => "as many log lines as it likes".to_owned(),
        _ => "something that this version does not know".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{is_acted_on, json as pretty, json_line};

    #[test]
    fn json_has_no_control_characters_and_is_the_same_value() {
        let value =
            json!({ "a\u{9b}": ["\u{1b}[2J\u{7f}\u{85}\n", 1, "ünïcode", "\u{202e}x\u{2028}"] });
        assert_eq!(json_line(&value).lines().count(), 1);
        let text = pretty(&value);
        assert!(!text.contains(|c: char| is_acted_on(c) && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
