//! Plugins that are WebAssembly components.
//!
//! [`WasmPlugins`] finds components by name in directories, looks at what kind of file each is
//! before anything of it runs, compiles it (once: compiled code is kept in a private cache), and
//! opens instances of it that implement the chassis's plugin traits.
//!
//! Each instance has a store of its own, is granted nothing that its configuration does not name,
//! and has a deadline on every call, whether it computes or waits. After a trap or a missed deadline
//! the store is thrown away and a new one is made.

mod bindings;
mod compile;
mod convert;
mod engine;
mod error;
mod files;
mod find;
mod host;
mod inspect;
mod instance;
mod limits;
mod plugins;
mod signature;
mod stderr;
mod store;

pub use error::EngineError;
pub use find::{PluginFile, PluginSource};
pub use inspect::{CONTRACT_VERSION, Inspection, World};
pub use limits::Limits;
pub use plugins::{Bundled, Options, PluginReport, WasmPlugins, plugin_names};
