//! The command, as an operator has it: the real binary, in a directory of its own.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where it fails")]

#[path = "support/named.rs"]
mod named;
#[expect(dead_code, reason = "other tests ask it for more")]
#[path = "support/nats.rs"]
mod nats;
#[expect(dead_code, reason = "other tests ask it for more")]
#[path = "support/registry.rs"]
mod registry_server;

mod support;

mod command {
    mod author;
    mod bench;
    mod configuration;
    mod conformance;
    mod crash;
    mod daemon;
    mod dead;
    mod desk;
    mod embedded;
    mod failure;
    mod fan_in;
    mod feed;
    mod fleet;
    mod flow;
    mod full;
    mod grants;
    mod help;
    mod lines;
    mod mend;
    mod operator;
    mod output;
    mod readme;
    mod receivers;
    mod registry;
    mod reload;
    mod secrets;
    mod service;
    mod signals;
    mod swap;
    mod swap_crash;
    mod wire;
}
