//! Nothing that was acknowledged is lost, whatever ends the process or the disk refuses: histories
//! on a simulated disk, checked against a model.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "simulated/kit.rs"]
mod simulated;

mod crash {
    mod careless;
    mod directed;
    mod full;
    mod model;
    pub(crate) mod steps;
    pub(crate) mod world;
}

use crash::steps::history;
use crash::world;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use simulated::disk::Crash;
use wasink_journal::Durability;

/// How many histories are tried: those that are given in the environment, or what takes some seconds.
fn histories(default: u32) -> u32 {
    let given = std::env::var("WASINK_CRASH_HISTORIES").ok();
    given.map_or(default, |given| given.parse().unwrap())
}

fn prove(durability: Durability, crashes: Vec<Crash>, default: u32) {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/crash/regressions.txt");
    let config = Config {
        cases: histories(default),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(kept))),
        max_shrink_iters: 20_000,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&history(40, crashes), |history| {
        world::run(&history, durability);
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn what_was_synced_outlives_every_kind_of_crash() {
    prove(Durability::Disk, vec![Crash::Kill, Crash::Power], 2000);
}

#[test]
fn what_was_written_outlives_the_process() {
    prove(Durability::Os, vec![Crash::Kill], 2000);
}
