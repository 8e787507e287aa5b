//! `wasink plugins test`.

use super::operator::Operator;
use crate::support;

#[test]
fn a_plugin_is_tried_by_its_name_and_by_its_file() {
    let operator = Operator::new();
    let few = "--rounds 3 --records 2000";
    let shown = operator.says(&format!("plugins test file {few}")).expect(0);
    for line in ["kept      file.fits\n", "kept      write.keeps\n", "left out  flush.keeps: it "] {
        assert!(shown.stdout.contains(line), "{line}: {shown:?}");
    }
    assert!(shown.stdout.contains(" kept, 0 broken, "), "{shown:?}");
    assert!(shown.stdout.contains("slowest call: `"), "{shown:?}");

    let guest = support::guests().join("wasink_misbehaving_duplicate_indices.wasm");
    operator.write("mine.wasm", std::fs::read(guest).unwrap());
    let command = format!("plugins test mine.wasm {few} --junit report.xml --json");
    let report = operator.says(&command).expect(1).json();
    assert_eq!((&report["file"], &report["world"]), (&"mine.wasm".into(), &"sink".into()));
    let findings = report["findings"].as_array().unwrap();
    let broken: Vec<_> = findings.iter().filter(|finding| finding["verdict"] == "broken").collect();
    assert_eq!(broken.len(), 1, "{report:#}");
    assert_eq!(broken[0]["clause"]["name"], "write.exceptions");
    let evidence = &broken[0]["evidence"][0];
    assert_eq!(evidence["sent"], "`write` of 1 plain records of `metering`");
    assert_eq!(evidence["came"], "the plugin can't go on: its answer names record 0 twice");
    let xml = operator.read("report.xml");
    assert!(xml.contains("<failure") && xml.contains("write.exceptions"), "{xml}");
    assert_eq!(xml.matches("<testcase").count(), findings.len());
    // Nothing of it is left, and nothing of the configuration was touched.
    assert!(!operator.path("wasink-data/sinks").exists());
}

#[test]
fn what_can_t_be_tried_is_told() {
    let operator = Operator::new();
    let unknown = operator.says("plugins test nosuch").expect(69);
    assert!(
        unknown.stderr.contains("no plugin is named `nosuch`; there are: `capture`"),
        "{unknown:?}"
    );
    let missing = operator.says("plugins test no/such.wasm").expect(1);
    assert!(missing.stderr.contains("`no/such.wasm` can't be tried: No such file"), "{missing:?}");
    operator.write("text.wasm", "this is no component");
    let text = operator.says("plugins test text.wasm").expect(1);
    assert!(text.stdout.starts_with("BROKEN    file.fits: "), "{text:?}");
    let wrong = operator.says("plugins test file --settings 7").expect(2);
    assert!(wrong.stderr.contains("expected an object of JSON"), "{wrong:?}");
}
