//! The ends of feeds: opened by name, asked, and what becomes of answers that can't be.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use wasink_chassis::feed::{FeedSource, Feeds as _};
use wasink_chassis::plugin::{Demands, OpenRequest, Plugins as _};
use wasink_record::{ControlEvent, ControlType};
use wasink_wasm::WasmPlugins;

use crate::kit::{bundled, error, grant, host, looking_in, name, request};

fn event(id: &str) -> ControlEvent {
    ControlEvent::builder(id, ControlType::StackActivated)
        .tenant_id("acme")
        .stack_id("shop")
        .version(7)
        .artifact("stacks/shop/7", [0xab; 32])
        .build()
        .unwrap()
}

fn in_directory(path: &Path) -> OpenRequest {
    OpenRequest { grants: grant(path), ..request("file", &json!({})) }
}

fn poll(source: &mut dyn FeedSource, since: u64) -> Vec<ControlEvent> {
    let events = source.poll(since, 100, Duration::ZERO).unwrap();
    events.into_iter().map(|polled| polled.event.unwrap()).collect()
}

#[test]
fn what_is_appended_to_a_directory_is_read_from_it_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = host().open_sink(in_directory(directory.path())).unwrap();
    let mut source = host().open_source(in_directory(directory.path())).unwrap();
    assert!(!source.wants_acks());
    assert_eq!(poll(&mut *source, 0), []);
    let events = [event("evt_1"), event("evt_2"), event("evt_1")];
    assert_eq!(sink.append(&events).unwrap(), [Ok(1), Ok(2), Ok(1)]);
    let [first, second, _] = events;
    let stamped = [first.with_control_version(1), second.with_control_version(2)];
    assert_eq!(poll(&mut *source, 0), stamped);
    assert_eq!(poll(&mut *source, 1), stamped[1..]);
    source.ack(&["evt_1".to_owned()]).unwrap();

    // Another instance goes on where this one was.
    sink.reopen().unwrap();
    assert_eq!(sink.append(&[event("evt_3"), event("evt_2")]).unwrap(), [Ok(3), Ok(2)]);
    sink.close().unwrap();
    source.close().unwrap();
    assert_eq!(sink.version().version, "0.1.0");
}

#[test]
fn an_event_that_can_t_be_applied_is_given_with_what_is_wrong_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let write = |id: &str, kind: &str, version: u64| {
        let event = json!({ "id": 0, "event_id": id, "type": kind, "control_version": version });
        std::fs::write(directory.path().join(format!("{id}.json")), event.to_string()).unwrap();
    };
    write("good", "tenant.created", 1);
    write("bad", "tenant.invented", 2);
    write("poor", "stack.activated", 3);
    let mut source = host().open_source(in_directory(directory.path())).unwrap();
    let events = source.poll(0, 10, Duration::ZERO).unwrap();
    let told = |n: usize| {
        let reason = events[n].event.as_ref().map_err(ToString::to_string).unwrap_err();
        (events[n].event_id.as_str(), events[n].control_version, reason)
    };
    assert!(events[0].event.is_ok());
    let (id, version, reason) = told(1);
    assert_eq!((id, version), ("bad", 2));
    assert!(reason.contains("`tenant.invented`"), "{reason}");
    let (id, version, reason) = told(2);
    assert_eq!((id, version), ("poor", 3));
    assert!(reason.contains("`tenant_id`"), "{reason}");
}

#[test]
fn nothing_is_ever_in_the_feed_that_is_none() {
    let mut source = host().open_source(request("nop", &json!({}))).unwrap();
    assert_eq!(source.poll(0, 10, Duration::ZERO).unwrap(), []);
    let mut sink = host().open_sink(request("nop", &json!({}))).unwrap();
    assert_eq!(sink.append(&[event("a")]).unwrap(), [Ok(0)]);
}

#[test]
fn sources_and_sinks_have_names_of_their_own_and_unknown_ones_list_what_there_is() {
    assert_eq!(
        error(host().open_source(request("nosuch", &json!({})))),
        "no plugin is named `nosuch`; there are: `file`, `jetstream`, `nop`"
    );
    assert_eq!(
        error(host().open_sink(request("nosuch", &json!({})))),
        "no plugin is named `nosuch`; there are: `file`, `jetstream`, `nop`"
    );
    let summary = |described: Result<std::sync::Arc<wasink_chassis::plugin::Description>, _>| {
        described
            .map_err(|error: wasink_chassis::plugin::PluginError| error)
            .unwrap()
            .summary
            .clone()
    };
    assert_eq!(
        summary(host().describe_source(&name("nop"), &Demands::default())),
        "never has a control event"
    );
    assert_eq!(
        summary(host().describe_sink(&name("nop"), &Demands::default())),
        "keeps no control event"
    );
    assert_eq!(summary(host().describe(&name("nop"))), "discards the records of every stream");
}

#[test]
fn what_is_in_the_folders_of_a_plugin_directory_is_found_and_must_be_of_its_sort() {
    let directory = tempfile::tempdir().unwrap();
    for (folder, bytes) in
        [("feed-sources", wasink_bundled::FEED_SOURCES[2].1), ("feed-sinks", bundled("nop"))]
    {
        std::fs::create_dir(directory.path().join(folder)).unwrap();
        std::fs::write(directory.path().join(folder).join("mine.wasm"), bytes).unwrap();
    }
    let host = WasmPlugins::new(looking_in(&[directory.path()])).unwrap();
    let mut source = host.open_source(request("mine", &json!({}))).unwrap();
    assert_eq!(source.poll(0, 10, Duration::ZERO).unwrap(), []);
    let refused = error(host.open_sink(request("mine", &json!({}))));
    assert!(refused.ends_with("it is a sink, and a feed sink is needed here"), "{refused}");
    assert!(!host.list().0.iter().any(|file| file.name == name("mine")), "it is no sink");
    // Their settings are their own as well.
    let settings = json!({ "path": "../x" });
    let request = OpenRequest { grants: grant(directory.path()), ..request("file", &settings) };
    let refused = error(host.open_source(request));
    assert!(refused.contains("leads out of the data directory"), "{refused}");
}
