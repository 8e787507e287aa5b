//! What an author of a sink relies on.

use std::io;
use std::time::Duration;

use crate::testing::{self, LoggedValue};
use crate::{
    AppendFile, Batch, Capture, Captured, Context, Description, Directory, Encoding, Error,
    Failure, Level, NoSettings, Outcome, Outcomes, Sink, Slot, Status, Stream, native, open,
    serde_json,
};

/// Fails as its first setting says.
#[derive(Debug)]
struct Failing(String);

impl Sink for Failing {
    type Settings = Vec<Limits>;

    fn describe() -> Description {
        Description::new("1.2.3", "fails").acknowledges_on_flush().dedup_window(60)
    }

    fn open(settings: Vec<Limits>, context: &Context) -> Result<Self, Error> {
        match settings.first() {
            Some(_) => Ok(Self(context.name.clone())),
            None => Err(Error::new("nothing to do")),
        }
    }

    fn write(&mut self, batch: &Batch) -> Result<Outcomes, Failure> {
        match batch.position() {
            0 => Err(io::Error::from(io::ErrorKind::StorageFull))?,
            1 => drop(serde_json::from_str::<u8>("x")?),
            2 => drop(batch.entries()?),
            3 => Err(Failure::retry_after(Duration::from_millis(1_500), "slow down"))?,
            _ => return Err(Failure::broken("worn out")),
        }
        Ok(Outcomes::delivered())
    }
}

impl Capture for Failing {
    fn entries(&self) -> Vec<Captured> {
        vec![Captured { id: self.0.clone(), position: 0, line: String::new() }]
    }

    fn reset(&mut self) {
        self.0.clear();
    }
}

#[derive(Debug)]
struct Limits;

impl<'de> serde::Deserialize<'de> for Limits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limits = std::collections::BTreeMap::<String, u8>::deserialize(deserializer)?;
        if limits.contains_key("size") {
            return Ok(Limits);
        }
        Err(serde::de::Error::missing_field("size"))
    }
}

fn usage_at(position: u64) -> Batch<'static> {
    testing::batch_at(position, Stream::Usage, &["{}"])
}

