//! The plugin that is tried, and what it is given.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use wasink_chassis::Ends;
use wasink_chassis::config::{Config, PluginConfig, PluginName};
use wasink_chassis::feed::{FeedSink, FeedSource, PolledEvent};
use wasink_chassis::hooks::NoHooks;
use wasink_chassis::limits::Limits;
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::{
    Ask, CallError, Demands, Description, Exception, Failure, Need, OpenRequest, Origin,
    PluginError, Plugins as _, SinkPlugin,
};
use wasink_journal::Batch;
use wasink_record::{Clock, ControlEvent};
use wasink_wasm::{Options, ViewCounts, WasmPlugins, World};

use crate::place::Place;
use crate::receiver::{Receiver, TcpReceiver};
use crate::report::Headroom;
use crate::{KitError, Trial};

/// What the plugin is called.
const NAME: &str = "subject";

/// A plugin in a directory of its own.
#[derive(Clone)]
pub(crate) struct Subject {
    scratch: Rc<TempDir>,
    pub(crate) plugins: Arc<WasmPlugins>,
    pub(crate) world: World,
    pub(crate) description: Arc<Description>,
    settings: Map<String, Value>,
    /// Of those the ones that whoever tries it has given.
    given: Value,
    grants: Map<String, Value>,
    pub(crate) timeout: Duration,
    limits: Limits,
    meter: Meter,
    places: Rc<Cell<usize>>,
    logger: Arc<dyn Logger>,
}

/// Keeps how close the plugin comes to its limits.
#[derive(Clone, Default)]
pub(crate) struct Meter(Rc<RefCell<Headroom>>);

/// Nobody reads what it logs.
struct Silent;

impl Logger for Silent {
    fn log(&self, _: &Line<'_>) {}

    fn enabled(&self, _: Level) -> bool {
        false
    }
}

/// Plugins in `scratch`, freshly looked at: nothing is known of what they said before.
pub(crate) fn host(scratch: &Path, trial: &Trial) -> Result<WasmPlugins, KitError> {
    host_with(scratch, trial, &cache(scratch, trial), None, None)
}

/// Where compiled code is kept.
pub(crate) fn cache(scratch: &Path, trial: &Trial) -> PathBuf {
    trial.cache.clone().unwrap_or_else(|| scratch.join("cache"))
}

/// The same with compiled code in `cache`, with somebody who may count views, and where plugins may be
/// shown another clock.
pub(crate) fn host_with(
    scratch: &Path,
    trial: &Trial,
    cache: &Path,
    views: Option<ViewCounts>,
    clock: Option<Arc<dyn Clock>>,
) -> Result<WasmPlugins, KitError> {
    let options = Options {
        directories: vec![scratch.join("plugins")],
        cache: Some(cache.to_owned()),
        limits: trial.limits,
        logger: Some(Arc::new(Silent)),
        clock,
        views,
        ..Options::default()
    };
    WasmPlugins::new(options).map_err(|error| KitError::Host(error.to_string()))
}

/// Puts the file where a host finds it as a plugin of this world.
pub(crate) fn place_in(scratch: &Path, file: &Path, world: World) -> std::io::Result<()> {
    let folder = match world {
        World::Sink => scratch.join("plugins"),
        World::FeedSource => scratch.join("plugins/feed-sources"),
        World::FeedSink => scratch.join("plugins/feed-sinks"),
    };
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(file, folder.join(format!("{NAME}.wasm"))).map(drop)
}

impl Subject {
    pub(crate) fn new(
        scratch: TempDir,
        plugins: WasmPlugins,
        world: World,
        description: Arc<Description>,
        trial: &Trial,
    ) -> Self {
        let example = description
            .settings_schema
            .as_ref()
            .and_then(|schema| schema.get("examples")?.get(0)?.as_object().cloned());
        let mut settings = example.unwrap_or_default();
        settings.extend(trial.settings.clone());
        let meter = Meter::default();
        {
            let mut headroom = meter.0.borrow_mut();
            headroom.deadline = trial.timeout;
            headroom.memory_limit = trial.limits.memory_bytes as u64;
        }
        Self {
            scratch: Rc::new(scratch),
            plugins: Arc::new(plugins),
            world,
            description,
            settings,
            given: Value::Object(trial.settings.clone()),
            grants: trial.grants.clone(),
            timeout: trial.timeout,
            limits: trial.limits,
            meter,
            places: Rc::default(),
            logger: Arc::new(Silent),
        }
    }

