//! Text for people of what a running process answers. It may be a later wasink: what is not known
//! here is passed over.

use std::time::Duration;

use serde_json::Value;
use wasink::{PluginFile, World};

use crate::show::{number, printable};

/// So much of a digest tells versions apart.
const SHORT: usize = 12;

/// A member's text, as it can be printed; empty where there is none.
pub(crate) fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).map(printable).unwrap_or_default()
}

/// A member's number, 0 where there is none.
pub(crate) fn count(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

/// A member's elements, none where it is no list.
pub(crate) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The element of a list whose `key` is this.
fn find<'a>(list: &'a [Value], key: &str, is: &Value) -> Option<&'a Value> {
    list.iter().find(|one| one.get(key) == Some(is))
}

/// A version in a few words: what the plugin calls it, and the beginning of its digest.
fn version(value: Option<&Value>) -> String {
    let Some(value) = value.filter(|value| value.is_object()) else { return String::new() };
    let digest = short(&text(value, "digest"));
    let version = text(value, "version");
    if version.is_empty() { digest } else { format!("{version} {digest}") }
}

fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(SHORT).collect()
}

/// `text` with a reason behind it, where there is one.
fn because(text: String, of: &Value) -> String {
    let reason = self::text(of, "reason");
    if reason.is_empty() { text } else { format!("{text}: {reason}") }
}

/// How much a count has grown in a second.
fn rate(now: u64, before: Option<u64>, elapsed: Duration) -> String {
    let Some(before) = before else { return String::new() };
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let grown = now.saturating_sub(before) as f64;
    format!("  {:.0}/s", grown / elapsed.as_secs_f64().max(0.001))
}

