//! Names: of a plugin, and of a sink.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};

/// What a sink may be called. Its directory bears the name, so it has nothing that a file system
/// or a path treats in a way of its own.
pub(super) const SINK_NAME_PATTERN: &str = "^[a-z0-9-]{1,64}$";

/// What a plugin may be called. Its file bears the name; an underscore is allowed because build
/// tools put it into the names of files.
pub(super) const PLUGIN_NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

/// The longest name, in bytes.
const MAX_LENGTH: usize = 64;

/// The name of a plugin: 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, the first a letter or a digit.
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
        let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
        let first = name.bytes().next().is_some_and(|c| inner(c) && c != b'-' && c != b'_');
        if first && name.len() <= MAX_LENGTH && name.bytes().all(inner) {
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
#[error(
    "`{name}` can't be the name of a plugin: expected 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, \
     the first a letter or a digit"
)]
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
        let pattern = serde_json::json!({ "pattern": PLUGIN_NAME_PATTERN });
        let schema = jsonschema::validator_for(&pattern).unwrap();
        let long = "a".repeat(64);
        let too_long = "a".repeat(65);
        for (name, right) in [
            ("file", true),
            ("my_sink-2", true),
            ("0", true),
            (long.as_str(), true),
            ("", false),
            ("-file", false),
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
