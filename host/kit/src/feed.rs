//! What is tried of the ends of feeds.

use std::time::{Duration, Instant};

use wasink_record::{ControlEvent, ControlType};

use crate::clause::{ACKS, APPENDS, CLOSES, ENDURES, IDEMPOTENT, ORDER, POLLS, ROUNDS, UNFIT};
use crate::place::Place;
use crate::subject::{Stopped, Subject};
use crate::{Evidence, KitError, Run, Trial, opens, rounds, told, unfit};

/// How long a poll may take beyond what it was allowed to wait.
const SLACK: Duration = Duration::from_secs(5);

pub(crate) fn event(id: &str) -> Result<ControlEvent, String> {
    ControlEvent::builder(id, ControlType::TenantCreated)
        .tenant_id("acme")
        .build()
        .map_err(|error| error.to_string())
}

pub(crate) fn source(
    run: &mut Run<'_>,
    subject: &mut Subject,
    trial: &Trial,
) -> Result<(), KitError> {
    let place = subject.place()?;
    let Some(mut source) = opens(run, || subject.source(&place)) else {
        run.leave_out(&[UNFIT, POLLS, ORDER, ENDURES, ACKS, CLOSES, ROUNDS], "it does not open");
        return Ok(());
    };
    let odd = subject.place()?;
    unfit(run, subject, &odd);
    let filled = fill(subject, &place, trial, 20);
    let mut found = Vec::new();
    run.check(POLLS, |evidence| {
        for wait in [Duration::ZERO, Duration::from_millis(50)] {
            let begun = Instant::now();
            let what = format!("`poll` behind 0, for at most 100 events and {wait:?}");
            match source.poll(0, 100, wait) {
                Ok(events) => found = events,
                Err(error) => {
                    evidence.push(Evidence::new(what, told(&error)));
                    return Ok(());
                }
            }
            if found.is_empty() && begun.elapsed() > wait + SLACK {
                evidence.push(Evidence::new(what, format!("it took {:?}", begun.elapsed())));
            }
        }
        Ok(())
    });
    run.check(ORDER, |evidence| {
        let appended = filled?;
        if appended.iter().any(|(_, version)| *version == 0) {
            return Err("the feed sink that is to fill its feed keeps nothing".to_owned());
        }
        if found.is_empty() && appended.is_empty() {
            return Err("its feed is empty: name a feed sink that fills it".to_owned());
        }
        let got = found.iter().map(|event| (event.event_id.clone(), event.control_version));
        let got: Vec<_> = got.collect();
        if !appended.is_empty() && got != appended {
            let came = format!("{got:?}, and {appended:?} were appended");
            evidence.push(Evidence::new("`poll` behind 0", came));
            return Ok(());
        }
        let versions: Vec<_> = found.iter().map(|event| event.control_version).collect();
        // The host refuses answers that are out of order by themselves; these are several.
        for (n, since) in versions.iter().enumerate() {
            for max in [1, 2, 100] {
                let what = format!("`poll` behind {since}, for at most {max}");
                match source.poll(*since, max, Duration::ZERO) {
                    Ok(events) => {
                        let got: Vec<_> =
                            events.iter().map(|event| event.control_version).collect();
                        let behind = versions.iter().skip(n + 1).copied();
                        let expected: Vec<_> = behind.take(max as usize).collect();
                        if !got.starts_with(&expected) {
                            let came = format!("{got:?}, and {expected:?} were there before");
                            evidence.push(Evidence::new(what, came));
                        }
                    }
                    Err(error) => evidence.push(Evidence::new(what, told(&error))),
                }
            }
            if n == 10 {
                break;
            }
        }
        Ok(())
    });
    run.check(ENDURES, |evidence| {
        let end = found.last().map_or(0, |event| event.control_version);
        // A node that has all there is asks again and again; one that has just come begins at 0.
        for n in 1..=trial.rounds {
            let since = if n % 10 == 0 { 0 } else { end };
            if let Err(error) = source.poll(since, 100, Duration::ZERO) {
                let sent = format!("`poll` behind {since}, number {n} in a row");
                evidence.push(Evidence::new(sent, told(&error)));
                // What follows is to be tried nevertheless.
                return source.reopen().map_err(Stopped::reason);
            }
        }
        Ok(())
    });
    run.check(ACKS, |evidence| {
        if !source.wants_acks() {
            return Err("it does not want to know".to_owned());
        }
        let ids: Vec<_> = found.iter().map(|event| event.event_id.clone()).collect();
        for ids in [&ids, &ids] {
            if let Err(error) = source.ack(ids) {
                let sent = format!("`ack` of {} events", ids.len());
                evidence.push(Evidence::new(sent, told(&error)));
            }
        }
        Ok(())
    });
    run.check(CLOSES, |evidence| {
        if let Err(error) = source.close() {
            evidence.push(Evidence::new("`close`", told(&error)));
        }
        Ok(())
    });
    rounds(run, trial.rounds, || {
        let mut source = subject.source(&place).map_err(Stopped::reason)?;
        source.close().map_err(|error| told(&error))
    });
    Ok(())
}

