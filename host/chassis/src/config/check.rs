//! Checks values against a JSON Schema, and says in our own words what is wrong with them.

use jsonschema::{PatternOptions, ValidationError, Validator, error::ValidationErrorKind as Kind};
use serde_json::{Map, Value};

use super::{
    nearest::{nearest, quoted_list},
    path::KeyPath,
    schema::properties,
    units::{DURATION_FORMAT, Period, SIZE_FORMAT, Size, TIMEOUT_FORMAT, Timeout},
};

/// More mistakes than anybody reads; a list of wrong items would go on for ever.
const MAX_MISTAKES: usize = 100;
/// How much of a wrong value is shown, in characters.
const MAX_SHOWN: usize = 80;

/// A value that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The value; of an unknown key or a missing one, that key.
    pub(super) path: KeyPath,
    pub(super) message: String,
    pub(super) missing: bool,
}

/// A schema, ready to check values with.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    schema: &'a Value,
    validator: Validator,
}

impl<'a> Checker<'a> {
    /// Makes it ready. Nothing is fetched: a reference to another document is an error. Patterns
    /// are matched in linear time, since a schema may come from a plugin.
    ///
    /// # Errors
    ///
    /// What is wrong with the schema.
    pub(super) fn new(schema: &'a Value) -> Result<Self, String> {
        let validator = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .with_format(SIZE_FORMAT, |text: &str| text.parse::<Size>().is_ok())
            .with_format(DURATION_FORMAT, |text: &str| text.parse::<Period>().is_ok())
            .with_format(TIMEOUT_FORMAT, |text: &str| text.parse::<Timeout>().is_ok())
            .offline()
            .build(schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { schema, validator })
    }

    /// What is wrong with this value.
    pub(super) fn mistakes(&self, value: &Value) -> Vec<Mistake> {
        let errors = self.validator.iter_errors(value).take(MAX_MISTAKES);
        let mut mistakes = Vec::new();
        for error in errors {
            self.explain(&error, value, &mut mistakes);
        }
        mistakes
    }

    fn explain(&self, error: &ValidationError<'_>, root: &Value, mistakes: &mut Vec<Mistake>) {
        let path = KeyPath::of_pointer(error.instance_path().as_str(), root);
        let node = self.node(error);
        let mut push = |path: KeyPath, message: String, missing: bool| {
            let mistake = Mistake { path, message, missing };
            if !mistakes.contains(&mistake) {
                mistakes.push(mistake);
            }
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected }
            | Kind::UnevaluatedProperties { unexpected } => {
                for key in unexpected {
                    push(path.key(key), unknown_key(key, node, false), false);
                }
            }
            Kind::Required { property } => {
                let key = property.as_str().unwrap_or_default();
                let expected = properties(node).find(|(name, _)| *name == key);
                let expected =
                    expected.map_or_else(|| "a value".to_owned(), |(_, s)| expected_by(s));
                push(path.key(key), format!("missing; expected {expected}"), true);
            }
            // Where no keys are listed at all, the error is of a value, at the place of its table.
            Kind::FalseSchema if let Some(table) = table_without_keys(error, root) => {
                for key in table.keys() {
                    push(path.key(key), unknown_key(key, node, false), false);
                }
            }
            _ => {
                let message = match self.table_of_names(error, &path) {
                    Some((key, table)) => unknown_key(key, table, true),
                    None => wrong_value(error, node),
                };
                push(path, message, false);
            }
        }
    }

    /// The part of the schema whose keyword failed.
    fn node(&self, error: &ValidationError<'_>) -> &'a Value {
        let pointer = error.schema_path().as_str();
        let node = pointer.rsplit_once('/').map_or("", |(node, _)| node);
        self.schema.pointer(node).unwrap_or(&Value::Null)
    }

    /// Where a key that is not listed must hold a table (that of a plugin) and does not, the key is
    /// a slip of a listed one. Gives the key and the part of the schema that lists the others.
    fn table_of_names<'k>(
        &self,
        error: &ValidationError<'_>,
        path: &'k KeyPath,
    ) -> Option<(&'k str, &'a Value)> {
        let table = error.schema_path().as_str().strip_suffix("/additionalProperties/type")?;
        let table = self.schema.pointer(table)?;
        let object = table.get("additionalProperties")?.get("type")? == "object";
        properties(table).next().filter(|_| object)?;
        Some((path.last_key()?, table))
    }
}

/// The table whose keys `additionalProperties` forbids, all of them.
fn table_without_keys<'v>(
    error: &ValidationError<'_>,
    root: &'v Value,
) -> Option<&'v Map<String, Value>> {
    let forbidden = error.schema_path().as_str().ends_with("/additionalProperties");
    root.pointer(error.instance_path().as_str()).filter(|_| forbidden)?.as_object()
}

