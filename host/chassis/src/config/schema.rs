//! The schema of the configuration, and what can be asked of it.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{
    path::{KeyPath, Step},
    raw,
};

/// The configuration as JSON Schema (draft 2020-12), for editors and other checks. It holds what can
/// be said without looking at two values at once; `x-expected` says in words what a value must be.
pub fn schema() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<raw::Config>().into()
}

/// What the schema says of a path of keys.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// A single value, or a list.
    Value(&'a Value),
    /// A table with keys of its own.
    Table,
    /// A table with the settings of a plugin.
    PluginTable,
    /// Something in the settings of a plugin, of which only the plugin knows.
    PluginSettings,
    /// Somewhere in a list of tables: the list's key.
    Item(&'a str),
    /// No such key.
    Unknown,
}

/// Finds a path of keys in the schema.
pub(super) fn locate<'a>(schema: &'a Value, path: &KeyPath) -> Place<'a> {
    let mut at = schema;
    for (depth, step) in path.steps().iter().enumerate() {
        let Step::Key(key) = step else { return Place::Unknown };
        at = match at
            .get("properties")
            .and_then(Value::as_object)
            .and_then(|o| o.get_key_value(key))
        {
            Some((list, next)) if is_list_of_tables(next) => return Place::Item(list),
            Some((_, next)) => next,
            None => return unlisted(at, path.steps().len() - depth),
        };
    }
    if at.get("properties").is_some() { Place::Table } else { Place::Value(at) }
}

fn is_list_of_tables(schema: &Value) -> bool {
    schema.get("items").is_some_and(|item| item.get("properties").is_some())
}

/// Of a key that a table does not list, and of which `left` steps are left, itself counted.
fn unlisted(table: &Value, left: usize) -> Place<'static> {
    match table.get("additionalProperties") {
        // Tables of plugins: the first step is the plugin's name.
        Some(Value::Object(_)) if left == 1 => Place::PluginTable,
        Some(Value::Object(_)) => Place::PluginSettings,
        Some(Value::Bool(true)) => Place::PluginSettings,
        _ => Place::Unknown,
    }
}

/// Every key of the schema that has no further keys below it, in the order of the schema. Those of
/// a table in a list have an index before them.
pub(super) fn leaves(schema: &Value) -> Vec<KeyPath> {
    let mut found = Vec::new();
    collect(schema, &KeyPath::default(), &mut found);
    found
}

fn collect(table: &Value, path: &KeyPath, found: &mut Vec<KeyPath>) {
    for (key, schema) in properties(table) {
        let path = path.key(key);
        let (inner, path) = match schema.get("items") {
            Some(item) if is_list_of_tables(schema) => (item, path.index(0)),
            _ => (schema, path),
        };
        if inner.get("properties").is_some() {
            collect(inner, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// The keys that a table of the schema lists.
pub(super) fn properties(table: &Value) -> impl Iterator<Item = (&String, &Value)> {
    table.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::iter)
}
