//! `wasink plugins bench`.

use serde_json::Value;

use super::operator::Operator;

/// Whether there is a figure for the plugin, for `nop` and for how they compare.
#[track_caller]
fn assert_compared(compared: &Value) {
    for of in ["subject", "nop", "ratio"] {
        let figure = &compared[of];
        assert!(figure["median"].as_f64().unwrap() > 0.0, "{of}: {compared:#}");
        assert!(figure["low"].as_f64() <= figure["high"].as_f64(), "{of}: {compared:#}");
        assert!(figure["rounds"].as_u64().unwrap() > 0, "{of}: {compared:#}");
        assert!(figure["noisy"].is_boolean(), "{of}: {compared:#}");
    }
}

fn words<'a>(rows: &'a Value, key: &str) -> Vec<&'a str> {
    rows.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap()).collect()
}

#[test]
fn a_sink_is_measured_beside_one_that_does_nothing() {
    let operator = Operator::new();
    let report = operator.says("plugins bench file --seconds 1 --json").expect(0).json();
    assert_eq!((&report["file"], &report["world"]), (&"file".into(), &"sink".into()));
    let costs = report["costs"].as_array().unwrap();
    assert_eq!(costs.len(), 4 * 3, "{report:#}");
    for (n, cost) in costs.iter().enumerate() {
        assert_eq!(cost["call"], "write");
        assert_eq!(cost["size"], [1, 64, 1024][n % 3]);
        assert_eq!((&cost["failed"], &cost["exceptions"]), (&Value::Null, &0.into()));
        let calls = cost["calls"].as_u64().unwrap();
        assert_eq!(cost["records"].as_u64(), Some(calls * cost["size"].as_u64().unwrap()));
        // A machine that is very busy may not come to all of them.
        if calls > 0 {
            assert_compared(&cost["wall"]);
            assert!(cost["records_per_second"].as_f64().unwrap() > 0.0, "{cost:#}");
        }
    }
    assert!(costs.iter().any(|cost| cost["records"].as_u64() > Some(0)), "{report:#}");

    // The host appends for it: its records never cross.
    assert_eq!(words(&report["views"], "view"), ["append-to"; 4], "{report:#}");
    assert_eq!(words(&report["views"], "stream"), ["metering", "usage", "control", "events"]);
    for asked in report["views"].as_array().unwrap() {
        assert_eq!((&asked["calls"], &asked["batches"]), (&3.into(), &3.into()));
        assert_eq!((&asked["crossed"], &asked["records"]), (&0.into(), &(1 + 64 + 1024).into()));
        assert!(asked["moved"].as_u64() > asked["records"].as_u64(), "{asked:#}");
    }

    assert_eq!(words(&report["start"], "what"), ["compile", "load", "open"]);
    report["start"].as_array().unwrap().iter().for_each(|start| assert_compared(&start["wall"]));
    for of in ["subject", "nop"] {
        let memory = |when: &str| report["memory"][of][when].as_u64().unwrap();
        assert!(0 < memory("opened") && memory("opened") <= memory("peak"), "{report:#}");
        assert_eq!(memory("growth"), memory("peak") - memory("warm"), "{report:#}");
    }
    // Nothing of the configuration was touched.
    assert!(!operator.path("wasink-data/sinks").exists());
}

#[test]
fn the_views_of_a_sink_that_reads_columns_are_counted() {
    let operator = Operator::new();
    let shown = operator.says("plugins bench rollup --seconds 1").expect(0);
    assert!(shown.stdout.starts_with("sink 0.1.0, rollup, beside `nop` for "), "{shown:?}");
    let view = shown.stdout.lines().find(|line| line.starts_with("usage-columns "));
    let words: Vec<_> = view.unwrap().split_whitespace().collect();
    assert_eq!(words[1..3], ["usage", "1.0"], "{shown:?}");
    assert_ne!(words[3], "0", "columns go into its memory: {shown:?}");
}

#[test]
fn the_ends_of_a_feed_are_measured_as_well() {
    let operator = Operator::new();
    let command = "plugins bench file --kind feed-sink --seconds 1 --json";
    let report = operator.says(command).expect(0).json();
    assert_eq!(report["world"], "feed-sink");
    assert_eq!(words(&report["costs"], "call"), ["append"; 3], "{report:#}");
    assert_eq!(report["views"], Value::Array(Vec::new()), "there are no batches");
    let costs = report["costs"].as_array().unwrap();
    let sizes: Vec<_> = costs.iter().map(|cost| cost["size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1, 64, 1024]);
    for cost in costs.iter().filter(|cost| cost["calls"].as_u64() > Some(0)) {
        assert_compared(&cost["wall"]);
    }
    assert!(costs.iter().any(|cost| cost["records"].as_u64() > Some(0)), "{report:#}");
    assert!(costs.iter().all(|cost| cost["failed"].is_null()), "{report:#}");

    let command = "plugins bench file --kind feed-source --seconds 1 --json";
    let report = operator.says(command).expect(0).json();
    // Without a sink that fills its feed there is nothing to be found.
    assert_eq!(words(&report["costs"], "call"), ["poll"], "{report:#}");
    let poll = &report["costs"][0];
    assert_eq!((&poll["size"], &poll["records"]), (&0.into(), &0.into()));
    assert_eq!(poll["records_per_second"], Value::Null);
    assert_compared(&poll["wall"]);
}

#[test]
fn what_can_t_be_measured_is_told() {
    let operator = Operator::new();
    let missing = operator.says("plugins bench no/such.wasm").expect(1);
    assert!(missing.stderr.contains("`no/such.wasm` can't be measured: "), "{missing:?}");
    operator.write("text.wasm", "this is no component");
    let text = operator.says("plugins bench text.wasm").expect(1);
    assert!(text.stderr.contains("`text.wasm` can't be measured: "), "{text:?}");
    let unfit = operator.says("plugins bench http --settings {\"url\":7}").expect(1);
    assert!(unfit.stderr.contains("can't be measured: "), "{unfit:?}");
}
