//! Makes metering entries: only the reasons that fit a kind can be given to it.

use super::{Entry, Kind, Reason, Shape};
use crate::invalid::filled;
use crate::{InvalidRecord, Timestamp};

/// Why a VM began to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ComputeStart {
    /// `boot`: for the first time.
    Boot,
    /// `restart`: it had booted before.
    Restart,
    /// `clone`: it was made from a snapshot.
    Clone,
    /// `restore`: it was set back to a snapshot in place, or woken.
    Restore,
}

/// Why a VM ceased to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ComputeStop {
    /// `stop-user`: it was stopped on purpose.
    User,
    /// `stop-crash`: it was found dead, or is closed late.
    Crash,
    /// `restore`: it is being set back to a snapshot in place.
    Restore,
}

/// Why a VM's disks came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageStart {
    /// `boot`: the VM was created.
    Boot,
    /// `clone`: it was made from a snapshot.
    Clone,
    /// `restore`: it was set back to a snapshot in place.
    Restore,
}

/// Why a VM's disks are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageStop {
    /// `vm-rm`: the VM was deleted.
    Removed,
    /// `restore`: it is being set back to a snapshot in place.
    Restore,
}

impl From<ComputeStart> for Reason {
    fn from(why: ComputeStart) -> Self {
        match why {
            ComputeStart::Boot => Self::Boot,
            ComputeStart::Restart => Self::Restart,
            ComputeStart::Clone => Self::Clone,
            ComputeStart::Restore => Self::Restore,
        }
    }
}

impl From<ComputeStop> for Reason {
    fn from(why: ComputeStop) -> Self {
        match why {
            ComputeStop::User => Self::StopUser,
            ComputeStop::Crash => Self::StopCrash,
            ComputeStop::Restore => Self::Restore,
        }
    }
}

impl From<StorageStart> for Reason {
    fn from(why: StorageStart) -> Self {
        match why {
            StorageStart::Boot => Self::Boot,
            StorageStart::Clone => Self::Clone,
            StorageStart::Restore => Self::Restore,
        }
    }
}

impl From<StorageStop> for Reason {
    fn from(why: StorageStop) -> Self {
        match why {
            StorageStop::Removed => Self::VmRm,
            StorageStop::Restore => Self::Restore,
        }
    }
}

/// An [`Entry`] in the making. What is not set is left out on the wire.
#[derive(Debug, Clone)]
#[must_use = "an entry is made by `build`"]
pub struct EntryBuilder(Entry);

impl Entry {
    /// `vm.compute.start`: a VM began to run.
    pub fn vm_compute_start(vm_id: impl Into<String>, why: ComputeStart) -> EntryBuilder {
        EntryBuilder::vm(Kind::VmComputeStart, vm_id.into(), why.into())
    }

    /// `vm.compute.stop`: a VM ceased to run.
    pub fn vm_compute_stop(vm_id: impl Into<String>, why: ComputeStop) -> EntryBuilder {
        EntryBuilder::vm(Kind::VmComputeStop, vm_id.into(), why.into())
    }

    /// `vm.storage.start`: a VM's disks came to be.
    pub fn vm_storage_start(vm_id: impl Into<String>, why: StorageStart) -> EntryBuilder {
        EntryBuilder::vm(Kind::VmStorageStart, vm_id.into(), why.into())
    }

    /// `vm.storage.stop`: a VM's disks are gone.
    pub fn vm_storage_stop(vm_id: impl Into<String>, why: StorageStop) -> EntryBuilder {
        EntryBuilder::vm(Kind::VmStorageStop, vm_id.into(), why.into())
    }

    /// `snap.storage.start`: a snapshot came to be. It has no reason.
    pub fn snap_storage_start(snapshot_id: impl Into<String>) -> EntryBuilder {
        EntryBuilder::snapshot(Kind::SnapStorageStart, snapshot_id.into(), None)
    }

    /// `snap.storage.stop`: a snapshot is gone. Its reason is `snap-rm`.
    pub fn snap_storage_stop(snapshot_id: impl Into<String>) -> EntryBuilder {
        EntryBuilder::snapshot(Kind::SnapStorageStop, snapshot_id.into(), Some(Reason::SnapRm))
    }
}

impl EntryBuilder {
    fn new(kind: Kind, reason: Option<Reason>) -> Self {
        Self(Entry {
            kind,
            vm_id: None,
            snapshot_id: None,
            source_snapshot_id: None,
            reason,
            hypervisor: None,
            shape: Shape::default(),
            emitted_at: None,
        })
    }

    fn vm(kind: Kind, vm_id: String, reason: Reason) -> Self {
        let Self(entry) = Self::new(kind, Some(reason));
        Self(Entry { vm_id: filled(Some(vm_id.into())), ..entry })
    }

    fn snapshot(kind: Kind, snapshot_id: String, reason: Option<Reason>) -> Self {
        let Self(entry) = Self::new(kind, reason);
        Self(Entry { snapshot_id: filled(Some(snapshot_id.into())), ..entry })
    }

    /// The snapshot that a clone or a restore came from. Empty means absent.
    pub fn source_snapshot_id(mut self, id: impl Into<String>) -> Self {
        self.0.source_snapshot_id = filled(Some(id.into().into()));
        self
    }

    /// The name of the hypervisor's kind, such as `firecracker`. Empty means absent.
    pub fn hypervisor(mut self, name: impl Into<String>) -> Self {
        self.0.hypervisor = filled(Some(name.into().into()));
        self
    }

    /// Resources at that moment.
    pub fn shape(mut self, shape: Shape) -> Self {
        self.0.shape = shape;
        self
    }

    /// When it happened. Where it is not set, the chassis sets it when it takes the entry; set it to
    /// give the entries of one operation one time.
    pub fn emitted_at(mut self, time: Timestamp) -> Self {
        self.0.emitted_at = Some(time);
        self
    }

    /// The entry.
    ///
    /// # Errors
    ///
    /// When the id of the VM or snapshot is empty.
    pub fn build(self) -> Result<Entry, InvalidRecord> {
        self.0.checked()
    }
}
