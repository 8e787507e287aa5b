//! The server as its clients see it, over real connections.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod serve {
    mod admin;
    mod chassis;
    mod client;
    mod document;
    mod drain;
    mod encodings;
    mod events;
    mod forms;
    mod guards;
    mod keys;
    mod kit;
    mod limits;
    mod listen;
    mod statuses;
}
