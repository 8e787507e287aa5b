//! The plugins for NATS JetStream, with a real server.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use wasink_chassis::config::TcpTarget;
use wasink_chassis::feed::{FeedSink, FeedSource, Feeds as _};
use wasink_chassis::plugin::{
    CallError, Exception, Failure, Grants, OpenRequest, Outcome, Plugins as _,
};
use wasink_record::{ControlEvent, ControlType, Stream};

use crate::kit::{PATIENCE, batch, error, host, request};
use crate::nats::Nats;
use crate::ways_out::granted;

fn event(id: &str) -> ControlEvent {
    let event = ControlEvent::builder(id, ControlType::TenantCreated);
    event.tenant_id("acme").build().unwrap()
}

pub(crate) fn asking(nats: &Nats, more: Json) -> OpenRequest {
    let mut settings = json!({ "servers": [nats.address()], "timeout_ms": 2_000 });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let tcp = vec![TcpTarget::parse(&nats.address()).unwrap()];
    OpenRequest { grants: Grants { tcp, ..Grants::default() }, ..request("jetstream", &settings) }
}

pub(crate) fn sink(nats: &Nats) -> Box<dyn FeedSink> {
    host().open_sink(asking(nats, json!({ "create": {} }))).unwrap()
}

fn source(nats: &Nats) -> Box<dyn FeedSource> {
    host().open_source(asking(nats, json!({ "consumer": "node" }))).unwrap()
}

fn poll(source: &mut dyn FeedSource, since: u64) -> Vec<(u64, String)> {
    let events = source.poll(since, 100, Duration::ZERO).unwrap();
    events.into_iter().map(|polled| (polled.control_version, polled.event_id)).collect()
}

fn seen(all: &[(u64, &str)]) -> Vec<(u64, String)> {
    all.iter().map(|(version, id)| (*version, (*id).to_owned())).collect()
}

/// What a plugin says that can't do its work now.
fn reason<T: std::fmt::Debug>(answer: Result<T, CallError>) -> String {
    match answer.unwrap_err() {
        CallError::Failed(failure) => passing(&failure),
        other => panic!("{other:?}"),
    }
}

/// Why the first of some events could not be appended.
fn not_appended(sink: &mut dyn FeedSink, events: &[ControlEvent]) -> String {
    let results = sink.append(events).unwrap();
    let mut failures = results.iter().map(|result| result.as_ref().unwrap_err());
    passing(failures.next().unwrap())
}

fn passing(failure: &Failure) -> String {
    match failure {
        Failure::Retry { reason, .. } | Failure::InDoubt { reason, .. } => reason.clone(),
        other => panic!("{other:?}"),
    }
}

/// Does so again and again, until it is as it should be.
fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let latest = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < latest, "it does not come to be");
    }
}

/// Appends these until all of them have a version.
fn append(sink: &mut dyn FeedSink, events: &[ControlEvent]) -> Vec<u64> {
    until(|| sink.append(events).ok()?.into_iter().collect::<Result<_, _>>().ok())
}

/// So far the consumer of a source has got.
fn consumer(nats: &Nats) -> Json {
    nats.ask("CONSUMER.INFO.WASINK_CONTROL.node", "")
}

#[test]
fn events_are_read_in_the_order_in_which_they_were_appended_and_the_server_is_told() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    assert!(source.wants_acks());
    let events = [event("evt_1"), event("evt_2"), event("evt_1"), event("evt_3")];
    assert_eq!(sink.append(&events).unwrap(), [Ok(1), Ok(2), Ok(1), Ok(3)]);
    let all = [(1, "evt_1"), (2, "evt_2"), (3, "evt_3")];
    assert_eq!(poll(&mut *source, 0), seen(&all));
    // As long as nothing is acknowledged, the same comes again.
    assert_eq!(poll(&mut *source, 0), seen(&all));
    source.ack(&["evt_1".to_owned(), "evt_2".to_owned()]).unwrap();
    assert_eq!(poll(&mut *source, 2), seen(&all[2..]));
    assert_eq!(consumer(&nats)["ack_floor"]["stream_seq"], 2);
    source.ack(&["evt_3".to_owned()]).unwrap();
    assert_eq!(consumer(&nats)["num_ack_pending"], 0);
    assert_eq!(poll(&mut *source, 3), []);
    source.close().unwrap();
    sink.close().unwrap();
}

