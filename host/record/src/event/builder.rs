//! Makes CloudEvents.

use serde_json::value::RawValue;

use super::{CloudEvent, Data, ExtensionValue};
use crate::invalid::filled;
use crate::json::JsonText;
use crate::{InvalidRecord, Timestamp};

/// A [`CloudEvent`] in the making. What is not set is left out on the wire; an empty text is as if
/// not set.
#[derive(Debug, Clone)]
#[must_use = "an event is made by `build`"]
pub struct CloudEventBuilder {
    event: CloudEvent,
    error: Option<InvalidRecord>,
}

impl CloudEvent {
    /// An event with this id, from this source, of this type.
    pub fn builder(
        id: impl Into<String>,
        source: impl Into<String>,
        event_type: impl Into<String>,
    ) -> CloudEventBuilder {
        CloudEventBuilder::new(id, source, event_type)
    }
}

impl CloudEventBuilder {
    pub(super) fn new(
        id: impl Into<String>,
        source: impl Into<String>,
        event_type: impl Into<String>,
    ) -> Self {
        let event = CloudEvent {
            id: id.into().into(),
            source: source.into().into(),
            event_type: event_type.into().into(),
            subject: None,
            time: None,
            data_content_type: None,
            data_schema: None,
            extensions: Vec::new(),
            data: None,
        };
        Self { event, error: None }
    }

    /// What it happened to, in the source.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.event.subject = filled(Some(subject.into().into()));
        self
    }

    /// When it happened.
    pub fn time(mut self, time: Timestamp) -> Self {
        self.event.time = Some(time);
        self
    }

    /// The schema that the data follows.
    pub fn data_schema(mut self, schema: impl Into<String>) -> Self {
        self.event.data_schema = filled(Some(schema.into().into()));
        self
    }

    /// An extension attribute. Its name is 1 to 20 of `a` to `z` and `0` to `9`.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.event.extensions.push((name.into().into(), value.into()));
        self
    }

    /// JSON text as the data, with the content type `application/json`. It is kept as it is, but for
    /// space around it and bare line breaks.
    pub fn json(mut self, text: &str) -> Self {
        let data = serde_json::from_str::<Box<RawValue>>(text)
            .map_err(|error| InvalidRecord::NotJson { reason: error.to_string() })
            .and_then(JsonText::try_from);
        match data {
            Ok(data) => self.data_text("application/json", data),
            Err(error) => {
                self.error.get_or_insert(error);
                self
            }
        }
    }

    /// Bytes of any content type as the data.
    pub fn binary(mut self, content_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.event.data_content_type = filled(Some(content_type.into().into()));
        self.event.data = Some(Data::Binary(bytes.into().into()));
        self
    }

    pub(super) fn data_text(mut self, content_type: &str, data: JsonText) -> Self {
        self.event.data_content_type = Some(content_type.into());
        self.event.data = Some(Data::Json(data));
        self
    }

    /// The event.
    ///
    /// # Errors
    ///
    /// When the id, the source or the type is empty, an extension attribute's name is not allowed or
    /// given twice, or the data is not JSON though it was given as such.
    pub fn build(self) -> Result<CloudEvent, InvalidRecord> {
        match self.error {
            Some(error) => Err(error),
            None => self.event.checked(),
        }
    }
}
