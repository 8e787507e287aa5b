//! What one sink is given and does, checked against the model.

use std::ops::Range;

use wasink_journal::{Batch, Fate, Next, Reader};

use crate::crash::model::{Kept, LaneModel, Model, is_done};
use crate::crash::steps::Delivery;
use crate::simulated::disk::Disk;
use crate::simulated::records::letter;

use super::limits;

/// Checks a batch that a sink was given.
pub(super) fn check(batch: &Batch, lane: &LaneModel, model: &mut Model, recovering: bool) {
    for (index, id) in batch.ids().enumerate() {
        let position = batch.position() + index as u64;
        let line = batch.line(index).unwrap();
        model.given(position, id, line.strip_suffix(b"\n").unwrap(), recovering);
        let fate = lane.fates.get(&position);
        assert_eq!(fate, None, "the record at {position} is given again");
    }
}

/// Looks at everything that a sink would be given.
pub(super) fn audit(
    disk: &Disk,
    reader: &mut Reader,
    lane: &LaneModel,
    model: &mut Model,
    recovering: bool,
) {
    let mut given = Vec::new();
    loop {
        let tripped = disk.tripped();
        match reader.next(&limits(1000)) {
            Next::Batch(batch) => {
                check(&batch, lane, model, recovering);
                given.extend(batch.position()..batch.end());
                reader.pass(batch.end());
            }
            Next::Damaged(range) => {
                model.damaged(&range, lane);
                reader.pass(range.end);
            }
            Next::Empty => break,
            // Such as while damaged bytes are put aside.
            Next::Failed(_) if disk.tripped() > tripped => {}
            other => panic!("{other:?}"),
        }
    }
    for position in model.pending(lane) {
        let vanished = model.unsteady && !model.is_acknowledged(position);
        let found = given.binary_search(&position).is_ok();
        assert!(found || vanished, "the record at {position} is not given");
    }
}

/// Settles a batch's parts as the delivery says.
pub(super) fn settle(
    reader: &mut Reader,
    batch: &Batch,
    delivery: &Delivery,
    lane: &mut LaneModel,
    model: &Model,
) {
    let mut runs = Vec::new();
    let mut at = batch.position();
    for &(len, fate) in delivery.parts.iter().cycle() {
        if at >= batch.end() {
            break;
        }
        let to = batch.end().min(at + len as u64);
        runs.extend(fate.map(|fate| (at..to, fate)));
        at = to;
        if delivery.parts.iter().all(|(_, fate)| fate.is_none()) {
            break;
        }
    }
    if delivery.backwards {
        runs.reverse();
    }
    let calls: Vec<&[(Range<u64>, Fate)]> =
        if delivery.together { vec![&runs] } else { runs.chunks(1).collect() };
    for runs in calls {
        let mut letters = Vec::new();
        for (range, fate) in runs {
            if matches!(fate, Fate::Rejected | Fate::Expired) {
                let known = |position| letter(position, &model.there[&position], *fate);
                letters.extend(range.clone().map(known));
            }
        }
        lane.learn(&reader.state());
        let result = reader.settle(batch, runs, letters);
        note(reader, lane, runs, result.is_ok());
    }
}

/// Takes note of what was settled.
pub(super) fn note(
    reader: &Reader,
    lane: &mut LaneModel,
    runs: &[(Range<u64>, Fate)],
    written: bool,
) {
    let state = reader.state();
    let kept = if written { Kept::Written } else { Kept::Unsure };
    let mut news = false;
    for (range, fate) in runs {
        for position in range.clone() {
            let done = is_done(&state, position);
            assert!(done || !written, "nothing has become of {position}");
            if done && position >= lane.origin && !lane.fates.contains_key(&position) {
                lane.settled(position, *fate, kept);
                news = true;
            }
        }
    }
    if written && news {
        lane.kept(Kept::Written);
    }
}
