//! Reads out of an answer what became of each record.

use std::collections::BTreeMap;

use wasink_guest::http::{Answer, excerpt};
use wasink_guest::serde_json::{self, Value};

use crate::fate::Fate;
use crate::settings::{Results, Unnamed};

/// So much of what a receiver says of a record is kept.
const EXCERPT: usize = 200;

/// One fate a record, or why the answer does not tell.
pub(crate) fn read(shape: &Results, answer: &Answer, ids: &[&str]) -> Result<Vec<Fate>, String> {
    if answer.cut {
        return Err("it is longer than `answer_bytes`".to_owned());
    }
    let body: Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("it is no JSON: {error}"))?;
    let list = body
        .pointer(&shape.list)
        .and_then(Value::as_array)
        .ok_or_else(|| format!("there is no list at `{}`", shape.list))?;
    let by_id: BTreeMap<&str, usize> = ids.iter().copied().zip(0..).collect();
    let mut fates: Vec<Option<Fate>> = vec![None; ids.len()];
    for (place, item) in list.iter().enumerate() {
        let index = match (&shape.id, &shape.index) {
            (Some(id), _) => {
                let id = item.pointer(id).and_then(Value::as_str);
                id.and_then(|id| by_id.get(id).copied())
            }
            (None, Some(index)) => item
                .pointer(index)
                .and_then(Value::as_u64)
                .and_then(|index| usize::try_from(index).ok()),
            (None, None) => Some(place),
        };
        let slot = index.and_then(|index| fates.get_mut(index));
        let slot = slot.ok_or_else(|| format!("item {place} names no record of the request"))?;
        let fate = fate(shape, item);
        if slot.as_ref().is_some_and(|before| *before != fate) {
            return Err(format!("item {place} contradicts another one"));
        }
        *slot = Some(fate);
    }
    let unnamed = match shape.unnamed {
        Unnamed::Retry => Fate::Retry(None),
        Unnamed::Delivered => Fate::Delivered,
    };
    Ok(fates.into_iter().map(|fate| fate.unwrap_or_else(|| unnamed.clone())).collect())
}

fn fate(shape: &Results, item: &Value) -> Fate {
    let Some(status) = item.pointer(&shape.status) else { return Fate::InDoubt(None) };
    let number = status.as_u64();
    if shape.delivered.contains(status) {
        Fate::Delivered
    } else if shape.duplicate.contains(status) {
        Fate::Duplicate
    } else if shape.rejected.contains(status) || matches!(number, Some(400 | 422)) {
        let message = shape.message.as_ref().and_then(|message| item.pointer(message));
        let message = match message {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let status = match status {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        let said = if message.is_empty() { status } else { format!("{status}: {message}") };
        Fate::Rejected(excerpt(said.as_bytes(), EXCERPT))
    } else if matches!(number, Some(200..=299)) {
        Fate::Delivered
    } else if matches!(number, Some(429 | 503)) {
        Fate::Retry(None)
    } else {
        // A word that nobody explained rejects nothing, and says nothing either.
        Fate::InDoubt(None)
    }
}
