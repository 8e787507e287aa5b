//! What is tried of a sink.

mod clock;
mod receiver;

use std::sync::Arc;

use wasink_chassis::plugin::{Acknowledges, CallError, Exception, Failure, Outcome, PluginError};
use wasink_journal::Batch;
use wasink_record::Stream;

use crate::clause::{
    AGAIN, ANSWERS, CLOCK, CLOSES, EXCEPTIONS, FLUSHED, FLUSHES, GROWTH, KEEPS, REPEATS, ROUNDS,
    UNFIT, VALUES,
};
use crate::place::Place;
use crate::records::{Maker, hard};
use crate::subject::{Sink, Stopped, Subject};
use crate::{Clause, Evidence, KitError, Run, Trial, Tried, opens, rounds, told, unfit};
use receiver::RECEIVER;

/// As many records as a batch has at the most, without a configuration that says otherwise.
const LARGEST: usize = 1_024;
/// So much more memory after the second half of many records than after the first may be chance; of much
/// memory, so may a quarter.
const MOST_GROWTH: u64 = 4 << 20;

/// What can't be tried where plain records fail.
const BEHIND_ANSWERS: [Clause; 7] = [VALUES, REPEATS, CLOCK, KEEPS, FLUSHED, AGAIN, GROWTH];
/// What else can't be where it does not open.
const BEHIND_OPEN: [Clause; 6] = [UNFIT, FLUSHES, CLOSES, ROUNDS, ANSWERS, EXCEPTIONS];

/// What goes from one check to the next.
struct Sinks<'a> {
    subject: &'a mut Subject,
    maker: Maker,
    /// Whether what it makes of a record names it, so that it can be looked for.
    names_records: bool,
    /// Why plain records can't be delivered to the receiver that the kit is; `None` where they can.
    unanswered: Option<String>,
}

pub(crate) fn check(
    run: &mut Run<'_>,
    subject: &mut Subject,
    trial: &Trial,
) -> Result<(), KitError> {
    let place = subject.place()?;
    if opens(run, || subject.sink(&place)).is_none() {
        run.leave_out(&BEHIND_OPEN, "it does not open");
        run.leave_out(&BEHIND_ANSWERS, "it does not open");
        run.leave_out(&RECEIVER, "it does not open");
        return Ok(());
    }
    let odd = subject.place()?;
    unfit(run, subject, &odd);
    let mut sinks = Sinks { subject, maker: Maker::new(), names_records: false, unanswered: None };
    sinks.names_records = sinks.find_names().unwrap_or_default();
    // Whatever comes behind one that fails would tell the same once more.
    if !run.holds(|run| sinks.flushes(run))? {
        run.leave_out(&[CLOSES, ROUNDS, ANSWERS, EXCEPTIONS], "its `flush` fails already");
        run.leave_out(&BEHIND_ANSWERS, "its `flush` fails already");
        run.leave_out(&RECEIVER, "its `flush` fails already");
        return Ok(());
    }
    let closes = run.holds(|run| sinks.closes(run))?;
    if closes {
        let place = sinks.subject.place()?;
        rounds(run, trial.rounds, || sinks.open(&place)?.close().map_err(|error| told(&error)));
    } else {
        run.leave_out(&[ROUNDS], "its `close` fails already");
    }
    if let Some(why) = sinks.unanswered.clone() {
        run.leave_out(&[ANSWERS, EXCEPTIONS], &why);
        run.leave_out(&BEHIND_ANSWERS, &why);
        return sinks.receiver(run);
    }
    if !run.holds(|run| sinks.answers(run))? {
        run.leave_out(&BEHIND_ANSWERS, "plain records fail already");
        run.leave_out(&RECEIVER, "plain records fail already");
        return Ok(());
    }
    sinks.values(run)?;
    sinks.repeats(run)?;
    sinks.clock(run, trial, closes)?;
    sinks.keeps(run)?;
    if closes {
        sinks.again(run)?;
    } else {
        run.leave_out(&[AGAIN], "its `close` fails already");
    }
    sinks.growth(run, trial.records)?;
    sinks.receiver(run)
}