    /// The same plugin, where it is shown this clock.
    pub(crate) fn with_clock(
        &self,
        trial: &Trial,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KitError> {
        let scratch = self.scratch.path();
        let plugins =
            Arc::new(host_with(scratch, trial, &cache(scratch, trial), None, Some(clock))?);
        Ok(Self { plugins, ..self.clone() })
    }

    /// A sink that puts events where this source reads them.
    pub(crate) fn partner(&self, file: &Path, trial: &Trial) -> Result<Self, String> {
        let scratch = self.scratch.path();
        place_in(scratch, file, World::FeedSink).map_err(|error| error.to_string())?;
        let plugins = host(scratch, trial).map_err(|error| error.to_string())?;
        let (files, _) = plugins.list_of(World::FeedSink);
        let name = files.into_iter().next().ok_or("the kit lost the file")?.name;
        let report =
            plugins.report_of(World::FeedSink, &name).map_err(|error| error.to_string())?;
        let description = report.description.ok_or("it is no feed sink")?;
        Ok(Self {
            scratch: self.scratch.clone(),
            plugins: Arc::new(plugins),
            world: World::FeedSink,
            description,
            settings: trial.settings.clone(),
            given: Value::Object(trial.settings.clone()),
            grants: self.grants.clone(),
            timeout: self.timeout,
            limits: self.limits,
            meter: Meter::default(),
            places: Rc::default(),
            logger: self.logger.clone(),
        })
    }

    /// From now on, what it logs goes there.
    pub(crate) fn log_to(&mut self, logger: Arc<dyn Logger>) {
        self.logger = logger;
    }

    /// Where everything of it lies.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Has these plugins open it from now on; those that did so before are given back.
    pub(crate) fn exchange(&mut self, plugins: impl Into<Arc<WasmPlugins>>) -> Arc<WasmPlugins> {
        std::mem::replace(&mut self.plugins, plugins.into())
    }

    /// Has these plugins read, compile and describe it.
    pub(crate) fn load(&self, plugins: &WasmPlugins) -> Result<(), Stopped> {
        use wasink_chassis::feed::Feeds as _;
        let name = PluginName::new(NAME).map_err(|error| Stopped::Unfit(error.to_string()))?;
        let demands = Demands::default();
        match self.world {
            World::Sink => plugins.load(&name, &Origin::Directory, &demands).map(drop),
            World::FeedSource => plugins.describe_source(&name, &demands).map(drop),
            World::FeedSink => plugins.describe_sink(&name, &demands).map(drop),
        }
        .map_err(Stopped::from)
    }

    pub(crate) fn headroom(&self) -> Headroom {
        self.meter.0.borrow().clone()
    }

    /// Whether the kit can be what it sends HTTP requests to: where its settings say, and nobody has.
    pub(crate) fn sends_http(&self) -> bool {
        let is_free = |to: &str| to.starts_with('/') && self.given.pointer(to).is_none();
        self.description.asks.iter().any(|ask| matches!(&ask.need, Need::Http(to) if is_free(to)))
    }

    /// Whether the kit can be what it connects to: a sink where its settings say, and nobody has. It is
    /// not where the sink can do without, and is not told to go.
    fn is_tcp(&self, ask: &Ask) -> bool {
        let Need::Tcp(to) = &ask.need else { return false };
        let wanted = || ask.required || Value::Object(self.settings.clone()).pointer(to).is_some();
        let free = to.starts_with('/') && self.given.pointer(to).is_none();
        self.world == World::Sink && free && wanted()
    }

    /// Whether the kit is a receiver that it connects to.
    pub(crate) fn sends_tcp(&self) -> bool {
        self.description.asks.iter().any(|ask| self.is_tcp(ask))
    }

    /// A place that nothing has been kept in or sent to.
    pub(crate) fn place(&mut self) -> Result<Place, KitError> {
        self.places.set(self.places.get() + 1);
        let directory = self.scratch.path().join(format!("place-{}", self.places.get()));
        std::fs::create_dir(&directory)?;
        let receiver = if self.sends_http() { Some(Receiver::new()?) } else { None };
        let tcp = if self.sends_tcp() { Some(TcpReceiver::new()?) } else { None };
        Ok(Place { directory, receiver, tcp })
    }

    /// What it is configured with in a place.
    fn instance(&self, place: &Place) -> Result<(Config, PluginConfig), String> {
        let mut settings = Value::Object(self.settings.clone());
        let mut grants = Map::new();
        let mut secrets = Vec::new();
        let (mut tcp, mut http, mut environment) = (Vec::new(), Vec::new(), Vec::new());
        let mut granted = Vec::new();
        for ask in &self.description.asks {
            match &ask.need {
                Need::Directory => {
                    grants.insert("directory".to_owned(), json!(place.directory));
                }
                Need::Http(to) if to.starts_with('/') => {
                    if let Some(receiver) = &place.receiver
                        && self.given.pointer(to).is_none()
                    {
                        let origin = receiver.origin();
                        set(&mut settings, to, json!(format!("{origin}/")));
                        http.push(json!({ "origin": origin }));
                    }
                }
                Need::Http(to) => http.push(json!({ "origin": to })),
                Need::Tcp(to) if !to.starts_with('/') => tcp.push(json!(to)),
                Need::Tcp(to) => {
                    if let Some(receiver) = &place.tcp
                        && self.is_tcp(ask)
                    {
                        let target = json!(receiver.target());
                        set(&mut settings, to, target.clone());
                        tcp.push(target);
                    }
                }
                Need::Secret(name) if !name.starts_with('/') => {
                    let path = self.scratch.path().join(format!("secret-{}", secrets.len()));
                    std::fs::write(&path, "kit-secret\n").map_err(|error| error.to_string())?;
                    make_private(&path).map_err(|error| error.to_string())?;
                    secrets.push(json!({ "name": name, "file": path }));
                    granted.push(json!(name));
                }
                Need::Environment(name) if !name.starts_with('/') => environment.push(json!(name)),
                Need::Stderr | Need::Log => {}
                // What its settings say is the trial's own.
                _ => {}
            }
        }
        for (key, values) in
            [("tcp", tcp), ("http", http), ("environment", environment), ("secrets", granted)]
        {
            if !values.is_empty() {
                grants.insert(key.to_owned(), Value::Array(values));
            }
        }
        for (key, more) in self.grants.clone() {
            match (grants.get_mut(&key), more) {
                (Some(Value::Array(some)), Value::Array(more)) => some.extend(more),
                (_, more) => drop(grants.insert(key, more)),
            }
        }
        let data = self.scratch.path().join("data");
        let mut instance = Map::new();
        instance.insert("name".to_owned(), json!("under-test"));
        instance.insert("plugin".to_owned(), json!(NAME));
        instance.insert("settings".to_owned(), settings);
        instance.insert("grants".to_owned(), json!(grants));
        instance.insert("timeout".to_owned(), json!(format!("{}ms", self.timeout.as_millis())));
        let key = match self.world {
            World::Sink => {
                instance.insert("streams".to_owned(), json!(self.description.streams));
                "sink"
            }
            World::FeedSource => {
                instance.insert("database".to_owned(), json!("-"));
                instance.insert("wait".to_owned(), json!("0s"));
                "feed"
            }
            World::FeedSink => {
                instance.insert("database".to_owned(), json!("-"));
                "outbox"
            }
        };
        let config = json!({
            "data_dir": data, "plugin_dirs": [self.scratch.path().join("plugins")],
            key: [instance], "secret": secrets,
        });
        let config = Config::from_json(&config.to_string()).map_err(|error| error.to_string())?;
        let found = match self.world {
            World::Sink => {
                // Streams have sinks of their own, unless it is said that they have none.
                let sink = config.sinks.iter().find(|sink| sink.name == "under-test");
                sink.map(|sink| sink.instance.clone())
            }
            World::FeedSource => config.feeds.first().map(|feed| feed.instance.clone()),
            World::FeedSink => config.outboxes.first().map(|outbox| outbox.instance.clone()),
        };
        let found = found.ok_or_else(|| "the kit's configuration has no instance".to_owned())?;
        Ok((config, found))
    }

    /// Its configuration in some place, for whoever checks settings.
    pub(crate) fn sample(&self, place: &Place) -> Result<PluginConfig, String> {
        Ok(self.instance(place)?.1)
    }

    fn request(&self, place: &Place) -> Result<OpenRequest, Stopped> {
        let (config, instance) = self.instance(place).map_err(Stopped::Unfit)?;
        let ends = Ends::new(&config, self.plugins.clone(), self.logger.clone(), Arc::new(NoHooks));
        let ends = ends.map_err(|error| Stopped::Unfit(error.to_string()))?;
        let request = ends.request(&instance);
        let request = request.map_err(|error| Stopped::Unfit(error.to_string()))?;
        Ok(OpenRequest { limits: self.limits, ..request })
    }

    /// Settings that few plugins take, and what is so about them.
    pub(crate) fn unfit(&self) -> Vec<(String, Map<String, Value>)> {
        let mut all = vec![("no settings".to_owned(), Map::new())];
        let unknown = Map::from_iter([("kit-knows-no-such-key".to_owned(), json!(1))]);
        all.push(("a key that nobody knows".to_owned(), unknown));
        let properties = self.description.settings_schema.as_ref();
        let properties = properties.and_then(|schema| schema.get("properties")?.as_object());
        for key in properties.into_iter().flat_map(Map::keys) {
            for odd in [json!(null), json!(-1), json!(""), json!([[]]), json!({}), json!(true)] {
                let mut settings = self.settings.clone();
                let what = format!("`{key}` = `{odd}`");
                settings.insert(key.clone(), odd);
                all.push((what, settings));
            }
        }
        all
    }

    /// Opens it with just these settings, whatever its schema says of them.
    pub(crate) fn opens_with(
        &self,
        place: &Place,
        settings: Map<String, Value>,
    ) -> Result<(), Stopped> {
        use wasink_chassis::feed::Feeds as _;
        let mut request = self.request(place)?;
        request.settings = Value::Object(settings).to_string();
        let name = request.plugin.clone();
        match self.world {
            World::Sink => self
                .plugins
                .load(&name, &Origin::Directory, &Demands::default())
                .and_then(|plugin| plugin.open(request))
                .map(drop),
            World::FeedSource => self.plugins.open_source(request).map(drop),
            World::FeedSink => self.plugins.open_sink(request).map(drop),
        }
        .map_err(Stopped::from)
    }

    /// Opens it as a sink.
    pub(crate) fn sink(&self, place: &Place) -> Result<Sink, Stopped> {
        let begun = Instant::now();
        let sink = self.open_sink(place)?;
        self.meter.note("open", begun, sink.memory());
        Ok(Sink { sink, meter: self.meter.clone() })
    }

    /// The same, unmetered.
    pub(crate) fn open_sink(&self, place: &Place) -> Result<Box<dyn SinkPlugin>, Stopped> {
        let request = self.request(place)?;
        let plugin = self.plugins.load(&request.plugin, &Origin::Directory, &Demands::default())?;
        Ok(plugin.open(request)?)
    }

    /// Opens it as a source of a feed.
    pub(crate) fn source(&self, place: &Place) -> Result<Source, Stopped> {
        let begun = Instant::now();
        let source = self.open_source(place)?;
        self.meter.note("open", begun, source.memory());
        Ok(Source { source, meter: self.meter.clone() })
    }

    /// The same, unmetered.
    pub(crate) fn open_source(&self, place: &Place) -> Result<Box<dyn FeedSource>, Stopped> {
        use wasink_chassis::feed::Feeds as _;
        Ok(self.plugins.open_source(self.request(place)?)?)
    }

    /// Opens it as a sink of a feed.
    pub(crate) fn feed_sink(&self, place: &Place) -> Result<Appender, Stopped> {
        let begun = Instant::now();
        let sink = self.open_feed_sink(place)?;
        self.meter.note("open", begun, sink.memory());
        Ok(Appender { sink, meter: self.meter.clone() })
    }

    /// The same, unmetered.
    pub(crate) fn open_feed_sink(&self, place: &Place) -> Result<Box<dyn FeedSink>, Stopped> {
        use wasink_chassis::feed::Feeds as _;
        Ok(self.plugins.open_sink(self.request(place)?)?)
    }
}

/// Why a plugin did not open.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// It said no, or was not given what it needs: perhaps rightly.
    Unfit(String),
    /// It trapped, or did not return.
    Fault(String),
}

impl From<PluginError> for Stopped {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Trapped { .. } | PluginError::TimedOut { .. } => {
                Self::Fault(error.to_string())
            }
            error => Self::Unfit(error.to_string()),
        }
    }
}

