//! Versions that are tried beside the one in charge.

use std::sync::Arc;

use wasink_chassis::plugin::{CallError, Exception, Outcome};
use wasink_chassis::{Chassis, Stage, SwapError, Target, Trial, TrialKind, TrialReport};
use wasink_journal::Batch;

use super::kit::{
    Bench, Fake, Gate, Kit, PATIENCE, adds_up, lane, next_write, rids, sink, trap, usage,
};

const SHADOW: Trial = Trial { kind: TrialKind::Shadow, records: None, failures: None };
const CANARY: Trial =
    Trial { kind: TrialKind::Canary { share: 1_000_000 }, records: None, failures: None };

fn bench(fake: Fake) -> Bench {
    let granted = "grants = { directory = true, stderr = true, tcp = ['10.0.0.1:1'], \
                   http = [{ origin = 'http://10.0.0.1' }] }\n";
    let config = sink("a", "['usage']") + granted;
    Bench::new(Kit::default().with("a", fake), &config)
}

/// A version with an instance for the rehearsal and one for the trial.
fn deploy(bench: &Bench, on_trial: Fake) {
    bench.kit.deploy("a", "sha256:11", vec![Fake::new().0, on_trial]);
}

fn report(chassis: &Chassis, until: impl Fn(&TrialReport) -> bool) -> TrialReport {
    let over = std::time::Instant::now() + PATIENCE;
    loop {
        let report = chassis.trial("a").unwrap();
        if until(&report) {
            return report;
        }
        assert!(std::time::Instant::now() < over, "{report:?}");
        std::thread::yield_now();
    }
}

fn reject_all(batch: &Batch) -> Result<Vec<Exception>, CallError> {
    let rejected = |index| Exception { index, outcome: Outcome::Rejected("no".to_owned()) };
    Ok((0..batch.len()).map(rejected).collect())
}

#[test]
fn a_shadow_sees_the_same_batches_and_what_it_does_counts_for_nothing() {
    let (old, old_calls) = Fake::new();
    let (new, new_calls) = Fake::writing(reject_all);
    let bench = bench(old);
    let chassis = bench.open().unwrap();
    deploy(&bench, new);
    let begun = chassis.start_trial("a", &Target::Directory, SHADOW).unwrap();
    assert_eq!(begun.version.digest, "sha256:11");
    assert_eq!(chassis.plugins()[0].stage, Stage::Shadow);
    chassis.usage().emit(usage("r"));
    assert_eq!(rids(&next_write(&old_calls)), ["r"]);
    assert_eq!(rids(&next_write(&new_calls)), ["r"]);
    let report = report(&chassis, |report| report.tally.records == 1);
    assert_eq!((report.tally.same, report.tally.different, report.tally.rejected), (0, 1, 1));
    let last = report.tally.last.unwrap();
    assert!(last.contains("delivered with the version in charge, and rejected"), "{last}");
    let ended = chassis.abort_trial("a").unwrap();
    assert_eq!(ended.ended.as_deref(), Some("aborted"));
    assert_eq!(chassis.plugins()[0].stage, Stage::InCharge);
    assert!(matches!(chassis.abort_trial("a"), Err(SwapError::NoTrial(_))));
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((lane(&status).delivered, lane(&status).rejected), (1, 0));
    // The one in charge, the rehearsal and the shadow: all have a directory, and one a way out.
    let requests = bench.kit.requests.lock().unwrap();
    let reach = requests.iter().map(|request| {
        let grants = &request.grants;
        (grants.directory.is_some(), grants.stderr, grants.tcp.len(), grants.http.len())
    });
    let inside = (true, false, 0, 0);
    assert_eq!(reach.collect::<Vec<_>>(), [(true, true, 1, 1), inside, inside]);
}

#[test]
fn a_shadow_that_hangs_does_not_delay_its_sink() {
    let gate = Arc::new(Gate::default());
    let (old, old_calls) = Fake::new();
    let (new, _calls) = Fake::gated(&gate);
    let bench = bench(old);
    let chassis = bench.open().unwrap();
    deploy(&bench, new);
    chassis.start_trial("a", &Target::Directory, SHADOW).unwrap();
    for n in 0..20 {
        chassis.usage().emit(usage(n.to_string()));
        next_write(&old_calls);
    }
    let report = report(&chassis, |report| report.tally.skipped > 0);
    assert_eq!(report.tally.records, 0);
    chassis.abort_trial("a").unwrap();
    assert_eq!(gate.interrupts(), 1);
    assert_eq!(lane(&chassis.close(PATIENCE)).delivered, 20);
}

