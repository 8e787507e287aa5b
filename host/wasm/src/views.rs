//! Counts which views of its batches a sink asks for, for a harness that wants to know.
//!
//! The functions that count are linked in place of the host's own where a harness asks for it, so that
//! nobody else has to go past them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use wasmtime::component::{ComponentType, HasData, Resource};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::DynOutputStream;

use crate::bindings::wasink::plugin::batches::{
    self, AppendError, DictionaryColumn, Encoding, HostBatch, UsageColumns, WrongStream,
};
use crate::bindings::wasink::plugin::records::{self, CloudEvent, ControlEvent, Entry, UsageEvent};
use crate::host::{BatchHandle, HostState, StreamErrorForGuest};

/// A way in which a sink gets at what a batch holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum View {
    /// The ids of the records.
    Ids,
    /// All of it as bytes.
    Encode,
    /// The same bytes, from the host into a stream.
    WriteTo,
    /// The same bytes, from the host to the end of a file.
    AppendTo,
    /// Records of `metering`.
    Entries,
    /// Records of `usage`.
    Usage,
    /// Records of `usage`, by column.
    UsageColumns,
    /// Records of `control`.
    Control,
    /// Records of `events`.
    Events,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Ids,
        Self::Encode,
        Self::WriteTo,
        Self::AppendTo,
        Self::Entries,
        Self::Usage,
        Self::UsageColumns,
        Self::Control,
        Self::Events,
    ];

    /// Its function's name in the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ids => "ids",
            Self::Encode => "encode",
            Self::WriteTo => "write-to",
            Self::AppendTo => "append-to",
            Self::Entries => "entries",
            Self::Usage => "usage",
            Self::UsageColumns => "usage-columns",
            Self::Control => "control",
            Self::Events => "events",
        }
    }
}

/// How often a view was asked for, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ViewCount {
    /// The view.
    pub view: View,
    /// How often it was asked for.
    pub calls: u64,
    /// Bytes that went into the memory of the guest.
    pub crossed: u64,
    /// Bytes that the host moved for the guest, and that did not go into its memory.
    pub moved: u64,
}

/// Counts the views of all instances of a host. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ViewCounts(Arc<[Counter; View::ALL.len()]>);

#[derive(Debug, Default)]
struct Counter {
    calls: AtomicU64,
    crossed: AtomicU64,
    moved: AtomicU64,
}

impl ViewCounts {
    /// What was counted since this was asked last, of the views that were asked for at all.
    pub fn take(&self) -> Vec<ViewCount> {
        let take = |number: &AtomicU64| number.swap(0, Ordering::Relaxed);
        let counts = View::ALL.into_iter().zip(self.0.iter()).map(|(view, counter)| ViewCount {
            view,
            calls: take(&counter.calls),
            crossed: take(&counter.crossed),
            moved: take(&counter.moved),
        });
        counts.filter(|count| count.calls > 0).collect()
    }

    fn note(&self, view: View, crossed: usize, moved: u64) {
        let found = View::ALL.into_iter().zip(self.0.iter()).find(|(one, _)| *one == view);
        if let Some((_, counter)) = found {
            counter.calls.fetch_add(1, Ordering::Relaxed);
            counter.crossed.fetch_add(crossed as u64, Ordering::Relaxed);
            counter.moved.fetch_add(moved, Ordering::Relaxed);
        }
    }
}

/// For wasmtime: the host's functions that count.
pub(crate) struct Counted;

impl HasData for Counted {
    type Data<'a> = Counting<'a>;
}

/// The host's state, with the functions of batches that count.
pub(crate) struct Counting<'a>(pub(crate) &'a mut HostState);

impl Counting<'_> {
    fn note(&self, view: View, crossed: usize, moved: u64) {
        if let Some(views) = &self.0.views {
            views.note(view, crossed, moved);
        }
    }

    /// A view that is a list of records.
    fn list<T: Texts + ComponentType>(
        &self,
        view: View,
        answer: Result<Vec<T>, WrongStream>,
    ) -> Result<Vec<T>, WrongStream> {
        self.note(view, answer.as_ref().map_or(0, |records| list(records)), 0);
        answer
    }
}