/// How it goes, with rates since an earlier answer where there is one.
pub(crate) fn status(now: &Value, earlier: Option<(&Value, Duration)>) -> String {
    let mut lines = String::new();
    let elapsed = earlier.map(|(_, elapsed)| elapsed).unwrap_or_default();
    if now.get("wasink").is_some() {
        lines.push_str(&format!("wasink {}, process {}\n", text(now, "wasink"), count(now, "pid")));
    }
    let heading =
        |of: &str| if list(now, of).is_empty() { String::new() } else { format!("{of}\n") };
    lines.push_str(&heading("streams"));
    for stream in list(now, "streams") {
        let name = stream.get("stream").unwrap_or(&Value::Null);
        let before = earlier.and_then(|(before, _)| find(list(before, "streams"), "stream", name));
        let mut line = format!(
            "  {:12} accepted {}",
            text(stream, "stream"),
            number(count(stream, "accepted"))
        );
        let accepted = before.map(|before| count(before, "accepted"));
        line.push_str(&rate(count(stream, "accepted"), accepted, elapsed));
        let dropped = ["dropped_full", "dropped_closed", "dropped_misplaced", "dropped_too_large"];
        let dropped: u64 = dropped.iter().map(|key| count(stream, key)).sum();
        if dropped > 0 {
            line.push_str(&format!(", {} turned away", number(dropped)));
        }
        if let Some(admission) = stream.get("admission") {
            let state = text(admission, "state");
            if state != "open" {
                line = because(format!("{line}; {state}"), admission);
            }
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines.push_str(&heading("sinks"));
    for sink in list(now, "sinks") {
        let name = sink.get("name").unwrap_or(&Value::Null);
        let before = earlier.and_then(|(before, _)| find(list(before, "sinks"), "name", name));
        lines.push_str(&self::sink(sink, before, elapsed));
    }
    lines.push_str(&feeds(now));
    // Where one version delivers and that is all, the sinks say it.
    let news = |plugin: &&Value| {
        text(plugin, "stage") != "in-charge" || !text(plugin, "reason").is_empty()
    };
    let changing = list(now, "plugins").iter().filter(news);
    let changing: String = changing.map(|one| format!("  {}", plugin(one))).collect();
    if !changing.is_empty() {
        lines.push_str(&format!("plugins\n{changing}"));
    }
    lines
}

/// How outboxes and feeds are doing.
pub(crate) fn feeds(of: &Value) -> String {
    let mut lines = String::new();
    if !list(of, "outboxes").is_empty() {
        lines.push_str("outboxes\n");
    }
    for outbox in list(of, "outboxes") {
        let mut line = format!("  {:12} {}", text(outbox, "name"), text(outbox, "plugin"));
        if outbox.get("pending").is_some() {
            line.push_str(&format!("; {} to be published", number(count(outbox, "pending"))));
        }
        if count(outbox, "dead") > 0 {
            line.push_str(&format!(", {} given up", number(count(outbox, "dead"))));
        }
        lines.push_str(&with_problem(line, outbox));
    }
    if !list(of, "feeds").is_empty() {
        lines.push_str("feeds\n");
    }
    for feed in list(of, "feeds") {
        let mut line = format!("  {:12} {}", text(feed, "name"), text(feed, "plugin"));
        if feed.get("cursor").is_some() {
            line.push_str(&format!("; applied up to {}", number(count(feed, "cursor"))));
        }
        match feed.get("halted").filter(|halted| halted.is_object()) {
            None => lines.push_str(&with_problem(line, feed)),
            Some(halted) => {
                let (id, version) = (text(halted, "event_id"), count(halted, "version"));
                let (since, reason) = (text(halted, "since"), text(halted, "reason"));
                lines.push_str(&format!(
                    "{line}\n    halted since {since} by `{id}` at {}: {reason}\n",
                    number(version)
                ));
                let skip = text(halted, "skip");
                if !skip.is_empty() {
                    lines.push_str(&format!("    to be skipped: {skip}\n"));
                }
            }
        }
    }
    lines
}

/// A line, and what is in the way behind it.
fn with_problem(line: String, of: &Value) -> String {
    match text(of, "problem") {
        problem if problem.is_empty() => format!("{line}\n"),
        problem => format!("{line}\n    {problem}\n"),
    }
}

fn sink(sink: &Value, before: Option<&Value>, elapsed: Duration) -> String {
    let mut state = text(sink, "state");
    if count(sink, "failures") > 0 {
        state.push_str(&format!(" ({})", number(count(sink, "failures"))));
    }
    let state = because(state, sink);
    let plugin = format!("{} {}", text(sink, "plugin"), version(sink.get("version")));
    let mut lines = format!("  {:12} {plugin}; {state}\n", text(sink, "name"));
    for lane in list(sink, "lanes") {
        let stream = lane.get("stream").unwrap_or(&Value::Null);
        let before = before.and_then(|before| find(list(before, "lanes"), "stream", stream));
        let delivered = |lane: &Value| count(lane, "delivered") + count(lane, "duplicate");
        let mut line =
            format!("    {:10} {} delivered", text(lane, "stream"), number(delivered(lane)));
        line.push_str(&rate(delivered(lane), before.map(delivered), elapsed));
        let others = [
            ("pending", count(lane, "pending")),
            ("refused", count(lane, "rejected") + count(lane, "expired")),
            ("dropped", count(lane, "dropped")),
            ("tried again", count(lane, "retries")),
        ];
        for (what, count) in others.into_iter().filter(|(_, count)| *count > 0) {
            line.push_str(&format!(", {} {what}", number(count)));
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    let limits = sink.get("limits").and_then(Value::as_object).into_iter().flatten();
    let limits: Vec<_> = limits
        .filter_map(|(limit, times)| Some((printable(limit), times.as_u64()?)))
        .map(|(limit, times)| format!("{limit} {} times", number(times)))
        .collect();
    if !limits.is_empty() {
        lines.push_str(&format!("    came up against {}\n", limits.join(", ")));
    }
    lines
}

/// This plugin among those that a process answers with. Those are sinks.
pub(crate) fn in_charge<'a>(answer: &'a Value, file: &PluginFile) -> Option<&'a Value> {
    let name = (file.world == World::Sink).then(|| Value::from(file.name.as_str()))?;
    find(list(answer, "plugins"), "name", &name)
}

/// What of a plugin is in charge, in a column.
pub(crate) fn charge(plugin: &Value) -> String {
    let digest = plugin.get("version").map(|version| text(version, "digest")).unwrap_or_default();
    format!("{} {}", short(&digest), text(plugin, "stage")).trim().to_owned()
}

/// What of a plugin is in charge, and why, where that is not the file with this digest.
pub(crate) fn other(plugin: &Value, digest: &str) -> Option<String> {
    let in_charge = plugin.get("version").filter(|version| version.is_object())?;
    let other = in_charge.get("digest").and_then(Value::as_str) != Some(digest);
    other.then(|| because(format!("in charge is {}", version(Some(in_charge))), plugin))
}

/// One plugin, as it is after it was changed.
pub(crate) fn plugin(plugin: &Value) -> String {
    let (name, stage) = (text(plugin, "name"), text(plugin, "stage"));
    let mut line = format!("{name}: {}", stage.replace('-', " "));
    let (now, before) = (version(plugin.get("version")), version(plugin.get("previous")));
    if !now.is_empty() {
        line.push_str(&format!(", {now}"));
    }
    if !before.is_empty() {
        line.push_str(&format!(", before it {before}"));
    }
    let mut line = because(line, plugin) + "\n";
    if let Some(operation) = plugin.get("operation").filter(|operation| operation.is_object()) {
        let (stage, since) = (text(operation, "stage"), text(operation, "since"));
        line.push_str(&format!("  under way: {stage} since {since}\n"));
    }
    line
}

/// What happened, a line each.
pub(crate) fn history(answer: &Value) -> String {
    let events = list(answer, "events");
    if events.is_empty() {
        return "nothing has happened yet\n".to_owned();
    }
    events.iter().map(event).collect()
}

fn event(event: &Value) -> String {
    let (time, plugin, sink) = (text(event, "time"), text(event, "plugin"), text(event, "sink"));
    let place = if sink.is_empty() { plugin } else { format!("{plugin} at {sink}") };
    let mut line = format!("{time} {place}: {}", text(event, "stage").replace('-', " "));
    let version = version(event.get("version"));
    if !version.is_empty() {
        line.push_str(&format!(", {version}"));
    }
    because(line, event) + "\n"
}

/// Whatever it is: a line for each member, with what is in it as it is.
pub(crate) fn members(answer: &Value) -> String {
    let Some(members) = answer.as_object().filter(|members| !members.is_empty()) else {
        return "done\n".to_owned();
    };
    let line = |(key, value): (&String, &Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{:18} {}\n", printable(key), printable(&value))
    };
    members.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::{charge, history, members, other, plugin, status};

    fn at(accepted: u64, delivered: u64) -> Value {
        json!({
            "wasink": "0.1.0", "pid": 7,
            "streams": [{
                "stream": "usage", "accepted": accepted, "dropped_full": 2, "dropped_closed": 1,
                "admission": { "state": "full", "reason": "`billing` is slow", "reject": true },
            }],
            "sinks": [{
                "name": "billing", "plugin": "http", "state": "retrying", "failures": 3,
                "reason": "no \u{1b}[2J route", "later": [1],
                "version": { "digest": "sha256:00112233445566", "version": "1.0.0", "path": null },
                "lanes": [{
                    "stream": "usage", "delivered": delivered, "duplicate": 1, "rejected": 2,
                    "expired": 3, "pending": 4000, "dropped": 0, "retries": 9,
                }],
                "limits": { "log_rate": 1200, "x\u{1b}": 1, "odd": "no" },
            }],
        })
    }

    #[test]
    fn the_status_is_told_in_lines_and_nothing_in_it_reaches_a_terminal() {
        assert_eq!(
            status(&at(5000, 999), None),
            "wasink 0.1.0, process 7\n\
             streams\n  \
             usage        accepted 5,000, 3 turned away; full: `billing` is slow\n\
             sinks\n  \
             billing      http 1.0.0 001122334455; retrying (3): no \\u{1b}[2J route\n    \
             usage      1,000 delivered, 4,000 pending, 5 refused, 9 tried again\n    \
             came up against log_rate 1,200 times, x\\u{1b} 1 times\n"
        );
        let (before, now) = (at(5000, 999), at(5500, 1999));
        let text = status(&now, Some((&before, Duration::from_secs(2))));
        assert!(text.contains("accepted 5,500  250/s, 3"), "{text}");
        assert!(text.contains("2,000 delivered  500/s, 4,000"), "{text}");
        // A process that tells less, or otherwise, is no reason to fail.
        for odd in [json!({}), json!([]), json!({ "streams": 1, "sinks": [1, {}] })] {
            drop(status(&odd, Some((&odd, Duration::ZERO))));
        }
    }

    #[test]
    fn a_plugin_is_told_with_its_versions_and_what_is_under_way() {
        let changed = json!({
            "name": "file", "stage": "in-charge", "reason": null,
            "version": { "digest": "sha256:aabbccddeeff00", "version": "2.0.0" },
            "previous": { "digest": "sha256:00112233445566", "version": "1.0.0" },
            "operation": { "id": 1, "to": "x", "stage": "probation", "since": "2026-05-20T01:02:03Z" },
        });
        assert_eq!(
            plugin(&changed),
            "file: in charge, 2.0.0 aabbccddeeff, before it 1.0.0 001122334455\n  \
             under way: probation since 2026-05-20T01:02:03Z\n"
        );
        assert_eq!(charge(&changed), "aabbccddeeff in-charge");
        assert_eq!(other(&changed, "sha256:aabbccddeeff00"), None);
        assert_eq!(
            other(&changed, "sha256:00112233445566").unwrap(),
            "in charge is 2.0.0 aabbccddeeff"
        );
        let returned = json!({ "version": { "digest": "sha256:aa" }, "reason": "it\u{7} broke" });
        assert_eq!(other(&returned, "").unwrap(), "in charge is aa: it\\u{7} broke");
        assert_eq!(other(&json!({ "version": null }), ""), None);
        assert_eq!(
            plugin(&json!({ "name": "a", "reason": "it\u{7} broke" })),
            "a: : it\\u{7} broke\n"
        );
    }

    #[test]
    fn the_history_and_reports_are_told_line_by_line() {
        let events = json!({ "events": [
            { "time": "T", "plugin": "file", "sink": "billing", "stage": "in-charge",
              "version": { "digest": "sha256:aa", "version": "2" }, "reason": null, "more": 1 },
            { "time": "U", "plugin": "file", "sink": null, "stage": "failed", "version": null,
              "reason": "no memory" },
        ] });
        assert_eq!(
            history(&events),
            "T file at billing: in charge, 2 aa\nU file: failed: no memory\n"
        );
        assert_eq!(history(&json!({ "events": [] })), "nothing has happened yet\n");
        assert_eq!(
            members(&json!({ "records": 7, "reason": "\u{1b}", "nested": { "a": [1] } })),
            "records            7\nreason             \\u{1b}\nnested             {\"a\":[1]}\n"
        );
        assert_eq!(members(&json!({})), "done\n");
    }
}
