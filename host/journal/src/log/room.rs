//! Room in the log: what it holds, who keeps it full, and what is let go.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::{Log, Shared, Slot, State, WhenFull, lock, whose};
use crate::chunk::Chunk;
use crate::fate::Fate;
use crate::lane::Lane;
use crate::segment;
use crate::writer::CommitError;

impl Log {
    /// Makes room for so many bytes, as the sinks' policies say.
    pub(crate) fn make_room(&self, needed: u64) -> Result<(), CommitError> {
        loop {
            let (lane, range) = {
                let mut state = self.shared.lock();
                self.shared.release(&mut state);
                match self.shared.too_much(&state, needed) {
                    None => return Ok(()),
                    Some(Holder::Nobody) => return Ok(()),
                    Some(Holder::Reluctant(full)) => return Err(full),
                    Some(Holder::Unsynced(lane)) => (lane, 0..0),
                    Some(Holder::Dropping { lane, range }) => (lane, range),
                }
            };
            self.give_up(&lane, range)?;
        }
    }

    /// Gives up a lane's oldest records, and brings the lane to the disk.
    fn give_up(&self, lane: &Arc<Mutex<Lane>>, range: Range<u64>) -> io::Result<()> {
        // Read before the lane is held: its own thread must not wait for that.
        let chunks = self.chunks(&range)?;
        let mut lane = lock(lane);
        let runs = [(range, Fate::Dropped)];
        lane.settle(&runs, &[], &whose(&chunks), &self.shared.reserve)?;
        lane.sync(&self.shared.reserve)?;
        drop(lane);
        self.moved();
        Ok(())
    }
}

/// What keeps a log from taking more.
enum Holder {
    /// Nobody: more than it may hold was to go in at once.
    Nobody,
    /// A sink whose policy is not to lose anything.
    Reluctant(CommitError),
    /// A sink that is past the oldest, which is not on disk for sure.
    Unsynced(Arc<Mutex<Lane>>),
    /// A sink that gives up its oldest.
    Dropping { lane: Arc<Mutex<Lane>>, range: Range<u64> },
}

impl Shared {
    pub(super) fn used(&self, state: &State) -> u64 {
        match self.storage {
            Some(_) => state.segments.iter().map(|segment| segment.len).sum(),
            None => state.weight,
        }
    }

    /// What can be let go at once, oldest first: where each begins and ends, and its bytes. The last
    /// segment is not among them, since it is being written to.
    fn units<'a>(&self, state: &'a State) -> Box<dyn Iterator<Item = (Range<u64>, u64)> + 'a> {
        match self.storage {
            Some(_) => {
                let ends = state.segments.iter().skip(1).map(|segment| segment.first);
                let with_end = state.segments.iter().zip(ends);
                Box::new(with_end.map(|(segment, end)| (segment.first..end, segment.len)))
            }
            None => {
                let range = |chunk: &Arc<Chunk>| chunk.position()..chunk.end();
                Box::new(state.chunks.iter().map(move |chunk| (range(chunk), chunk.weight())))
            }
        }
    }

    /// Whether so many bytes more are too much, and who is to blame.
    fn too_much(&self, state: &State, needed: u64) -> Option<Holder> {
        let full = self.used(state).saturating_add(needed) > self.options.bytes;
        let oldest = self.units(state).next();
        let mut reluctant: Option<CommitError> = None;
        for slot in &state.lanes {
            // Most sinks may leave as much as there can be: nothing has to be added up for them.
            if !full && slot.max_pending >= self.options.bytes {
                continue;
            }
            let cursor = slot.cursor;
            let holds = |(range, _): &(Range<u64>, u64)| range.end > cursor;
            let mut left = self.units(state).filter(holds);
            let Some((first, bytes)) = left.next() else { continue };
            let bytes = bytes + left.map(|(_, bytes)| bytes).sum::<u64>();
            let to_blame = full && oldest.as_ref().is_some_and(|(range, _)| range.end > cursor);
            if !to_blame && bytes.saturating_add(needed) <= slot.max_pending {
                continue;
            }
            if slot.when_full == WhenFull::DropOldest {
                let lane = slot.lane.clone();
                return Some(Holder::Dropping { lane, range: cursor..first.end });
            }
            let reject = slot.when_full == WhenFull::Reject;
            let worse = match &reluctant {
                Some(CommitError::Full { reject: known, .. }) => reject && !known,
                _ => true,
            };
            if worse {
                let sink = slot.sink.clone();
                let pending = state.next.saturating_sub(cursor);
                reluctant = Some(CommitError::Full { sink, pending, reject });
            }
        }
        if let Some(full) = reluctant {
            return Some(Holder::Reluctant(full));
        }
        if !full {
            return None;
        }
        let behind =
            |slot: &&Slot| oldest.as_ref().is_some_and(|(range, _)| range.end > slot.durable);
        // With nobody to blame there is nothing that could be let go.
        Some(
            state
                .lanes
                .iter()
                .find(behind)
                .map_or(Holder::Nobody, |slot| Holder::Unsynced(slot.lane.clone())),
        )
    }

    /// Lets go of what every lane is past. A segment goes only once every cursor that is past it is
    /// on disk for sure.
    pub(super) fn release(&self, state: &mut State) -> bool {
        for slot in &mut state.lanes {
            // Whoever holds the lane will come here afterwards.
            if let Ok(lane) = slot.lane.try_lock() {
                slot.cursor = lane.state().cursor;
                slot.durable = lane.durable();
            }
        }
        self.trim(state);
        let floor = state.lanes.iter().map(|slot| slot.durable).min().unwrap_or(state.next);
        let mut released = false;
        match &self.storage {
            Some(storage) => {
                while state.segments.get(1).is_some_and(|next| next.first <= floor)
                    && let Some(segment) = state.segments.front()
                    && storage.remove(&segment::name(segment.first)).is_ok()
                {
                    state.segments.pop_front();
                    released = true;
                }
                if released {
                    // Should the removal be undone by a crash, the next start removes them again.
                    drop(storage.sync_directory());
                    drop(self.reserve.restore());
                }
            }
            None => {
                while state.chunks.front().is_some_and(|chunk| chunk.end() <= floor)
                    && let Some(chunk) = state.chunks.pop_front()
                {
                    state.weight -= chunk.weight();
                    released = true;
                }
            }
        }
        released
    }

    /// Keeps what is in memory below its bound, where it is on disk as well.
    pub(super) fn trim(&self, state: &mut State) {
        if self.storage.is_none() {
            if state.lanes.is_empty() {
                state.chunks.clear();
                state.weight = 0;
            }
            return;
        }
        let attached = state.lanes.iter().filter(|slot| slot.attached);
        let floor = attached.map(|slot| slot.cursor).min().unwrap_or(state.next);
        while let Some(chunk) = state.chunks.front()
            && (state.weight > self.options.memory || chunk.end() <= floor)
        {
            state.weight -= chunk.weight();
            state.chunks.pop_front();
        }
    }
}