/// Whether an answer of this kind names records that it can't.
fn names_wrongly(error: &CallError) -> bool {
    matches!(error, CallError::Failed(Failure::Broken(reason)) if reason.starts_with("its answer names"))
}

/// Which records of a batch an answer calls as good as delivered.
fn delivered(len: usize, exceptions: &[Exception]) -> Vec<usize> {
    let not = |index: &usize| {
        exceptions
            .iter()
            .any(|exception| exception.index == *index && exception.outcome != Outcome::Duplicate)
    };
    (0..len).filter(|index| !not(index)).collect()
}

/// Whether it is to come again.
fn is_passing(exception: &Exception) -> bool {
    matches!(exception.outcome, Outcome::Retry(_) | Outcome::InDoubt(_))
}

/// Why a plain record was not delivered over TCP, where that may be because the kit does not answer in
/// the receiver's protocol.
fn unanswered(answer: &Result<Vec<Exception>, CallError>) -> Option<String> {
    let came = match answer {
        Ok(exceptions) if exceptions.iter().any(is_passing) => outcomes(exceptions),
        Err(error @ (CallError::Failed(_) | CallError::Stopped(PluginError::TimedOut { .. }))) => {
            told(error)
        }
        _ => return None,
    };
    Some(format!(
        "its receiver has to answer over TCP, in a protocol that the kit does not know; give it one \
         with `--settings` and `--grants`: {came}"
    ))
}

fn outcomes(exceptions: &[Exception]) -> String {
    let some: Vec<_> = exceptions
        .iter()
        .take(3)
        .map(|exception| format!("record {}: {:?}", exception.index, exception.outcome))
        .collect();
    format!("{} exceptions ({})", exceptions.len(), some.join(", "))
}

