//! What an operator sets.

use serde::Deserialize;
use wasink_nats::{Server, Unknown};

/// Settings of both ends.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub(crate) server: Server,
    /// Name of the stream.
    #[serde(default = "stream")]
    pub(crate) stream: String,
    /// The subject that events are published to.
    #[serde(default = "subject")]
    pub(crate) subject: String,
    /// The stream is made like this where it is missing.
    pub(crate) create: Option<Create>,
    /// Name of the consumer: a source's own.
    pub(crate) consumer: Option<String>,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// A stream that is to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Create {
    /// On so many servers.
    #[serde(default = "one")]
    pub(crate) replicas: usize,
    /// For so long a message's id is known.
    #[serde(default = "window")]
    pub(crate) dedup_seconds: u64,
}

fn stream() -> String {
    "WASINK_CONTROL".to_owned()
}

fn subject() -> String {
    "wasink.control".to_owned()
}

fn one() -> usize {
    1
}

fn window() -> u64 {
    24 * 60 * 60
}

macro_rules! schema {
    ($($more:expr),*) => {
        concat!(
            r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["servers"],
  "properties": {"#,
            wasink_nats::server_properties!(),
            r#",
    "stream": {
      "type": "string",
      "minLength": 1,
      "default": "WASINK_CONTROL",
      "description": "Name of the stream."
    },
    "subject": {
      "type": "string",
      "minLength": 1,
      "default": "wasink.control",
      "description": "The subject that events are published to."
    },
    "create": {
      "type": "object",
      "additionalProperties": false,
      "description": "The stream is made like this where it is missing; it is never changed. Without this it has to be there.",
      "properties": {
        "replicas": {
          "type": "integer",
          "minimum": 1,
          "maximum": 5,
          "default": 1,
          "description": "On so many servers."
        },
        "dedup_seconds": {
          "type": "integer",
          "minimum": 1,
          "default": 86400,
          "description": "For so long the id of an event is known that is published again, in seconds."
        }
      }
    }"#,
            $($more,)*
            "\n  }\n}"
        )
    };
}

impl Settings {
    /// The schema of a sink's settings.
    pub(crate) const SINK_SCHEMA: &str = schema!();

    /// The schema of a source's settings.
    pub(crate) const SOURCE_SCHEMA: &str = schema!(
        r#",
    "consumer": {
      "type": "string",
      "minLength": 1,
      "description": "Name of the durable consumer, which is this node's alone. Default: made of the node's name and the instance's."
    }"#
    );
}
