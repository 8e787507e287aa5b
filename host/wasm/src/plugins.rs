//! The plugins of one host, by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;
use wasink_chassis::config::PluginName;
use wasink_chassis::feed::{FeedSink, FeedSource, Feeds};
use wasink_chassis::hooks::{Hooks, NoHooks};
use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasink_chassis::logger::{Logger, TracingLogger};
use wasink_chassis::plugin::{
    Demands, Description, Grants, OpenRequest, Origin, Plugin, PluginError, PluginVersion, Plugins,
    Sighting, SinkPlugin,
};
use wasink_record::Clock;
use wasmtime::component::Linker;

use crate::compile::{Loaded, chain, compile, digest, linker};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::feed::{FeedSinkGuest, SourceGuest};
use crate::find::{Directories, PluginFile, PluginSource, read, sighting};
use crate::host::{Commons, HostState, Surroundings};
use crate::inspect::{Inspection, World};
use crate::instance::{Guest, Instance, describe};
use crate::net::{Resolve, SystemResolver};
use crate::quota::Quotas;
use crate::signature::{Keys, Signature};
use crate::sink::SinkGuest;
use crate::store::Store;
use crate::views::ViewCounts;

/// A plugin that comes with the program: its name and its component.
pub type Bundled = (&'static str, &'static [u8]);

/// Where plugins come from and how much they may use.
#[derive(Clone, Default)]
pub struct Options {
    /// Directories to look in, in order; what is found in an earlier one hides what has the same
    /// name in a later one.
    pub directories: Vec<PathBuf>,
    /// Sinks that come with the program, looked at last.
    pub bundled: Vec<Bundled>,
    /// Sources of control events that come with the program.
    pub bundled_feed_sources: Vec<Bundled>,
    /// Sinks of control events that come with the program.
    pub bundled_feed_sinks: Vec<Bundled>,
    /// Directory for compiled code. It is made where it is not there, and must be closed to other
    /// users. `None`: plugins are compiled anew each time.
    pub cache: Option<PathBuf>,
    /// Directory for the bytes of versions that have been loaded, so that there is a way back to
    /// them. `None`: there is none after a restart.
    pub store: Option<PathBuf>,
    /// Files with public keys, PEM: where there is one, a plugin that does not come with the program
    /// must be signed by one of them.
    pub keys: Vec<PathBuf>,
    /// How much a plugin may use before it is opened: to be read, compiled, and to describe itself.
    /// Once it is opened, what its request says holds.
    pub limits: Limits,
    /// Looks up the names of hosts that sinks were granted. `None`: the system does.
    pub resolver: Option<Arc<dyn Resolve>>,
    /// Told of the limits that plugins come up against before they are opened. `None`: nobody is.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Where lines go that a plugin writes while it is asked to describe itself. `None`: to the
    /// `tracing` crate.
    pub logger: Option<Arc<dyn Logger>>,
    /// The wall clock of all instances that are opened, for harnesses: one that is years away, or
    /// jumps, shows what a plugin makes of it. Times before 1970 are shown as 1970, and deadlines do
    /// not depend on it. `None`: the system's.
    pub clock: Option<Arc<dyn Clock>>,
    /// Counts the views that sinks ask for, for a harness. `None`: nobody does, and nothing is spent on
    /// it.
    pub views: Option<ViewCounts>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("directories", &self.directories)
            .field("bundled", &self.bundled.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("cache", &self.cache)
            .field("store", &self.store)
            .field("keys", &self.keys)
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
    shelves: BTreeMap<World, Shelf>,
    limits: Limits,
    logger: Arc<dyn Logger>,
    commons: Commons,
    hooks: Arc<dyn Hooks>,
    store: Option<Store>,
    keys: Keys,
    /// What is compiled and in use, by digest.
    loaded: Mutex<HashMap<String, Weak<Loaded>>>,
}

/// Where plugins of one sort are.
#[derive(Debug)]
struct Shelf {
    directories: Directories,
    bundled: BTreeMap<PluginName, &'static [u8]>,
}

/// A plugin's bytes, where they were found, and what vouches for them.
struct Bytes {
    source: PluginSource,
    bytes: Vec<u8>,
    signature: Signature,
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
    /// What it tells about itself; `None` where it is in the place of plugins of another sort.
    pub description: Option<Arc<Description>>,
}

/// The names of all sinks in `directories` and of those that are `bundled`, sorted. Nothing of a
/// plugin is read, and no engine is needed.
pub fn plugin_names(directories: &[PathBuf], bundled: &[Bundled]) -> Vec<PluginName> {
    let found = Directories::new(directories, World::Sink).list();
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
        let Options { cache, store, keys, limits, resolver, hooks, logger, views, clock, .. } =
            options.clone();
        let engine = Engine::new(cache.as_deref())?;
        let linker = linker(&engine, views.is_some());
        let linker = linker.map_err(|error| EngineError::Runtime(chain(&error)))?;
        let shelf = |world: World| {
            let bundled = match world {
                World::Sink => &options.bundled,
                World::FeedSource => &options.bundled_feed_sources,
                World::FeedSink => &options.bundled_feed_sinks,
            };
            let named = |&(name, bytes): &Bundled| Some((PluginName::new(name).ok()?, bytes));
            let directories = Directories::new(&options.directories, world);
            (world, Shelf { directories, bundled: bundled.iter().filter_map(named).collect() })
        };
        Ok(Self {
            shared: Arc::new(Shared {
                engine,
                linker,
                shelves: World::ALL.into_iter().map(shelf).collect(),
                limits,
                logger: logger.unwrap_or_else(|| Arc::new(TracingLogger)),
                commons: Commons {
                    resolver: resolver.unwrap_or_else(|| Arc::new(SystemResolver)),
                    quotas: Quotas::default(),
                    clock,
                    views,
                },
                hooks: hooks.unwrap_or_else(|| Arc::new(NoHooks)),
                store: store.map(Store::new),
                keys: Keys::read(&keys)?,
                loaded: Mutex::default(),
            }),
        })
    }

