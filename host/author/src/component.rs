//! From a core module to a component.

use std::path::Path;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::wit_parser::{Resolve, WorldId};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// The contract in this folder, and one of its worlds.
pub(crate) fn world(folder: &Path, world: &str) -> Result<(Resolve, WorldId), String> {
    let told = |error| format!("{error:#}");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(folder).map_err(told)?;
    let world = resolve.select_world(&[package], Some(world)).map_err(told)?;
    Ok((resolve, world))
}

/// Puts the world into a core module, for [`encode`]. Linkers of C do so with the bindings.
pub(crate) fn embed(module: &mut Vec<u8>, folder: &Path, world: &str) -> Result<(), String> {
    let (resolve, world) = self::world(folder, world)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))
}

/// Makes a component of a core module that has its world in it, and that uses WASI as of its first
/// preview.
pub(crate) fn encode(module: &[u8]) -> Result<Vec<u8>, String> {
    let told = |error| format!("{error:#}");
    let adapter = WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(module).map_err(told)?;
    encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter).map_err(told)?;
    encoder.encode().map_err(told)
}