impl Stopped {
    pub(crate) fn reason(self) -> String {
        let (Self::Unfit(reason) | Self::Fault(reason)) = self;
        reason
    }
}

impl Meter {
    fn note(&self, call: &str, begun: Instant, memory: Option<u64>) {
        let took = begun.elapsed();
        let mut headroom = self.0.borrow_mut();
        if took > headroom.took {
            headroom.took = took;
            call.clone_into(&mut headroom.slowest);
        }
        headroom.memory = headroom.memory.max(memory.unwrap_or_default());
    }
}

/// A sink that is open.
pub(crate) struct Sink {
    sink: Box<dyn SinkPlugin>,
    meter: Meter,
}

impl Sink {
    pub(crate) fn write(&mut self, batch: &Arc<Batch>) -> Result<Vec<Exception>, CallError> {
        let begun = Instant::now();
        let answer = self.sink.write(batch);
        self.meter.note("write", begun, self.sink.memory());
        answer
    }

    pub(crate) fn flush(&mut self) -> Result<(), CallError> {
        let begun = Instant::now();
        let answer = self.sink.flush();
        self.meter.note("flush", begun, self.sink.memory());
        answer
    }

    pub(crate) fn close(&mut self) -> Result<(), CallError> {
        let begun = Instant::now();
        let answer = self.sink.close();
        self.meter.note("close", begun, None);
        answer
    }

