//! Tests of what holds for records of all streams.

use std::io;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter};

use super::{Record, Stamped};
use crate::{
    CloudEvent, ComputeStop, ControlEvent, ControlType, Entry, ExtensionValue, IdSource, Kind,
    Reason, Shape, Status, Stream, Timestamp, UsageEvent, parse_line,
};

fn now() -> Timestamp {
    "2026-05-20T01:02:03Z".parse().unwrap()
}

fn encoded(record: &Record) -> String {
    let mut out = Vec::new();
    record.encode(&mut out);
    String::from_utf8(out).unwrap()
}

fn stop(vm_id: &str) -> Record {
    Entry::vm_compute_stop(vm_id, ComputeStop::User).emitted_at(now()).build().unwrap().into()
}

/// serde_json's own writer with Go's escapes: what the encoder is compared with.
struct GoEscapes;

impl Formatter for GoEscapes {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            match character {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    write!(writer, "\\u{:04x}", u32::from(character))?;
                }
                _ => write!(writer, "{character}")?,
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

fn serialized(record: &Record) -> String {
    let mut out = Vec::new();
    record.serialize(&mut serde_json::Serializer::with_formatter(&mut out, GoEscapes)).unwrap();
    String::from_utf8(out).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9-]{1,24}",
        "(?s)[\\x00-\\x7f]{1,12}",
        "[<>&\"\\\\äλ😀\u{2027}-\u{202a}]{1,8}",
    ]
}

fn quantity() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1_u64..100_000, 0..=crate::MAX_QUANTITY]
}

fn time() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), prop_oneof![Just(0), -1439_i16..=1439])
        .prop_map(|(nanos, offset)| Timestamp::from_unix_nanos(nanos).with_offset_minutes(offset))
}

prop_compose! {
    fn entry()(
        kind in prop::sample::select(Kind::ALL.to_vec()),
        reason in of(prop::sample::select(Reason::ALL.to_vec())),
        id in text(),
        others in (of(text()), of(text()), of(text())),
        (cpu, mem, storage) in (quantity(), quantity(), quantity()),
        time in time(),
    ) -> Record {
        // By way of text, since builders do not give every reason to every kind.
        let (mine, other) =
            if kind.as_str().starts_with("vm.") { ("vm_id", "snapshot_id") } else { ("snapshot_id", "vm_id") };
        let (other_id, source, hypervisor) = others;
        let json = serde_json::json!({
            "kind": kind, mine: id, other: other_id, "source_snapshot_id": source,
            "reason": reason, "hypervisor": hypervisor,
            "shape": Shape::new(cpu, mem, storage), "emitted_at": time,
        });
        serde_json::from_value::<Entry>(json).unwrap().into()
    }
}

prop_compose! {
    fn usage()(
        (rid, tenant, src, stack) in (text(), text(), text(), text()),
        quantities in vec(quantity(), 5),
        ok in any::<bool>(),
        billable in any::<bool>(),
        denied in of(prop_oneof![Just(String::new()), text()]),
        time in time(),
    ) -> Record {
        let event = UsageEvent::builder(rid, tenant, src, stack)
            .duration_ms(quantities[0])
            .bytes_in(quantities[1])
            .bytes_out(quantities[2])
            .mem_bytes(quantities[3])
            .fuel(quantities[4])
            .status(if ok { Status::Ok } else { Status::Error })
            .billable(billable)
            .emitted_at(time);
        match denied {
            Some(reason) => event.denied(reason).build().into(),
            None => event.build().into(),
        }
    }
}

prop_compose! {
    fn control()(
        of_type in prop::sample::select(ControlType::ALL.to_vec()),
        texts in vec(text(), 5),
        (id, version, base_version) in (any::<i64>(), any::<i64>(), any::<i64>()),
        control_version in any::<u64>(),
        digest in any::<[u8; 32]>(),
    ) -> Record {
        ControlEvent::builder(texts[0].as_str(), of_type)
            .id(id)
            .tenant_id(texts[1].as_str())
            .stack_id(texts[2].as_str())
            .version(version | 1)
            .base_version(base_version)
            .artifact(texts[3].as_str(), digest)
            .control_version(control_version)
            .created_at_text(texts[4].as_str())
            .build()
            .unwrap()
            .into()
    }
}

