//! What a history is made of.

use proptest::collection::vec;
use proptest::prelude::*;
use wasink_journal::Fate;

use crate::simulated::disk::Crash;

/// A history: how the journal is kept, and what is done with it.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) seed: u64,
    /// The most of the newest records in memory, in bytes.
    pub(crate) memory: u64,
    /// The most that the sink which turns away may leave, in bytes.
    pub(crate) patience: u64,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Stages runs, each of so many records with so much in a line, and commits.
    Append(Vec<(usize, usize)>),
    /// Commits what could not be committed.
    Retry,
    /// Forgets the staged runs whose bit is set.
    Forget(u8),
    /// Reads a batch and settles parts of it.
    Deliver(Delivery),
    /// Brings a lane to the disk.
    Sync(usize),
    /// Takes note that the next batch is about to be handed over.
    Doubt(usize),
    /// Settles what is in doubt at a lane, as delivered or as to be handed over again.
    EndDoubt(usize, bool),
    /// The receiver says that it has not got what is in doubt at a lane; or all of it but the last.
    NotTaken(usize, bool),
    /// A dead letter, the one at this place of those that are there, was delivered after all.
    Resolve(usize, usize),
    /// Takes away the dead letters whose bit is set.
    Purge(usize, u8),
    /// A version of the plugin takes over at a lane.
    TakeOver(usize, u8),
    /// Something goes wrong from now on.
    Fault(Fault),
    /// The disk dies, so many operations from now.
    DieIn(u32, Crash),
    /// Everything ends at once, and again so many operations into the recovery. The sinks whose bit
    /// is set are not there afterwards.
    Crash(Crash, Option<u32>, u8),
    /// Ends as it should.
    Close,
}

#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) lane: usize,
    pub(crate) records: u32,
    /// Parts of the batch, by length, each with what becomes of it; nothing does of those without.
    pub(crate) parts: Vec<(usize, Option<Fate>)>,
    pub(crate) backwards: bool,
    /// Whether all are settled in one go.
    pub(crate) together: bool,
    /// Whether what is left is passed over.
    pub(crate) pass: bool,
    /// Whether the batch is settled only when the lane is come to again.
    pub(crate) later: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The disk has room for so many bytes more.
    Room(u64),
    RoomAgain,
    FileSyncs(u32),
    DirectorySyncs(u32),
    Reads(u32),
    Writes(u32),
    Renames(u32),
    Removes(u32),
    ShortWrites(bool),
}

/// Histories of at most so many steps, with these kinds of crashes.
pub(crate) fn history(steps: usize, crashes: Vec<Crash>) -> impl Strategy<Value = History> {
    let parts = (
        any::<u64>(),
        prop_oneof![Just(0), Just(4 << 10), Just(1 << 20)],
        prop_oneof![Just(9 << 10), Just(u64::MAX)],
        vec(step(crashes), 1..=steps),
    );
    parts.prop_map(|(seed, memory, patience, steps)| History { seed, memory, patience, steps })
}

fn step(crashes: Vec<Crash>) -> impl Strategy<Value = Step> {
    let crash = proptest::sample::select(crashes);
    let runs = vec((1..6_usize, prop_oneof![4 => 0..120_usize, 1 => 500..900_usize]), 1..4);
    prop_oneof![
        10 => runs.prop_map(Step::Append),
        1 => Just(Step::Retry),
        1 => any::<u8>().prop_map(Step::Forget),
        10 => delivery().prop_map(Step::Deliver),
        2 => (0..3_usize).prop_map(Step::Sync),
        1 => (0..3_usize).prop_map(Step::Doubt),
        1 => (0..3_usize, any::<bool>()).prop_map(|(lane, as_had)| Step::EndDoubt(lane, as_had)),
        1 => (0..3_usize, any::<bool>()).prop_map(|(lane, all)| Step::NotTaken(lane, all)),
        2 => (0..3_usize, 0..9_usize).prop_map(|(lane, place)| Step::Resolve(lane, place)),
        1 => (0..3_usize, any::<u8>()).prop_map(|(lane, which)| Step::Purge(lane, which)),
        3 => (0..3_usize, 0..5_u8).prop_map(|(lane, version)| Step::TakeOver(lane, version)),
        3 => fault().prop_map(Step::Fault),
        2 => (0..24_u32, crash.clone()).prop_map(|(left, crash)| Step::DieIn(left, crash)),
        2 => (crash, proptest::option::of(0..24_u32), prop_oneof![3 => Just(0), 1 => any::<u8>()])
            .prop_map(|(crash, again, without)| Step::Crash(crash, again, without)),
        1 => Just(Step::Close),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let fate = prop_oneof![
        4 => Just(Some(Fate::Delivered)),
        1 => Just(Some(Fate::Duplicate)),
        2 => Just(Some(Fate::Rejected)),
        1 => Just(Some(Fate::Expired)),
        2 => Just(None),
    ];
    let parts = vec((1..9_usize, fate), 1..5);
    let later = prop_oneof![4 => Just(false), 1 => Just(true)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), later);
    (0..3_usize, 1..30_u32, parts, flags).prop_map(
        |(lane, records, parts, (backwards, together, pass, later))| Delivery {
            lane,
            records,
            parts,
            backwards,
            together,
            pass,
            later,
        },
    )
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => (0..6_000_u64).prop_map(Fault::Room),
        2 => Just(Fault::RoomAgain),
        3 => (1..4_u32).prop_map(Fault::FileSyncs),
        1 => (1..3_u32).prop_map(Fault::DirectorySyncs),
        2 => (1..3_u32).prop_map(Fault::Reads),
        1 => (1..3_u32).prop_map(Fault::Writes),
        1 => Just(1_u32).prop_map(Fault::Renames),
        1 => Just(1_u32).prop_map(Fault::Removes),
        1 => any::<bool>().prop_map(Fault::ShortWrites),
    ]
}
