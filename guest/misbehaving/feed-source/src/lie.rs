//! Events that are not what they should be.

use serde::Deserialize;
use wasink_guest::ControlEvent;

use crate::{EVENTS, HOSTILE, event};

/// A way to give events that are not what they should be. Where it gives several, what is wrong comes
/// behind one that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lie {
    /// One more than it was asked for.
    TooMany,
    /// A million.
    Million,
    /// One without an id.
    EmptyId,
    /// An id of a megabyte.
    LongId,
    /// An id of a megabyte, and nothing else that is right.
    LongFields,
    /// A tenant of a megabyte.
    LongTenant,
    /// A checksum of a megabyte.
    LongChecksum,
    /// An id that terminals act on, of a type that there is not.
    ControlCharactersInId,
    /// The version after next, and then the next.
    Descending,
    /// One version twice.
    Equal,
    /// The version that it was asked to begin behind.
    AtSince,
    /// The version before that.
    BelowSince,
    /// No version.
    Unstamped,
    /// No version, and then one that a cursor that begins anew would take.
    UnstampedThenLow,
    /// The first version that no signed number has.
    BeyondSigned,
    /// The last version that there can be.
    Last,
    /// A type that there is not.
    UnknownType,
    /// An activation of nothing.
    NoActivation,
    /// The id of an event that it gave before, at another place, with other words.
    SameId,
}

impl Lie {
    /// What it answers to a poll behind `since`, which is `from` or later.
    pub(crate) fn told(self, from: u64, since: u64, max: u32) -> Vec<ControlEvent> {
        let next = from.saturating_add(1);
        let long = || "x".repeat(1 << 20);
        let at = |version| ControlEvent { control_version: version, ..event(next + 1) };
        let but = |change: &dyn Fn(&mut ControlEvent)| {
            let mut second = event(next + 1);
            change(&mut second);
            let rest = (next + 2..=EVENTS).map(event);
            let all = [event(next), second].into_iter().chain(rest);
            all.filter(|event| event.control_version > since).collect()
        };
        match self {
            Self::TooMany => (0..=u64::from(max)).map(|n| event(next + n)).collect(),
            Self::Million => {
                let none = ControlEvent { event_id: String::new(), tenant_id: None, ..event(next) };
                vec![ControlEvent { event_type: String::new(), ..none }; 1_000_000]
            }
            Self::EmptyId => but(&|event| event.event_id.clear()),
            Self::LongId => but(&|event| event.event_id = long()),
            Self::LongFields => but(&|event| {
                event.event_id = long();
                event.event_type = long();
                event.stack_id = Some(long());
                event.artifact_ref = Some(long());
                event.checksum = Some(long());
                event.created_at = Some(long());
            }),
            Self::LongTenant => but(&|event| event.tenant_id = Some(long())),
            Self::LongChecksum => but(&|event| event.checksum = Some(long())),
            Self::ControlCharactersInId => but(&|event| {
                event.event_id = HOSTILE.to_owned();
                event.event_type = HOSTILE.to_owned();
            }),
            Self::Descending => vec![event(next + 1), event(next)],
            Self::Equal => vec![event(next), at(next)],
            Self::AtSince => vec![at(from)],
            Self::BelowSince => vec![at(from.saturating_sub(1).max(1))],
            Self::Unstamped => vec![event(next), at(0)],
            Self::UnstampedThenLow => vec![at(0), event(1)],
            Self::BeyondSigned => vec![event(next), at(i64::MAX.unsigned_abs() + 1)],
            Self::Last => vec![at(u64::MAX)],
            Self::UnknownType => but(&|event| event.event_type = "tenant.invented".to_owned()),
            Self::NoActivation => but(&|event| event.event_type = "stack.activated".to_owned()),
            Self::SameId => but(&|event| {
                event.event_id = "evt_1".to_owned();
                event.tenant_id = Some("another".to_owned());
            }),
        }
    }
}
