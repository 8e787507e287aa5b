//! The records of one call, in the view that the sink asks for.

use std::ops::Deref;
use std::sync::Arc;
use std::{fmt, io};

#[cfg(target_family = "wasm")]
use crate::bindings::host::wasink::plugin::batches as host;
use crate::{
    CloudEvent, ControlEvent, Encoding, Entry, Stream, UsageColumns, UsageEvent, WrongStream,
};

/// A run of records of one stream, in the order in which they were accepted.
///
/// The host keeps them; only the view that is asked for crosses into the plugin. By far the
/// cheapest are those in which the host moves the bytes itself
/// ([`AppendFile::append`](crate::AppendFile::append), [`write_to_stderr`](Batch::write_to_stderr)),
/// then [`encode`](Batch::encode) and [`usage_columns`](Batch::usage_columns); a list of typed
/// records costs an allocation for each of their strings.
pub struct Batch<'a>(Inner<'a>);

#[cfg(target_family = "wasm")]
type Inner<'a> = &'a host::Batch;
#[cfg(not(target_family = "wasm"))]
type Inner<'a> = crate::native::Shared<'a>;

#[cfg(target_family = "wasm")]
impl<'a> From<&'a host::Batch> for Batch<'a> {
    fn from(batch: &'a host::Batch) -> Self {
        Self(batch)
    }
}

#[cfg(not(target_family = "wasm"))]
impl<'a> From<crate::native::Shared<'a>> for Batch<'a> {
    fn from(records: crate::native::Shared<'a>) -> Self {
        Self(records)
    }
}

impl Batch<'_> {
    /// The stream that all its records are of.
    pub fn stream(&self) -> Stream {
        self.0.of()
    }

    /// How many records it holds: at least one.
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u32 {
        self.0.len()
    }

    /// Position in the stream of the first record; the others follow without a gap. A batch that is
    /// delivered again has the same position.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// One id a record, in order, the same on every delivery: a UUID version 7 in its usual text
    /// form.
    pub fn ids(&self) -> Vec<String> {
        self.0.ids()
    }

    /// The whole batch as bytes.
    pub fn encode(&self, encoding: Encoding) -> Encoded {
        Encoded(self.0.encode(encoding))
    }

    /// The same bytes, from the host straight to its standard error, and how many there were. They
    /// go nowhere where the plugin has not been granted standard error.
    pub fn write_to_stderr(&self, encoding: Encoding) -> io::Result<u64> {
        #[cfg(target_family = "wasm")]
        return self.write_to(encoding, &wasip2::cli::stderr::get_stderr()).map_err(|error| {
            match error {
                wasip2::io::streams::StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
                wasip2::io::streams::StreamError::LastOperationFailed(error) => {
                    io::Error::other(error.to_debug_string())
                }
            }
        });
        #[cfg(not(target_family = "wasm"))]
        {
            use io::Write as _;
            let bytes = self.encode(encoding);
            io::stderr().lock().write_all(&bytes)?;
            Ok(crate::data::length(&bytes))
        }
    }

    /// The same bytes, from the host straight into a stream that the plugin holds, and how many
    /// there were. Only in a component.
    #[cfg(target_family = "wasm")]
    pub fn write_to(
        &self,
        encoding: Encoding,
        stream: &wasip2::io::streams::OutputStream,
    ) -> Result<u64, wasip2::io::streams::StreamError> {
        self.0.write_to(encoding, stream)
    }

    /// The records of a `metering` batch.
    pub fn entries(&self) -> Result<Vec<Entry>, WrongStream> {
        self.0.entries()
    }

    /// The records of a `usage` batch.
    pub fn usage(&self) -> Result<Vec<UsageEvent>, WrongStream> {
        self.0.usage()
    }

    /// The records of a `usage` batch, by column: one copy a column, however many rows.
    pub fn usage_columns(&self) -> Result<Arc<UsageColumns>, WrongStream> {
        #[cfg(target_family = "wasm")]
        return self.0.usage_columns().map(Arc::new);
        #[cfg(not(target_family = "wasm"))]
        return self.0.usage_columns();
    }

    /// The records of a `control` batch.
    pub fn control(&self) -> Result<Vec<ControlEvent>, WrongStream> {
        self.0.control()
    }

    /// The records of an `events` batch.
    pub fn events(&self) -> Result<Vec<CloudEvent>, WrongStream> {
        self.0.events()
    }

    #[cfg(target_family = "wasm")]
    pub(crate) fn append_to(
        &self,
        encoding: Encoding,
        skip: u64,
        file: &wasip2::filesystem::types::Descriptor,
    ) -> Result<u64, host::AppendError> {
        self.0.append_to(encoding, skip, file)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("stream", &self.stream())
            .field("len", &self.len())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// The bytes of a batch.
#[derive(Clone)]
pub struct Encoded(
    #[cfg(target_family = "wasm")] Vec<u8>,
    #[cfg(not(target_family = "wasm"))] crate::native::Bytes,
);

impl Encoded {
    /// The bytes as a list of one's own. In a component they are moved, not copied.
    pub fn into_vec(self) -> Vec<u8> {
        #[cfg(target_family = "wasm")]
        return self.0;
        #[cfg(not(target_family = "wasm"))]
        return self.to_vec();
    }
}

impl Deref for Encoded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("len", &self.len()).finish()
    }
}
