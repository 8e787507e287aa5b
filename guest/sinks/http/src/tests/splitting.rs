//! Requests that are refused are split until the culprit is alone; nothing is lost on the way.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use wasink_guest::http::{Answer, Error, Request};
use wasink_guest::serde_json::{Value, from_slice};
use wasink_guest::{Failure, Outcome, Sink as _};

use super::{answer, batch, receiver, sink, write};

/// Which records are in a request.
fn records(request: &Request) -> Vec<u64> {
    let body: Vec<Value> = from_slice(&request.body).unwrap();
    body.iter().map(|record| record["at"].as_u64().unwrap()).collect()
}

#[test]
fn one_bad_record_does_not_reject_the_others() {
    for bad in 0..9 {
        let sent = receiver(move |request| {
            Ok(if records(request).contains(&bad) { answer(400, "bad") } else { answer(200, "") })
        });
        let expected: String = (0..9).map(|at| if at == bad { 'x' } else { 'd' }).collect();
        assert_eq!(write(&mut sink(""), 9), expected);
        assert!(sent.borrow().len() <= 10, "{}", sent.borrow().len());
    }
}

#[test]
fn what_is_too_large_is_halved_until_it_fits() {
    let sent = receiver(|request| {
        Ok(if request.body.len() > 30 { answer(413, "") } else { answer(200, "") })
    });
    assert_eq!(write(&mut sink(""), 10), "dddddddddd");
    let taken: Vec<u64> =
        sent.borrow().iter().filter(|request| request.body.len() <= 30).flat_map(records).collect();
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
    let _sent = receiver(|_| Ok(answer(413, "too big")));
    assert_eq!(write(&mut sink(""), 4), "xxxx");
}