    pub(crate) fn memory(&self) -> Option<u64> {
        self.sink.memory()
    }

    /// Throws the instance away, where there is one, and opens another.
    pub(crate) fn reopen(&mut self) -> Result<(), Stopped> {
        self.sink.reopen().map_err(Stopped::from)
    }

    /// Whether it keeps what it is given, for a harness to see.
    pub(crate) fn captures(&mut self) -> bool {
        self.sink.captured().is_ok_and(|captured| captured.is_some())
    }

    /// What it keeps for a harness to see.
    pub(crate) fn captured(&mut self) -> Vec<String> {
        let captured = self.sink.captured().ok().flatten().unwrap_or_default();
        captured.into_iter().map(|captured| captured.line).collect()
    }
}

/// A source of a feed that is open.
pub(crate) struct Source {
    source: Box<dyn FeedSource>,
    meter: Meter,
}

impl Source {
    pub(crate) fn poll(
        &mut self,
        since: u64,
        max: u32,
        wait: Duration,
    ) -> Result<Vec<PolledEvent>, CallError> {
        let begun = Instant::now();
        let answer = self.source.poll(since, max, wait);
        self.meter.note("poll", begun, self.source.memory());
        answer
    }

    pub(crate) fn wants_acks(&self) -> bool {
        self.source.wants_acks()
    }

