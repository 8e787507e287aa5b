//! Says where a line that is not a record goes wrong, and why.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::LineError;
use super::fields::{CONTROL, EVENTS, EXTENSION, Field, METERING, Takes, USAGE, describe};
use crate::event::{check_extension_count, check_extension_name};
use crate::invalid::shorten;
use crate::names::way_out;
use crate::{InvalidRecord, Stream};

/// The error of a line that serde could not read.
pub(super) fn unreadable(stream: Stream, line: &[u8], error: &serde_json::Error) -> LineError {
    let text = match text_of(line) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let object = match Object::read(text, text) {
        Ok(object) => object,
        Err(error) => return not_json(text, &error),
    };
    let fields = match stream {
        Stream::Metering => METERING,
        Stream::Usage => USAGE,
        Stream::Control => CONTROL,
        Stream::Events => EVENTS,
    };
    // That the keys show no mistake where serde found one would be a gap in the tables above.
    object
        .check(text, fields, "")
        .unwrap_or_else(|| LineError::new(error.column().max(1), bare(error)))
}

/// The error of a line that serde could read, and that breaks a rule.
pub(super) fn invalid(line: &[u8], invalid: &InvalidRecord) -> LineError {
    let column = text_of(line).ok().and_then(|text| {
        let mut object = Object::read(text, text).ok()?;
        let mut path = invalid.field()?;
        if let Some((outer, inner)) = path.split_once('.') {
            object = Object::read(text, object.member(outer)?.value.get()).ok()?;
            path = inner;
        }
        Some(object.member(path)?.column)
    });
    LineError::at(column.unwrap_or(1), invalid)
}

/// The line as text that begins like an object.
pub(crate) fn text_of(line: &[u8]) -> Result<&str, LineError> {
    let text = std::str::from_utf8(line).map_err(|error| {
        let at = error.valid_up_to();
        let byte = line.get(at).copied().unwrap_or_default();
        LineError::new(at + 1, format!("byte 0x{byte:02x} is not UTF-8"))
    })?;
    let body = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let column = text.len() - body.len() + 1;
    match body.bytes().next() {
        Some(b'{') => Ok(text),
        None => Err(LineError::new(1, "the line is empty, every line is one JSON object")),
        _ if body.starts_with('\u{feff}') => {
            Err(LineError::new(column, "the line starts with a byte order mark, leave it out"))
        }
        Some(_) => Err(LineError::new(
            column,
            format!("every line is one JSON object, this is {}", describe(body)),
        )),
    }
}

/// The error of a text that is not one JSON object.
pub(crate) fn not_json(text: &str, error: &serde_json::Error) -> LineError {
    let column = column_of(text, error);
    let message = match error.classify() {
        Category::Eof => "the line ends before its object does, it was cut off".to_owned(),
        _ if bare(error) == "trailing characters" => {
            let rest = column.checked_sub(1).and_then(|at| text.get(at..)).unwrap_or_default();
            if rest.starts_with(['{', '[']) {
                "a second value begins here, every line is one JSON object".to_owned()
            } else {
                "nothing may follow the object".to_owned()
            }
        }
        _ => format!("not JSON: {}", bare(error)),
    };
    LineError::new(column, message)
}

/// serde counts columns anew after each line break, and may stop just before the text's first byte.
fn column_of(text: &str, error: &serde_json::Error) -> usize {
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let start: usize = before.map(str::len).sum();
    (start + error.column()).clamp(1, text.len().max(1))
}

/// serde's message without the place, which a [`LineError`] has beside it.
fn bare(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// A key and its value, with the column of the value.
struct Member<'a> {
    key: Cow<'a, str>,
    value: &'a RawValue,
    column: usize,
    key_column: usize,
}

/// The members of an object in their order, repeated keys included.
struct Object<'a> {
    members: Vec<Member<'a>>,
    column: usize,
}

impl<'a> Object<'a> {
    /// Reads `json`, a part of `line`.
    fn read(line: &'a str, json: &'a str) -> Result<Self, serde_json::Error> {
        struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

        #[derive(Deserialize)]
        struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

        impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Collect;

                impl<'de> Visitor<'de> for Collect {
                    type Value = Members<'de>;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Members<'de>, A::Error> {
                        let mut members = Vec::new();
                        while let Some((Key(key), value)) = map.next_entry()? {
                            members.push((key, value));
                        }
                        Ok(Members(members))
                    }
                }

                from.deserialize_map(Collect)
            }
        }

        let column = |part: &str| part.as_ptr().addr() - line.as_ptr().addr() + 1;
        let Members(members) = serde_json::from_str(json)?;
        let members = members
            .into_iter()
            .map(|(key, value)| {
                let value_column = column(value.get());
                let key_column = match &key {
                    // Its quote stands before it.
                    Cow::Borrowed(key) => column(key) - 1,
                    // It is written with escapes, so where it begins is not known.
                    Cow::Owned(_) => value_column,
                };
                Member { key, value, column: value_column, key_column }
            })
            .collect();
        Ok(Self { members, column: column(json.trim_start()) })
    }

    fn member(&self, key: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.key == key)
    }

    /// The first mistake, in the order of the line; what is missing comes last.
    fn check(&self, line: &'a str, fields: &[Field], path: &str) -> Option<LineError> {
        let within = |key: &str| {
            let key = shorten(key);
            Some(if path.is_empty() { key } else { format!("{path}.{key}") })
        };
        let mut extensions = 0;
        for (index, member) in self.members.iter().enumerate() {
            let error =
                |column, message| Some(LineError { column, field: within(&member.key), message });
            if self.members.iter().take(index).any(|other| other.key == member.key) {
                return error(member.key_column, "the key is given twice".to_owned());
            }
            let named = |name: &str| fields.iter().find(|field| field.name == name);
            let field = match (named(&member.key), named(EXTENSION)) {
                (Some(field), _) if field.name != EXTENSION => field,
                (_, Some(extension)) => {
                    let checked = check_extension_name(&member.key)
                        .and_then(|()| check_extension_count(extensions, &member.key));
                    extensions += 1;
                    if let Err(invalid) = checked {
                        return error(member.key_column, invalid.to_string());
                    }
                    extension
                }
                _ => {
                    let names: Vec<_> = fields.iter().map(|field| field.name).collect();
                    let message = format!("unknown key{}", way_out(&member.key, &names));
                    return error(member.key_column, message);
                }
            };
            if let Takes::Object(fields) = field.takes
                && member.value.get().starts_with('{')
            {
                if let Ok(inner) = Object::read(line, member.value.get())
                    && let Some(error) = inner.check(line, fields, field.name)
                {
                    return Some(error);
                }
            } else if let Some(message) = field.mistake(member.value.get()) {
                return error(member.column, message);
            }
        }
        let missing =
            fields.iter().find(|field| field.required && self.member(field.name).is_none())?;
        Some(LineError {
            column: self.column,
            field: within(missing.name),
            message: format!("`{}` is required", missing.name),
        })
    }
}
