//! The clauses of the contract that can be tried.

use serde::Serialize;

/// A promise that a plugin gives by being one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// What reports call it.
    pub name: &'static str,
    /// What it says, in the contract's words or close to them.
    pub says: &'static str,
    /// Where the contract says so.
    pub place: &'static str,
}

macro_rules! clauses {
    ($($ident:ident = $name:literal, $place:literal, $says:literal;)*) => {
        $(pub(crate) const $ident: Clause = Clause { name: $name, says: $says, place: $place };)*

        impl Clause {
            /// All of them.
            pub const ALL: &[Self] = &[$($ident),*];
        }
    };
}

clauses! {
    FITS = "file.fits", "wit/plugin.wit, package wasink:plugin",
        "it is a component of one of the worlds, for a version of the contract that this host has";
    DESCRIBES = "about.describes", "wit/plugin.wit, about.describe",
        "it tells about itself on an instance that has been granted nothing";
    SAME = "about.same", "wit/plugin.wit, about.describe",
        "it gives the same answer every time";
    VERSION = "about.version", "wit/plugin.wit, about.description.version",
        "its version is one by semantic versioning";
    SUMMARY = "about.summary", "wit/plugin.wit, about.description.summary",
        "its summary is one line for people";
    STREAMS = "about.streams", "wit/plugin.wit, about.description.streams",
        "a sink accepts streams, a feed plugin none";
    SCHEMA = "about.schema", "wit/plugin.wit, about.description.settings-schema",
        "its schema is a JSON Schema of draft 2020-12 that a host can use, and takes its own examples";
    ASKS = "about.asks", "wit/plugin.wit, about.need",
        "what it asks for is an origin, a `host:port`, a name, or a pointer into its settings";
    OPENS = "open.opens", "wit/plugin.wit, open",
        "it opens with settings that fit its schema and all that it asks for";
    UNFIT = "open.refuses", "wit/plugin.wit, open",
        "settings that are not right are answered with an error, if at all, and not with a trap";
    AGAIN = "open.again", "wit/plugin.wit, sink",
        "after `close` another instance opens and goes on";
    ROUNDS = "open.rounds", "wit/plugin.wit, sink",
        "it can be opened and closed any number of times";
    ANSWERS = "write.answers", "wit/plugin.wit, sink.write",
        "it takes batches of each stream that it accepts: one record, and as many as there may be";
    EXCEPTIONS = "write.exceptions", "wit/plugin.wit, sink.exception.index",
        "its answer names records of the batch, each at most once";
    VALUES = "write.values", "wit/records.wit",
        "it answers whatever values records have: absent, empty, at their limits, of any text";
    REPEATS = "write.repeats", "wit/batches.wit, batch.ids",
        "records that are delivered again, with the ids that they had, are as good as delivered, \
         also where their batch begins or ends elsewhere";
    CLOCK = "write.clock", "wit/plugin.wit, sink.write",
        "it answers whatever its clock says, and what it calls delivered is there";
    KEEPS = "write.keeps", "wit/plugin.wit, about.acknowledges.on-write",
        "once `write` has returned a record is delivered, whatever becomes of the instance";
    FLUSHES = "flush.answers", "wit/plugin.wit, sink.flush",
        "it can be flushed at any time, also where there is nothing to make good";
    FLUSHED = "flush.keeps", "wit/plugin.wit, about.acknowledges.on-flush",
        "once `flush` has returned what was written before is delivered, whatever becomes of the \
         instance";
    CLOSES = "close.answers", "wit/plugin.wit, close",
        "it ends without an error where nothing is wrong";
    GROWTH = "memory.bounded", "wit/plugin.wit, sink",
        "its memory does not grow with the number of records";
    HONEST = "receiver.refuses", "wit/plugin.wit, sink.write",
        "what the receiver has not taken is not said to be delivered";
    DOUBT = "receiver.doubt", "wit/plugin.wit, sink.outcome.retry",
        "where the receiver has got the records and its answer is lost, `retry` would be untrue: it \
         is `in-doubt`";
    COPES = "receiver.answers", "wit/plugin.wit, sink.outcome",
        "whatever a receiver answers, or breaks off, is an outcome of the records and no trap";
    RECOVERS = "receiver.recovers", "wit/plugin.wit, sink.outcome",
        "once the receiver takes records again, they are delivered";
    PATIENCE = "receiver.patience", "wit/plugin.wit, sink",
        "a receiver that is slow or silent does not hold a call until its deadline";
    ORDER = "feed.order", "wit/plugin.wit, feed-source.poll",
        "events come in ascending order, those above `since` alone, at most `max`";
    APPENDS = "feed.appends", "wit/plugin.wit, feed-sink.append",
        "each event gets a control version above that of every event before";
    IDEMPOTENT = "feed.idempotent", "wit/plugin.wit, feed-sink.append",
        "an event id that was appended before has the version that it got then";
    POLLS = "feed.polls", "wit/plugin.wit, feed-source.poll",
        "a poll that finds nothing is no error, and waits no longer than it may";
    ENDURES = "feed.endures", "wit/plugin.wit, feed-source.poll",
        "it can be polled any number of times";
    ACKS = "feed.acks", "wit/plugin.wit, acks.ack",
        "it can be told what was applied";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_page_has_every_clause_as_it_is() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conformance.md");
        let page = std::fs::read_to_string(page).unwrap_or_default();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected = Clause::ALL
            .iter()
            .map(|Clause { name, says, place }| format!("| `{name}` | {says} | {place} |"));
        assert_eq!(rows, expected.collect::<Vec<_>>());
        let names: BTreeSet<_> = Clause::ALL.iter().map(|clause| clause.name).collect();
        assert_eq!(names.len(), Clause::ALL.len(), "each has a name of its own");
    }
}
