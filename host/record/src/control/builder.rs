//! Makes control events.

use std::fmt::Write;

use super::{ControlEvent, ControlType, Timestamp};
use crate::InvalidRecord;
use crate::invalid::filled;

/// A [`ControlEvent`] in the making. What is not set is left out on the wire; an empty text and a 0
/// are as if not set.
#[derive(Debug, Clone)]
#[must_use = "an event is made by `build`"]
pub struct ControlEventBuilder(ControlEvent);

impl ControlEvent {
    /// An event of any type. `event_id` is the producer's identity for the change, the same however
    /// often it is sent: [`IdSource::event_id`](crate::IdSource::event_id) makes a new one.
    pub fn builder(event_id: impl Into<String>, event_type: ControlType) -> ControlEventBuilder {
        ControlEventBuilder(Self {
            id: 0,
            event_id: event_id.into().into(),
            event_type,
            tenant_id: None,
            stack_id: None,
            version: 0,
            base_version: 0,
            artifact_ref: None,
            checksum: None,
            control_version: 0,
            created_at: None,
        })
    }

    /// `stack.activated`: this version of the tenant's stack became the current one.
    pub fn stack_activated(
        event_id: impl Into<String>,
        tenant_id: impl Into<String>,
        stack_id: impl Into<String>,
        version: i64,
    ) -> ControlEventBuilder {
        Self::builder(event_id, ControlType::StackActivated)
            .tenant_id(tenant_id)
            .stack_id(stack_id)
            .version(version)
    }
}

impl ControlEventBuilder {
    /// A number for information only.
    pub fn id(mut self, id: i64) -> Self {
        self.0.id = id;
        self
    }

    /// The tenant that it concerns.
    pub fn tenant_id(mut self, id: impl Into<String>) -> Self {
        self.0.tenant_id = filled(Some(id.into().into()));
        self
    }

    /// The stack that it concerns, by its name.
    pub fn stack_id(mut self, id: impl Into<String>) -> Self {
        self.0.stack_id = filled(Some(id.into().into()));
        self
    }

    /// The version that the change makes current.
    pub fn version(mut self, version: i64) -> Self {
        self.0.version = version;
        self
    }

    /// The version that the producer saw before it.
    pub fn base_version(mut self, version: i64) -> Self {
        self.0.base_version = version;
        self
    }

    /// Where the change's bytes are, and their SHA-256 digest.
    pub fn artifact(mut self, reference: impl Into<String>, sha256: [u8; 32]) -> Self {
        let mut checksum = String::from("sha256:");
        for byte in sha256 {
            let _infallible = write!(checksum, "{byte:02x}");
        }
        self.0.checksum = Some(checksum.into());
        self.artifact_ref(reference)
    }

    /// Key of the artifact, segments parted by `/`. It needs a checksum.
    pub fn artifact_ref(mut self, reference: impl Into<String>) -> Self {
        self.0.artifact_ref = filled(Some(reference.into().into()));
        self
    }

    /// The artifact's checksum as text: `sha256:` and the digest in lowercase hexadecimal.
    pub fn checksum(mut self, checksum: impl Into<String>) -> Self {
        self.0.checksum = filled(Some(checksum.into().into()));
        self
    }

    /// Place in the feed's order. Feeds give it; producers leave it 0.
    pub fn control_version(mut self, version: u64) -> Self {
        self.0.control_version = version;
        self
    }

    /// When it was made.
    pub fn created_at(self, time: Timestamp) -> Self {
        self.created_at_text(time.to_string())
    }

    /// When it was made, in the producer's own text.
    pub fn created_at_text(mut self, text: impl Into<String>) -> Self {
        self.0.created_at = filled(Some(text.into().into()));
        self
    }

    /// The event.
    ///
    /// # Errors
    ///
    /// The first rule that it breaks, in the order of
    /// [`validate_stamped`](ControlEvent::validate_stamped), which also asks for a place in the
    /// feed's order.
    pub fn build(self) -> Result<ControlEvent, InvalidRecord> {
        self.0.validate(false).map(|()| self.0)
    }
}
