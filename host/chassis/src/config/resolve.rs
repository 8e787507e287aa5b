//! From the configuration as it is written to what the program runs on.

use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};
use wasink_journal::WhenFull;
use wasink_record::Stream;

use super::{
    BatchLimits, Config, JournalConfig, ListenConfig, LogConfig, OnOpenFailure, Order,
    PluginConfig, QueueLimits, Role, SinkConfig, SwapConfig,
    document::Origins,
    error::ConfigError,
    grants::{GrantsConfig, SecretConfig, Written},
    name::PluginName,
    path::KeyPath,
    raw,
};
use crate::limits::Limits;

/// The plugin that keeps a stream which nothing else takes.
const FILE_PLUGIN: &str = "file";
/// Its file, in the stream's own directory.
const LEDGER: &str = "ledger.jsonl";

/// How a sink is called, and what becomes of what it has not dealt with.
#[derive(Clone)]
struct Calls {
    batch: BatchLimits,
    timeout: Duration,
    when_full: WhenFull,
    max_pending: NonZeroU64,
    order: Order,
    digest: Option<String>,
    on_open_failure: OnOpenFailure,
    limits: Limits,
}

/// That of a section, whichever it is: their keys are the same.
macro_rules! calls {
    ($section:expr, $config:expr) => {
        Calls {
            batch: limits(&$section.batch),
            timeout: $section.timeout.0,
            when_full: $section.when_full,
            max_pending: $section.max_pending.unwrap_or($config.journal.bytes).0,
            order: $section.order,
            digest: $section.digest.clone(),
            on_open_failure: $section.on_open_failure,
            limits: $section.limits.over(&$config.limits),
        }
    };
}

/// Makes what the program runs on.
///
/// What is wrong goes to `errors`; where there is anything, the result is of no use.
pub(super) fn resolve(
    mut raw: raw::Config,
    origins: Arc<Origins>,
    errors: &mut Vec<ConfigError>,
) -> Config {
    complete(&mut raw);
    let data_dir = PathBuf::from(&raw.data_dir);
    let mut resolver =
        Resolver { data_dir, origins, sinks: vec![], secrets: vec![], tables: vec![], errors };
    resolver.secrets(&raw.secret);
    let metering = &raw.metering;
    let raw::Metering { backend, file, plugins, .. } = metering;
    resolver.of_stream(&OfStream {
        stream: Stream::Metering,
        plugin_key: "backend",
        plugin: Some(backend),
        calls: calls!(metering, raw),
        grants: &metering.grants,
        file,
        plugins,
    });
    let usage = &raw.usage;
    let raw::Usage { enabled, sink, file, plugins, .. } = usage;
    resolver.of_stream(&OfStream {
        stream: Stream::Usage,
        plugin_key: "sink",
        plugin: enabled.then_some(sink),
        calls: calls!(usage, raw),
        grants: &usage.grants,
        file,
        plugins,
    });
    for stream in [Stream::Control, Stream::Events] {
        if !raw.sink.iter().any(|sink| sink.streams.contains(&stream)) {
            resolver.not_written(stream, &raw);
        }
    }
    for (index, sink) in raw.sink.iter().enumerate() {
        resolver.written(index, sink, &raw);
    }
    let journals = resolver.journals(&raw.journal);
    let outboxes = resolver.outboxes(&raw);
    let feeds = resolver.feeds(&raw);
    let listen = resolver.listen(&raw.listen);
    let Resolver { data_dir, origins, sinks, secrets, tables, .. } = resolver;
    Config {
        data_dir,
        plugin_dirs: raw.plugin_dirs.iter().flatten().map(PathBuf::from).collect(),
        plugin_keys: raw.plugin_keys.iter().map(PathBuf::from).collect(),
        node_id: raw.node_id.clone().unwrap_or_default(),
        log: LogConfig { level: raw.log.level, format: raw.log.format },
        queue: QueueLimits { records: raw.queue.records, bytes: raw.queue.bytes.0 },
        listen,
        journals,
        swap: SwapConfig {
            watch: raw.swap.watch.0,
            grace: raw.swap.grace.0,
            probation: raw.swap.probation.0,
            stops: raw.swap.stops,
            rejected_percent: raw.swap.rejected_percent,
            slower: raw.swap.slower,
            keep: raw.swap.keep,
        },
        limits: raw::SinkLimits::default().over(&raw.limits),
        sinks,
        outboxes,
        feeds,
        secrets,
        effective: serde_json::to_value(&raw).unwrap_or_default(),
        tables,
        origins,
    }
}

