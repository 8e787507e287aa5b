//! Between the chassis's types and those of the contract: the only bridge.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use wasink_chassis::feed::PolledEvent;
use wasink_chassis::logger::printable;
use wasink_chassis::plugin::{Acknowledges, Ask, Description, Exception, Failure, Need, Outcome};
use wasink_journal::{Batch, DictionaryColumn, Unreadable, UsageColumns};
use wasink_record::{
    CloudEvent, ControlEvent, ControlType, Entry, ExtensionValue, InvalidRecord, Kind,
    MAX_CONTROL_TEXT, Reason, Record, Stamped, Status, Stream, Timestamp, UsageEvent,
};

use crate::bindings::about::exports::wasink::plugin::about;
use crate::bindings::sink::exports::wasink::plugin::sink;
use crate::bindings::wasink::plugin::batches::{
    DictionaryColumn as WitDictionary, UsageColumns as WitColumns, WrongStream,
};
use crate::bindings::wasink::plugin::{lifecycle, records as wit};
use crate::words::{Words, cut};

/// Nobody reads more.
const MOST_ASKS: usize = 100;

/// The last control version: databases have signed numbers.
const MAX_VERSION: u64 = i64::MAX.unsigned_abs();

pub(crate) fn stream(stream: Stream) -> wit::Stream {
    match stream {
        Stream::Metering => wit::Stream::Metering,
        Stream::Usage => wit::Stream::Usage,
        Stream::Control => wit::Stream::Control,
        Stream::Events => wit::Stream::Events,
    }
}

fn host_stream(stream: wit::Stream) -> Stream {
    match stream {
        wit::Stream::Metering => Stream::Metering,
        wit::Stream::Usage => Stream::Usage,
        wit::Stream::Control => Stream::Control,
        wit::Stream::Events => Stream::Events,
    }
}

/// A typed view of a batch. That it is of another stream the guest is told; a record that can't be
/// read ends its call.
type View<T> = Result<Result<T, WrongStream>, Unreadable>;

/// The records of a batch in the types of the contract, where it is of `expected`.
fn typed<'a, T>(
    batch: &'a Batch,
    expected: Stream,
    convert: impl Fn(&'a Stamped) -> Option<T>,
) -> View<Vec<T>> {
    if batch.stream() == expected {
        Ok(Ok(batch.records()?.filter_map(convert).collect()))
    } else {
        Ok(Err(WrongStream { actual: stream(batch.stream()) }))
    }
}

pub(crate) fn entries(batch: &Batch) -> View<Vec<wit::Entry>> {
    typed(batch, Stream::Metering, |stamped| match &stamped.record {
        Record::Metering(record) => Some(entry(record, stamped.time)),
        _ => None,
    })
}

pub(crate) fn usage(batch: &Batch) -> View<Vec<wit::UsageEvent>> {
    typed(batch, Stream::Usage, |stamped| match &stamped.record {
        Record::Usage(record) => Some(usage_event(record, stamped.time)),
        _ => None,
    })
}

pub(crate) fn control(batch: &Batch) -> View<Vec<wit::ControlEvent>> {
    typed(batch, Stream::Control, |stamped| match &stamped.record {
        Record::Control(record) => Some(control_event(record)),
        _ => None,
    })
}

pub(crate) fn events(batch: &Batch) -> View<Vec<wit::CloudEvent>> {
    typed(batch, Stream::Events, |stamped| match &stamped.record {
        Record::Event(record) => Some(cloud_event(record)),
        _ => None,
    })
}

pub(crate) fn usage_columns(batch: &Batch) -> View<WitColumns> {
    let Some(columns) = batch.usage_columns()? else {
        return Ok(Err(WrongStream { actual: stream(batch.stream()) }));
    };
    let UsageColumns {
        tenant,
        src,
        stack,
        ok,
        billable,
        denied,
        duration_ms,
        bytes_in,
        bytes_out,
        mem_bytes,
        fuel,
        emitted_at,
    } = columns.as_ref().clone();
    let dictionary =
        |DictionaryColumn { values, codes }: DictionaryColumn| WitDictionary { values, codes };
    Ok(Ok(WitColumns {
        tenant: dictionary(tenant),
        src: dictionary(src),
        stack: dictionary(stack),
        ok,
        billable,
        denied,
        duration_ms,
        bytes_in,
        bytes_out,
        mem_bytes,
        fuel,
        emitted_at,
    }))
}

