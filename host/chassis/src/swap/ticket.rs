//! What goes to the thread of a sink to make it exchange its instance, and what comes back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::delivery::{Charge, Thresholds};

/// Another version for a sink.
pub(crate) struct Incoming {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) charge: Charge,
    pub(crate) probation: Option<Thresholds>,
}

/// One exchange at one sink. The grace period of the old instance is bound to it, so that a timer
/// that comes late ends nothing but what it was set for, which is over.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) id: u64,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The old instance is at work, or being closed.
    Waiting,
    /// So it is, and its calls are being ended.
    Expired,
    /// It is gone.
    Gone,
}

impl Ticket {
    pub(crate) fn new(id: u64) -> Arc<Self> {
        Arc::new(Self { id, state: Mutex::new(State::Waiting) })
    }

    /// The old instance is gone: nothing must be ended on account of it any more.
    pub(crate) fn old_is_gone(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Gone;
    }

    /// The grace period is over: ends the call that the old instance is in, where there still is
    /// one.
    pub(crate) fn expire(&self, interrupt: impl FnOnce()) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Waiting {
            *state = State::Expired;
            // Under the lock: the old instance can't be replaced before this is over.
            interrupt();
        }
    }
}

/// What a sink's thread has to tell.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sink: String,
    /// The exchange that it is about.
    pub(crate) ticket: u64,
    pub(crate) came: Came,
}

/// What came of an exchange.
#[derive(Debug)]
pub(crate) enum Came {
    /// The new version is in charge.
    TakenOver { stall: Duration },
    /// It did not open; the old one goes on.
    Refused(String),
    /// It has proved itself.
    Proven,
    /// It has not, and the one before it is in charge again.
    Returned(String),
    /// A call of the old version was cut off.
    GraceExpired,
}

/// Where reports go. Called on the threads of sinks; must not block.
pub(crate) type Reports = Arc<dyn Fn(Report) + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_comes_late_ends_nothing() {
        let ticket = Ticket::new(1);
        ticket.old_is_gone();
        ticket.expire(|| panic!("the instance that it was for is gone"));
    }

    #[test]
    fn a_grace_period_is_over_once() {
        let ticket = Ticket::new(1);
        let mut interrupts = 0;
        ticket.expire(|| interrupts += 1);
        ticket.expire(|| interrupts += 1);
        assert_eq!(interrupts, 1);
    }
}
