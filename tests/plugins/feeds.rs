//! The ends of feeds: opened by name, asked, and what becomes of answers that can't be.

use std::time::Duration;

use serde_json::json;
use wasink_chassis::feed::Feeds as _;
use wasink_chassis::plugin::{Demands, OpenRequest, Plugins as _};
use wasink_record::{ControlEvent, ControlType};
use wasink_wasm::WasmPlugins;

use crate::kit::{bundled, error, grant, host, looking_in, name, request};

#[test]
fn nothing_is_ever_in_the_feed_that_is_none() {
    let mut source = host().open_source(request("nop", &json!({}))).unwrap();
    assert_eq!(source.poll(0, 10, Duration::ZERO).unwrap(), []);
    let mut sink = host().open_sink(request("nop", &json!({}))).unwrap();
    let event = ControlEvent::builder("a", ControlType::KeyChanged).build().unwrap();
    assert_eq!(sink.append(&[event]).unwrap(), [Ok(0)]);
}

#[test]
fn a_source_that_does_not_want_to_know_what_was_applied_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let in_directory =
        OpenRequest { grants: grant(directory.path()), ..request("file", &json!({})) };
    let mut source = host().open_source(in_directory).unwrap();
    assert!(!source.wants_acks());
    source.ack(&["a".to_owned()]).unwrap();
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
