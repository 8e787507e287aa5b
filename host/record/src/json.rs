//! Writes the wire's JSON: compact, in a fixed order of keys, with the escapes of Go's `encoding/json`.
//!
//! A record lists its fields once ([`Fields`]). One reader of the list writes JSON, another one hands
//! it to serde.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::{InvalidRecord, Timestamp};

/// How deep arrays and objects may lie in one another in the data of an event.
pub const MAX_DEPTH: usize = 128;

/// A key: bare, as JSON after a comma, and the same up to the quote that opens a string.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) json: &'static str,
    pub(crate) json_text: &'static str,
}

macro_rules! key {
    ($name:literal) => {
        $crate::json::Key {
            name: $name,
            json: concat!(",\"", $name, "\":"),
            json_text: concat!(",\"", $name, "\":\""),
        }
    };
}
pub(crate) use key;

/// Something that is a JSON object on the wire.
pub(crate) trait Fields {
    /// Tells the fields that are present, in the order of the wire.
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error>;
}

/// Is told the fields of an object.
pub(crate) trait Listener {
    type Error;

    fn text(&mut self, key: Key, value: &str) -> Result<(), Self::Error>;
    fn unsigned(&mut self, key: Key, value: u64) -> Result<(), Self::Error>;
    fn signed(&mut self, key: Key, value: i64) -> Result<(), Self::Error>;
    fn flag(&mut self, key: Key, value: bool) -> Result<(), Self::Error>;
    fn time(&mut self, key: Key, value: Timestamp) -> Result<(), Self::Error>;
    fn object(&mut self, key: Key, value: &impl Fields) -> Result<(), Self::Error>;
    /// The value is JSON already.
    fn json(&mut self, key: Key, value: &str) -> Result<(), Self::Error>;
    /// The key is the producer's.
    fn extension(&mut self, name: &str, value: &crate::ExtensionValue) -> Result<(), Self::Error>;

    fn optional_text(&mut self, key: Key, value: Option<&str>) -> Result<(), Self::Error> {
        value.map_or(Ok(()), |value| self.text(key, value))
    }

    fn positive(&mut self, key: Key, value: u64) -> Result<(), Self::Error> {
        if value == 0 { Ok(()) } else { self.unsigned(key, value) }
    }
}

/// Appends `value` as JSON.
pub(crate) fn encode(value: &impl Fields, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let Ok(()) = value.tell(&mut object);
    object.end();
}

/// A JSON object under way. Every member begins with a comma; in the end the first of them becomes
/// the brace.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }

    pub(crate) fn end(self) {
        match self.out.get_mut(self.start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }

    /// Where the value of `key` goes.
    pub(crate) fn value(&mut self, key: Key) -> &mut Vec<u8> {
        self.out.extend_from_slice(key.json.as_bytes());
        self.out
    }
}

impl Listener for Object<'_> {
    type Error = Infallible;

    fn text(&mut self, key: Key, value: &str) -> Result<(), Infallible> {
        self.out.extend_from_slice(key.json_text.as_bytes());
        encode_within_quotes(value, self.out);
        self.out.push(b'"');
        Ok(())
    }

    fn unsigned(&mut self, key: Key, value: u64) -> Result<(), Infallible> {
        let mut digits = itoa::Buffer::new();
        self.value(key).extend_from_slice(digits.format(value).as_bytes());
        Ok(())
    }

    fn signed(&mut self, key: Key, value: i64) -> Result<(), Infallible> {
        let mut digits = itoa::Buffer::new();
        self.value(key).extend_from_slice(digits.format(value).as_bytes());
        Ok(())
    }

    fn flag(&mut self, key: Key, value: bool) -> Result<(), Infallible> {
        self.value(key).extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn time(&mut self, key: Key, value: Timestamp) -> Result<(), Infallible> {
        self.out.extend_from_slice(key.json_text.as_bytes());
        value.encode(self.out);
        self.out.push(b'"');
        Ok(())
    }

    fn object(&mut self, key: Key, value: &impl Fields) -> Result<(), Infallible> {
        encode(value, self.value(key));
        Ok(())
    }

    fn json(&mut self, key: Key, value: &str) -> Result<(), Infallible> {
        self.value(key).extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn extension(&mut self, name: &str, value: &crate::ExtensionValue) -> Result<(), Infallible> {
        self.out.push(b',');
        encode_text(name, self.out);
        self.out.push(b':');
        value.encode(self.out);
        Ok(())
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn encode_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    encode_within_quotes(text, out);
    out.push(b'"');
}

fn encode_within_quotes(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    // Hardly a string has anything to escape. Asked for all bytes at once, that takes few steps.
    if rest.iter().fold(false, |any, &byte| any | is_special(byte)) {
        while let Some(at) = rest.iter().position(|&byte| is_special(byte)) {
            let (plain, special) = rest.split_at(at);
            out.extend_from_slice(plain);
            rest = encode_special(special, out);
        }
    }
    out.extend_from_slice(rest);
}

/// Whether a string may not hold the byte as it is. The lead byte of U+2028 leads others as well.
fn is_special(byte: u8) -> bool {
    // No short-circuit: without branches the compiler compares many bytes in one step.
    (byte < 0x20)
        | (byte == b'"')
        | (byte == b'\\')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'&')
        | (byte == 0xe2)
}

/// Appends the first character of `bytes`, escaped if it has to be, and gives what follows it.
#[cold]
fn encode_special<'a>(bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if let Some(rest) = bytes.strip_prefix("\u{2028}".as_bytes()) {
        out.extend_from_slice(b"\\u2028");
        return rest;
    }
    if let Some(rest) = bytes.strip_prefix("\u{2029}".as_bytes()) {
        out.extend_from_slice(b"\\u2029");
        return rest;
    }
    let Some((&byte, rest)) = bytes.split_first() else { return bytes };
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        0xe2 => out.push(byte),
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    rest
}

