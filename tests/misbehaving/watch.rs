//! What the chassis tells while all this goes on.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use wasink_chassis::hooks::Hooks;
use wasink_chassis::logger::{Level, Line, Logger};
use wasink_chassis::plugin::PluginVersion;
use wasink_journal::Fate;
use wasink_record::Stream;

/// A line of the log, kept.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) level: Level,
    pub(crate) sink: Option<String>,
    pub(crate) message: String,
    /// The fields' names and values, one after the other.
    pub(crate) fields: Vec<(String, String)>,
}

impl Logged {
    /// Whether these words are anywhere in it.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.message.contains(words) || self.fields.iter().any(|(_, value)| value.contains(words))
    }
}

/// Keeps all lines, counts the good sink's records, and wakes who waits for either.
#[derive(Default)]
pub(crate) struct Watch {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    lines: Vec<Logged>,
    delivered: u64,
    news: u64,
}

impl Watch {
    /// Looks at the lines.
    pub(crate) fn lines<T>(&self, look: impl FnOnce(&[Logged]) -> T) -> T {
        look(&self.seen.lock().unwrap().lines)
    }

    /// Waits until the good sink has delivered so many records; whether it has.
    pub(crate) fn wait_for_good(&self, records: u64, patience: Duration) -> bool {
        let short = |seen: &mut Seen| seen.delivered < records;
        let seen = self.seen.lock().unwrap();
        !self.changed.wait_timeout_while(seen, patience, short).unwrap().1.timed_out()
    }

    /// Waits until another thing has happened at another sink, for a moment at most: that a limit is
    /// reached is told too often to be woken for.
    pub(crate) fn wait_for_others(&self, known: &mut u64) {
        const MOMENT: Duration = Duration::from_millis(20);
        let seen = self.seen.lock().unwrap();
        let waited =
            self.changed.wait_timeout_while(seen, MOMENT, |seen| seen.news == *known).unwrap();
        *known = waited.0.news;
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Logger for Watch {
    fn log(&self, line: &Line<'_>) {
        let fields = line.fields.iter().map(|(key, value)| (key.clone(), value.to_string()));
        let line = Logged {
            level: line.level,
            sink: line.sink.map(str::to_owned),
            message: line.message.to_owned(),
            fields: fields.collect(),
        };
        self.note(|seen| {
            seen.lines.push(line);
            seen.news += 1;
        });
    }

    fn enabled(&self, _: Level) -> bool {
        true
    }
}

impl Hooks for Watch {
    fn settled(&self, sink: &str, _: Stream, fate: Fate, records: u64) {
        self.note(|seen| match (sink, fate) {
            ("good", Fate::Delivered) => seen.delivered += records,
            _ => seen.news += 1,
        });
    }

    fn stopped(&self, _: &str, _: &PluginVersion, _: &str) {
        self.note(|seen| seen.news += 1);
    }
}