    /// All sinks by name, sorted, and for people what else is in the directories: files whose
    /// names can't be plugins', directories that can't be read. Nothing of a plugin is read.
    pub fn list(&self) -> (Vec<PluginFile>, Vec<String>) {
        self.list_of(World::Sink)
    }

    /// The same for plugins of any sort.
    pub fn list_of(&self, world: World) -> (Vec<PluginFile>, Vec<String>) {
        let Some(shelf) = self.shared.shelves.get(&world) else { return Default::default() };
        let found = shelf.directories.list();
        let bundled = shelf.bundled.keys();
        let mut files: BTreeMap<_, _> =
            bundled.map(|name| (name.clone(), PluginSource::Bundled)).collect();
        files.extend(
            found.files.into_iter().map(|(name, path)| (name, PluginSource::File { path })),
        );
        let files = files.into_iter().map(|(name, source)| PluginFile { name, world, source });
        (files.collect(), found.oddities)
    }

    /// Reads a sink, looks at it, compiles it and asks it to describe itself. What is in the place of a
    /// sink and is none is looked at, and no more.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being used.
    pub fn report(&self, name: &PluginName) -> Result<PluginReport, PluginError> {
        self.report_of(World::Sink, name)
    }

    /// The same for a plugin of any sort.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being used.
    pub fn report_of(&self, world: World, name: &PluginName) -> Result<PluginReport, PluginError> {
        self.report_from(Some(world), name, &Origin::Directory)
    }

    /// The bytes of a plugin of any sort, as they are now.
    ///
    /// # Errors
    ///
    /// Where there is none of this name, or its file can't be read.
    pub fn component(&self, world: World, name: &PluginName) -> Result<Vec<u8>, PluginError> {
        Ok(self.read(world, name, &Origin::Directory)?.bytes)
    }

