//! The configuration as it is written. Defaults are here; what depends on another value is not.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use wasink_journal::{Durability, WhenFull};
use wasink_record::Stream;

use super::{
    name::NAME_PATTERN,
    units::{Period, Size, Timeout},
};

mod feed;
mod grants;

pub(super) use self::{
    feed::{Artifacts, Feed, Outbox},
    grants::{DirectoryGrant, Grants, HttpGrant, Limits, Secret, SinkLimits},
};

/// Where the chassis keeps what it keeps, unless it is told another place.
const DATA_DIR: &str = "wasink-data";

/// About four milliseconds of a producer at full speed, and a few megabytes.
const QUEUE_RECORDS: NonZeroU32 = NonZeroU32::new(16_384).unwrap();
/// Room for the records above at 4 KiB each.
const QUEUE_BYTES: Size = size(64 << 20);
/// Their number is no use above it, and a plugin has to hold what it is given.
const MAX_BATCH_RECORDS: u32 = 1 << 20;
/// Slots are set aside at the start, some hundred bytes each: more would be gigabytes.
const MAX_QUEUE_RECORDS: u32 = 1 << 24;

/// Enough that what a call costs is nothing to a record.
const BATCH_RECORDS: NonZeroU32 = NonZeroU32::new(1_024).unwrap();
/// Above it, a larger write is no faster.
const BATCH_BYTES: Size = size(256 << 10);
/// What a person looking at the receiver does not notice.
const BATCH_AGE: Duration = Duration::from_millis(200);
/// Some weeks of a small service's records, some hours of a busy one's.
const JOURNAL_BYTES: Size = size(4 << 30);
/// What is given back to the disk at a time.
const SEGMENT_BYTES: Size = size(16 << 20);
/// Less would be more files than frames in them; more is what a start has to read.
pub(super) const SEGMENTS: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;
/// Far above any record of usage, and a thousand of them still fit the memory.
const RECORD_BYTES: Size = size(1 << 20);
/// A frame has to hold it.
pub(super) const MAX_RECORD: u64 = 16 << 20;
/// Four of the smallest segments.
pub(super) const MIN_JOURNAL: u64 = 256 << 10;
/// A port that nothing well known has.
const HTTP: &str = "127.0.0.1:9173";
/// Longer than a receiver that is merely slow.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

const fn size(bytes: u64) -> Size {
    match NonZeroU64::new(bytes) {
        Some(bytes) => Size(bytes),
        None => panic!("no size is zero"),
    }
}

/// Configuration of wasink.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "wasink configuration")]
pub(super) struct Config {
    /// Directory of everything that the chassis keeps. It is made at the start.
    #[schemars(schema_with = "path_schema")]
    pub(super) data_dir: String,
    /// Directories in which plugins are looked for, in this order, before the bundled ones. They
    /// need not be there. `["<data_dir>/plugins"]` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "paths_schema")]
    pub(super) plugin_dirs: Option<Vec<String>>,
    /// Files with Ed25519 public keys, PEM. Where there is one, a plugin that does not come with
    /// wasink must be signed by one of them: its signature is the file of its name with `.sig`
    /// behind it.
    #[schemars(schema_with = "paths_schema")]
    pub(super) plugin_keys: Vec<String>,
    /// Name of this node, the same across restarts. The name of the host where it is left out, or
    /// `local` if that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "node_id_schema")]
    pub(super) node_id: Option<String>,
    /// The chassis's own log.
    pub(super) log: Log,
    /// The bounded queue in memory that each stream has. What does not fit is dropped and counted.
    pub(super) queue: Queue,
    /// Where `wasink serve` takes records.
    pub(super) listen: Listen,
    /// The journal that each stream has, in `<data_dir>/journal`: what was accepted, until every sink
    /// is past it.
    pub(super) journal: Journal,
    /// How plugins are exchanged for other versions while records flow.
    pub(super) swap: Swap,
    /// How much plugins may use.
    pub(super) limits: Limits,
    /// The sink that takes the `metering` stream.
    pub(super) metering: Metering,
    /// The sink that takes the `usage` stream.
    pub(super) usage: Usage,
    /// Further sinks.
    pub(super) sink: Vec<Sink>,
    /// Outboxes of control events, which `wasink serve` publishes to feeds.
    pub(super) outbox: Vec<Outbox>,
    /// Feeds of control events, which `wasink serve` applies to databases.
    pub(super) feed: Vec<Feed>,
    /// Secrets, which grants name.
    pub(super) secret: Vec<Secret>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: DATA_DIR.to_owned(),
            plugin_dirs: None,
            plugin_keys: Vec::new(),
            node_id: None,
            log: Log::default(),
            queue: Queue::default(),
            listen: Listen::default(),
            journal: Journal::default(),
            swap: Swap::default(),
            limits: Limits::default(),
            metering: Metering::default(),
            usage: Usage::default(),
            sink: Vec::new(),
            outbox: Vec::new(),
            feed: Vec::new(),
            secret: Vec::new(),
        }
    }
}

