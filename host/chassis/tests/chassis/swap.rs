//! Versions of plugins that take over from each other while records flow.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasink_chassis::hooks::Hooks;
use wasink_chassis::plugin::{CallError, Exception, Outcome, PluginVersion};
use wasink_chassis::{Chassis, Event, SinkState, Stage, SwapError, Target};

use super::kit::{
    Bench, Call, Fake, Gate, Kit, PATIENCE, adds_up, interrupted, lane, next_write, one, retry,
    rids, sink, trap, usage,
};

/// Tells of every event, and of grace periods.
#[derive(Default)]
struct Told {
    events: Mutex<Vec<Event>>,
    expiries: Mutex<Vec<String>>,
}

impl Hooks for Told {
    fn swap(&self, event: &Event) {
        self.events.lock().unwrap().push(event.clone());
    }

    fn grace_expired(&self, _: &str, version: &PluginVersion) {
        self.expiries.lock().unwrap().push(version.digest.clone());
    }
}

fn open(bench: &Bench) -> (Chassis, Arc<Told>) {
    let told = Arc::new(Told::default());
    let mut parts = bench.parts();
    parts.hooks = told.clone();
    (Chassis::open(&bench.config, &parts).unwrap(), told)
}

/// A bench with one sink whose exchanges are as `swap` says.
fn bench(fake: Fake, swap: &str) -> Bench {
    Bench::new(
        Kit::default().with("a", fake),
        &(format!("[swap]\n{swap}\n") + &sink("a", "['usage']")),
    )
}

/// A version with an instance for the rehearsal and one to work with.
fn deploy(bench: &Bench, digest: &str, works: Fake) {
    let mut rehearsal = Fake::new().0;
    rehearsal.description = works.description.clone();
    bench.kit.deploy("a", digest, vec![rehearsal, works]);
}

fn wait_for(chassis: &Chassis, what: impl Fn(&wasink_chassis::PluginState) -> bool) {
    let over = std::time::Instant::now() + PATIENCE;
    while !what(&chassis.plugins()[0]) {
        assert!(std::time::Instant::now() < over, "{:?}", chassis.plugins());
        std::thread::yield_now();
    }
}

fn digest(chassis: &Chassis) -> String {
    chassis.plugins()[0].version.clone().unwrap().digest
}

fn calls(announced: &Receiver<Call>) -> Vec<&'static str> {
    let name = |call| match call {
        Call::Write(_) => "write",
        Call::Flush => "flush",
        Call::Reopen => "reopen",
        Call::Close => "close",
    };
    announced.try_iter().map(name).collect()
}

#[test]
fn a_new_version_goes_on_where_the_old_one_ends() {
    let (old, old_calls) = Fake::new();
    let (new, new_calls) = Fake::new();
    let bench = bench(old, "probation = '0s'");
    let (chassis, told) = open(&bench);
    chassis.usage().emit(usage("first"));
    assert_eq!(rids(&next_write(&old_calls)), ["first"]);
    deploy(&bench, "sha256:11", new);
    let swapped = chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(swapped.version.digest, "sha256:11");
    assert_eq!(swapped.previous.unwrap().digest, "sha256:00");
    assert_eq!(calls(&old_calls), ["flush", "close"]);
    chassis.usage().emit(usage("second"));
    assert_eq!(rids(&next_write(&new_calls)), ["second"]);
    let stages: Vec<_> = told.events.lock().unwrap().iter().map(|event| event.stage).collect();
    assert_eq!(stages, [Stage::Preparing, Stage::Exchanging, Stage::InCharge]);
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((lane(&status).delivered, status.pending()), (2, 0));
    assert_eq!(status.sinks[0].version.clone().unwrap().digest, "sha256:11");
}

#[test]
fn a_sink_without_what_it_is_granted_keeps_no_other_from_changing() {
    let ((old, _), (new, new_calls)) = (Fake::new(), Fake::new());
    let lacking = "[[sink]]\nname = 'lacking'\nplugin = 'a'\nstreams = ['usage']\n\
                   on_open_failure = 'degrade'\ngrants.secrets = ['token']\n\
                   [[secret]]\nname = 'token'\nenvironment = 'NO_SUCH_TOKEN'\n";
    let config = format!("[swap]\nprobation = '0s'\n{}{lacking}", sink("a", "['usage']"));
    let bench = Bench::new(Kit::default().with("a", old), &config);
    let (chassis, _) = open(&bench);
    deploy(&bench, "sha256:11", new);
    chassis.swap("a", &Target::Directory).unwrap();
    chassis.usage().emit(usage("after"));
    assert_eq!(rids(&next_write(&new_calls)), ["after"]);
    let status = chassis.close(PATIENCE);
    let lacking = &status.sinks[1];
    assert!(matches!(lacking.state, SinkState::Degraded { .. }), "{lacking:?}");
    assert_eq!((lacking.version.clone(), lacking.lanes[0].pending), (None, 1));
}

