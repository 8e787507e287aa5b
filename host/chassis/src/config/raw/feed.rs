//! Outboxes and feeds of control events, as they are written.

use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::{
        name::NAME_PATTERN,
        units::{Period, Size, Timeout},
    },
    Grants, Order, SinkLimits, digest_schema, path_schema, plugin_schema, settings_schema, timeout,
};

/// What nobody waits for in vain, and no database notices.
const PERIOD: Period = Period(Duration::from_secs(15));
/// As long as a plugin may wait for an event by default.
const WAIT: Period = Period(Duration::from_secs(10));
/// An artifact is in memory while it is applied.
const ARTIFACT: Size = Size(NonZeroU64::new(64 << 20).unwrap());
/// What a large artifact takes over a slow line.
const FETCH: Timeout = Timeout(Duration::from_mins(1));
/// So many events are in memory at a time.
const MAX_EVENTS: u32 = 4_096;
/// A hundred years.
const MAX_DAYS: u32 = 36_500;
/// Longest name of a table: SQLite has no limit, and nobody needs more.
const TABLE_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_]{0,127}$";

/// An outbox of control events, in the database of the service that makes them. `wasink serve`
/// publishes what is in it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Outbox {
    /// Name of the outbox, its own among all outboxes.
    #[schemars(schema_with = "name_schema")]
    pub(in super::super) name: String,
    /// The feed sink that takes its events, by its name.
    #[schemars(schema_with = "plugin_schema")]
    pub(in super::super) plugin: String,
    /// The database with the table `control_events_outbox`: the path of a file of SQLite, or
    /// `postgres://user@host/database`.
    #[schemars(schema_with = "database_schema")]
    pub(in super::super) database: String,
    /// Name of the secret that is the password of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "name_schema")]
    pub(in super::super) password: Option<String>,
    /// The feed sink's own settings.
    #[serde(default)]
    #[schemars(schema_with = "settings_schema")]
    pub(in super::super) settings: Map<String, Value>,
    /// How often it is looked for new events.
    #[serde(default = "period")]
    pub(in super::super) period: Timeout,
    /// The most events that are handed over at a time.
    #[serde(default = "outbox_batch")]
    #[schemars(range(min = 1, max = MAX_EVENTS))]
    pub(in super::super) batch: NonZeroU32,
    /// Whether later events wait for one that could not be published (`held`), or go before it
    /// (`relaxed`).
    #[serde(default)]
    pub(in super::super) order: Order,
    /// So often an event is tried that the feed sink refuses, before it is a dead letter.
    #[serde(default = "attempts")]
    #[schemars(range(min = 1, max = 1000))]
    pub(in super::super) attempts: u32,
    /// For so many days the table keeps what was published.
    #[serde(default = "outbox_days")]
    #[schemars(range(min = 1, max = MAX_DAYS))]
    pub(in super::super) keep_days: u32,
    /// How long one call of the plugin may take.
    #[serde(default = "timeout")]
    pub(in super::super) timeout: Timeout,
    /// The only bytes of its plugin that are run: `sha256:` and 64 hexadecimal digits, as `wasink
    /// plugins inspect` shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digest_schema")]
    pub(in super::super) digest: Option<String>,
    /// What the plugin may reach outside of its sandbox: nothing but this.
    #[serde(default)]
    pub(in super::super) grants: Grants,
    /// How much the plugin may use, where that is not as `[limits]` has it.
    #[serde(default, skip_serializing_if = "SinkLimits::is_empty")]
    pub(in super::super) limits: SinkLimits,
}

