//! Reading events.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use wasink_guest::{
    Acknowledge, Context, ControlEvent, Description, Error, Failure, FeedSource, info,
};
use wasink_nats::async_nats::jetstream::consumer::pull::{self, Batch};
use wasink_nats::async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy};
use wasink_nats::async_nats::jetstream::context::ConsumerInfoErrorKind;
use wasink_nats::async_nats::jetstream::stream::Stream;
use wasink_nats::async_nats::jetstream::{self, Message};
use wasink_nats::{Broken, Link, asks, reason};

use crate::Settings;
use crate::stream::{retry, stream};

/// Messages of which so many are not acknowledged yet are enough for now.
const MOST_UNACKNOWLEDGED: i64 = 10_000;

/// A message that was given and not acknowledged for so long is given again by the server. What this
/// source holds, it gives by itself.
const ACK_WAIT: Duration = Duration::from_hours(1);

/// No more than so many bytes are taken at a time.
const LARGEST: usize = 64 << 20;

/// Reads events from a stream.
#[derive(Debug)]
pub struct JetStreamSource {
    link: Link,
    settings: Settings,
    consumer: String,
    reader: Option<Reader>,
    /// When the stream was made.
    known: Option<String>,
}

/// A durable consumer, and what it has given.
#[derive(Debug)]
struct Reader {
    stream: Stream,
    consumer: Consumer<pull::Config>,
    /// The last that was given.
    last: u64,
    /// All up to here was acknowledged, or is not wanted.
    floor: u64,
    /// Count of deliveries at the last message: one more with each, or something got lost.
    deliveries: u64,
    /// Given and not acknowledged, by sequence in the stream.
    held: BTreeMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    message: Message,
    event_id: String,
}

impl FeedSource for JetStreamSource {
    type Settings = Settings;

    fn describe() -> Description {
        asks(
            Description::new(
                env!("CARGO_PKG_VERSION"),
                "reads control events from a stream of NATS JetStream",
            )
            .settings_schema(Settings::SOURCE_SCHEMA),
        )
    }

    fn open(settings: Settings, context: &Context) -> Result<Self, Error> {
        settings.unknown.check()?;
        let name = format!("wasink {} {}", context.node_id, context.name);
        let link = Link::new(settings.server.clone(), &name)?;
        // Not all characters may be in a consumer's name.
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let consumer = match &settings.consumer {
            Some(name) if name.chars().all(fits) => name.clone(),
            Some(name) => {
                let why = "expected letters, digits, `-` and `_`";
                return Err(Error::new(format!("setting `consumer`: `{name}`: {why}")));
            }
            None => {
                let name = format!("{}-{}", context.node_id, context.name);
                let name: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
                // Two that are written alike that way are not alike.
                format!("{name}-{:08x}", sum(&[&context.node_id, &context.name]))
            }
        };
        Ok(Self { link, settings, consumer, reader: None, known: None })
    }

    fn poll(&mut self, since: u64, max: u32, wait: Duration) -> Result<Vec<ControlEvent>, Failure> {
        let most = self.link.most().saturating_add(wait);
        let max = max as usize;
        let Self { link, settings, consumer, reader, known } = self;
        let before = reader.take().filter(|reader| (reader.floor..=reader.last).contains(&since));
        let (polled, events) = link.run(most, async |context, new| {
            let mut reader = match before {
                Some(reader) if !new => reader,
                _ => Reader::at(&context, settings, consumer, since, known).await?,
            };
            reader.settle(since).await;
            if reader.held.is_empty() {
                reader.fetch(max, wait).await?;
            }
            let events = reader.events(max);
            Ok((reader, events))
        })?;
        *reader = Some(polled);
        Ok(events)
    }
}

