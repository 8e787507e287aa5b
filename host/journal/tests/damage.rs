//! What is damaged is told apart, put aside and accounted for; all the rest is delivered, and a
//! journal opens whatever has become of its files.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

#[path = "simulated/kit.rs"]
mod simulated;

mod damage {
    mod files;
    mod fixture;
    mod sweep;
    mod unreadable;
}