/// The chassis's own log.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    /// The least grave lines that are written: `debug`, `info`, `warn` or `error`.
    pub(super) level: LogLevel,
    /// `text` for people, `json` for programs: one object a line.
    pub(super) format: LogFormat,
}

/// The least grave lines of the log that are written.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Debug,
    /// What an operator may want to know afterwards.
    #[default]
    Info,
    /// What may need an operator later on.
    Warn,
    /// What needs an operator.
    Error,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Bounds of a queue.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Queue {
    /// The most records in it.
    #[schemars(range(min = 1, max = MAX_QUEUE_RECORDS))]
    pub(super) records: NonZeroU32,
    /// The most bytes of a stream's newest records that are kept in memory, for sinks to share, and
    /// the most that may wait to become durable. With `durability = "memory"` it is all there is.
    pub(super) bytes: Size,
}

impl Default for Queue {
    fn default() -> Self {
        Self { records: QUEUE_RECORDS, bytes: QUEUE_BYTES }
    }
}

/// Where `wasink serve` takes records.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listen {
    /// Address and port for HTTP. The empty string: none. Any other than a loopback address needs a
    /// token.
    pub(super) http: String,
    /// Path of a Unix socket for HTTP, for this user alone. `<data_dir>/wasink.sock` where it is
    /// left out; the empty string: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) socket: Option<String>,
    /// Path of a Unix socket for the commands that ask or change a running `wasink serve`, for this
    /// user alone. `<data_dir>/admin.sock` where it is left out; the empty string: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) admin: Option<String>,
    /// A file that holds the token which HTTP requests must carry, at least 16 bytes; nobody else may
    /// be able to read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "path_schema")]
    pub(super) token_file: Option<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self { http: HTTP.to_owned(), socket: None, admin: None, token_file: None }
    }
}

/// The journal of each stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    /// What an accepted record survives. `disk`: the loss of power; it is synced to the disk before
    /// it counts as accepted. `os`: the end of the process; it is written and not synced. `memory`:
    /// nothing.
    #[schemars(schema_with = "durability_schema")]
    pub(super) durability: Durability,
    /// The most that the journal of one stream may hold; what happens then is each sink's
    /// `when_full`.
    pub(super) bytes: Size,
    /// The length of its files: what is given back to the disk at a time. At most a quarter of
    /// `bytes` is used.
    pub(super) segment: Size,
    /// The longest record, in bytes of its wire format. A longer one is refused.
    pub(super) record: Size,
    /// While records keep coming, how long the journal waits for more of them before it syncs again.
    /// A stream that was idle syncs at once.
    pub(super) window: Period,
    /// What is otherwise for the stream `metering`.
    pub(super) metering: StreamJournal,
    /// What is otherwise for the stream `usage`.
    pub(super) usage: StreamJournal,
    /// What is otherwise for the stream `control`.
    pub(super) control: StreamJournal,
    /// What is otherwise for the stream `events`.
    pub(super) events: StreamJournal,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            bytes: JOURNAL_BYTES,
            segment: SEGMENT_BYTES,
            record: RECORD_BYTES,
            window: Period(Duration::ZERO),
            metering: StreamJournal::default(),
            usage: StreamJournal::default(),
            control: StreamJournal::default(),
            events: StreamJournal::default(),
        }
    }
}