impl batches::Host for Counting<'_> {}

impl HostBatch for Counting<'_> {
    fn of(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<records::Stream> {
        HostBatch::of(self.0, batch)
    }

    fn len(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<u32> {
        HostBatch::len(self.0, batch)
    }

    fn position(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<u64> {
        self.0.position(batch)
    }

    fn ids(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<Vec<String>> {
        let ids = self.0.ids(batch)?;
        self.note(View::Ids, list(&ids), 0);
        Ok(ids)
    }

    fn encode(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: Encoding,
    ) -> wasmtime::Result<Vec<u8>> {
        let bytes = self.0.encode(batch, encoding)?;
        self.note(View::Encode, bytes.len(), 0);
        Ok(bytes)
    }

    async fn write_to(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: Encoding,
        to: Resource<DynOutputStream>,
    ) -> wasmtime::Result<Result<u64, StreamErrorForGuest>> {
        let answer = self.0.write_to(batch, encoding, to).await?;
        self.note(View::WriteTo, 0, *answer.as_ref().unwrap_or(&0));
        Ok(answer)
    }

    fn append_to(
        &mut self,
        batch: Resource<BatchHandle>,
        encoding: Encoding,
        skip: u64,
        to: Resource<Descriptor>,
    ) -> wasmtime::Result<Result<u64, AppendError>> {
        let answer = self.0.append_to(batch, encoding, skip, to)?;
        let end = match &answer {
            Ok(length) => *length,
            Err(error) => error.written,
        };
        self.note(View::AppendTo, 0, end.saturating_sub(skip));
        Ok(answer)
    }

    fn entries(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<Entry>, WrongStream>> {
        let answer = self.0.entries(batch)?;
        Ok(self.list(View::Entries, answer))
    }

    fn usage(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<UsageEvent>, WrongStream>> {
        let answer = self.0.usage(batch)?;
        Ok(self.list(View::Usage, answer))
    }

    fn usage_columns(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<UsageColumns, WrongStream>> {
        let answer = self.0.usage_columns(batch)?;
        self.note(View::UsageColumns, answer.as_ref().map_or(0, columns), 0);
        Ok(answer)
    }

    fn control(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<ControlEvent>, WrongStream>> {
        let answer = self.0.control(batch)?;
        Ok(self.list(View::Control, answer))
    }

    fn events(
        &mut self,
        batch: Resource<BatchHandle>,
    ) -> wasmtime::Result<Result<Vec<CloudEvent>, WrongStream>> {
        let answer = self.0.events(batch)?;
        Ok(self.list(View::Events, answer))
    }

    fn drop(&mut self, batch: Resource<BatchHandle>) -> wasmtime::Result<()> {
        HostBatch::drop(self.0, batch)
    }
}

/// What lies in memory of its own: texts and bytes.
trait Texts {
    fn texts(&self) -> usize;
}

/// Bytes of a list in the memory of a guest, and of all that it refers to.
fn list<T: Texts + ComponentType>(items: &[T]) -> usize {
    items.len() * T::SIZE32 + items.iter().map(Texts::texts).sum::<usize>()
}

fn columns(columns: &UsageColumns) -> usize {
    let UsageColumns {
        tenant,
        src,
        stack,
        ok,
        billable,
        denied,
        duration_ms,
        bytes_in,
        bytes_out,
        mem_bytes,
        fuel,
        emitted_at,
    } = columns;
    let dictionary = |DictionaryColumn { values, codes }: &DictionaryColumn| {
        list(values) + codes.len() * u32::SIZE32
    };
    let texts = dictionary(tenant) + dictionary(src) + dictionary(stack);
    let numbers = [duration_ms, bytes_in, bytes_out, mem_bytes, fuel].map(Vec::len);
    UsageColumns::SIZE32
        + texts
        + ok.len()
        + billable.len()
        + denied.len()
        + (numbers.into_iter().sum::<usize>() + emitted_at.len()) * u64::SIZE32
}

impl Texts for String {
    fn texts(&self) -> usize {
        self.len()
    }
}

fn all<const N: usize>(texts: [&Option<String>; N]) -> usize {
    texts.into_iter().flatten().map(String::len).sum()
}

impl Texts for Entry {
    fn texts(&self) -> usize {
        let Self { vm_id, snapshot_id, source_snapshot_id, hypervisor, .. } = self;
        let kind = match &self.kind {
            records::Kind::Other(name) => name.len(),
            _ => 0,
        };
        let reason = match &self.reason {
            Some(records::Reason::Other(name)) => name.len(),
            _ => 0,
        };
        kind + reason + all([vm_id, snapshot_id, source_snapshot_id, hypervisor])
    }
}

impl Texts for UsageEvent {
    fn texts(&self) -> usize {
        let Self { rid, tenant, src, stack, admission_denied, .. } = self;
        rid.len() + tenant.len() + src.len() + stack.len() + all([admission_denied])
    }
}

impl Texts for ControlEvent {
    fn texts(&self) -> usize {
        let Self { event_id, event_type, tenant_id, stack_id, .. } = self;
        let Self { artifact_ref, checksum, created_at, .. } = self;
        event_id.len()
            + event_type.len()
            + all([tenant_id, stack_id, artifact_ref, checksum, created_at])
    }
}

impl Texts for CloudEvent {
    fn texts(&self) -> usize {
        let Self { id, source, type_, subject, data_content_type, data_schema, .. } = self;
        let data = self.data.as_ref().map_or(0, Vec::len);
        let pairs = self.extensions.iter();
        let extensions = pairs
            .map(|(name, value)| <(String, String)>::SIZE32 + name.len() + value.len())
            .sum::<usize>();
        id.len()
            + source.len()
            + type_.len()
            + data
            + extensions
            + all([subject, data_content_type, data_schema])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_crosses_is_what_the_canonical_abi_lays_out() {
        assert_eq!(list(&["ab".to_owned(), String::new()]), 2 * 8 + 2);
        let event = UsageEvent {
            rid: "r1".to_owned(),
            tenant: "acme".to_owned(),
            src: "http".to_owned(),
            stack: "shop".to_owned(),
            duration_ms: 1,
            status: records::Status::Ok,
            bytes_in: 2,
            bytes_out: 3,
            mem_bytes: 4,
            fuel: 5,
            admission_denied: None,
            billable: true,
            emitted_at: 6,
        };
        // Four texts, six numbers, two flags and a text that may be absent, each where its alignment puts it.
        assert_eq!(list(&[event]), UsageEvent::SIZE32 + 14);
        assert_eq!(UsageEvent::SIZE32, 104);
        let empty = DictionaryColumn { values: Vec::new(), codes: Vec::new() };
        let dictionary = DictionaryColumn { values: vec!["acme".to_owned()], codes: vec![0, 0] };
        let two = UsageColumns {
            tenant: dictionary,
            src: empty.clone(),
            stack: empty,
            ok: vec![1, 1],
            billable: vec![1, 0],
            denied: vec![0, 0],
            duration_ms: vec![1, 2],
            bytes_in: vec![1, 2],
            bytes_out: vec![1, 2],
            mem_bytes: vec![1, 2],
            fuel: vec![1, 2],
            emitted_at: vec![1, 2],
        };
        assert_eq!(columns(&two), UsageColumns::SIZE32 + (8 + 4 + 2 * 4) + 3 * 2 + 6 * 2 * 8);
    }

    #[test]
    fn what_was_taken_is_not_counted_again() {
        let counts = ViewCounts::default();
        counts.clone().note(View::Encode, 7, 0);
        counts.note(View::Encode, 3, 0);
        counts.note(View::AppendTo, 0, 5);
        let encode = ViewCount { view: View::Encode, calls: 2, crossed: 10, moved: 0 };
        let append = ViewCount { view: View::AppendTo, calls: 1, crossed: 0, moved: 5 };
        assert_eq!(counts.take(), [encode, append]);
        assert_eq!(counts.take(), []);
    }
}
