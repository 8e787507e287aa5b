//! How much a plugin may use.

use std::time::Duration;

/// How much a plugin may use, in one place. The defaults are generous for a plugin in a compiled
/// language and enough for one in Python or JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest component file, in bytes. Default: 64 MiB; a component that carries a JavaScript or
    /// Python runtime is about 20 MB.
    pub component_bytes: u64,
    /// Most linear memory of one instance, in bytes. Default: 256 MiB.
    pub memory_bytes: usize,
    /// Most elements in one table. Default: 100,000.
    pub table_elements: usize,
    /// Most core instances, memories and tables within one component instance. Default: 100 each.
    pub instances: usize,
    /// Most handles that an instance may hold. Default: 10,000.
    pub handles: usize,
    /// Most bytes that a call from the guest may make the host allocate. Default: 64 MiB.
    pub host_call_bytes: usize,
    /// Longest text in an answer, in bytes; the rest is cut. Default: 4 KiB.
    pub text_bytes: usize,
    /// Longest log message or field, in bytes; the rest is cut. Default: 8 KiB.
    pub log_bytes: usize,
    /// Most fields of one log line. Default: 64; the rest is left out.
    pub log_fields: usize,
    /// How long `describe` may take. Default: 10 s.
    pub describe_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component_bytes: 64 << 20,
            memory_bytes: 256 << 20,
            table_elements: 100_000,
            instances: 100,
            handles: 10_000,
            host_call_bytes: 64 << 20,
            text_bytes: 4 << 10,
            log_bytes: 8 << 10,
            log_fields: 64,
            describe_time: Duration::from_secs(10),
        }
    }
}

/// The beginning of `text`, at most `max` bytes, with a mark where something was cut.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