fn entry(entry: &Entry, stamped: Timestamp) -> wit::Entry {
    let shape = entry.shape();
    wit::Entry {
        kind: match entry.kind() {
            Kind::VmComputeStart => wit::Kind::VmComputeStart,
            Kind::VmComputeStop => wit::Kind::VmComputeStop,
            Kind::VmStorageStart => wit::Kind::VmStorageStart,
            Kind::VmStorageStop => wit::Kind::VmStorageStop,
            Kind::SnapStorageStart => wit::Kind::SnapStorageStart,
            Kind::SnapStorageStop => wit::Kind::SnapStorageStop,
            other => wit::Kind::Other(other.to_string()),
        },
        vm_id: owned(entry.vm_id()),
        snapshot_id: owned(entry.snapshot_id()),
        source_snapshot_id: owned(entry.source_snapshot_id()),
        reason: entry.reason().map(|reason| match reason {
            Reason::Boot => wit::Reason::Boot,
            Reason::Restart => wit::Reason::Restart,
            Reason::Clone => wit::Reason::Clone,
            Reason::Restore => wit::Reason::Restore,
            Reason::HibernateWake => wit::Reason::HibernateWake,
            Reason::StopUser => wit::Reason::StopUser,
            Reason::StopCrash => wit::Reason::StopCrash,
            Reason::VmRm => wit::Reason::VmRm,
            Reason::SnapRm => wit::Reason::SnapRm,
            other => wit::Reason::Other(other.to_string()),
        }),
        hypervisor: owned(entry.hypervisor()),
        shape: wit::Shape {
            cpu: shape.cpu(),
            mem_bytes: shape.mem_bytes(),
            storage_bytes: shape.storage_bytes(),
        },
        emitted_at: entry.emitted_at().unwrap_or(stamped).unix_nanos(),
    }
}

fn usage_event(event: &UsageEvent, stamped: Timestamp) -> wit::UsageEvent {
    wit::UsageEvent {
        rid: event.rid().to_owned(),
        tenant: event.tenant().to_owned(),
        src: event.src().to_owned(),
        stack: event.stack().to_owned(),
        duration_ms: event.duration_ms(),
        status: match event.status() {
            Status::Ok => wit::Status::Ok,
            Status::Error => wit::Status::Error,
        },
        bytes_in: event.bytes_in(),
        bytes_out: event.bytes_out(),
        mem_bytes: event.mem_bytes(),
        fuel: event.fuel(),
        admission_denied: owned(event.denied()),
        billable: event.billable(),
        emitted_at: event.emitted_at().unwrap_or(stamped).unix_nanos(),
    }
}

pub(crate) fn control_event(event: &ControlEvent) -> wit::ControlEvent {
    wit::ControlEvent {
        event_id: event.event_id().to_owned(),
        event_type: event.event_type().to_string(),
        tenant_id: owned(event.tenant_id()),
        stack_id: owned(event.stack_id()),
        version: event.version(),
        base_version: event.base_version(),
        artifact_ref: owned(event.artifact_ref()),
        checksum: owned(event.checksum()),
        control_version: event.control_version(),
        created_at: owned(event.created_at()),
    }
}