#[test]
fn the_same_bytes_are_not_exchanged() {
    let (old, old_calls) = Fake::new();
    let bench = bench(old, "");
    let (chassis, _) = open(&bench);
    let swapped = chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(swapped.previous, Some(swapped.version));
    assert_eq!((swapped.stall, swapped.stage), (Duration::ZERO, Stage::InCharge));
    assert!(calls(&old_calls).is_empty());
    assert_eq!(chassis.plugins()[0].exchanges, 0);
}

#[test]
fn a_version_that_fails_its_rehearsal_leaves_the_old_one_untouched() {
    let (old, old_calls) = Fake::new();
    let bench = bench(old, "");
    let (chassis, _) = open(&bench);
    bench.kit.deploy_refusing("a", "sha256:11");
    let refused = chassis.swap("a", &Target::Directory).unwrap_err().to_string();
    assert!(refused.contains("not today"), "{refused}");
    assert!(calls(&old_calls).is_empty());
    let state = &chassis.plugins()[0];
    assert_eq!((state.stage, state.exchanges), (Stage::InCharge, 0));
    assert!(state.reason.as_ref().unwrap().contains("not today"));
    assert_eq!(digest(&chassis), "sha256:00");
}

#[test]
fn a_version_that_does_not_open_at_its_sink_gives_the_old_one_back() {
    let (old, old_calls) = Fake::new();
    let bench = bench(old, "");
    let (chassis, _) = open(&bench);
    // An instance for the rehearsal, and none to work with.
    bench.kit.deploy("a", "sha256:11", vec![Fake::new().0]);
    let refused = chassis.swap("a", &Target::Directory).unwrap_err().to_string();
    assert!(refused.contains("sink `a`") && refused.contains("not today"), "{refused}");
    chassis.usage().emit(usage("r"));
    assert_eq!(rids(&next_write(&old_calls)), ["r"]);
    assert_eq!(digest(&chassis), "sha256:00");
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.pending()), (1, 0));
}

#[test]
fn all_sinks_of_a_plugin_change_or_none() {
    let text = "[[sink]]\nname = 'x'\nplugin = 'a'\nstreams = ['usage']\nbatch.age = '0s'\n\
                [[sink]]\nname = 'y'\nplugin = 'a'\nstreams = ['usage']\nbatch.age = '0s'\n";
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![Fake::new().0, Fake::new().0, Fake::new().0]);
    let bench = Bench::new(kit, text);
    let (chassis, _) = open(&bench);
    // Two for the rehearsals, and one to work with: the other sink gets none.
    bench.kit.deploy("a", "sha256:11", vec![Fake::new().0, Fake::new().0, Fake::new().0]);
    chassis.swap("a", &Target::Directory).unwrap_err();
    let status = chassis.status();
    let digests = status.sinks.iter().map(|sink| sink.version.clone().unwrap().digest);
    assert_eq!(digests.collect::<Vec<_>>(), ["sha256:00", "sha256:00"]);
    chassis.usage().emit(usage("r"));
    let status = chassis.close(PATIENCE);
    assert_eq!(status.pending(), 0);
    assert!(status.sinks.iter().all(|sink| sink.lanes[0].delivered == 1));
}

#[test]
fn a_version_that_stops_in_probation_gives_the_old_one_back_and_nothing_is_lost() {
    let (first, first_calls) = Fake::new();
    let (again, again_calls) = Fake::new();
    let (bad, bad_calls) = Fake::writing(|_| Err(trap().into()));
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![first, again]);
    let bench = Bench::new(kit, &sink("a", "['usage']"));
    let (chassis, told) = open(&bench);
    chassis.usage().emit(usage("one"));
    next_write(&first_calls);
    deploy(&bench, "sha256:11", bad);
    assert_eq!(chassis.swap("a", &Target::Directory).unwrap().stage, Stage::Probation);
    chassis.usage().emit(usage("two"));
    assert_eq!(rids(&next_write(&bad_calls)), ["two"]);
    assert_eq!(rids(&next_write(&bad_calls)), ["two"]);
    assert_eq!(rids(&next_write(&again_calls)), ["two"]);
    wait_for(&chassis, |state| state.stage == Stage::InCharge);
    let state = &chassis.plugins()[0];
    assert_eq!(state.version.clone().unwrap().digest, "sha256:00");
    assert!(state.reason.as_ref().unwrap().contains("unreachable"), "{state:?}");
    let none = chassis.roll_back("a").unwrap_err();
    assert!(
        matches!(none, SwapError::NoVersion { .. }),
        "what failed is none to go back to: {none}"
    );
    let stages: Vec<_> =
        told.events.lock().unwrap().iter().map(|event| event.stage).take(5).collect();
    let way = [Stage::Preparing, Stage::Exchanging, Stage::Probation, Stage::Returning];
    assert_eq!(stages, [&way[..], &[Stage::InCharge]].concat());
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((lane(&status).delivered, lane(&status).rejected), (2, 0));
}

