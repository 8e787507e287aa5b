//! The reference page of the configuration, made of the schema.

use serde_json::Value;

use super::{check::expected_by, explain::keys_of, overrides, path::KeyPath, schema};

/// What stands before the keys.
const PREFACE: &str = include_str!("reference.md");

/// The page as Markdown: how a configuration is put together, and then every key.
pub fn reference() -> String {
    let schema = schema();
    let mut page = PREFACE.to_owned();
    table(&schema, &KeyPath::default(), &mut page);
    page
}

fn table(table: &Value, path: &KeyPath, page: &mut String) {
    let required = |key: &str| {
        let list = table.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|name| name == key))
    };
    let mut tables = Vec::new();
    for (key, node) in schema::properties(table) {
        let path = path.key(key);
        let item = node.get("items").filter(|item| item.get("properties").is_some());
        match item {
            Some(item) => {
                let header = format!("[[{}]]", keys_of(&path));
                tables.push((path.index(0), item, header, node));
            }
            None if node.get("properties").is_some() => {
                let header = format!("[{}]", keys_of(&path));
                tables.push((path, node, header, node));
            }
            None => leaf(&path, node, required(key), page),
        }
    }
    for (path, inner, header, described) in tables {
        let text = described.get("description").and_then(Value::as_str).unwrap_or_default();
        page.extend([&format!("\n## `{header}`\n\n"), &one_line(text), "\n\n"]);
        self::table(inner, &path, page);
    }
}

fn leaf(path: &KeyPath, node: &Value, required: bool, page: &mut String) {
    let key = path.last_key().unwrap_or_default();
    let text = node.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("- `{key}`: {} Expected: {}.", one_line(text), expected_by(node));
    match node.get("default") {
        Some(default) => line.push_str(&format!(" Default: `{default}`.")),
        None if required => line.push_str(" It must be given."),
        None => {}
    }
    if let Some(variable) = overrides::variable(path) {
        line.push_str(&format!(" `{variable}`."));
    }
    page.extend([&line, "\n"]);
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
