//! What is tried of a sink whose receiver does not do what it should.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasink_chassis::plugin::{Acknowledges, CallError, Exception, Failure, Outcome, PluginError};
use wasink_journal::Batch;
use wasink_record::Stream;

use super::{Sinks, delivered, outcomes};
use crate::clause::{COPES, DOUBT, HONEST, PATIENCE, RECOVERS};
use crate::place::Place;
use crate::receiver::{ANSWERS, Mood, TcpMood};
use crate::subject::{Sink, Stopped};
use crate::{Clause, Evidence, KitError, Run, Tried, told};

/// What is tried here.
pub(super) const RECEIVER: [Clause; 5] = [HONEST, DOUBT, COPES, RECOVERS, PATIENCE];

/// Where the clauses do not hold.
#[derive(Default)]
struct Found {
    doubtful: Vec<Evidence>,
    fallen: Vec<Evidence>,
    unrecovered: Vec<Evidence>,
    held: Vec<Evidence>,
}

impl Found {
    /// Says so, of each clause but the first.
    fn tell(mut self, run: &mut Run<'_>, doubt: Tried, recovers: Tried) {
        for (clause, found, tried) in [
            (DOUBT, &mut self.doubtful, doubt),
            (COPES, &mut self.fallen, Ok(())),
            (RECOVERS, &mut self.unrecovered, recovers),
            (PATIENCE, &mut self.held, Ok(())),
        ] {
            run.check(clause, |evidence| {
                evidence.append(found);
                tried
            });
        }
    }
}

