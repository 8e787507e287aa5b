//! What a person does to a sink's lane while the journal is open, and what the model makes of it.

use wasink_journal::{DeadLetter, Fate, Reader, Version};
use wasink_record::Timestamp;

use super::lane::note;
use crate::crash::model::{Kept, LaneModel};

/// The letters that are there, of those of which the sink's lane knows.
fn letters(reader: &Reader, sink: &str, lane: &LaneModel) -> Vec<DeadLetter> {
    let known = |letter: &DeadLetter| lane.letter(letter.position).0;
    reader.log().dead(sink, known).map(|dead| dead.letters).unwrap_or_default()
}

pub(super) fn resolve(reader: &mut Reader, sink: &str, place: usize, lane: &mut LaneModel) {
    lane.learn(&reader.state());
    let letters = letters(reader, sink, lane);
    let Some(letter) = letters.get(place % letters.len().max(1)) else { return };
    let position = letter.position;
    // Twice is once.
    let both = [(letter.clone(), Fate::Delivered), (letter.clone(), Fate::Delivered)];
    let done = reader.resolve(&both, Timestamp::from_unix_nanos(5)).is_ok();
    for record in [&mut lane.resolved, &mut lane.gone] {
        *record.entry(position).or_default() |= done;
    }
    if done {
        lane.kept(Kept::Synced);
    }
    lane.learn(&reader.state());
}

pub(super) fn purge(reader: &mut Reader, sink: &str, bits: u8, lane: &mut LaneModel) {
    lane.learn(&reader.state());
    let letters = letters(reader, sink, lane);
    let chosen = letters.iter().enumerate().filter(|(place, _)| bits >> (place % 8) & 1 == 1);
    let chosen: Vec<u64> = chosen.map(|(_, letter)| letter.position).collect();
    let purged = reader.purge(&chosen);
    for &position in &chosen {
        *lane.gone.entry(position).or_default() |= purged.is_ok();
    }
    if let Ok(purged) = purged {
        assert_eq!(purged, chosen.len() as u64);
        if purged > 0 {
            lane.kept(Kept::Synced);
        }
    }
    lane.learn(&reader.state());
}

pub(super) fn take_over(reader: &mut Reader, which: u8, lane: &mut LaneModel) {
    lane.learn(&reader.state());
    let version = Version { digest: format!("sha256:{which}"), version: which.to_string() };
    // Where it can't be written now it will be before what it settles.
    drop(reader.take_over(&version));
    lane.version = version.digest;
}

pub(super) fn end_doubt(reader: &mut Reader, as_had: bool, lane: &mut LaneModel) {
    lane.learn(&reader.state());
    let Some(doubt) = reader.state().doubt else { return };
    let range = doubt.from..doubt.to;
    let ended = reader.end_doubt(as_had.then_some(Fate::Delivered));
    if as_had {
        note(reader, lane, &[(range.clone(), Fate::Delivered)], ended.is_ok());
    } else {
        lane.doubts.clear();
    }
    if let Ok(ended) = ended {
        assert_eq!(ended, Some(range));
        assert_eq!(reader.state().doubt, None);
        lane.kept(Kept::Synced);
    }
}

pub(super) fn not_taken(reader: &mut Reader, all: bool, lane: &mut LaneModel) {
    lane.learn(&reader.state());
    let Some(doubt) = reader.state().doubt else { return };
    // What was not written down comes back as doubt after a crash, which is the careful side.
    let _written = reader.not_taken(doubt.from..if all { doubt.to } else { doubt.to - 1 });
    if all {
        lane.doubts.clear();
    }
    assert_eq!(reader.state().doubt.is_none(), all);
}