#[test]
fn a_canary_delivers_its_share_for_real_and_what_it_fails_at_the_other_does() {
    let (old, old_calls) = Fake::new();
    let mut first = true;
    let (new, new_calls) = Fake::writing(move |_| match std::mem::take(&mut first) {
        true => Ok(Vec::new()),
        false => Err(trap().into()),
    });
    let bench = bench(old);
    let chassis = bench.open().unwrap();
    deploy(&bench, new);
    chassis.start_trial("a", &Target::Directory, CANARY).unwrap();
    chassis.usage().emit(usage("one"));
    assert_eq!(rids(&next_write(&new_calls)), ["one"]);
    report(&chassis, |report| report.tally.records == 1);
    chassis.usage().emit(usage("two"));
    assert_eq!(rids(&next_write(&new_calls)), ["two"]);
    assert_eq!(rids(&next_write(&old_calls)), ["two"]);
    let report = report(&chassis, |report| report.tally.stops == 1);
    assert!(report.tally.last.unwrap().contains("unreachable"));
    let stretches = &chassis.provenance("a").unwrap().unwrap()[0].1;
    let settled: Vec<_> = stretches
        .iter()
        .filter(|stretch| !stretch.ranges.is_empty())
        .map(|stretch| (stretch.digest.as_str(), stretch.fates.delivered))
        .collect();
    assert!(settled.starts_with(&[("sha256:11", 1)]), "{settled:?}");
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!(lane(&status).delivered, 2);
}

#[test]
fn the_share_of_a_canary_is_stable_and_about_what_was_asked_for() {
    let (new, _new_calls) = Fake::new();
    let (old, _old_calls) = Fake::new();
    let text = sink("a", "['usage']") + "batch.records = 1\n";
    let bench = Bench::new(Kit::default().with("a", old), &text);
    let chassis = bench.open().unwrap();
    deploy(&bench, new);
    let quarter = Trial { kind: TrialKind::Canary { share: 250_000 }, ..CANARY };
    chassis.start_trial("a", &Target::Directory, quarter).unwrap();
    let recorder = chassis.usage();
    for n in 0..2000 {
        recorder.emit_when_room(usage(n.to_string())).unwrap();
    }
    let status = chassis.close(PATIENCE);
    assert_eq!(lane(&status).delivered, 2000);
    let took = chassis.trial("a").map(|report| report.tally.records);
    // Closed by now: what it came to is in the history of what was settled.
    assert!(matches!(took, Err(SwapError::Closed)));
    let stretches = &chassis.provenance("a").unwrap().unwrap()[0].1;
    let of = |digest: &str| -> u64 {
        let of = stretches.iter().filter(|stretch| stretch.digest == digest);
        of.map(|stretch| stretch.fates.delivered).sum()
    };
    assert_eq!(of("sha256:00") + of("sha256:11"), 2000);
    // Six standard deviations on either side.
    let took = of("sha256:11");
    assert!((384..=616).contains(&took), "{took} {stretches:?}");
}

#[test]
fn a_trial_is_promoted_or_aborted_by_its_rule() {
    for good in [true, false] {
        let kit = Kit::default();
        kit.deploy("a", "sha256:00", vec![Fake::new().0, Fake::new().0]);
        let bench = Bench::new(kit, &sink("a", "['usage']"));
        let chassis = bench.open().unwrap();
        let write = move |batch: &Batch| if good { Ok(Vec::new()) } else { reject_all(batch) };
        let on_trial = [(); 2].map(|()| Fake::writing(write).0);
        let [first, second] = on_trial;
        bench.kit.deploy("a", "sha256:11", vec![Fake::new().0, first, second]);
        let rule = Trial { records: Some(10), failures: Some(3), ..SHADOW };
        chassis.start_trial("a", &Target::Directory, rule).unwrap();
        for n in 0..10 {
            chassis.usage().emit(usage(n.to_string()));
        }
        report(&chassis, |report| report.ended.is_some());
        let digest = if good { "sha256:11" } else { "sha256:00" };
        let over = std::time::Instant::now() + PATIENCE;
        loop {
            let state = chassis.plugins().remove(0);
            let settled = matches!(state.stage, Stage::InCharge | Stage::Probation);
            if settled && state.version.unwrap().digest == digest {
                break;
            }
            assert!(std::time::Instant::now() < over, "{good}: {:?}", chassis.plugins());
            std::thread::yield_now();
        }
        let status = chassis.close(PATIENCE);
        assert_eq!((lane(&status).delivered, lane(&status).rejected), (10, 0));
    }
}

#[test]
fn while_a_version_is_on_trial_no_other_takes_over() {
    let (old, _calls) = Fake::new();
    let bench = bench(old);
    let chassis = bench.open().unwrap();
    deploy(&bench, Fake::new().0);
    chassis.start_trial("a", &Target::Directory, CANARY).unwrap();
    let busy = chassis.swap("a", &Target::Directory).unwrap_err();
    assert!(busy.to_string().contains("a trial is canary"), "{busy}");
    let none = Trial { kind: TrialKind::Canary { share: 0 }, ..CANARY };
    assert!(matches!(
        chassis.start_trial("a", &Target::Directory, none),
        Err(SwapError::Refused(_))
    ));
}