impl Acknowledge for JetStreamSource {
    fn ack(&mut self, event_ids: &[String]) -> Result<(), Failure> {
        let Some(reader) = &mut self.reader else { return Ok(()) };
        let event_ids: HashSet<_> = event_ids.iter().collect();
        let mut settled = Vec::new();
        for (sequence, held) in &reader.held {
            if event_ids.contains(&held.event_id) {
                settled.push(*sequence);
            }
        }
        let messages: Vec<_> =
            settled.iter().filter_map(|sequence| reader.held.remove(sequence)).collect();
        reader.floor = settled.last().copied().unwrap_or_default().max(reader.floor);
        self.link.run(self.link.most(), async |_, new| {
            if new {
                return Err(retry("the connection was lost; what was given on it is given again"));
            }
            let acknowledged =
                join_all(messages.iter().map(|held| held.message.double_ack())).await;
            for result in acknowledged {
                result.map_err(|error| retry(error.to_string()))?;
            }
            Ok(())
        })
    }
}

impl Reader {
    /// The consumer of this name, so that it goes on behind `since`: as it is, where it stands just
    /// there, and made anew otherwise.
    async fn at(
        context: &jetstream::Context,
        settings: &Settings,
        name: &str,
        since: u64,
        known: &mut Option<String>,
    ) -> Result<Self, Broken> {
        let stream = stream(context, settings, known).await?;
        let state = &stream.cached_info().state;
        if state.last_sequence < since {
            return Err(retry(format!(
                "the stream `{}` ends at {}, and this node is at {since} already: it is another \
                 stream, or has lost its end",
                settings.stream, state.last_sequence
            )));
        }
        if state.first_sequence > since.saturating_add(1) {
            return Err(behind(state.first_sequence, since));
        }
        let failed = |error: &dyn std::error::Error| {
            retry(format!("the consumer `{name}`: {}", reason(error)))
        };
        match stream.consumer_info(name).await {
            Ok(info)
                if info.num_ack_pending == 0
                    && info.delivered.stream_sequence == since
                    && info.config.filter_subject == settings.subject
                    && info.config.ack_policy == AckPolicy::Explicit =>
            {
                let deliveries = info.delivered.consumer_sequence;
                let found = stream.get_consumer(name).await;
                let consumer = found.map_err(|error| retry(error.to_string()))?;
                return Ok(Self::of(stream, consumer, since, deliveries));
            }
            Ok(_) => {
                let deleted = stream.delete_consumer(name).await;
                deleted.map_err(|error| failed(&error))?;
                info!("the consumer is made anew"; consumer = name, since = since);
            }
            Err(error) if is_missing(&error.kind()) => {}
            Err(error) => return Err(failed(&error)),
        }
        let consumer = make(&stream, settings, name, since).await?;
        Ok(Self::of(stream, consumer, since, 0))
    }

    fn of(stream: Stream, consumer: Consumer<pull::Config>, since: u64, deliveries: u64) -> Self {
        Self { stream, consumer, last: since, floor: since, deliveries, held: BTreeMap::new() }
    }

    /// Lets go of what lies behind the host.
    async fn settle(&mut self, since: u64) {
        let ahead = self.held.split_off(&since.saturating_add(1));
        for held in std::mem::replace(&mut self.held, ahead).into_values() {
            // It is committed; whether the server gets to know of it changes nothing.
            drop(held.message.ack().await);
        }
        self.floor = self.floor.max(since);
    }

    /// Takes what there is, or waits for the first.
    async fn fetch(&mut self, max: usize, wait: Duration) -> Result<(), Broken> {
        let failed = |error: &dyn std::error::Error| retry(reason(error));
        let now = self.consumer.fetch().max_messages(max).max_bytes(LARGEST).messages().await;
        self.take(now.map_err(|error| failed(&error))?).await?;
        if self.held.is_empty() && !wait.is_zero() {
            // One only: whatever came after the first would have nobody waiting for it.
            let later = self.consumer.batch().max_messages(1).expires(wait).messages().await;
            self.take(later.map_err(|error| failed(&error))?).await?;
            if !self.held.is_empty() && max > 1 {
                let more = self.consumer.fetch().max_messages(max - 1).max_bytes(LARGEST);
                self.take(more.messages().await.map_err(|error| failed(&error))?).await?;
            }
        }
        if self.held.is_empty() {
            // Nothing for this node may also be what somebody else has taken.
            self.check_consumer().await?;
        }
        Ok(())
    }

