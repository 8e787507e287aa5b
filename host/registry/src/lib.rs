//! Plugins as OCI artifacts, in the layout that the CNCF's TAG Runtime describes for WebAssembly: a
//! manifest with a configuration of the type `application/vnd.wasm.config.v0+json` and one layer of
//! the type `application/wasm`, which is the component.
//!
//! A [`Registry`] fetches them and puts them there. Nothing that comes from one is believed: every
//! answer has a limit, and every byte is taken by its digest. A [`Candidate`] is where a component is
//! until somebody has looked at it; [`Lock`] is what was fetched last. What a plugin is, this crate
//! does not know.
//!
//! The functions block. None may be called on a thread of an asynchronous runtime.

mod artifact;
mod challenge;
mod client;
mod credentials;
mod digest;
mod error;
mod lock;
mod place;
mod reference;
mod registry;

pub use artifact::{Artifact, Package, SIGNATURE_BYTES};
pub use client::Patience;
pub use credentials::{Credentials, CredentialsError};
pub use digest::{Digest, DigestError};
pub use error::RegistryError;
pub use lock::{LOCK_FILE, Lock, LockError, Locked};
pub use place::{Candidate, Hold, signature_beside};
pub use reference::{Reference, ReferenceError};
pub use registry::{Options, Registry};
