//! The configuration as a tree of values, with the place that each of them comes from.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    error::{ConfigError, Origin},
    json_lines,
    path::{KeyPath, Step},
};

/// How much of a word is shown, in characters.
const MAX_WORD: usize = 80;

/// Where each value comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<KeyPath, Origin>);

impl Origins {
    pub(super) fn insert(&mut self, path: KeyPath, origin: Origin) {
        self.0.insert(path, origin);
    }

    /// Of exactly this value; the default where nobody set it.
    pub(super) fn of(&self, path: &KeyPath) -> Origin {
        self.0.get(path).cloned().unwrap_or(Origin::Default)
    }

    /// Of this value, or else of the nearest table or list around it, or else of the file.
    pub(super) fn around(&self, path: &KeyPath) -> Origin {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some(origin) = self.0.get(&path) {
                return origin.clone();
            }
            at = path.parent();
        }
        Origin::Default
    }
}

/// A tree of values and their places.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) value: Value,
    pub(super) origins: Origins,
}

impl Document {
    /// Nothing is set.
    pub(super) fn empty() -> Self {
        Self { value: Value::Object(Map::new()), origins: Origins::default() }
    }

    /// Sets a value, and makes the tables on the way to it. Where something else than a table is in
    /// the way, it stays, since that is a mistake to tell of.
    pub(super) fn set(&mut self, path: &KeyPath, value: Value, origin: &Origin) {
        let Some((Step::Key(last), tables)) = path.steps().split_last() else { return };
        let mut at = &mut self.value;
        for step in tables {
            let (Step::Key(key), Value::Object(table)) = (step, at) else { return };
            at = table.entry(key.as_str()).or_insert_with(|| Value::Object(Map::new()));
        }
        let Value::Object(table) = at else { return };
        self.origins.0.retain(|known, _| !known.steps().starts_with(path.steps()));
        record(&mut self.origins, path, &value, origin);
        table.insert(last.clone(), value);
    }
}

/// Gives a value and all that is in it the same place.
fn record(origins: &mut Origins, path: &KeyPath, value: &Value, origin: &Origin) {
    origins.insert(path.clone(), origin.clone());
    match value {
        Value::Object(table) => {
            table.iter().for_each(|(key, value)| record(origins, &path.key(key), value, origin));
        }
        Value::Array(list) => {
            list.iter()
                .enumerate()
                .for_each(|(index, value)| record(origins, &path.index(index), value, origin));
        }
        _ => {}
    }
}

/// What a text holds as far as it could be read, and what could not be read.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) document: Document,
    pub(super) errors: Vec<ConfigError>,
}

/// Reads JSON.
pub(super) fn parse_json(text: &str, file: &Path) -> Parsed {
    let mut document = Document::empty();
    let at = |line| Origin::File { path: file.to_owned(), line: Some(line) };
    let mut errors = Vec::new();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => {
            let whole = Origin::File { path: file.to_owned(), line: None };
            document.origins.insert(KeyPath::default(), whole);
            for (path, line) in json_lines::lines(text) {
                if document.origins.0.contains_key(&path) {
                    let key = path.last_key().unwrap_or_default();
                    let message = format!("duplicate key `{}`", key.escape_default());
                    errors.push(ConfigError::new(at(line), &path, message));
                }
                document.origins.insert(path, at(line));
            }
            document.value = value;
        }
        Err(error) => {
            let message = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let message = message.strip_suffix(&place).unwrap_or(&message);
            let mut wrong = ConfigError::new(at(error.line().max(1)), "", message);
            wrong.column = Some(error.column());
            errors.push(wrong);
        }
    }
    Parsed { document, errors }
}

