//! Compressed bodies, and such as are too large for what they say.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use wasink_serve::Limits;

use super::client::{Answer, Request};
use super::kit::{Bench, usage};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

fn post(bench: &Bench, encoding: &str, body: Vec<u8>) -> Answer {
    bench.send(&Request::lines("usage", body).with("Content-Encoding", encoding))
}

#[test]
fn both_encodings_are_decoded_and_so_are_several_frames_in_a_row() {
    let bench = Bench::new();
    let (one, two) = (usage("1") + "\n", usage("2"));
    for (encoding, body) in [
        ("gzip", [gzip(one.as_bytes()), gzip(two.as_bytes())].concat()),
        ("X-GZIP", gzip((one.clone() + &two).as_bytes())),
        ("zstd", [zstd(one.as_bytes()), zstd(two.as_bytes())].concat()),
        ("identity", (one.clone() + &two).into_bytes()),
    ] {
        let before = bench.door.lines().len();
        let answer = post(&bench, encoding, body);
        assert_eq!(answer.status, 200, "{encoding}: {answer:?}");
        assert_eq!(bench.door.lines()[before..], [usage("1"), usage("2")], "{encoding}");
    }
}

#[test]
fn other_encodings_are_refused_with_those_that_are_taken() {
    let bench = Bench::new();
    for encoding in ["br", "deflate", "gzip, zstd", "gzip, gzip"] {
        let answer = post(&bench, encoding, usage("1").into_bytes());
        assert_eq!(answer.status, 415, "{encoding}");
        assert_eq!(answer.problem(), "content-encoding");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, zstd"));
    }
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn a_body_that_is_not_what_it_says_or_is_cut_off_is_refused_whole() {
    let bench = Bench::new();
    let body: String = (0..500).map(|index| usage(&index.to_string()) + "\n").collect();
    for (encoding, compressed) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd(body.as_bytes()))]
    {
        let cut = compressed[..compressed.len() - 1].to_vec();
        let mut bent = compressed.clone();
        let last = bent.len() - 3;
        bent[last] ^= 0x55;
        let mut trailed = compressed.clone();
        trailed.extend_from_slice(b"rest");
        for broken in [cut, bent, trailed, body.clone().into_bytes(), Vec::new()] {
            if encoding == "zstd" && broken.is_empty() {
                // No frame at all is no records at all.
                continue;
            }
            let answer = post(&bench, encoding, broken);
            assert_eq!(
                (answer.status, answer.problem()),
                (400, "bad-body".to_owned()),
                "{encoding}"
            );
        }
    }
    assert_eq!(bench.door.taken(), []);
}

#[test]
fn a_bomb_is_given_up_as_soon_as_it_is_too_large() {
    let bench = Bench::limited(Limits { bytes_under_way: 20 << 20, ..Limits::default() });
    // A gigabyte of it would be 17,000 times larger than what may be held.
    let line = vec![b' '; 1 << 20];
    let mut gzipped = GzEncoder::new(Vec::new(), Compression::best());
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    for _ in 0..256 {
        gzipped.write_all(&line).unwrap();
        zstd.write_all(&line).unwrap();
    }
    for (encoding, bomb) in [("gzip", gzipped.finish().unwrap()), ("zstd", zstd.finish().unwrap())]
    {
        assert!(bomb.len() < 1 << 20);
        let answer = post(&bench, encoding, bomb);
        assert_eq!((answer.status, answer.problem()), (413, "too-large".to_owned()), "{encoding}");
        assert_eq!(
            answer.detail(),
            "the body has more than 16777216 bytes decompressed, divide it"
        );
    }
    assert_eq!(bench.send(&Request::lines("usage", usage("1"))).status, 200);
}

#[test]
fn a_frame_may_not_ask_for_more_memory_than_http_allows() {
    let bench = Bench::new();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(27)).unwrap();
    encoder.write_all(usage("1").as_bytes()).unwrap();
    let answer = post(&bench, "zstd", encoder.finish().unwrap());
    assert_eq!((answer.status, answer.problem()), (400, "bad-body".to_owned()));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(23)).unwrap();
    encoder.write_all(usage("1").as_bytes()).unwrap();
    assert_eq!(post(&bench, "zstd", encoder.finish().unwrap()).status, 200);
}

#[test]
fn a_body_may_be_as_large_as_the_limit_when_it_is_decompressed_and_no_larger() {
    let record = usage("1");
    let limits = Limits { decoded_bytes: record.len(), ..Limits::default() };
    let bench = Bench::limited(limits);
    let larger = record.clone() + " ";
    for (encoding, fits, exceeds) in [
        ("gzip", gzip(record.as_bytes()), gzip(larger.as_bytes())),
        ("zstd", zstd(record.as_bytes()), zstd(larger.as_bytes())),
        ("identity", record.clone().into_bytes(), larger.clone().into_bytes()),
    ] {
        assert_eq!(post(&bench, encoding, fits).status, 200, "{encoding}");
        assert_eq!(post(&bench, encoding, exceeds).status, 413, "{encoding}");
    }
}
