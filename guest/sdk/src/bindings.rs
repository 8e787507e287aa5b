//! The contract as `wit-bindgen` writes it in Rust. What a sink needs of it is also in the crate's
//! root; the rest is for plugins that this crate's trait does not fit.

#[rustfmt::skip]
pub mod capture;
#[rustfmt::skip]
pub mod sink;
