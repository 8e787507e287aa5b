//! Bounds on what an instance may allocate, and the memory of having come up against one.

use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasmtime::{ResourceLimiter, StoreLimits, StoreLimitsBuilder};

/// Says no to more than the limits allow, and counts it.
pub(crate) struct Bounds {
    limits: StoreLimits,
    reached: LimitCounts,
    /// What the guest was refused last, for whoever tells why it trapped.
    refused: Option<Limit>,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits, reached: LimitCounts) -> Self {
        let limits = StoreLimitsBuilder::new()
            .memory_size(limits.memory_bytes)
            .table_elements(limits.table_elements)
            .instances(limits.instances)
            .memories(limits.instances)
            .tables(limits.instances)
            .build();
        Self { limits, reached, refused: None }
    }

    /// What was refused since this was asked last.
    pub(crate) fn take_refused(&mut self) -> Option<Limit> {
        self.refused.take()
    }

    fn note(&mut self, grown: wasmtime::Result<bool>, limit: Limit) -> wasmtime::Result<bool> {
        if !matches!(grown, Ok(true)) {
            self.refused = Some(limit);
            self.reached.reached(limit);
        }
        grown
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.limits.memory_growing(current, desired, maximum);
        self.note(grown, Limit::Memory)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = self.limits.table_growing(current, desired, maximum);
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
