//! What operators may ask of a running chassis.

use std::sync::Arc;

use serde_json::{Value, json};
use wasink::Chassis;
use wasink::record::Stream;
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
        missing("tell which plugins are in charge")
    }

    fn history(&self, _: Option<&str>, _: usize) -> Result<Value, Refusal> {
        missing("tell the history of plugins")
    }

    fn swap(&self, _: &str, _: &Target) -> Result<Value, Refusal> {
        missing("exchange plugins")
    }

    fn roll_back(&self, _: &str) -> Result<Value, Refusal> {
        missing("exchange plugins")
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

    fn replay_dead(&self, _: &str, _: Stream, _: &[u64]) -> Result<Value, Refusal> {
        missing("replay dead letters")
    }

    fn purge_dead(&self, _: &str, _: Stream, _: &[u64]) -> Result<Value, Refusal> {
        missing("purge dead letters")
    }

    fn end_doubt(&self, _: &str, _: Verdict) -> Result<Value, Refusal> {
        missing("settle what is in doubt")
    }
}