/// The journal of one stream, where it is not as the others are.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StreamJournal {
    /// As `journal.durability`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "durability_schema")]
    pub(super) durability: Option<Durability>,
    /// As `journal.bytes`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(super) bytes: Option<Size>,
    /// As `journal.window`, which it is where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Period")]
    pub(super) window: Option<Period>,
}

/// How plugins are exchanged.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Swap {
    /// How often `wasink serve` looks for new versions in the plugin directories. `0s`: never; a
    /// new version is taken when `wasink plugins swap` asks for it.
    pub(super) watch: Period,
    /// How long the batch that is under way may take before the new version takes over. Past it,
    /// the old instance is dropped and the batch is delivered again.
    pub(super) grace: Timeout,
    /// For how long the version before is ready to come back by itself. `0s`: it is not.
    pub(super) probation: Period,
    /// In that time, so many calls that cost the new version its instance bring it back: traps, or
    /// its own word that it can't go on. One that does not return in time does at once.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) stops: u32,
    /// So do more rejected records than these of a hundred, of a thousand records at least.
    #[schemars(range(min = 0, max = 100))]
    pub(super) rejected_percent: u32,
    /// So do records that take so many times as long as with the version before. 0: however long.
    #[schemars(range(min = 0, max = 1000))]
    pub(super) slower: u32,
    /// So many versions of each plugin are kept for `wasink plugins rollback`.
    #[schemars(range(min = 1, max = 100))]
    pub(super) keep: u32,
}

impl Default for Swap {
    fn default() -> Self {
        Self {
            watch: Period(Duration::from_secs(1)),
            grace: Timeout(Duration::from_secs(10)),
            probation: Period(Duration::from_secs(60)),
            stops: 2,
            rejected_percent: 10,
            slower: 10,
            keep: 5,
        }
    }
}

/// Whether later records wait for those that are to be tried again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// They wait: every stream arrives in order.
    #[default]
    Held,
    /// They go before them.
    Relaxed,
}

/// When a batch is full: at the first of these.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Batch {
    /// So many records.
    #[schemars(range(min = 1, max = MAX_BATCH_RECORDS))]
    pub(super) records: NonZeroU32,
    /// So many bytes of the records' wire format. A record that is larger goes alone.
    pub(super) bytes: Size,
    /// The first of its records has waited for so long. `0s`: a batch is what is there.
    pub(super) age: Period,
}

impl Default for Batch {
    fn default() -> Self {
        Self { records: BATCH_RECORDS, bytes: BATCH_BYTES, age: Period(BATCH_AGE) }
    }
}

/// What to do when a sink can't be opened at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnOpenFailure {
    /// Refuse to start.
    #[default]
    Refuse,
    /// Start without it; status and metrics show it.
    Degrade,
}

/// The sink that takes the `metering` stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(transform = plugin_tables)]
pub(super) struct Metering {
    /// The plugin that takes the stream: `file`, `stderr`, `nop` (which throws it away), or any
    /// other by its name. The empty string is `file`.
    #[schemars(schema_with = "backend_schema")]
    pub(super) backend: String,
    /// When a batch is full: at the first of these.
    pub(super) batch: Batch,
    /// How long one call of the plugin may take.
    pub(super) timeout: Timeout,
    /// What happens when the sink has not dealt with as much as the journal can hold, or as
    /// `max_pending` allows: whoever appends waits (`block`), is turned away (`reject`), or the
    /// sink's oldest records are given up and counted (`drop-oldest`).
    #[schemars(schema_with = "when_full_schema")]
    pub(super) when_full: WhenFull,
    /// The most that the sink may leave in a stream's journal; `journal.bytes` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(super) max_pending: Option<Size>,
    /// Whether later records wait for those that are to be tried again (`held`), or go before them
    /// (`relaxed`).
    pub(super) order: Order,
    /// The only bytes of its plugin that are run: `sha256:` and 64 hexadecimal digits, as `wasink
    /// plugins inspect` shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digest_schema")]
    pub(super) digest: Option<String>,
    /// When the sink can't be opened: `refuse` to start, or `degrade`: start without it, which
    /// status and metrics show.
    pub(super) on_open_failure: OnOpenFailure,
    /// What the plugin may reach outside of its sandbox: nothing but this. `file`, `stderr` and `log`
    /// have what they are for.
    pub(super) grants: Grants,
    /// How much the plugin may use, where that is not as `[limits]` has it.
    #[serde(skip_serializing_if = "SinkLimits::is_empty")]
    pub(super) limits: SinkLimits,
    /// Settings of the plugin `file`.
    #[serde(skip_serializing_if = "File::is_empty")]
    pub(super) file: File,
    /// Settings of any other plugin, in a table of its name.
    #[serde(flatten)]
    pub(super) plugins: BTreeMap<String, Map<String, Value>>,
}

