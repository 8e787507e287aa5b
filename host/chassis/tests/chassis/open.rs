//! What keeps a chassis from opening, and what does not.

use serde_json::json;
use wasink_chassis::config::Config;
use wasink_chassis::logger::Level;
use wasink_chassis::{Chassis, OpenError, SinkProblem, SinkState, check};
use wasink_record::Stream;

use super::kit::{Bench, Fake, Kit, PATIENCE, adds_up, next_write, one, sink, usage};

fn kit() -> Kit {
    let mut only_events = Fake::new().0;
    only_events.description.streams = vec![Stream::Events];
    let mut strict = Fake::new().0;
    strict.description.settings_schema = Some(json!({
        "type": "object", "properties": { "url": { "type": "string" } }, "required": ["url"],
    }));
    Kit::default()
        .with("good", Fake::new().0)
        .with("only-events", only_events)
        .with("strict", strict)
        .with("homeless", Fake::new().0)
        .with_refusing("refusing")
}

fn all_wrong() -> Bench {
    let names = ["good", "only-events", "strict", "refusing", "homeless"];
    let config: String = names.iter().map(|name| sink(name, "['usage']")).collect();
    let mut bench = Bench::new(kit(), &config);
    let file = bench.directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    bench.config.sinks[4].grants.directory = Some(file.join("below"));
    bench
}

