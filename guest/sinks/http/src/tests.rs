//! What the sink sends, and what it makes of what comes back.

mod answers;
mod misbehaving;
mod profiles;
mod requests;
mod settings;
mod splitting;

use std::cell::RefCell;
use std::rc::Rc;

use wasink_guest::http::{Answer, Error, Request};
use wasink_guest::{Batch, Failure, Outcome, Sink, Stream, native, open, testing};

use crate::Http;

/// A sink with these settings, beside its URL.
fn sink(more: &str) -> Http {
    sink_to("https://billing.example/events", more)
}

fn sink_to(url: &str, more: &str) -> Http {
    let comma = if more.is_empty() { "" } else { "," };
    open(&testing::context(&format!(r#"{{"url":"{url}"{comma}{more}}}"#))).unwrap()
}

/// So many records, the first at this position.
fn batch(position: u64, records: usize) -> Batch<'static> {
    let lines: Vec<String> =
        (position..).take(records).map(|at| format!(r#"{{"at":{at}}}"#)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    testing::batch_at(position, Stream::Metering, &lines)
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, headers: Vec::new(), body: body.into(), cut: false }
}

fn answer_with(status: u16, header: (&str, &str), body: &str) -> Answer {
    let headers = vec![(header.0.to_owned(), header.1.as_bytes().to_vec())];
    Answer { headers, ..answer(status, body) }
}

/// All that was sent on this thread since, with what `reply` says to it.
fn receiver(
    mut reply: impl FnMut(&Request) -> Result<Answer, Error> + 'static,
) -> Rc<RefCell<Vec<Request>>> {
    let sent = Rc::new(RefCell::new(Vec::new()));
    let log = sent.clone();
    let reply = RefCell::new(move |request: &Request| reply(request));
    native::set_http(move |_, request| {
        log.borrow_mut().push(request.clone());
        (reply.borrow_mut())(request)
    });
    sent
}

/// One letter a record: delivered, `=` duplicate, retry, `?` in doubt, `x` rejected, expired.
fn fates(batch: &Batch, outcomes: Result<wasink_guest::Outcomes, Failure>) -> String {
    let exceptions = outcomes.unwrap().exceptions();
    let mut letters = vec!['d'; batch.len() as usize];
    for exception in exceptions {
        letters[exception.index as usize] = match exception.outcome {
            Outcome::Duplicate => '=',
            Outcome::Retry(_) => 'r',
            Outcome::InDoubt(_) => '?',
            Outcome::Rejected(_) => 'x',
            Outcome::Expired => 'e',
        };
    }
    letters.into_iter().collect()
}

fn write(sink: &mut Http, records: usize) -> String {
    let batch = batch(0, records);
    let outcomes = sink.write(&batch);
    fates(&batch, outcomes)
}

/// The reason of a batch that is tried again as a whole, and how long that may wait in seconds.
fn retried(outcomes: Result<wasink_guest::Outcomes, Failure>) -> (String, Option<u64>) {
    match outcomes.unwrap_err() {
        Failure::Retry { after, reason, .. } => (reason, after.map(|after| after.as_secs())),
        other => panic!("not to be tried again: {other}"),
    }
}

/// The reason for which it is not known what became of a batch, and how long it may wait in seconds.
fn in_doubt(outcomes: Result<wasink_guest::Outcomes, Failure>) -> (String, Option<u64>) {
    match outcomes.unwrap_err() {
        Failure::InDoubt { after, reason, .. } => (reason, after.map(|after| after.as_secs())),
        other => panic!("not in doubt: {other}"),
    }
}

fn text(request: &Request) -> String {
    String::from_utf8(request.body.clone()).unwrap()
}

fn header<'r>(request: &'r Request, name: &str) -> Option<&'r str> {
    let mut found = request.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "`{name}` twice");
    value
}
