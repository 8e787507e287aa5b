//! Publishing events.

use wasink_guest::{Context, ControlEvent, Description, Error, Failure, FeedSink};
use wasink_nats::async_nats::jetstream;
use wasink_nats::async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use wasink_nats::async_nats::jetstream::message::PublishMessage;
use wasink_nats::{IN_FLIGHT, Link, asks, reason};

use crate::Settings;
use crate::stream::stream;

/// Publishes events into a stream.
#[derive(Debug)]
pub struct JetStreamSink {
    link: Link,
    settings: Settings,
    /// When the stream was made.
    known: Option<String>,
    /// The stream is kept by several servers.
    replicated: bool,
}

type Results = Vec<Result<u64, Failure>>;

impl FeedSink for JetStreamSink {
    type Settings = Settings;

    fn describe() -> Description {
        asks(
            Description::new(
                env!("CARGO_PKG_VERSION"),
                "publishes control events into a stream of NATS JetStream",
            )
            .settings_schema(Settings::SINK_SCHEMA),
        )
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        settings.unknown.check()?;
        let name = format!("wasink {} {}", context.node_id, context.name);
        let link = Link::new(settings.server.clone(), &name)?;
        Ok(Self { link, settings, known: None, replicated: false })
    }

    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure> {
        self.append_all(vec![event]).pop().unwrap_or_else(|| Err(Failure::retry("no answer")))
    }

    fn append_all(&mut self, events: Vec<ControlEvent>) -> Results {
        let most = self.link.most();
        let Self { link, settings, known, replicated } = self;
        let appended = link.run(most, async |context, new| {
            if new {
                let found = stream(&context, settings, known).await?;
                *replicated = found.cached_info().config.num_replicas > 1;
            }
            Ok(publish(&context, settings, &events, !*replicated).await)
        });
        match appended {
            Ok((results, false)) => results,
            Ok((results, true)) => {
                self.link.give_up();
                results
            }
            Err(failure) => vec![Err(failure)],
        }
    }
}

/// Publishes events in order. What became of each, up to the first that failed, and whether that casts
/// doubt on the connection or the stream.
///
/// With `chained`, many are under way at a time. Servers that agree on a stream among themselves note a
/// message's id before they look at its condition: one that it did not hold for could not be published
/// again for as long as the ids are known. There they go one by one.
async fn publish(
    context: &jetstream::Context,
    settings: &Settings,
    events: &[ControlEvent],
    chained: bool,
) -> (Results, bool) {
    let mut results = Vec::with_capacity(events.len());
    let mut previous: Option<&ControlEvent> = None;
    let mut chained = chained;
    while let Some(rest) = events.get(results.len()..).filter(|rest| !rest.is_empty()) {
        let many = if chained { IN_FLIGHT } else { 1 };
        let mut under_way = Vec::with_capacity(many.min(rest.len()));
        let mut refused = None;
        for event in rest.iter().take(many) {
            match send(context, settings, event, previous.filter(|_| chained)).await {
                Ok(acknowledged) => under_way.push(acknowledged),
                Err(failure) => {
                    refused = Some(failure);
                    break;
                }
            }
            previous = Some(event);
        }
        for acknowledged in under_way {
            match acknowledged.await {
                Ok(ack) if ack.sequence == 0 => {
                    let why = "the server has not yet given it a sequence";
                    return (with(results, Failure::in_doubt(why)), true);
                }
                Ok(ack) => results.push(Ok(ack.sequence)),
                // Somebody else has published something in between.
                Err(error) if chained && error.kind() == PublishErrorKind::WrongLastMessageId => {
                    chained = false;
                    refused = None;
                    break;
                }
                Err(error) => return (with(results, wasink_nats::refused(&error)), true),
            }
        }
        if let Some(failure) = refused {
            return (with(results, failure), false);
        }
    }
    (results, false)
}

async fn send(
    context: &jetstream::Context,
    settings: &Settings,
    event: &ControlEvent,
    previous: Option<&ControlEvent>,
) -> Result<PublishAckFuture, Failure> {
    if event.event_id.is_empty() {
        return Err(Failure::rejected("the event has no id"));
    }
    if event.event_id.contains(['\r', '\n']) {
        return Err(Failure::rejected("the event's id has a line end in it, and is no header"));
    }
    let mut message =
        PublishMessage::build().payload(event.to_json()?.into()).message_id(&event.event_id);
    message = message.expected_stream(&settings.stream);
    if let Some(previous) = previous {
        message = message.expected_last_message_id(&previous.event_id);
    }
    let sent = context.send_publish(settings.subject.clone(), message).await;
    sent.map_err(|error| match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Failure::rejected(reason(&error)),
        _ => Failure::retry(reason(&error)),
    })
}

fn with(mut results: Results, failure: Failure) -> Results {
    results.push(Err(failure));
    results
}
