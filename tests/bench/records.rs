//! The records that are carried, and batches of them for both sides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use wasink::Config;
use wasink::config::PluginName;
use wasink::limits::{LimitCounts, Limits};
use wasink::logger::TracingLogger;
use wasink::plugin::{Demands, Grants, OpenRequest, Plugins as _, SinkPlugin};
use wasink::record::{Clock as _, IdSource, Record, Stamped, Stream, SystemClock, UsageEvent};
use wasink_guest::{WrongStream, native};
use wasink_journal::{Batch, Encoding};

/// The `n`th event: 50 tenants, 4 kinds of work, 10 stacks, and a line of about 210 bytes.
pub(crate) fn event(n: usize) -> UsageEvent {
    let n64 = n as u64;
    let sources = ["http", "compute", "llm", "storage"];
    let source = sources.get(n % sources.len()).copied().unwrap_or_default();
    UsageEvent::builder(
        format!("req-{n:016x}"),
        format!("tenant-{:04}", n * 7 % 50),
        source,
        format!("stack-{:02}", n % 10),
    )
    .duration_ms(n64 % 1_000)
    .bytes_in(n64 * 31 % 100_000)
    .bytes_out(n64 * 17 % 1_000_000)
    .mem_bytes(64 << 20)
    .fuel(n64 * 13 % 1_000_000)
    .build()
}

/// So many of them, stamped.
pub(crate) fn stamped(count: usize) -> Vec<Stamped> {
    let ids = IdSource::new(7);
    let stamp = |n| {
        let now = SystemClock.now();
        Stamped::new(ids.next(now), now, Record::from(event(n)))
    };
    (0..count).map(stamp).collect()
}

/// The records in batches of `size`. Their lines are made; no other view is.
pub(crate) fn batches(records: &[Stamped], size: usize) -> Vec<Arc<Batch>> {
    let mut position = 0;
    records
        .chunks(size)
        .filter_map(|records| {
            let batch = Batch::of(Stream::Usage, position, records.to_vec(), "wasink/bench");
            position += records.len() as u64;
            batch.map(Arc::new)
        })
        .collect()
}

/// A directory on the disk that is built on, not in memory.
pub(crate) fn directory() -> Result<TempDir> {
    let this = std::env::current_exe()?;
    let target = this.parent().context("a program is in a folder")?;
    Ok(tempfile::tempdir_in(target)?)
}

/// A configuration with everything in `directory`, and `more` in its text.
pub(crate) fn config(directory: &Path, more: &str) -> Result<Config> {
    let text = format!("data_dir = '{}'\n{more}", directory.display());
    Ok(Config::from_toml(&text)?)
}

/// What opens instances of components, with a directory for their data and their compiled code.
pub(crate) struct Components {
    plugins: wasink_wasm::WasmPlugins,
    directory: TempDir,
}

impl Components {
    /// The bundled plugins.
    pub(crate) fn bundled() -> Result<Self> {
        let directory = directory()?;
        let config = config(directory.path(), "")?;
        let plugins = wasink::plugins(&config, Arc::new(TracingLogger))?;
        Ok(Self { plugins, directory })
    }

    /// The bundled plugins and `totals`.
    pub(crate) fn with_totals() -> Result<Self> {
        let components = Self::bundled()?;
        let folder = components.directory.path().join("plugins");
        std::fs::create_dir(&folder)?;
        let totals = crate::support::guests().join("wasink_example_totals.wasm");
        std::fs::copy(totals, folder.join("totals.wasm"))?;
        Ok(components)
    }

    /// An instance with a data directory of its own.
    pub(crate) fn open(&self, plugin: &str, name: &str) -> Result<Component> {
        let directory = self.directory.path().join("data").join(name);
        let granted = wasink_chassis::open_private(&directory)?;
        let sink = self.plugins.open(OpenRequest {
            plugin: PluginName::new(plugin)?,
            name: name.to_owned(),
            node_id: "bench".to_owned(),
            epoch: "bench".to_owned(),
            demands: Demands::default(),
            settings: "{}".to_owned(),
            timeout: std::time::Duration::from_secs(30),
            grants: Grants { directory: Some(Arc::new(granted)), ..Grants::default() },
            limits: Limits::default(),
            reached: LimitCounts::default(),
            logger: Arc::new(TracingLogger),
        })?;
        Ok(Component { sink, directory })
    }
}

