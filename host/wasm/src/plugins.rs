//! The plugins of one host, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use wasink_chassis::config::PluginName;
use wasink_chassis::logger::{Logger, TracingLogger};
use wasink_chassis::plugin::{Description, OpenRequest, PluginError, Plugins, SinkPlugin};
use wasmtime::component::Linker;

use crate::compile::{Loaded, chain, compile, digest, linker};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::find::{Directories, PluginFile, PluginSource, read};
use crate::host::HostState;
use crate::inspect::{Inspection, World};
use crate::instance::{Instance, describe};
use crate::limits::Limits;

/// A plugin that comes with the program: its name and its component.
pub type Bundled = (&'static str, &'static [u8]);

/// Where plugins come from and how much they may use.
#[derive(Clone, Default)]
pub struct Options {
    /// Directories to look in, in order; what is found in an earlier one hides what has the same
    /// name in a later one.
    pub directories: Vec<PathBuf>,
    /// Plugins that come with the program, looked at last.
    pub bundled: Vec<Bundled>,
    /// Directory for compiled code. It is made where it is not there, and must be closed to other
    /// users. `None`: plugins are compiled anew each time.
    pub cache: Option<PathBuf>,
    /// How much each instance may use.
    pub limits: Limits,
    /// Where lines go that a plugin writes while it is asked to describe itself. `None`: to the
    /// `tracing` crate.
    pub logger: Option<Arc<dyn Logger>>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("directories", &self.directories)
            .field("bundled", &self.bundled.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("cache", &self.cache)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Finds, compiles and opens plugins. Cheap to clone: clones share everything.
#[derive(Clone)]
pub struct WasmPlugins {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    linker: Linker<HostState>,
    directories: Directories,
    bundled: BTreeMap<PluginName, &'static [u8]>,
    limits: Limits,
    logger: Arc<dyn Logger>,
    /// What has been compiled, by digest.
    loaded: Mutex<HashMap<String, Arc<Loaded>>>,
}

/// A plugin as it shows itself to whoever looks at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PluginReport {
    /// Its name.
    pub name: PluginName,
    /// Where its bytes are.
    pub source: PluginSource,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// `sha256:` and the lowercase hexadecimal digest.
    pub digest: String,
    /// What it says before it is compiled.
    #[serde(flatten)]
    pub inspection: Inspection,
    /// What it tells about itself, where it is a sink.
    pub description: Option<Arc<Description>>,
}

/// The names of all plugins in `directories` and of those that are `bundled`, sorted. Nothing of a
/// plugin is read, and no engine is needed.
pub fn plugin_names(directories: &[PathBuf], bundled: &[Bundled]) -> Vec<PluginName> {
    let found = Directories::new(directories.to_vec()).list();
    let bundled = bundled.iter().filter_map(|(name, _)| PluginName::new(name).ok());
    let names: BTreeSet<_> = found.files.into_keys().chain(bundled).collect();
    names.into_iter().collect()
}

impl WasmPlugins {
    /// Makes an engine and looks at nothing yet.
    ///
    /// # Errors
    ///
    /// Where the directory for compiled code can't be used, or the system gives no thread.
    pub fn new(options: Options) -> Result<Self, EngineError> {
        let Options { directories, bundled, cache, limits, logger } = options;
        let engine = Engine::new(cache.as_deref())?;
        let linker = linker(&engine).map_err(|error| EngineError::Runtime(chain(&error)))?;
        let named = |(name, bytes): Bundled| Some((PluginName::new(name).ok()?, bytes));
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                linker,
                directories: Directories::new(directories),
                bundled: bundled.into_iter().filter_map(named).collect(),
                limits,
                logger: logger.unwrap_or_else(|| Arc::new(TracingLogger)),
                loaded: Mutex::default(),
            }),
        })
    }

    /// All plugins by name, sorted, and for people what else is in the directories: files whose
    /// names can't be plugins', directories that can't be read. Nothing of a plugin is read.
    pub fn list(&self) -> (Vec<PluginFile>, Vec<String>) {
        let found = self.shared.directories.list();
        let bundled = self.shared.bundled.keys();
        let mut files: BTreeMap<_, _> =
            bundled.map(|name| (name.clone(), PluginSource::Bundled)).collect();
        files.extend(
            found.files.into_iter().map(|(name, path)| (name, PluginSource::File { path })),
        );
        let files = files.into_iter().map(|(name, source)| PluginFile { name, source });
        (files.collect(), found.oddities)
    }

    /// Reads a plugin, looks at it, and where it is a sink compiles it and asks it to describe
    /// itself.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being used.
    pub fn report(&self, name: &PluginName) -> Result<PluginReport, PluginError> {
        let (source, bytes) = self.read(name)?;
        let inspection = Inspection::of(&bytes).map_err(|reason| PluginError::Unusable {
            name: name.clone(),
            origin: source.describe(),
            reason,
        })?;
        let description = match inspection.world {
            World::Sink => Some(self.describe(name)?),
            World::FeedSource | World::FeedSink => None,
        };
        Ok(PluginReport {
            name: name.clone(),
            source,
            bytes: bytes.len() as u64,
            digest: digest(&bytes),
            inspection,
            description,
        })
    }

    /// The bytes of a plugin, as they are now.
    fn read(&self, name: &PluginName) -> Result<(PluginSource, Vec<u8>), PluginError> {
        let found = self.shared.directories.list();
        if let Some(path) = found.files.get(name) {
            let source = PluginSource::File { path: path.clone() };
            let bytes = read(path, self.shared.limits.component_bytes).map_err(|error| {
                PluginError::Unusable {
                    name: name.clone(),
                    origin: source.describe(),
                    reason: format!("it can't be read: {error}"),
                }
            })?;
            return Ok((source, bytes));
        }
        match self.shared.bundled.get(name) {
            Some(bytes) => Ok((PluginSource::Bundled, bytes.to_vec())),
            None => Err(PluginError::Unknown { name: name.to_string(), known: self.names() }),
        }
    }

    /// A plugin, compiled. The same bytes are compiled once.
    fn load(&self, name: &PluginName) -> Result<Arc<Loaded>, PluginError> {
        let (source, bytes) = self.read(name)?;
        let digest = digest(&bytes);
        let loaded = || self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = loaded().get(&digest).filter(|known| known.name == *name) {
            return Ok(known.clone());
        }
        let Shared { engine, linker, .. } = &*self.shared;
        let compiled = compile(engine, linker, name, source, &bytes, digest.clone())?;
        let compiled = Arc::new(compiled);
        loaded().insert(digest, compiled.clone());
        Ok(compiled)
    }

    fn describe_loaded(&self, loaded: &Arc<Loaded>) -> Result<Arc<Description>, PluginError> {
        let Shared { engine, logger, limits, .. } = &*self.shared;
        describe(engine, loaded, logger.clone(), limits)
    }
}

impl Plugins for WasmPlugins {
    fn names(&self) -> Vec<PluginName> {
        self.list().0.into_iter().map(|file| file.name).collect()
    }

    fn describe(&self, name: &PluginName) -> Result<Arc<Description>, PluginError> {
        self.describe_loaded(&self.load(name)?)
    }

    fn open(&self, request: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        let loaded = self.load(&request.plugin)?;
        let description = self.describe_loaded(&loaded)?;
        let Shared { engine, limits, .. } = &*self.shared;
        Ok(Box::new(Instance::open(engine, loaded, description, request, *limits)?))
    }
}

impl std::fmt::Debug for WasmPlugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmPlugins")
            .field("directories", &self.shared.directories)
            .finish_non_exhaustive()
    }
}
