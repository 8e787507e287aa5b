//! What the environment and the command line set over the file.

use serde_json::Value;

use super::{
    document::Document,
    error::{ConfigError, Origin},
    nearest::nearest,
    path::{KeyPath, Step},
    schema::{self, Place},
};

/// What the name of each variable begins with.
pub(super) const PREFIX: &str = "WASINK_";
/// Between the keys of a path in a variable's name.
const SEPARATOR: &str = "__";
/// Names the configuration file; the command reads it.
pub const CONFIG_VARIABLE: &str = "WASINK_CONFIG";

/// One value that the command line sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    /// The path of the key: `metering.backend`.
    pub key: String,
    /// A string is read as the key wants it, so a number may come as `"16"` and a list as `"a,b"`.
    pub value: Value,
    /// As the option is written there, with its dashes: errors name it.
    pub name: String,
}

impl Flag {
    /// An option that sets the value at a key.
    pub fn new(key: impl Into<String>, value: impl Into<Value>, name: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), name: name.into() }
    }
}

/// The variable that sets the key, where one can: what is in a list of tables has none.
pub(super) fn variable(path: &KeyPath) -> Option<String> {
    let keys = path.steps().iter().map(|step| match step {
        Step::Key(key) => Some(key.to_uppercase()),
        Step::Index(_) => None,
    });
    let keys: Vec<String> = keys.collect::<Option<_>>()?;
    Some(format!("{PREFIX}{}", keys.join(SEPARATOR)))
}

/// Sets what the variables say. Those that set the chassis's own keys go first: a variable for the
/// settings of a plugin is understood by the plugin that is chosen then.
pub(super) fn apply_environment(
    document: &mut Document,
    variables: &[(String, String)],
    schema: &Value,
    errors: &mut Vec<ConfigError>,
) {
    let mut of_plugins = Vec::new();
    for (variable, text) in variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else { continue };
        if variable == CONFIG_VARIABLE {
            continue;
        }
        let origin = Origin::Environment { variable: variable.clone() };
        let mut wrong = |message: String| {
            errors.push(ConfigError::new(origin.clone(), "", message));
        };
        let keys: Vec<String> = rest.split(SEPARATOR).map(str::to_lowercase).collect();
        let well_formed = keys.iter().all(|key| !key.is_empty() && !key.starts_with('_'))
            && !rest.contains(char::is_lowercase);
        let path = KeyPath::of(keys);
        match schema::locate(schema, &path) {
            _ if !well_formed => wrong(unknown_variable(variable, schema)),
            Place::Value(node) => document.set(&path, read(node, text), &origin),
            Place::PluginSettings => of_plugins.push((path, text, origin)),
            Place::Table => {
                let keys = schema::leaves(schema);
                let below = keys.iter().find(|leaf| leaf.steps().starts_with(path.steps()));
                let example = below.and_then(self::variable).unwrap_or_default();
                wrong(format!("`{path}` is a table; set its keys, as with `{example}`"));
            }
            Place::Item(list) => wrong(format!(
                "a `[[{list}]]` can't be set by the environment; write it to the file"
            )),
            Place::PluginTable | Place::Unknown => wrong(unknown_variable(variable, schema)),
        }
    }
    for (path, text, origin) in of_plugins {
        let path = with_plugin_as_written(&path);
        document.set(&path, read_untyped(text), &origin);
    }
}

/// Sets what the command line says.
pub(super) fn apply_flags(
    document: &mut Document,
    flags: &[Flag],
    schema: &Value,
    errors: &mut Vec<ConfigError>,
) {
    for flag in flags {
        let origin = Origin::Flag { name: flag.name.clone() };
        let path = KeyPath::of(flag.key.split('.'));
        let value = match (schema::locate(schema, &path), &flag.value) {
            (Place::PluginTable, Value::Object(table)) => Value::Object(table.clone()),
            (Place::PluginTable | Place::Unknown, _) => {
                let leaves = schema::leaves(schema);
                let keys: Vec<String> = leaves.iter().map(KeyPath::to_string).collect();
                let near = nearest(&flag.key, keys.iter().map(String::as_str));
                let near =
                    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                errors.push(ConfigError::new(origin, &path, format!("unknown key{near}")));
                continue;
            }
            (Place::Item(list), _) if path.last_key() != Some(list) => {
                let message = format!(
                    "a key of one `[[{list}]]` can't be set from here; write it to the file"
                );
                errors.push(ConfigError::new(origin, &path, message));
                continue;
            }
            (Place::Value(node), Value::String(text)) => read(node, text),
            (Place::PluginSettings, Value::String(text)) => read_untyped(text),
            (_, value) => value.clone(),
        };
        document.set(&path, value, &origin);
    }
}

/// Reads a text as the schema wants it; a text that can't be read so stays one, and the check says
/// what is wrong with it.
fn read(node: &Value, text: &str) -> Value {
    match node.get("type").and_then(Value::as_str) {
        Some("array") => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(Value::from).collect()
        }
        Some("boolean" | "integer") => match serde_json::from_str(text) {
            Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
            _ => text.into(),
        },
        None if node.get("anyOf").is_some() && ["true", "false"].contains(&text) => {
            (text == "true").into()
        }
        _ => text.into(),
    }
}

/// Reads a text of which only a plugin knows what it should be: as JSON if it is that, or else it
/// is a string. So a string of digits is written in quotes.
fn read_untyped(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// A variable's name can't have the `-` that the name of a plugin may have, and has `_` for it.
fn with_plugin_as_written(path: &KeyPath) -> KeyPath {
    let [Step::Key(table), Step::Key(plugin), rest @ ..] = path.steps() else {
        return path.clone();
    };
    let plugin = KeyPath::of([table]).key(&plugin.replace('_', "-"));
    rest.iter().fold(plugin, |path, step| match step {
        Step::Key(key) => path.key(key),
        Step::Index(index) => path.index(*index),
    })
}

fn unknown_variable(name: &str, schema: &Value) -> String {
    let leaves = schema::leaves(schema);
    let known: Vec<String> = leaves.iter().filter_map(variable).collect();
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("unknown variable; did you mean `{near}`?"),
        None => format!(
            "unknown variable; `{PREFIX}` and a key in upper case is expected, with `{SEPARATOR}` \
             between the levels, as in `WASINK_METERING__BACKEND`"
        ),
    }
}
