//! What an operator sets.

use serde::Deserialize;
use wasink_guest::Error;

/// Settings of both ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory of the feed, below the data directory. Empty: the data directory itself.
    #[serde(default)]
    path: String,
}

impl Settings {
    /// The schema of these settings.
    pub const SCHEMA: &str = r#"{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "path": {
      "type": "string",
      "default": "",
      "description": "Directory of the feed, below the data directory; empty for that itself."
    }
  }
}"#;

    /// The path, with a `/` at its end unless it is empty.
    pub(crate) fn prefix(&self) -> Result<String, Error> {
        let path = self.path.trim_end_matches('/');
        if path.split('/').any(|segment| segment == "..") || path.starts_with('/') {
            return Err(Error::new(format!(
                "setting `path`: `{path}` leads out of the data directory; name one below it"
            )));
        }
        Ok(if path.is_empty() { String::new() } else { format!("{path}/") })
    }
}
