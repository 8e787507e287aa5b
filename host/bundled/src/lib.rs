//! The plugins that come with wasink, as components, built from guest/sinks together with this crate.

/// Name and component of each plugin, sorted by name.
pub const PLUGINS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));
