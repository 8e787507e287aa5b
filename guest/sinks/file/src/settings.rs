//! What can be set.

use serde::Deserialize;
use wasink_guest::{Encoding, Error};

pub(crate) const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "path": {
      "description": "The file, relative to the sink's data directory.",
      "type": "string",
      "minLength": 1,
      "default": "ledger.jsonl"
    },
    "encoding": {
      "description": "`jsonl`: each record in its own wire format; `cloudevents-jsonl`: each in a CloudEvents envelope.",
      "enum": ["jsonl", "cloudevents-jsonl"],
      "default": "jsonl"
    },
    "rotate": {
      "description": "When the file is rotated, and what becomes of rotated files. One of `bytes` and `age_seconds` is needed.",
      "type": "object",
      "additionalProperties": false,
      "anyOf": [{ "required": ["bytes"] }, { "required": ["age_seconds"] }],
      "properties": {
        "bytes": {
          "description": "The file is rotated once it has so many bytes.",
          "type": "integer",
          "minimum": 1
        },
        "age_seconds": {
          "description": "The file is rotated once it is so old.",
          "type": "integer",
          "minimum": 1
        },
        "keep": {
          "description": "How many rotated files stay. All, where it is not set.",
          "type": "integer",
          "minimum": 0
        },
        "gzip": {
          "description": "Whether rotated files are compressed.",
          "type": "boolean",
          "default": true
        },
        "settle_seconds": {
          "description": "How long a rotated file is left alone: a process that was about to append to it still may.",
          "type": "integer",
          "minimum": 0,
          "default": 60
        }
      }
    }
  }
}"#;

/// Settings of the sink; the crate's text says what each means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The file, relative to the data directory.
    pub path: String,
    /// How a record is written.
    pub encoding: Format,
    /// When the file is rotated.
    pub rotate: Option<Rotate>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { path: "ledger.jsonl".to_owned(), encoding: Format::Jsonl, rotate: None }
    }
}

/// How a record is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// In its own wire format.
    Jsonl,
    /// In a CloudEvents envelope.
    CloudeventsJsonl,
}

impl From<Format> for Encoding {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::CloudeventsJsonl => Self::CloudeventsJsonl,
        }
    }
}

/// When the file is rotated, and what becomes of rotated files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Once it has so many bytes.
    pub bytes: Option<u64>,
    /// Once it is so old.
    pub age_seconds: Option<u64>,
    /// How many rotated files stay; all, where it is not set.
    pub keep: Option<usize>,
    /// Whether rotated files are compressed.
    #[serde(default = "yes")]
    pub gzip: bool,
    /// How long a rotated file is left alone, in seconds.
    #[serde(default = "a_minute")]
    pub settle_seconds: u64,
}

fn yes() -> bool {
    true
}

fn a_minute() -> u64 {
    60
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let path = &self.path;
        let segments = || path.split('/');
        if path.starts_with('/') || path.contains('\\') || segments().any(|part| part == "..") {
            return Err(Error::new(format!(
                "setting `path`: `{path}` leads out of the sink's data directory; name a file in \
                 it, and choose the directory itself by the sink's `directory` in the configuration"
            )));
        }
        if segments().any(|part| part.is_empty() || part == ".") {
            return Err(Error::new(format!("setting `path`: `{path}` does not name a file")));
        }
        match &self.rotate {
            Some(Rotate { bytes: None, age_seconds: None, .. }) => Err(Error::new(
                "setting `rotate`: it says neither `bytes` nor `age_seconds`, so nothing would \
                 ever be rotated",
            )),
            Some(Rotate { bytes: Some(0), .. }) => {
                Err(Error::new("setting `rotate.bytes`: `0` is too small"))
            }
            Some(Rotate { age_seconds: Some(0), .. }) => {
                Err(Error::new("setting `rotate.age_seconds`: `0` is too small"))
            }
            _ => Ok(()),
        }
    }
}
