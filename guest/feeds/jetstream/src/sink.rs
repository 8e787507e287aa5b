//! Publishing events.

use wasink_guest::{Context, ControlEvent, Description, Error, Failure, FeedSink};
use wasink_nats::async_nats::jetstream;
use wasink_nats::async_nats::jetstream::context::{
    PublishAckFuture, PublishError, PublishErrorKind,
};
use wasink_nats::async_nats::jetstream::message::PublishMessage;
use wasink_nats::{Link, asks, reason};

use crate::Settings;
use crate::stream::stream;

/// Publishes events into a stream.
#[derive(Debug)]
pub struct JetStreamSink {
    link: Link,
    settings: Settings,
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
        Ok(Self { link, settings })
    }

    fn append(&mut self, event: ControlEvent) -> Result<u64, Failure> {
        self.append_all(vec![event]).pop().unwrap_or_else(|| Err(Failure::retry("no answer")))
    }

    fn append_all(&mut self, events: Vec<ControlEvent>) -> Results {
        let most = self.link.patience().saturating_mul(2);
        let settings = &self.settings;
        let appended = self.link.run(most, async |context, new| {
            if new {
                stream(&context, settings).await?;
            }
            Ok(publish(&context, &settings.subject, &events).await)
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

    fn close(self) -> Result<(), Error> {
        self.link.close();
        Ok(())
    }
}

/// Publishes events in order. What became of each, up to the first that failed, and whether that casts
/// doubt on the connection or the stream.
async fn publish(
    context: &jetstream::Context,
    subject: &str,
    events: &[ControlEvent],
) -> (Results, bool) {
    let mut results = Vec::with_capacity(events.len());
    let mut under_way = Vec::with_capacity(events.len());
    let mut refused = None;
    let mut previous: Option<&ControlEvent> = None;
    for event in events {
        match send(context, subject, event, previous).await {
            Ok(acknowledged) => under_way.push(acknowledged),
            Err(failure) => {
                refused = Some(failure);
                break;
            }
        }
        previous = Some(event);
    }
    let mut one_by_one = false;
    for acknowledged in under_way {
        match acknowledged.await {
            Ok(ack) => results.push(Ok(ack.sequence)),
            // Somebody else has published something in between.
            Err(error) if error.kind() == PublishErrorKind::WrongLastMessageId => {
                one_by_one = true;
                break;
            }
            Err(error) => return failed(results, &error),
        }
    }
    if one_by_one {
        for event in events.iter().skip(results.len()) {
            let sent = match send(context, subject, event, None).await {
                Ok(sent) => sent,
                Err(failure) => return (with(results, failure), false),
            };
            match sent.await {
                Ok(ack) => results.push(Ok(ack.sequence)),
                Err(error) => return failed(results, &error),
            }
        }
        return (results, false);
    }
    match refused {
        Some(failure) => (with(results, failure), false),
        None => (results, false),
    }
}

async fn send(
    context: &jetstream::Context,
    subject: &str,
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
    if let Some(previous) = previous {
        message = message.expected_last_message_id(&previous.event_id);
    }
    context.send_publish(subject.to_owned(), message).await.map_err(|error| match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Failure::rejected(reason(&error)),
        _ => Failure::retry(reason(&error)),
    })
}

/// What an answer that is none, or a refusal, makes of an event. The stream may be gone, too.
fn failed(results: Results, error: &PublishError) -> (Results, bool) {
    let reason = reason(error);
    let failure = match error.kind() {
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Failure::in_doubt(reason),
        _ => Failure::retry(reason),
    };
    (with(results, failure), true)
}

fn with(mut results: Results, failure: Failure) -> Results {
    results.push(Err(failure));
    results
}