fn unknown_key(key: &str, table: &Value, or_table: bool) -> String {
    let shown: String = key.chars().take(MAX_SHOWN).collect();
    let shown = shown.escape_debug();
    let known: Vec<&str> = properties(table).map(|(name, _)| name.as_str()).collect();
    let tables = if or_table { ", and a table for each plugin" } else { "" };
    match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key `{shown}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown key `{shown}`; no key is known here"),
        None => format!("unknown key `{shown}`; known here: {}{tables}", quoted_list(known)),
    }
}

fn wrong_value(error: &ValidationError<'_>, node: &Value) -> String {
    let value = error.instance();
    let got = if is_secret(node) { name_of(value).to_owned() } else { shown(value) };
    if let Some(options) = options(node) {
        let options: Vec<&str> = options.iter().filter_map(|option| option.as_str()).collect();
        let near = value.as_str().and_then(|value| nearest(value, options.iter().copied()));
        if !options.is_empty() {
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return format!("expected one of {}, got {got}{near}", quoted_list(options));
        }
    }
    let expected = match error.kind() {
        _ if node.get("x-expected").is_some() => expected_by(node),
        Kind::FalseSchema => "nothing here".to_owned(),
        Kind::UniqueItems => "each item once".to_owned(),
        Kind::PropertyNames { error } => {
            return format!(
                "key {}: {}",
                shown(error.instance()),
                wrong_value(error, &Value::Null)
            );
        }
        Kind::Type { .. }
        | Kind::Minimum { .. }
        | Kind::Maximum { .. }
        | Kind::ExclusiveMinimum { .. }
        | Kind::ExclusiveMaximum { .. }
        | Kind::Constant { .. }
        | Kind::Enum { .. }
        | Kind::AnyOf { .. }
        | Kind::OneOfNotValid { .. } => expected_by(node),
        Kind::MinLength { limit } => format!("at least {limit} character(s)"),
        Kind::MaxLength { limit } => format!("at most {limit} character(s)"),
        Kind::MinItems { limit } => format!("at least {limit} item(s)"),
        Kind::MaxItems { limit } => format!("at most {limit} item(s)"),
        Kind::Pattern { pattern } => format!("a string that matches `{pattern}`"),
        Kind::Format { format } => format!("a string of the format `{format}`"),
        _ => {
            let keyword = error.schema_path().as_str().rsplit('/').next().unwrap_or_default();
            format!("what `{keyword}` of the schema allows")
        }
    };
    format!("expected {expected}, got {got}")
}

/// A schema says of such a value that it must not be shown.
fn is_secret(node: &Value) -> bool {
    node.get("writeOnly") == Some(&Value::Bool(true))
        || node.get("format").is_some_and(|format| format == "password")
}

/// The values that are allowed, where they are listed.
fn options(node: &Value) -> Option<Vec<&Value>> {
    if let Some(list) = node.get("enum").and_then(Value::as_array) {
        return Some(list.iter().collect());
    }
    let branches = node.get("oneOf").or_else(|| node.get("anyOf"))?.as_array()?;
    branches.iter().map(|branch| branch.get("const")).collect()
}

/// In words, what this part of a schema wants.
pub(super) fn expected_by(node: &Value) -> String {
    let number = |key: &str| node.get(key).filter(|limit| limit.is_number());
    if let Some(words) = node.get("x-expected").and_then(Value::as_str) {
        return words.to_owned();
    }
    if let Some(options) = options(node) {
        let options = options.into_iter().map(|option| match option {
            Value::String(text) => format!("`{text}`"),
            _ => shown(option),
        });
        return format!("one of {}", options.collect::<Vec<_>>().join(", "));
    }
    if let Some(value) = node.get("const") {
        return shown(value);
    }
    if let Some(branches) =
        node.get("anyOf").or_else(|| node.get("oneOf")).and_then(Value::as_array)
    {
        return branches.iter().map(expected_by).collect::<Vec<_>>().join(" or ");
    }
    let types: Vec<&str> = match node.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let words = types.iter().map(|name| match *name {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "string" => "a string",
        "array" => "a list",
        "object" => "a table",
        "null" => "null",
        _ => "another value",
    });
    let words = words.collect::<Vec<_>>().join(" or ");
    let words = if words.is_empty() { "another value".to_owned() } else { words };
    let over = number("exclusiveMinimum").map(|limit| format!(" above {limit}"));
    let under = number("exclusiveMaximum").map(|limit| format!(" below {limit}"));
    match (number("minimum"), number("maximum")) {
        (Some(from), Some(to)) => format!("{words} from {from} to {to}"),
        (Some(from), None) => format!("{words} of at least {from}"),
        (None, Some(to)) => format!("{words} of at most {to}"),
        (None, None) => words + &over.unwrap_or_default() + &under.unwrap_or_default(),
    }
}

/// The value as JSON, in backticks, not too much of it.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "`true` or `false` (not shown)",
        Value::Number(_) => "a number (not shown)",
        Value::String(_) => "a string (not shown)",
        Value::Array(_) => "a list (not shown)",
        Value::Object(_) => "a table (not shown)",
    }
}
