//! A simulated disk, and records to put on it.

pub(crate) mod chance;
pub(crate) mod dead;
#[expect(dead_code, reason = "each test asks for a part of it")]
pub(crate) mod disk;
pub(crate) mod records;
