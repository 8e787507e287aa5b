//! The contract as `wit-bindgen` writes it in Rust: what a host gives, and each interface that a
//! plugin may export. What a plugin needs of it is also in the crate's root; the rest is for those
//! that this crate's traits do not fit.

#[rustfmt::skip]
pub mod about;
#[rustfmt::skip]
pub mod acks;
#[rustfmt::skip]
pub mod capture;
#[rustfmt::skip]
pub mod feed_sink;
#[rustfmt::skip]
pub mod feed_source;
#[rustfmt::skip]
pub mod host;
#[rustfmt::skip]
pub mod sink;
