//! The ways out of the sandbox: TCP and HTTP, to what was granted and to nothing else.
//!
//! A name is looked up here, once a connection, and what is connected to is an address that was
//! checked: a name that leads elsewhere the next time leads nowhere.

mod address;
mod answer;
mod client;
mod connect;
mod credential;
mod handle;
mod http;
mod names;
mod tcp;
mod told;

use wasmtime::component::Linker;

use crate::host::HostState;

pub use names::{Resolve, SystemResolver};

pub(crate) use http::{Http, Outlets};
pub(crate) use names::Lookups;
pub(crate) use tcp::Tcp;

/// Puts our functions in the place of wasmtime's. To be called after those are there.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    tcp::add_to_linker(linker)?;
    handle::add_to_linker(linker)
}
