//! Control events: small pointers to changes that nodes must apply.
//!
//! An event is one JSON object: `id`, `event_id`, `type`, `tenant_id`, `stack_id`, `version`,
//! `base_version`, `artifact_ref`, `checksum`, `control_version`, `created_at`, in this order.
//! `id`, `event_id`, `type` and `control_version` are always there, the rest where it is neither
//! empty nor 0. It is never given a time on the way: `created_at` is the producer's own.

mod builder;

pub use builder::ControlEventBuilder;

use serde::Deserialize;

use crate::invalid::filled;
use crate::json::{Fields, Listener, key, serde_by_fields};
use crate::names::closed_names;
use crate::{InvalidRecord, Timestamp};

closed_names! {
    /// What a control event says has happened.
    #[non_exhaustive]
    pub enum ControlType, "type" {
        /// A stack's version became the current one.
        StackActivated = "stack.activated",
        /// A tenant came to be.
        TenantCreated = "tenant.created",
        /// A hostname was claimed.
        HostnameBound = "hostname.bound",
        /// A hostname's claim was proved.
        HostnameVerified = "hostname.verified",
        /// A hostname was taken away.
        HostnameRevoked = "hostname.revoked",
        /// An actor changed.
        ActorChanged = "actor.changed",
        /// A key changed.
        KeyChanged = "key.changed",
        /// A membership changed.
        MembershipChanged = "membership.changed",
        /// An entitlement changed.
        EntitlementUpdated = "entitlement.updated",
        /// The system's own stack of operations changed.
        SystemOpstackUpdated = "system.opstack.updated",
        /// A DNS zone was written.
        DnsZoneUpserted = "dns.zone.upserted",
        /// A DNS record was written.
        DnsRecordUpserted = "dns.record.upserted",
        /// DNS settings were written.
        DnsSettingsUpserted = "dns.settings.upserted",
        /// Cron settings were written.
        CronSettingsUpserted = "cron.settings.upserted",
        /// A secret changed.
        SecretChanged = "secret.changed",
        /// A secret was taken away.
        SecretRevoked = "secret.revoked",
    }
}

/// The longest text of an event that a feed takes, in bytes: ids and keys stand in databases and in logs,
/// at every node.
pub const MAX_CONTROL_TEXT: usize = 4096;

/// A small notice that something changed: what it is, where its bytes are, which place it has in the
/// order. It never carries the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ControlEvent {
    id: i64,
    event_id: Box<str>,
    event_type: ControlType,
    tenant_id: Option<Box<str>>,
    stack_id: Option<Box<str>>,
    version: i64,
    base_version: i64,
    artifact_ref: Option<Box<str>>,
    checksum: Option<Box<str>>,
    control_version: u64,
    created_at: Option<Box<str>>,
}

impl ControlEvent {
    /// A number for information only; producers leave it 0.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// The producer's identity for the change; the key for idempotency everywhere.
    pub fn event_id(&self) -> &str {
        &self.event_id
    }

    /// What happened.
    pub fn event_type(&self) -> ControlType {
        self.event_type
    }

    /// The tenant that it concerns.
    pub fn tenant_id(&self) -> Option<&str> {
        self.tenant_id.as_deref()
    }

    /// The stack that it concerns, by its name.
    pub fn stack_id(&self) -> Option<&str> {
        self.stack_id.as_deref()
    }

    /// The version that the change makes current.
    pub fn version(&self) -> Option<i64> {
        (self.version != 0).then_some(self.version)
    }

    /// The version that the producer saw before it. Recorded, not enforced.
    pub fn base_version(&self) -> Option<i64> {
        (self.base_version != 0).then_some(self.base_version)
    }

    /// Key of the artifact, segments parted by `/`.
    pub fn artifact_ref(&self) -> Option<&str> {
        self.artifact_ref.as_deref()
    }

    /// `sha256:` and the lowercase hexadecimal digest of the artifact's bytes.
    pub fn checksum(&self) -> Option<&str> {
        self.checksum.as_deref()
    }

    /// Place in the feed's order; 0 until a feed has given one.
    pub fn control_version(&self) -> u64 {
        self.control_version
    }

    /// When it was made, as its producer wrote it.
    pub fn created_at(&self) -> Option<&str> {
        self.created_at.as_deref()
    }

    /// The same event at a place in the feed's order.
    #[must_use]
    pub fn with_control_version(self, control_version: u64) -> Self {
        Self { control_version, ..self }
    }

    /// Checks what a consumer has to: all that a producer's event is checked for, and that a feed
    /// has given it its place.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks: `event_id`, `type`, `control_version`, `checksum`,
    /// `artifact_ref` without one, what a `stack.activated` has to have, then
    /// [the length of its texts](Self::validate_texts).
    pub fn validate_stamped(&self) -> Result<(), InvalidRecord> {
        self.validate(self.control_version == 0)?;
        self.validate_texts()
    }