#[test]
fn whoever_waits_gets_an_event_as_soon_as_there_is_one() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    sink.append(&[event("evt_1")]).unwrap();
    assert_eq!(poll(&mut *source, 0), seen(&[(1, "evt_1")]));
    let polled = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| source.poll(1, 10, Duration::from_secs(30)));
        // Its question is with the server.
        until(|| (consumer(&nats)["num_waiting"] == 1).then_some(()));
        sink.append(&[event("evt_2")]).unwrap();
        waiting.join().unwrap().unwrap()
    });
    assert_eq!(polled[0].event_id, "evt_2");
    assert_eq!(source.poll(2, 10, Duration::from_millis(1)).unwrap(), []);
}

#[test]
fn a_node_goes_on_at_its_own_place_whatever_the_server_believes() {
    let Some(nats) = Nats::start() else { return };
    let mut sink = sink(&nats);
    let events: Vec<_> = (1..=5).map(|n| event(&format!("evt_{n}"))).collect();
    sink.append(&events).unwrap();
    let all = [(1, "evt_1"), (2, "evt_2"), (3, "evt_3"), (4, "evt_4"), (5, "evt_5")];
    let mut first = source(&nats);
    assert_eq!(poll(&mut *first, 0), seen(&all));
    first.ack(&["evt_1".to_owned()]).unwrap();
    // It ends without a word, with four that it was given; another goes on where the node is.
    drop(first);
    let mut second = source(&nats);
    assert_eq!(poll(&mut *second, 1), seen(&all[1..]));
    // It was applied, and the server was not told.
    assert_eq!(poll(&mut *second, 3), seen(&all[3..]));
    second.ack(&["evt_4".to_owned(), "evt_5".to_owned()]).unwrap();
    assert_eq!(poll(&mut *second, 5), []);
    // Its cursor is set back.
    assert_eq!(poll(&mut *second, 2), seen(&all[2..]));
    // And another that has all of it does not begin again.
    drop(second);
    let mut third = source(&nats);
    assert_eq!(poll(&mut *third, 5), []);
    sink.append(&[event("evt_6")]).unwrap();
    assert_eq!(poll(&mut *third, 5), seen(&[(6, "evt_6")]));
    // Its cursor is set ahead.
    let more: Vec<_> = (7..=9).map(|n| event(&format!("evt_{n}"))).collect();
    sink.append(&more).unwrap();
    assert_eq!(poll(&mut *third, 8), seen(&[(9, "evt_9")]));
}