    /// What the component in a file says of itself, as for [`report_of`](Self::report_of), whatever sort
    /// it is of. Its name is the file's, with `-` for
    /// what the names of plugins have not.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being used.
    pub fn report_file(&self, path: &Path) -> Result<PluginReport, PluginError> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        let spelled = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' });
        let name = PluginName::new(&spelled.collect::<String>());
        let name = name.or_else(|_| PluginName::new("component"));
        let name = name.map_err(|_| PluginError::Unknown { name: stem, known: Vec::new() })?;
        self.report_from(None, &name, &Origin::File(path.to_owned()))
    }

    /// Where it is to be of one sort and is of another, it is looked at only.
    fn report_from(
        &self,
        world: Option<World>,
        name: &PluginName,
        from: &Origin,
    ) -> Result<PluginReport, PluginError> {
        let place = world.unwrap_or(World::Sink);
        let Bytes { source, bytes, .. } = self.read(place, name, from)?;
        let inspection =
            Inspection::of(&bytes).map_err(|reason| unusable(name, &source, reason))?;
        let found = inspection.world;
        let description = match world.is_none_or(|world| world == found) {
            true => Some(self.load_described(found, name, from, &Demands::default())?.1),
            false => None,
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
    fn read(&self, world: World, name: &PluginName, from: &Origin) -> Result<Bytes, PluginError> {
        let path = match from {
            Origin::Directory => match self.file(world, name) {
                Some(path) => path,
                None => {
                    let unknown = || PluginError::Unknown {
                        name: name.to_string(),
                        known: self.names_of(world),
                    };
                    let bytes = self.bundled(world, name).ok_or_else(unknown)?.to_vec();
                    let (source, signature) = (PluginSource::Bundled, Signature::Needless);
                    return Ok(Bytes { source, bytes, signature });
                }
            },
            Origin::File(path) => path.clone(),
            Origin::Stored(wanted) => return self.read_stored(world, name, wanted),
        };
        let source = PluginSource::File { path: path.clone() };
        let bytes = read(&path, self.shared.limits.component_bytes).map_err(|error| {
            if error.kind() == std::io::ErrorKind::FileTooLarge {
                self.shared.reached(name).reached(Limit::Component);
            }
            unusable(name, &source, format!("it can't be read: {error}"))
        })?;
        let signature = Signature::beside(&path)
            .map_err(|error| unusable(name, &source, format!("its signature: {error}")))?;
        Ok(Bytes { source, bytes, signature })
    }

    /// A version from the store, or from the program.
    fn read_stored(
        &self,
        world: World,
        name: &PluginName,
        wanted: &str,
    ) -> Result<Bytes, PluginError> {
        if let Some(bytes) = self.bundled(world, name).filter(|bytes| digest(bytes) == wanted) {
            let (source, signature) = (PluginSource::Bundled, Signature::Needless);
            return Ok(Bytes { source, bytes: bytes.to_vec(), signature });
        }
        let source = PluginSource::Stored { digest: wanted.to_owned() };
        let gone = |reason: String| unusable(name, &source, reason);
        let store = self.shared.store.as_ref();
        let store = store.ok_or_else(|| gone("versions are not stored here".to_owned()))?;
        let (bytes, signature) = store
            .read(wanted, self.shared.limits.component_bytes)
            .map_err(|error| gone(format!("it can't be read: {error}")))?;
        if digest(&bytes) != wanted {
            return Err(gone("its bytes are not those that were stored".to_owned()));
        }
        Ok(Bytes { source, bytes, signature })
    }

    /// The file of a plugin, where a directory has one.
    fn file(&self, world: World, name: &PluginName) -> Option<PathBuf> {
        self.shared.shelves.get(&world)?.directories.list().files.remove(name)
    }

    /// What comes with the program.
    fn bundled(&self, world: World, name: &PluginName) -> Option<&'static [u8]> {
        self.shared.shelves.get(&world)?.bundled.get(name).copied()
    }

    fn names_of(&self, world: World) -> Vec<PluginName> {
        self.list_of(world).0.into_iter().map(|file| file.name).collect()
    }

    /// A plugin, compiled. The same bytes are compiled once.
    fn load_from(
        &self,
        world: World,
        name: &PluginName,
        from: &Origin,
        demands: &Demands,
    ) -> Result<Arc<Loaded>, PluginError> {
        let Bytes { source, bytes, signature } = self.read(world, name, from)?;
        let digest = digest(&bytes);
        if let Some(reason) = demands.refusal(&digest) {
            return Err(unusable(name, &source, reason));
        }
        self.shared
            .keys
            .check(&bytes, &signature)
            .map_err(|reason| unusable(name, &source, reason))?;
        let loaded = || self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded().get(&digest).and_then(Weak::upgrade);
        // Another file with the same bytes is another plugin to whoever reads messages about it.
        if let Some(known) = known.filter(|known| known.name == *name && known.source == source) {
            return Ok(known);
        }
        let found = Inspection::of(&bytes).map_err(|reason| unusable(name, &source, reason))?;
        if found.world != world {
            let reason = format!("it is a {}, and a {world} is needed here", found.world);
            return Err(unusable(name, &source, reason));
        }
        let (compiled, bytes) = self.compile(name, source, bytes, digest.clone())?;
        if let (Some(_), PluginSource::File { .. }) = (&self.shared.store, &compiled.source) {
            let mut unstored = compiled.unstored.lock().unwrap_or_else(PoisonError::into_inner);
            *unstored = Some((bytes, signature));
        }
        let compiled = Arc::new(compiled);
        let mut loaded = loaded();
        loaded.retain(|_, known| known.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&compiled));
        Ok(compiled)
    }
}

