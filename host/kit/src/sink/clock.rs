//! What is tried of a sink whose wall clock is not right.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use wasink_chassis::plugin::{CallError, Failure};
use wasink_record::{Clock, SystemClock, Timestamp};

use super::{Sinks, delivered};
use crate::clause::CLOCK;
use crate::place::Place;
use crate::subject::{Sink, Stopped};
use crate::{Evidence, KitError, Run, Trial, told};

/// Nanoseconds of a year.
const YEAR: i64 = 365 * 86_400 * 1_000_000_000;

/// A clock that goes, and is wrong by so many nanoseconds.
#[derive(Default)]
struct Wrong(AtomicI64);

impl Clock for Wrong {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now().unix_nanos();
        Timestamp::from_unix_nanos(now.saturating_add(self.0.load(Ordering::SeqCst)))
    }
}

impl Sinks<'_> {
    /// The host says when it is, and it may be wrong; records are what they are.
    pub(super) fn clock(
        &mut self,
        run: &mut Run<'_>,
        trial: &Trial,
        closes: bool,
    ) -> Result<(), KitError> {
        let clock = Arc::new(Wrong::default());
        let right = self.subject.clone();
        let unset = -SystemClock.now().unix_nanos();
        let wrong = [
            ("was never set, and began in 1970", &[unset][..]),
            ("is ten years behind", &[-10 * YEAR]),
            ("is thirty years ahead", &[30 * YEAR]),
            ("is set back again and again", &[30 * YEAR, YEAR, 0, -YEAR, unset]),
        ];
        let mut places = Vec::new();
        for (what, times) in wrong {
            places.push((what, times, self.subject.place()?));
        }
        *self.subject = right.with_clock(trial, clock.clone())?;
        run.check(CLOCK, |evidence| {
            for (what, times, place) in &places {
                clock.0.store(times.first().copied().unwrap_or_default(), Ordering::SeqCst);
                let mut sink = match self.subject.sink(place) {
                    Ok(sink) => sink,
                    // It may say that it can't work so.
                    Err(Stopped::Unfit(_)) => continue,
                    Err(Stopped::Fault(reason)) => {
                        let sent = format!("`open`, while its clock {what}");
                        evidence.push(Evidence::new(sent, reason));
                        continue;
                    }
                };
                for time in *times {
                    clock.0.store(*time, Ordering::SeqCst);
                    if !self.tells(&mut sink, place, what, evidence)? {
                        break;
                    }
                }
                if closes && let Err(CallError::Stopped(error)) = sink.close() {
                    let sent = format!("`close`, while its clock {what}");
                    evidence.push(Evidence::new(sent, error.to_string()));
                }
            }
            Ok(())
        });
        *self.subject = right;
        Ok(())
    }

    /// Plain records of each stream are answered, and are there if that says so; whether it can go on.
    fn tells(
        &mut self,
        sink: &mut Sink,
        place: &Place,
        what: &str,
        evidence: &mut Vec<Evidence>,
    ) -> Result<bool, String> {
        for stream in self.subject.description.streams.clone() {
            let (batch, marks) = self.maker.plain(stream, 5);
            let sent = format!("5 plain records of `{stream}`, while its clock {what}");
            let answer = sink.write(&batch).and_then(|exceptions| {
                sink.flush()?;
                Ok(exceptions)
            });
            let exceptions = match answer {
                Ok(exceptions) => exceptions,
                Err(CallError::Failed(Failure::Broken(reason))) => {
                    evidence.push(Evidence::new(sent, reason));
                    return Ok(false);
                }
                // Not to take them is an answer.
                Err(CallError::Failed(_)) => continue,
                Err(error @ CallError::Stopped(_)) => {
                    evidence.push(Evidence::new(sent, told(&error)));
                    return Ok(false);
                }
            };
            if !self.names_records {
                continue;
            }
            let good = delivered(batch.len(), &exceptions).into_iter();
            let marks: Vec<_> = good.filter_map(|index| marks.get(index).cloned()).collect();
            let lacks = place.lacks(Some(&mut *sink), &marks);
            if let Some(mark) = lacks.map_err(|error| error.to_string())? {
                evidence.push(Evidence::new(sent, format!("delivered, and `{mark}` is nowhere")));
            }
        }
        Ok(true)
    }
}
