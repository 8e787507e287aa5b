//! Tests of the encoder.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::{JsonText, encode_text};
use crate::InvalidRecord;

fn encoded(text: &str) -> String {
    let mut out = Vec::new();
    encode_text(text, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn strings_are_escaped_as_go_escapes_them() {
    for (text, expected) in [
        ("", r#""""#),
        ("plain", r#""plain""#),
        ("\"", r#""\"""#),
        ("\\", r#""\\""#),
        ("/", r#""/""#),
        ("<a href='x'>&</a>", r#""\u003ca href='x'\u003e\u0026\u003c/a\u003e""#),
        ("\n\r\t", r#""\n\r\t""#),
        ("\u{8}\u{c}", r#""\b\f""#),
        ("\0\u{1}\u{b}\u{1f}", r#""\u0000\u0001\u000b\u001f""#),
        ("\u{7f}", "\"\u{7f}\""),
        ("a\u{2028}b\u{2029}c", r#""a\u2028b\u2029c""#),
        // Neighbours of those two, and another character with the same lead byte.
        ("\u{2027}\u{202a}€", "\"\u{2027}\u{202a}€\""),
        ("ä😀\u{fffd}\u{10ffff}", "\"ä😀\u{fffd}\u{10ffff}\""),
        ("long enough to be looked at in blocks, then <", {
            r#""long enough to be looked at in blocks, then \u003c""#
        }),
    ] {
        assert_eq!(encoded(text), expected);
    }
}

#[test]
fn every_ascii_character_is_escaped_as_its_table_says() {
    for byte in 0..=0x7f_u8 {
        let expected = match byte {
            b'"' => "\\\"".to_owned(),
            b'\\' => "\\\\".to_owned(),
            b'\n' => "\\n".to_owned(),
            b'\r' => "\\r".to_owned(),
            b'\t' => "\\t".to_owned(),
            8 => "\\b".to_owned(),
            12 => "\\f".to_owned(),
            0..0x20 | b'<' | b'>' | b'&' => format!("\\u{byte:04x}"),
            _ => char::from(byte).to_string(),
        };
        let text = format!("x{}y", char::from(byte));
        assert_eq!(encoded(&text), format!("\"x{expected}y\""));
    }
}

fn json_text(json: &str) -> Result<JsonText, InvalidRecord> {
    JsonText::try_from(serde_json::from_str::<Box<RawValue>>(json).unwrap())
}

#[test]
fn json_text_is_kept_but_for_bare_line_breaks() {
    let text = "{ \"b\" : 1e400, \"a\":[ 01 ] }".replace("01", "1.50");
    assert_eq!(json_text(&text).unwrap().as_str(), text);
    assert_eq!(json_text("  [1]\n").unwrap().as_str(), "[1]");
    assert_eq!(json_text("{\r\n  \"a\": \"x\\n\"\n}").unwrap().as_str(), "{    \"a\": \"x\\n\" }");
}

#[test]
fn json_text_is_refused_where_it_is_nested_too_deep() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(json_text(&nested(128)).is_ok());
    assert_eq!(json_text(&nested(129)), Err(InvalidRecord::TooDeep));
    assert_eq!(json_text(&nested(1_000_000)), Err(InvalidRecord::TooDeep));
    // Siblings and brackets in strings are not depth.
    assert!(json_text(&format!("[{}[]]", "[],".repeat(500))).is_ok());
    assert!(json_text(&format!("\"\\\"{}\"", "[".repeat(500))).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_string_is_read_back_as_it_was(text in "(?s)[\\x00-\\x7f<>&\u{2000}-\u{20ff}😀]{0,60}") {
        let json = encoded(&text);
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        let bare = json.contains(['<', '>', '&', '\n', '\u{2028}', '\u{2029}']);
        prop_assert!(!bare, "{}", json);
    }
}
