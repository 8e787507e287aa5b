//! Where each setting comes from: for people, and for programs.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Config,
    error::Origin,
    path::{KeyPath, Step, bare_or_quoted},
};

/// One setting as the program runs with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// The path of the key: `sink[0].batch.records`.
    pub key: String,
    /// As it could be written in the file.
    pub value: Value,
    /// Who set it.
    pub origin: Origin,
}

impl Config {
    /// Every setting, those that nobody set among them, in the order of the configuration file.
    pub fn explain(&self) -> Vec<Setting> {
        let mut found = Vec::new();
        self.collect(&self.effective, &KeyPath::default(), &mut found);
        found
    }

    fn collect(&self, value: &Value, path: &KeyPath, found: &mut Vec<Setting>) {
        match value {
            Value::Object(table) if !table.is_empty() => {
                table.iter().for_each(|(key, value)| self.collect(value, &path.key(key), found));
            }
            Value::Array(list) if is_list_of_tables(path, list) => {
                let items = list.iter().enumerate();
                items.for_each(|(index, value)| self.collect(value, &path.index(index), found));
            }
            _ => found.push(Setting {
                key: path.to_string(),
                value: value.clone(),
                origin: self.origins.of(path),
            }),
        }
    }

    /// A configuration file that does what this configuration does, with a comment behind each
    /// setting that says where it comes from, and the sinks in a comment at the end.
    pub fn explain_toml(&self) -> String {
        let mut out = String::new();
        if let Value::Object(root) = &self.effective {
            self.write_table(root, &KeyPath::default(), &mut out);
        }
        out.push_str("\n# The sinks, in all:\n");
        for sink in &self.sinks {
            let streams = sink.streams.iter().map(|stream| stream.as_str()).collect::<Vec<_>>();
            let directory = match &sink.grants.directory {
                Some(directory) => format!(", in {}", directory.display()),
                None => String::new(),
            };
            let streams = streams.join(", ");
            let line = format!("{}: {} takes {streams}{directory}", sink.name, sink.plugin);
            out.extend(["#   ", &line.escape_debug().to_string(), "\n"]);
        }
        out
    }

    /// One object: `config` has the shape of the configuration file and does what this
    /// configuration does, `settings` lists [`Config::explain`], `sinks` the sinks in all.
    pub fn explain_json(&self) -> Value {
        let sinks = self.sinks.iter().map(|sink| {
            json!({
                "name": sink.name,
                "plugin": sink.plugin,
                "streams": sink.streams,
                "directory": sink.grants.directory.as_ref().map(|path| path.to_string_lossy()),
            })
        });
        json!({
            "config": self.effective,
            "settings": self.explain(),
            "sinks": sinks.collect::<Vec<_>>(),
        })
    }

    fn write_table(&self, table: &Map<String, Value>, path: &KeyPath, out: &mut String) {
        for (key, value) in table {
            let path = path.key(key);
            if !is_table(&path, value) {
                self.write_setting(key, value, &path, out);
            }
        }
        for (key, value) in table {
            let path = path.key(key);
            match value {
                Value::Object(table) if is_table(&path, value) => {
                    let has_own = table.is_empty()
                        || table.iter().any(|(key, value)| !is_table(&path.key(key), value));
                    if has_own {
                        header(&format!("[{}]", keys_of(&path)), out);
                    }
                    self.write_table(table, &path, out);
                }
                Value::Array(list) if is_table(&path, value) => {
                    for (index, item) in list.iter().enumerate() {
                        header(&format!("[[{}]]", keys_of(&path)), out);
                        if let Value::Object(table) = item {
                            self.write_table(table, &path.index(index), out);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn write_setting(&self, key: &str, value: &Value, path: &KeyPath, out: &mut String) {
        let origin = match self.origins.of(path) {
            Origin::Default => "default".to_owned(),
            origin => format!("from {origin}"),
        };
        let origin = origin.escape_debug().to_string();
        let key = bare_or_quoted(key);
        let line = match toml_value(value) {
            Some(value) => format!("{key} = {value}  # {origin}"),
            None => format!("# {key} = {}  # {origin}; TOML can't say it", json_line(value)),
        };
        out.extend([&line, "\n"]);
    }
}

fn header(header: &str, out: &mut String) {
    let gap = if out.is_empty() { "" } else { "\n" };
    out.extend([gap, header, "\n"]);
}

/// The path as a header has it: a list's last item is meant.
pub(super) fn keys_of(path: &KeyPath) -> String {
    let keys = path.steps().iter().filter_map(|step| match step {
        Step::Key(key) => Some(bare_or_quoted(key)),
        Step::Index(_) => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

/// Only those of the file's own: a list in the settings of a plugin is one value, whatever is in it.
fn is_list_of_tables(path: &KeyPath, list: &[Value]) -> bool {
    path.steps().len() == 1 && list.iter().any(Value::is_object)
}

/// Whether it gets a header of its own.
fn is_table(path: &KeyPath, value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(list) => is_list_of_tables(path, list),
        _ => false,
    }
}

/// JSON as a line of TOML may have it: the only control character that JSON leaves is escaped.
fn json_line(value: &Value) -> String {
    value.to_string().replace('\u{7f}', "\\u007f")
}

/// On one line. None for what TOML does not have: null, and numbers out of its range.
fn toml_value(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.to_string(),
            None if number.is_f64() => toml::Value::Float(number.as_f64()?).to_string(),
            None => return None,
        },
        // A JSON string is a TOML string.
        Value::String(_) => json_line(value),
        Value::Array(list) => {
            let items: Option<Vec<String>> = list.iter().map(toml_value).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Object(table) => {
            let mut inner = String::new();
            for (key, value) in table {
                let gap = if inner.is_empty() { " " } else { ", " };
                let key = toml_value(&Value::from(key.as_str()))?;
                write!(inner, "{gap}{key} = {}", toml_value(value)?).ok()?;
            }
            format!("{{{inner} }}")
        }
    })
}