#[test]
fn a_swap_that_fails_in_probation_leaves_nothing_to_go_back_to() {
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![Fake::new().0, Fake::new().0]);
    let bench = Bench::new(kit, &sink("a", "['usage']"));
    let (chassis, _) = open(&bench);
    deploy(&bench, "sha256:11", Fake::writing(|_| Err(trap().into())).0);
    chassis.swap("a", &Target::Directory).unwrap();
    // An instance for the rehearsal, and none to work with.
    bench.kit.deploy("a", "sha256:22", vec![Fake::new().0]);
    chassis.swap("a", &Target::Directory).unwrap_err();
    assert_eq!(chassis.plugins()[0].stage, Stage::InCharge);
    chassis.usage().emit(usage("poison"));
    let over = std::time::Instant::now() + PATIENCE;
    while lane(&chassis.status()).pending > 0 || lane(&chassis.status()).rejected == 0 {
        assert!(std::time::Instant::now() < over, "{:?}", chassis.status());
        std::thread::yield_now();
    }
    let at_work = chassis.status().sinks[0].version.clone().unwrap().digest;
    assert_eq!((at_work, digest(&chassis)), ("sha256:11".to_owned(), "sha256:11".to_owned()));
}

#[test]
fn a_version_that_rejects_too_much_gives_the_old_one_back() {
    let reject = |batch: &wasink_journal::Batch| -> Result<Vec<Exception>, CallError> {
        let rejected = |index| Exception { index, outcome: Outcome::Rejected("no".to_owned()) };
        Ok((0..batch.len()).map(rejected).collect())
    };
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![Fake::new().0, Fake::new().0]);
    let bench = Bench::new(kit, &sink("a", "['usage']"));
    let (chassis, _) = open(&bench);
    deploy(&bench, "sha256:11", Fake::writing(reject).0);
    chassis.swap("a", &Target::Directory).unwrap();
    let recorder = chassis.usage();
    for n in 0..3000 {
        recorder.emit_when_room(usage(n.to_string())).unwrap();
    }
    wait_for(&chassis, |state| state.stage == Stage::InCharge);
    assert_eq!(digest(&chassis), "sha256:00");
    let reason = chassis.plugins()[0].reason.clone().unwrap();
    assert!(reason.contains("rejects") && reason.contains("of a hundred"), "{reason}");
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!(status.pending(), 0);
}

#[test]
fn a_version_that_keeps_its_sink_going_has_proved_itself() {
    let bench = bench(Fake::new().0, "probation = '50ms'");
    let (chassis, _) = open(&bench);
    deploy(&bench, "sha256:11", Fake::new().0);
    assert_eq!(chassis.swap("a", &Target::Directory).unwrap().stage, Stage::Probation);
    wait_for(&chassis, |state| state.stage == Stage::InCharge);
    assert_eq!(digest(&chassis), "sha256:11");
    assert_eq!(chassis.swap_events(Some("a"), 1)[0].reason, "it has proved itself");
}

#[test]
fn a_sink_that_waits_to_try_again_changes_at_once() {
    // An operator who mends a plugin need not wait for the next attempt of the broken one.
    let hour = Duration::from_secs(3600);
    let (old, old_calls) = Fake::writing(move |_| Err(retry(Some(hour)).into()));
    let (new, new_calls) = Fake::new();
    let bench = bench(old, "");
    let (chassis, _) = open(&bench);
    chassis.usage().emit(usage("r"));
    assert_eq!(rids(&next_write(&old_calls)), ["r"]);
    deploy(&bench, "sha256:11", new);
    chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(rids(&next_write(&new_calls)), ["r"]);
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.pending()), (1, 0));
}

