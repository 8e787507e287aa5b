//! Dead letters and doubts, mended between two batches.

use std::io;
use std::ops::Range;
use std::sync::mpsc::SyncSender;

use wasink_journal::{DeadLetter, Fate};
use wasink_record::Stream;

use super::{Lane, Lanes, Work};
use crate::replay::{self, Replayed};

/// What an operator may want of a sink's place in a journal. It is done between two batches.
pub(crate) enum Mend {
    /// Hands over once more the dead letters at these positions.
    Replay(Vec<u64>, SyncSender<io::Result<Replayed>>),
    /// Takes them away.
    Purge(Vec<u64>, SyncSender<io::Result<u64>>),
    /// What is in doubt counts as this, or is handed over again.
    EndDoubt(Option<Fate>, SyncSender<io::Result<Option<Range<u64>>>>),
}

impl Work {
    pub(super) fn mend(&mut self, stream: Stream, mend: Mend) {
        let of = |lane: &Lane| lane.reader.log().stream() == stream;
        let Some(index) = self.lanes.lanes.iter().position(of) else { return };
        match mend {
            Mend::Replay(positions, answer) => drop(answer.send(self.replay(index, &positions))),
            Mend::Purge(positions, answer) => {
                let Some(lane) = self.lanes.lanes.get_mut(index) else { return };
                drop(answer.send(lane.reader.purge(&positions)));
            }
            Mend::EndDoubt(fate, answer) => drop(answer.send(self.end_doubt(index, fate))),
        }
    }

    /// Settles what is in doubt, as a person says.
    fn end_doubt(&mut self, index: usize, fate: Option<Fate>) -> io::Result<Option<Range<u64>>> {
        let Lanes { lanes, sink, hooks, .. } = &mut self.lanes;
        let Some(lane) = lanes.get_mut(index) else { return Ok(None) };
        let log = lane.reader.log().clone();
        let counted = |fate| log.lane(sink).map_or(0, |lane| lane.fates.get(fate));
        let before = fate.map(counted);
        let doubt = lane.reader.state().doubt;
        let ended = lane.reader.end_doubt(fate);
        // What the disk did not take is known all the same.
        if let Some(doubt) = doubt.filter(|_| lane.reader.state().doubt.is_none()) {
            self.delivery.doubt_is_over(index, &(doubt.from..doubt.to), fate.is_none());
        }
        if let (Some(fate), Some(before)) = (fate, before) {
            let settled = counted(fate).saturating_sub(before);
            if settled > 0 {
                hooks.settled(sink, log.stream(), fate, settled);
            }
        }
        ended
    }

    /// Hands dead letters over once more, one by one, with the ids and positions that they have had
    /// all along.
    fn replay(&mut self, lane: usize, positions: &[u64]) -> io::Result<Replayed> {
        let mut replayed = Replayed::default();
        let Some(log) = self.lanes.lanes.get(lane).map(|lane| lane.reader.log().clone()) else {
            return Ok(replayed);
        };
        let chosen = |letter: &DeadLetter| positions.binary_search(&letter.position).is_ok();
        for letter in log.dead(&self.lanes.sink, chosen)?.letters {
            let batch = replay::batch(&letter, self.delivery.node_id());
            match batch.and_then(|batch| self.delivery.hand_over_again(&batch, &mut self.lanes)) {
                Ok(fate) => replayed.resolved.push((letter, fate)),
                Err(reason) => replayed.refused.push((letter, reason)),
            }
        }
        if let Some(lane) = self.lanes.lanes.get_mut(lane) {
            lane.reader.resolve(&replayed.resolved, self.delivery.now())?;
        }
        Ok(replayed)
    }
}
