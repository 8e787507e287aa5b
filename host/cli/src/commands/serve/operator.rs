//! What operators may ask of a running chassis.

use std::sync::Arc;

use serde_json::{Value, json};
use wasink::config::Sources;
use wasink::feeds::Feeds;
use wasink::journal::Fate;
use wasink::record::Stream;
use wasink::{Chassis, MendError, ReloadError, SwapError, Swapped};
use wasink_serve::{Operator, Refusal, RefusalKind, Target, Trial, TrialKind, Verdict};

/// A running chassis, for operators.
pub(super) struct Running {
    pub(super) chassis: Arc<Chassis>,
    pub(super) feeds: Arc<Feeds>,
    /// Where its configuration comes from.
    pub(super) sources: Sources,
}

impl Operator for Running {
    fn status(&self) -> Value {
        let mut status = json!({ "wasink": env!("CARGO_PKG_VERSION"), "pid": std::process::id() });
        if let (Some(all), Value::Object(chassis)) =
            (status.as_object_mut(), json!(self.chassis.status()))
        {
            all.extend(chassis);
            all.insert("plugins".to_owned(), json!(self.chassis.plugins()));
            if let Value::Object(feeds) = json!(self.feeds.status()) {
                all.extend(feeds);
            }
        }
        status
    }

    fn plugins(&self) -> Result<Value, Refusal> {
        Ok(json!({ "plugins": self.chassis.plugins() }))
    }

    fn history(&self, plugin: Option<&str>, most: usize) -> Result<Value, Refusal> {
        Ok(json!({ "events": self.chassis.swap_events(plugin, most) }))
    }

    fn swap(&self, plugin: &str, to: &Target) -> Result<Value, Refusal> {
        let swapped = self.chassis.swap(plugin, &target(to)).map_err(refusal)?;
        Ok(self.swapped(plugin, &swapped))
    }

    fn roll_back(&self, plugin: &str) -> Result<Value, Refusal> {
        let swapped = self.chassis.roll_back(plugin).map_err(refusal)?;
        Ok(self.swapped(plugin, &swapped))
    }

    fn reload(&self) -> Result<Value, Refusal> {
        let config = wasink::load(&self.sources)
            .map_err(|errors| Refusal::new(RefusalKind::Invalid, errors.to_string()))?;
        let reloaded = self.chassis.reload(&config).map_err(|error| {
            let kind = match &error {
                ReloadError::NeedsRestart(_) | ReloadError::Sinks(_) => RefusalKind::Invalid,
                ReloadError::Busy(_) => RefusalKind::Conflict,
                _ => RefusalKind::Failed,
            };
            Refusal::new(kind, error.to_string())
        })?;
        Ok(json!(reloaded))
    }

    fn start_trial(&self, plugin: &str, trial: &Trial) -> Result<Value, Refusal> {
        let kind = match trial.kind {
            TrialKind::Shadow => wasink::TrialKind::Shadow,
            TrialKind::Canary { share } => wasink::TrialKind::Canary { share: millionths(share) },
        };
        let Trial { records, failures, .. } = *trial;
        let trial_of = wasink::Trial { kind, records, failures };
        let report = self.chassis.start_trial(plugin, &target(&trial.to), trial_of);
        Ok(json!(report.map_err(refusal)?))
    }

    fn trial(&self, plugin: &str) -> Result<Value, Refusal> {
        Ok(json!(self.chassis.trial(plugin).map_err(refusal)?))
    }

    fn promote(&self, plugin: &str) -> Result<Value, Refusal> {
        let swapped = self.chassis.promote(plugin).map_err(refusal)?;
        Ok(self.swapped(plugin, &swapped))
    }

    fn abort(&self, plugin: &str) -> Result<Value, Refusal> {
        Ok(json!(self.chassis.abort_trial(plugin).map_err(refusal)?))
    }

    fn replay_dead(&self, sink: &str, stream: Stream, positions: &[u64]) -> Result<Value, Refusal> {
        let replayed = self.chassis.replay_dead(sink, stream, positions).map_err(not_mended)?;
        let refused = replayed.refused.iter();
        let refused = refused.map(|(letter, reason)| json!({ "id": letter.id, "reason": reason }));
        let refused: Vec<_> = refused.collect();
        Ok(json!({ "delivered": replayed.resolved.len(), "refused": refused }))
    }

    fn purge_dead(&self, sink: &str, stream: Stream, positions: &[u64]) -> Result<Value, Refusal> {
        let purged = self.chassis.purge_dead(sink, stream, positions).map_err(not_mended)?;
        Ok(json!({ "purged": purged }))
    }

    fn end_doubt(&self, sink: &str, verdict: Verdict) -> Result<Value, Refusal> {
        let fate = match verdict {
            Verdict::Resend => None,
            Verdict::Discard => Some(Fate::Delivered),
        };
        let ended = self.chassis.end_doubt(sink, fate).map_err(not_mended)?;
        let ended = ended.into_iter().map(
            |(stream, range)| json!({ "stream": stream, "from": range.start, "to": range.end }),
        );
        Ok(json!({ "ended": ended.collect::<Vec<_>>() }))
    }
}

impl Running {
    /// The plugin as in the list, with what the exchange came to.
    fn swapped(&self, plugin: &str, swapped: &Swapped) -> Value {
        let states = self.chassis.plugins();
        let state = states.iter().find(|state| state.name == plugin);
        let mut answer = state.map(|state| json!(state)).unwrap_or_default();
        if let (Some(answer), Value::Object(swapped)) = (answer.as_object_mut(), json!(swapped)) {
            answer.extend(swapped);
        }
        answer
    }
}

fn target(to: &Target) -> wasink::Target {
    match to {
        Target::Directory => wasink::Target::Directory,
        Target::File(path) => wasink::Target::File(path.clone()),
        Target::Version(version) => wasink::Target::Version(version.clone()),
    }
}

/// A share of one, in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is out of range is brought to its end by `as`, and refused there"
)]
fn millionths(share: f64) -> u32 {
    (share * 1e6).round() as u32
}

fn refusal(error: SwapError) -> Refusal {
    let kind = match &error {
        SwapError::Unused { .. } | SwapError::NoVersion { .. } | SwapError::NoTrial(_) => {
            RefusalKind::NotFound
        }
        SwapError::Busy { .. } => RefusalKind::Conflict,
        SwapError::Refused(_) => RefusalKind::Invalid,
        _ => RefusalKind::Failed,
    };
    let mut refusal = Refusal::new(kind, error.to_string());
    if let SwapError::Busy { operation, .. } = error {
        refusal.operation = Some(json!(operation));
    }
    refusal
}

fn not_mended(error: MendError) -> Refusal {
    let kind = match &error {
        MendError::Unknown { .. } => RefusalKind::NotFound,
        MendError::NoStream { .. } => RefusalKind::Invalid,
        _ => RefusalKind::Failed,
    };
    Refusal::new(kind, error.to_string())
}
