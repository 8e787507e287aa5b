//! What a service holds to emit records.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use wasink_journal::Closed;
use wasink_record::Record;

use crate::intake::Intake;

/// Emits records of one kind.
///
/// Cheap to clone; clones are the same recorder; any number of threads may share one. It outlives
/// the chassis: what is emitted after [`Chassis::close`](crate::Chassis::close) is dropped and
/// counted.
///
/// The default recorder discards everything: code that is given none uses that one, and need not ask
/// whether there is one.
pub struct Recorder<R> {
    intake: Option<Arc<Intake>>,
    kind: PhantomData<fn(R)>,
}

impl<R: Into<Record>> Recorder<R> {
    pub(crate) fn new(intake: Option<Arc<Intake>>) -> Self {
        Self { intake, kind: PhantomData }
    }

    /// A recorder that discards everything and counts nothing.
    pub fn nop() -> Self {
        Self::new(None)
    }

    /// Whether records go nowhere: this is the [`nop`](Self::nop) recorder, or no sink takes the
    /// stream.
    pub fn is_nop(&self) -> bool {
        self.intake.is_none()
    }

    /// Hands over a record and returns at once: never fails, never blocks.
    ///
    /// Where the queue is full, or the chassis is closed, the record is dropped and counted in the
    /// stream's ledger.
    pub fn emit(&self, record: R) {
        if let Some(intake) = &self.intake {
            intake.emit(record.into());
        }
    }

    /// Hands over a record, and blocks the thread while the queue is full: for producers that can
    /// wait and must not lose anything, such as one that reads a file.
    ///
    /// # Errors
    ///
    /// [`Closed`] where the chassis is closed; the record is dropped and counted.
    pub fn emit_when_room(&self, record: R) -> Result<(), Closed> {
        match &self.intake {
            Some(intake) => intake.emit_when_room(record.into()),
            None => Ok(()),
        }
    }
}

impl<R> Clone for Recorder<R> {
    fn clone(&self) -> Self {
        Self { intake: self.intake.clone(), kind: PhantomData }
    }
}

impl<R> Default for Recorder<R> {
    fn default() -> Self {
        Self { intake: None, kind: PhantomData }
    }
}

impl<R> fmt::Debug for Recorder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("nop", &self.intake.is_none()).finish()
    }
}
