//! The plugins that come with wasink, as components, built from guest/sinks and guest/feeds together
//! with this crate.

/// Name and component of each sink, sorted by name.
pub const PLUGINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sinks.rs"));

/// Name and component of each source of control events, sorted by name.
pub const FEED_SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/feed-sources.rs"));

/// Name and component of each sink of control events, sorted by name.
pub const FEED_SINKS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/feed-sinks.rs"));