impl Default for Metering {
    fn default() -> Self {
        Self {
            backend: String::new(),
            batch: Batch::default(),
            timeout: Timeout(TIMEOUT),
            when_full: WhenFull::default(),
            max_pending: None,
            order: Order::default(),
            digest: None,
            on_open_failure: OnOpenFailure::default(),
            grants: Grants::default(),
            limits: SinkLimits::default(),
            file: File::default(),
            plugins: BTreeMap::new(),
        }
    }
}

/// The sink that takes the `usage` stream.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(transform = plugin_tables)]
pub(super) struct Usage {
    /// `false`: no such sink is made at all, whatever `sink` says.
    pub(super) enabled: bool,
    /// The plugin that takes the stream, by its name.
    #[schemars(schema_with = "plugin_schema")]
    pub(super) sink: String,
    /// When a batch is full: at the first of these.
    pub(super) batch: Batch,
    /// How long one call of the plugin may take.
    pub(super) timeout: Timeout,
    /// What happens when the sink has not dealt with as much as the journal can hold, or as
    /// `max_pending` allows: whoever appends waits (`block`), is turned away (`reject`), or the
    /// sink's oldest records are given up and counted (`drop-oldest`).
    #[schemars(schema_with = "when_full_schema")]
    pub(super) when_full: WhenFull,
    /// The most that the sink may leave in a stream's journal; `journal.bytes` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(super) max_pending: Option<Size>,
    /// Whether later records wait for those that are to be tried again (`held`), or go before them
    /// (`relaxed`).
    pub(super) order: Order,
    /// The only bytes of its plugin that are run: `sha256:` and 64 hexadecimal digits, as `wasink
    /// plugins inspect` shows them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digest_schema")]
    pub(super) digest: Option<String>,
    /// When the sink can't be opened: `refuse` to start, or `degrade`: start without it, which
    /// status and metrics show.
    pub(super) on_open_failure: OnOpenFailure,
    /// What the plugin may reach outside of its sandbox: nothing but this. `file`, `stderr` and `log`
    /// have what they are for.
    pub(super) grants: Grants,
    /// How much the plugin may use, where that is not as `[limits]` has it.
    #[serde(skip_serializing_if = "SinkLimits::is_empty")]
    pub(super) limits: SinkLimits,
    /// Settings of the plugin `file`.
    #[serde(skip_serializing_if = "File::is_empty")]
    pub(super) file: File,
    /// Settings of any other plugin, in a table of its name.
    #[serde(flatten)]
    pub(super) plugins: BTreeMap<String, Map<String, Value>>,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            enabled: true,
            sink: "log".to_owned(),
            batch: Batch::default(),
            timeout: Timeout(TIMEOUT),
            when_full: WhenFull::default(),
            max_pending: None,
            order: Order::default(),
            digest: None,
            on_open_failure: OnOpenFailure::default(),
            grants: Grants::default(),
            limits: SinkLimits::default(),
            file: File::default(),
            plugins: BTreeMap::new(),
        }
    }
}

/// Settings of the plugin `file` where the chassis chooses its directory.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(transform = free_settings)]
pub(super) struct File {
    /// Path of the file; its directory is made at the start. `<data_dir>/<stream>/ledger.jsonl`
    /// where it is left out or empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) path: Option<String>,
    /// The plugin's other settings.
    #[serde(flatten)]
    pub(super) rest: Map<String, Value>,
}