/// Reads TOML.
pub(super) fn parse_toml(text: &str, file: &Path) -> Parsed {
    let (table, syntax) = DeTable::parse_recoverable(text);
    let mut reader = TomlReader {
        lines: Lines::of(text),
        file,
        parsed: Parsed { document: Document::empty(), errors: Vec::new() },
    };
    for error in syntax {
        let (line, column) = reader.lines.position(error.span().map_or(0, |span| span.start));
        let message = unquoted(text, &error)
            .unwrap_or_else(|| error.message().lines().collect::<Vec<_>>().join(" "));
        let mut wrong = ConfigError::new(reader.origin(line), "", message);
        wrong.column = Some(column);
        reader.parsed.errors.push(wrong);
    }
    let unreadable: Vec<Origin> =
        reader.parsed.errors.iter().map(|error| error.origin.clone()).collect();
    let syntax = reader.parsed.errors.len();
    let value = reader.table(table.get_ref(), &KeyPath::default());
    reader.parsed.document.value = value;
    // A guess at what was meant on such a line is no reason for another error.
    let mut values = reader.parsed.errors.split_off(syntax);
    values.retain(|error| !unreadable.contains(&error.origin));
    reader.parsed.errors.append(&mut values);
    reader.parsed
}

/// What to say of a word where a value should be: the parser takes it by its first letter for a
/// number or a truth value, and what it says then leads nowhere.
fn unquoted(text: &str, error: &toml::de::Error) -> Option<String> {
    let message = error.message();
    let guesses = ["string values must be quoted", "invalid float", "invalid boolean"];
    let rest = text.get(error.span()?.start..)?;
    let end = |c: char| c.is_whitespace() || c.is_control() || ",#]}".contains(c);
    let word: String = rest.chars().take_while(|c| !end(*c)).take(MAX_WORD).collect();
    let is_word = word.starts_with(|c: char| c.is_alphabetic() || c == '/');
    (is_word && guesses.iter().any(|guess| message.starts_with(guess)))
        .then(|| format!("expected a value, got `{word}`; a string is written in quotes"))
}

/// Where the lines of a text start.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(starts).collect() }
    }

    /// Line and column, each from 1, of a place in the text.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// Turns TOML's values into JSON's.
struct TomlReader<'a> {
    lines: Lines<'a>,
    file: &'a Path,
    parsed: Parsed,
}

impl TomlReader<'_> {
    fn origin(&self, line: usize) -> Origin {
        Origin::File { path: self.file.to_owned(), line: Some(line) }
    }

    fn table(&mut self, table: &DeTable<'_>, path: &KeyPath) -> Value {
        let entries = table.iter().map(|(key, value)| {
            let path = path.key(key.get_ref());
            let value = self.spanned(value, key.span().start, &path);
            (key.get_ref().to_string(), value)
        });
        Value::Object(entries.collect())
    }

    fn list(&mut self, list: &DeArray<'_>, path: &KeyPath) -> Value {
        let items = list.iter().enumerate();
        Value::Array(
            items
                .map(|(index, value)| self.spanned(value, value.span().start, &path.index(index)))
                .collect(),
        )
    }

    fn spanned(&mut self, value: &Spanned<DeValue<'_>>, offset: usize, path: &KeyPath) -> Value {
        let origin = self.origin(self.lines.position(offset).0);
        self.parsed.document.origins.insert(path.clone(), origin.clone());
        let (what, text) = match value.get_ref() {
            DeValue::Table(table) => return self.table(table, path),
            DeValue::Array(list) => return self.list(list, path),
            DeValue::String(text) => return Value::String(text.to_string()),
            DeValue::Boolean(value) => return Value::Bool(*value),
            DeValue::Integer(number) => {
                let parsed = i128::from_str_radix(number.as_str(), number.radix()).ok();
                match parsed.and_then(Number::from_i128) {
                    Some(number) => return Value::Number(number),
                    None => ("the number is out of range", number.to_string()),
                }
            }
            DeValue::Float(number) => {
                match number.as_str().parse().ok().and_then(Number::from_f64) {
                    Some(number) => return Value::Number(number),
                    None => ("a number must be finite", number.to_string()),
                }
            }
            DeValue::Datetime(date) => {
                ("a date is written as a string, in quotes", date.to_string())
            }
        };
        let message = format!("{what}, got `{text}`");
        self.parsed.errors.push(ConfigError::new(origin, path, message));
        Value::String(text)
    }
}
