//! Dead letters, handed over once more.

use std::sync::Arc;

use wasink_journal::{Batch, DeadLetter, Fate};
use wasink_record::{IdSource, Stamped, parse_line};

use crate::chassis::Parts;
use crate::config::{Config, SinkConfig};
use crate::error::{OpenError, SinkProblem};
use crate::plugin::{CallError, Outcome, SinkPlugin};
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
    let (_, mut plugin) = opened.map_err(|problem| OpenError::Sinks(vec![problem]))?;
    let mut replayed = Replayed::default();
    for letter in letters {
        match hand_over(&mut *plugin, &letter, config) {
            Ok(fate) => replayed.resolved.push((letter, fate)),
            Err(reason) => replayed.refused.push((letter, reason)),
        }
    }
    // What it has taken is flushed; how it ends changes nothing.
    drop(plugin.close());
    Ok(replayed)
}

fn hand_over(
    plugin: &mut dyn SinkPlugin,
    letter: &DeadLetter,
    config: &Config,
) -> Result<Fate, String> {
    let record = parse_line(letter.stream, letter.line.as_bytes(), letter.time)
        .map_err(|error| format!("the record can't be read: {error}"))?;
    let stamped = Stamped { id: letter.id, time: letter.time, record };
    let source = format!("wasink/{}", config.node_id);
    let batch = Batch::of(letter.stream, letter.position, vec![stamped], source);
    let batch = Arc::new(batch.ok_or("there is no record")?);
    let called = plugin.write(&batch).and_then(|exceptions| {
        plugin.flush()?;
        Ok(exceptions)
    });
    match called {
        Ok(exceptions) => match exceptions.into_iter().next().map(|exception| exception.outcome) {
            None => Ok(Fate::Delivered),
            Some(Outcome::Duplicate) => Ok(Fate::Duplicate),
            Some(Outcome::Retry(_)) => Err("the receiver asks to try again later".to_owned()),
            Some(Outcome::Rejected(reason)) => Err(reason),
            Some(Outcome::Expired) => Err("older than the receiver accepts".to_owned()),
        },
        Err(error) => {
            let stopped = matches!(error, CallError::Stopped(_));
            let reason = error.to_string();
            if stopped {
                plugin.reopen().map_err(|again| format!("{reason}; then: {again}"))?;
            }
            Err(reason)
        }
    }
}
