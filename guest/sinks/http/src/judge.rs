//! What an answer means for the records of its request.

use std::time::Duration;

use wasink_guest::http::{Answer, Error, excerpt};
use wasink_guest::serde_json::{self, Map, Value};

use crate::Http;
use crate::body::Writing;
use crate::fate::Fate;
use crate::results;
use crate::settings::{Extent, Profile};

/// So much of an answer's text is in a reason.
const EXCERPT: usize = 200;

/// What is to be done after an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same became of all records of the request.
    All(Fate),
    /// To each its own; those without one are sent again, in this call.
    Each(Vec<Option<Fate>>),
    /// It is about some of the records, and this becomes of one that is alone.
    Split { alone: Fate },
    /// Nothing more for now, and why; with `doubt` the receiver may have taken the request.
    Later { after: Option<Duration>, reason: String, doubt: bool },
}

impl Verdict {
    pub(crate) fn later(reason: impl Into<String>) -> Self {
        Self::Later { after: None, reason: reason.into(), doubt: false }
    }

    /// The receiver may have taken the request, and nothing more is sent for now.
    fn in_doubt(reason: impl Into<String>) -> Self {
        Self::Later { after: None, reason: reason.into(), doubt: true }
    }
}

/// What it means that there is no answer. None of it says anything about a record.
pub(crate) fn without_answer(http: &Http, error: &Error) -> Verdict {
    let origin = http.url.origin();
    let reason = match error {
        Error::Denied(why) => format!(
            "the host does not let this sink send to `{origin}` ({why}); grant it with `[[sink.grants.http]]` \
             and `origin = \"{origin}\"`"
        ),
        error => format!("`{origin}`: {error}"),
    };
    if error.in_doubt() { Verdict::in_doubt(reason) } else { Verdict::later(reason) }
}

/// What an answer to a request with these records means.
pub(crate) fn answer(http: &Http, answer: &Answer, ids: &[&str]) -> Verdict {
    let status = answer.status;
    let says = || {
        let text = answer.excerpt(EXCERPT);
        if text.is_empty() {
            format!("status {status}")
        } else {
            format!("status {status}: {text}")
        }
    };
    let by_profile = match &http.writing {
        Writing::Profile(ready) => match ready.profile {
            Profile::Openmeter => None,
            Profile::Lago => lago(answer, ids.len()),
            Profile::Stripe => stripe(answer),
        },
        Writing::Wire(_) => None,
    };
    if let Some(verdict) = by_profile {
        return verdict;
    }
    let settings = &http.settings;
    if let Some(shape) = &settings.results
        && (answer.is_success() || shape.statuses.contains(&status))
    {
        return match results::read(shape, answer, ids) {
            Ok(fates) => Verdict::Each(fates.into_iter().map(Some).collect()),
            // What became of them is not known.
            Err(why) => Verdict::in_doubt(format!(
                "its answer does not tell what became of the records: {why}; {}",
                says()
            )),
        };
    }
    let had = settings.duplicate.iter().find(|rule| {
        rule.status == status
            && rule.contains.as_ref().is_none_or(|text| contains(&answer.body, text.as_bytes()))
    });
    match (had.map(|rule| rule.of), status) {
        (Some(Extent::Request), _) => Verdict::All(Fate::Duplicate),
        (Some(Extent::Record), _) => Verdict::Split { alone: Fate::Duplicate },
        (None, 200..=299) => Verdict::All(Fate::Delivered),
        (None, 300..=399) => Verdict::later(format!(
            "the receiver sends elsewhere, to `{}` ({status}); redirects to another origin are not \
             followed, so set `url` to where it is",
            excerpt(answer.header("Location").unwrap_or_default().as_bytes(), EXCERPT)
        )),
        (None, 413) => {
            Verdict::Split { alone: Fate::Rejected(format!("alone it is too large, {}", says())) }
        }
        (None, 401 | 403 | 407) => Verdict::later(format!(
            "the receiver does not accept the credentials; see what `grants.http` has for `{}`; {}",
            http.url.origin(),
            says()
        )),
        (None, 402 | 404 | 405 | 406 | 410 | 411 | 414 | 415 | 421 | 426 | 428 | 431 | 451) => {
            Verdict::later(format!(
                "the receiver does not take such requests at all; see whether `url`, `method` and \
                 `format` are right; {}",
                says()
            ))
        }
        // Too early, too much, or the same request is still being worked on.
        (None, 408 | 423 | 425 | 429) => wait(answer, says()),
        (None, 409) if settings.idempotency_header.is_some() => wait(answer, says()),
        (None, 400..=499) => Verdict::Split { alone: Fate::Rejected(says()) },
        (None, 503) => wait(answer, says()),
        // It broke down over the request, or before it could say what became of it.
        _ => Verdict::Later {
            after: answer.retry_after(wasink_guest::now()),
            reason: says(),
            doubt: true,
        },
    }
}

fn wait(answer: &Answer, reason: String) -> Verdict {
    Verdict::Later { after: answer.retry_after(wasink_guest::now()), reason, doubt: false }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text)
}

/// Lago takes all events of a request or none, and says by index what is wrong with which.
fn lago(answer: &Answer, records: usize) -> Option<Verdict> {
    if answer.status != 422 {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let details = body.get("error_details")?.as_object()?;
    let mut fates = vec![None; records];
    for (index, of_one) in details {
        // An index that was not sent makes the whole answer one that is not understood.
        *fates.get_mut(index.parse::<usize>().ok()?)? = Some(lago_event(of_one.as_object()?));
    }
    fates.iter().any(Option::is_some).then_some(Verdict::Each(fates))
}

fn lago_event(details: &Map<String, Value>) -> Fate {
    let known = details
        .get("transaction_id")
        .and_then(Value::as_array)
        .is_some_and(|codes| codes.iter().any(|code| code == "value_already_exist"));
    if known {
        return Fate::Duplicate;
    }
    let text = Value::Object(details.clone()).to_string();
    Fate::Rejected(format!("status 422: {}", excerpt(text.as_bytes(), EXCERPT)))
}

/// Stripe refuses an event that it has, and one that is too old, by words.
fn stripe(answer: &Answer) -> Option<Verdict> {
    match answer.status {
        400 => {}
        // Another request for the same is under way.
        409 => return Some(wait(answer, format!("status 409: {}", answer.excerpt(EXCERPT)))),
        _ => return None,
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let error = body.get("error")?;
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    if text("code") == "duplicate_meter_event"
        || text("message").contains("already exists with identifier")
    {
        return Some(Verdict::All(Fate::Duplicate));
    }
    (text("code") == "timestamp_too_far_in_past").then_some(Verdict::All(Fate::Expired))
}
