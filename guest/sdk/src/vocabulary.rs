//! The names that the contract's values have on the wire.

use std::fmt;

use crate::{Kind, Reason, Status, Stream};

impl Stream {
    /// All four.
    pub const ALL: [Stream; 4] = [Self::Metering, Self::Usage, Self::Control, Self::Events];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metering => "metering",
            Self::Usage => "usage",
            Self::Control => "control",
            Self::Events => "events",
        }
    }
}

impl Kind {
    /// Its name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::VmComputeStart => "vm.compute.start",
            Self::VmComputeStop => "vm.compute.stop",
            Self::VmStorageStart => "vm.storage.start",
            Self::VmStorageStop => "vm.storage.stop",
            Self::SnapStorageStart => "snap.storage.start",
            Self::SnapStorageStop => "snap.storage.stop",
            Self::Other(name) => name,
        }
    }
}

impl Reason {
    /// Its name on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Boot => "boot",
            Self::Restart => "restart",
            Self::Clone => "clone",
            Self::Restore => "restore",
            Self::HibernateWake => "hibernate-wake",
            Self::StopUser => "stop-user",
            Self::StopCrash => "stop-crash",
            Self::VmRm => "vm-rm",
            Self::SnapRm => "snap-rm",
            Self::Other(name) => name,
        }
    }
}

impl Status {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
