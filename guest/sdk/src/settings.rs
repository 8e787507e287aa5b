//! A plugin's settings.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::Error;

/// For a sink that has nothing to set: any setting is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NoSettings;

impl NoSettings {
    /// The schema of no settings.
    pub const SCHEMA: &str = r#"{"type":"object","additionalProperties":false}"#;
}

impl<'de> Deserialize<'de> for NoSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Nothing;

        impl<'de> Visitor<'de> for Nothing {
            type Value = NoSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("no settings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoSettings, A::Error> {
                match map.next_key::<String>()? {
                    None => Ok(NoSettings),
                    Some(key) => {
                        map.next_value::<IgnoredAny>()?;
                        Err(serde::de::Error::custom(format_args!(
                            "unknown field `{key}`, there is nothing to set"
                        )))
                    }
                }
            }
        }

        deserializer.deserialize_map(Nothing)
    }
}

/// Reads settings from their JSON text; what is wrong is named by its path.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let settings = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        // Where in a one-line text that nobody wrote it stands says nothing.
        let inner = error.into_inner().to_string();
        let reason = inner.split(" at line ").next().unwrap_or_default();
        match path.as_str() {
            "." => Error::new(format!("settings: {reason}")),
            path => Error::new(format!("setting `{path}`: {reason}")),
        }
    })?;
    deserializer.end()?;
    Ok(settings)
}
