//! Records of which nobody knows whether the receiver has them, and those that are handed over again.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use wasink_journal::{Batch, Fate};

use super::item::Item;
use super::{Books, Delivery, Halt, LONGEST_HINT, Patience, between};
use crate::logger::Level;
use crate::replay;
use crate::status::SinkState;

impl Delivery {
    /// Where it is not known whether the receiver has the records, and it would not recognise them
    /// any more, only a person can tell: the reason to wait for one.
    pub(super) fn too_late_to_ask_again(&self, item: &Item) -> Option<String> {
        let (window, doubt) = self.about.dedup_window.zip(item.doubt)?;
        if between(doubt, self.clock.now()) <= window {
            return None;
        }
        Some(format!(
            "it is not known whether the receiver has the records {} to {}, handed over at {doubt}, \
             and it recognises them only for {window:?}; find out, and say `wasink held resend \
             {sink}` or `wasink held discard {sink}`",
            item.batch.position(),
            item.batch.end() - 1,
            sink = self.sink,
        ))
    }

    /// Waits until somebody asks something.
    pub(super) fn hold(&mut self, reason: String, patience: &mut dyn Patience) -> Result<(), Halt> {
        let held = SinkState::Held { reason: reason.clone() };
        if self.state.get() != held {
            self.log(Level::Error, "holding records in doubt", &[("reason", reason.into())]);
            self.state.set(held);
        }
        loop {
            patience.wait(Instant::now() + LONGEST_HINT)?;
        }
    }

    /// It has been said what became of records in doubt. Where they are to be handed over again, the
    /// journal gives them once more, and all that comes behind them; else they are gone.
    pub(crate) fn doubt_is_over(&mut self, lane: usize, range: &Range<u64>, again: bool) {
        let end = if again { u64::MAX } else { range.end };
        let keep = |item: Item| item.without(lane, &(range.start..end));
        self.work = std::mem::take(&mut self.work).into_iter().flat_map(keep).collect();
        let deferred = std::mem::take(&mut self.deferred).into_iter();
        self.deferred = deferred
            .flat_map(|(item, due)| keep(item).into_iter().map(move |item| (item, due)))
            .collect();
        // What was taken of them is not settled a second time.
        self.unflushed.retain(|(item, _)| !keep(item.part(item.batch.clone(), 0)).is_empty());
        for item in self.work.iter_mut().filter(|item| item.lane == lane) {
            item.doubt = None;
        }
        self.succeeded();
    }

    /// Hands a record over once more whose dead letter this is. What the plugin has taken before is
    /// made good first, so that a flush says something about this one alone.
    pub(crate) fn hand_over_again(
        &mut self,
        batch: &Arc<Batch>,
        books: &mut dyn Books,
    ) -> Result<Fate, String> {
        self.make_good_what_there_is(books);
        let answer = self.call(batch).and_then(|exceptions| {
            self.guarded("flush", |plugin| plugin.flush())?;
            Ok(exceptions)
        });
        if let Err(error) = &answer {
            self.broke(error);
        }
        replay::fate(answer)
    }
}
