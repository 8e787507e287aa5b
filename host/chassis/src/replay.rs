//! Dead letters, handed over once more.

use std::sync::Arc;

use wasink_journal::{Batch, DeadLetter, Fate};
use wasink_record::{IdSource, Stamped, parse_line};

use crate::chassis::Parts;
use crate::config::{Config, SinkConfig};
use crate::delivery::Charge;
use crate::error::{OpenError, SinkProblem};
use crate::plugin::{CallError, Exception, Failure, Outcome, SinkPlugin};
use crate::start::{epoch, open_sink};

/// What became of dead letters that were handed over once more.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Replayed {
    /// Those that the receiver has now, and how.
    pub resolved: Vec<(DeadLetter, Fate)>,
    /// Those that are dead letters still, and why.
    pub refused: Vec<(DeadLetter, String)>,
}

/// Hands dead letters of `sink` to the plugin that it has now, one by one, with the ids and positions
/// that they have had all along. Whoever calls it holds the journals' locks, and writes down what it
/// answers.
///
/// Blocks for as long as the plugin's calls do.
///
/// # Errors
///
/// Whatever keeps the sink from opening. Then nothing was handed over.
pub fn replay(
    config: &Config,
    parts: &Parts,
    sink: &SinkConfig,
    letters: Vec<DeadLetter>,
) -> Result<Replayed, OpenError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| OpenError::System(error.into()))?;
    let ids = IdSource::new(u64::from_le_bytes(random));
    let epoch = epoch(&ids, parts.clock.now(), &random);
    let opened: Result<_, SinkProblem> = open_sink(config, sink, parts, &epoch);
    let (charge, mut plugin) = opened.map_err(|problem| OpenError::Sinks(vec![problem]))?;
    let mut replayed = Replayed::default();
    for letter in letters {
        match hand_over(&charge, &mut plugin, &letter) {
            Ok(fate) => replayed.resolved.push((letter, fate)),
            Err(reason) => replayed.refused.push((letter, reason)),
        }
    }
    // What it has taken is flushed; how it ends changes nothing.
    drop(plugin.close());
    Ok(replayed)
}

fn hand_over(
    charge: &Charge,
    plugin: &mut Box<dyn SinkPlugin>,
    letter: &DeadLetter,
) -> Result<Fate, String> {
    let batch = batch(letter, &charge.request.node_id)?;
    let called = plugin.write(&batch).and_then(|exceptions| {
        plugin.flush()?;
        Ok(exceptions)
    });
    let gone = matches!(called, Err(CallError::Stopped(_) | CallError::Failed(Failure::Broken(_))));
    let fate = fate(called);
    if gone {
        let reason = fate.as_ref().err().cloned().unwrap_or_default();
        *plugin = charge.open().map_err(|again| format!("{reason}; then: {again}"))?;
    }
    fate
}

/// The record of a dead letter, with the id and the position that it has had all along.
pub(crate) fn batch(letter: &DeadLetter, node_id: &str) -> Result<Arc<Batch>, String> {
    let record = parse_line(letter.stream, letter.line.as_bytes(), letter.time)
        .map_err(|error| format!("the record can't be read: {error}"))?;
    let stamped = Stamped { id: letter.id, time: letter.time, record };
    let source = format!("wasink/{node_id}");
    let batch = Batch::of(letter.stream, letter.position, vec![stamped], source);
    Ok(Arc::new(batch.ok_or("there is no record")?))
}

/// What became of a record that was handed over alone, or why it is a dead letter still.
pub(crate) fn fate(called: Result<Vec<Exception>, CallError>) -> Result<Fate, String> {
    let exceptions = called.map_err(|error| error.to_string())?;
    match exceptions.into_iter().next().map(|exception| exception.outcome) {
        None => Ok(Fate::Delivered),
        Some(Outcome::Duplicate) => Ok(Fate::Duplicate),
        Some(Outcome::Retry(_)) => Err("the receiver asks to try again later".to_owned()),
        Some(Outcome::InDoubt(_)) => Err("it is not known whether the receiver has it".to_owned()),
        Some(Outcome::Rejected(reason)) => Err(reason),
        Some(Outcome::Expired) => Err("older than the receiver accepts".to_owned()),
    }
}
