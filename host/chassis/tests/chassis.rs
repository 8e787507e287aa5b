//! The chassis as a whole, with plugins in plain Rust.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod chassis {
    mod append;
    mod close;
    mod doubt;
    mod independence;
    mod kit;
    mod ledger;
    mod open;
    mod order;
    mod reload;
    mod swap;
    mod trial;
}
