//! What the targets share.
//!
//! A target is a program of `targets/`: libFuzzer calls it with one input after another, and whatever
//! panics in it, on any thread, is a finding. `cargo xtask fuzz` builds and runs them.

mod cut;
mod server;

pub use cut::Cut;
pub use server::{Answer, exchange, send};
