//! Metering entries: the endpoints of billable intervals.
//!
//! An entry is one JSON object: `kind`, `vm_id`, `snapshot_id`, `source_snapshot_id`, `reason`,
//! `hypervisor`, `shape`, `emitted_at`, in this order. `kind` and `shape` are always there, and
//! `emitted_at` as soon as the entry is stamped; the rest only where it is set. In `shape` a 0 is
//! left out.

mod builder;

pub use builder::{ComputeStart, ComputeStop, EntryBuilder, StorageStart, StorageStop};

use serde::Deserialize;

use crate::invalid::{filled, quantity};
use crate::json::{Fields, InObject, Listener, key, serde_by_fields};
use crate::names::closed_names;
use crate::{InvalidRecord, MAX_QUANTITY, Timestamp};

closed_names! {
    /// Which endpoint of which interval. A receiver pairs each start with the stop of the same id.
    #[non_exhaustive]
    pub enum Kind, "kind" {
        /// A VM began to run.
        VmComputeStart = "vm.compute.start",
        /// A VM ceased to run.
        VmComputeStop = "vm.compute.stop",
        /// A VM's disks came to be.
        VmStorageStart = "vm.storage.start",
        /// A VM's disks are gone.
        VmStorageStop = "vm.storage.stop",
        /// A snapshot came to be.
        SnapStorageStart = "snap.storage.start",
        /// A snapshot is gone.
        SnapStorageStop = "snap.storage.stop",
    }
}

closed_names! {
    /// Why the endpoint came about.
    #[non_exhaustive]
    pub enum Reason, "reason" {
        /// The first boot.
        Boot = "boot",
        /// It had booted before.
        Restart = "restart",
        /// Made from a snapshot.
        Clone = "clone",
        /// Set back to a snapshot in place.
        Restore = "restore",
        /// Declared by the format, not known to be emitted: no builder gives it.
        HibernateWake = "hibernate-wake",
        /// Stopped on purpose.
        StopUser = "stop-user",
        /// Found dead, or closed late.
        StopCrash = "stop-crash",
        /// The VM was deleted.
        VmRm = "vm-rm",
        /// The snapshot was deleted.
        SnapRm = "snap-rm",
    }
}

/// Resources at the moment of the entry. 0 means absent, as on the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    cpu: u64,
    mem_bytes: u64,
    storage_bytes: u64,
}

impl Shape {
    /// Virtual CPUs, bytes of memory, bytes of storage. Each is held at [`MAX_QUANTITY`].
    #[must_use]
    pub fn new(cpu: u64, mem_bytes: u64, storage_bytes: u64) -> Self {
        Self {
            cpu: cpu.min(MAX_QUANTITY),
            mem_bytes: mem_bytes.min(MAX_QUANTITY),
            storage_bytes: storage_bytes.min(MAX_QUANTITY),
        }
    }

    /// Bytes of storage alone, as for a snapshot. Held at [`MAX_QUANTITY`].
    #[must_use]
    pub fn storage(storage_bytes: u64) -> Self {
        Self::new(0, 0, storage_bytes)
    }

    /// Virtual CPUs.
    pub fn cpu(&self) -> u64 {
        self.cpu
    }

    /// Memory, in bytes.
    pub fn mem_bytes(&self) -> u64 {
        self.mem_bytes
    }

    /// Storage, in bytes.
    pub fn storage_bytes(&self) -> u64 {
        self.storage_bytes
    }
}

impl Fields for Shape {
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error> {
        to.positive(key!("cpu"), self.cpu)?;
        to.positive(key!("mem_bytes"), self.mem_bytes)?;
        to.positive(key!("storage_bytes"), self.storage_bytes)
    }
}

/// One endpoint of a billable interval. Made by one of six constructors, one a kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    kind: Kind,
    vm_id: Option<Box<str>>,
    snapshot_id: Option<Box<str>>,
    source_snapshot_id: Option<Box<str>>,
    reason: Option<Reason>,
    hypervisor: Option<Box<str>>,
    shape: Shape,
    pub(crate) emitted_at: Option<Timestamp>,
}