#[test]
fn a_wrong_setting_is_named_by_its_path_and_a_right_one_opens() {
    for (settings, expected) in [
        (r#"[{"size":"big"}]"#, "setting `[0].size`: invalid type: string \"big\", expected u8"),
        (r#"[{"size":1},{}]"#, "setting `[1]`: missing field `size`"),
        ("7", "settings: invalid type: integer `7`, expected a sequence"),
        ("[]", "nothing to do"),
    ] {
        let error = open::<Failing>(&testing::context(settings)).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(open::<Failing>(&testing::context(r#"[{"size":1}]"#)).unwrap().0, "test");
    assert!(open::<Failing>(&testing::context(r#"[{"size":1}] more"#)).is_err());
}

#[test]
fn errors_become_failures_by_what_can_be_done_about_them() {
    use crate::bindings::host::wasink::plugin::lifecycle::{Again, Failure as Wire};
    let again = |after, reason: &str| Wire::Retry(Again { after, reason: reason.to_owned() });
    let slot = Slot::<Failing>::new();
    assert!(matches!(slot.write(&usage_at(0)), Err(Wire::Broken(_))), "it is not open");
    slot.open(&testing::context(r#"[{"size":1}]"#)).unwrap();
    assert_eq!(slot.write(&usage_at(0)), Err(again(None, "no storage space")));
    assert_eq!(testing::logged(), [], "the host says why");
    assert!(matches!(slot.write(&usage_at(1)), Err(Wire::Rejected(_))));
    let wrong = "the batch is of another kind: `usage`".to_owned();
    assert_eq!(slot.write(&usage_at(2)), Err(Wire::Rejected(wrong)));
    assert_eq!(slot.write(&usage_at(3)), Err(again(Some(1_500), "slow down")));
    assert_eq!(slot.write(&usage_at(4)), Err(Wire::Broken("worn out".into())));
    assert_eq!(slot.entries()[0].id, "test");
    slot.reset();
    assert_eq!(slot.entries()[0].id, "");
    assert_eq!(slot.flush(), Ok(()));
    assert_eq!(slot.close(), Ok(()));
    assert!(slot.flush().is_err(), "it is closed");
}

#[test]
fn an_error_names_what_is_behind_it() {
    #[derive(Debug)]
    struct Outer(io::Error);

    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("cannot connect")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    let error = Error::from(Outer(io::Error::other("no route")));
    assert_eq!(error.to_string(), "cannot connect: no route");
}

#[test]
fn there_is_nothing_to_set_where_there_is_nothing_to_set() {
    serde_json::from_str::<NoSettings>("{}").unwrap();
    let error = serde_json::from_str::<NoSettings>(r#"{"a":{"b":1}}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `a`"), "{error}");
    assert!(serde_json::from_str::<NoSettings>("[]").is_err());
}

#[test]
fn a_second_word_on_a_record_replaces_the_first() {
    let mut outcomes = Outcomes::delivered();
    outcomes.rejected(3, "no").duplicate(1).expired(3).retry(0, Some(Duration::from_secs(2)));
    let answer: Vec<_> =
        outcomes.exceptions().into_iter().map(|one| (one.index, one.outcome)).collect();
    let expected =
        [(0, Outcome::Retry(Some(2_000))), (1, Outcome::Duplicate), (3, Outcome::Expired)];
    assert_eq!(answer, expected);
}

#[test]
fn log_lines_keep_their_fields_in_order_and_with_their_types() {
    let host = "example.org".to_owned();
    crate::info!("connected"; host = host, port = 5_u16, offset = -3_i32, tls = true);
    crate::error!("gone");
    let logged = testing::logged();
    let fields = [
        ("host", LoggedValue::Text(host)),
        ("port", LoggedValue::Unsigned(5)),
        ("offset", LoggedValue::Signed(-3)),
        ("tls", LoggedValue::Boolean(true)),
    ];
    assert_eq!(logged[0].fields, fields.map(|(key, value)| (key.to_owned(), value)));
    assert_eq!((logged[1].level, logged[1].message.as_str()), (Level::Error, "gone"));
    assert_eq!(testing::logged(), []);
}

const LINES: [(Stream, &str); 4] = [
    (
        Stream::Metering,
        r#"{"kind":"vm.compute.start","vm_id":"vm-7","reason":"boot","shape":{"cpu":2},"emitted_at":"2026-05-20T01:02:03.5Z"}"#,
    ),
    (
        Stream::Usage,
        r#"{"rid":"r","tenant":"t","src":"http","stack":"s","duration_ms":1,"status":"error","bytes_in":2,"bytes_out":3,"fuel":4,"admission_denied":true,"admission_reason":"draining","billable":false,"emitted_at":"2026-05-20T01:02:03Z"}"#,
    ),
    (
        Stream::Control,
        r#"{"id":0,"event_id":"evt_1","type":"stack.activated","tenant_id":"t","version":3,"control_version":9}"#,
    ),
    (
        Stream::Events,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2026-05-20T01:02:03Z","ext":"e","data":{"a":1}}"#,
    ),
];

#[test]
fn typed_records_and_their_lines_are_the_same_records() {
    for (stream, line) in LINES {
        let batch = testing::batch(stream, &[line]);
        let again = match stream {
            Stream::Metering => testing::metering(&batch.entries().unwrap()),
            Stream::Usage => testing::usage(&batch.usage().unwrap()),
            Stream::Control => testing::control(&batch.control().unwrap()),
            Stream::Events => testing::events(&batch.events().unwrap()),
        };
        let text = String::from_utf8(again.encode(Encoding::Jsonl).into_vec()).unwrap();
        assert_eq!(text, format!("{line}\n"));
        let array = String::from_utf8(again.encode(Encoding::JsonArray).into_vec()).unwrap();
        assert_eq!(array, format!("[{line}]"));
    }
}

#[test]
fn only_the_view_of_its_own_stream_is_in_a_batch() {
    for (stream, line) in LINES {
        let batch = testing::batch(stream, &[line]);
        assert_eq!(batch.entries().is_ok(), stream == Stream::Metering);
        assert_eq!(batch.usage().is_ok(), stream == Stream::Usage);
        assert_eq!(batch.usage_columns().is_ok(), stream == Stream::Usage);
        assert_eq!(batch.control().is_ok(), stream == Stream::Control);
        assert_eq!(batch.events().is_ok(), stream == Stream::Events);
    }
}

#[test]
fn columns_have_a_row_for_each_record_and_each_name_once() {
    let lines = [
        r#"{"tenant":"a","fuel":1}"#,
        r#"{"tenant":"b","status":"error","billable":false}"#,
        r#"{"tenant":"a","admission_denied":true}"#,
    ];
    let columns = testing::batch(Stream::Usage, &lines).usage_columns().unwrap();
    assert_eq!(columns.tenant.values, ["a", "b"]);
    assert_eq!(columns.tenant.codes, [0, 1, 0]);
    assert_eq!((&columns.ok[..], &columns.billable[..]), (&[1, 0, 1][..], &[1, 0, 1][..]));
    assert_eq!((&columns.denied[..], &columns.fuel[..]), (&[0, 0, 1][..], &[1, 0, 0][..]));
}

#[test]
fn a_time_with_an_offset_is_the_same_instant() {
    let line = r#"{"emitted_at":"2026-05-20T03:02:03.25+02:00"}"#;
    let event = testing::batch(Stream::Usage, &[line]).usage().unwrap().remove(0);
    assert_eq!(event.emitted_at, 1_779_238_923_250_000_000);
    assert_eq!(event.status, Status::Ok);
}

fn directory() -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    native::set_data_directory(temporary.path());
    (temporary, Directory::data().unwrap())
}

#[test]
fn an_append_that_is_cut_short_says_how_far_it_came_and_goes_on_from_there() {
    let (_temporary, directory) = directory();
    let file: AppendFile = directory.open_append("a/b/file").unwrap();
    let batch = testing::batch(Stream::Events, &["1111", "2222"]);
    testing::fill_disk_after(7);
    let failed = file.append(&batch, Encoding::Jsonl, 0).unwrap_err();
    assert_eq!((failed.written, failed.error.kind()), (7, io::ErrorKind::StorageFull));
    testing::empty_disk();
    assert_eq!(file.append(&batch, Encoding::Jsonl, failed.written).unwrap(), 10);
    assert_eq!(directory.read("a/b/file", 100).unwrap(), b"1111\n2222\n");
    assert_eq!((file.size().unwrap(), file.last_byte().unwrap()), (10, Some(b'\n')));
}

#[test]
fn a_file_knows_whether_its_name_is_still_its_own() {
    let (_temporary, directory) = directory();
    let file = directory.open_append("file").unwrap();
    file.append_bytes(b"x").unwrap();
    assert!(file.same_as("file").unwrap());
    directory.rename("file", "other").unwrap();
    assert!(!file.same_as("file").unwrap());
    directory.write("file", b"y").unwrap();
    assert!(!file.same_as("file").unwrap());
    assert!(file.same_as("other").unwrap());
}

#[test]
fn files_of_the_data_directory_are_listed_read_and_removed() {
    let (_temporary, directory) = directory();
    directory.write("state", b"longer").unwrap();
    directory.write("state", b"12").unwrap();
    assert_eq!(directory.read("state", 2).unwrap(), b"12");
    assert_eq!(directory.read("state", 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    assert_eq!(directory.list("").unwrap(), ["state"]);
    assert_eq!(directory.metadata("state").unwrap().size, 2);
    directory.remove("state").unwrap();
    assert!(!directory.exists("state").unwrap());
    let file = directory.create_new("new").unwrap();
    file.write(b"abc", 2).unwrap();
    assert_eq!(file.read(10, 1).unwrap(), b"\0abc");
    assert!(directory.create_new("new").is_err());
}
