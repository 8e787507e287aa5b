//! Records that tests append, and what they remember of them.

use wasink_journal::{DeadLetter, Fate};
use wasink_record::{IdSource, RecordId, Stamped, Stream, Timestamp, UsageEvent};

const NOW: Timestamp = Timestamp::from_unix_nanos(1_700_000_000_000_000_000);

/// Whose records are; nobody's the last.
const TENANTS: [&str; 3] = ["acme", "bolt", ""];

/// What is remembered of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: RecordId,
    /// Without its end.
    pub(crate) line: Vec<u8>,
    pub(crate) tenant: Option<&'static str>,
}

/// Makes records, each another.
#[derive(Debug)]
pub(crate) struct Maker {
    ids: IdSource,
    made: usize,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self { ids: IdSource::new(7), made: 0 }
    }

    /// A record whose line is longer by so many bytes than it must be.
    pub(crate) fn record(&mut self, padding: usize) -> (Stamped, Known) {
        self.made += 1;
        let tenant = TENANTS[self.made % TENANTS.len()];
        let rid = format!("{:06}{}", self.made, "x".repeat(padding));
        let event = UsageEvent::builder(rid, tenant, "http", "shop").build();
        let stamped = Stamped::new(self.ids.next(NOW), NOW, event.into());
        let mut line = Vec::new();
        stamped.record.encode(&mut line);
        let known =
            Known { id: stamped.id, line, tenant: Some(tenant).filter(|name| !name.is_empty()) };
        (stamped, known)
    }

    pub(crate) fn run(&mut self, records: usize, padding: usize) -> (Vec<Stamped>, Vec<Known>) {
        (0..records).map(|_| self.record(padding)).unzip()
    }
}

/// The dead letter of a record.
pub(crate) fn letter(position: u64, known: &Known, fate: Fate) -> DeadLetter {
    DeadLetter::new(
        Stream::Usage,
        position,
        (known.id, NOW),
        fate,
        "refused".to_owned(),
        (1, NOW, NOW),
        ("plugin".to_owned(), "digest".to_owned()),
        String::from_utf8(known.line.clone()).unwrap(),
    )
}
