//! What plugins are given to do, and what it takes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasink_chassis::plugin::Acknowledges;
use wasink_journal::Batch;
use wasink_record::{ControlEvent, Stream};
use wasink_wasm::World;

use crate::feed::event;
use crate::place::Place;
use crate::records::Maker;
use crate::subject::{Appender, Sink, Source, Stopped, Subject};
use crate::told;

/// What takes as long can be told from what the clock itself takes, and from the first call's surprises.
const MEASURABLE: Duration = Duration::from_millis(1);
/// So often is enough.
const MOST_TIMES: u32 = 64;

/// A plugin that is open.
pub(super) enum Opened {
    Sink(Sink),
    Source(Source),
    Appender(Appender),
}

/// Calls that are made ready before the clock runs.
pub(super) enum Work {
    /// Batches to write.
    Write(Vec<Arc<Batch>>),
    /// Events to append, call by call.
    Append(Vec<Vec<ControlEvent>>),
    /// So many polls behind `since`, each for at most `max` events.
    Poll { since: u64, max: u32, calls: usize },
}

/// What some work took.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Done {
    pub(super) wall: Duration,
    /// Of the thread that calls, on which a guest runs; `None` where that can't be told.
    pub(super) cpu: Option<Duration>,
    pub(super) records: u64,
    pub(super) exceptions: u64,
}

impl Opened {
    pub(super) fn new(subject: &Subject, place: &Place) -> Result<Self, Stopped> {
        Ok(match subject.world {
            World::Sink => Self::Sink(subject.sink(place)?),
            World::FeedSource => Self::Source(subject.source(place)?),
            World::FeedSink => Self::Appender(subject.feed_sink(place)?),
        })
    }

    /// Does the work. Where a sink acknowledges on `flush`, that is a part of it.
    pub(super) fn spend(
        &mut self,
        work: &Work,
        acknowledges: Acknowledges,
    ) -> Result<Done, String> {
        let mut done = Done::default();
        let (begun, before) = (Instant::now(), cpu());
        match (&mut *self, work) {
            (Self::Sink(sink), Work::Write(batches)) => {
                for batch in batches {
                    let exceptions = sink.write(batch).map_err(|error| told(&error))?;
                    done.exceptions += exceptions.len() as u64;
                    done.records += batch.len() as u64;
                }
                if acknowledges == Acknowledges::OnFlush {
                    sink.flush().map_err(|error| told(&error))?;
                }
            }
            (Self::Appender(sink), Work::Append(calls)) => {
                for events in calls {
                    let results = sink.append(events).map_err(|error| told(&error))?;
                    let failed = results.iter().filter(|result| result.is_err());
                    done.exceptions += failed.count() as u64;
                    done.records += events.len() as u64;
                }
            }
            (Self::Source(source), Work::Poll { since, max, calls }) => {
                for _ in 0..*calls {
                    let found = source.poll(*since, *max, Duration::ZERO);
                    done.records += found.map_err(|error| told(&error))?.len() as u64;
                }
            }
            _ => return Err("the kit has no such work for it".to_owned()),
        }
        done.wall = begun.elapsed();
        done.cpu = before.and_then(|before| Some(cpu()?.saturating_sub(before)));
        // What it still has to do is not to be found in somebody else's round.
        if let (Self::Sink(sink), Acknowledges::OnWrite) = (self, acknowledges) {
            sink.flush().map_err(|error| told(&error))?;
        }
        Ok(done)
    }

    /// Does the work again and again, until it can be measured: for one that does next to nothing.
    /// Returns what it took once.
    pub(super) fn spend_often(&mut self, work: &Work) -> Result<Done, String> {
        let mut all = Done::default();
        for times in 1..=MOST_TIMES {
            let done = self.spend(work, Acknowledges::OnWrite)?;
            all.wall += done.wall;
            all.cpu = Some(all.cpu.unwrap_or_default() + done.cpu.unwrap_or_default());
            if all.wall > MEASURABLE || times == MOST_TIMES {
                let cpu = all.cpu.filter(|_| done.cpu.is_some()).map(|cpu| cpu / times);
                return Ok(Done { wall: all.wall / times, cpu, ..done });
            }
        }
        Ok(all)
    }

    pub(super) fn close(&mut self) -> Result<(), String> {
        match self {
            Self::Sink(sink) => sink.close(),
            Self::Source(source) => source.close(),
            Self::Appender(sink) => sink.close(),
        }
        .map_err(|error| told(&error))
    }

    pub(super) fn reopen(&mut self) -> Result<(), String> {
        match self {
            Self::Sink(sink) => sink.reopen(),
            Self::Source(source) => source.reopen(),
            Self::Appender(sink) => sink.reopen(),
        }
        .map_err(Stopped::reason)
    }

    /// Bytes of memory that the instance has; 0 where there is none.
    pub(super) fn memory(&self) -> u64 {
        let memory = match self {
            Self::Sink(sink) => sink.memory(),
            Self::Source(source) => source.memory(),
            Self::Appender(sink) => sink.memory(),
        };
        memory.unwrap_or_default()
    }
}

/// A kind of call that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Write(Stream),
    Append,
    /// Behind this control version.
    Poll(u64),
}

impl Kind {
    pub(super) fn call(self) -> &'static str {
        match self {
            Self::Write(_) => "write",
            Self::Append => "append",
            Self::Poll(_) => "poll",
        }
    }
}

/// Makes work of records that no work before had.
pub(super) struct Foreman {
    maker: Maker,
}

impl Foreman {
    pub(super) fn new() -> Self {
        Self { maker: Maker::new() }
    }

    pub(super) fn work(&mut self, kind: Kind, size: usize, calls: usize) -> Result<Work, String> {
        Ok(match kind {
            Kind::Write(stream) => {
                Work::Write((0..calls).map(|_| self.maker.plain(stream, size).0).collect())
            }
            Kind::Append => {
                let call = |_| (0..size).map(|_| event(&self.maker.mark())).collect();
                Work::Append((0..calls).map(call).collect::<Result<_, String>>()?)
            }
            Kind::Poll(since) => {
                Work::Poll { since, max: u32::try_from(size).unwrap_or(u32::MAX), calls }
            }
        })
    }
}

/// CPU time of this thread so far; `None` where the system does not tell.
fn cpu() -> Option<Duration> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = u64::try_from(time.tv_sec).ok()?;
        let nanoseconds = u64::try_from(time.tv_nsec).ok()?;
        Some(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
    }
    #[cfg(not(unix))]
    None
}
