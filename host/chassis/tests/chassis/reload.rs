//! Another configuration for a chassis at work.

use wasink_chassis::config::Config;
use wasink_chassis::{Chassis, ReloadError, SinkState, Target};

use super::kit::{Bench, Fake, Kit, PATIENCE, adds_up, next_write, rids, sink, usage};

/// The sinks that `text` describes as `[[sink]]`, and no other, in the bench's directory.
fn config(bench: &Bench, text: &str) -> Config {
    let directory = bench.directory.path().display().to_string();
    let mut config = Config::from_toml(&format!("data_dir = {directory:?}\n{text}")).unwrap();
    config.sinks.retain(|sink| sink.path_in_config.starts_with("sink["));
    config
}

fn open(kit: Kit, text: &str) -> (Bench, Chassis) {
    let bench = Bench::new(kit, text);
    let chassis = bench.open().unwrap();
    (bench, chassis)
}

#[test]
fn a_changed_sink_goes_on_where_it_was_and_the_others_are_not_touched() {
    let (before, before_calls) = Fake::new();
    let (rehearsal, after) = (Fake::new().0, Fake::new());
    let (still, still_calls) = Fake::new();
    let kit = Kit::default().with("b", still);
    kit.deploy("a", "sha256:00", vec![before, rehearsal, after.0]);
    let text = sink("a", "['usage']") + &sink("b", "['usage']");
    let (bench, chassis) = open(kit, &text);
    chassis.usage().emit(usage("one"));
    assert_eq!(rids(&next_write(&before_calls)), ["one"]);
    let changed = sink("a", "['usage']") + "settings.x = 1\n" + &sink("b", "['usage']");
    let reloaded = chassis.reload(&config(&bench, &changed)).unwrap();
    assert_eq!((&reloaded.changed[..], &reloaded.kept[..]), (&["a".into()][..], &["b".into()][..]));
    assert!(reloaded.added.is_empty() && reloaded.removed.is_empty());
    chassis.usage().emit(usage("two"));
    assert_eq!(rids(&next_write(&after.1)), ["two"]);
    let opened = bench.kit.requests.lock().unwrap();
    assert_eq!(opened.iter().filter(|request| request.name == "b").count(), 1);
    assert_eq!(opened.last().unwrap().settings, "{\"x\":1}");
    drop(opened);
    next_write(&still_calls);
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!(status.pending(), 0);
    assert!(status.sinks.iter().all(|sink| sink.lanes[0].delivered == 2), "{status:?}");
}

#[test]
fn a_sink_that_is_added_begins_at_the_end_and_one_that_comes_back_where_it_was() {
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![Fake::new().0]);
    let (late, late_calls) = Fake::new();
    let (back, back_calls) = Fake::new();
    kit.deploy("b", "sha256:00", vec![Fake::new().0, late, Fake::new().0, back]);
    let (bench, chassis) = open(kit, &sink("a", "['usage']"));
    let recorder = chassis.usage();
    let delivered = |records: u64| {
        while chassis.status().sinks[0].lanes[0].delivered < records {
            std::thread::yield_now();
        }
    };
    recorder.emit(usage("before"));
    delivered(1);
    let alone = config(&bench, &sink("a", "['usage']"));
    let both = config(&bench, &(sink("a", "['usage']") + &sink("b", "['usage']")));
    assert_eq!(chassis.reload(&both).unwrap().added, ["b"]);
    recorder.emit(usage("with"));
    assert_eq!(rids(&next_write(&late_calls)), ["with"]);
    assert_eq!(chassis.reload(&alone).unwrap().removed, ["b"]);
    recorder.emit(usage("without"));
    delivered(3);
    assert_eq!(chassis.reload(&both).unwrap().added, ["b"]);
    assert_eq!(rids(&next_write(&back_calls)), ["without"], "what it missed is kept for it");
    let status = chassis.close(PATIENCE);
    adds_up_but_for_before(&status);
    assert_eq!(status.sinks[1].lanes[0].before, 1);
    assert_eq!(status.sinks[1].lanes[0].delivered, 2);
}

/// As `adds_up`, for sinks that came later.
fn adds_up_but_for_before(status: &wasink_chassis::Status) {
    for lane in status.sinks.iter().flat_map(|sink| &sink.lanes) {
        let stream = status.streams.iter().find(|stream| stream.stream == lane.stream).unwrap();
        assert_eq!(stream.accepted, lane.before + lane.delivered + lane.pending, "{status:?}");
    }
}

