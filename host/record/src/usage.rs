//! Usage events: one per finished unit of work.
//!
//! An event is one JSON object: `rid`, `tenant`, `src`, `stack`, `duration_ms`, `status`,
//! `bytes_in`, `bytes_out`, always; then `mem_bytes` and `fuel` where they are not 0,
//! `admission_denied` where it is true, `admission_reason` where there is one, and `billable` where
//! it is **false**.
//!
//! `emitted_at` comes last, and is always there as soon as the event is stamped. The format is that
//! of a structured log line, whose time the logger writes; a line of JSON has no logger.

mod builder;

pub use builder::UsageEventBuilder;

use serde::Deserialize;

use crate::invalid::{filled, quantity};
use crate::json::{Fields, Listener, key, serde_by_fields};
use crate::names::closed_names;
use crate::{InvalidRecord, Timestamp};

closed_names! {
    /// Whether the work itself succeeded; not a protocol's status code.
    pub enum Status, "status" {
        /// It did.
        Ok = "ok",
        /// It did not.
        Error = "error",
    }
}

/// One finished unit of work.
///
/// Work that was not admitted is never billable and has consumed no fuel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UsageEvent {
    rid: Box<str>,
    tenant: Box<str>,
    src: Box<str>,
    stack: Box<str>,
    duration_ms: u64,
    status: Status,
    bytes_in: u64,
    bytes_out: u64,
    mem_bytes: u64,
    fuel: u64,
    denied: Option<Box<str>>,
    billable: bool,
    pub(crate) emitted_at: Option<Timestamp>,
}

impl UsageEvent {
    /// Request id. Not unique: one request may give several events.
    pub fn rid(&self) -> &str {
        &self.rid
    }

    /// Who the work was for; `_sys` for the service itself; may be empty.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What kind of work: `http`, `compute`, `llm` and so on. The set is open.
    pub fn src(&self) -> &str {
        &self.src
    }

    /// What served it.
    pub fn stack(&self) -> &str {
        &self.stack
    }

    /// Wall time, in whole milliseconds.
    pub fn duration_ms(&self) -> u64 {
        self.duration_ms
    }

    /// Whether the work succeeded.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Size of what came in, in bytes.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Size of what went out, in bytes.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// Peak memory of the work, in bytes; 0 means absent.
    pub fn mem_bytes(&self) -> u64 {
        self.mem_bytes
    }

    /// Units of work consumed; 0 means absent.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// Present where admission refused the work: the reason, empty where none was given.
    pub fn denied(&self) -> Option<&str> {
        self.denied.as_deref()
    }

    /// False where nobody is to be charged.
    pub fn billable(&self) -> bool {
        self.billable
    }

    /// When the work finished; absent until the event is stamped.
    pub fn emitted_at(&self) -> Option<Timestamp> {
        self.emitted_at
    }
}

impl Fields for UsageEvent {
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error> {
        to.text(key!("rid"), &self.rid)?;
        to.text(key!("tenant"), &self.tenant)?;
        to.text(key!("src"), &self.src)?;
        to.text(key!("stack"), &self.stack)?;
        to.unsigned(key!("duration_ms"), self.duration_ms)?;
        to.text(key!("status"), self.status.as_str())?;
        to.unsigned(key!("bytes_in"), self.bytes_in)?;
        to.unsigned(key!("bytes_out"), self.bytes_out)?;
        to.positive(key!("mem_bytes"), self.mem_bytes)?;
        to.positive(key!("fuel"), self.fuel)?;
        if let Some(reason) = &self.denied {
            to.flag(key!("admission_denied"), true)?;
            if !reason.is_empty() {
                to.text(key!("admission_reason"), reason)?;
            }
        }
        if !self.billable {
            to.flag(key!("billable"), false)?;
        }
        self.emitted_at.map_or(Ok(()), |time| to.time(key!("emitted_at"), time))
    }
}

/// An event as it is read, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawUsageEvent {
    rid: Box<str>,
    tenant: Box<str>,
    src: Box<str>,
    stack: Box<str>,
    duration_ms: u64,
    status: Status,
    bytes_in: u64,
    bytes_out: u64,
    mem_bytes: Option<u64>,
    fuel: Option<u64>,
    admission_denied: Option<bool>,
    admission_reason: Option<Box<str>>,
    billable: Option<bool>,
    emitted_at: Option<Timestamp>,
}

impl RawUsageEvent {
    pub(crate) fn check(self) -> Result<UsageEvent, InvalidRecord> {
        let fuel = quantity(self.fuel, "fuel")?;
        let reason = filled(self.admission_reason);
        let denied = if self.admission_denied == Some(true) {
            if self.billable == Some(true) {
                return Err(InvalidRecord::BillableDenied);
            }
            if fuel > 0 {
                return Err(InvalidRecord::FuelDenied);
            }
            Some(reason.unwrap_or_default())
        } else {
            if reason.is_some() {
                return Err(InvalidRecord::ReasonWithoutDenial);
            }
            None
        };
        Ok(UsageEvent {
            rid: self.rid,
            tenant: self.tenant,
            src: self.src,
            stack: self.stack,
            duration_ms: quantity(Some(self.duration_ms), "duration_ms")?,
            status: self.status,
            bytes_in: quantity(Some(self.bytes_in), "bytes_in")?,
            bytes_out: quantity(Some(self.bytes_out), "bytes_out")?,
            mem_bytes: quantity(self.mem_bytes, "mem_bytes")?,
            fuel,
            billable: self.billable.unwrap_or(denied.is_none()),
            denied,
            emitted_at: self.emitted_at,
        })
    }
}

serde_by_fields!(UsageEvent, RawUsageEvent);

#[cfg(test)]
mod tests;
