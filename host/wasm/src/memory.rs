//! Bounds on what an instance may allocate, and the memory of having come up against one.

use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// Says no to more than the limits allow, and counts it. All memories of an instance count together,
/// and so do all its tables.
pub(crate) struct Bounds {
    limits: StoreLimits,
    memory: Total,
    table: Total,
    reached: LimitCounts,
    /// What the guest was refused last, for whoever tells why it trapped.
    refused: Option<Limit>,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits, reached: LimitCounts) -> Self {
        let (memory, table) = (Total::of(limits.memory_bytes), Total::of(limits.table_elements));
        let limits = StoreLimitsBuilder::new()
            .instances(limits.instances)
            .memories(limits.instances)
            .tables(limits.instances)
            .build();
        Self { limits, memory, table, reached, refused: None }
    }

    /// Bytes of memory that there are.
    pub(crate) fn memory(&self) -> u64 {
        self.memory.used as u64
    }

    /// What was refused since this was asked last.
    pub(crate) fn take_refused(&mut self) -> Option<Limit> {
        self.refused.take()
    }

    fn note(&mut self, grown: bool, limit: Limit) -> wasmtime::Result<bool> {
        if !grown {
            self.refused = Some(limit);
            self.reached.reached(limit);
        }
        Ok(grown)
    }
}

/// So much of something, in all.
struct Total {
    most: usize,
    used: usize,
    /// What was granted last: the system may not have it.
    last: usize,
}

impl Total {
    fn of(most: usize) -> Self {
        Self { most, used: 0, last: 0 }
    }

    /// Whether one of them may grow, to `desired` at once and to `maximum` ever.
    fn grow(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> bool {
        let more = desired.saturating_sub(current);
        let used = self.used.saturating_add(more);
        if used > self.most || maximum.is_some_and(|maximum| desired > maximum) {
            return false;
        }
        (self.used, self.last) = (used, more);
        true
    }

    /// It did not.
    fn take_back(&mut self) {
        self.used = self.used.saturating_sub(std::mem::take(&mut self.last));
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.memory.grow(current, desired, maximum);
        self.note(grown, Limit::Memory)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory.take_back();
        Ok(())
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.table.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.table.grow(current, desired, maximum);
        self.note(grown, Limit::Table)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}

#[cfg(test)]
mod tests {
    use wasink_chassis::limits::{Limit, LimitCounts, Limits};
    use wasmtime::ResourceLimiter as _;

    use super::Bounds;

    #[test]
    fn many_memories_have_no_more_than_one_and_what_the_system_refused_is_free_again() {
        let mut limits = Limits::default();
        (limits.memory_bytes, limits.table_elements) = (100, 10);
        let reached = LimitCounts::default();
        let mut bounds = Bounds::new(&limits, reached.clone());
        assert!(bounds.memory_growing(0, 60, None).unwrap());
        assert!(!bounds.memory_growing(0, 60, None).unwrap());
        assert_eq!((bounds.take_refused(), reached.get(Limit::Memory)), (Some(Limit::Memory), 1));
        assert!(bounds.memory_growing(0, 40, None).unwrap());
        assert!(!bounds.memory_growing(60, 61, None).unwrap());
        bounds.memory_grow_failed(wasmtime::Error::msg("no room")).unwrap();
        assert!(bounds.memory_growing(60, 100, None).unwrap());
        assert!(!bounds.memory_growing(0, 1, None).unwrap());
        assert!(bounds.table_growing(0, 10, None).unwrap());
        assert!(!bounds.table_growing(10, 11, None).unwrap());
        assert!(!bounds.table_growing(0, usize::MAX, None).unwrap());
        assert!(bounds.table_growing(0, 0, Some(0)).unwrap());
    }

    #[test]
    fn modules_memories_and_tables_are_as_many_as_there_may_be_each() {
        let mut limits = Limits::default();
        limits.instances = 7;
        let bounds = Bounds::new(&limits, LimitCounts::default());
        assert_eq!((bounds.instances(), bounds.memories(), bounds.tables()), (7, 7, 7));
    }
}
