//! Holds answers against the operators' OpenAPI document, and the document against what it is.

use serde_json::{Value, json};

use super::super::client::{Answer, Request};
use super::super::document::{assert_sound, check_operation, validate};
use super::kit::Desk;

const DOCUMENT: &str = include_str!("../../../src/admin-openapi.json");

pub(super) fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The path of the document that a request's path is one of.
fn template(document: &Value, path: &str) -> Option<String> {
    let path: Vec<_> = path.split('?').next().unwrap().split('/').collect();
    let fits = |template: &str| {
        let template: Vec<_> = template.split('/').collect();
        template.len() == path.len()
            && template
                .iter()
                .zip(&path)
                .all(|(part, found)| part == found || part.starts_with('{') && !found.is_empty())
    };
    document["paths"].as_object().unwrap().keys().find(|template| fits(template)).cloned()
}

/// Asserts that the document has this answer: its status, its headers, its type and its shape.
pub(super) fn check(request: &Request, answer: &Answer) {
    let document = document();
    let Some(template) = template(&document, &request.path) else {
        // Of what is not there, the document can't tell more.
        assert_eq!(answer.status, 404, "{request:?}: {answer:?}");
        return validate(&document, &json!({"$ref": "#/components/schemas/Problem"}), answer);
    };
    let operations = document["paths"][&template].as_object().unwrap();
    // A method that is not there is told with the others' answers.
    let operation = operations.get(&request.method.to_ascii_lowercase());
    let operation = operation.or_else(|| operations.values().next()).unwrap();
    check_operation(&document, &template, operation, answer);
}

#[test]
fn the_document_is_served_as_it_is_written() {
    let answer = Desk::new().get("/openapi.json");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.body, DOCUMENT);
}

#[test]
fn the_document_is_sound() {
    assert_sound(DOCUMENT);
    let document = document();
    let streams: Vec<_> = wasink_record::Stream::ALL.iter().map(|stream| stream.as_str()).collect();
    assert_eq!(document["components"]["schemas"]["Stream"]["enum"], json!(streams));
    for operations in document["paths"].as_object().unwrap().values() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(["get", "post"].contains(&method.as_str()), "{method}");
            assert!(operation["operationId"].is_string(), "{operation}");
        }
    }
}

#[test]
fn the_page_names_every_path_of_the_document() {
    let page = include_str!("../../../../../docs/admin.md");
    for path in document()["paths"].as_object().unwrap().keys() {
        assert!(page.contains(path), "the page does not name {path}");
    }
    for text in ["64 KiB", "2 MiB", "100,000", "1000"] {
        assert!(page.contains(text), "the page does not say {text}");
    }
}
