//! The conformance kit: what comes with wasink keeps every clause, and what breaks one is caught by it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use wasink_kit::{Report, Trial, Verdict, try_out};

use crate::kit::misbehaving;

/// Tries a component, with few enough rounds for a test.
fn tried(bytes: &[u8], change: impl FnOnce(&mut Trial)) -> Report {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("subject.wasm");
    std::fs::write(&file, bytes).unwrap();
    tried_file(&file, change)
}

fn tried_file(file: &Path, change: impl FnOnce(&mut Trial)) -> Report {
    let mut trial = Trial::new(file);
    (trial.rounds, trial.records) = (20, 20_000);
    change(&mut trial);
    try_out(&trial, &mut |_| {}).unwrap()
}

/// The names of clauses that did not hold.
fn broken(report: &Report) -> BTreeSet<&'static str> {
    let broken = report.findings.iter();
    let broken = broken.filter(|finding| matches!(finding.verdict, Verdict::Broken { .. }));
    broken.map(|finding| finding.clause.name).collect()
}

fn kept(report: &Report) -> BTreeSet<&'static str> {
    let kept = report.findings.iter().filter(|finding| finding.verdict == Verdict::Kept);
    kept.map(|finding| finding.clause.name).collect()
}

fn all(report: &Report) -> String {
    report.findings.iter().map(wasink_kit::Finding::text).collect()
}

#[test]
fn the_sinks_that_come_with_wasink_keep_every_clause() {
    for (name, bytes) in wasink_bundled::PLUGINS {
        let report = tried(bytes, |_| {});
        assert!(report.is_conforming(), "{name}\n{}", all(&report));
    }
}

#[test]
fn the_ends_of_feeds_that_come_with_wasink_keep_every_clause() {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in wasink_bundled::FEED_SINKS {
        let report = tried(bytes, |_| {});
        assert!(report.is_conforming(), "{name}\n{}", all(&report));
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    for (name, bytes) in wasink_bundled::FEED_SOURCES {
        let sink = directory.path().join(name);
        let report = tried(bytes, |trial| trial.feed_sink = Some(sink));
        assert!(report.is_conforming(), "{name}\n{}", all(&report));
        let of_file = kept(&report).is_superset(&BTreeSet::from(["feed.polls", "feed.order"]));
        assert_eq!(of_file, *name == "file", "{name}\n{}", all(&report));
    }
}

#[test]
fn a_plugin_that_breaks_a_clause_is_caught_by_it() {
    for (guest, clause) in [
        ("describe-garbage", "about.describes"),
        ("describe-panics", "about.describes"),
        ("describe-spins", "about.describes"),
        ("duplicate-indices", "write.exceptions"),
        ("index-out-of-range", "write.exceptions"),
        ("traps-in-open", "open.opens"),
        ("traps-in-write", "write.answers"),
        ("traps-in-flush", "flush.answers"),
        ("traps-in-close", "close.answers"),
    ] {
        let report = tried(&misbehaving(guest), |trial| {
            trial.timeout = Duration::from_secs(3);
        });
        assert_eq!(broken(&report), BTreeSet::from([clause]), "{guest}\n{}", all(&report));
    }
}

#[test]
fn a_sink_that_keeps_all_clauses_but_one_is_caught_by_that_one() {
    for (breaks, clauses) in [
        ("open-refuses", &["open.refuses"][..]),
        ("open-again", &["open.again"]),
        ("flush-answers", &["flush.answers"]),
        ("close-answers", &["close.answers"]),
        ("write-answers", &["write.answers"]),
        ("write-values", &["write.values"]),
        ("write-repeats", &["write.repeats"]),
        // What it has not sent the receiver can't refuse.
        ("write-keeps", &["receiver.refuses", "write.keeps"]),
        ("memory-bounded", &["memory.bounded"]),
        ("receiver-refuses", &["receiver.refuses"]),
        ("receiver-doubt", &["receiver.doubt"]),
        ("receiver-patience", &["receiver.patience"]),
        ("receiver-recovers", &["receiver.recovers"]),
    ] {
        let report = tried(&misbehaving("breaks-a-clause"), |trial| {
            trial.settings.insert("breaks".to_owned(), breaks.into());
            trial.timeout = Duration::from_secs(10);
        });
        let expected: BTreeSet<_> = clauses.iter().copied().collect();
        assert_eq!(broken(&report), expected, "{breaks}\n{}", all(&report));
    }
}