#[test]
fn all_that_is_wrong_is_told_together_and_nothing_is_left_open() {
    let bench = all_wrong();
    let error = bench.open().unwrap_err();
    let OpenError::Sinks(problems) = &error else { panic!("{error:?}") };
    assert!(
        matches!(
            &problems[..],
            [
                SinkProblem::Stream { .. },
                SinkProblem::Settings(_),
                SinkProblem::Plugin { .. },
                SinkProblem::Directory { .. },
            ]
        ),
        "{problems:?}"
    );
    let text = error.to_string();
    for part in ["`only-events` does not take the stream `usage`", "url", "not today", "below"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn unknown_plugins_are_told_together_with_what_is_wrong_elsewhere() {
    let config = sink("god", "['usage']") + &sink("only-events", "['usage']");
    let bench = Bench::new(kit(), &config);
    for error in [bench.open().unwrap_err(), check(&bench.config, &bench.parts()).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("unknown plugin `god`; did you mean `good`?"), "{text}");
        assert!(text.contains("`only-events` does not take the stream `usage`"), "{text}");
    }
    assert!(bench.kit.requests.lock().unwrap().is_empty(), "nothing was opened for that");

    let alone = Bench::new(kit(), &sink("god", "['usage']"));
    assert!(matches!(alone.open(), Err(OpenError::Config(_))));
}

#[test]
fn to_check_opens_nothing_and_makes_nothing_on_disk() {
    let bench = all_wrong();
    let OpenError::Sinks(problems) = check(&bench.config, &bench.parts()).unwrap_err() else {
        panic!()
    };
    assert_eq!(problems.len(), 2, "what can be seen without opening: {problems:?}");
    assert!(bench.kit.requests.lock().unwrap().is_empty());
    let left = std::fs::read_dir(bench.directory.path()).unwrap().count();
    assert_eq!(left, 1, "only what the test made");

    let good = Bench::new(kit(), &sink("good", "['usage']"));
    check(&good.config, &good.parts()).unwrap();
    assert_eq!(std::fs::read_dir(good.directory.path()).unwrap().count(), 0);
}

#[test]
fn a_sink_that_may_be_left_out_is_and_everybody_can_see_it() {
    let degraded = sink("refusing", "['usage', 'events']") + "on_open_failure = 'degrade'\n";
    let (good, calls) = Fake::new();
    let kit = Kit::default().with("good", good).with_refusing("refusing");
    let bench = Bench::new(kit, &(degraded + &sink("good", "['usage']")));
    let chassis = bench.open().unwrap();
    chassis.usage().emit(usage("r"));
    assert_eq!(next_write(&calls).len(), 1);
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    let [refusing, good] = &status.sinks[..] else { panic!("{status:?}") };
    assert!(
        matches!(&refusing.state, SinkState::Degraded { reason } if reason.contains("not today")),
        "{:?}",
        refusing.state
    );
    assert_eq!(refusing.version, None);
    assert_eq!((good.lanes[0].delivered, good.lanes[0].pending), (1, 0));
    assert_eq!(refusing.lanes[0].pending, 1, "kept for it");
    let [warning] = &bench.lines.of(Level::Warn)[..] else { panic!("one warning") };
    assert!(warning.starts_with("refusing: sink did not open, going on without it"), "{warning}");
    assert!(warning.contains("not today"), "{warning}");
}

#[test]
fn records_of_a_stream_whose_only_sink_was_left_out_are_kept_for_it() {
    let degraded = sink("refusing", "['usage']") + "on_open_failure = 'degrade'\n";
    let bench = Bench::new(kit(), &degraded);
    let chassis = bench.open().unwrap();
    (0..10).for_each(|_| chassis.usage().emit(usage("r")));
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((status.streams[0].accepted, status.dropped(), status.pending()), (10, 0, 10));
    drop(chassis);

    // Once it opens again it gets them.
    let (fake, calls) = Fake::new();
    let bench = Bench { kit: std::sync::Arc::new(Kit::default().with("refusing", fake)), ..bench };
    let chassis = bench.open().unwrap();
    assert_eq!(next_write(&calls).len(), 10);
    let status = chassis.close(PATIENCE);
    adds_up(&status);
    assert_eq!((status.streams[0].accepted, status.pending()), (10, 0));
}

#[test]
fn a_stream_that_nobody_takes_has_a_recorder_that_does_nothing() {
    let bench = one(Fake::new().0);
    let chassis = bench.open().unwrap();
    assert!(!chassis.usage().is_nop());
    assert!(chassis.metering().is_nop() && chassis.control().is_nop() && chassis.events().is_nop());
    let event = wasink_record::CloudEvent::builder("e", "test", "t").build().unwrap();
    chassis.events().emit(event.clone());
    assert!(chassis.events().emit_when_room(event).is_ok());
    let streams: Vec<_> = chassis.status().streams.iter().map(|of| of.stream).collect();
    assert_eq!(streams, [Stream::Usage]);
}

#[test]
fn usage_that_is_switched_off_goes_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("data_dir = {:?}\nusage.enabled = false", directory.path());
    let mut config = Config::from_toml(&text).unwrap();
    config.sinks.truncate(1);
    let bench = Bench::new(Kit::default().with("file", Fake::new().0), "");
    let chassis = Chassis::open(&config, &bench.parts()).unwrap();
    assert!(chassis.usage().is_nop() && !chassis.metering().is_nop());
}

#[test]
fn an_instance_gets_its_name_its_settings_and_a_directory_of_its_own() {
    let config = sink("good", "['usage']")
        + "grants.directory = true\nsettings = { url = 'x', deep = { n = 1 } }\n";
    let bench = Bench::new(kit(), &config);
    let chassis = bench.open().unwrap();
    let requests = bench.kit.requests.lock().unwrap();
    let [request] = &requests[..] else { panic!() };
    assert_eq!((request.name.as_str(), request.plugin.as_str()), ("good", "good"));
    let settings: serde_json::Value = serde_json::from_str(&request.settings).unwrap();
    assert_eq!(settings, json!({ "url": "x", "deep": { "n": 1 } }));
    assert_eq!(request.epoch, chassis.status().epoch);
    assert!(request.grants.directory.is_some() && !request.grants.stderr);
    assert!(bench.config.sinks[0].grants.directory.as_ref().unwrap().is_dir());
    assert!(!format!("{request:?}").contains("url"), "settings are nobody's business");

    drop(requests);
    let other = Bench::new(kit(), &config).open().unwrap();
    assert_ne!(other.status().epoch, chassis.status().epoch);
}