#[test]
fn a_server_that_is_killed_or_does_not_answer_loses_nothing() {
    let Some(mut nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    assert_eq!(sink.append(&[event("evt_1"), event("evt_2")]).unwrap(), [Ok(1), Ok(2)]);
    assert_eq!(poll(&mut *source, 0), seen(&[(1, "evt_1"), (2, "evt_2")]));
    nats.kill();
    not_appended(&mut *sink, &[event("evt_2"), event("evt_3")]);
    assert!(source.ack(&["evt_1".to_owned()]).is_err());
    assert!(source.poll(1, 10, Duration::ZERO).is_err());
    nats.run();
    assert_eq!(append(&mut *sink, &[event("evt_2"), event("evt_3")]), [2, 3]);
    assert_eq!(poll(&mut *source, 1), seen(&[(2, "evt_2"), (3, "evt_3")]));

    // Nothing comes back: whether it has them can't be told.
    nats.hold(true);
    let given = [event("evt_4"), event("evt_5")];
    not_appended(&mut *sink, &given);
    assert!(source.ack(&["evt_2".to_owned()]).is_err());
    nats.hold(false);
    assert_eq!(append(&mut *sink, &given), [4, 5]);
    assert_eq!(append(&mut *sink, &given), [4, 5]);
    let rest = seen(&[(2, "evt_2"), (3, "evt_3"), (4, "evt_4"), (5, "evt_5")]);
    let all = until(|| {
        let events = source.poll(1, 100, Duration::ZERO).ok()?;
        Some(events.into_iter().map(|polled| (polled.control_version, polled.event_id)))
    });
    assert_eq!(all.collect::<Vec<_>>(), rest);
}

#[test]
fn a_server_that_is_restarted_between_two_polls_loses_nothing() {
    let Some(mut nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    append(&mut *sink, &[event("evt_1")]);
    assert_eq!(poll(&mut *source, 0), seen(&[(1, "evt_1")]));
    source.ack(&["evt_1".to_owned()]).unwrap();
    for version in 2..5_u64 {
        nats.kill();
        nats.run();
        let id = format!("evt_{version}");
        assert_eq!(append(&mut *sink, &[event(&id)]), [version]);
        let polled = until(|| source.poll(version - 1, 10, Duration::ZERO).ok());
        assert_eq!((polled.len(), &polled[0].event_id), (1, &id));
        until(|| {
            source.ack(std::slice::from_ref(&id)).ok().or_else(|| {
                // What was given on a connection that is gone is given again.
                source.poll(version - 1, 10, Duration::ZERO).ok().and(None)
            })
        });
    }
}

#[test]
fn a_reader_at_work_notices_that_what_it_has_not_read_is_gone() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    let events: Vec<_> = (1..=9).map(|n| event(&format!("evt_{n}"))).collect();
    append(&mut *sink, &events[..2]);
    assert_eq!(poll(&mut *source, 0), seen(&[(1, "evt_1"), (2, "evt_2")]));
    source.ack(&["evt_1".to_owned(), "evt_2".to_owned()]).unwrap();
    append(&mut *sink, &events);
    nats.ask("STREAM.PURGE.WASINK_CONTROL", "{\"seq\":7}");
    for _ in 0..2 {
        let behind = reason(source.poll(2, 10, Duration::ZERO));
        assert!(behind.contains("begins at 7, and this node is at 2"), "{behind}");
    }
    // What somebody has removed by itself was to be removed.
    nats.ask("STREAM.MSG.DELETE.WASINK_CONTROL", "{\"seq\":8}");
    assert_eq!(poll(&mut *source, 6), seen(&[(7, "evt_7"), (9, "evt_9")]));
}

#[test]
fn a_stream_that_is_made_anew_is_not_taken_for_the_old_one() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    append(&mut *sink, &[event("evt_1"), event("evt_2")]);
    assert_eq!(poll(&mut *source, 0).len(), 2);
    nats.ask("STREAM.DELETE.WASINK_CONTROL", "");
    // It is not made again by whoever has given versions of it.
    until(|| (not_appended(&mut *sink, &[event("evt_3")]).contains("is gone")).then_some(()));
    append(&mut *self::sink(&nats), &[event("other_1"), event("other_2"), event("other_3")]);
    let another = not_appended(&mut *sink, &[event("evt_3")]);
    assert!(another.contains("is another than it was"), "{another}");
    let another = until(|| {
        let reason = reason(source.poll(2, 10, Duration::ZERO));
        reason.contains("is another than it was").then_some(reason)
    });
    assert!(another.contains("begin a new feed"), "{another}");
}

#[test]
fn two_that_share_a_consumer_by_mistake_both_get_everything() {
    let Some(nats) = Nats::start() else { return };
    let mut sink = sink(&nats);
    let events: Vec<_> = (1..=20).map(|n| event(&format!("evt_{n:02}"))).collect();
    append(&mut *sink, &events);
    let mut nodes = [(source(&nats), 0), (source(&nats), 0)];
    let mut got = [Vec::new(), Vec::new()];
    until(|| {
        for ((source, since), got) in nodes.iter_mut().zip(&mut got) {
            for polled in source.poll(*since, 3, Duration::ZERO).unwrap_or_default() {
                *since = polled.control_version;
                got.push(polled.event_id.clone());
                drop(source.ack(&[polled.event_id]));
            }
        }
        got.iter().all(|got| got.len() == 20).then_some(())
    });
    for got in got {
        assert_eq!(got, events.iter().map(ControlEvent::event_id).collect::<Vec<_>>());
    }
}

#[test]
fn who_has_to_show_a_token_shows_the_secret_that_is_named() {
    let Some(nats) = Nats::guarded_by("open sesame") else { return };
    let opened = |grants: &str, more: Json| {
        let mut request = asking(&nats, more);
        let tcp = std::mem::take(&mut request.grants.tcp);
        request.grants = Grants { tcp, ..granted(grants) };
        host().open_sink(request).unwrap()
    };
    let refused = not_appended(&mut *opened("", json!({})), &[event("evt_1")]);
    assert!(refused.to_lowercase().contains("authorization"), "{refused}");
    let named = json!({ "create": {}, "token": "sesame" });
    let refused = not_appended(&mut *opened("", named.clone()), &[event("evt_1")]);
    assert!(refused.contains("the secret `sesame` is not granted"), "{refused}");
    let mut sink = opened("secrets = ['sesame']", named);
    assert_eq!(append(&mut *sink, &[event("evt_1")]), [1]);
}

