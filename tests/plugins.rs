//! The WebAssembly host with real components: loading, calls, limits, the sandbox, the bundled sinks.

#![cfg(all(unix, feature = "cli"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where it fails"
)]

mod support;

#[path = "plugins/kit.rs"]
mod kit;
#[path = "support/nats.rs"]
mod nats;

#[path = "plugins/cache.rs"]
mod cache;
#[path = "plugins/calls.rs"]
mod calls;
#[path = "plugins/conformance.rs"]
mod conformance;
#[path = "plugins/connections.rs"]
mod connections;
#[path = "plugins/describe_and_open.rs"]
mod describe_and_open;
#[path = "plugins/directory.rs"]
mod directory;
#[path = "plugins/feed_backends.rs"]
mod feed_backends;
#[path = "plugins/feeds.rs"]
mod feeds;
#[path = "plugins/file_sink.rs"]
mod file_sink;
#[path = "plugins/find.rs"]
mod find;
#[path = "plugins/harness.rs"]
mod harness;
#[path = "plugins/jetstream.rs"]
mod jetstream;
#[path = "plugins/limits.rs"]
mod limits;
#[path = "plugins/load.rs"]
mod load;
#[path = "plugins/rollup.rs"]
mod rollup;
#[path = "plugins/sandbox.rs"]
mod sandbox;
#[path = "plugins/sinks.rs"]
mod sinks;
#[path = "plugins/ways_out.rs"]
mod ways_out;