/// JSON text as its producer wrote it, on one line.
///
/// It is told from other text by its meaning only: two texts of the same value are different.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JsonText(Box<str>);

impl JsonText {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<RawValue>> for JsonText {
    type Error = InvalidRecord;

    /// Line breaks between tokens become spaces; a JSON string can't hold a bare one.
    fn try_from(raw: Box<RawValue>) -> Result<Self, InvalidRecord> {
        let text = Box::<str>::from(raw);
        if exceeds_depth(&text) {
            return Err(InvalidRecord::TooDeep);
        }
        if text.contains(['\n', '\r']) {
            return Ok(Self(text.replace(['\n', '\r'], " ").into()));
        }
        Ok(Self(text))
    }
}

/// Whether the arrays and objects of a JSON text are nested deeper than [`MAX_DEPTH`].
fn exceeds_depth(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    json.bytes().any(|byte| {
        if escaped {
            escaped = false;
        } else if in_string {
            escaped = byte == b'\\';
            in_string = byte != b'"';
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        depth > MAX_DEPTH
    })
}

/// Hands the fields to serde.
pub(crate) struct ToSerde<'a, M>(pub(crate) &'a mut M);

impl<M: SerializeMap> Listener for ToSerde<'_, M> {
    type Error = M::Error;

    fn text(&mut self, key: Key, value: &str) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, value)
    }

    fn unsigned(&mut self, key: Key, value: u64) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, &value)
    }

    fn signed(&mut self, key: Key, value: i64) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, &value)
    }

    fn flag(&mut self, key: Key, value: bool) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, &value)
    }

    fn time(&mut self, key: Key, value: Timestamp) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, &value)
    }

    fn object(&mut self, key: Key, value: &impl Fields) -> Result<(), M::Error> {
        self.0.serialize_entry(key.name, &AsMap(value))
    }

    fn json(&mut self, key: Key, value: &str) -> Result<(), M::Error> {
        let raw: &RawValue = serde_json::from_str(value).map_err(serde::ser::Error::custom)?;
        self.0.serialize_entry(key.name, raw)
    }

    fn extension(&mut self, name: &str, value: &crate::ExtensionValue) -> Result<(), M::Error> {
        self.0.serialize_entry(name, value)
    }
}

/// Serializes fields as a map.
pub(crate) struct AsMap<'a, T>(pub(crate) &'a T);

impl<T: Fields> serde::Serialize for AsMap<'_, T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.tell(&mut ToSerde(&mut map))?;
        map.end()
    }
}

/// Implements `Serialize` by the list of fields, `Deserialize` by the form that is read from text.
macro_rules! serde_by_fields {
    ($name:ident, $raw:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&$crate::json::AsMap(self), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let $crate::json::InObject(raw) =
                    <$crate::json::InObject<$raw> as serde::Deserialize>::deserialize(from)?;
                raw.check().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_fields;

/// Reads a `T` from an object and from nothing else: left alone, serde takes the fields of a struct
/// from an array as well.
#[derive(Debug, Default)]
pub(crate) struct InObject<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InObject<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = InObject<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<InObject<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(InObject)
            }
        }

        from.deserialize_map(Map(PhantomData))
    }
}

#[cfg(test)]
mod tests;
