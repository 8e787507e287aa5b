//! `wasink trial`.

use serde_json::json;
use wasink::config::Config;

use crate::daemon::Daemon;
use crate::exit::{Exit, Failure};
use crate::flags::{Trial, TrialStart};
use crate::state;

use super::plugins::target;
use super::tell;

pub(super) fn run(config: &Config, command: &Trial) -> Result<Exit, Failure> {
    let daemon = Daemon::of(config)?;
    match command {
        Trial::Start(start) => {
            let TrialStart { name, kind, to, records, failures, json } = start;
            let mut body = json!({
                "kind": if kind.shadow { "shadow" } else { "canary" },
                "to": target(to.as_deref())?,
            });
            if let Some(body) = body.as_object_mut() {
                body.extend(kind.canary.map(|share| ("share".to_owned(), json!(share))));
                body.extend(records.map(|records| ("records".to_owned(), json!(records))));
                body.extend(failures.map(|failures| ("failures".to_owned(), json!(failures))));
            }
            let answer = daemon.post(&format!("/v1/plugins/{name}/trial"), Some(&body));
            tell(answer, json.json, state::members)
        }
        Trial::Report { name, json } => {
            let answer = daemon.get(&format!("/v1/plugins/{name}/trial"));
            tell(answer, json.json, state::members)
        }
        Trial::Promote { name, json } => {
            let answer = daemon.post(&format!("/v1/plugins/{name}/trial/promote"), None);
            tell(answer, json.json, state::plugin)
        }
        Trial::Abort { name, json } => {
            let answer = daemon.post(&format!("/v1/plugins/{name}/trial/abort"), None);
            tell(answer, json.json, state::members)
        }
    }
}