impl Sinks<'_> {
    fn open(&self, place: &Place) -> Result<Sink, String> {
        self.subject.sink(place).map_err(Stopped::reason)
    }

    /// A stream that it accepts.
    fn stream(&self) -> Result<Stream, String> {
        let first = self.subject.description.streams.first();
        first.copied().ok_or_else(|| "it accepts no stream".to_owned())
    }

    /// Whether a mark of a record can be found again once it is delivered.
    fn find_names(&mut self) -> Result<bool, String> {
        let place = self.subject.place().map_err(|error| error.to_string())?;
        let mut sink = self.open(&place)?;
        let stream = self.stream()?;
        let (batch, marks) = self.maker.plain(stream, 1);
        let answer = sink.write(&batch).and_then(|exceptions| {
            sink.flush()?;
            Ok(exceptions)
        });
        if self.subject.sends_tcp() {
            self.unanswered = unanswered(&answer);
        }
        answer.map_err(|error| told(&error))?;
        let lacks = place.lacks(Some(&mut sink), &marks).map_err(|error| error.to_string())?;
        Ok(lacks.is_none())
    }

    fn named(&self) -> Tried {
        match self.names_records {
            true => Ok(()),
            false => {
                Err("what it makes of records does not name them, or is not where the kit can \
                          see it"
                    .to_owned())
            }
        }
    }

    /// Writes, and puts what is wrong where it belongs.
    fn write(
        sink: &mut Sink,
        batch: &Arc<Batch>,
        what: &str,
        evidence: &mut Vec<Evidence>,
        misnamed: &mut Vec<Evidence>,
    ) -> Option<Vec<Exception>> {
        match sink.write(batch) {
            Ok(exceptions) => Some(exceptions),
            Err(error) if names_wrongly(&error) => {
                misnamed.push(Evidence::new(what, told(&error)));
                None
            }
            Err(error) => {
                evidence.push(Evidence::new(what, told(&error)));
                None
            }
        }
    }

    fn answers(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        let mut misnamed = Vec::new();
        run.check(ANSWERS, |evidence| {
            for stream in self.subject.description.streams.clone() {
                let mut sink = self.open(&place)?;
                for len in [1, 2, LARGEST] {
                    let (batch, marks) = self.maker.plain(stream, len);
                    let what = format!("`write` of {len} plain records of `{stream}`");
                    let answer = Self::write(&mut sink, &batch, &what, evidence, &mut misnamed);
                    let Some(exceptions) = answer else { break };
                    // A receiver may have reasons of its own not to take one, and say so.
                    if exceptions.iter().any(is_passing) {
                        evidence.push(Evidence::new(what, outcomes(&exceptions)));
                        continue;
                    }
                    let good = delivered(len, &exceptions);
                    let marks: Vec<_> =
                        good.into_iter().filter_map(|index| marks.get(index).cloned()).collect();
                    if let Err(error) = sink.flush() {
                        evidence.push(Evidence::new(format!("`flush` after {what}"), told(&error)));
                        break;
                    }
                    if !self.names_records {
                        continue;
                    }
                    let lacks = place.lacks(Some(&mut sink), &marks);
                    if let Some(mark) = lacks.map_err(|error| error.to_string())? {
                        let came = format!("delivered, and `{mark}` is nowhere");
                        evidence.push(Evidence::new(what, came));
                    }
                }
            }
            Ok(())
        });
        run.check(EXCEPTIONS, |evidence| {
            evidence.append(&mut misnamed);
            Ok(())
        });
        Ok(())
    }

    fn values(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(VALUES, |evidence| {
            for stream in self.subject.description.streams.clone() {
                let mut sink = self.open(&place)?;
                let records = hard(&mut self.maker, stream);
                // Each by itself, so that it is known which one it was; then all at once.
                for (what, record) in &records {
                    let batch = self.maker.batch(stream, std::slice::from_ref(record));
                    let sent = format!("`write` of a record of `{stream}` with {what}");
                    if let Some(error) = no_answer(sink.write(&batch)) {
                        let mut sent = format!("{sent}: {record}");
                        if sent.len() > 600 {
                            let cut = (0..=600).rev().find(|cut| sent.is_char_boundary(*cut));
                            sent.truncate(cut.unwrap_or_default());
                            sent.push('…');
                        }
                        evidence.push(Evidence::new(sent, told(&error)));
                        sink = self.open(&place)?;
                    }
                }
                let lines: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
                let batch = self.maker.batch(stream, &lines);
                if let Some(error) = no_answer(sink.write(&batch)) {
                    let sent = format!("`write` of all hard records of `{stream}` at once");
                    evidence.push(Evidence::new(sent, told(&error)));
                } else if let Err(error) = sink.flush() {
                    evidence.push(Evidence::new("`flush` after those", told(&error)));
                }
            }
            Ok(())
        });
        Ok(())
    }

    fn repeats(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(REPEATS, |evidence| {
            for stream in self.subject.description.streams.clone() {
                let (all, marks) = self.maker.plain(stream, 16);
                let (first, tail) = (part(&all, 0, 10)?, part(&all, 6, 10)?);
                let on = part(&all, 6, 16)?;
                let mut sink = self.open(&place)?;
                for (batch, what, anew) in [
                    (&first, "10 records", false),
                    (&first, "the same again", false),
                    (&first, "the same, to another instance", true),
                    (&tail, "the last 4 of them by themselves", false),
                    (&on, "the last 4 of them and 6 behind them", false),
                    (&tail, "the last 4 by themselves, to another instance", true),
                    (&all, "all 16", false),
                ] {
                    if anew {
                        drop(sink.flush());
                        drop(sink.close());
                        sink = self.open(&place)?;
                    }
                    let sent = format!("{what}, of `{stream}`");
                    match sink.write(batch) {
                        Ok(exceptions)
                            if delivered(batch.len(), &exceptions).len() == batch.len() => {}
                        Ok(exceptions) => evidence.push(Evidence::new(sent, outcomes(&exceptions))),
                        Err(error) => {
                            evidence.push(Evidence::new(sent, told(&error)));
                            sink = self.open(&place)?;
                        }
                    }
                }
                drop(sink.flush());
                if self.names_records {
                    let lacks = place.lacks(Some(&mut sink), &marks);
                    if let Some(mark) = lacks.map_err(|error| error.to_string())? {
                        evidence.push(Evidence::new("all of them", format!("`{mark}` is nowhere")));
                    }
                }
            }
            Ok(())
        });
        Ok(())
    }

    fn flushes(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(FLUSHES, |evidence| {
            let mut sink = self.open(&place)?;
            let mut flush = |sink: &mut Sink, what: &str| {
                if let Err(error) = sink.flush() {
                    evidence.push(Evidence::new(what, told(&error)));
                }
            };
            flush(&mut sink, "`flush` right after `open`");
            flush(&mut sink, "`flush` once more");
            // What is wrong with `write` is told elsewhere.
            if let Some(stream) = self.subject.description.streams.first().copied()
                && self.unanswered.is_none()
                && sink.write(&self.maker.plain(stream, 1).0).is_ok()
            {
                flush(&mut sink, "`flush` after `write`");
                flush(&mut sink, "`flush` after that");
            }
            Ok(())
        });
        Ok(())
    }

    /// What it has acknowledged is there although its instance is thrown away.
    fn keeps(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let on_flush = self.subject.description.acknowledges == Acknowledges::OnFlush;
        for (clause, applies) in [(KEEPS, !on_flush), (FLUSHED, on_flush)] {
            let place = self.subject.place()?;
            run.check(clause, |evidence| {
                if !applies {
                    let when = if on_flush { "flush" } else { "write" };
                    return Err(format!("it acknowledges on {when}"));
                }
                self.named()?;
                let stream = self.stream()?;
                let mut all = Vec::new();
                // What was written and not made good comes again, to another instance.
                let mut open: Option<(Arc<Batch>, Vec<String>)> = None;
                for n in 1..=3 {
                    let (batch, mut marks) = self.maker.plain(stream, 100);
                    let mut sink = self.open(&place)?;
                    let mut done = Ok(());
                    if let Some((batch, of_it)) = open.take() {
                        done = sink.write(&batch).map(drop);
                        marks.extend(of_it);
                    }
                    done = done.and_then(|()| sink.write(&batch).map(drop));
                    if on_flush {
                        let (more, of_it) = self.maker.plain(stream, 100);
                        done = done.and_then(|()| sink.flush());
                        done = done.and_then(|()| sink.write(&more).map(drop));
                        open = Some((more, of_it));
                    }
                    if let Err(error) = done {
                        evidence
                            .push(Evidence::new(format!("100 records, round {n}"), told(&error)));
                        return Ok(());
                    }
                    let kept = sink_keeps_to_itself(&mut sink, &place, &marks)?;
                    all.extend(marks);
                    // As after a kill: it is not told that it ends.
                    drop(sink);
                    if kept {
                        return Err("it keeps records in its own memory".to_owned());
                    }
                    if let Some(mark) =
                        place.lacks(None, &all).map_err(|error| error.to_string())?
                    {
                        let sent =
                            format!("100 records, acknowledged, and the instance killed: {n}");
                        evidence.push(Evidence::new(sent, format!("`{mark}` is nowhere")));
                        return Ok(());
                    }
                }
                Ok(())
            });
        }
        Ok(())
    }

    fn closes(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(CLOSES, |evidence| {
            let mut sink = self.open(&place)?;
            if let Err(error) = sink.close() {
                evidence.push(Evidence::new("`close` right after `open`", told(&error)));
            }
            let mut sink = self.open(&place)?;
            let streams = &self.subject.description.streams;
            let written = streams.first().is_none_or(|stream| {
                self.unanswered.is_none()
                    && sink.write(&self.maker.plain(*stream, 3).0).is_ok()
                    && sink.flush().is_ok()
            });
            if written && let Err(error) = sink.close() {
                evidence.push(Evidence::new("`close` after `write` and `flush`", told(&error)));
            }
            Ok(())
        });
        Ok(())
    }

    fn again(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(AGAIN, |evidence| {
            let stream = self.stream()?;
            let mut all = Vec::new();
            for n in 1..=3 {
                let what = format!("instance {n} in the same place");
                let mut sink = match self.subject.sink(&place) {
                    Ok(sink) => sink,
                    Err(stopped) => {
                        evidence.push(Evidence::new(what, stopped.reason()));
                        return Ok(());
                    }
                };
                let (batch, marks) = self.maker.plain(stream, 5);
                match sink.write(&batch).map(drop).and_then(|()| sink.flush()) {
                    Ok(()) => {}
                    Err(error) => evidence.push(Evidence::new(what.clone(), told(&error))),
                }
                let outside =
                    self.names_records && !sink_keeps_to_itself(&mut sink, &place, &marks)?;
                all.extend(marks);
                if let Err(error) = sink.close() {
                    evidence.push(Evidence::new(what.clone(), told(&error)));
                }
                if outside
                    && let Some(mark) =
                        place.lacks(None, &all).map_err(|error| error.to_string())?
                {
                    evidence.push(Evidence::new(what, format!("`{mark}` is nowhere")));
                }
            }
            Ok(())
        });
        Ok(())
    }

    fn growth(&mut self, run: &mut Run<'_>, records: usize) -> Result<(), KitError> {
        let place = self.subject.place()?;
        run.check(GROWTH, |evidence| {
            let stream = self.stream()?;
            let mut sink = self.open(&place)?;
            if sink.captures() {
                return Err("it keeps records for a harness to see".to_owned());
            }
            let (mut written, mut early, mut middle) = (0, None, None);
            while written < records {
                let (batch, _) = self.maker.plain(stream, LARGEST);
                let done = sink.write(&batch).map(drop);
                written += LARGEST;
                place.forget();
                let done = done.and_then(|()| {
                    if (written / LARGEST).is_multiple_of(16) { sink.flush() } else { Ok(()) }
                });
                if let Err(error) = done {
                    let sent = format!("{written} records in a row");
                    evidence.push(Evidence::new(sent, told(&error)));
                    return Ok(());
                }
                if written >= records / 10 && early.is_none() {
                    early = sink.memory();
                }
                if written >= records / 2 && middle.is_none() {
                    middle = sink.memory();
                }
            }
            let (Some(early), Some(middle), Some(late)) = (early, middle, sink.memory()) else {
                return Err("its memory is not known".to_owned());
            };
            if grows(early, middle, late) {
                let sent = format!("{written} records in a row");
                let came = format!(
                    "{late} bytes of memory, {middle} after half of them, {early} after a tenth"
                );
                evidence.push(Evidence::new(sent, came));
            }
            Ok(())
        });
        Ok(())
    }
}

