//! What `emit` costs its caller in allocations. Alone in its program, because it counts all of them.

#![expect(unsafe_code, reason = "an allocator that counts is unsafe to write")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use wasink_record::UsageEvent;

#[path = "chassis/kit.rs"]
#[expect(dead_code, reason = "other tests need the rest")]
mod kit;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends still allocates when its counter is gone.
    ALLOCATIONS.try_with(|count| count.set(count.get() + 1)).unwrap_or_default();
}

// SAFETY: every call is passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps to the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn emit_allocates_at_most_once_a_record() {
    const RECORDS: u64 = 4096;
    let bench = kit::one(kit::Fake::new().0);
    let chassis = bench.open().unwrap();
    let recorder = chassis.usage();
    let records = || -> Vec<UsageEvent> { (0..RECORDS).map(|_| kit::usage("r")).collect() };
    records().into_iter().for_each(|record| recorder.emit(record));
    let warm = records();
    let before = ALLOCATIONS.get();
    assert!(before > RECORDS, "the records were counted, so the counter works");
    warm.into_iter().for_each(|record| recorder.emit(record));
    let allocations = ALLOCATIONS.get() - before;
    assert!(allocations <= RECORDS, "{allocations} allocations for {RECORDS} records");
    chassis.close(Duration::from_secs(20));
}
