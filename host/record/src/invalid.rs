//! What is wrong with a record whose fields are all well formed.

use crate::{Kind, UnknownName};

/// The largest size or count that a record holds: the systems whose formats these are hold signed
/// numbers of 64 bits.
pub const MAX_QUANTITY: u64 = i64::MAX.unsigned_abs();

/// A record that breaks a rule of its stream. The remedy is always in the hands of its producer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRecord {
    /// A field that every such record has is absent or empty.
    #[error("`{field}` is required, and may not be empty")]
    Missing {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// The entry's kind wants an id that is absent or empty.
    #[error("every `{kind}` entry has a `{field}`, and it may not be empty")]
    MissingId {
        /// `vm_id` or `snapshot_id`.
        field: &'static str,
        /// The kind that wants it.
        kind: Kind,
    },
    /// A size or count is above [`MAX_QUANTITY`].
    #[error("{value} is too much for `{field}`, the most it can hold is {MAX_QUANTITY}")]
    TooLarge {
        /// The field's path on the wire.
        field: &'static str,
        /// What was given.
        value: u64,
    },
    /// A name that is not in the field's closed set.
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    /// A usage event gives a reason for a denial, and was not denied.
    #[error("an `admission_reason` is given, but `admission_denied` is not `true`")]
    ReasonWithoutDenial,
    /// A usage event that was denied says that somebody is to be charged.
    #[error("work that was not admitted is never `billable`: leave the key out, or write `false`")]
    BillableDenied,
    /// A usage event that was denied says that it consumed something.
    #[error("work that was not admitted consumes no `fuel`: leave the key out")]
    FuelDenied,
    /// A control event has no place in the feed's order yet.
    #[error("`control_version` is 0: no feed has given the event its place yet")]
    Unstamped,
    /// A control event's checksum is of another sort.
    #[error("checksum `{checksum}` does not begin with `sha256:`")]
    Checksum {
        /// What was given.
        checksum: String,
    },
    /// A control event points to an artifact that nobody could check.
    #[error("a `checksum` is required where there is an `artifact_ref`")]
    MissingChecksum,
    /// A `stack.activated` event lacks what it is about.
    #[error("every `stack.activated` event has a `{field}`, and it may not be empty or 0")]
    Activation {
        /// `tenant_id`, `stack_id` or `version`.
        field: &'static str,
    },
    /// A text of a control event is longer than [`MAX_CONTROL_TEXT`](crate::MAX_CONTROL_TEXT): no feed
    /// takes it.
    #[error("`{field}` has {bytes} bytes, and {} are the most in a feed", crate::MAX_CONTROL_TEXT)]
    TooLong {
        /// The field's name on the wire.
        field: &'static str,
        /// How many it has.
        bytes: usize,
    },
    /// An event says that it follows another version of CloudEvents.
    #[error("specversion `{version}` is not supported, it has to be `1.0`")]
    SpecVersion {
        /// What was given.
        version: String,
    },
    /// An extension attribute's name is not a name that CloudEvents allows.
    #[error(
        "`{name}` can't name an extension attribute: 1 to 20 of `a` to `z` and `0` to `9`, and not \
         the name of another attribute"
    )]
    ExtensionName {
        /// What was given.
        name: String,
    },
    /// An extension attribute is given twice.
    #[error("the extension attribute `{name}` is given twice")]
    ExtensionTwice {
        /// Its name.
        name: String,
    },
    /// An event has more extension attributes than [`MAX_EXTENSIONS`](crate::MAX_EXTENSIONS).
    #[error("an event has at most {} extension attributes", crate::MAX_EXTENSIONS)]
    TooManyExtensions {
        /// The first that is too many.
        name: String,
    },
    /// An event has its data twice.
    #[error("an event has `data` or `data_base64`, not both")]
    DataTwice,
    /// The data is not base64.
    #[error("`data_base64` is not base64 with the standard alphabet and padding")]
    Base64,
    /// What should be JSON is not.
    #[error("the data is not JSON: {reason}")]
    NotJson {
        /// Where it stops being JSON, and why.
        reason: String,
    },
    /// The data's arrays and objects lie too deep in one another.
    #[error("the data's arrays and objects are nested more than {} deep", crate::json::MAX_DEPTH)]
    TooDeep,
}

impl InvalidRecord {
    /// The path on the wire of the field that is at fault.
    pub fn field(&self) -> Option<&str> {
        Some(match self {
            Self::Missing { field }
            | Self::MissingId { field, .. }
            | Self::TooLarge { field, .. }
            | Self::Activation { field }
            | Self::TooLong { field, .. } => field,
            Self::ReasonWithoutDenial => "admission_reason",
            Self::BillableDenied => "billable",
            Self::FuelDenied => "fuel",
            Self::Unstamped => "control_version",
            Self::Checksum { .. } | Self::MissingChecksum => "checksum",
            Self::SpecVersion { .. } => "specversion",
            Self::ExtensionName { name }
            | Self::ExtensionTwice { name }
            | Self::TooManyExtensions { name } => name,
            Self::DataTwice | Self::Base64 => "data_base64",
            Self::NotJson { .. } | Self::TooDeep => "data",
            Self::UnknownName(_) => "type",
        })
    }
}

/// `text`, cut where a message would become unreadable, and without what would break its line.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown = String::with_capacity(text.len().min(MOST));
    for (index, c) in text.chars().enumerate() {
        if index == MOST {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// `value`, or an error that names the field.
pub(crate) fn quantity(value: Option<u64>, field: &'static str) -> Result<u64, InvalidRecord> {
    match value {
        None => Ok(0),
        Some(value) if value <= MAX_QUANTITY => Ok(value),
        Some(value) => Err(InvalidRecord::TooLarge { field, value }),
    }
}

/// `text`, or nothing where it is empty: on the wire the two mean the same.
pub(crate) fn filled(text: Option<Box<str>>) -> Option<Box<str>> {
    text.filter(|text| !text.is_empty())
}