/// Fills in the defaults that depend on another value or on the host.
fn complete(raw: &mut raw::Config) {
    let data_dir = Path::new(&raw.data_dir);
    raw.plugin_dirs.get_or_insert_with(|| vec![text(&data_dir.join("plugins"))]);
    raw.node_id.get_or_insert_with(host_name);
    if raw.metering.backend.is_empty() {
        FILE_PLUGIN.clone_into(&mut raw.metering.backend);
    }
    raw.listen.socket.get_or_insert_with(|| text(&data_dir.join("wasink.sock")));
    raw.listen.admin.get_or_insert_with(|| text(&data_dir.join("admin.sock")));
    let most = raw.journal.bytes;
    raw.metering.max_pending.get_or_insert(most);
    raw.usage.max_pending.get_or_insert(most);
    let files = [
        (&mut raw.metering.file, &raw.metering.backend, Stream::Metering),
        (&mut raw.usage.file, &raw.usage.sink, Stream::Usage),
    ];
    for (file, plugin, stream) in files {
        let given = file.path.as_ref().is_some_and(|path| !path.is_empty());
        if plugin == FILE_PLUGIN && !given {
            file.path = Some(text(&data_dir.join(stream.as_str()).join(LEDGER)));
        }
    }
    for sink in &mut raw.sink {
        sink.max_pending.get_or_insert(most);
    }
}

/// A path that was made of strings, so it is one.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The name of this host; `local` where it has none.
fn host_name() -> String {
    let name = gethostname::gethostname();
    if name.is_empty() { "local".to_owned() } else { name.to_string_lossy().into_owned() }
}

/// `[metering]` or `[usage]`.
struct OfStream<'a> {
    stream: Stream,
    /// The key that names the plugin.
    plugin_key: &'a str,
    /// None where it is switched off.
    plugin: Option<&'a String>,
    calls: Calls,
    grants: &'a raw::Grants,
    file: &'a raw::File,
    plugins: &'a BTreeMap<String, Map<String, Value>>,
}

/// Collects the sinks and the secrets.
pub(super) struct Resolver<'a> {
    pub(super) data_dir: PathBuf,
    pub(super) origins: Arc<Origins>,
    sinks: Vec<SinkConfig>,
    pub(super) secrets: Vec<SecretConfig>,
    tables: Vec<(KeyPath, String)>,
    errors: &'a mut Vec<ConfigError>,
}

