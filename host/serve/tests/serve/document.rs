//! Holds answers against the OpenAPI document, and the document against what it is.

use serde_json::{Value, json};

use super::client::{Answer, Request};
use super::kit::Bench;

const DOCUMENT: &str = include_str!("../../src/openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The value that a reference stands for, or the value itself.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').unwrap();
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

/// Asserts that the document has this answer: its status, its headers, its type and its shape.
pub(super) fn check(request: &Request, answer: &Answer) {
    let document = document();
    let path = request.path.split('?').next().unwrap();
    let template = if path.starts_with("/v1/") { "/v1/{stream}" } else { path };
    let Some(operations) = document["paths"].get(template) else {
        // Of what is not there, the document can't tell more.
        assert!([401, 404].contains(&answer.status), "{request:?}: {answer:?}");
        return validate(&document, &json!({"$ref": "#/components/schemas/Problem"}), answer);
    };
    // A method that is not there is told with the others' answers.
    let operation = operations.as_object().unwrap().values().next().unwrap();
    check_operation(&document, template, operation, answer);
}

/// Asserts that an operation of a document has this answer.
pub(super) fn check_operation(
    document: &Value,
    template: &str,
    operation: &Value,
    answer: &Answer,
) {
    let described = operation["responses"]
        .get(answer.status.to_string())
        .unwrap_or_else(|| panic!("the document lacks {} for {template}", answer.status));
    let described = resolve(document, described);
    for (name, header) in described.get("headers").and_then(Value::as_object).into_iter().flatten()
    {
        let header = resolve(document, header);
        let value = answer.header(&name.to_ascii_lowercase());
        // A 503 that nothing is known about, such as that of a probe, has none.
        assert!(value.is_some() || header["required"] != true, "{name} is missing in {answer:?}");
    }
    for (name, _) in &answer.headers {
        let ordinary = ["content-type", "content-length", "connection", "date"];
        let told = described.get("headers").and_then(Value::as_object);
        let told = told.is_some_and(|told| told.keys().any(|key| key.eq_ignore_ascii_case(name)));
        assert!(
            told || ordinary.contains(&name.as_str()),
            "the document lacks `{name}`: {answer:?}"
        );
    }
    let Some(content) = described.get("content") else {
        return assert_eq!(answer.body, "", "{answer:?}");
    };
    let media_type = answer.header("content-type").unwrap().split(';').next().unwrap();
    let schema = &content
        .get(media_type)
        .unwrap_or_else(|| panic!("the document lacks {media_type} for {}", answer.status))["schema"];
    if media_type == "text/plain" {
        return assert_eq!(schema["const"], answer.body);
    }
    validate(document, schema, answer);
}

pub(super) fn validate(document: &Value, schema: &Value, answer: &Answer) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let body = answer.json();
    let errors: Vec<_> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?} in {body}");
}

#[test]
fn the_document_is_served_as_it_is_written() {
    let bench = Bench::new();
    let answer = bench.send(&Request::get("/openapi.json"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, DOCUMENT);
}

/// Asserts that every reference of a document leads somewhere, every schema is one, and every
/// component is used.
pub(super) fn assert_sound(text: &str) {
    fn walk(document: &Value, value: &Value, references: &mut usize) {
        if value.get("$ref").is_some() {
            *references += 1;
            resolve(document, value);
        }
        match value {
            Value::Object(members) => {
                members.values().for_each(|member| walk(document, member, references));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(document, item, references)),
            _ => {}
        }
    }
    let document: Value = serde_json::from_str(text).unwrap();
    let mut references = 0;
    walk(&document, &document, &mut references);
    assert!(references > 20, "{references}");
    assert_eq!(document["openapi"], "3.1.0");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        jsonschema::meta::validate(schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (section, components) in document["components"].as_object().unwrap() {
        if section == "securitySchemes" {
            continue;
        }
        for name in components.as_object().unwrap().keys() {
            let reference = format!("\"#/components/{section}/{name}\"");
            assert!(text.contains(&reference), "nothing refers to {reference}");
        }
    }
}

#[test]
fn the_document_is_sound_and_names_the_streams() {
    assert_sound(DOCUMENT);
    let streams: Vec<_> = wasink_record::Stream::ALL.iter().map(|stream| stream.as_str()).collect();
    assert_eq!(document()["components"]["schemas"]["Stream"]["enum"], json!(streams));
}

#[test]
fn the_limits_that_the_document_and_the_page_name_are_the_defaults() {
    let limits = wasink_serve::Limits::default();
    let page = include_str!("../../../../docs/http.md");
    assert_eq!(limits.body_bytes, 16 << 20);
    assert_eq!(limits.decoded_bytes, 16 << 20);
    assert_eq!(limits.record_bytes, 1 << 20);
    assert_eq!(limits.records, 65_536);
    assert_eq!(limits.read_timeout.as_secs(), 30);
    assert_eq!(limits.key_age.as_secs(), 600);
    assert_eq!(limits.told_errors, 100);
    for text in ["16 MiB", "1 MiB", "65,536", "30 seconds", "10 minutes", "100"] {
        assert!(DOCUMENT.contains(text), "the document does not say {text}");
        assert!(page.contains(text), "the page does not say {text}");
    }
    assert_eq!((limits.connections, limits.keys, limits.head_bytes), (256, 10_000, 64 << 10));
    assert_eq!((limits.headers, limits.bytes_under_way), (200, 512 << 20));
    for text in ["256", "10,000", "64 KiB", "200", "512 MiB"] {
        assert!(page.contains(text), "the page does not say {text}");
    }
}
