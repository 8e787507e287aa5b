//! A control event as JSON: what feeds keep and carry.

use serde::{Deserialize, Serialize};

use crate::ControlEvent;

/// The fields, in their order on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    id: i64,
    event_id: String,
    #[serde(rename = "type")]
    event_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stack_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_version: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_ref: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    control_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
}

impl ControlEvent {
    /// What a source gives in the place of something that is no event: nobody can apply it, so it is
    /// seen, with `reason` in the place of its type, and can be skipped.
    pub fn unreadable(event_id: &str, control_version: u64, reason: &str) -> Self {
        let event = Self::bare(event_id, &format!("unreadable: {reason}"));
        Self { control_version, ..event }
    }

    /// An event of this id and type, and nothing else.
    pub(crate) fn bare(event_id: &str, event_type: &str) -> Self {
        Self {
            event_id: event_id.to_owned(),
            event_type: event_type.to_owned(),
            tenant_id: None,
            stack_id: None,
            version: None,
            base_version: None,
            artifact_ref: None,
            checksum: None,
            control_version: 0,
            created_at: None,
        }
    }

    /// Reads an event's JSON object. Fields that it does not know it leaves out. Whether the event
    /// can be applied is the host's to say.
    ///
    /// # Errors
    ///
    /// What is no such object, with line and column.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Wire>(bytes).map(Self::from)
    }

    /// The event as a JSON object in one line, without the line's end.
    ///
    /// # Errors
    ///
    /// None that is known of.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Wire::from(self.clone()))
    }

    /// The event as a JSON object for people to read: indented, with a line's end.
    ///
    /// # Errors
    ///
    /// None that is known of.
    pub fn to_json_indented(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(&Wire::from(self.clone()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl From<ControlEvent> for Wire {
    fn from(event: ControlEvent) -> Self {
        Self {
            id: 0,
            event_id: event.event_id,
            event_type: event.event_type,
            tenant_id: event.tenant_id,
            stack_id: event.stack_id,
            version: event.version,
            base_version: event.base_version,
            artifact_ref: event.artifact_ref,
            checksum: event.checksum,
            control_version: event.control_version,
            created_at: event.created_at,
        }
    }
}

impl From<Wire> for ControlEvent {
    fn from(wire: Wire) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            event_id: wire.event_id,
            event_type: wire.event_type,
            tenant_id: filled(wire.tenant_id),
            stack_id: filled(wire.stack_id),
            version: wire.version.filter(|version| *version != 0),
            base_version: wire.base_version.filter(|version| *version != 0),
            artifact_ref: filled(wire.artifact_ref),
            checksum: filled(wire.checksum),
            control_version: wire.control_version,
            created_at: filled(wire.created_at),
        }
    }
}