/// A feed of control events. `wasink serve` applies each of them once to a database of this node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Feed {
    /// Name of the feed, its own among all feeds.
    #[schemars(schema_with = "name_schema")]
    pub(in super::super) name: String,
    /// The feed source that gives its events, by its name.
    #[schemars(schema_with = "plugin_schema")]
    pub(in super::super) plugin: String,
    /// The database that they are applied to: the path of a file of SQLite. It is made where it is
    /// not there.
    #[schemars(schema_with = "path_schema")]
    pub(in super::super) database: String,
    /// The tables that artifacts may change. Other events, and all of them where none is listed,
    /// become rows of the table `control_events_inbox`.
    #[serde(default)]
    #[schemars(schema_with = "tables_schema")]
    pub(in super::super) tables: Vec<String>,
    /// What artifacts call this database. Changes of others are passed over.
    #[serde(default = "db")]
    #[schemars(schema_with = "tables_name_schema")]
    pub(in super::super) db: String,
    /// Where the artifacts are that events point to. Where it is left out, such an event can't be
    /// applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Artifacts")]
    pub(in super::super) artifacts: Option<Artifacts>,
    /// The feed source's own settings.
    #[serde(default)]
    #[schemars(schema_with = "settings_schema")]
    pub(in super::super) settings: Map<String, Value>,
    /// How long the plugin may wait for an event; less than `timeout`.
    #[serde(default = "wait")]
    pub(in super::super) wait: Period,
    /// How long it takes at the most until something that failed is tried again.
    #[serde(default = "period")]
    pub(in super::super) period: Timeout,
    /// The most events that are asked for at a time.
    #[serde(default = "feed_batch")]
    #[schemars(range(min = 1, max = MAX_EVENTS))]
    pub(in super::super) batch: NonZeroU32,
    /// For so many days the ids of events are known. It has to be longer than anybody publishes an
    /// event again.
    #[serde(default = "feed_days")]
    #[schemars(range(min = 1, max = MAX_DAYS))]
    pub(in super::super) keep_days: u32,
    /// How long one call of the plugin may take.
    #[serde(default = "timeout")]
    pub(in super::super) timeout: Timeout,
    /// The only bytes of its plugin that are run: `sha256:` and 64 hexadecimal digits, as `wasink
    /// plugins inspect` shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "digest_schema")]
    pub(in super::super) digest: Option<String>,
    /// What the plugin may reach outside of its sandbox: nothing but this.
    #[serde(default)]
    pub(in super::super) grants: Grants,
    /// How much the plugin may use, where that is not as `[limits]` has it.
    #[serde(default, skip_serializing_if = "SinkLimits::is_empty")]
    pub(in super::super) limits: SinkLimits,
}

/// Where artifacts are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Artifacts {
    /// `file:///directory`, `s3://bucket/prefix`, or `https://host/path`.
    #[schemars(schema_with = "url_schema")]
    pub(in super::super) url: String,
    /// The largest artifact that is taken.
    #[serde(default = "artifact")]
    pub(in super::super) size: Size,
    /// How long one may take to come.
    #[serde(default = "fetch")]
    pub(in super::super) timeout: Timeout,
    /// Settings of the store, by their names: `region`, `endpoint`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts_schema")]
    pub(in super::super) settings: BTreeMap<String, String>,
    /// Settings of the store that are secret, and the names of their secrets: `access_key_id`,
    /// `secret_access_key`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "texts_schema")]
    pub(in super::super) secrets: BTreeMap<String, String>,
}

fn period() -> Timeout {
    Timeout(PERIOD.0)
}

fn wait() -> Period {
    WAIT
}

fn artifact() -> Size {
    ARTIFACT
}

fn fetch() -> Timeout {
    FETCH
}

fn outbox_batch() -> NonZeroU32 {
    const { NonZeroU32::new(64).unwrap() }
}

fn feed_batch() -> NonZeroU32 {
    const { NonZeroU32::new(256).unwrap() }
}

fn attempts() -> u32 {
    10
}

fn outbox_days() -> u32 {
    7
}

fn feed_days() -> u32 {
    30
}

fn db() -> String {
    "runtime".to_owned()
}

fn name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": NAME_PATTERN,
        "x-expected": "a name of 1 to 64 of `a`-`z`, `0`-`9` and `-`",
    })
}

fn database_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "x-expected": "the path of a file of SQLite, or `postgres://user@host/database`",
    })
}

fn url_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "x-expected": "`file:///directory`, `s3://bucket/prefix` or `https://host/path`",
    })
}

fn tables_name_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": TABLE_PATTERN,
        "x-expected": "a name of letters, digits and `_`",
    })
}

fn tables_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": tables_name_schema(generator),
        "uniqueItems": true,
        "x-expected": "a list of tables, each once",
    })
}

fn texts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": { "type": "string" } })
}
