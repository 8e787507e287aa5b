//! What becomes of records by what the receiver says.

use std::time::Duration;

use wasink_guest::http::Error;
use wasink_guest::{Outcome, Sink as _, testing};

use super::{answer, answer_with, batch, fates, in_doubt, receiver, retried, sink, write};

#[test]
fn two_hundreds_deliver() {
    for status in [200, 201, 202, 204, 299] {
        let sent = receiver(move |_| Ok(answer(status, "whatever \0 it says")));
        assert_eq!(write(&mut sink(""), 3), "ddd");
        assert_eq!(sent.borrow().len(), 1);
    }
}

#[test]
fn a_receiver_that_is_busy_or_broken_is_tried_again() {
    for status in [408, 423, 425, 429, 500, 502, 503, 504, 599, 600, 999, 100, 199] {
        let sent = receiver(move |_| Ok(answer(status, "down")));
        let answered = sink("").write(&batch(0, 3));
        // Where it broke down over the request it may have taken it.
        let known = matches!(status, 408 | 423 | 425 | 429 | 503);
        let (reason, after) = if known { retried(answered) } else { in_doubt(answered) };
        assert!(reason.contains(&status.to_string()) && reason.contains("down"), "{reason}");
        assert_eq!((after, sent.borrow().len()), (None, 1));
    }
}

#[test]
fn how_long_the_receiver_wants_to_be_left_alone_is_a_hint() {
    testing::set_now(Duration::from_secs(784_111_700));
    for status in [429, 503, 500] {
        for (text, seconds) in
            [("17", Some(17)), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(77)), ("later", None)]
        {
            let _sent = receiver(move |_| Ok(answer_with(status, ("Retry-After", text), "")));
            let answered = sink("").write(&batch(0, 2));
            let told = if status == 500 { in_doubt(answered) } else { retried(answered) };
            assert_eq!(told.1, seconds);
        }
    }
}

#[test]
fn a_wrong_configuration_never_makes_dead_letters() {
    for status in [
        300, 301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415,
        421, 426, 428, 431, 451,
    ] {
        let sent = receiver(move |_| Ok(answer(status, "no")));
        let (reason, _) = retried(sink("").write(&batch(0, 4)));
        assert!(reason.contains(&status.to_string()), "{reason}");
        assert!(reason.contains("`url`") || reason.contains("`grants.http`"), "{reason}");
        assert_eq!(sent.borrow().len(), 1);
    }
}

#[test]
fn without_an_answer_all_is_tried_again() {
    for error in [
        Error::Denied("not granted".into()),
        Error::NotConnected("refused".into()),
        Error::InDoubt("reset".into()),
        Error::TooLarge("headers".into()),
        Error::Invalid("host".into()),
    ] {
        let given = error.clone();
        let _sent = receiver(move |_| Err(given.clone()));
        let answered = sink("").write(&batch(0, 2));
        let (reason, after) = if error.in_doubt() { in_doubt(answered) } else { retried(answered) };
        assert!(reason.contains("https://billing.example") && after.is_none(), "{reason}");
        assert_eq!(reason.contains("[[sink.grants.http]]"), matches!(error, Error::Denied(_)));
    }
}

#[test]
fn a_record_that_is_refused_alone_is_rejected_with_what_was_said() {
    for status in [400, 409, 412, 416, 417, 418, 422, 424, 499] {
        let body = format!("bad\u{1b}[2J\r\nline {}", "y".repeat(500));
        let _sent = receiver(move |_| Ok(answer(status, &body)));
        let exceptions = sink("").write(&batch(0, 1)).unwrap().exceptions();
        let Outcome::Rejected(reason) = &exceptions[0].outcome else { panic!("not rejected") };
        assert!(
            reason.starts_with(&format!(r"status {status}: bad\u{{1b}}[2J  line yyy")),
            "{reason}"
        );
        assert!(reason.ends_with('…') && reason.chars().count() < 250, "{reason}");
    }
    let _sent = receiver(|_| Ok(answer(422, "")));
    let exceptions = sink("").write(&batch(0, 1)).unwrap().exceptions();
    assert_eq!(exceptions[0].outcome, Outcome::Rejected("status 422".into()));
}

