//! The ways out of the sandbox: TCP and HTTP, to what was granted and to nothing else.
//!
//! A name is looked up here, once a connection, and what is connected to is an address that was
//! checked: a name that leads elsewhere the next time leads nowhere.

mod address;
mod answer;
mod client;
mod connect;
mod credential;
mod http;
mod names;
mod tcp;
mod told;

pub use names::{Resolve, SystemResolver};

pub(crate) use http::{Http, Outlets};
pub(crate) use names::Lookups;
pub(crate) use tcp::{Tcp, add_to_linker};
