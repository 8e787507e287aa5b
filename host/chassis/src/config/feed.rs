//! Outboxes and feeds of control events, resolved.

use std::{num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use super::{
    Order, PluginConfig, Role,
    grants::{SecretConfig, Written},
    name::PluginName,
    path::KeyPath,
    raw,
    resolve::Resolver,
};

/// An outbox whose events are published.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OutboxConfig {
    /// The feed sink that takes them.
    pub instance: PluginConfig,
    /// The database that it is in.
    pub database: DatabaseConfig,
    /// The longest between two looks for new events.
    pub period: Duration,
    /// The most events that are handed over at a time.
    pub batch: NonZeroU32,
    /// Whether later events wait for one that could not be published.
    pub order: Order,
    /// So often an event is tried that the feed sink refuses, before it is a dead letter.
    pub attempts: u32,
    /// For how long the table keeps what was published.
    pub keep: Duration,
}

/// The database of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseConfig {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A server of PostgreSQL.
    Postgres {
        /// Where it is, without a password.
        url: String,
        /// The password.
        password: Option<SecretConfig>,
    },
}

/// A feed whose events are applied to a database.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FeedConfig {
    /// The feed source that gives them.
    pub instance: PluginConfig,
    /// The database, a file of SQLite.
    pub database: PathBuf,
    /// The tables that artifacts may change.
    pub tables: Vec<String>,
    /// What artifacts call this database.
    pub db: String,
    /// Where artifacts are.
    pub artifacts: Option<ArtifactsConfig>,
    /// How long the source may wait for an event.
    pub wait: Duration,
    /// How long it takes at the most until something that failed is tried again.
    pub period: Duration,
    /// The most events that are asked for at a time.
    pub batch: NonZeroU32,
    /// For how long the ids of events are known.
    pub keep: Duration,
}

/// Where the artifacts are that events point to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArtifactsConfig {
    /// The store: `file:///directory`, `s3://bucket/prefix`, `https://host/path`.
    pub url: String,
    /// The largest that is taken, in bytes.
    pub size: u64,
    /// How long one may take to come.
    pub timeout: Duration,
    /// Settings of the store.
    pub settings: Vec<(String, String)>,
    /// Settings of the store that are secret.
    pub secrets: Vec<(String, SecretConfig)>,
}

/// An end of a feed as it is written: what an outbox and a feed have alike.
struct End<'a> {
    role: Role,
    at: KeyPath,
    name: &'a str,
    plugin: &'a str,
    settings: &'a serde_json::Map<String, serde_json::Value>,
    grants: &'a raw::Grants,
    limits: crate::limits::Limits,
    timeout: Duration,
    digest: Option<String>,
}

macro_rules! end {
    ($role:expr, $at:expr, $section:expr, $config:expr) => {
        End {
            role: $role,
            at: $at,
            name: &$section.name,
            plugin: &$section.plugin,
            settings: &$section.settings,
            grants: &$section.grants,
            limits: $section.limits.over(&$config.limits),
            timeout: $section.timeout.0,
            digest: $section.digest.clone(),
        }
    };
}

fn days(days: u32) -> Duration {
    Duration::from_hours(24 * u64::from(days))
}

