//! Tests of times: tables, and a comparison with a calendar that others wrote.

use proptest::prelude::*;

use super::Timestamp;

fn text(unix_nanos: i64, offset_minutes: i16) -> String {
    Timestamp::from_unix_nanos(unix_nanos).with_offset_minutes(offset_minutes).to_string()
}

#[test]
fn a_time_is_written_with_as_many_digits_as_it_needs() {
    for (nanos, expected) in [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (10, "1970-01-01T00:00:00.00000001Z"),
        (100, "1970-01-01T00:00:00.0000001Z"),
        (1_000, "1970-01-01T00:00:00.000001Z"),
        (10_000, "1970-01-01T00:00:00.00001Z"),
        (100_000, "1970-01-01T00:00:00.0001Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (10_000_000, "1970-01-01T00:00:00.01Z"),
        (100_000_000, "1970-01-01T00:00:00.1Z"),
        (123_456_789, "1970-01-01T00:00:00.123456789Z"),
        (120_050_000, "1970-01-01T00:00:00.12005Z"),
        (1_000_000_000, "1970-01-01T00:00:01Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-1_000_000_000, "1969-12-31T23:59:59Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
        (1_779_238_923_000_000_000, "2026-05-20T01:02:03Z"),
        (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
        (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
    ] {
        assert_eq!(text(nanos, 0), expected);
        assert_eq!(expected.parse::<Timestamp>().unwrap().unix_nanos(), nanos);
    }
}

#[test]
fn an_offset_is_kept_and_zero_is_written_as_z() {
    let nanos = 1_779_238_923_500_000_000;
    for (offset, expected) in [
        (0, "2026-05-20T01:02:03.5Z"),
        (120, "2026-05-20T03:02:03.5+02:00"),
        (-210, "2026-05-19T21:32:03.5-03:30"),
        (345, "2026-05-20T06:47:03.5+05:45"),
        (1439, "2026-05-21T01:01:03.5+23:59"),
        (-1439, "2026-05-19T01:03:03.5-23:59"),
    ] {
        assert_eq!(text(nanos, offset), expected);
        let read: Timestamp = expected.parse().unwrap();
        assert_eq!(read.unix_nanos(), nanos);
        assert_eq!(read.offset_minutes(), offset);
        assert_eq!(read.to_string(), expected);
    }
    assert_eq!(text(nanos, i16::MAX), text(nanos, 1439));
    for zero in ["2026-05-20T01:02:03+00:00", "2026-05-20T01:02:03-00:00"] {
        assert_eq!(zero.parse::<Timestamp>().unwrap().to_string(), "2026-05-20T01:02:03Z");
    }
    // The limits are of the instant; what a clock elsewhere shows may lie beyond them.
    assert_eq!(text(i64::MAX, 60), "2262-04-12T00:47:16.854775807+01:00");
    assert_eq!(text(i64::MIN, -60), "1677-09-20T23:12:43.145224192-01:00");
    let latest: Timestamp = "2262-04-12T00:47:16.854775807+01:00".parse().unwrap();
    assert_eq!(latest, Timestamp::MAX);
}

#[test]
fn times_are_compared_by_their_instant() {
    let here: Timestamp = "2026-05-20T03:02:03+02:00".parse().unwrap();
    let there: Timestamp = "2026-05-20T01:02:03Z".parse().unwrap();
    let later: Timestamp = "2026-05-20T01:02:03.000000001Z".parse().unwrap();
    assert_eq!(here, there);
    assert!(here < later && here >= there);
    assert_ne!(here.to_string(), there.to_string());
}

#[test]
fn a_text_that_is_no_time_is_refused_with_the_reason() {
    let such = ", such as `2026-05-20T01:02:03.5Z`";
    let date = "it starts with a date as year-month-day";
    let clock = "the time is hours:minutes:seconds";
    let zone = "it ends with `Z` or an offset from UTC";
    for (text, reason) in [
        ("", format!("{date}{such}")),
        ("yesterday", format!("{date}{such}")),
        ("1779238923", format!("{date}{such}")),
        ("20260520T010203Z", format!("{date}{such}")),
        ("+2026-05-20T01:02:03Z", format!("{date}{such}")),
        ("2026-5-20T01:02:03Z", format!("{date}{such}")),
        ("2026-05-20", format!("a `T` parts date and time{such}")),
        ("2026-05-20 01:02:03Z", format!("a `T` parts date and time{such}")),
        ("2026-05-20t01:02:03Z", format!("a `T` parts date and time{such}")),
        ("2026-05-20T01:02Z", format!("{clock}{such}")),
        ("2026-05-20T1:02:03Z", format!("{clock}{such}")),
        ("2026-05-20T01:02:03.Z", format!("a fraction has 1 to 9 digits{such}")),
        ("2026-05-20T01:02:03,5Z", format!("{zone}{such}")),
        ("2026-05-20T01:02:03.1234567890Z", format!("a fraction has 1 to 9 digits{such}")),
        ("2026-05-20T01:02:03", format!("{zone}{such}")),
        ("2026-05-20T01:02:03z", format!("{zone}{such}")),
        ("2026-05-20T01:02:03+02", format!("{zone}{such}")),
        ("2026-05-20T01:02:03+0200", format!("{zone}{such}")),
        ("2026-05-20T01:02:03Z ", format!("nothing follows the offset{such}")),
        ("2026-05-20T01:02:03+24:00", "an offset is less than a day".to_owned()),
        ("2026-05-20T01:02:03+02:60", "an offset is less than a day".to_owned()),
        ("2026-00-20T01:02:03Z", "there is no such day".to_owned()),
        ("2026-13-20T01:02:03Z", "there is no such day".to_owned()),
        ("2026-05-00T01:02:03Z", "there is no such day".to_owned()),
        ("2026-05-32T01:02:03Z", "there is no such day".to_owned()),
        ("2026-02-29T01:02:03Z", "there is no such day".to_owned()),
        ("2100-02-29T01:02:03Z", "there is no such day".to_owned()),
        ("2026-05-20T24:00:00Z", "there is no such time of day".to_owned()),
        ("2026-05-20T01:60:00Z", "there is no such time of day".to_owned()),
        ("2026-05-20T01:02:61Z", "there is no such time of day".to_owned()),
        ("2016-12-31T23:59:60Z", "leap seconds can't be held, write second 59".to_owned()),
    ] {
        let error = text.parse::<Timestamp>().unwrap_err();
        assert_eq!(error.to_string(), format!("`{text}` is not a time: {reason}"));
    }
    for text in [
        "1677-09-21T00:12:43.145224191Z",
        "2262-04-11T23:47:16.854775808Z",
        "2262-04-11T23:47:16.854775807-00:01",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
    ] {
        assert_eq!(
            text.parse::<Timestamp>().unwrap_err().to_string(),
            format!("`{text}` is out of range: times reach from the year 1678 to 2262")
        );
    }
    assert_eq!(
        "0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap_err().to_string(),
        "`0001-01-01T00:00:00Z` is a zero time: its producer never set it; set it, or leave the \
         key out"
    );
}

#[test]
fn serde_takes_a_time_as_its_text_alone() {
    let time: Timestamp = serde_json::from_str("\"2026-05-20T03:02:03+02:00\"").unwrap();
    assert_eq!(serde_json::to_string(&time).unwrap(), "\"2026-05-20T03:02:03+02:00\"");
    assert!(serde_json::from_str::<Timestamp>("1779238923").is_err());
}

fn nanos() -> impl Strategy<Value = i64> {
    // Random nanoseconds hardly ever end in a zero.
    (any::<i64>(), 0_u32..=9).prop_map(|(nanos, zeros)| {
        let unit = 10_i64.pow(zeros);
        nanos / unit * unit
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_time_is_written_as_another_calendar_writes_it(
        nanos in nanos(),
        offset in -1439_i16..=1439,
    ) {
        let instant = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap();
        prop_assert_eq!(text(nanos, 0), instant.to_string());

        let seconds = i32::from(offset) * 60;
        let zone = jiff::tz::Offset::from_seconds(seconds).unwrap();
        let text = text(nanos, offset);
        if offset != 0 {
            prop_assert_eq!(&text, &instant.display_with_offset(zone).to_string());
        }
        let read: Timestamp = text.parse().unwrap();
        prop_assert_eq!((read.unix_nanos(), read.offset_minutes()), (nanos, offset));
    }

    #[test]
    fn every_text_is_read_as_another_calendar_reads_it(
        text in "(16|17|19|20|22)[0-9]{2}-[01][0-9]-[0-3][0-9]T[012][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-][01][0-9]:[0-5][0-9])",
    ) {
        let ours = text.parse::<Timestamp>().ok().map(|time| i128::from(time.unix_nanos()));
        let theirs = text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_nanosecond);
        prop_assert_eq!(ours, theirs.filter(|&nanos| i64::try_from(nanos).is_ok()));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,40}") {
        if let Ok(time) = text.parse::<Timestamp>() {
            prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        }
    }
}