#[test]
fn a_conflict_of_names_is_waited_for() {
    let _sent = receiver(|_| Ok(answer(409, "in progress")));
    let mut sink = sink(r#""idempotency_header":"Idempotency-Key""#);
    assert!(retried(sink.write(&batch(0, 1))).0.contains("in progress"));
}

#[test]
fn one_of_three_requests_done_and_one_put_off_is_told_by_record() {
    let mut replies = vec![answer_with(503, ("Retry-After", "9"), "busy"), answer(200, "")];
    let sent = receiver(move |_| Ok(replies.pop().unwrap()));
    let all = batch(0, 6);
    let outcomes = sink(r#""max_records":2"#).write(&all).unwrap();
    assert_eq!(outcomes.exceptions()[0].outcome, Outcome::Retry(Some(9_000)));
    assert_eq!(fates(&all, Ok(outcomes)), "ddrrrr");
    // The third is not even tried.
    assert_eq!(sent.borrow().len(), 2);
    let logged = testing::logged();
    assert!(logged.iter().any(|line| format!("{line:?}").contains("busy")), "{logged:?}");
}

#[test]
fn no_more_requests_than_allowed_and_the_rest_at_once() {
    let sent = receiver(|_| Ok(answer(200, "")));
    let all = batch(0, 5);
    let outcomes = sink(r#""max_records":1,"max_requests":3"#).write(&all).unwrap();
    assert_eq!(outcomes.exceptions()[0].outcome, Outcome::Retry(Some(1)));
    assert_eq!(fates(&all, Ok(outcomes)), "dddrr");
    assert_eq!(sent.borrow().len(), 3);
}

#[test]
fn what_the_receiver_put_off_is_not_asked_for_at_once() {
    let _sent = receiver(|_| Ok(answer(200, r#"[{"s":200},{"s":429}]"#)));
    let mut sink = sink(r#""max_records":2,"max_requests":1,"results":{"status":"/s"}"#);
    let exceptions = sink.write(&batch(0, 4)).unwrap().exceptions();
    let outcomes: Vec<Outcome> =
        exceptions.into_iter().map(|exception| exception.outcome).collect();
    assert_eq!(outcomes, [Outcome::Retry(None), Outcome::Retry(None), Outcome::Retry(None)]);
}

#[test]
fn no_further_request_is_begun_once_the_call_has_taken_long_enough() {
    let sent = receiver(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(answer(200, ""))
    });
    let all = batch(0, 3);
    let outcomes = sink(r#""max_records":1,"timeouts":{"call_ms":1}"#).write(&all);
    assert_eq!(fates(&all, outcomes), "drr");
    assert_eq!(sent.borrow().len(), 1);
}

#[test]
fn duplicates_are_known_by_status_and_words() {
    let known = r#""duplicate":[{"status":409},{"status":400,"contains":"already exists"}]"#;
    for (reply, fate) in [
        (answer(409, ""), "="),
        (answer(400, "event already exists here"), "="),
        (answer(400, "event exists"), "x"),
        (answer(422, "already exists"), "x"),
    ] {
        let _sent = receiver(move |_| Ok(reply.clone()));
        assert_eq!(write(&mut sink(known), 1), fate);
    }
    // Of a request with several it is not known which, so each is asked for.
    let sent = receiver(|request| {
        Ok(if request.body.windows(8).any(|window| window == br#"{"at":2}"#) {
            answer(409, "")
        } else {
            answer(200, "")
        })
    });
    assert_eq!(write(&mut sink(known), 4), "dd=d");
    assert_eq!(sent.borrow().len(), 5);
    // Unless the answer is about the request.
    let sent = receiver(|_| Ok(answer(409, "")));
    assert_eq!(write(&mut sink(r#""duplicate":[{"status":409,"of":"request"}]"#), 4), "====");
    assert_eq!(sent.borrow().len(), 1);
}

const RESULTS: &str = r#""results":{"list":"/results","id":"/id","status":"/status","message":"/why","delivered":["ok"],"duplicate":["known"],"rejected":["bad"],"statuses":[422]}"#;

/// An answer with an item for each of these records.
fn results(items: &[(usize, &str)]) -> String {
    let ids = batch(0, 9).ids();
    let items: Vec<String> = items
        .iter()
        .map(|(at, status)| format!(r#"{{"id":"{}","status":{status},"why":"w\u0007"}}"#, ids[*at]))
        .collect();
    format!(r#"{{"results":[{}]}}"#, items.join(","))
}

#[test]
fn what_became_of_each_record_is_read_out_of_the_answer() {
    let body = results(&[
        (5, r#""known""#),
        (0, r#""ok""#),
        (1, r#""bad""#),
        (3, r#""who knows""#),
        (4, "207"),
        (6, "422"),
        (7, "503"),
    ]);
    for status in [200, 207, 422] {
        let body = body.clone();
        let sent = receiver(move |_| Ok(answer(status, &body)));
        let all = batch(0, 8);
        let outcomes = sink(RESULTS).write(&all).unwrap();
        let reason = outcomes.exceptions()[0].outcome.clone();
        assert_eq!(reason, Outcome::Rejected(r"bad: w\u{7}".into()));
        assert_eq!(fates(&all, Ok(outcomes)), "dxr?d=xr");
        assert_eq!(sent.borrow().len(), 1);
    }
}

#[test]
fn an_answer_that_does_not_tell_what_became_of_records_leaves_all_for_later() {
    let twice = results(&[(0, "200"), (1, "200"), (0, "422")]);
    let unknown = results(&[(0, "200"), (8, "200")]);
    let nameless = r#"{"results":[{"status":200}]}"#.to_owned();
    for body in [
        String::new(),
        "OK".into(),
        "{}".into(),
        "[]".into(),
        r#"{"results":{}}"#.into(),
        r#"{"results":[{"id":7,"status":200}]}"#.into(),
        r#"{"results":[7]}"#.into(),
        r#"{"results":["#.into(),
        "[".repeat(5_000),
        nameless,
        twice,
        unknown,
    ] {
        let given = body.clone();
        let sent = receiver(move |_| Ok(answer(200, &given)));
        let (reason, _) = in_doubt(sink(RESULTS).write(&batch(0, 3)));
        assert!(reason.contains("does not tell"), "{body}: {reason}");
        assert_eq!(sent.borrow().len(), 1);
    }
    let mut cut = answer(200, &results(&[(0, "200")]));
    cut.cut = true;
    let _sent = receiver(move |_| Ok(cut.clone()));
    assert!(in_doubt(sink(RESULTS).write(&batch(0, 1))).0.contains("`answer_bytes`"));
}

#[test]
fn records_are_named_by_index_or_by_their_place_and_the_others_as_set() {
    for (settings, body, expected) in [
        (
            r#""results":{"index":"/i","status":"/s","unnamed":"delivered"}"#,
            r#"[{"i":1,"s":400}]"#,
            "dxd",
        ),
        (r#""results":{"index":"/i","status":"/s"}"#, r#"[{"i":1,"s":200}]"#, "rdr"),
        (r#""results":{"list":"/a/b","status":""}"#, r#"{"a":{"b":[200,422,429]}}"#, "dxr"),
        (r#""results":{"status":"/s"}"#, r#"[{"s":200},{"s":200}]"#, "ddr"),
        (r#""results":{"status":"/s","duplicate":[400]}"#, r#"[{"s":200},{"s":400},{}]"#, "d=?"),
    ] {
        let _sent = receiver(move |_| Ok(answer(200, body)));
        assert_eq!(write(&mut sink(settings), 3), expected, "{settings}");
    }
    for body in [r#"[{"i":3,"s":200}]"#, r#"[{"i":-1,"s":200}]"#, r#"[{"i":1.5,"s":200}]"#] {
        let _sent = receiver(move |_| Ok(answer(200, body)));
        in_doubt(sink(r#""results":{"index":"/i","status":"/s"}"#).write(&batch(0, 3)));
    }
}

#[test]
fn results_are_not_looked_for_in_other_answers() {
    let _sent = receiver(|_| Ok(answer(500, "oops")));
    assert!(in_doubt(sink(RESULTS).write(&batch(0, 2))).0.contains("500"));
    let _sent = receiver(|_| Ok(answer(400, "oops")));
    assert_eq!(write(&mut sink(RESULTS), 2), "xx");
}
