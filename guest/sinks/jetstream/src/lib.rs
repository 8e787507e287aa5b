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
//! `create` the stream has to be there, and its window should not be shorter than JetStream's own of
//! two minutes, which is what the chassis counts on.

use std::time::Duration;

use serde::Deserialize;
use wasink_guest::{
    Batch, Context, Description, Encoding, Error, Failure, Outcomes, Sink, info, warn,
};
use wasink_nats::async_nats::jetstream;
use wasink_nats::async_nats::jetstream::context::PublishErrorKind;
use wasink_nats::async_nats::jetstream::message::PublishMessage;
use wasink_nats::async_nats::jetstream::stream::Config;
use wasink_nats::{Broken, Link, Server, Unknown, asks, reason};

/// JetStream's own window, in seconds.
const WINDOW: u64 = 120;

/// The sink.
#[derive(Debug)]
pub struct JetStream {
    link: Link,
    settings: Settings,
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
            .dedup_window(WINDOW),
        )
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        settings.unknown.check()?;
        let name = format!("wasink {} {}", context.node_id, context.name);
        let link = Link::new(settings.server.clone(), &name)?;
        Ok(Self { link, settings })
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        let most = self.link.patience().saturating_mul(2);
        let settings = &self.settings;
        let subject = settings.subject.replace("{stream}", batch.stream().as_str());
        let ids = batch.ids();
        let lines = batch.encode(match settings.encoding {
            Format::Jsonl => Encoding::Jsonl,
            Format::CloudeventsJsonl => Encoding::CloudeventsJsonl,
        });
        let published = self.link.run(most, async |context, new| {
            if new && let Some(create) = &settings.create {
                make(&context, &settings.subject, create).await?;
            }
            Ok(publish(&context, &subject, &ids, &lines).await)
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

    fn close(self) -> Result<(), Error> {
        self.link.close();
        Ok(())
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
    ids: &[String],
    lines: &[u8],
) -> Published {
    let mut published = Published::default();
    let outcomes = &mut published.outcomes;
    let mut under_way = Vec::with_capacity(ids.len());
    let lines = lines.split(|byte| *byte == b'\n');
    for (index, (id, line)) in ids.iter().zip(lines).enumerate() {
        let message = PublishMessage::build().payload(line.to_vec().into()).message_id(id);
        match context.send_publish(subject.to_owned(), message).await {
            Ok(acknowledged) => under_way.push((index, acknowledged)),
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                outcomes.rejected(index, reason(&error));
            }
            // Not sent.
            Err(error) => {
                outcomes.retry(index, None);
                published.failed += 1;
                published.failure = Some(Failure::retry(reason(&error)));
            }
        }
    }
    for (index, acknowledged) in under_way {
        match acknowledged.await {
            Ok(ack) if ack.duplicate => {
                outcomes.duplicate(index);
            }
            Ok(_) => {}
            Err(error) => {
                published.failed += 1;
                published.failure = Some(match error.kind() {
                    PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => {
                        outcomes.in_doubt(index, None);
                        Failure::in_doubt(reason(&error))
                    }
                    // An answer that says no: the server has not got it.
                    _ => {
                        outcomes.retry(index, None);
                        Failure::retry(reason(&error))
                    }
                });
            }
        }
    }
    published
}

async fn make(context: &jetstream::Context, subject: &str, create: &Create) -> Result<(), Broken> {
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
        Ok(_) => {
            info!("the stream is there"; stream = create.name.as_str());
            Ok(())
        }
        Err(error) => Err(Broken(Failure::retry(format!(
            "can't make the stream `{}`: {}",
            create.name,
            reason(&error)
        )))),
    }
}

wasink_guest::export_sink!(JetStream);