#[test]
fn what_others_publish_does_not_mix_up_the_order() {
    let Some(nats) = Nats::start() else { return };
    let mut sinks = [sink(&nats), sink(&nats)];
    let mut versions = std::thread::scope(|scope| {
        let threads: Vec<_> = sinks
            .iter_mut()
            .enumerate()
            .map(|(n, sink)| {
                scope.spawn(move || {
                    let mut versions = Vec::new();
                    for batch in 0..10 {
                        let events: Vec<_> =
                            (0..20).map(|e| event(&format!("evt_{n}_{batch}_{e}"))).collect();
                        // Where both are the first, one may find the stream that the other is making.
                        versions.extend(append(&mut **sink, &events));
                    }
                    assert!(versions.is_sorted(), "{versions:?}");
                    versions
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    versions.sort_unstable();
    assert_eq!(versions, (1..=400).collect::<Vec<_>>());
}

#[test]
fn servers_that_keep_a_stream_together_lose_and_swap_nothing_when_one_of_them_goes() {
    let Some(mut servers) = Nats::cluster() else { return };
    let addresses: Vec<_> = servers.iter().map(Nats::address).collect();
    let tcp: Vec<_> = addresses.iter().map(|address| TcpTarget::parse(address).unwrap()).collect();
    let asking = |more: Json| {
        let mut settings = json!({ "servers": addresses, "timeout_ms": 2_000 });
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let grants = Grants { tcp: tcp.clone(), ..Grants::default() };
        OpenRequest { grants, ..request("jetstream", &settings) }
    };
    let sink = || host().open_sink(asking(json!({ "create": { "replicas": 3 } }))).unwrap();
    append(&mut *sink(), &[event("first")]);
    let ids =
        |producer: usize, batch: usize| (0..5).map(move |n| format!("{producer}_{batch:02}_{n}"));
    std::thread::scope(|scope| {
        let half = [(); 2].map(|()| std::sync::mpsc::sync_channel(1));
        let (tell, told): (Vec<_>, Vec<_>) = half.into_iter().unzip();
        for (producer, tell) in tell.into_iter().enumerate() {
            scope.spawn(move || {
                let mut sink = sink();
                for batch in 0..20 {
                    let events: Vec<_> = ids(producer, batch).map(|id| event(&id)).collect();
                    append(&mut *sink, &events);
                    if batch == 5 {
                        tell.send(()).unwrap();
                    }
                }
            });
        }
        for told in told {
            told.recv_timeout(PATIENCE).unwrap();
        }
        servers[0].kill();
        servers[0].run();
    });
    let mut source = host().open_source(asking(json!({ "consumer": "node" }))).unwrap();
    // The last may be on its way to the server that gives them.
    let (mut all, mut since) = (Vec::new(), 0);
    until(|| {
        for polled in source.poll(since, 1_000, Duration::ZERO).ok()? {
            assert!(polled.control_version > since, "{polled:?}");
            since = polled.control_version;
            all.push(polled.event_id);
        }
        (all.len() >= 201).then_some(())
    });
    assert_eq!(all.len(), 201, "{all:?}");
    for producer in 0..2 {
        let own: Vec<_> = all.iter().filter(|id| id.starts_with(&format!("{producer}_"))).collect();
        let expected: Vec<_> = (0..20).flat_map(|batch| ids(producer, batch)).collect();
        assert!(own.iter().copied().eq(&expected), "{own:?}");
    }
}

#[test]
fn what_is_no_event_is_given_as_one_that_nobody_can_apply() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    sink.append(&[event("evt_1")]).unwrap();
    nats.publish("wasink.control", "{\"event_id\":");
    sink.append(&[event("evt_3")]).unwrap();
    let polled = source.poll(0, 10, Duration::ZERO).unwrap();
    let shown = polled.iter().map(|event| (event.control_version, event.event.is_ok()));
    assert_eq!(shown.collect::<Vec<_>>(), [(1, true), (2, false), (3, true)]);
    assert_eq!(polled[1].event_id, "message 2");
    let invalid = polled[1].event.as_ref().unwrap_err().to_string();
    assert!(invalid.contains("EOF"), "{invalid}");
}

#[test]
fn a_stream_that_has_lost_what_a_node_needs_stops_that_node() {
    let Some(nats) = Nats::start() else { return };
    let (mut sink, mut source) = (sink(&nats), source(&nats));
    let missing = reason(source.poll(0, 10, Duration::ZERO));
    assert_eq!(missing, "there is no stream `WASINK_CONTROL`; make it, or set `create`");
    let events: Vec<_> = (1..=5).map(|n| event(&format!("evt_{n}"))).collect();
    sink.append(&events).unwrap();
    let ahead = reason(source.poll(9, 10, Duration::ZERO));
    assert!(ahead.contains("ends at 5, and this node is at 9 already"), "{ahead}");
    nats.ask("STREAM.PURGE.WASINK_CONTROL", "{\"seq\":4}");
    let behind = reason(source.poll(2, 10, Duration::ZERO));
    assert!(behind.contains("begins at 4, and this node is at 2"), "{behind}");
    assert_eq!(poll(&mut *source, 3), seen(&[(4, "evt_4"), (5, "evt_5")]));
    // And one that forgets what was read is no feed.
    let config = json!({
        "name": "forgets", "subjects": ["forgets"], "retention": "interest", "storage": "memory",
    });
    nats.ask("STREAM.CREATE.forgets", &config.to_string());
    let settings = json!({ "stream": "forgets", "subject": "forgets" });
    let mut forgetful = host().open_sink(asking(&nats, settings)).unwrap();
    let refused = not_appended(&mut *forgetful, &[event("evt_1")]);
    assert!(refused.contains("retention `limits`"), "{refused}");
}

#[test]
fn who_is_not_granted_the_server_is_told() {
    let Some(nats) = Nats::start() else { return };
    let request = OpenRequest { grants: Grants::default(), ..asking(&nats, json!({})) };
    let mut sink = host().open_sink(request).unwrap();
    let refused = not_appended(&mut *sink, &[event("evt_1")]);
    let expected = format!("{}: it is not granted; write it into `grants.tcp`", nats.address());
    assert_eq!(refused, format!("there is no connection: {expected}"));
}

#[test]
fn records_are_published_once_and_those_that_are_known_are_duplicates() {
    let Some(mut nats) = Nats::start() else { return };
    let mut sink = host().open(asking(&nats, json!({ "create": {} }))).unwrap();
    let records = batch(Stream::Usage, 0, 100);
    assert_eq!(sink.write(&records).unwrap(), []);
    let again = sink.write(&records).unwrap();
    assert_eq!(again.len(), 100);
    assert!(again.iter().all(|exception| exception.outcome == Outcome::Duplicate));
    nats.kill();
    reason(sink.write(&batch(Stream::Usage, 100, 10)));
    nats.run();
    let more = batch(Stream::Usage, 110, 10);
    let all = |exceptions: Vec<Exception>| {
        exceptions.iter().all(|exception| exception.outcome == Outcome::Duplicate).then_some(())
    };
    until(|| sink.write(&more).ok().and_then(all));
    assert_eq!(nats.ask("STREAM.INFO.WASINK", "")["state"]["messages"], 110);
    let message = nats.ask("STREAM.MSG.GET.WASINK", "{\"seq\":1}");
    assert_eq!(message["message"]["subject"], "wasink.usage");
    // More than the client lets wait for their answers.
    let many = batch(Stream::Metering, 120, 6_000);
    assert_eq!(sink.write(&many).unwrap(), []);
    assert_eq!(nats.ask("STREAM.INFO.WASINK", "")["state"]["messages"], 6_110);
}

#[test]
fn a_stream_that_can_t_do_for_records_is_refused_before_anything_is_sent() {
    let Some(nats) = Nats::start() else { return };
    let records = batch(Stream::Usage, 0, 3);
    let mut sink = host().open(asking(&nats, json!({}))).unwrap();
    let none = reason(sink.write(&records));
    assert!(
        none.starts_with("no stream takes `wasink.usage`; make one, or set `create`"),
        "{none}"
    );
    let second = 1_000_000_000_u64;
    let config = json!({
        "name": "short", "subjects": ["wasink.>"], "storage": "memory", "retention": "limits",
        "duplicate_window": 30 * second, "max_msg_size": 100,
    });
    nats.ask("STREAM.CREATE.short", &config.to_string());
    let short = reason(sink.write(&records));
    assert!(short.contains("knows ids for 30s; records would be there twice"), "{short}");
    let mut config = config;
    config["duplicate_window"] = (120 * second).into();
    nats.ask("STREAM.UPDATE.short", &config.to_string());
    // What is too large for it will never be otherwise.
    let outcomes = sink.write(&records).unwrap();
    assert_eq!(outcomes.len(), 3);
    for exception in outcomes {
        let Outcome::Rejected(why) = exception.outcome else { panic!("{exception:?}") };
        assert!(why.contains("message size exceeds maximum"), "{why}");
    }
    let settings = json!({ "subject": "billing-{stream}" });
    let error = error(host().open(asking(&nats, settings)));
    assert!(error.contains("`{stream}` has to stand between dots"), "{error}");
}