#[test]
fn where_anything_is_wrong_nothing_changes() {
    let (fake, calls) = Fake::new();
    let kit = Kit::default().with("a", fake).with_refusing("refusing");
    let (bench, chassis) = open(kit, &sink("a", "['usage']"));
    let wrong = |text: &str| chassis.reload(&config(&bench, text)).unwrap_err();
    let refused =
        wrong(&(sink("a", "['usage']") + "settings.x = 1\n" + &sink("refusing", "['usage']")));
    assert!(matches!(&refused, ReloadError::Sinks(problems) if !problems.is_empty()), "{refused}");
    assert!(refused.to_string().contains("not today"), "{refused}");
    let fixed =
        wrong(&("node_id = 'other'\n[queue]\nrecords = 7\n".to_owned() + &sink("a", "['usage']")));
    assert_eq!(
        fixed.to_string(),
        "these are only read at the start: `node_id`, `queue`; nothing was changed"
    );
    let stream = wrong(&sink("a", "['usage', 'control']"));
    assert!(stream.to_string().contains("`control`, which had none"), "{stream}");
    chassis.usage().emit(usage("r"));
    assert_eq!(rids(&next_write(&calls)), ["r"]);
    let same = chassis.reload(&config(&bench, &sink("a", "['usage']"))).unwrap();
    assert_eq!(same.kept, ["a"]);
}

#[test]
fn a_sink_that_opens_neither_as_it_is_to_be_nor_as_it_was_keeps_its_records() {
    let kit = Kit::default();
    // One to begin with, one for the rehearsal, and then none.
    kit.deploy("a", "sha256:00", vec![Fake::new().0, Fake::new().0]);
    let (bench, chassis) = open(kit, &sink("a", "['usage']"));
    let changed = config(&bench, &(sink("a", "['usage']") + "timeout = '7s'\n"));
    let partly = chassis.reload(&changed).unwrap_err();
    assert!(matches!(&partly, ReloadError::Partly(failed) if failed.len() == 2), "{partly}");
    chassis.usage().emit(usage("kept"));
    let (works, calls) = Fake::new();
    bench.kit.deploy("a", "sha256:11", vec![Fake::new().0, works]);
    let state = chassis.status().sinks.remove(0).state;
    assert!(matches!(state, SinkState::Degraded { .. }), "{state:?}");
    chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(rids(&next_write(&calls)), ["kept"]);
    adds_up(&chassis.close(PATIENCE));
}

#[test]
fn a_sink_that_changes_in_probation_has_nothing_to_go_back_to() {
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![Fake::new().0]);
    let (bench, chassis) = open(kit, &sink("a", "['usage']"));
    bench.kit.deploy("a", "sha256:11", [(); 4].map(|()| Fake::new().0).into());
    let swapped = chassis.swap("a", &Target::Directory).unwrap();
    assert_eq!(swapped.stage, wasink_chassis::Stage::Probation);
    let changed = config(&bench, &(sink("a", "['usage']") + "timeout = '7s'\n"));
    assert_eq!(chassis.reload(&changed).unwrap().changed, ["a"]);
    let state = chassis.plugins().remove(0);
    assert_eq!(state.stage, wasink_chassis::Stage::InCharge);
    assert_eq!(state.version.unwrap().digest, "sha256:11");
}

#[test]
fn a_sink_that_hangs_is_cut_off_after_the_grace_period() {
    let gate = std::sync::Arc::new(super::kit::Gate::default());
    let (hanging, hanging_calls) = Fake::gated(&gate);
    let (next, next_calls) = Fake::new();
    let kit = Kit::default();
    kit.deploy("a", "sha256:00", vec![hanging, Fake::new().0, next]);
    let swap = "[swap]\ngrace = '20ms'\n";
    let (bench, chassis) = open(kit, &(swap.to_owned() + &sink("a", "['usage']")));
    chassis.usage().emit(usage("r"));
    next_write(&hanging_calls);
    let changed = config(&bench, &(swap.to_owned() + &sink("a", "['usage']") + "timeout = '7s'\n"));
    assert_eq!(chassis.reload(&changed).unwrap().changed, ["a"]);
    assert_eq!(rids(&next_write(&next_calls)), ["r"]);
}
