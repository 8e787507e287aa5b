//! What can be set.

use serde::Deserialize;
use wasink_guest::Error;

pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "window_seconds": {
      "description": "Length of a window. Windows follow one another from 1970-01-01T00:00:00Z on.",
      "type": "integer",
      "minimum": 60,
      "maximum": 2678400,
      "default": 3600
    },
    "refresh_seconds": {
      "description": "How old the files of windows may become before they are written anew. 0: at every flush.",
      "type": "integer",
      "minimum": 0,
      "maximum": 86400,
      "default": 10
    }
  }
}"#;

/// Shortest window and longest, in seconds: a minute and 31 days.
const SHORTEST: u32 = 60;
const LONGEST: u32 = 31 * 24 * 60 * 60;

const LONGEST_REFRESH: u32 = 24 * 60 * 60;

/// Settings of the sink; the crate's text says what each means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Length of a window.
    pub window_seconds: u32,
    /// How old the files of windows may become before they are written anew.
    pub refresh_seconds: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window_seconds: 3_600, refresh_seconds: 10 }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { window_seconds, refresh_seconds } = self;
        if !(SHORTEST..=LONGEST).contains(window_seconds) {
            return Err(Error::new(format!(
                "setting `window_seconds`: `{window_seconds}` is not from {SHORTEST} to {LONGEST}"
            )));
        }
        if *refresh_seconds > LONGEST_REFRESH {
            return Err(Error::new(format!(
                "setting `refresh_seconds`: `{refresh_seconds}` is above {LONGEST_REFRESH}"
            )));
        }
        Ok(())
    }
}
