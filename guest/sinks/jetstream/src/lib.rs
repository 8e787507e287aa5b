//! Sink `jetstream`: publishes records into a stream of NATS JetStream, a message each, so that many
//! nodes feed one durable stream.
//!
//! Settings beside those of the server (`servers`, `token`, `user`, `password`, `credentials`,
//! `domain`, `timeout_ms`):
//!
//! | name | default | |
//! | --- | --- | --- |
//! | `subject` | `wasink.{stream}` | what is published to; `{stream}` is the records' stream |
//! | `encoding` | `jsonl` | `jsonl` for each record in its own wire format, `cloudevents-jsonl` for each in a CloudEvents envelope |
//! | `create` | | the JetStream stream is made like this where it is missing: `name`, `replicas`, `dedup_seconds`, `max_age_seconds` |
//!
//! A message's `Nats-Msg-Id` is the record's id, the same on every delivery. The server answers each
//! message, and none waits for the answer to another. One that it has had within its window is a
//! duplicate; where its answer is lost the record is in doubt, and comes again with the same id. Without
//! `create` the stream has to be there, and a window that is shorter than JetStream's own of two minutes
//! is refused: the chassis counts on somewhat less than that.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use wasink_guest::{
    Batch, Context, Description, Encoding, Error, Failure, Outcomes, Sink, info, warn,
};
use wasink_nats::async_nats::jetstream;
use wasink_nats::async_nats::jetstream::context::PublishErrorKind;
use wasink_nats::async_nats::jetstream::message::PublishMessage;
use wasink_nats::async_nats::jetstream::stream::{Config, Stream};
use wasink_nats::{Broken, IN_FLIGHT, Link, Server, Unknown, asks, reason, refused};

/// JetStream's own window, in seconds.
const WINDOW: u64 = 120;

/// What the chassis counts on: a call that begins within this ends within the window.
const COUNTED_ON: u64 = 80;

/// The sink.
#[derive(Debug)]
pub struct JetStream {
    link: Link,
    settings: Settings,
    /// The stream of each subject, as found on this connection.
    found: HashMap<String, String>,
}

/// Settings of the sink; the crate's text says what each means.
#[derive(Debug, Clone, Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    server: Server,
    #[serde(default = "subject")]
    subject: String,
    #[serde(default)]
    encoding: Format,
    create: Option<Create>,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Format {
    #[default]
    Jsonl,
    CloudeventsJsonl,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default = "name")]
    name: String,
    #[serde(default = "one")]
    replicas: usize,
    #[serde(default = "window")]
    dedup_seconds: u64,
    max_age_seconds: Option<u64>,
}

fn subject() -> String {
    "wasink.{stream}".to_owned()
}

fn name() -> String {
    "WASINK".to_owned()
}

fn one() -> usize {
    1
}

fn window() -> u64 {
    WINDOW
}

const SCHEMA: &str = concat!(
    r#"{
  "type": "object",
  "additionalProperties": false,
  "required": ["servers"],
  "properties": {"#,
    wasink_nats::server_properties!(),
    r#",
    "subject": {
      "type": "string",
      "minLength": 1,
      "default": "wasink.{stream}",
      "description": "What is published to; `{stream}` is the stream of the records."
    },
    "encoding": {
      "enum": ["jsonl", "cloudevents-jsonl"],
      "default": "jsonl",
      "description": "Each record in its own wire format, or in a CloudEvents envelope."
    },
    "create": {
      "type": "object",
      "additionalProperties": false,
      "description": "The stream is made like this where it is missing; it is never changed. Without this it has to be there.",
      "properties": {
        "name": {
          "type": "string",
          "minLength": 1,
          "default": "WASINK",
          "description": "Its name."
        },
        "replicas": {
          "type": "integer",
          "minimum": 1,
          "maximum": 5,
          "default": 1,
          "description": "On so many servers."
        },
        "dedup_seconds": {
          "type": "integer",
          "minimum": 120,
          "default": 120,
          "description": "For so long the id of a record is known that is published again, in seconds."
        },
        "max_age_seconds": {
          "type": "integer",
          "minimum": 1,
          "description": "Messages are kept for so long, in seconds. Default: for ever."
        }
      }
    }
  }
}"#
);

impl Sink for JetStream {
    type Settings = Settings;

