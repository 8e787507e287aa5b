//! Answers that say what is wrong: problem details of RFC 9457.

use std::time::Duration;

use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;

use crate::answer::Answer;

/// The kinds of problems, each with its name on the wire, its status and its title.
macro_rules! kinds {
    ($($kind:ident = $name:literal $status:ident $title:literal,)+) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind,)+
        }

        impl Kind {
            const fn parts(self) -> (&'static str, StatusCode, &'static str) {
                match self {
                    $(Self::$kind => (
                        concat!("urn:wasink:problem:", $name), StatusCode::$status, $title
                    ),)+
                }
            }
        }
    };
}

kinds! {
    BadBody = "bad-body" BAD_REQUEST "The body could not be read",
    BadQuery = "bad-query" BAD_REQUEST "The query could not be read",
    BadKey = "bad-idempotency-key" BAD_REQUEST "The idempotency key is not one",
    Rejected = "records-rejected" BAD_REQUEST "No record was taken",
    Unauthorized = "unauthorized" UNAUTHORIZED "A token is required",
    Forbidden = "forbidden" FORBIDDEN "The request seems to come from a web page",
    Stranger = "stranger" FORBIDDEN "Another user asks",
    NotFound = "not-found" NOT_FOUND "There is nothing here",
    UnknownStream = "unknown-stream" NOT_FOUND "There is no such stream",
    NoSink = "no-sink" NOT_FOUND "No sink takes the stream",
    Unknown = "unknown" NOT_FOUND "There is no such thing",
    Method = "method-not-allowed" METHOD_NOT_ALLOWED "The method is not allowed here",
    Timeout = "timeout" REQUEST_TIMEOUT "The body took too long",
    KeyInUse = "idempotency-key-in-use" CONFLICT "The same request is under way",
    Conflict = "conflict" CONFLICT "Something else is under way",
    TooLarge = "too-large" PAYLOAD_TOO_LARGE "The body is too large",
    TooMany = "too-many-records" PAYLOAD_TOO_LARGE "There are too many records",
    RecordTooLarge = "record-too-large" PAYLOAD_TOO_LARGE "A record is too large",
    MediaType = "media-type" UNSUPPORTED_MEDIA_TYPE "The content type is not taken",
    Encoding = "content-encoding" UNSUPPORTED_MEDIA_TYPE "The content encoding is not taken",
    KeyReused = "idempotency-key-reused" UNPROCESSABLE_ENTITY
        "The idempotency key belongs to another request",
    Invalid = "invalid" UNPROCESSABLE_ENTITY "This can not be done",
    Full = "full" TOO_MANY_REQUESTS "The stream is full",
    Busy = "busy" SERVICE_UNAVAILABLE "Too much is being received",
    Unavailable = "unavailable" SERVICE_UNAVAILABLE "Records can not be kept",
    Closed = "closed" SERVICE_UNAVAILABLE "The stream is closed",
    NotReady = "not-ready" SERVICE_UNAVAILABLE "Not ready",
    Failed = "failed" INTERNAL_SERVER_ERROR "It was tried, and failed",
    Internal = "internal" INTERNAL_SERVER_ERROR "An error of wasink itself",
    Unsupported = "unsupported" NOT_IMPLEMENTED "This process can not do that",
}

/// What is wrong with a request, or with the server.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    answer: Option<Box<Answer>>,
    operation: Option<Box<Value>>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), headers: Vec::new(), answer: None, operation: None }
    }

    /// Adds what became of the records.
    pub(crate) fn with_answer(self, answer: Answer) -> Self {
        Self { answer: Some(Box::new(answer)), ..self }
    }

    /// Adds the operation that is under way.
    pub(crate) fn with_operation(self, operation: Value) -> Self {
        Self { operation: Some(Box::new(operation)), ..self }
    }

    /// Adds when to try again: whole seconds, at least one.
    pub(crate) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    pub(crate) fn authenticate(self) -> Self {
        let scheme = HeaderValue::from_static("Bearer realm=\"wasink\"");
        self.with_header(WWW_AUTHENTICATE, scheme)
    }

    pub(crate) fn allow(self, methods: &'static str) -> Self {
        self.with_header(ALLOW, HeaderValue::from_static(methods))
    }

    /// Ends the connection: what else comes on it is of no use.
    pub(crate) fn hang_up(self) -> Self {
        self.with_header(CONNECTION, HeaderValue::from_static("close"))
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

#[cfg(test)]
impl Problem {
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Details<'a> {
            r#type: &'static str,
            title: &'static str,
            status: u16,
            detail: &'a str,
            #[serde(flatten)]
            answer: Option<&'a Answer>,
            #[serde(skip_serializing_if = "Option::is_none")]
            operation: Option<&'a Value>,
        }

        let (name, status, title) = self.kind.parts();
        let details = Details {
            r#type: name,
            title,
            status: status.as_u16(),
            detail: &self.detail,
            answer: self.answer.as_deref(),
            operation: self.operation.as_deref(),
        };
        let mut response = (status, to_json(&details)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

/// `value` as JSON. Nothing that is answered can fail to be.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
