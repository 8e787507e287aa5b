//! What guests have to say: lines of the log, within bounds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use wasink_chassis::limits::{Limit, LimitCounts, Limits};
use wasink_chassis::logger::{Level, Line, Logger, Value};

/// So many seconds' worth of lines may come at once.
const BURST: f64 = 10.0;

/// The log as one sink's plugin may use it. It outlives instances: who traps and comes back has no
/// more lines for it.
#[derive(Clone)]
pub(crate) struct Words(Arc<Inner>);

struct Inner {
    sink: Arc<str>,
    logger: Arc<dyn Logger>,
    limits: Limits,
    reached: LimitCounts,
    /// `None`: as many lines as it likes.
    valve: Option<Mutex<Valve>>,
}

/// Lets so many lines through in a second.
struct Valve {
    rate: f64,
    tokens: f64,
    at: Instant,
    left_out: u64,
}

impl Words {
    pub(crate) fn new(
        sink: Arc<str>,
        logger: Arc<dyn Logger>,
        limits: Limits,
        reached: LimitCounts,
        unlimited: bool,
    ) -> Self {
        let rate = u32::try_from(limits.log_rate).map_or(f64::MAX, f64::from);
        let tokens = rate * BURST;
        let valve = Valve { rate, tokens, at: Instant::now(), left_out: 0 };
        let valve = (!unlimited).then(|| Mutex::new(valve));
        Self(Arc::new(Inner { sink, logger, limits, reached, valve }))
    }

    pub(crate) fn reached(&self, limit: Limit) {
        self.0.reached.reached(limit);
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        self.0.logger.enabled(level)
    }

    /// Writes a line of the host's own about what the guest did. It is not counted.
    pub(crate) fn tell(&self, level: Level, message: &str, fields: &[(String, Value)]) {
        self.0.logger.log(&Line { level, sink: Some(&self.0.sink), message, fields });
    }

    /// Writes a line of the guest's, if it may still write one.
    pub(crate) fn line(&self, level: Level, message: String, mut fields: Vec<(String, Value)>) {
        if !self.enabled(level) || !self.may_write() {
            return;
        }
        let max = self.0.limits.log_fields;
        if fields.len() > max {
            fields.truncate(max);
            self.reached(Limit::LogFields);
        }
        for (key, value) in &mut fields {
            self.shorten(key);
            if let Value::Text(text) = value {
                self.shorten(text);
            }
        }
        let mut message = message;
        self.shorten(&mut message);
        self.tell(level, &message, &fields);
    }

    /// A text of an answer, as long as it may be.
    pub(crate) fn text(&self, mut text: String) -> String {
        if cut(&mut text, self.0.limits.text_bytes) {
            self.reached(Limit::Text);
        }
        text
    }

    fn shorten(&self, text: &mut String) {
        if cut(text, self.0.limits.log_bytes) {
            self.reached(Limit::LogLine);
        }
    }

    fn may_write(&self) -> bool {
        let Some(valve) = &self.0.valve else { return true };
        let passed = valve.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        match passed {
            Some(0) => true,
            Some(left_out) => {
                let fields = [
                    ("lines".to_owned(), left_out.into()),
                    ("key".to_owned(), "limits.log_rate".into()),
                ];
                self.tell(Level::Warn, "its plugin wrote too much: lines were left out", &fields);
                true
            }
            None => {
                self.reached(Limit::LogRate);
                false
            }
        }
    }
}

impl Valve {
    /// Whether one more line may go, and how many did not since the last that went.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + passed * self.rate).min(self.rate * BURST);
        if self.tokens < 1.0 {
            self.left_out += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

/// Cuts `text` to at most `max` bytes, with a mark where something was cut; whether it was.
pub(crate) fn cut(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    let end = (0..=max).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.truncate(end);
    text.push('…');
    true
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex};

    use wasink_chassis::limits::{LimitCounts, Limits};
    use wasink_chassis::logger::{Level, Line, Logger, Value};

    use super::Words;

    /// Keeps the fields of all lines.
    #[derive(Default)]
    pub(crate) struct Heard(pub(crate) Mutex<Vec<Vec<(String, Value)>>>);

    impl Heard {
        pub(crate) fn lines(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Logger for Heard {
        fn log(&self, line: &Line<'_>) {
            self.0.lock().unwrap().push(line.fields.to_vec());
        }

        fn enabled(&self, _: Level) -> bool {
            true
        }
    }

    /// The log of a sink, and what is heard of it.
    pub(crate) fn words(limits: Limits, reached: &LimitCounts) -> (Words, Arc<Heard>) {
        let heard = Arc::new(Heard::default());
        (Words::new("x".into(), heard.clone(), limits, reached.clone(), false), heard)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use wasink_chassis::limits::{Limit, LimitCounts, Limits};
    use wasink_chassis::logger::Level;

    use super::{Valve, cut, testing};

    #[test]
    fn a_line_has_so_many_fields_with_names_and_values_of_such_a_length() {
        let (mut limits, reached) = (Limits::default(), LimitCounts::default());
        (limits.log_fields, limits.log_bytes) = (2, 4);
        let (words, heard) = testing::words(limits, &reached);
        let field = |key: &str, value: &str| (key.to_owned(), value.into());
        words.line(Level::Info, String::new(), vec![field("long key", "a"), field("b", "long")]);
        assert_eq!((reached.get(Limit::LogLine), reached.get(Limit::LogFields)), (1, 0));
        words.line(Level::Info, String::new(), vec![field("a", "b"); 3]);
        assert_eq!((reached.get(Limit::LogLine), reached.get(Limit::LogFields)), (1, 1));
        let expected =
            [[field("long…", "a"), field("b", "long")], [field("a", "b"), field("a", "b")]];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }

    #[test]
    fn a_valve_lets_a_burst_through_and_then_as_many_as_its_rate_and_counts_the_others() {
        let start = Instant::now();
        let mut valve = Valve { rate: 2.0, tokens: 20.0, at: start, left_out: 0 };
        assert_eq!((0..30).filter(|_| valve.pass(start).is_some()).count(), 20);
        assert_eq!(valve.pass(start + Duration::from_millis(499)), None);
        assert_eq!(valve.pass(start + Duration::from_millis(500)), Some(11));
        assert_eq!(valve.pass(start + Duration::from_millis(500)), None);
        let later = start + Duration::from_secs(3_600);
        assert_eq!((0..30).filter(|_| valve.pass(later).is_some()).count(), 20);
    }

    #[test]
    fn what_is_cut_is_cut_between_characters_and_marked() {
        let mut text = "aäöü".to_owned();
        assert!(!cut(&mut text, 7));
        assert!(cut(&mut text, 4));
        assert_eq!(text, "aä…");
    }
}
