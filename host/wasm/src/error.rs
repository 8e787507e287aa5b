//! Why there is no engine.

use std::io;

/// Why the engine that runs plugins could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The directory for compiled code could not be made, or is not private.
    #[error("can't use `{path}` for compiled plugins: {source}")]
    Cache {
        /// The directory.
        path: String,
        /// What the file system says.
        source: io::Error,
    },
    /// A public key can't be used.
    #[error("plugin_keys: `{path}`: {reason}")]
    Key {
        /// Its file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The system did not give a thread.
    #[error("can't start the threads that plugins need: {0}")]
    Thread(#[source] io::Error),
    /// wasmtime refuses this machine or its own settings.
    #[error("wasmtime can't run here: {0}")]
    Runtime(String),
}
