//! What became of the records of a request.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use wasink_record::RecordId;

use crate::fault::{Fault, Faults};
use crate::problem::{Kind, Problem, to_json};

/// Says of an answer that it was given before, and that nothing was appended for it now.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What became of the records of a request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Answer {
    accepted: usize,
    ids: Vec<RecordId>,
    rejected: Vec<Fault>,
    more_rejected: usize,
}

impl Answer {
    pub(crate) fn new(ids: Vec<RecordId>, faults: Faults) -> Self {
        Self { accepted: ids.len(), ids, rejected: faults.told, more_rejected: faults.more }
    }

    /// The answer's response: an error where there were records and none was taken.
    pub(crate) fn respond(self, replayed: bool) -> Response {
        let count = self.rejected.len() + self.more_rejected;
        if self.ids.is_empty() && count > 0 {
            let detail = match self.rejected.first() {
                Some(fault) if count == 1 => fault.message.clone(),
                _ => format!("each of the {count} records has an error"),
            };
            return Problem::new(Kind::Rejected, detail).with_answer(self).into_response();
        }
        let mut response = to_json(&self).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}
