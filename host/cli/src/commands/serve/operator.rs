//! What operators may ask of a running chassis.

use std::sync::Arc;

use serde_json::{Value, json};
use wasink::journal::Fate;
use wasink::record::Stream;
use wasink::{Chassis, MendError, SwapError, Swapped};
use wasink_serve::{Operator, Refusal, RefusalKind, Target, Trial, Verdict};

/// A running chassis, for operators.
pub(super) struct Running {
    pub(super) chassis: Arc<Chassis>,
}

/// What to answer where the chassis has no such operation.
fn missing(what: &str) -> Result<Value, Refusal> {
    let detail = format!("this wasink can't {what} while it runs: restart it instead");
    Err(Refusal::new(RefusalKind::Unsupported, detail))
}

impl Operator for Running {
    fn status(&self) -> Value {
        let mut status = json!({ "wasink": env!("CARGO_PKG_VERSION"), "pid": std::process::id() });
        if let (Some(all), Value::Object(chassis)) =
            (status.as_object_mut(), json!(self.chassis.status()))
        {
            all.extend(chassis);
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
        let to = match to {
            Target::Directory => wasink::Target::Directory,
            Target::File(path) => wasink::Target::File(path.clone()),
            Target::Version(version) => wasink::Target::Version(version.clone()),
        };
        let swapped = self.chassis.swap(plugin, &to).map_err(refusal)?;
        Ok(self.swapped(plugin, &swapped))
    }

    fn roll_back(&self, plugin: &str) -> Result<Value, Refusal> {
        let swapped = self.chassis.roll_back(plugin).map_err(refusal)?;
        Ok(self.swapped(plugin, &swapped))
    }

    fn reload(&self) -> Result<Value, Refusal> {
        missing("read its configuration again")
    }

    fn start_trial(&self, _: &str, _: &Trial) -> Result<Value, Refusal> {
        missing("try plugins")
    }

    fn trial(&self, _: &str) -> Result<Value, Refusal> {
        missing("try plugins")
    }

    fn promote(&self, _: &str) -> Result<Value, Refusal> {
        missing("try plugins")
    }

    fn abort(&self, _: &str) -> Result<Value, Refusal> {
        missing("try plugins")
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

fn refusal(error: SwapError) -> Refusal {
    let kind = match &error {
        SwapError::Unused { .. } | SwapError::NoVersion { .. } => RefusalKind::NotFound,
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