impl Resolver<'_> {
    /// Every outbox.
    pub(super) fn outboxes(&mut self, config: &raw::Config) -> Vec<OutboxConfig> {
        let mut outboxes = Vec::new();
        for (index, outbox) in config.outbox.iter().enumerate() {
            let at = KeyPath::of(["outbox"]).index(index);
            let mut others = config.outbox.iter().take(index);
            self.own_name(&at, &outbox.name, others.position(|other| other.name == outbox.name));
            let instance = self.end(end!(Role::Outbox, at.clone(), outbox, config));
            let database = self.database(&at, outbox);
            let (Some(instance), Some(database)) = (instance, database) else { continue };
            outboxes.push(OutboxConfig {
                instance,
                database,
                period: outbox.period.0,
                batch: outbox.batch,
                order: outbox.order,
                attempts: outbox.attempts,
                keep: days(outbox.keep_days),
            });
        }
        outboxes
    }

    /// Every feed.
    pub(super) fn feeds(&mut self, config: &raw::Config) -> Vec<FeedConfig> {
        let mut feeds = Vec::new();
        for (index, feed) in config.feed.iter().enumerate() {
            let at = KeyPath::of(["feed"]).index(index);
            let mut others = config.feed.iter().take(index);
            self.own_name(&at, &feed.name, others.position(|other| other.name == feed.name));
            if feed.wait.0 >= feed.timeout.0 {
                let message = format!("expected less than `timeout`, which is {}", feed.timeout);
                self.wrong(&at.key("wait"), message);
            }
            let artifacts = feed.artifacts.as_ref();
            let artifacts = artifacts.map(|store| self.artifacts(&at.key("artifacts"), store));
            let Some(instance) = self.end(end!(Role::Feed, at, feed, config)) else { continue };
            feeds.push(FeedConfig {
                instance,
                database: PathBuf::from(&feed.database),
                tables: feed.tables.clone(),
                db: feed.db.clone(),
                artifacts,
                wait: feed.wait.0,
                period: feed.period.0,
                batch: feed.batch,
                keep: days(feed.keep_days),
            });
        }
        feeds
    }

    fn own_name(&mut self, at: &KeyPath, name: &str, first: Option<usize>) {
        if let Some(first) = first {
            let list = at.parent().unwrap_or_default();
            let message =
                format!("`{name}` is the name of {list}[{first}] already; choose another");
            self.wrong(&at.key("name"), message);
        }
    }

    fn end(&mut self, end: End<'_>) -> Option<PluginConfig> {
        let End { role, at, name, plugin, settings, grants, limits, timeout, digest } = end;
        let own = self.data_dir.join("feeds").join(name);
        let grants = self.grants(Written { at: at.key("grants"), raw: grants, own });
        let (plugin_key, settings_key) = (at.key("plugin"), at.key("settings"));
        let plugin: PluginName = self.plugin(&plugin_key, plugin)?;
        Some(PluginConfig {
            role,
            name: name.to_owned(),
            plugin,
            settings: settings.clone(),
            grants,
            limits,
            timeout,
            digest,
            path_in_config: settings_key.to_string(),
            plugin_key,
            settings_key,
            origins: Arc::clone(&self.origins),
        })
    }

    fn database(&mut self, at: &KeyPath, outbox: &raw::Outbox) -> Option<DatabaseConfig> {
        let url = &outbox.database;
        let password = outbox.password.as_deref();
        let key = at.key("password");
        let password = password.map(|name| self.secret(&key, name));
        let Some((scheme, rest)) = url.split_once("://") else {
            if password.is_some() {
                self.wrong(&key, "a file of SQLite has no password; leave it out".to_owned());
            }
            return Some(DatabaseConfig::Sqlite(PathBuf::from(url)));
        };
        let at = at.key("database");
        if !matches!(scheme, "postgres" | "postgresql") {
            let message =
                "expected the path of a file of SQLite, or `postgres://user@host/database`";
            self.wrong(&at, message.to_owned());
            return None;
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        // One that is written as it is, with a `/` in it, ends the authority for whoever reads it.
        let behind = rest.get(authority.len()..).unwrap_or_default();
        if user.contains(':') || behind.contains('@') || rest.contains("password=") {
            let message = "expected no password here: make it a `[[secret]]`, and name that by \
                           `password`";
            self.wrong(&at, message.to_owned());
            return None;
        }
        Some(DatabaseConfig::Postgres { url: url.clone(), password: password.flatten() })
    }

    fn artifacts(&mut self, at: &KeyPath, store: &raw::Artifacts) -> ArtifactsConfig {
        let mut secrets = Vec::new();
        for (setting, name) in &store.secrets {
            let key = at.key("secrets").key(setting);
            if store.settings.contains_key(setting) {
                self.wrong(&key, format!("`{setting}` is among `settings`, too"));
            }
            secrets.extend(self.secret(&key, name).map(|secret| (setting.clone(), secret)));
        }
        ArtifactsConfig {
            url: store.url.clone(),
            size: store.size.0.get(),
            timeout: store.timeout.0,
            settings: store.settings.clone().into_iter().collect(),
            secrets,
        }
    }
}
