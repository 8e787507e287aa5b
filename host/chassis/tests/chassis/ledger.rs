//! Counts that add up at every moment, whatever plugins answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use wasink_chassis::plugin::{CallError, Exception, Failure, Outcome};

use super::kit::{Bench, Fake, Kit, PATIENCE, adds_up, retry, sink, trap, usage};

/// What a plugin answers to one call: an outcome for each record over and over, or no answer.
#[derive(Debug, Clone)]
enum Answer {
    Outcomes(Vec<u8>),
    Retry,
    Reject,
    Broken,
    Trap,
}

const SOON: Option<Duration> = Some(Duration::from_millis(1));

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        6 => prop::collection::vec(0..5_u8, 1..9).prop_map(Answer::Outcomes),
        1 => Just(Answer::Retry),
        1 => Just(Answer::Reject),
        1 => Just(Answer::Broken),
        1 => Just(Answer::Trap),
    ];
    prop::collection::vec(answer, 0..8)
}

/// Delivered, duplicate, rejected, expired: by what the plugin has answered.
type Model = Arc<Mutex<[u64; 4]>>;

fn scripted(script: Vec<Answer>) -> (Fake, Model) {
    let model = Model::default();
    let counts = model.clone();
    let mut script = script.into_iter();
    let (fake, _) = Fake::writing(move |batch| {
        let mut counts = counts.lock().unwrap();
        match script.next().unwrap_or(Answer::Outcomes(vec![0])) {
            Answer::Outcomes(outcomes) => {
                let mut exceptions = Vec::new();
                for index in 0..batch.len() {
                    let outcome = match outcomes[index % outcomes.len()] {
                        0 => {
                            counts[0] += 1;
                            continue;
                        }
                        1 => (1, Outcome::Duplicate),
                        2 => (2, Outcome::Rejected("no".to_owned())),
                        3 => (3, Outcome::Expired),
                        _ => {
                            let outcome = Outcome::Retry(SOON);
                            exceptions.push(Exception { index, outcome });
                            continue;
                        }
                    };
                    counts[outcome.0] += 1;
                    exceptions.push(Exception { index, outcome: outcome.1 });
                }
                Ok(exceptions)
            }
            Answer::Retry => Err(retry(SOON).into()),
            Answer::Reject => {
                counts[2] += batch.len() as u64;
                Err(Failure::Rejected("no".to_owned()).into())
            }
            Answer::Broken => Err(Failure::Broken("x".to_owned()).into()),
            Answer::Trap => Err(CallError::from(trap())),
        }
    });
    (fake, model)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 50, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn every_sink_of_every_stream_adds_up_at_every_moment(
        records in 0..400_u64,
        queue in 1..600_u32,
        scripts in prop::array::uniform3(answers()),
    ) {
        let [a, b, c] = scripts.map(scripted);
        let kit = Kit::default().with("a", a.0).with("b", b.0).with("c", c.0);
        let config = format!(
            "queue.records = {queue}\n{}{}{}",
            sink("a", "['usage']"),
            sink("b", "['usage', 'events']"),
            sink("c", "['events', 'control', 'usage']"),
        );
        let mut bench = Bench::new(kit, &config);
        for sink in &mut bench.config.sinks {
            sink.batch.records = 16.try_into().unwrap();
        }
        let chassis = bench.open().unwrap();
        let over = AtomicBool::new(false);
        let status = thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut accepted = 0;
                while !over.load(Ordering::SeqCst) {
                    let status = chassis.status();
                    adds_up(&status);
                    let now: u64 = status.streams.iter().map(|stream| stream.accepted).sum();
                    assert!(accepted <= now, "never fewer than before");
                    accepted = now;
                }
            });
            let events = scope.spawn(|| {
                for number in 0..records {
                    let event = wasink_record::CloudEvent::builder(number.to_string(), "t", "t");
                    chassis.events().emit(event.build().unwrap());
                }
            });
            (0..records).for_each(|number| chassis.usage().emit(usage(number.to_string())));
            events.join().unwrap();
            let status = chassis.close(PATIENCE);
            over.store(true, Ordering::SeqCst);
            watcher.join().unwrap();
            status
        });
        adds_up(&status);
        prop_assert_eq!(status.pending(), 0);
        for stream in &status.streams {
            let offered = stream.accepted + stream.dropped_full + stream.dropped_closed;
            let sent = if stream.stream == wasink_record::Stream::Control { 0 } else { records };
            prop_assert_eq!(offered, sent);
        }
        for (sink, model) in status.sinks.iter().zip([a.1, b.1, c.1]) {
            let sum = |count: fn(&wasink_chassis::LaneLedger) -> u64| -> u64 {
                sink.lanes.iter().map(count).sum()
            };
            let model = *model.lock().unwrap();
            // One more for each record that has stopped its plugin twice while it was alone.
            let stopped = sum(|lane| lane.rejected) - model[2];
            let counts = [
                sum(|lane| lane.delivered),
                sum(|lane| lane.duplicate),
                sum(|lane| lane.rejected) - stopped,
                sum(|lane| lane.expired),
            ];
            prop_assert_eq!(counts, model);
            prop_assert!(stopped <= 4, "eight answers stop no more than four records");
        }
    }
}
