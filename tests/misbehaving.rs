//! The misbehaving plugins, all of them together: on one stream, beside a sink that works. Those that
//! are ends of feeds: one after the other, beside ends that work.

#![cfg(all(unix, feature = "cli"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod support;

#[path = "misbehaving/feed_sinks.rs"]
mod feed_sinks;
#[path = "misbehaving/feed_sources.rs"]
mod feed_sources;
#[path = "misbehaving/feeds.rs"]
mod feeds;
#[path = "misbehaving/functions.rs"]
mod functions;
#[path = "misbehaving/terminal.rs"]
mod terminal;
#[path = "misbehaving/together.rs"]
mod together;
#[path = "misbehaving/watch.rs"]
mod watch;
#[path = "misbehaving/zoo.rs"]
mod zoo;