#[test]
fn a_split_that_is_not_done_goes_on_when_the_rest_comes_again() {
    let sent = receiver(|_| Ok(answer(400, "all bad")));
    let mut sink = sink(r#""max_requests":4"#);
    assert_eq!(write(&mut sink, 8), "xrrrrrrr");
    assert_eq!(sent.borrow().len(), 4);
}

#[test]
fn however_few_requests_a_call_may_make_a_split_comes_to_its_end() {
    for max_requests in [1, 2, 3] {
        let sent = receiver(|request| {
            Ok(if records(request).contains(&5) { answer(400, "bad") } else { answer(200, "") })
        });
        let mut sink = sink(&format!(r#""max_requests":{max_requests}"#));
        let (mut from, mut calls, mut ends) = (0, 0, String::new());
        while from < 64 {
            calls += 1;
            assert!(calls < 100, "no end in sight after {ends}");
            let some = batch(from, usize::try_from(64 - from).unwrap());
            let outcomes = sink.write(&some);
            let settled = super::fates(&some, outcomes);
            // What is left is left at the end.
            let settled = settled.trim_end_matches('r');
            assert!(!settled.contains('r'), "{settled}");
            from += u64::try_from(settled.len()).unwrap();
            ends.push_str(settled);
        }
        assert_eq!(ends.find('x'), Some(5));
        assert_eq!(ends.matches('d').count(), 63);
        assert!(sent.borrow().len() < 80, "{}", sent.borrow().len());
    }
}

/// Small, the same on every machine, and good enough to be surprised by.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

#[derive(Default)]
struct Books {
    /// How often the receiver has taken which record.
    taken: BTreeMap<u64, u32>,
}

/// A receiver in which everything goes wrong: it refuses bad records, large requests, knows
/// duplicates, is busy, loses requests, and loses its answers after it has taken a request.
fn world(seed: u64, books: Rc<RefCell<Books>>) -> impl FnMut(&Request) -> Result<Answer, Error> {
    let mut dice = Dice(seed * 2 + 1);
    let largest = 30 + usize::try_from(dice.roll(200)).unwrap();
    move |request| {
        let records = records(request);
        let mut books = books.borrow_mut();
        match dice.roll(12) {
            0 => return Ok(answer(503, "")),
            1 => return Err(Error::NotConnected("refused".into())),
            2 => return Err(Error::InDoubt("reset before".into())),
            _ => {}
        }
        if request.body.len() > largest {
            return Ok(answer(413, ""));
        }
        if records.iter().any(|at| at % 7 == 3) {
            return Ok(answer(422, "seven"));
        }
        if records.iter().any(|at| books.taken.contains_key(at)) {
            return Ok(answer(409, ""));
        }
        records.iter().for_each(|at| *books.taken.entry(*at).or_default() += 1);
        match dice.roll(6) {
            0 => Err(Error::InDoubt("reset after".into())),
            1 => Ok(answer(500, "after")),
            _ => Ok(answer(200, "")),
        }
    }
}

#[test]
fn whatever_goes_wrong_every_record_comes_to_its_end_once() {
    for seed in 1..=300 {
        let books = Rc::new(RefCell::new(Books::default()));
        let sent = receiver(world(seed, books.clone()));
        let mut dice = Dice(seed * 31 + 7);
        let settings = format!(
            r#""max_records":{},"max_bytes":{},"max_requests":{},"duplicate":[{{"status":409}}]"#,
            1 + dice.roll(20),
            12 + dice.roll(150),
            1 + dice.roll(10),
        );
        let mut sink = sink(&settings);
        let mut ends: BTreeMap<u64, char> = BTreeMap::new();
        // Of which it was said that it is not known.
        let mut doubted: BTreeSet<u64> = BTreeSet::new();
        // As the host does it: runs of records that come again, with their positions.
        let mut runs = vec![(0, 1 + dice.roll(40))];
        let mut calls = 0;
        while let Some((from, to)) = runs.pop() {
            calls += 1;
            assert!(calls < 3_000, "seed {seed} does not come to an end");
            let some = batch(from, usize::try_from(to - from).unwrap());
            let exceptions = match sink.write(&some) {
                Ok(outcomes) => outcomes.exceptions(),
                Err(failure @ (Failure::Retry { .. } | Failure::InDoubt { .. })) => {
                    if let Failure::Retry { .. } = failure {
                        let taken = books.borrow().taken.clone();
                        let unknown = |at: &u64| taken.contains_key(at) && !doubted.contains(at);
                        assert_eq!(
                            (from..to).find(unknown),
                            None,
                            "seed {seed}: said as not taken"
                        );
                    } else {
                        doubted.extend(from..to);
                    }
                    runs.push((from, to));
                    continue;
                }
                Err(other) => panic!("seed {seed}: {other}"),
            };
            let mut of: BTreeMap<u64, Outcome> = exceptions
                .into_iter()
                .map(|exception| (from + u64::from(exception.index), exception.outcome))
                .collect();
            for at in from..to {
                let end = match of.remove(&at) {
                    Some(outcome @ (Outcome::Retry(_) | Outcome::InDoubt(_))) => {
                        if let Outcome::Retry(_) = outcome {
                            let unknown = books.borrow().taken.contains_key(&at);
                            assert!(
                                !unknown || doubted.contains(&at),
                                "seed {seed}: {at} was taken"
                            );
                        } else {
                            doubted.insert(at);
                        }
                        // The host hands neighbours over together again.
                        match runs.last_mut() {
                            Some((_, to)) if *to == at => *to += 1,
                            _ => runs.push((at, at + 1)),
                        }
                        continue;
                    }
                    Some(Outcome::Rejected(reason)) => {
                        assert_eq!(reason, "status 422: seven", "seed {seed}");
                        'x'
                    }
                    Some(Outcome::Duplicate) => '=',
                    Some(Outcome::Expired) => panic!("seed {seed}: nothing expires"),
                    None => 'd',
                };
                assert_eq!(ends.insert(at, end), None, "seed {seed}: twice an end for {at}");
            }
            assert!(of.is_empty(), "seed {seed}: outcomes of no record");
        }
        let books = books.borrow();
        for (at, end) in &ends {
            // Delivered and duplicate are in the receiver, exactly once; rejected are the bad ones.
            let taken = books.taken.get(at).copied().unwrap_or_default();
            assert_eq!(taken, u32::from(*end != 'x'), "seed {seed}: {at} ended as {end}");
            assert_eq!(*end == 'x', at % 7 == 3, "seed {seed}: {at} ended as {end}");
        }
        assert_eq!(ends.len() as u64, ends.keys().last().unwrap() + 1);
        assert!(!sent.borrow().is_empty());
    }
}