/// Whether memory goes on growing, by what there was after a tenth, a half, and all of the records.
/// What collects garbage grows to where it stays, and ever more slowly; what leaks does not slow down.
fn grows(early: u64, middle: u64, late: u64) -> bool {
    let (first, second) = (middle.saturating_sub(early), late.saturating_sub(middle));
    second > MOST_GROWTH.max(middle / 4) && second >= first / 2
}

/// Why a call has none of the answers that it may have.
fn no_answer(answer: Result<Vec<Exception>, CallError>) -> Option<CallError> {
    // Refusing them is an answer.
    answer.err().filter(|error| !matches!(error, CallError::Failed(Failure::Rejected(_))))
}

/// The records of a batch from the `from`th to before the `to`th, as a batch of its own.
fn part(batch: &Batch, from: usize, to: usize) -> Result<Arc<Batch>, String> {
    let head = batch.split_at(to).0;
    let part = head.and_then(|head| head.split_at(from).1);
    part.map(Arc::new).ok_or_else(|| "the kit's batch has no such part".to_owned())
}

/// Whether the records are only where a harness sees them, in the instance.
fn sink_keeps_to_itself(sink: &mut Sink, place: &Place, marks: &[String]) -> Result<bool, String> {
    let inside = place.lacks(Some(sink), marks).map_err(|error| error.to_string())?;
    let outside = place.lacks(None, marks).map_err(|error| error.to_string())?;
    Ok(inside.is_none() && outside.is_some())
}

#[cfg(test)]
mod tests {
    use super::grows;

    #[test]
    fn what_leaks_grows_and_what_collects_garbage_does_not() {
        const MIB: u64 = 1 << 20;
        for (early, middle, late) in
            [(2, 2, 2), (31, 66, 66), (31, 60, 68), (1, 12, 14), (9, 9, 12)]
        {
            assert!(!grows(early * MIB, middle * MIB, late * MIB), "{early} {middle} {late}");
        }
        // 12 bytes a record, and a plugin that keeps all that it is given.
        for (early, middle, late) in [(2, 7, 12), (20, 100, 200)] {
            assert!(grows(early * MIB, middle * MIB, late * MIB), "{early} {middle} {late}");
        }
    }
}