impl Entry {
    /// Which endpoint of which interval.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The VM, on every `vm.*` entry.
    pub fn vm_id(&self) -> Option<&str> {
        self.vm_id.as_deref()
    }

    /// The snapshot, on every `snap.*` entry.
    pub fn snapshot_id(&self) -> Option<&str> {
        self.snapshot_id.as_deref()
    }

    /// The snapshot that a clone or a restore came from.
    pub fn source_snapshot_id(&self) -> Option<&str> {
        self.source_snapshot_id.as_deref()
    }

    /// Why it came about.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// The name of the hypervisor's kind.
    pub fn hypervisor(&self) -> Option<&str> {
        self.hypervisor.as_deref()
    }

    /// Resources at that moment.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// When it happened; absent until the entry is stamped.
    pub fn emitted_at(&self) -> Option<Timestamp> {
        self.emitted_at
    }

    fn checked(self) -> Result<Self, InvalidRecord> {
        let (field, id) = match self.kind {
            Kind::SnapStorageStart | Kind::SnapStorageStop => ("snapshot_id", &self.snapshot_id),
            _ => ("vm_id", &self.vm_id),
        };
        match id {
            None => Err(InvalidRecord::MissingId { field, kind: self.kind }),
            Some(_) => Ok(self),
        }
    }
}

impl Fields for Entry {
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error> {
        to.text(key!("kind"), self.kind.as_str())?;
        to.optional_text(key!("vm_id"), self.vm_id())?;
        to.optional_text(key!("snapshot_id"), self.snapshot_id())?;
        to.optional_text(key!("source_snapshot_id"), self.source_snapshot_id())?;
        to.optional_text(key!("reason"), self.reason.map(Reason::as_str))?;
        to.optional_text(key!("hypervisor"), self.hypervisor())?;
        to.object(key!("shape"), &self.shape)?;
        self.emitted_at.map_or(Ok(()), |time| to.time(key!("emitted_at"), time))
    }
}

/// An entry as it is read, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawEntry {
    kind: Kind,
    vm_id: Option<Box<str>>,
    snapshot_id: Option<Box<str>>,
    source_snapshot_id: Option<Box<str>>,
    #[serde(default, deserialize_with = "reason")]
    reason: Option<Reason>,
    hypervisor: Option<Box<str>>,
    shape: Option<InObject<RawShape>>,
    emitted_at: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    cpu: Option<u64>,
    mem_bytes: Option<u64>,
    storage_bytes: Option<u64>,
}

/// A reason; an empty one is an absent one.
fn reason<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Option<Reason>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the text of a reason")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(E::custom) }
        }

        fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: serde::Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            from.deserialize_str(self)
        }
    }

    from.deserialize_option(Visitor)
}

impl RawEntry {
    pub(crate) fn check(self) -> Result<Entry, InvalidRecord> {
        Entry {
            kind: self.kind,
            vm_id: filled(self.vm_id),
            snapshot_id: filled(self.snapshot_id),
            source_snapshot_id: filled(self.source_snapshot_id),
            reason: self.reason,
            hypervisor: filled(self.hypervisor),
            shape: self.shape.unwrap_or_default().0.check()?,
            emitted_at: self.emitted_at,
        }
        .checked()
    }
}

impl RawShape {
    fn check(self) -> Result<Shape, InvalidRecord> {
        Ok(Shape {
            cpu: quantity(self.cpu, "shape.cpu")?,
            mem_bytes: quantity(self.mem_bytes, "shape.mem_bytes")?,
            storage_bytes: quantity(self.storage_bytes, "shape.storage_bytes")?,
        })
    }
}

serde_by_fields!(Entry, RawEntry);
serde_by_fields!(Shape, RawShape);

#[cfg(test)]
mod tests;