    /// Checks that none of its texts is longer than [`MAX_CONTROL_TEXT`]. Whoever puts an event into a
    /// feed has to, too: no consumer takes it otherwise.
    ///
    /// # Errors
    ///
    /// The first that is, in their order on the wire.
    pub fn validate_texts(&self) -> Result<(), InvalidRecord> {
        let texts = [
            ("event_id", Some(self.event_id())),
            ("tenant_id", self.tenant_id()),
            ("stack_id", self.stack_id()),
            ("artifact_ref", self.artifact_ref()),
            ("checksum", self.checksum()),
            ("created_at", self.created_at()),
        ];
        for (field, text) in texts {
            let bytes = text.map_or(0, str::len);
            if bytes > MAX_CONTROL_TEXT {
                return Err(InvalidRecord::TooLong { field, bytes });
            }
        }
        Ok(())
    }

    /// The rules in their order. An unknown type can't get here, it has no value.
    fn validate(&self, unstamped: bool) -> Result<(), InvalidRecord> {
        if self.event_id.is_empty() {
            return Err(InvalidRecord::Missing { field: "event_id" });
        }
        if unstamped {
            return Err(InvalidRecord::Unstamped);
        }
        match &self.checksum {
            Some(checksum) if !checksum.starts_with("sha256:") => {
                return Err(InvalidRecord::Checksum {
                    checksum: crate::invalid::shorten(checksum),
                });
            }
            None if self.artifact_ref.is_some() => return Err(InvalidRecord::MissingChecksum),
            _ => {}
        }
        if self.event_type == ControlType::StackActivated {
            let missing = if self.tenant_id.is_none() {
                Some("tenant_id")
            } else if self.stack_id.is_none() {
                Some("stack_id")
            } else if self.version == 0 {
                Some("version")
            } else {
                None
            };
            if let Some(field) = missing {
                return Err(InvalidRecord::Activation { field });
            }
        }
        Ok(())
    }
}

impl Fields for ControlEvent {
    fn tell<L: Listener>(&self, to: &mut L) -> Result<(), L::Error> {
        to.signed(key!("id"), self.id)?;
        to.text(key!("event_id"), &self.event_id)?;
        to.text(key!("type"), self.event_type.as_str())?;
        to.optional_text(key!("tenant_id"), self.tenant_id())?;
        to.optional_text(key!("stack_id"), self.stack_id())?;
        if let Some(version) = self.version() {
            to.signed(key!("version"), version)?;
        }
        if let Some(version) = self.base_version() {
            to.signed(key!("base_version"), version)?;
        }
        to.optional_text(key!("artifact_ref"), self.artifact_ref())?;
        to.optional_text(key!("checksum"), self.checksum())?;
        to.unsigned(key!("control_version"), self.control_version)?;
        to.optional_text(key!("created_at"), self.created_at())
    }
}

/// An event as it is read, before its rules are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawControlEvent {
    id: Option<i64>,
    event_id: Option<Box<str>>,
    #[serde(rename = "type")]
    event_type: Option<Box<str>>,
    tenant_id: Option<Box<str>>,
    stack_id: Option<Box<str>>,
    version: Option<i64>,
    base_version: Option<i64>,
    artifact_ref: Option<Box<str>>,
    checksum: Option<Box<str>>,
    control_version: Option<u64>,
    created_at: Option<Box<str>>,
}

impl RawControlEvent {
    /// Checks all that a producer's event has to fulfil: its `control_version` may be 0.
    pub(crate) fn check(self) -> Result<ControlEvent, InvalidRecord> {
        let Some(event_id) = filled(self.event_id) else {
            return Err(InvalidRecord::Missing { field: "event_id" });
        };
        let Some(event_type) = filled(self.event_type) else {
            return Err(InvalidRecord::Missing { field: "type" });
        };
        let event = ControlEvent {
            id: self.id.unwrap_or(0),
            event_id,
            event_type: event_type.parse()?,
            tenant_id: filled(self.tenant_id),
            stack_id: filled(self.stack_id),
            version: self.version.unwrap_or(0),
            base_version: self.base_version.unwrap_or(0),
            artifact_ref: filled(self.artifact_ref),
            checksum: filled(self.checksum),
            control_version: self.control_version.unwrap_or(0),
            created_at: filled(self.created_at),
        };
        event.validate(false).map(|()| event)
    }
}

serde_by_fields!(ControlEvent, RawControlEvent);

#[cfg(test)]
mod tests;