fn cloud_event(event: &CloudEvent) -> wit::CloudEvent {
    let extension = |(name, value): (&str, &ExtensionValue)| {
        let value = match value {
            ExtensionValue::Text(text) => serde_json::Value::from(&**text).to_string(),
            ExtensionValue::Flag(flag) => flag.to_string(),
            ExtensionValue::Integer(number) => number.to_string(),
        };
        (name.to_owned(), value)
    };
    wit::CloudEvent {
        id: event.id().to_owned(),
        source: event.source().to_owned(),
        type_: event.event_type().to_owned(),
        subject: owned(event.subject()),
        time: event.time().map(|time| time.unix_nanos()),
        data_content_type: owned(event.data_content_type()),
        data_schema: owned(event.data_schema()),
        data: event.data_bytes().map(Into::into),
        extensions: event.extensions().map(extension).collect(),
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// What a plugin tells about itself; an error says what of it can't be so.
pub(crate) fn description(given: about::Description, words: &Words) -> Result<Description, String> {
    let schema = given
        .settings_schema
        .map(|text| {
            serde_json::from_str::<serde_json::Value>(&text).map_err(|error| {
                format!("the settings schema that it describes itself with is not JSON: {error}")
            })
        })
        .transpose()?;
    let mut streams: Vec<_> = given.streams.into_iter().map(host_stream).collect();
    streams.sort_unstable();
    streams.dedup();
    if given.asks.len() > MOST_ASKS {
        return Err(format!("it asks for more than {MOST_ASKS} grants"));
    }
    let asks = given.asks.into_iter().map(|given| ask(given, words)).collect();
    Ok(Description {
        version: words.text(given.version),
        summary: words.text(given.summary),
        streams,
        settings_schema: schema,
        acknowledges: match given.acknowledges {
            about::Acknowledges::OnWrite => Acknowledges::OnWrite,
            about::Acknowledges::OnFlush => Acknowledges::OnFlush,
        },
        dedup_window: given.dedup_window.map(Duration::from_secs),
        acceptance_window: given.acceptance_window.map(Duration::from_secs),
        asks,
    })
}

fn ask(given: about::Ask, words: &Words) -> Ask {
    let need = match given.need {
        about::Need::Directory => Need::Directory,
        about::Need::Http(url) => Need::Http(words.text(url)),
        about::Need::Tcp(target) => Need::Tcp(words.text(target)),
        about::Need::Secret(name) => Need::Secret(words.text(name)),
        about::Need::Environment(name) => Need::Environment(words.text(name)),
        about::Need::Stderr => Need::Stderr,
        about::Need::Log => Need::Log,
    };
    Ask { need, required: given.required, reason: words.text(given.reason) }
}

pub(crate) fn failure(given: lifecycle::Failure, words: &Words) -> Failure {
    match given {
        lifecycle::Failure::Retry(again) => {
            let (after, reason) = self::again(again, words);
            Failure::Retry { after, reason }
        }
        lifecycle::Failure::InDoubt(again) => {
            let (after, reason) = self::again(again, words);
            Failure::InDoubt { after, reason }
        }
        lifecycle::Failure::Rejected(reason) => Failure::Rejected(words.text(reason)),
        lifecycle::Failure::Broken(reason) => Failure::Broken(words.text(reason)),
    }
}

/// What a source answered to a poll. An answer that is out of order, longer than was asked for, or at
/// versions that there are not, is none: a cursor that follows it would lose events.
pub(crate) fn polled(
    given: Vec<wit::ControlEvent>,
    since: u64,
    max: u32,
    words: &Words,
) -> Result<Vec<PolledEvent>, Failure> {
    let len = given.len();
    if usize::try_from(max).is_ok_and(|max| len > max) {
        return Err(Failure::Broken(format!("it gives {len} events where {max} were asked for")));
    }
    let mut behind = since;
    let mut events = Vec::with_capacity(len);
    for event in given {
        let version = event.control_version;
        let wrong = if version == 0 || version > MAX_VERSION {
            format!("which is none: there are 1 to {MAX_VERSION}")
        } else if version <= behind {
            format!("which is not above {behind}")
        } else {
            behind = version;
            let mut event_id = event.event_id.clone();
            // The event itself is refused then.
            cut(&mut event_id, MAX_CONTROL_TEXT);
            events.push(PolledEvent { event_id, control_version: version, event: stamped(event) });
            continue;
        };
        let id = printable(&words.text(event.event_id));
        return Err(Failure::Broken(format!("it gives the event `{id}` at {version}, {wrong}")));
    }
    Ok(events)
}

/// An event of a feed, checked as its consumer has to.
fn stamped(given: wit::ControlEvent) -> Result<ControlEvent, InvalidRecord> {
    let kind: ControlType = given.event_type.parse()?;
    let mut builder = ControlEvent::builder(given.event_id, kind)
        .version(given.version.unwrap_or_default())
        .base_version(given.base_version.unwrap_or_default())
        .control_version(given.control_version);
    if let Some(id) = given.tenant_id {
        builder = builder.tenant_id(id);
    }
    if let Some(id) = given.stack_id {
        builder = builder.stack_id(id);
    }
    if let Some(reference) = given.artifact_ref {
        builder = builder.artifact_ref(reference);
    }
    if let Some(checksum) = given.checksum {
        builder = builder.checksum(checksum);
    }
    if let Some(text) = given.created_at {
        builder = builder.created_at_text(text);
    }
    let event = builder.build()?;
    event.validate_stamped()?;
    Ok(event)
}

/// Versions that a feed sink has given, as far as they are remembered: the highest, and to which event.
pub(crate) type Highest = Option<(u64, String)>;

/// What a feed sink answered for these events. An answer in which two of them have one place in the feed,
/// or one has two, or in which any has one behind an event that has none, is no answer: nobody could tell
/// what the feed holds, and in which order. That versions go up can't be asked for: an event that comes
/// again has the one that it had.
pub(crate) fn appended(
    given: Vec<Result<u64, lifecycle::Failure>>,
    events: &[ControlEvent],
    highest: &mut Highest,
    words: &Words,
) -> Result<Vec<Result<u64, Failure>>, Failure> {
    if given.len() != events.len() {
        let (results, len) = (given.len(), events.len());
        return Err(Failure::Broken(format!("it gives {results} results for {len} events")));
    }
    let broken = |event: &ControlEvent, wrong: String| {
        let id = printable(&words.text(event.event_id().to_owned()));
        Err(Failure::Broken(format!("it gives the event `{id}` {wrong}")))
    };
    let mut by_version = HashMap::with_capacity(given.len());
    let mut by_id = HashMap::with_capacity(given.len());
    if let Some((version, id)) = &*highest {
        by_version.insert(*version, id.as_str());
    }
    let mut ended = false;
    for (event, result) in events.iter().zip(&given) {
        let id = event.event_id();
        let version = match *result {
            Ok(version) if version > 0 => version,
            // That it gives no versions is an answer.
            _ => {
                ended = true;
                continue;
            }
        };
        if version > MAX_VERSION {
            return broken(event, format!("the version {version}, and {MAX_VERSION} is the last"));
        }
        if ended {
            return broken(event, format!("the version {version}, and none to one before it"));
        }
        if *by_version.entry(version).or_insert(id) != id {
            return broken(event, format!("the version {version}, which is another event's"));
        }
        let first = *by_id.entry(id).or_insert(version);
        if first != version {
            return broken(event, format!("the versions {first} and {version}"));
        }
    }
    let top = by_id.into_iter().map(|(id, version)| (version, id)).max();
    if let Some((version, id)) = top
        && highest.as_ref().is_none_or(|(before, _)| version > *before)
    {
        *highest = Some((version, id.to_owned()));
    }
    Ok(given.into_iter().map(|result| result.map_err(|why| failure(why, words))).collect())
}

/// When, and why.
fn again(given: lifecycle::Again, words: &Words) -> (Option<Duration>, String) {
    let reason = match given.reason.as_str() {
        "" => "the plugin does not say why".to_owned(),
        _ => words.text(given.reason),
    };
    (given.after.map(wait), reason)
}

/// A plugin's answer to a batch of `len` records. An answer that names a record which is not there,
/// or one twice, is no answer: who gives it can't be trusted with the others either.
pub(crate) fn exceptions(
    given: Vec<sink::Exception>,
    len: usize,
    words: &Words,
) -> Result<Vec<Exception>, Failure> {
    let mut seen = HashSet::with_capacity(given.len());
    let mut exceptions = Vec::with_capacity(given.len().min(len));
    for sink::Exception { index, outcome } in given {
        if usize::try_from(index).is_ok_and(|index| index >= len) {
            let reason = format!("its answer names record {index} of a batch of {len}");
            return Err(Failure::Broken(reason));
        }
        if !seen.insert(index) {
            return Err(Failure::Broken(format!("its answer names record {index} twice")));
        }
        let outcome = match outcome {
            sink::Outcome::Duplicate => Outcome::Duplicate,
            sink::Outcome::Retry(after) => Outcome::Retry(after.map(wait)),
            sink::Outcome::InDoubt(after) => Outcome::InDoubt(after.map(wait)),
            sink::Outcome::Rejected(reason) => Outcome::Rejected(words.text(reason)),
            sink::Outcome::Expired => Outcome::Expired,
        };
        exceptions.push(Exception { index: index as usize, outcome });
    }
    Ok(exceptions)
}

/// A plugin may ask for any wait; a day is as good as for ever, and can be added to a clock.
fn wait(milliseconds: u64) -> Duration {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    Duration::from_millis(milliseconds).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use wasink_chassis::limits::{Limit, LimitCounts, Limits};

    use super::*;
    use crate::words::testing::words;

    /// Words that are cut behind four bytes, and how often one was.
    fn terse() -> (Words, LimitCounts) {
        let (mut limits, reached) = (Limits::default(), LimitCounts::default());
        limits.text_bytes = 4;
        (words(limits, &reached).0, reached)
    }

    fn rejected(index: u32, reason: &str) -> sink::Exception {
        sink::Exception { index, outcome: sink::Outcome::Rejected(reason.to_owned()) }
    }

    #[test]
    fn an_answer_names_each_record_once_at_most_and_none_that_is_not_there() {
        let (words, _) = terse();
        let answer = |indices: &[u32]| {
            exceptions(indices.iter().map(|index| rejected(*index, "no")).collect(), 3, &words)
        };
        assert_eq!(answer(&[]).unwrap(), []);
        assert_eq!(answer(&[2, 0, 1]).unwrap().len(), 3);
        for (indices, expected) in [
            (&[3][..], "its answer names record 3 of a batch of 3"),
            (&[0, u32::MAX], "its answer names record 4294967295 of a batch of 3"),
            (&[1, 2, 1], "its answer names record 1 twice"),
            (&[0, 1, 2, 0], "its answer names record 0 twice"),
        ] {
            assert_eq!(answer(indices).unwrap_err(), Failure::Broken(expected.to_owned()));
        }
    }

    #[test]
    fn every_text_of_an_answer_is_cut_and_counted() {
        let (words, reached) = terse();
        let cut = || "leng…".to_owned();
        let given = exceptions(vec![rejected(0, "lengthy")], 1, &words).unwrap();
        assert_eq!(given[0].outcome, Outcome::Rejected(cut()));
        let long = || "lengthy".to_owned();
        let failed = failure(lifecycle::Failure::Rejected(long()), &words);
        assert_eq!(failed, Failure::Rejected(cut()));
        let failed = failure(lifecycle::Failure::Broken(long()), &words);
        assert_eq!(failed, Failure::Broken(cut()));
        assert_eq!(reached.get(Limit::Text), 3);
    }

    fn feed_event(id: &str, version: u64) -> ControlEvent {
        let event = ControlEvent::builder(id, ControlType::TenantCreated).tenant_id("acme");
        event.control_version(version).build().unwrap()
    }

    #[test]
    fn a_poll_gives_events_above_a_place_in_order_and_at_versions_that_there_are() {
        let (mut limits, reached) = (Limits::default(), LimitCounts::default());
        limits.text_bytes = 6;
        let (words, _) = words(limits, &reached);
        let poll = |since: u64, versions: &[u64]| {
            let event = |version: &u64| control_event(&feed_event("e\u{7}vent-1", *version));
            let events = polled(versions.iter().map(event).collect(), since, 3, &words)?;
            Ok(events.into_iter().map(|event| event.control_version).collect::<Vec<_>>())
        };
        let last = MAX_VERSION;
        assert_eq!(poll(0, &[]), Ok(vec![]));
        assert_eq!(poll(4, &[5, 7, last]), Ok(vec![5, 7, last]));
        for (since, versions, expected) in [
            (0, &[1, 2, 3, 4][..], "it gives 4 events where 3 were asked for"),
            (4, &[5, 4], "it gives the event `e\\u{7}vent…` at 4, which is not above 5"),
            (4, &[4], "it gives the event `e\\u{7}vent…` at 4, which is not above 4"),
            (5, &[7, 7], "it gives the event `e\\u{7}vent…` at 7, which is not above 7"),
            (
                0,
                &[0],
                "it gives the event `e\\u{7}vent…` at 0, which is none: there are 1 to \
                 9223372036854775807",
            ),
            (
                4,
                &[5, last + 1],
                "it gives the event `e\\u{7}vent…` at 9223372036854775808, which is none: there are 1 \
                 to 9223372036854775807",
            ),
        ] {
            assert_eq!(poll(since, versions), Err(Failure::Broken(expected.to_owned())));
        }
        assert!(poll(4, &[0, 1]).is_err(), "a place that begins anew");
        assert!(poll(last, &[u64::MAX]).is_err());
    }

    #[test]
    fn an_event_of_a_feed_that_breaks_a_rule_has_its_place_and_an_id_that_is_not_too_long() {
        let (words, _) = words(Limits::default(), &LimitCounts::default());
        let long = "é".repeat(MAX_CONTROL_TEXT);
        let given = vec![control_event(&feed_event(&long, 1)), control_event(&feed_event("b", 2))];
        let events = polled(given, 0, 2, &words).unwrap();
        let id = format!("{}…", "é".repeat(MAX_CONTROL_TEXT / 2));
        assert_eq!((&events[0].event_id, events[0].control_version), (&id, 1));
        let bytes = long.len();
        assert_eq!(events[0].event, Err(InvalidRecord::TooLong { field: "event_id", bytes }));
        assert_eq!(events[1].event, Ok(feed_event("b", 2)));
    }

    #[test]
    fn what_is_appended_has_a_place_of_its_own_and_nothing_has_one_behind_what_failed() {
        let (words, _) = words(Limits::default(), &LimitCounts::default());
        let append = |highest: &mut Highest, answer: &[(&str, u64)]| {
            let events: Vec<_> = answer.iter().map(|(id, _)| feed_event(id, 0)).collect();
            let result = |(_, version): &(&str, u64)| match version {
                1_000 => Err(lifecycle::Failure::Rejected("no".to_owned())),
                version => Ok(*version),
            };
            appended(answer.iter().map(result).collect(), &events, highest, &words)
        };
        let none = &mut None;
        assert_eq!(append(none, &[("a", 0), ("b", 0)]), Ok(vec![Ok(0), Ok(0)]), "it gives none");
        assert_eq!(append(none, &[("a", 3), ("b", 2), ("a", 3)]).unwrap().len(), 3);
        assert_eq!(*none, Some((3, "a".to_owned())));
        assert!(append(none, &[("b", 2), ("a", 3), ("c", 1_000), ("d", 1_000)]).is_ok());
        assert!(append(none, &[("d", MAX_VERSION), ("e", 0)]).is_ok());

        for (answer, expected) in [
            (&[("a", 4), ("b", 4)][..], "`b` the version 4, which is another event's"),
            (&[("b", 3)], "`b` the version 3, which is another event's"),
            (&[("a", 4), ("b", 5), ("a", 6)], "`a` the versions 4 and 6"),
            (&[("a", 1_000), ("b", 5)], "`b` the version 5, and none to one before it"),
            (&[("a", 0), ("b", 5)], "`b` the version 5, and none to one before it"),
            (
                &[("a", MAX_VERSION + 1)],
                "`a` the version 9223372036854775808, and 9223372036854775807 is the last",
            ),
        ] {
            let mut highest = Some((3, "a".to_owned()));
            let expected = Failure::Broken(format!("it gives the event {expected}"));
            assert_eq!(append(&mut highest, answer), Err(expected));
            assert_eq!(highest, Some((3, "a".to_owned())), "nothing is remembered of it");
        }
        let few = appended(vec![], &[feed_event("a", 0)], &mut None, &words);
        assert_eq!(few, Err(Failure::Broken("it gives 0 results for 1 events".to_owned())));
    }

    fn told(asks: Vec<about::Ask>) -> about::Description {
        about::Description {
            version: "lengthy".to_owned(),
            summary: "lengthy".to_owned(),
            streams: Vec::new(),
            settings_schema: None,
            acknowledges: about::Acknowledges::OnWrite,
            dedup_window: None,
            acceptance_window: None,
            asks,
        }
    }

    fn asked(need: about::Need) -> about::Ask {
        about::Ask { need, required: true, reason: "lengthy".to_owned() }
    }

    #[test]
    fn what_a_plugin_tells_of_itself_is_as_short_and_asks_for_no_more_than_anybody_reads() {
        let (words, reached) = terse();
        let long = || "lengthy".to_owned();
        let needs = [
            about::Need::Http(long()),
            about::Need::Tcp(long()),
            about::Need::Secret(long()),
            about::Need::Environment(long()),
        ];
        let asks = needs.into_iter().map(asked).collect();
        let description = description(told(asks), &words).unwrap();
        assert!(!format!("{description:?}").contains("lengt"), "{description:?}");
        assert_eq!(reached.get(Limit::Text), 10);
        let many = |count: usize| (0..count).map(|_| asked(about::Need::Log)).collect();
        assert!(super::description(told(many(MOST_ASKS)), &words).is_ok());
        let error = super::description(told(many(MOST_ASKS + 1)), &words).unwrap_err();
        assert_eq!(error, "it asks for more than 100 grants");
    }
}
