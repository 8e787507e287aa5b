//! Reads a CloudEvents envelope. By hand, since serde can't both collect the keys that it does not
//! know and keep the text of a value.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::{CloudEvent, Data, ExtensionValue};
use crate::json::JsonText;
use crate::{InvalidRecord, Timestamp};

/// A value that was seen; `null` is the same as not there.
type Seen<T> = Option<Option<T>>;

/// An event as it is read, before its rules are checked.
#[derive(Default)]
pub(crate) struct RawCloudEvent {
    specversion: Seen<Box<str>>,
    id: Seen<Box<str>>,
    source: Seen<Box<str>>,
    event_type: Seen<Box<str>>,
    subject: Seen<Box<str>>,
    time: Seen<Timestamp>,
    datacontenttype: Seen<Box<str>>,
    dataschema: Seen<Box<str>>,
    data: Option<Box<RawValue>>,
    data_base64: Seen<Box<str>>,
    extensions: Vec<(Box<str>, Option<ExtensionValue>)>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Attribute {
    Specversion,
    Id,
    Source,
    Type,
    Subject,
    Time,
    Datacontenttype,
    Dataschema,
    Data,
    #[serde(rename = "data_base64")]
    DataBase64,
    Extension(Box<str>),
}

impl<'de> Deserialize<'de> for RawCloudEvent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Envelope;

        impl<'de> Visitor<'de> for Envelope {
            type Value = RawCloudEvent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvents envelope")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawCloudEvent, A::Error> {
                let mut raw = RawCloudEvent::default();
                while let Some(attribute) = map.next_key()? {
                    raw.read(attribute, &mut map)?;
                }
                Ok(raw)
            }
        }

        from.deserialize_map(Envelope)
    }
}

impl RawCloudEvent {
    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        attribute: Attribute,
        map: &mut A,
    ) -> Result<(), A::Error> {
        match attribute {
            Attribute::Specversion => set(&mut self.specversion, "specversion", map),
            Attribute::Id => set(&mut self.id, "id", map),
            Attribute::Source => set(&mut self.source, "source", map),
            Attribute::Type => set(&mut self.event_type, "type", map),
            Attribute::Subject => set(&mut self.subject, "subject", map),
            Attribute::Time => set(&mut self.time, "time", map),
            Attribute::Datacontenttype => set(&mut self.datacontenttype, "datacontenttype", map),
            Attribute::Dataschema => set(&mut self.dataschema, "dataschema", map),
            // Unlike that of an attribute, a `null` here is a value.
            Attribute::Data => set(&mut self.data, "data", map),
            Attribute::DataBase64 => set(&mut self.data_base64, "data_base64", map),
            Attribute::Extension(name) => {
                if self.extensions.iter().any(|(other, _)| *other == name) {
                    return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                }
                super::check_extension_name(&name)
                    .and_then(|()| super::check_extension_count(self.extensions.len(), &name))
                    .map_err(A::Error::custom)?;
                let value = map.next_value()?;
                self.extensions.push((name, value));
                Ok(())
            }
        }
    }

    pub(crate) fn check(self) -> Result<CloudEvent, InvalidRecord> {
        let required = |text: Seen<Box<str>>, field| match text.flatten() {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(InvalidRecord::Missing { field }),
        };
        let version = required(self.specversion, "specversion")?;
        if &*version != "1.0" {
            return Err(InvalidRecord::SpecVersion { version: crate::invalid::shorten(&version) });
        }
        let data = match (self.data, self.data_base64.flatten()) {
            (Some(_), Some(_)) => return Err(InvalidRecord::DataTwice),
            (Some(json), None) => Some(Data::Json(JsonText::try_from(json)?)),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(&*base64).map_err(|_| InvalidRecord::Base64)?;
                Some(Data::Binary(bytes.into()))
            }
            (None, None) => None,
        };
        CloudEvent {
            id: required(self.id, "id")?,
            source: required(self.source, "source")?,
            event_type: required(self.event_type, "type")?,
            subject: crate::invalid::filled(self.subject.flatten()),
            time: self.time.flatten(),
            data_content_type: crate::invalid::filled(self.datacontenttype.flatten()),
            data_schema: crate::invalid::filled(self.dataschema.flatten()),
            extensions: self
                .extensions
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
            data,
        }
        .checked()
    }
}

fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    name: &'static str,
    map: &mut A,
) -> Result<(), A::Error> {
    if slot.is_some() {
        return Err(A::Error::duplicate_field(name));
    }
    *slot = Some(map.next_value()?);
    Ok(())
}

impl<'de> Deserialize<'de> for ExtensionValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Scalar;

        impl Visitor<'_> for Scalar {
            type Value = ExtensionValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, a boolean or an integer of 32 bits")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ExtensionValue, E> {
                Ok(ExtensionValue::Text(text.into()))
            }

            fn visit_bool<E: Error>(self, flag: bool) -> Result<ExtensionValue, E> {
                Ok(ExtensionValue::Flag(flag))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ExtensionValue, E> {
                i32::try_from(number)
                    .map(ExtensionValue::Integer)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ExtensionValue, E> {
                i32::try_from(number)
                    .map(ExtensionValue::Integer)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }

        from.deserialize_any(Scalar)
    }
}