    pub(crate) fn ack(&mut self, ids: &[String]) -> Result<(), CallError> {
        self.source.ack(ids)
    }

    pub(crate) fn memory(&self) -> Option<u64> {
        self.source.memory()
    }

    pub(crate) fn reopen(&mut self) -> Result<(), Stopped> {
        self.source.reopen().map_err(Stopped::from)
    }

    pub(crate) fn close(&mut self) -> Result<(), CallError> {
        self.source.close()
    }
}

/// A sink of a feed that is open.
pub(crate) struct Appender {
    sink: Box<dyn FeedSink>,
    meter: Meter,
}

impl Appender {
    pub(crate) fn append(
        &mut self,
        events: &[ControlEvent],
    ) -> Result<Vec<Result<u64, Failure>>, CallError> {
        let begun = Instant::now();
        let answer = self.sink.append(events);
        self.meter.note("append", begun, self.sink.memory());
        answer
    }

    pub(crate) fn memory(&self) -> Option<u64> {
        self.sink.memory()
    }

    pub(crate) fn reopen(&mut self) -> Result<(), Stopped> {
        self.sink.reopen().map_err(Stopped::from)
    }

    pub(crate) fn close(&mut self) -> Result<(), CallError> {
        self.sink.close()
    }
}

/// Puts a value where a JSON Pointer (RFC 6901) says, making what is on the way.
fn set(within: &mut Value, pointer: &str, value: Value) {
    let mut place = within;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        match token.parse::<usize>() {
            Ok(index) if place.is_array() || place.is_null() => {
                if place.is_null() {
                    *place = json!([]);
                }
                let Some(items) = place.as_array_mut() else { return };
                while items.len() <= index {
                    items.push(Value::Null);
                }
                let Some(next) = items.get_mut(index) else { return };
                place = next;
            }
            _ => {
                if !place.is_object() {
                    *place = json!({});
                }
                let Some(object) = place.as_object_mut() else { return };
                place = object.entry(token).or_insert(Value::Null);
            }
        }
    }
    *place = value;
}

fn make_private(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_makes_what_is_on_its_way() {
        let mut settings = json!({ "keep": 1 });
        set(&mut settings, "/to/servers/1", json!("b"));
        set(&mut settings, "/a~1b", json!("c"));
        assert_eq!(settings, json!({ "keep": 1, "to": { "servers": [null, "b"] }, "a/b": "c" }));
    }
}
