//! Where log lines go: the chassis's own and those of plugins.

use std::fmt;

use serde::Serialize;

/// How grave a line is, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be, and is being dealt with.
    Warn,
    /// An operator must act.
    Error,
}

impl Level {
    /// Its name in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number that may be negative.
    Signed(i64),
    /// A number.
    Unsigned(u64),
    /// Yes or no.
    Boolean(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Boolean(truth) => truth.fmt(f),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Unsigned(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Boolean(truth)
    }
}

/// One line: a constant message, and what varies as fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// How grave it is.
    pub level: Level,
    /// The sink that it comes from, or `None` for the chassis itself.
    pub sink: Option<&'a str>,
    /// What happened. Text from a plugin is as the plugin gave it: whoever shows it on a terminal
    /// escapes it, as [`printable`] does.
    pub message: &'a str,
    /// What varies, in order.
    pub fields: &'a [(String, Value)],
}

/// Takes log lines. Called from many threads; must not block for long.
pub trait Logger: Send + Sync {
    /// Writes one line.
    fn log(&self, line: &Line<'_>);

    /// Whether lines of this level are written: where not, they need not be made.
    fn enabled(&self, level: Level) -> bool;
}

/// Whether a terminal acts on it: a control character, or one that ends a line or turns the order of
/// what is around it.
pub fn is_acted_on(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'];
    let ranges = ['\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    c.is_control() || turns.contains(&c) || ranges.iter().any(|range| range.contains(&c))
}

/// Text from elsewhere on one line, with nothing in it that a terminal would act on.
pub fn printable(text: &str) -> String {
    let escaped = |c: char| {
        if is_acted_on(c) { c.escape_default().to_string() } else { c.to_string() }
    };
    text.chars().map(escaped).collect()
}

/// Hands lines to whatever listens to the `tracing` crate. What varies goes into one field named
/// `fields`, as JSON, because tracing's own field names are fixed when the program is built.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingLogger;

impl Logger for TracingLogger {
    fn log(&self, line: &Line<'_>) {
        let sink = line.sink.unwrap_or_default();
        let fields: serde_json::Map<_, _> = line
            .fields
            .iter()
            .map(|(key, value)| (key.clone(), serde_json::json!(value)))
            .collect();
        let fields = serde_json::Value::Object(fields);
        match line.level {
            Level::Debug => tracing::debug!(sink, %fields, "{}", line.message),
            Level::Info => tracing::info!(sink, %fields, "{}", line.message),
            Level::Warn => tracing::warn!(sink, %fields, "{}", line.message),
            Level::Error => tracing::error!(sink, %fields, "{}", line.message),
        }
    }

    fn enabled(&self, level: Level) -> bool {
        match level {
            Level::Debug => tracing::enabled!(tracing::Level::DEBUG),
            Level::Info => tracing::enabled!(tracing::Level::INFO),
            Level::Warn => tracing::enabled!(tracing::Level::WARN),
            Level::Error => tracing::enabled!(tracing::Level::ERROR),
        }
    }
}