impl Resolver<'_> {
    pub(super) fn wrong(&mut self, path: &KeyPath, message: String) {
        self.errors.push(ConfigError::new(self.origins.around(path), path, message));
    }

    pub(super) fn plugin(&mut self, path: &KeyPath, name: &str) -> Option<PluginName> {
        PluginName::new(name).map_err(|error| self.wrong(path, error.to_string())).ok()
    }

    /// Makes the sink that `[metering]` or `[usage]` describes.
    fn of_stream(&mut self, section: &OfStream<'_>) {
        let at = KeyPath::of([section.stream.as_str()]);
        let chosen = section.plugin.map_or("", String::as_str);
        let file = (!section.file.is_empty()).then_some(FILE_PLUGIN);
        for name in section.plugins.keys().map(String::as_str).chain(file) {
            if name != chosen {
                self.tables.push((at.key(name), name.to_owned()));
            }
        }
        let plugin_key = at.key(section.plugin_key);
        let Some(plugin) = section.plugin.and_then(|name| self.plugin(&plugin_key, name)) else {
            return;
        };
        let settings_key = at.key(plugin.as_str());
        let mut grants = self.grants(Written {
            at: at.key("grants"),
            raw: section.grants,
            own: self.own_directory(section.stream.as_str()),
        });
        // What these are for they are granted by being named.
        match plugin.as_str() {
            "stderr" => grants.stderr = true,
            "log" => grants.log = true,
            _ => {}
        }
        let settings = if plugin.as_str() == FILE_PLUGIN {
            let (directory, settings) = self.file(section.file, &settings_key.key("path"));
            if section.grants.directory != raw::DirectoryGrant::default() {
                let message = format!("the directory of `file` is that of `{settings_key}.path`");
                self.wrong(&at.key("grants").key("directory"), message);
            }
            grants.directory = Some(directory);
            settings
        } else {
            section.plugins.get(plugin.as_str()).cloned().unwrap_or_default()
        };
        self.push(Named {
            name: section.stream.to_string(),
            plugin,
            streams: vec![section.stream],
            settings,
            grants,
            calls: section.calls.clone(),
            plugin_key,
            settings_key,
        });
    }

    /// The directory of a sink that has one of its own.
    fn own_directory(&self, sink: &str) -> PathBuf {
        self.data_dir.join("sinks").join(sink)
    }

    fn push(&mut self, named: Named) {
        let Named { name, plugin, streams, settings, grants, calls, .. } = named;
        let Calls {
            batch,
            timeout,
            when_full,
            max_pending,
            order,
            digest,
            on_open_failure,
            limits,
        } = calls;
        let instance = PluginConfig {
            role: Role::Sink,
            name,
            plugin,
            settings,
            grants,
            limits,
            timeout,
            digest,
            path_in_config: named.settings_key.to_string(),
            plugin_key: named.plugin_key,
            settings_key: named.settings_key,
            origins: Arc::clone(&self.origins),
        };
        self.sinks.push(SinkConfig {
            instance,
            streams,
            batch,
            when_full,
            max_pending,
            order,
            on_open_failure,
        });
    }

    /// Where records are taken.
    fn listen(&mut self, listen: &raw::Listen) -> ListenConfig {
        let http = (!listen.http.is_empty()).then(|| listen.http.parse());
        let http = http.and_then(|parsed| match parsed {
            Ok(address) => Some(address),
            Err(_) => {
                let got = super::check::shown(&listen.http.as_str().into());
                let message =
                    format!("expected an address and a port, as in `127.0.0.1:9173`, got {got}");
                self.wrong(&KeyPath::of(["listen"]).key("http"), message);
                None
            }
        });
        let path = |path: &Option<String>| {
            path.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from)
        };
        let (socket, admin) = (path(&listen.socket), path(&listen.admin));
        if admin.is_some() && admin == socket {
            let message = "expected another path than that of `listen.socket`".to_owned();
            self.wrong(&KeyPath::of(["listen"]).key("admin"), message);
        }
        ListenConfig { http, socket, admin, token_file: path(&listen.token_file) }
    }

    fn check_journal_bytes(&mut self, at: &KeyPath, bytes: NonZeroU64) {
        if bytes.get() < raw::MIN_JOURNAL {
            self.wrong(&at.key("bytes"), "expected a size of at least 256KiB".to_owned());
        }
    }

    /// The journals, in the order of the streams.
    fn journals(&mut self, journal: &raw::Journal) -> [JournalConfig; 4] {
        let at = KeyPath::of(["journal"]);
        let (segment, record) = (journal.segment.0, journal.record.0);
        if !raw::SEGMENTS.contains(&segment.get()) {
            self.wrong(&at.key("segment"), "expected a size from 64KiB to 1GiB".to_owned());
        }
        if record.get() > raw::MAX_RECORD {
            self.wrong(&at.key("record"), "expected a size of at most 16MiB".to_owned());
        }
        self.check_journal_bytes(&at, journal.bytes.0);
        Stream::ALL.map(|stream| {
            let own = match stream {
                Stream::Metering => &journal.metering,
                Stream::Usage => &journal.usage,
                Stream::Control => &journal.control,
                Stream::Events => &journal.events,
            };
            if let Some(bytes) = own.bytes {
                self.check_journal_bytes(&at.key(stream.as_str()), bytes.0);
            }
            JournalConfig {
                stream,
                directory: self.data_dir.join("journal").join(stream.as_str()),
                durability: own.durability.unwrap_or(journal.durability),
                bytes: own.bytes.unwrap_or(journal.bytes).0,
                segment,
                record,
                window: own.window.unwrap_or(journal.window).0,
            }
        })
    }

    /// Takes the path of the file apart: the plugin sees its directory as `/data`, and is told the
    /// rest.
    fn file(&mut self, file: &raw::File, key: &KeyPath) -> (PathBuf, Map<String, Value>) {
        let given = file.path.as_deref().unwrap_or_default();
        let path = Path::new(given);
        let name = path.file_name().filter(|_| !given.ends_with(std::path::is_separator));
        let Some(name) = name.map(|name| name.to_string_lossy().into_owned()) else {
            let got = super::check::shown(&given.into());
            self.wrong(key, format!("expected the path of a file, got {got}"));
            return Default::default();
        };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let settings = [("path".to_owned(), Value::String(name))].into_iter();
        let settings = settings.chain(file.rest.clone()).collect();
        (directory.unwrap_or(Path::new(".")).to_owned(), settings)
    }

    /// Makes the sink of a stream that nothing else takes, since its records would be lost.
    fn not_written(&mut self, stream: Stream, config: &raw::Config) {
        let at = KeyPath::of([stream.as_str()]);
        let Some(plugin) = self.plugin(&at, FILE_PLUGIN) else { return };
        self.push(Named {
            name: stream.to_string(),
            plugin,
            streams: vec![stream],
            settings: [("path".to_owned(), LEDGER.into())].into_iter().collect(),
            grants: GrantsConfig {
                directory: Some(self.data_dir.join(stream.as_str())),
                ..GrantsConfig::default()
            },
            calls: Calls {
                batch: limits(&raw::Batch::default()),
                timeout: raw::TIMEOUT,
                when_full: WhenFull::default(),
                max_pending: config.journal.bytes.0,
                order: Order::default(),
                digest: None,
                on_open_failure: OnOpenFailure::default(),
                limits: raw::SinkLimits::default().over(&config.limits),
            },
            plugin_key: at.clone(),
            settings_key: at,
        });
    }

    /// Makes the sink of a `[[sink]]`.
    fn written(&mut self, index: usize, sink: &raw::Sink, config: &raw::Config) {
        let at = KeyPath::of(["sink"]).index(index);
        let name = &sink.name;
        if let Some(first) = config.sink.iter().take(index).position(|other| other.name == *name) {
            let message = format!("`{name}` is the name of sink[{first}] already; choose another");
            self.wrong(&at.key("name"), message);
        }
        if let Some(stream) = Stream::ALL.into_iter().find(|stream| stream.as_str() == name) {
            let whose = match stream {
                Stream::Metering | Stream::Usage => format!("the sink of `[{stream}]`"),
                _ => format!("the sink that takes `{stream}` where no other does"),
            };
            self.wrong(&at.key("name"), format!("`{name}` is {whose}; choose another name"));
        }
        let plugin_key = at.key("plugin");
        let settings_key = at.key("settings");
        let grants = self.grants(Written {
            at: at.key("grants"),
            raw: &sink.grants,
            own: self.own_directory(name),
        });
        let Some(plugin) = self.plugin(&plugin_key, &sink.plugin) else { return };
        self.push(Named {
            name: name.clone(),
            plugin,
            streams: sink.streams.clone(),
            settings: sink.settings.clone(),
            grants,
            calls: calls!(sink, config),
            plugin_key,
            settings_key,
        });
    }
}

/// A sink, apart from what all have alike.
struct Named {
    name: String,
    plugin: PluginName,
    streams: Vec<Stream>,
    settings: Map<String, Value>,
    grants: GrantsConfig,
    calls: Calls,
    plugin_key: KeyPath,
    settings_key: KeyPath,
}

fn limits(batch: &raw::Batch) -> BatchLimits {
    BatchLimits { records: batch.records, bytes: batch.bytes.0, age: batch.age.0 }
}
