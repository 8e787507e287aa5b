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
mod clock;
mod compile;
mod convert;
mod engine;
mod error;
mod feed;
mod files;
mod find;
mod host;
mod inspect;
mod instance;
mod listing;
mod memory;
mod net;
mod plugins;
mod quota;
mod secrets;
mod signature;
mod sink;
mod stack;
mod stderr;
mod still;
mod store;
mod views;
mod words;

pub use error::EngineError;
pub use find::{PluginFile, PluginSource};
pub use inspect::{CONTRACT_VERSION, Inspection, World};
pub use net::{Resolve, SystemResolver};
pub use plugins::{Bundled, Options, PluginReport, WasmPlugins, plugin_names};
pub use views::{View, ViewCount, ViewCounts};
pub use wasink_chassis::limits::Limits;
