//! Makes usage events: billable from the start, and never once admission was denied.

use super::{Status, UsageEvent};
use crate::{MAX_QUANTITY, Timestamp};

/// A [`UsageEvent`] in the making: `ok`, billable, and every number 0 until it is set.
///
/// Numbers are held at [`MAX_QUANTITY`].
#[derive(Debug, Clone)]
#[must_use = "an event is made by `build`"]
pub struct UsageEventBuilder(UsageEvent);

impl UsageEvent {
    /// An event of the request `rid`, for `tenant`, of the kind of work `src`, served by `stack`.
    pub fn builder(
        rid: impl Into<String>,
        tenant: impl Into<String>,
        src: impl Into<String>,
        stack: impl Into<String>,
    ) -> UsageEventBuilder {
        UsageEventBuilder(Self {
            rid: rid.into().into(),
            tenant: tenant.into().into(),
            src: src.into().into(),
            stack: stack.into().into(),
            duration_ms: 0,
            status: Status::Ok,
            bytes_in: 0,
            bytes_out: 0,
            mem_bytes: 0,
            fuel: 0,
            denied: None,
            billable: true,
            emitted_at: None,
        })
    }
}

impl UsageEventBuilder {
    /// Wall time, in whole milliseconds.
    pub fn duration_ms(mut self, millis: u64) -> Self {
        self.0.duration_ms = millis.min(MAX_QUANTITY);
        self
    }

    /// Whether the work succeeded.
    pub fn status(mut self, status: Status) -> Self {
        self.0.status = status;
        self
    }

    /// Size of what came in, in bytes.
    pub fn bytes_in(mut self, bytes: u64) -> Self {
        self.0.bytes_in = bytes.min(MAX_QUANTITY);
        self
    }

    /// Size of what went out, in bytes.
    pub fn bytes_out(mut self, bytes: u64) -> Self {
        self.0.bytes_out = bytes.min(MAX_QUANTITY);
        self
    }

    /// Peak memory of the work, in bytes.
    pub fn mem_bytes(mut self, bytes: u64) -> Self {
        self.0.mem_bytes = bytes.min(MAX_QUANTITY);
        self
    }

    /// Units of work consumed. Stays 0 where admission is denied, before or after.
    pub fn fuel(mut self, fuel: u64) -> Self {
        self.0.fuel = fuel.min(MAX_QUANTITY);
        self
    }

    /// Whether somebody is to be charged. Stays false where admission is denied, before or after.
    pub fn billable(mut self, billable: bool) -> Self {
        self.0.billable = billable;
        self
    }

    /// Admission refused the work, for this reason: a token such as `rate_limited`, or empty. Then
    /// nobody is charged, and no fuel was consumed.
    pub fn denied(mut self, reason: impl Into<String>) -> Self {
        self.0.denied = Some(reason.into().into());
        self
    }

    /// When the work finished. Where it is not set, the chassis sets it when it takes the event.
    pub fn emitted_at(mut self, time: Timestamp) -> Self {
        self.0.emitted_at = Some(time);
        self
    }

    /// The event.
    #[must_use]
    pub fn build(self) -> UsageEvent {
        let mut event = self.0;
        if event.denied.is_some() {
            event.fuel = 0;
            event.billable = false;
        }
        event
    }
}