impl WasmPlugins {
    /// A plugin that is compiled and has described itself.
    fn load_described(
        &self,
        world: World,
        name: &PluginName,
        from: &Origin,
        demands: &Demands,
    ) -> Result<(Arc<Loaded>, Arc<Description>), PluginError> {
        let loaded = self.load_from(world, name, from, demands)?;
        let Shared { engine, logger, limits, commons, .. } = &*self.shared;
        let around = Surroundings::new(
            name.as_str(),
            logger.clone(),
            Grants::default(),
            *limits,
            self.shared.reached(name),
            commons,
        );
        let around = around.map_err(|reason| unusable(name, &loaded.source, reason))?;
        let description = describe(engine, &loaded, &around)?;
        Ok((loaded, description))
    }

    /// Opens a plugin as an end of a feed.
    fn open_end<G: Guest>(
        &self,
        world: World,
        request: OpenRequest,
    ) -> Result<Instance<G>, PluginError> {
        let (name, directory) = (request.plugin.clone(), Origin::Directory);
        let (loaded, description) =
            self.load_described(world, &name, &directory, &request.demands)?;
        let Shared { engine, commons, .. } = &*self.shared;
        Instance::open(engine, loaded, description, request, commons)
    }

    /// Compiles on a thread of its own, so that there is an end to waiting for it.
    fn compile(
        &self,
        name: &PluginName,
        source: PluginSource,
        bytes: Vec<u8>,
        digest: String,
    ) -> Result<(Loaded, Vec<u8>), PluginError> {
        let patience = self.shared.limits.compile_time;
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (shared, plugin, from) = (self.shared.clone(), name.clone(), source.clone());
        let work = move || {
            let Shared { engine, linker, .. } = &*shared;
            let compiled = compile(engine, linker, &plugin, from, &bytes, digest);
            // Nobody may wait any more. What is compiled is in the cache all the same.
            drop(sender.send(compiled.map(|compiled| (compiled, bytes))));
        };
        let thread = std::thread::Builder::new().name("wasink-compile".to_owned()).spawn(work);
        let thread = thread.map_err(|error| unusable(name, &source, error.to_string()))?;
        match receiver.recv_timeout(patience) {
            Ok(compiled) => {
                drop(thread.join());
                compiled
            }
            Err(RecvTimeoutError::Timeout) => {
                self.shared.reached(name).reached(Limit::Compile);
                let reason = format!(
                    "it does not compile within {patience:?}; allow it more with `limits.compile`, \
                     or build it smaller"
                );
                Err(unusable(name, &source, reason))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(unusable(name, &source, "it makes the compiler panic".to_owned()))
            }
        }
    }
}

