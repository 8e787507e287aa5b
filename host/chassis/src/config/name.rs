//! Names: of a plugin, and of a sink.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

/// What plugins and sinks may be called. Files and directories bear the names, so there is nothing
/// in them that a file system or a path treats in a way of its own.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9-]{1,64}$";

/// The longest name, in bytes.
const MAX_LENGTH: usize = 64;

/// The name of a plugin: 1 to 64 of `a`-`z`, `0`-`9` and `-`.
///
/// It is the name of the plugin's file without the extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(Arc<str>);

impl PluginName {
    /// Takes the name if it is one.
    ///
    /// # Errors
    ///
    /// [`PluginNameError`] if it is empty, too long, or has another character.
    pub fn new(name: &str) -> Result<Self, PluginNameError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if (1..=MAX_LENGTH).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(Arc::from(name)))
        } else {
            Err(PluginNameError { name: name.to_owned() })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PluginName {
    type Err = PluginNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl AsRef<str> for PluginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for PluginName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// This is not the name of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` can't be the name of a plugin: expected 1 to 64 of `a`-`z`, `0`-`9` and `-`")]
#[non_exhaustive]
pub struct PluginNameError {
    /// What was given.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_of_the_schema_and_the_newtype_agree() {
        let pattern = serde_json::json!({ "pattern": NAME_PATTERN });
        let schema = jsonschema::validator_for(&pattern).unwrap();
        let long = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (name, right) in [
            ("file", true),
            ("my-sink-2", true),
            ("my_sink", false),
            ("0", true),
            (long.as_str(), true),
            ("", false),
            ("-file", true),
            ("_file", false),
            ("File", false),
            ("a.b", false),
            ("a/b", false),
            ("é", false),
            ("a\n", false),
            (too_long.as_str(), false),
        ] {
            assert_eq!(PluginName::new(name).is_ok(), right, "{name:?}");
            assert_eq!(schema.is_valid(&name.into()), right, "{name:?} by the schema");
        }
    }
}