/// An instance of a component.
pub(crate) struct Component {
    pub(crate) sink: Box<dyn SinkPlugin>,
    pub(crate) directory: PathBuf,
}

/// A batch as a sink sees it that is linked into this program: the same views, shared in the same
/// way.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) batch: Arc<Batch>,
    /// In the types of the SDK, made before anything is measured: a program that links a sink would
    /// have them in no other.
    columns: Option<Arc<wasink_guest::UsageColumns>>,
}

impl Linked {
    /// The batch, for a sink that reads no columns.
    pub(crate) fn lines(batch: Arc<Batch>) -> Self {
        Self { batch, columns: None }
    }

    /// The batch, for a sink that reads columns.
    pub(crate) fn columns(batch: Arc<Batch>) -> Self {
        // From another batch of the same records, so that this one's columns are still to be made.
        let records = batch.records().map(|all| all.cloned().collect()).unwrap_or_default();
        let other = Batch::of(batch.stream(), batch.position(), records, "wasink/bench");
        let columns = other.and_then(|other| other.usage_columns().ok()?).map(|columns| {
            let columns = wasink_journal::UsageColumns::clone(&columns);
            let dictionary = |column: wasink_journal::DictionaryColumn| {
                wasink_guest::DictionaryColumn { values: column.values, codes: column.codes }
            };
            Arc::new(wasink_guest::UsageColumns {
                tenant: dictionary(columns.tenant),
                src: dictionary(columns.src),
                stack: dictionary(columns.stack),
                ok: columns.ok,
                billable: columns.billable,
                denied: columns.denied,
                duration_ms: columns.duration_ms,
                bytes_in: columns.bytes_in,
                bytes_out: columns.bytes_out,
                mem_bytes: columns.mem_bytes,
                fuel: columns.fuel,
                emitted_at: columns.emitted_at,
            })
        });
        Self { batch, columns }
    }

    fn wrong(&self) -> WrongStream {
        WrongStream { actual: native::Records::of(self) }
    }
}

impl native::Records for Linked {
    fn of(&self) -> wasink_guest::Stream {
        match self.batch.stream() {
            Stream::Metering => wasink_guest::Stream::Metering,
            Stream::Usage => wasink_guest::Stream::Usage,
            Stream::Control => wasink_guest::Stream::Control,
            Stream::Events => wasink_guest::Stream::Events,
        }
    }

    fn len(&self) -> u32 {
        u32::try_from(self.batch.len()).unwrap_or(u32::MAX)
    }

    fn position(&self) -> u64 {
        self.batch.position()
    }

    fn ids(&self) -> Vec<String> {
        self.batch.ids().map(|id| id.to_string()).collect()
    }

    fn encode(&self, encoding: wasink_guest::Encoding) -> native::Bytes {
        let bytes = self.batch.encode(match encoding {
            wasink_guest::Encoding::Jsonl => Encoding::Jsonl,
            wasink_guest::Encoding::JsonArray => Encoding::JsonArray,
            wasink_guest::Encoding::CloudeventsBatch => Encoding::CloudEventsBatch,
            wasink_guest::Encoding::CloudeventsJsonl => Encoding::CloudEventsJsonl,
        });
        // These records were never on a disk, so there is none that can't be read.
        native::Bytes::new(bytes.unwrap_or_default())
    }

    fn usage_columns(&self) -> Result<Arc<wasink_guest::UsageColumns>, WrongStream> {
        // The work of making them is done here as well, where it has not been done before.
        drop(std::hint::black_box(self.batch.usage_columns()));
        self.columns.clone().ok_or_else(|| self.wrong())
    }

    // Typed lists are what no sink that is measured asks for.

    fn entries(&self) -> Result<Vec<wasink_guest::Entry>, WrongStream> {
        Err(self.wrong())
    }

    fn usage(&self) -> Result<Vec<wasink_guest::UsageEvent>, WrongStream> {
        Err(self.wrong())
    }

    fn control(&self) -> Result<Vec<wasink_guest::ControlEvent>, WrongStream> {
        Err(self.wrong())
    }

    fn events(&self) -> Result<Vec<wasink_guest::CloudEvent>, WrongStream> {
        Err(self.wrong())
    }
}