impl Shared {
    /// Where it is counted what a plugin came up against before it was opened.
    fn reached(&self, name: &PluginName) -> LimitCounts {
        LimitCounts::new(name.as_str(), self.hooks.clone())
    }
}

/// What is wrong with a plugin's bytes.
fn unusable(name: &PluginName, source: &PluginSource, reason: String) -> PluginError {
    PluginError::Unusable { name: name.clone(), origin: source.describe(), reason }
}

/// A plugin that is compiled and has described itself.
struct Version {
    shared: Arc<Shared>,
    loaded: Arc<Loaded>,
    description: Arc<Description>,
}

impl Plugin for Version {
    fn version(&self) -> PluginVersion {
        self.loaded.version(&self.description)
    }

    fn description(&self) -> Arc<Description> {
        self.description.clone()
    }

    fn open(&self, request: OpenRequest) -> Result<Box<dyn SinkPlugin>, PluginError> {
        let Shared { engine, commons, .. } = &*self.shared;
        let (loaded, description) = (self.loaded.clone(), self.description.clone());
        let instance: Instance<SinkGuest> =
            Instance::open(engine, loaded, description, request, commons)?;
        Ok(Box::new(instance))
    }

    fn store(&self) -> std::io::Result<()> {
        let Some(store) = &self.shared.store else { return Ok(()) };
        let mut unstored = self.loaded.unstored.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, signature)) = &*unstored {
            store.keep(&self.loaded.digest, bytes, signature)?;
        }
        *unstored = None;
        Ok(())
    }
}

impl Plugins for WasmPlugins {
    fn names(&self) -> Vec<PluginName> {
        self.names_of(World::Sink)
    }

    fn load(
        &self,
        name: &PluginName,
        from: &Origin,
        demands: &Demands,
    ) -> Result<Arc<dyn Plugin>, PluginError> {
        let (loaded, description) = self.load_described(World::Sink, name, from, demands)?;
        Ok(Arc::new(Version { shared: self.shared.clone(), loaded, description }))
    }

    fn sighting(&self, name: &PluginName) -> Option<Sighting> {
        sighting(&self.file(World::Sink, name)?)
    }

    fn digest(&self, name: &PluginName) -> Result<String, PluginError> {
        let Bytes { source, bytes, signature } =
            self.read(World::Sink, name, &Origin::Directory)?;
        // What nothing vouches for is not there yet: its signature may come after it.
        let vouched = self.shared.keys.check(&bytes, &signature);
        vouched.map_err(|reason| unusable(name, &source, reason))?;
        Ok(digest(&bytes))
    }

    fn retain(&self, digests: &[String]) {
        if let Some(store) = &self.shared.store {
            store.retain(digests);
        }
    }
}

impl Feeds for WasmPlugins {
    fn describe_source(
        &self,
        name: &PluginName,
        demands: &Demands,
    ) -> Result<Arc<Description>, PluginError> {
        Ok(self.load_described(World::FeedSource, name, &Origin::Directory, demands)?.1)
    }

    fn describe_sink(
        &self,
        name: &PluginName,
        demands: &Demands,
    ) -> Result<Arc<Description>, PluginError> {
        Ok(self.load_described(World::FeedSink, name, &Origin::Directory, demands)?.1)
    }

    fn open_source(&self, request: OpenRequest) -> Result<Box<dyn FeedSource>, PluginError> {
        Ok(Box::new(self.open_end::<SourceGuest>(World::FeedSource, request)?))
    }

    fn open_sink(&self, request: OpenRequest) -> Result<Box<dyn FeedSink>, PluginError> {
        Ok(Box::new(self.open_end::<FeedSinkGuest>(World::FeedSink, request)?))
    }
}

impl std::fmt::Debug for WasmPlugins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmPlugins").field("shelves", &self.shared.shelves).finish_non_exhaustive()
    }
}
