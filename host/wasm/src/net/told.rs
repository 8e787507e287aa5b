//! What an operator has been told already.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same is told again after so long.
const AGAIN: Duration = Duration::from_hours(1);

/// So many different things are told of within that time: a guest makes up as many as it likes.
pub(super) const MOST: usize = 16;

/// What was told, and when.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether this is to be told now.
    pub(super) fn is_news(&self, what: String) -> bool {
        self.is_news_at(what, Instant::now())
    }

    fn is_news_at(&self, what: String, now: Instant) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_duration_since(*at) < AGAIN);
        if told.len() >= MOST || told.contains_key(&what) {
            return false;
        }
        told.insert(what, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_and_again_later_and_not_too_many_of_them() {
        let told = Told::default();
        let now = Instant::now();
        assert!(told.is_news_at("a".to_owned(), now));
        assert!(!told.is_news_at("a".to_owned(), now + Duration::from_mins(59)));
        let others = (0..100).filter(|n| told.is_news_at(n.to_string(), now)).count();
        assert_eq!(others, MOST - 1);
        assert!(told.is_news_at("a".to_owned(), now + AGAIN));
    }
}
