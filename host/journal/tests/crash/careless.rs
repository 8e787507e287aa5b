//! Left to the operating system, what was written may be lost with the power. A journal opens all the
//! same, tells nothing that was never written, and accounts for what it had promised.

use std::collections::HashMap;
use std::sync::Arc;

use wasink_journal::{Durability, Fate, Log, Next, WhenFull};

use super::world::{limits, options};
use crate::simulated::chance::Chance;
use crate::simulated::disk::{Crash, Disk};
use crate::simulated::records::Maker;

#[test]
fn what_was_not_synced_may_be_lost_with_the_power_and_nothing_else_goes_wrong() {
    let mut lost = 0;
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut disk = Disk::new(seed);
        let mut maker = Maker::new();
        let mut appended = HashMap::new();
        let mut highest = 0;
        for _ in 0..6 {
            let (log, mut writer, _) =
                Log::open(Arc::new(disk.clone()), options(Durability::Os, 0)).unwrap();
            lost += u64::from(log.end() < highest);
            let mut sink = log.reader("sink", WhenFull::DropOldest, u64::MAX).unwrap();
            for _ in 0..chance.below(12) {
                let (run, known) = maker.run(1 + chance.below(4), chance.below(600));
                appended.extend(known.into_iter().map(|known| (known.id, known)));
                writer.stage(run, usize::MAX);
                highest = writer.commit().unwrap().end;
            }
            for _ in 0..chance.below(12) {
                match sink.next(&limits(5)) {
                    Next::Batch(batch) => {
                        for (index, id) in batch.ids().enumerate() {
                            let line = batch.line(index).unwrap();
                            assert_eq!(line.strip_suffix(b"\n"), Some(&*appended[&id].line));
                        }
                        let runs = [(batch.position()..batch.end(), Fate::Delivered)];
                        sink.settle(&batch, &runs, Vec::new()).unwrap();
                    }
                    Next::Damaged(range) => sink.give_up(range).unwrap(),
                    Next::Empty => break,
                    other => panic!("{other:?}"),
                }
            }
            let state = sink.state();
            assert_eq!(state.fates.sum(), state.cursor - state.origin);
            assert!(state.cursor <= log.end());
            disk = disk.crash(Crash::Power);
        }
    }
    assert!(lost > 100, "hardly anything was ever lost: {lost}");
}
