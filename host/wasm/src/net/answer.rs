//! An answer's body, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use wasink_chassis::limits::{Limit, LimitCounts};
use wasmtime_wasi_http::Error;

use super::client::error_of_hyper;

/// The body of an answer, as far as its limits let it come.
pub(super) struct AnswerBody {
    incoming: Incoming,
    left: u64,
    most: u64,
    between: Duration,
    /// When the next piece has to be there.
    next: Pin<Box<Sleep>>,
    deadline: Instant,
    reached: LimitCounts,
}

impl AnswerBody {
    pub(super) fn new(
        incoming: Incoming,
        most: u64,
        between: Duration,
        deadline: Instant,
        reached: LimitCounts,
    ) -> Self {
        let next = Box::pin(sleep_until(deadline.min(Instant::now() + between)));
        Self { incoming, left: most, most, between, next, deadline, reached }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(context) {
            let Some(frame) = frame else { return Poll::Ready(None) };
            let frame = frame.map_err(|error| error_of_hyper(&error))?;
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            let Some(left) = this.left.checked_sub(length) else {
                this.reached.reached(Limit::HttpAnswer);
                return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(this.most)))));
            };
            this.left = left;
            let next = this.deadline.min(Instant::now() + this.between);
            this.next.as_mut().reset(next);
            return Poll::Ready(Some(Ok(frame)));
        }
        ready!(this.next.as_mut().poll(context));
        if Instant::now() >= this.deadline {
            this.reached.reached(Limit::HttpTime);
        }
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
