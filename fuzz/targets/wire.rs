//! Records and their parts from text: what is read is written, and read again as the same.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a target stops at the first surprise")]

use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use wasink_fuzz::Cut;
use wasink_record::{
    CloudEvent, ControlEvent, Entry, MAX_EXTENSIONS, Record, RecordId, Stamped, Stream, Timestamp,
    UsageEvent, parse_line,
};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_779_238_923_000_000_000);
const ID: &str = "0196e9f0-0000-7000-8000-000000000001";

/// The first byte says what the rest is read as, in letters so that seeds can be read: the streams
/// `m`, `u`, `c` and `e`, any JSON to be wrapped `w`, an id `i`, a time `t`.
fn target(input: &[u8]) {
    let mut cut = Cut::new(input);
    match cut.byte() {
        b'm' => lines(Stream::Metering, cut.rest()),
        b'u' => lines(Stream::Usage, cut.rest()),
        b'c' => lines(Stream::Control, cut.rest()),
        b'e' => lines(Stream::Events, cut.rest()),
        b'w' => {
            let (source, kind) = (cut.until(b'\n'), cut.until(b'\n'));
            wrap(cut.rest(), &String::from_utf8_lossy(source), &String::from_utf8_lossy(kind));
        }
        b'i' => {
            let text = String::from_utf8_lossy(cut.rest());
            match text.parse::<RecordId>() {
                Ok(id) => assert_eq!(id.to_string().parse(), Ok(id)),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        b't' => {
            let text = String::from_utf8_lossy(cut.rest());
            match text.parse::<Timestamp>() {
                Ok(time) => assert_eq!(time.to_string().parse(), Ok(time), "{time}"),
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
        _ => {}
    }
}

/// Text in JSON Lines. An unfinished number or string on one line must not reach into the next.
fn lines(stream: Stream, text: &[u8]) {
    for line in text.split(|&byte| byte == b'\n') {
        one(stream, line);
    }
    // A reader of bodies gives whole values, which may have line breaks between their tokens.
    one(stream, text);
}

fn one(stream: Stream, line: &[u8]) {
    let read = parse_line(stream, line, NOW);
    assert_eq!(read.is_ok(), by_serde(stream, line), "{}", line.escape_ascii());
    let record = match read {
        Ok(record) => record,
        Err(error) => {
            assert!(!error.message.is_empty());
            assert!((1..=line.len() + 1).contains(&error.column), "{error} of {}", line.len());
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            return;
        }
    };
    assert_eq!(record.stream(), stream);
    let mut encoded = Vec::new();
    record.encode(&mut encoded);
    assert!(!encoded.contains(&b'\n'), "a record is one line");
    // Another time: what was read has one already, where it needs one.
    let later = Timestamp::from_unix_nanos(NOW.unix_nanos() + 1);
    let again = parse_line(stream, &encoded, later).unwrap();
    assert_eq!(again, record);
    let mut twice = Vec::new();
    again.encode(&mut twice);
    assert_eq!(twice, encoded);
    // serde writes the same values, though not with the same escapes. In the data of an event there
    // may be numbers that are JSON, and too large for whoever reads them as a number.
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(&encoded) {
        assert_eq!(serde_json::to_value(&record).unwrap(), value);
    }

    let stamped = Stamped::new(ID.parse().unwrap(), NOW, record);
    let mut envelope = Vec::new();
    stamped.encode_cloudevent("/fuzz", &mut envelope);
    let Record::Event(event) = parse_line(Stream::Events, &envelope, NOW).unwrap() else {
        panic!("an envelope is an event");
    };
    assert!(event.extensions().len() <= MAX_EXTENSIONS);
    let _bytes = event.data_bytes();
}

/// Whether serde alone takes the line.
fn by_serde(stream: Stream, line: &[u8]) -> bool {
    fn takes<T: DeserializeOwned>(line: &[u8]) -> bool {
        serde_json::from_slice::<T>(line).is_ok()
    }
    match stream {
        Stream::Metering => takes::<Entry>(line),
        Stream::Usage => takes::<UsageEvent>(line),
        Stream::Control => takes::<ControlEvent>(line),
        Stream::Events => takes::<CloudEvent>(line),
    }
}

fn wrap(line: &[u8], source: &str, kind: &str) {
    match CloudEvent::wrap_json(line, source, kind, ID.parse().unwrap(), NOW) {
        Ok(event) => {
            let mut encoded = Vec::new();
            Record::from(event.clone()).encode(&mut encoded);
            assert_eq!(parse_line(Stream::Events, &encoded, NOW), Ok(event.into()));
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            assert!((1..=line.len() + 1).contains(&error.column), "{error}");
        }
    }
}

fuzz_target!(|input: &[u8]| target(input));