#[test]
fn a_batch_that_outlasts_the_grace_period_is_cut_off_and_delivered_again() {
    let gate = Arc::new(Gate::default());
    let (old, old_calls) = Fake::gated(&gate);
    let (new, new_calls) = Fake::new();
    let bench = bench(old, "grace = '20ms'");
    let (chassis, told) = open(&bench);
    chassis.usage().emit(usage("r"));
    next_write(&old_calls);
    deploy(&bench, "sha256:11", new);
    chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(rids(&next_write(&new_calls)), ["r"]);
    assert_eq!(*told.expiries.lock().unwrap(), ["sha256:00"]);
    assert_eq!(chassis.plugins()[0].grace_expiries, 1);
    assert_eq!(gate.interrupts(), 1);
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.pending()), (1, 0));
}

#[test]
fn what_was_taken_and_not_flushed_goes_with_the_old_version_or_to_the_new_one() {
    for flushes in [true, false] {
        let (mut old, old_calls) = Fake::new();
        old.description.acknowledges = wasink_chassis::plugin::Acknowledges::OnFlush;
        old.flush = Box::new(move || if flushes { Ok(()) } else { Err(interrupted().into()) });
        let (new, new_calls) = Fake::new();
        let bench = bench(old, "");
        // Nothing is flushed by itself while the sink has to wait for its next batch.
        let (chassis, _) = open(&bench);
        chassis.usage().emit(usage("r"));
        next_write(&old_calls);
        deploy(&bench, "sha256:11", new);
        chassis.swap("a", &Target::Directory).unwrap();
        chassis.usage().emit(usage("s"));
        let written = next_write(&new_calls);
        assert_eq!(rids(&written)[0], if flushes { "s" } else { "r" });
        let status = chassis.close(PATIENCE);
        assert_eq!((lane(&status).delivered, status.pending()), (2, 0), "{flushes}");
    }
}

#[test]
fn a_second_request_is_told_what_is_under_way() {
    let gate = Arc::new(Gate::default());
    let (old, old_calls) = Fake::gated(&gate);
    let bench = bench(old, "grace = '1h'");
    let (chassis, _) = open(&bench);
    chassis.usage().emit(usage("r"));
    next_write(&old_calls);
    deploy(&bench, "sha256:11", Fake::new().0);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| chassis.swap("a", &Target::Directory));
        wait_for(&chassis, |state| state.stage == Stage::Exchanging);
        let busy = chassis.swap("a", &Target::Directory).unwrap_err();
        assert!(matches!(&busy, SwapError::Busy { operation, .. } if operation.id == 1), "{busy}");
        assert!(busy.to_string().contains("exchanging"), "{busy}");
        gate.open();
        first.join().unwrap().unwrap();
    });
}

#[test]
fn the_version_before_is_in_charge_again_after_a_rollback() {
    let kit = Kit::default();
    let (again, calls) = Fake::new();
    kit.deploy("a", "sha256:00", vec![Fake::new().0, again]);
    let bench = Bench::new(kit, &sink("a", "['usage']"));
    let (chassis, _) = open(&bench);
    let none = chassis.roll_back("a").unwrap_err().to_string();
    assert!(none.contains("no version"), "{none}");
    deploy(&bench, "sha256:11", Fake::new().0);
    chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(chassis.roll_back("a").unwrap().version.digest, "sha256:00");
    chassis.usage().emit(usage("r"));
    assert_eq!(rids(&next_write(&calls)), ["r"]);
}

#[test]
fn a_sink_that_could_not_open_opens_with_a_version_that_can() {
    let text = sink("a", "['usage']") + "on_open_failure = 'degrade'\n";
    let bench = Bench::new(Kit::default().with_refusing("a"), &text);
    let (chassis, _) = open(&bench);
    chassis.usage().emit(usage("r"));
    let (new, calls) = Fake::new();
    deploy(&bench, "sha256:11", new);
    chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(rids(&next_write(&calls)), ["r"]);
    let status = chassis.close(PATIENCE);
    assert_eq!((lane(&status).delivered, status.pending()), (1, 0));
}

#[test]
fn an_unknown_plugin_is_answered_with_those_that_are_used() {
    let bench = one(Fake::new().0);
    let (chassis, _) = open(&bench);
    let error = chassis.swap("b", &Target::Directory).unwrap_err().to_string();
    assert_eq!(error, "no sink uses a plugin `b`; used are: a");
    let error = chassis.swap("a", &Target::Version("9.9".to_owned())).unwrap_err().to_string();
    assert!(error.starts_with("`a` has no version `9.9`; it has: 1.0.0 (sha256:00)"), "{error}");
}
