//! From bytes to something that can be instantiated.

use std::sync::{Arc, Mutex, OnceLock};

use sha2::{Digest as _, Sha256};
use wasink_chassis::config::PluginName;
use wasink_chassis::plugin::{Description, PluginError, PluginVersion};
use wasmtime::component::{Component, InstancePre, Linker};

use crate::bindings::about::AboutPre;
use crate::bindings::feed_sink::FeedSinkPre;
use crate::bindings::feed_source::FeedSourcePre;
use crate::bindings::sink::SinkPre;
use crate::bindings::wasink::plugin::{batches, lifecycle, log, records, secrets};
use crate::engine::Engine;
use crate::files;
use crate::find::PluginSource;
use crate::host::{Host, HostState};
use crate::inspect::{Inspection, World};
use crate::net;
use crate::signature::Signature;
use crate::views::{Counted, Counting};

/// A component that has been read, checked, compiled and linked.
pub(crate) struct Loaded {
    pub(crate) name: PluginName,
    pub(crate) source: PluginSource,
    pub(crate) digest: String,
    pub(crate) pre: InstancePre<HostState>,
    /// What is to be stored of it, until it is.
    pub(crate) unstored: Mutex<Option<(Vec<u8>, Signature)>>,
    /// What it told about itself, once it has been asked.
    pub(crate) description: OnceLock<Arc<Description>>,
}

impl Loaded {
    /// Which bytes these are, with the version that they describe themselves by.
    pub(crate) fn version(&self, description: &Description) -> PluginVersion {
        PluginVersion {
            digest: self.digest.clone(),
            version: description.version.clone(),
            path: self.source.path().map(ToOwned::to_owned),
        }
    }
}

/// `sha256:` and the digest of `bytes`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let hex = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]);
    "sha256:".chars().chain(digits).collect()
}

/// The linker with everything that plugins are given; where views are `counted`, with the functions that
/// do so.
pub(crate) fn linker(engine: &Engine, counted: bool) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(&engine.wasmtime);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    files::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    net::add_to_linker(&mut linker)?;
    // One by one: the world's own function would ask us to implement WASI as well.
    records::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    lifecycle::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    if counted {
        batches::add_to_linker::<_, Counted>(&mut linker, |state| Counting(state))?;
    } else {
        batches::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    }
    log::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    secrets::add_to_linker::<_, Host>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Compiles a plugin; takes tens of milliseconds for a small plugin, seconds for one that carries a
/// language's runtime, and next to nothing where its code is in the cache.
pub(crate) fn compile(
    engine: &Engine,
    linker: &Linker<HostState>,
    name: &PluginName,
    source: PluginSource,
    bytes: &[u8],
    digest: String,
) -> Result<Loaded, PluginError> {
    let unusable = |reason: String| PluginError::Unusable {
        name: name.clone(),
        origin: source.describe(),
        reason,
    };
    let inspection = Inspection::of(bytes).map_err(unusable)?;
    let component = Component::from_binary(&engine.wasmtime, bytes)
        .map_err(|error| unusable(format!("it does not compile: {}", chain(&error))))?;
    let pre = linker
        .instantiate_pre(&component)
        .and_then(|pre| fits(inspection.world, pre))
        .map_err(|error| unusable(format!("it does not fit this host: {}", chain(&error))))?;
    let (unstored, description) = (Mutex::default(), OnceLock::new());
    Ok(Loaded { name: name.clone(), source, digest, pre, unstored, description })
}

/// Looks at the types of what the world exports.
fn fits(world: World, pre: InstancePre<HostState>) -> wasmtime::Result<InstancePre<HostState>> {
    AboutPre::new(pre.clone())?;
    match world {
        World::Sink => drop(SinkPre::new(pre.clone())?),
        World::FeedSource => drop(FeedSourcePre::new(pre.clone())?),
        World::FeedSink => drop(FeedSinkPre::new(pre.clone())?),
    }
    Ok(pre)
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    let causes: Vec<_> = error.chain().map(|cause| cause.to_string()).collect();
    causes.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}