prop_compose! {
    fn event()(
        (id, source, event_type) in (text(), text(), text()),
        (subject, schema, at) in (of(text()), of(text()), of(time())),
        flag in of(any::<bool>()),
        number in of(any::<i32>()),
        word in of(text()),
        json in of(vec(text(), 0..4)),
        bytes in vec(any::<u8>(), 0..20),
    ) -> Record {
        let mut event = CloudEvent::builder(id, source, event_type);
        if let Some(subject) = subject {
            event = event.subject(subject);
        }
        if let Some(schema) = schema {
            event = event.data_schema(schema);
        }
        if let Some(at) = at {
            event = event.time(at);
        }
        let values = [
            flag.map(ExtensionValue::from),
            number.map(ExtensionValue::from),
            word.map(ExtensionValue::from),
        ];
        for (index, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                event = event.extension(format!("ext{index}"), value);
            }
        }
        event = match json {
            Some(list) => event.json(&serde_json::to_string_pretty(&list).unwrap()),
            None => event.binary("application/octet-stream", bytes),
        };
        event.build().unwrap().into()
    }
}

fn record() -> impl Strategy<Value = Record> {
    prop_oneof![entry(), usage(), control(), event()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_written_is_read_back_and_written_the_same(record in record()) {
        let line = encoded(&record);
        prop_assert!(!line.contains(['\n', '\r']), "{}", line);
        let read = parse_line(record.stream(), line.as_bytes(), Timestamp::MIN).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(encoded(&read), line);
    }

    #[test]
    fn serde_writes_and_reads_what_the_encoder_writes(record in record()) {
        let line = encoded(&record);
        prop_assert_eq!(serialized(&record), line.as_str());
        // Another writer's escapes and spaces are read as well.
        let pretty = serde_json::to_string_pretty(&record).unwrap();
        let read: Record = match record.stream() {
            Stream::Metering => serde_json::from_str::<Entry>(&pretty).unwrap().into(),
            Stream::Usage => serde_json::from_str::<UsageEvent>(&pretty).unwrap().into(),
            Stream::Control => serde_json::from_str::<ControlEvent>(&pretty).unwrap().into(),
            Stream::Events => serde_json::from_str::<CloudEvent>(&line).unwrap().into(),
        };
        prop_assert_eq!(read, record);
    }

    #[test]
    fn an_envelope_holds_the_record_and_its_identity(record in record()) {
        let stamped = Stamped::new(IdSource::new(1).next(now()), now(), record);
        let mut out = Vec::new();
        stamped.encode_cloudevent("/node<1>", &mut out);
        let Record::Event(event) = parse_line(Stream::Events, &out, Timestamp::MIN).unwrap() else {
            panic!("not an event")
        };
        if let Record::Event(inner) = &stamped.record {
            prop_assert_eq!(&event, inner);
        } else {
            prop_assert_eq!(event.id(), stamped.id.to_string());
            prop_assert_eq!(event.source(), "/node<1>");
            prop_assert_eq!(event.time(), Some(now()));
            prop_assert_eq!(event.data_bytes().unwrap(), encoded(&stamped.record).into_bytes());
        }
    }
}

#[test]
fn a_record_is_appended_to_what_is_there() {
    let mut out = b"x".to_vec();
    stop("v").encode(&mut out);
    out.push(b'\n');
    stop("w").encode(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!("x{}\n{}", encoded(&stop("v")), encoded(&stop("w")))
    );
}

#[test]
fn an_envelope_names_its_type_and_subject() {
    let id = "019e42e7-6cc0-7000-8000-000000000001".parse().unwrap();
    let envelope = |record: Record| {
        let mut out = b"x".to_vec();
        Stamped::new(id, now(), record).encode_cloudevent("wasink", &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        envelope(stop("vm-7")),
        r#"x{"specversion":"1.0","id":"019e42e7-6cc0-7000-8000-000000000001","source":"wasink","type":"wasink.metering","subject":"vm-7","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{"kind":"vm.compute.stop","vm_id":"vm-7","reason":"stop-user","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}}"#
    );
    assert_eq!(
        envelope(Entry::snap_storage_start("s-1").build().unwrap().into()),
        r#"x{"specversion":"1.0","id":"019e42e7-6cc0-7000-8000-000000000001","source":"wasink","type":"wasink.metering","subject":"s-1","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{"kind":"snap.storage.start","snapshot_id":"s-1","shape":{},"emitted_at":"2026-05-20T01:02:03Z"}}"#
    );
    assert_eq!(
        envelope(UsageEvent::builder("r", "", "http", "s").build().into()),
        r#"x{"specversion":"1.0","id":"019e42e7-6cc0-7000-8000-000000000001","source":"wasink","type":"wasink.usage","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{"rid":"r","tenant":"","src":"http","stack":"s","duration_ms":0,"status":"ok","bytes_in":0,"bytes_out":0,"emitted_at":"2026-05-20T01:02:03Z"}}"#
    );
    assert_eq!(
        envelope(ControlEvent::stack_activated("e", "acme", "s", 1).build().unwrap().into()),
        r#"x{"specversion":"1.0","id":"019e42e7-6cc0-7000-8000-000000000001","source":"wasink","type":"wasink.control","subject":"acme","time":"2026-05-20T01:02:03Z","datacontenttype":"application/json","data":{"id":0,"event_id":"e","type":"stack.activated","tenant_id":"acme","stack_id":"s","version":1,"control_version":0}}"#
    );
    let own = CloudEvent::builder("mine", "/here", "t").build().unwrap();
    assert_eq!(
        envelope(own.into()),
        r#"x{"specversion":"1.0","id":"mine","source":"/here","type":"t"}"#
    );
}

#[test]
fn only_a_time_that_is_not_there_is_stamped() {
    let mut usage = Record::from(UsageEvent::builder("r", "t", "http", "s").build());
    usage.stamp_time(now());
    usage.stamp_time(Timestamp::MAX);
    let Record::Usage(event) = &usage else { panic!() };
    assert_eq!(event.emitted_at(), Some(now()));

    for mut record in [
        Record::from(ControlEvent::builder("e", ControlType::KeyChanged).build().unwrap()),
        Record::from(CloudEvent::builder("i", "s", "t").build().unwrap()),
    ] {
        let before = record.clone();
        record.stamp_time(now());
        assert_eq!(record, before);
    }
}

#[test]
fn a_record_says_its_stream_and_tenant() {
    let usage = |tenant: &str| Record::from(UsageEvent::builder("r", tenant, "http", "s").build());
    let control = ControlEvent::builder("e", ControlType::KeyChanged);
    for (record, stream, tenant) in [
        (stop("v"), Stream::Metering, None),
        (usage("acme"), Stream::Usage, Some("acme")),
        (usage("_sys"), Stream::Usage, Some("_sys")),
        (usage(""), Stream::Usage, None),
        (control.clone().tenant_id("acme").build().unwrap().into(), Stream::Control, Some("acme")),
        (control.build().unwrap().into(), Stream::Control, None),
        (CloudEvent::builder("i", "s", "t").build().unwrap().into(), Stream::Events, None),
    ] {
        assert_eq!((record.stream(), record.tenant()), (stream, tenant));
    }
}

/// Takes at most so many bytes a call, or fails.
struct Writer {
    result: Result<usize, io::ErrorKind>,
    calls: Vec<Vec<u8>>,
}

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.calls.push(bytes.to_vec());
        self.result.map(|most| most.min(bytes.len())).map_err(io::Error::from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_record_is_written_with_its_lines_end_in_one_call() {
    let line = format!("{}\n", encoded(&stop("v")));
    for (result, expected) in [
        (Ok(usize::MAX), Ok(line.len())),
        (Ok(5), Ok(5)),
        (Err(io::ErrorKind::StorageFull), Err(io::ErrorKind::StorageFull)),
    ] {
        let mut writer = Writer { result, calls: Vec::new() };
        let written = stop("v").write_to(&mut writer).map_err(|error| error.kind());
        assert_eq!(written, expected);
        assert_eq!(writer.calls, [line.as_bytes()]);
    }
}