impl File {
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_none() && self.rest.is_empty()
    }
}

/// One more sink.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sink {
    /// Name of the sink, its own among all sinks.
    #[schemars(schema_with = "sink_name_schema")]
    pub(super) name: String,
    /// The plugin, by its name.
    #[schemars(schema_with = "plugin_schema")]
    pub(super) plugin: String,
    /// The streams that it takes: `metering`, `usage`, `control`, `events`.
    #[schemars(schema_with = "streams_schema")]
    pub(super) streams: Vec<Stream>,
    /// The plugin's own settings.
    #[serde(default)]
    #[schemars(schema_with = "settings_schema")]
    pub(super) settings: Map<String, Value>,
    /// When a batch is full: at the first of these.
    #[serde(default)]
    pub(super) batch: Batch,
    /// How long one call of the plugin may take.
    #[serde(default = "timeout")]
    pub(super) timeout: Timeout,
    /// What happens when the sink has not dealt with as much as the journal can hold, or as
    /// `max_pending` allows: whoever appends waits (`block`), is turned away (`reject`), or the
    /// sink's oldest records are given up and counted (`drop-oldest`).
    #[serde(default)]
    #[schemars(schema_with = "when_full_schema")]
    pub(super) when_full: WhenFull,
    /// The most that the sink may leave in a stream's journal; `journal.bytes` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Size")]
    pub(super) max_pending: Option<Size>,
    /// Whether later records wait for those that are to be tried again (`held`), or go before them
    /// (`relaxed`).
    #[serde(default)]
    pub(super) order: Order,
    /// The only bytes of its plugin that are run: `sha256:` and 64 hexadecimal digits, as `wasink
    /// plugins inspect` shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digest_schema")]
    pub(super) digest: Option<String>,
    /// When the sink can't be opened: `refuse` to start, or `degrade`: start without it, which
    /// status and metrics show.
    #[serde(default)]
    pub(super) on_open_failure: OnOpenFailure,
    /// What the plugin may reach outside of its sandbox: nothing but this.
    #[serde(default)]
    pub(super) grants: Grants,
    /// How much the plugin may use, where that is not as `[limits]` has it.
    #[serde(default, skip_serializing_if = "SinkLimits::is_empty")]
    pub(super) limits: SinkLimits,
}

fn timeout() -> Timeout {
    Timeout(TIMEOUT)
}

fn durability_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["disk", "os", "memory"] })
}

fn when_full_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["block", "reject", "drop-oldest"] })
}

fn path_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "x-expected": "a path" })
}

fn digest_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": "^sha256:[0-9a-f]{64}$",
        "x-expected": "`sha256:` and 64 digits (`0`-`9`, `a`-`f`)",
    })
}

fn node_id_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "x-expected": "a name of 1 to 255 characters",
    })
}

fn paths_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": path_schema(generator), "x-expected": "a list of paths" })
}

fn plugin_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": NAME_PATTERN,
        "x-expected": "the name of a plugin (`a`-`z`, `0`-`9`, `-`)",
    })
}

fn backend_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": format!("^$|{NAME_PATTERN}"),
        "x-expected": "the name of a plugin (`a`-`z`, `0`-`9`, `-`)",
    })
}

fn sink_name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": NAME_PATTERN,
        "x-expected": "a name of 1 to 64 of `a`-`z`, `0`-`9` and `-`",
    })
}

fn streams_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": { "enum": Stream::ALL.map(Stream::as_str) },
        "minItems": 1,
        "uniqueItems": true,
        "x-expected": "a list of streams, one at least, each once",
    })
}

fn settings_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": true })
}

/// Any key beside the listed ones is the name of a plugin, and holds a table.
fn plugin_tables(schema: &mut Schema) {
    schema.insert("additionalProperties".to_owned(), serde_json::json!({ "type": "object" }));
}

/// Any key beside the listed ones is the plugin's own.
fn free_settings(schema: &mut Schema) {
    schema.insert("additionalProperties".to_owned(), Value::Bool(true));
}