impl Sinks<'_> {
    /// A receiver that does not do what it should.
    pub(super) fn receiver(&mut self, run: &mut Run<'_>) -> Result<(), KitError> {
        let stream = match self.stream() {
            Ok(stream) => stream,
            Err(why) => {
                run.leave_out(&RECEIVER, &why);
                return Ok(());
            }
        };
        if self.subject.sends_http() {
            self.over_http(run, stream)
        } else if self.subject.sends_tcp() {
            self.over_tcp(run, stream)
        } else {
            run.leave_out(&RECEIVER, "it has no receiver that the kit can be");
            Ok(())
        }
    }

    fn over_http(&mut self, run: &mut Run<'_>, stream: Stream) -> Result<(), KitError> {
        let refusing = [500, 502, 503, 429, 408].map(Mood::Refuses);
        // A gateway that says 504 has lost the answer of whoever is behind it.
        let lost = [Mood::Ends, Mood::Silent, Mood::CutsOff, Mood::Babbles, Mood::GivesUp];
        // What it makes of these is right if it knows the receiver: nobody else can tell.
        let said = ANSWERS.iter().map(Mood::Says);
        let mut found = Found::default();
        let mut places = Vec::new();
        for mood in refusing.into_iter().chain(lost).chain(said) {
            places.push((mood, self.subject.place()?));
        }
        run.check(HONEST, |evidence| {
            for (mood, place) in &places {
                place.is(*mood);
                let mut sink = self.open(place)?;
                let (batch, marks) = self.maker.plain(stream, 4);
                let what = format!("4 records, to a receiver that {}", mood.words());
                let before = place.requests();
                let answer = self.gives(&mut sink, &batch, &what, &mut found);
                if !matches!(mood, Mood::Says(_)) {
                    evidence.extend(untrue(&what, batch.len(), &answer));
                }
                if lost.contains(mood) && place.requests() > before && says_retry(&answer) {
                    let came = "`retry`, though the receiver may have taken them".to_owned();
                    found.doubtful.push(Evidence::new(what.clone(), came));
                }
                place.is(Mood::Takes);
                if let Err(reason) = self.recovers(place, &batch, &marks) {
                    found.unrecovered.push(Evidence::new(what, reason));
                }
            }
            let place = self.subject.place().map_err(|error| error.to_string())?;
            place.is(Mood::Drips);
            let mut sink = self.open(&place)?;
            let (batch, _) = self.maker.plain(stream, 1);
            let what = "a record, to a receiver that answers a byte at a time";
            drop(self.gives(&mut sink, &batch, what, &mut found));
            Ok(())
        });
        found.tell(run, Ok(()), Ok(()));
        Ok(())
    }

    fn over_tcp(&mut self, run: &mut Run<'_>, stream: Stream) -> Result<(), KitError> {
        let mut found = Found::default();
        let mut places = Vec::new();
        for _ in 0..7 {
            places.push(self.subject.place()?);
        }
        let mut places = places.into_iter();
        let mut place = || places.next().ok_or_else(|| "the kit has no more places".to_owned());
        run.check(HONEST, |evidence| {
            for goes in [false, true] {
                self.refused(stream, &place()?, goes, evidence, &mut found)?;
            }
            let moods = [
                TcpMood::Takes,
                TcpMood::NeverReads,
                TcpMood::Slow,
                TcpMood::Resets,
                TcpMood::Ends,
            ];
            for mood in moods {
                self.strained(stream, &place()?, mood, &mut found)?;
            }
            Ok(())
        });
        let doubt = "a receiver over TCP that the kit can be answers nothing: it can't tell what it \
                     has had";
        let recovers = match &self.unanswered {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        };
        found.tell(run, Err(doubt.to_owned()), recovers);
        Ok(())
    }

    /// Nothing listens: from the beginning, or once it `goes`.
    fn refused(
        &mut self,
        stream: Stream,
        place: &Place,
        goes: bool,
        evidence: &mut Vec<Evidence>,
        found: &mut Found,
    ) -> Tried {
        let what = match goes {
            false => "4 records, to a receiver that refuses connections",
            true => "4 records, to a receiver that has ended all connections and refuses others",
        };
        if !goes {
            changes(place, TcpMood::Refuses)?;
        }
        let Some(mut sink) = self.opens(place, what, found)? else { return Ok(()) };
        if goes {
            let (batch, marks) = self.maker.plain(stream, 1);
            drop(self.gives(&mut sink, &batch, "a record, to the receiver", found));
            // What has not been read would make the end of the connection another one.
            place.lacks(None, &marks).map_err(|error| error.to_string())?;
            changes(place, TcpMood::Refuses)?;
        }
        let (batch, marks) = self.maker.plain(stream, 4);
        let answer = self.gives(&mut sink, &batch, what, found);
        evidence.extend(untrue(what, batch.len(), &answer));
        self.takes_again(place, &batch, &marks, what, found)
    }

    /// It is there, and not as it should be. Whether a record has come nobody can tell here but the
    /// receiver. Never is so much sent that the system's buffers are full: no connection of a plugin
    /// ends before what is in it has gone, so none could give up in time.
    fn strained(
        &mut self,
        stream: Stream,
        place: &Place,
        mood: TcpMood,
        found: &mut Found,
    ) -> Tried {
        let what = format!("4 records, to a receiver that {}", mood.words());
        changes(place, mood)?;
        let (batch, marks) = self.maker.plain(stream, 4);
        if let Some(mut sink) = self.opens(place, &what, found)? {
            // The second time it may know what has become of its connection.
            for _ in 0..2 {
                if self.gives(&mut sink, &batch, &what, found).is_err() {
                    break;
                }
            }
        }
        self.takes_again(place, &batch, &marks, &what, found)
    }

    /// Opens it while the receiver is as it is; `None` where it says no, as it may.
    fn opens(&self, place: &Place, what: &str, found: &mut Found) -> Result<Option<Sink>, String> {
        let begun = Instant::now();
        match self.subject.sink(place) {
            Ok(sink) => Ok(Some(sink)),
            Err(Stopped::Unfit(_)) => Ok(None),
            Err(Stopped::Fault(reason)) => {
                let late = begun.elapsed() >= self.subject.timeout;
                let list = if late { &mut found.held } else { &mut found.fallen };
                list.push(Evidence::new(format!("`open`, before {what}"), reason));
                Ok(None)
            }
        }
    }

    fn takes_again(
        &self,
        place: &Place,
        batch: &Arc<Batch>,
        marks: &[String],
        what: &str,
        found: &mut Found,
    ) -> Tried {
        changes(place, TcpMood::Takes)?;
        if self.unanswered.is_none()
            && let Err(reason) = self.recovers(place, batch, marks)
        {
            found.unrecovered.push(Evidence::new(what, reason));
        }
        Ok(())
    }

    /// Writes, and flushes where that is when records count as delivered. What no call may come to is
    /// told here.
    fn gives(
        &self,
        sink: &mut Sink,
        batch: &Arc<Batch>,
        what: &str,
        found: &mut Found,
    ) -> Result<Vec<Exception>, CallError> {
        let on_flush = self.subject.description.acknowledges == Acknowledges::OnFlush;
        let begun = Instant::now();
        let answer = match sink.write(batch) {
            Ok(exceptions) if on_flush && exceptions.is_empty() => {
                sink.flush().map(|()| exceptions)
            }
            other => other,
        };
        match &answer {
            Err(CallError::Stopped(error @ PluginError::TimedOut { .. })) => {
                found.held.push(Evidence::new(what, error.to_string()));
            }
            Err(CallError::Stopped(error)) => {
                found.fallen.push(Evidence::new(what, error.to_string()));
            }
            // It was about to be.
            _ if begun.elapsed() + Duration::from_secs(1) > self.subject.timeout => {
                found.held.push(Evidence::new(what, format!("{:?}", begun.elapsed())));
            }
            _ => {}
        }
        answer
    }

    /// Another instance delivers the same to a receiver that takes it.
    fn recovers(&self, place: &Place, batch: &Arc<Batch>, marks: &[String]) -> Tried {
        let mut sink = self.open(place)?;
        let mut last = String::new();
        for _ in 0..5 {
            match sink.write(batch) {
                Ok(exceptions) if delivered(batch.len(), &exceptions).len() == batch.len() => {
                    sink.flush().map_err(|error| told(&error))?;
                    if !self.names_records {
                        return Ok(());
                    }
                    let lacks = place.lacks(Some(&mut sink), marks);
                    return match lacks.map_err(|error| error.to_string())? {
                        Some(mark) => Err(format!("then delivered, and `{mark}` is nowhere")),
                        None => Ok(()),
                    };
                }
                Ok(exceptions) => last = outcomes(&exceptions),
                Err(error) => last = told(&error),
            }
        }
        Err(format!("it takes all again, and the same records are still not delivered: {last}"))
    }
}

fn changes(place: &Place, mood: TcpMood) -> Tried {
    place.is_tcp(mood).map_err(|error| format!("the kit's receiver: {error}"))
}

/// Records that are said to be delivered, where none is.
fn untrue(what: &str, len: usize, answer: &Result<Vec<Exception>, CallError>) -> Option<Evidence> {
    let good = delivered(len, answer.as_ref().ok()?);
    let came = || format!("records {good:?} are said to be delivered");
    (!good.is_empty()).then(|| Evidence::new(what, came()))
}

/// Whether an answer says that the receiver has not got the records.
fn says_retry(answer: &Result<Vec<Exception>, CallError>) -> bool {
    match answer {
        Ok(exceptions) => {
            exceptions.iter().any(|exception| matches!(exception.outcome, Outcome::Retry(_)))
        }
        Err(error) => matches!(error, CallError::Failed(Failure::Retry { .. })),
    }
}