/// Puts so many events where the source reads them, if there is a sink that can: ids and versions.
pub(crate) fn fill(
    subject: &Subject,
    place: &Place,
    trial: &Trial,
    count: usize,
) -> Result<Vec<(String, u64)>, String> {
    let Some(file) = &trial.feed_sink else { return Ok(Vec::new()) };
    let told_of = |reason: String| format!("the feed sink `{}`: {reason}", file.display());
    let partner = subject.partner(file, trial).map_err(told_of)?;
    let mut sink = partner.feed_sink(place).map_err(|stopped| told_of(stopped.reason()))?;
    let ids: Vec<_> = (1..=count).map(|n| format!("kit-{n}")).collect();
    let events: Result<Vec<_>, _> = ids.iter().map(|id| event(id)).collect();
    let results = sink.append(&events?).map_err(|error| told_of(told(&error)))?;
    let appended = ids.into_iter().zip(results).map(|(id, result)| match result {
        Ok(version) => Ok((id, version)),
        Err(failure) => Err(told_of(failure.to_string())),
    });
    appended.collect()
}

pub(crate) fn sink(
    run: &mut Run<'_>,
    subject: &mut Subject,
    trial: &Trial,
) -> Result<(), KitError> {
    let place = subject.place()?;
    let Some(mut sink) = opens(run, || subject.feed_sink(&place)) else {
        run.leave_out(&[UNFIT, APPENDS, IDEMPOTENT, CLOSES, ROUNDS], "it does not open");
        return Ok(());
    };
    let odd = subject.place()?;
    unfit(run, subject, &odd);
    let mut known: Vec<(String, u64)> = Vec::new();
    let mut keeps_none = false;
    run.check(APPENDS, |evidence| {
        for size in [1, 2, 100] {
            let begin = known.len();
            let ids: Vec<_> = (0..size).map(|n| format!("kit-{}-\"ü/\\ {n}", begin + n)).collect();
            let events: Result<Vec<_>, _> = ids.iter().map(|id| event(id)).collect();
            let what = format!("`append` of {size} events");
            let results = match sink.append(&events?) {
                Ok(results) => results,
                Err(error) => {
                    evidence.push(Evidence::new(what, told(&error)));
                    return Ok(());
                }
            };
            for (id, result) in ids.into_iter().zip(results) {
                let before = known.last().map_or(0, |(_, version)| *version);
                match result {
                    Ok(0) => keeps_none = true,
                    Ok(version) if version > before => known.push((id, version)),
                    Ok(version) => {
                        let came = format!("`{id}` got {version}, behind {before}");
                        evidence.push(Evidence::new(what.clone(), came));
                    }
                    Err(failure) => {
                        evidence.push(Evidence::new(what.clone(), failure.to_string()));
                    }
                }
            }
        }
        if keeps_none {
            Err("it gives no control versions: it keeps nothing".to_owned())
        } else {
            Ok(())
        }
    });
    run.check(IDEMPOTENT, |evidence| {
        if known.is_empty() {
            return Err("it gives no control versions".to_owned());
        }
        for which in ["the same instance", "another instance"] {
            if which == "another instance" {
                drop(sink.close());
                sink = subject.feed_sink(&place).map_err(Stopped::reason)?;
            }
            for chunk in known.chunks(50) {
                let events: Result<Vec<_>, _> = chunk.iter().map(|(id, _)| event(id)).collect();
                let results = match sink.append(&events?) {
                    Ok(results) => results,
                    Err(error) => {
                        evidence
                            .push(Evidence::new(format!("once more, to {which}"), told(&error)));
                        return Ok(());
                    }
                };
                for ((id, version), result) in chunk.iter().zip(results) {
                    if result.as_ref() != Ok(version) {
                        let came = format!("{result:?}, and {version} before");
                        let sent = format!("`{id}` once more, to {which}");
                        evidence.push(Evidence::new(sent, came));
                    }
                }
            }
        }
        Ok(())
    });
    run.check(CLOSES, |evidence| {
        if let Err(error) = sink.close() {
            evidence.push(Evidence::new("`close`", told(&error)));
        }
        Ok(())
    });
    rounds(run, trial.rounds, || {
        let mut sink = subject.feed_sink(&place).map_err(Stopped::reason)?;
        sink.close().map_err(|error| told(&error))
    });
    Ok(())
}
