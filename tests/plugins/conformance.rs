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
fn a_source_of_a_feed_that_does_not_last_is_caught() {
    for (does, clauses) in [("impostor", &[][..]), ("leak", &["feed.endures"])] {
        let report = tried(&misbehaving("feed-source"), |trial| {
            trial.settings.insert("on".to_owned(), "poll".into());
            trial.settings.insert("does".to_owned(), does.into());
            trial.limits.handles = 100;
            trial.rounds = 200;
        });
        let expected: BTreeSet<_> = clauses.iter().copied().collect();
        assert_eq!(broken(&report), expected, "{does}\n{}", all(&report));
        assert!(kept(&report).contains("feed.order"), "{}", all(&report));
    }
}

/// The guest that breaks a clause, with another way for its records.
fn going(way: &str) -> Vec<u8> {
    let mut bytes = misbehaving("breaks-a-clause");
    let begin = b"the way of breaks-a-clause is: ";
    let is_here = |window: &[u8]| window == begin;
    let at = bytes.windows(begin.len()).position(is_here).unwrap() + begin.len();
    bytes[at..at + 8].copy_from_slice(format!("{way:8}").as_bytes());
    bytes
}

fn breaking(way: &str, breaks: &str) -> Report {
    tried(&going(way), |trial| {
        trial.settings.insert("breaks".to_owned(), breaks.into());
        trial.timeout = Duration::from_secs(10);
    })
}

#[test]
fn a_sink_that_breaks_nothing_is_not_said_to() {
    for (way, left_out) in [
        ("http", &["flush.keeps"][..]),
        // What it has had a receiver that says nothing can't tell.
        ("tcp", &["flush.keeps", "receiver.doubt"]),
        (
            "file",
            &[
                "receiver.answers",
                "receiver.doubt",
                "receiver.patience",
                "receiver.recovers",
                "receiver.refuses",
                "write.keeps",
            ],
        ),
    ] {
        let report = breaking(way, "nothing");
        assert!(report.is_conforming(), "{way}\n{}", all(&report));
        let kept = kept(&report);
        let names = report.findings.iter().map(|finding| finding.clause.name);
        let others: BTreeSet<_> = names.filter(|name| !kept.contains(name)).collect();
        assert_eq!(others, left_out.iter().copied().collect(), "{way}\n{}", all(&report));
    }
}

#[test]
fn a_sink_that_keeps_all_clauses_but_one_is_caught_by_that_one() {
    for (way, breaks, clauses) in [
        ("http", "open-refuses", &["open.refuses"][..]),
        ("http", "open-again", &["open.again"]),
        ("http", "flush-answers", &["flush.answers"]),
        ("http", "close-answers", &["close.answers"]),
        ("http", "write-answers", &["write.answers"]),
        ("http", "write-values", &["write.values"]),
        ("http", "write-repeats", &["write.repeats"]),
        ("http", "write-repeats-within", &["write.repeats"]),
        ("http", "write-clock", &["write.clock"]),
        ("http", "write-clock-loses", &["write.clock"]),
        // What it has not sent the receiver can't refuse.
        ("http", "write-keeps", &["receiver.refuses", "write.keeps"]),
        ("file", "flush-keeps", &["flush.keeps"]),
        ("http", "memory-bounded", &["memory.bounded"]),
        ("http", "receiver-refuses", &["receiver.refuses"]),
        ("http", "receiver-doubt", &["receiver.doubt"]),
        ("http", "receiver-answers", &["receiver.answers"]),
        ("http", "receiver-patience", &["receiver.patience"]),
        ("http", "receiver-recovers", &["receiver.recovers"]),
    ] {
        let report = breaking(way, breaks);
        let expected: BTreeSet<_> = clauses.iter().copied().collect();
        assert_eq!(broken(&report), expected, "{breaks}\n{}", all(&report));
    }
}

#[test]
fn a_sink_that_keeps_all_clauses_but_one_over_tcp_is_caught_by_that_one() {
    for (breaks, clause) in [
        ("receiver-refuses", "receiver.refuses"),
        ("receiver-refuses-later", "receiver.refuses"),
        ("receiver-answers", "receiver.answers"),
        ("receiver-patience", "receiver.patience"),
        ("receiver-recovers", "receiver.recovers"),
    ] {
        let report = breaking("tcp", breaks);
        assert_eq!(broken(&report), BTreeSet::from([clause]), "{breaks}\n{}", all(&report));
    }
}

#[test]
fn a_sink_whose_receiver_has_to_answer_over_tcp_is_tried_without_an_answer() {
    let jetstream = wasink_bundled::PLUGINS.iter().find(|(name, _)| *name == "jetstream").unwrap();
    let report = tried(jetstream.1, |_| {});
    let tried = ["receiver.refuses", "receiver.answers", "receiver.patience", "open.rounds"];
    assert!(kept(&report).is_superset(&BTreeSet::from(tried)), "{}", all(&report));
    let answers = report.findings.iter().find(|finding| finding.clause.name == "write.answers");
    let Verdict::LeftOut { why } = &answers.unwrap().verdict else { panic!("{}", all(&report)) };
    assert!(why.contains("in a protocol that the kit does not know"), "{why}");
}
