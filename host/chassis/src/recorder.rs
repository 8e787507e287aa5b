//! What a service holds to emit records.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use wasink_record::{Record, RecordId};

use crate::append::AppendError;
use crate::intake::{Closed, Intake};

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

impl<R: Into<Record>> Recorder<R> {
    /// Appends a record, and returns once it is as durable as its stream promises; with
    /// `durability = "disk"`, once it is synced to the disk. Waits while the log is full, unless the
    /// sink that keeps it full says `reject`.
    ///
    /// Works with any executor. A future that is dropped before it is done leaves it open whether
    /// the record is appended.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    pub async fn append(&self, record: R) -> Result<RecordId, AppendError> {
        let ids = self.append_batch(vec![record]).await?;
        ids.first().copied().ok_or(AppendError::Closed)
    }

    /// Appends records, all or none, as [`append`](Self::append) does one. Returns their ids, in
    /// their order.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    pub async fn append_batch(&self, records: Vec<R>) -> Result<Vec<RecordId>, AppendError> {
        let records = records.into_iter().map(|record| (None, record.into())).collect();
        let intake = self.intake.as_ref().ok_or(AppendError::NoSink)?;
        intake.append(records, true).await
    }

    /// As [`append_batch`](Self::append_batch), and never waits for room, only for the disk: for
    /// callers that had better be told. Records with an id keep it: whoever gives one answers for
    /// its being the record's own.
    ///
    /// # Errors
    ///
    /// See [`AppendError`].
    pub async fn try_append_batch(
        &self,
        records: Vec<(Option<RecordId>, R)>,
    ) -> Result<Vec<RecordId>, AppendError> {
        let records = records.into_iter().map(|(id, record)| (id, record.into())).collect();
        let intake = self.intake.as_ref().ok_or(AppendError::NoSink)?;
        intake.append(records, false).await
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
