//! Refuses schemas that could keep the host busy: a schema comes from a plugin.

use std::collections::HashMap;

use serde_json::Value;

/// How many parts of a schema may have to be looked at, those that are referred to counted each
/// time. Schemas of settings have some hundred.
const MAX_PARTS: u64 = 20_000;

/// Checks that the schema refers only to parts of itself, never in a circle, and is small when all
/// references are followed.
///
/// # Errors
///
/// What is wrong.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut costs = Costs { root: schema, known: HashMap::new() };
    let parts = costs.schema(schema, true)?;
    if parts > MAX_PARTS {
        return Err(format!("it has more than {MAX_PARTS} parts when its references are followed"));
    }
    Ok(())
}

/// What each part that is referred to costs.
struct Costs<'a> {
    root: &'a Value,
    /// None while it is being found out.
    known: HashMap<&'a str, Option<u64>>,
}

impl<'a> Costs<'a> {
    fn schema(&mut self, schema: &'a Value, is_root: bool) -> Result<u64, String> {
        let Value::Object(keywords) = schema else { return Ok(1) };
        let mut cost = 1;
        for (keyword, value) in keywords {
            cost = u64::saturating_add(
                cost,
                match (keyword.as_str(), value) {
                    // Values, and parts that count where they are referred to.
                    ("enum" | "const" | "default" | "examples" | "$defs" | "definitions", _) => 0,
                    ("$ref", Value::String(to)) => self.reference(to)?,
                    ("$dynamicRef" | "$recursiveRef", _) => {
                        return Err(format!("it has a `{keyword}`, which is not allowed here"));
                    }
                    ("$id" | "$anchor" | "$dynamicAnchor", Value::String(_)) if !is_root => {
                        return Err(format!(
                            "a part of it has a `{keyword}`, which is not allowed here"
                        ));
                    }
                    (
                        "properties" | "patternProperties" | "dependentSchemas",
                        Value::Object(parts),
                    ) => self.all(parts.values())?,
                    (_, Value::Array(parts)) => self.all(parts.iter())?,
                    (_, part) => self.schema(part, false)?,
                },
            );
        }
        Ok(cost)
    }

    fn all(&mut self, parts: impl Iterator<Item = &'a Value>) -> Result<u64, String> {
        let mut sum: u64 = 0;
        for part in parts {
            sum = sum.saturating_add(self.schema(part, false)?);
        }
        Ok(sum)
    }

    fn reference(&mut self, to: &'a str) -> Result<u64, String> {
        match self.known.get(to) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(format!("`{to}` refers to itself")),
            None => {}
        }
        let pointer = to.strip_prefix('#').filter(|to| to.starts_with('/'));
        let part = pointer.and_then(|pointer| self.root.pointer(pointer));
        let part = part.ok_or_else(|| format!("`{to}` does not refer to a part of it"))?;
        self.known.insert(to, None);
        let cost = self.schema(part, false)?;
        self.known.insert(to, Some(cost));
        Ok(cost)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_that_doubles_at_each_reference_is_refused() {
        let mut parts = serde_json::Map::new();
        for depth in 0..60 {
            let next = json!({ "$ref": format!("#/$defs/p{}", depth + 1) });
            parts.insert(format!("p{depth}"), json!({ "allOf": [next, next] }));
        }
        parts.insert("p60".to_owned(), json!(true));
        let schema = json!({ "$ref": "#/$defs/p0", "$defs": parts });
        assert!(check(&schema).unwrap_err().starts_with("it has more than"));
    }

    #[test]
    fn a_circle_is_refused() {
        let direct =
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "not": { "$ref": "#/$defs/a" } } } });
        assert_eq!(check(&direct).unwrap_err(), "`#/$defs/a` refers to itself");
        let named = json!({ "properties": { "default": { "$ref": "#/properties/default" } } });
        assert!(check(&named).unwrap_err().contains("refers to itself"));
        assert!(check(&json!({ "items": { "$ref": "#" } })).is_err());
    }

    #[test]
    fn what_leads_out_of_the_schema_is_refused() {
        assert!(check(&json!({ "$ref": "https://example.com/schema" })).is_err());
        assert!(check(&json!({ "$ref": "file:///etc/passwd" })).is_err());
        assert!(check(&json!({ "$dynamicRef": "#x" })).is_err());
        assert!(check(&json!({ "items": { "$id": "https://example.com/" } })).is_err());
    }

    #[test]
    fn ordinary_references_are_followed() {
        let schema = json!({
            "$id": "https://example.com/root",
            "$defs": { "name": { "type": "string" } },
            "properties": { "a": { "$ref": "#/$defs/name" }, "b": { "$ref": "#/$defs/name" } },
        });
        assert_eq!(check(&schema), Ok(()));
    }
}
