//! Where records go that came in.

use std::pin::Pin;

use wasink_chassis::{AppendError, Recorder};
use wasink_record::{Record, RecordId, Stream};

/// An append that is under way. Dropping it does not undo it.
pub type Appending = Pin<Box<dyn Future<Output = Result<Vec<RecordId>, AppendError>> + Send>>;

/// Takes the records of a request.
pub trait Door: Send + Sync + 'static {
    /// Appends all of `records`, or none. Resolves to their ids, in their order, when they are
    /// durable; a record that comes with an id keeps it. Never waits for room.
    fn append(&self, stream: Stream, records: Vec<(Option<RecordId>, Record)>) -> Appending;
}

/// The recorders of a chassis, as a door.
#[derive(Debug, Clone)]
pub struct Recorders([(Stream, Recorder<Record>); Stream::ALL.len()]);

impl Recorders {
    /// The recorders that `recorder` gives, which is asked for each stream once:
    /// `Recorders::new(|stream| chassis.recorder(stream))`.
    pub fn new(recorder: impl Fn(Stream) -> Recorder<Record>) -> Self {
        Self(Stream::ALL.map(|stream| (stream, recorder(stream))))
    }
}

impl Door for Recorders {
    fn append(&self, stream: Stream, records: Vec<(Option<RecordId>, Record)>) -> Appending {
        let recorder = self.0.iter().find(|(of, _)| *of == stream);
        let recorder = recorder.map(|(_, recorder)| recorder.clone());
        Box::pin(async move {
            let recorder = recorder.ok_or(AppendError::NoSink)?;
            recorder.try_append_batch(records).await
        })
    }
}
