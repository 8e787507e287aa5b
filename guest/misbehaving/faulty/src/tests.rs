//! It does wrong exactly where it was told to.

use wasink_guest::{Failure, Sink as _, Stream, native, open, testing};

use crate::Faulty;

fn faulty(settings: &str) -> Faulty {
    open(&testing::context(settings)).unwrap()
}

fn fails(sink: &mut Faulty) -> bool {
    sink.write(&testing::batch(Stream::Usage, &["{}"])).is_err()
}

#[test]
fn it_fails_only_at_the_call_that_it_was_told() {
    let mut sink = faulty(r#"{"on":"write","does":"retry","at":2}"#);
    assert_eq!([fails(&mut sink), fails(&mut sink), fails(&mut sink)], [false, true, false]);
    sink.flush().unwrap();
    sink.close().unwrap();
}

#[test]
fn a_new_instance_counts_on_where_it_shall_remember() {
    let directory = tempfile::tempdir().unwrap();
    native::set_data_directory(directory.path());
    let settings = r#"{"on":"write","does":"reject","at":2,"remember":true}"#;
    assert!(!fails(&mut faulty(settings)));
    assert!(fails(&mut faulty(settings)));
    assert!(!fails(&mut faulty(settings)));
}

#[test]
fn open_and_close_fail_in_words() {
    let error = open::<Faulty>(&testing::context(r#"{"on":"open","does":"error"}"#)).unwrap_err();
    assert!(error.to_string().contains("told to fail"), "{error}");
    let error = faulty(r#"{"on":"close","does":"error"}"#).close().unwrap_err();
    assert!(error.to_string().contains("told to fail"), "{error}");
}

#[test]
fn a_retry_carries_its_delay() {
    let mut sink = faulty(r#"{"on":"flush","does":"retry","after_ms":250}"#);
    let failure = sink.flush().unwrap_err();
    let expected = std::time::Duration::from_millis(250);
    assert!(matches!(failure, Failure::Retry { after: Some(after), .. } if after == expected));
}

#[test]
fn a_bad_index_is_one_past_the_last_record() {
    let mut sink = faulty(r#"{"on":"write","does":"bad-index"}"#);
    let outcomes = sink.write(&testing::batch(Stream::Usage, &["{}", "{}"])).unwrap();
    assert_eq!(outcomes.exceptions()[0].index, 2);
}
