//! Counts requests, and reads what is left of the body of one that was refused.
//!
//! A client that still sends when its connection is closed sees a reset, often before it has read
//! the answer. So a refusal is followed by a while of reading.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, EXPECT};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// How long is read at most; what a client on this machine or near it sends in that time is more
/// than the limits allow.
const LONGEST: Duration = Duration::from_secs(2);

/// The requests that are under way.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(AtomicUsize);

impl UnderWay {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

struct Counted(Arc<UnderWay>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a request, and reads what is left of it where the answer is an error.
pub(crate) async fn linger(
    State(under_way): State<Arc<UnderWay>>,
    request: Request,
    next: Next,
) -> Response {
    under_way.0.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(under_way);
    // A client that waits to be told to go on is not told, unless somebody reads.
    let waits = request.headers().contains_key(EXPECT);
    let (parts, body) = request.into_parts();
    let lent = Lent(Arc::new(Mutex::new(Inner { body, read: false })));
    let left = lent.clone();
    let response = next.run(Request::from_parts(parts, Body::new(lent))).await;
    // Nor is there anything to wait for from one that was too slow.
    let over = response.status().is_success() || response.headers().contains_key(CONNECTION);
    if !over && (left.has_been_read() || !waits) {
        // What it was is of no interest, nor whether it ended.
        drop(tokio::time::timeout(LONGEST, left.drain()).await);
    }
    response
}

/// A body that can still be read after the one that it was given to has let go of it.
#[derive(Clone)]
struct Lent(Arc<Mutex<Inner>>);

struct Inner {
    body: Body,
    read: bool,
}

impl Lent {
    fn with<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_been_read(&self) -> bool {
        self.with(|inner| inner.read)
    }

    async fn drain(mut self) {
        while let Some(Ok(_)) = self.frame().await {}
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|inner| {
            inner.read = true;
            Pin::new(&mut inner.body).poll_frame(cx)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.with(|inner| inner.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|inner| inner.body.size_hint())
    }
}