    fn describe() -> Description {
        asks(
            Description::new(
                env!("CARGO_PKG_VERSION"),
                "publishes records into a stream of NATS JetStream",
            )
            .all_streams()
            .settings_schema(SCHEMA)
            .dedup_window(COUNTED_ON),
        )
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        settings.unknown.check()?;
        let name = format!("wasink {} {}", context.node_id, context.name);
        let link = Link::new(settings.server.clone(), &name)?;
        if settings
            .subject
            .split('.')
            .any(|token| token.contains("{stream}") && token != "{stream}")
        {
            let why = "`{stream}` has to stand between dots";
            return Err(Error::new(format!("setting `subject`: `{}`: {why}", settings.subject)));
        }
        Ok(Self { link, settings, found: HashMap::new() })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let most = self.link.most();
        let Self { link, settings, found } = self;
        let subject = settings.subject.replace("{stream}", batch.stream().as_str());
        let ids = batch.ids();
        let lines = batch.encode(match settings.encoding {
            Format::Jsonl => Encoding::Jsonl,
            Format::CloudeventsJsonl => Encoding::CloudeventsJsonl,
        });
        let published = link.run(most, async |context, new| {
            if new {
                found.clear();
            }
            let stream = match found.get(&subject) {
                Some(stream) => stream.clone(),
                None => {
                    let stream = find(&context, settings, &subject).await?;
                    found.insert(subject.clone(), stream.clone());
                    stream
                }
            };
            Ok(publish(&context, &subject, &stream, &ids, &lines).await)
        })?;
        if let Some(failure) = &published.failure {
            self.link.give_up();
            // What holds for all of them is said once, with its reason.
            if published.failed == ids.len() {
                return Err(failure.clone());
            }
            warn!("some records were not published"; records = published.failed, reason = failure.to_string());
        }
        Ok(published.outcomes)
    }
}

#[derive(Default)]
struct Published {
    outcomes: Outcomes,
    /// So many may be had another time, or are in doubt,
    failed: usize,
    /// for this reason, the last one's. It casts doubt on the connection, and on the stream.
    failure: Option<Failure>,
}

/// Publishes each line under its id.
async fn publish(
    context: &jetstream::Context,
    subject: &str,
    stream: &str,
    ids: &[String],
    lines: &[u8],
) -> Published {
    let mut published = Published::default();
    let lines: Vec<_> = lines.split(|byte| *byte == b'\n').collect();
    let mut first = 0;
    for (ids, lines) in ids.chunks(IN_FLIGHT).zip(lines.chunks(IN_FLIGHT)) {
        let mut under_way = Vec::with_capacity(ids.len());
        for ((id, line), index) in ids.iter().zip(lines).zip(first..) {
            let message = PublishMessage::build().payload(line.to_vec().into()).message_id(id);
            let message = message.expected_stream(stream);
            match context.send_publish(subject.to_owned(), message).await {
                Ok(acknowledged) => under_way.push((index, acknowledged)),
                Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    published.outcomes.rejected(index, reason(&error));
                }
                // Not sent.
                Err(error) => published.failed(index, Failure::retry(reason(&error))),
            }
        }
        for (index, acknowledged) in under_way {
            match acknowledged.await {
                Ok(ack) if ack.duplicate => {
                    published.outcomes.duplicate(index);
                }
                Ok(_) => {}
                Err(error) => published.failed(index, refused(&error)),
            }
        }
        first += ids.len();
    }
    published
}

impl Published {
    fn failed(&mut self, index: usize, failure: Failure) {
        match &failure {
            Failure::Rejected(reason) => {
                self.outcomes.rejected(index, reason.clone());
                return;
            }
            Failure::Retry { .. } => self.outcomes.retry(index, None),
            _ => self.outcomes.in_doubt(index, None),
        };
        self.failed += 1;
        // Who is in doubt has more to lose.
        if !matches!(self.failure, Some(Failure::InDoubt { .. })) {
            self.failure = Some(failure);
        }
    }
}

/// Finds the stream that takes this subject, or makes it where that is set.
async fn find(
    context: &jetstream::Context,
    settings: &Settings,
    subject: &str,
) -> Result<String, Broken> {
    let retry = |reason: String| Broken(Failure::retry(reason));
    let stream = match &settings.create {
        Some(create) => make(context, &settings.subject, create).await?,
        None => {
            let name = context.stream_by_subject(subject).await.map_err(|error| {
                let reason = reason(&error);
                retry(format!("no stream takes `{subject}`; make one, or set `create`: {reason}"))
            })?;
            let found = context.get_stream(&name).await;
            found.map_err(|error| retry(format!("the stream `{name}`: {}", reason(&error))))?
        }
    };
    let config = &stream.cached_info().config;
    if config.duplicate_window < Duration::from_secs(WINDOW) {
        return Err(retry(format!(
            "the stream `{}` knows ids for {:?}; records would be there twice: set its duplicate \
             window to {WINDOW} s at least",
            config.name, config.duplicate_window
        )));
    }
    Ok(config.name.clone())
}

async fn make(
    context: &jetstream::Context,
    subject: &str,
    create: &Create,
) -> Result<Stream, Broken> {
    let config = Config {
        name: create.name.clone(),
        subjects: vec![subject.replace("{stream}", "*")],
        num_replicas: create.replicas,
        duplicate_window: Duration::from_secs(create.dedup_seconds),
        max_age: Duration::from_secs(create.max_age_seconds.unwrap_or(0)),
        description: Some("records of wasink".to_owned()),
        ..Config::default()
    };
    match context.get_or_create_stream(config).await {
        Ok(stream) => {
            info!("the stream is there"; stream = create.name.as_str());
            Ok(stream)
        }
        Err(error) => Err(Broken(Failure::retry(format!(
            "can't make the stream `{}`: {}",
            create.name,
            reason(&error)
        )))),
    }
}

wasink_guest::export_sink!(JetStream);
