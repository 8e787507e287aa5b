//! Whatever comes, it is read or refused, and each record is accounted for.

use axum::http::HeaderMap;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof};
use proptest::{collection, proptest, sample};
use wasink_record::{Stream, Timestamp};

use super::{Batch, read};
use crate::Limits;
use crate::form::Form;

const USAGE: &str = r#"{"rid":"1","tenant":"acme","src":"http","stack":"shop","duration_ms":1,"status":"ok","bytes_in":2,"bytes_out":3}"#;
const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":{"a":[1]}}"#;

fn limits() -> Limits {
    Limits { records: 20, record_bytes: 300, told_errors: 5, ..Limits::default() }
}

fn attributes() -> HeaderMap {
    let pairs = [("specversion", "1.0"), ("id", "1"), ("source", "s"), ("type", "t")];
    let mut headers: HeaderMap = pairs
        .iter()
        .map(|(name, value)| (format!("ce-{name}").parse().unwrap(), value.parse().unwrap()))
        .collect();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers
}

fn batch(form: Form, stream: Stream, body: &[u8]) -> Option<Batch> {
    let now = Timestamp::from_unix_nanos(0);
    read(form, stream, &attributes(), body, &limits(), now).ok()
}

/// Pieces of good bodies and of nonsense, in any order.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let enveloped = EVENT.replace("{\"a\":[1]}", USAGE);
    let piece = prop_oneof![
        4 => Just(USAGE.as_bytes().to_vec()),
        4 => Just(EVENT.as_bytes().to_vec()),
        2 => Just(enveloped.into_bytes()),
        4 => sample::select(vec!["\n", ",", "[", "]", " ", "{}", "null", "\u{feff}", "\"", "\\u0000"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => collection::vec(any::<u8>(), 0..20),
    ];
    (collection::vec(piece, 0..30), any::<sample::Index>(), any::<bool>()).prop_map(
        |(pieces, cut, whole)| {
            let mut body = pieces.concat();
            if !whole {
                body.truncate(cut.index(body.len() + 1));
            }
            body
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_is_read_or_told(body in bodies(), stream in sample::select(Stream::ALL.to_vec())) {
        let lines = body.split(|byte| *byte == b'\n');
        let count = lines.filter(|line| !line.trim_ascii().is_empty()).count();
        match batch(Form::Lines, stream, &body) {
            None => assert!(count > 20),
            Some(batch) => {
                let told = batch.faults.told.len() + batch.faults.more;
                assert_eq!(batch.records.len() + told, count);
                assert!(batch.faults.told.len() <= 5);
            }
        }
    }

    #[test]
    fn indexes_rise_and_places_are_in_the_body(
        body in bodies(),
        stream in sample::select(Stream::ALL.to_vec()),
        form in sample::select(vec![Form::Lines, Form::Json, Form::Event, Form::Events, Form::Binary]),
    ) {
        let Some(batch) = batch(form, stream, &body) else { return Ok(()) };
        assert!(batch.records.iter().is_sorted_by(|one, two| one.index < two.index));
        assert!(batch.faults.told.iter().is_sorted_by(|one, two| one.index < two.index));
        assert!(batch.records.iter().all(|read| read.record.stream() == stream));
        let lines: Vec<_> = body.split(|byte| *byte == b'\n').map(<[u8]>::len).collect();
        for fault in &batch.faults.told {
            assert!(batch.records.iter().all(|read| read.index != fault.index));
            if let (Some(line), Some(column)) = (fault.line, fault.column) {
                assert!(column >= 1 && column <= lines[line - 1] + 2, "{fault:?}");
            }
        }
    }

    /// The answer to a request that comes again is made from its body again.
    #[test]
    fn the_same_body_is_read_the_same_at_any_time(
        body in bodies(),
        stream in sample::select(Stream::ALL.to_vec()),
        form in sample::select(vec![Form::Lines, Form::Json, Form::Event, Form::Events, Form::Binary]),
    ) {
        let at = |nanos| {
            let now = Timestamp::from_unix_nanos(nanos);
            let batch = read(form, stream, &attributes(), &body, &limits(), now).ok()?;
            let ids: Vec<_> = batch.records.iter().map(|read| (read.index, read.id)).collect();
            Some((ids, batch.faults))
        };
        assert_eq!(at(0), at(1_700_000_000_000_000_000));
    }
}

/// Data that would close its envelope and add to it is no JSON value.
#[test]
fn data_in_binary_mode_adds_nothing_to_the_envelope() {
    let batch = batch(Form::Binary, Stream::Events, br#"1},"x":{"y":2"#).unwrap();
    assert!(batch.records.is_empty());
    assert_eq!(batch.faults.told[0].field.as_deref(), Some("data"));
}