    async fn take(&mut self, mut batch: Batch) -> Result<(), Broken> {
        let mut gap = None;
        while let Some(message) = batch.next().await {
            let message = message.map_err(|error| retry(error.to_string()))?;
            let info = message.info().map_err(|error| retry(error.to_string()))?;
            let (sequence, delivery) = (info.stream_sequence, info.consumer_sequence);
            if delivery != self.deliveries + 1 {
                return Err(retry(format!(
                    "messages of the consumer got lost before {sequence}; it is made anew"
                )));
            }
            self.deliveries = delivery;
            if sequence <= self.last {
                // Given once more. What is held is the same.
                continue;
            }
            if sequence > self.last + 1 {
                gap = gap.or(Some(self.last));
            }
            self.last = sequence;
            self.held.insert(sequence, Held { message, event_id: String::new() });
        }
        match gap {
            Some(last) => self.check_gap(last).await,
            None => Ok(()),
        }
    }

    /// That what is missing between two messages was never there for this node: others' messages, or
    /// ones that somebody has removed by themselves. Where the stream has lost its beginning as far as
    /// there, the node would miss them without a word; and another consumer of this name may have begun
    /// elsewhere.
    async fn check_gap(&mut self, last: u64) -> Result<(), Broken> {
        let state = self.stream.get_info().await.map_err(|error| retry(reason(&error)))?.state;
        if state.first_sequence > last.saturating_add(1) {
            return Err(behind(state.first_sequence, last));
        }
        self.check_consumer().await
    }

    /// That the consumer is the one that it was, and has given to nobody else.
    async fn check_consumer(&mut self) -> Result<(), Broken> {
        let made = self.consumer.cached_info().created;
        let now = self.consumer.get_info().await.map_err(|error| retry(reason(&error)))?;
        if made != now.created || now.delivered.consumer_sequence != self.deliveries {
            let name = &now.name;
            return Err(retry(format!(
                "somebody else reads by the consumer `{name}`, which has to be this node's alone; it \
                 is made anew"
            )));
        }
        Ok(())
    }

    /// What is held, as events.
    fn events(&mut self, max: usize) -> Vec<ControlEvent> {
        let mut events = Vec::new();
        for (sequence, held) in self.held.iter_mut().take(max) {
            match ControlEvent::from_json(&held.message.payload) {
                Ok(event) => {
                    held.event_id.clone_from(&event.event_id);
                    events.push(ControlEvent { control_version: *sequence, ..event });
                }
                // An event that nobody can apply, so that it is seen, and can be passed over.
                Err(error) => {
                    held.event_id = format!("message {sequence}");
                    let reason = error.to_string();
                    events.push(ControlEvent::unreadable(&held.event_id, *sequence, &reason));
                }
            }
        }
        events
    }
}

fn behind(first: u64, since: u64) -> Broken {
    retry(format!(
        "the stream begins at {first}, and this node is at {since}: it would miss what was between"
    ))
}

/// FNV-1a with 32 bits over texts, each with its end. Source: draft-eastlake-fnv, section 5.
fn sum(texts: &[&str]) -> u32 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

async fn make(
    stream: &Stream,
    settings: &Settings,
    name: &str,
    since: u64,
) -> Result<Consumer<pull::Config>, Broken> {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: since.saturating_add(1) },
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: MOST_UNACKNOWLEDGED,
        filter_subject: settings.subject.clone(),
        ..pull::Config::default()
    };
    let made = stream.create_consumer(config).await;
    made.map_err(|error| retry(format!("can't make the consumer `{name}`: {}", reason(&error))))
}

fn is_missing(kind: &ConsumerInfoErrorKind) -> bool {
    matches!(kind, ConsumerInfoErrorKind::NotFound)
}
