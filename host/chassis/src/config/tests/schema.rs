//! The schema, the types, the sample file and the reference page agree.

use serde_json::{Map, Value, json};

use crate::config::{
    Config, OnOpenFailure, check::Checker, raw, reference, schema, schema::properties,
};

/// The keys of a table with the schema of each, in the schema's order.
fn keys(table: &Value) -> Vec<(String, Value)> {
    properties(table).map(|(key, node)| (key.clone(), node.clone())).collect()
}

/// A value that this part of the schema allows.
fn sample(key: &str, node: &Value) -> Value {
    match key {
        "origin" | "proxy" => return json!("http://sample"),
        // One that may have a password.
        "database" => return json!("postgres://sample@sample/sample"),
        _ => {}
    }
    if let Some(default) = node.get("default") {
        return default.clone();
    }
    let branches = node.get("oneOf").and_then(|branches| branches.get(0)?.get("const"));
    let choice = node.get("enum").and_then(|choices| choices.get(0)).or(branches);
    match (choice, node.get("type").and_then(Value::as_str)) {
        (Some(choice), _) => choice.clone(),
        (None, Some("array")) => json!([sample(key, &node["items"])]),
        (None, Some("object")) => Value::Object(
            keys(node).into_iter().map(|(key, node)| (key.clone(), sample(&key, &node))).collect(),
        ),
        (None, Some("string"))
            if node["format"] == "wasink-duration" || node["format"] == "wasink-timeout" =>
        {
            json!("1s")
        }
        (None, None) if node.get("format") == Some(&json!("wasink-size")) => json!("1MiB"),
        (None, Some("string"))
            if node["pattern"].as_str().is_some_and(|p| p.contains("sha256")) =>
        {
            json!(format!("sha256:{}", "0".repeat(64)))
        }
        (None, Some("string")) => json!("sample"),
        (None, Some("integer")) => json!(1),
        (None, other) => panic!("no sample for {other:?}"),
    }
}

/// Calls `check` with a configuration that has every key down to this table, and the table's path,
/// for each table of the schema.
fn each_table(schema: &Value, path: &mut Vec<String>, check: &mut dyn FnMut(&Value, &[String])) {
    check(schema, path);
    for (key, node) in keys(schema) {
        let inner = node.get("items").unwrap_or(&node);
        if inner.get("properties").is_some() {
            path.push(key);
            each_table(inner, path, check);
            path.pop();
        }
    }
}

/// The table with only this key (and what it can't be without), put where it belongs.
fn with_key(path: &[String], table: &Value, key: &str, value: Value) -> Value {
    let mut inner = Map::new();
    for required in table.get("required").and_then(Value::as_array).into_iter().flatten() {
        let required = required.as_str().unwrap();
        inner.insert(required.to_owned(), sample(required, &table["properties"][required]));
    }
    inner.insert(key.to_owned(), value);
    let mut at = Value::Object(inner);
    for key in path.iter().rev() {
        let beside = match key.as_str() {
            "sink" => json!({ "name": "sample", "plugin": "sample", "streams": ["events"] }),
            "secret" => json!({ "name": "another", "file": "sample" }),
            "outbox" | "feed" => {
                let database = sample("database", &Value::Null);
                json!({ "name": "sample", "plugin": "sample", "database": database })
            }
            "http" => json!({ "origin": "https://sample" }),
            _ => Value::Null,
        };
        if let Value::Object(mut item) = beside {
            if at.get("environment").or(at.get("command")).is_some() {
                item.remove("file");
            }
            // Those of an origin's credentials that come in pairs.
            let pairs = [("user", "password"), ("header", "key")];
            for (one, other) in pairs.into_iter().filter(|_| key == "http") {
                for (one, other) in [(one, other), (other, one)] {
                    if at.get(one).is_some() {
                        item.insert(other.to_owned(), json!("sample"));
                    }
                }
            }
            item.extend(at.as_object().unwrap().clone());
            at = json!([item]);
        }
        at = json!({ key: at });
    }
    if let Value::Object(config) = &mut at {
        config.entry("secret").or_insert_with(|| json!([{ "name": "sample", "file": "f" }]));
    }
    at
}

#[test]
fn every_key_of_the_schema_is_accepted_and_no_other() {
    let mut seen = 0;
    each_table(&schema(), &mut Vec::new(), &mut |table, path| {
        for (key, node) in keys(table) {
            let config = with_key(path, table, &key, sample(&key, &node));
            let loaded = Config::from_json(&config.to_string());
            assert!(loaded.is_ok(), "{config}: {}", loaded.unwrap_err());
            seen += 1;
        }
        let config = with_key(path, table, "no_such_key", json!(1));
        let loaded = Config::from_json(&config.to_string());
        // Beside the keys that the chassis knows, a plugin's settings have keys of the plugin's.
        if table.get("additionalProperties") == Some(&Value::Bool(true)) {
            assert!(loaded.is_ok(), "{config}");
        } else {
            let errors = loaded.unwrap_err().to_string();
            assert!(errors.contains("unknown key `no_such_key`"), "{config}: {errors}");
        }
    });
    assert!(seen > 30, "only {seen} keys were tried");
}

#[test]
fn the_schema_takes_the_defaults_of_the_types() {
    let schema = schema();
    let checker = Checker::new(&schema).unwrap();
    let defaults = serde_json::to_value(raw::Config::default()).unwrap();
    assert_eq!(checker.mistakes(&defaults), []);
    assert_eq!(checker.mistakes(&json!({})), []);
    for (key, node) in keys(&schema) {
        if let Some(default) = node.get("default") {
            assert_eq!(Some(default), defaults.get(&key), "{key}");
        }
    }
}

#[test]
fn the_schema_takes_the_sample_file_and_the_file_has_every_key() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/wasink.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let value: Value = toml::from_str(&text).unwrap();
    let schema = schema();
    assert_eq!(Checker::new(&schema).unwrap().mistakes(&value), []);
    each_table(&schema, &mut Vec::new(), &mut |table, path| {
        // A sink's own limits have the keys of all sinks', and those are there.
        let path = match path {
            [.., last] if last == "limits" => std::slice::from_ref(last),
            path => path,
        };
        let at = path.iter().try_fold(&value, |at, key| {
            let at = at.get(key)?;
            at.get(0).or(Some(at))
        });
        for (key, _) in keys(table) {
            let commented =
                text.contains(&format!("\n# {key} = ")) || text.contains(&format!(".{key}]]\n"));
            let there = at.is_some_and(|at| at.get(&key).is_some());
            assert!(there || commented, "{path:?} {key}");
        }
    });
}

#[test]
fn the_schema_is_one_by_its_own_draft() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
}

#[test]
fn the_reference_page_is_the_one_of_the_types() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    if std::env::var_os("WASINK_BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page == reference(), "docs/configuration.md is out of date; `cargo xtask bless`");
    for name in ["`WASINK_METERING__FILE__PATH`", "## `[[sink]]`", "- `on_open_failure`:"] {
        assert!(page.contains(name), "{name}");
    }
}

#[test]
fn a_public_choice_is_written_in_lower_case() {
    assert_eq!(serde_json::to_value(OnOpenFailure::Degrade).unwrap(), "degrade");
}
